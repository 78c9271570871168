// Sizes that cannot wrap: products and sums of dimensions, checked. Knows nothing else of heed.
#ifndef HEED__SIZE_H
#define HEED__SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// *out = a·b or a + b; returns false if the result does not fit.
static inline bool heed__mul(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool heed__sum(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }

static inline int64_t heed__min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t heed__max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t heed__ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t heed__round_up(int64_t a, int64_t b) { return heed__ceil_div(a, b) * b; }

// "12.5 MiB" into text of at least 32 bytes; returns text.
const char *heed__bytes_text(uint64_t bytes, char *text);

#endif
