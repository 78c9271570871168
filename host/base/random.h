// Philox4x32-10 for the library's own use; the public face is in heed.h.
#ifndef HEED__RANDOM_H
#define HEED__RANDOM_H

#include <heed/heed.h>

// Attention dropout: the weight of (b, h, i, j) is kept iff word j & 3 of Philox(seed, {j >> 2, i, h, b}) >= threshold,
// where threshold = p · 2^32. Kernels hold the same formula in OpenCL C.
static inline bool heed__dropout_keeps(uint64_t seed, uint32_t threshold, uint32_t b, uint32_t h, uint32_t i,
                                       uint32_t j) {
  const uint32_t counter[4] = {j >> 2, i, h, b};
  uint32_t random[4];
  heed_philox(seed, counter, random);
  return random[j & 3] >= threshold;
}

// Dropout of a tensor: whether element e is kept. Sixteen neighbours have the same word of neighbouring counters, so that they are a
// vector in kernels; the last word of the counter is one that no attention has.
static inline bool heed__element_is_kept(uint64_t seed, uint32_t threshold, uint64_t e) {
  const uint64_t number = e / 64 * 16 + e % 16;
  const uint32_t counter[4] = {(uint32_t)number, (uint32_t)(number >> 32), 0, UINT32_MAX};
  uint32_t random[4];
  heed_philox(seed, counter, random);
  return random[e / 16 % 4] >= threshold;
}

#endif
