// FNV-1a over 64 bits, for file names and ids: it tells texts apart, but it does not stop someone who makes two of them collide on purpose.
// BLAKE2b with 32 bytes, for contents of any size: nobody can make two with one digest. Knows nothing else of heed.
#ifndef HEED__HASH_H
#define HEED__HASH_H

#include <stddef.h>
#include <stdint.h>

#define HEED__HASH_START UINT64_C(0xcbf29ce484222325)
// Returns the hash of all bytes so far, continued by these. Start with HEED__HASH_START.
uint64_t heed__hash(uint64_t hash, const void *data, size_t bytes);

enum { HEED__DIGEST_BYTES = 32, HEED__DIGEST_BLOCK = 128 };

struct heed__digest {
  uint64_t state[8], bytes;
  uint8_t block[HEED__DIGEST_BLOCK];
  size_t used;  // of the block
};

void heed__digest_start(struct heed__digest *digest);
void heed__digest_add(struct heed__digest *digest, const void *data, size_t bytes);
void heed__digest_end(struct heed__digest *digest, uint8_t out[HEED__DIGEST_BYTES]);

#endif
