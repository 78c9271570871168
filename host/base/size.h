// Sizes that cannot wrap: products and sums of dimensions, checked. Knows nothing else of heed.
#ifndef HEED__SIZE_H
#define HEED__SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// *out = a·b or a + b; returns false if the result does not fit.
static inline bool heed__mul(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool heed__sum(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }

static inline int64_t heed__min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t heed__max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t heed__ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t heed__round_up(int64_t a, int64_t b) { return heed__ceil_div(a, b) * b; }

// The upper half of a·b, by halves, as 32-bit compilers have no integer of 128 bits.
static inline uint64_t heed__mul_high(uint64_t a, uint64_t b) {
  const uint64_t low = (a & UINT32_MAX) * (b & UINT32_MAX), cross = (a >> 32) * (b & UINT32_MAX) + (low >> 32);
  const uint64_t other = (a & UINT32_MAX) * (b >> 32) + (cross & UINT32_MAX);
  return (a >> 32) * (b >> 32) + (cross >> 32) + (other >> 32);
}

// a·b modulo m, for a and b from 0 and m from 1 on: doubles and adds, so that nothing passes 2m.
static inline int64_t heed__mul_mod(int64_t a, int64_t b, int64_t m) {
  const uint64_t unit = (uint64_t)(a % m), modulus = (uint64_t)m;
  uint64_t product = 0;
  for (int bit = 62; bit >= 0; --bit) {
    product = product * 2 % modulus;
    if ((uint64_t)b >> bit & 1) product = (product + unit) % modulus;
  }
  return (int64_t)product;
}

// Memory for `count` elements, or NULL; also where the bytes of a long view of little memory pass what this process can address.
static inline void *heed__new_array(int64_t count, size_t size) {
  return (uint64_t)count < SIZE_MAX / size ? malloc((size_t)(count > 0 ? count : 1) * size) : NULL;
}

// "12.5 MiB" into text of at least 32 bytes; returns text.
const char *heed__bytes_text(uint64_t bytes, char *text);

#endif
