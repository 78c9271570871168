// IDX files, plain: the input is the file. (zlib also takes it for gzip'd where it begins like that.)
#include "fuzz_idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_read_idx(fuzz_file(data, size));
  return 0;
}
