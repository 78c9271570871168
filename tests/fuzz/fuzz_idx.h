// What both targets that read IDX files promise.
#ifndef FUZZ_IDX_H
#define FUZZ_IDX_H

#include <heed/io.h>

#include "fuzz.h"

// Reads the file: refused by name and reason, or the header and the data agree.
static inline void fuzz_read_idx(const char *path) {
  heed_idx idx;
  const heed_status status = heed_idx_read(path, &idx);
  if (status != HEED_OK) {
    FUZZ_REQUIRE(status == HEED_ERROR_FORMAT && !idx.data);
    fuzz_require_message(path);
    return;
  }
  FUZZ_REQUIRE(idx.data && idx.rank >= 1 && idx.rank <= HEED_MAX_RANK);
  uint64_t bytes = 1;
  for (int i = 0; i < idx.rank; ++i) bytes *= (uint64_t)idx.dims[i];
  FUZZ_REQUIRE(bytes == idx.bytes);
  unsigned sum = 0;
  for (size_t i = 0; i < idx.bytes; ++i) sum += idx.data[i];
  FUZZ_REQUIRE(sum <= 255 * bytes);
  heed_idx_free(&idx);
}

#endif
