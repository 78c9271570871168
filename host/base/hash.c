// FNV-1a, byte after byte.
#include "base/hash.h"

uint64_t heed__hash(uint64_t hash, const void *data, size_t bytes) {
  const unsigned char *byte = data;
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
  return hash;
}
