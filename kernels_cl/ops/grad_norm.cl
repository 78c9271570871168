// The norm of gradients: sums of squares in blocks that the count alone decides, clipping by it, and what one step's control decides by it.
//
// check with: -DVECTOR=8
// check with: -DX_DTYPE=F16 -DGROUP=64
// check with: -DVECTOR=8 -DX_DTYPE=BF16
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;

// Over x[first .. last): their sum, or the sum of their squares. In blocks, so that the error grows with the root of their number.
#define DEFINE_SUM(name, dtype, term)                                                                        \
  float name(const __global TYPE(dtype) *x, idx first, idx last, __local float *scratch) {                    \
    floatv sum = 0;                                                                                          \
    for (idx block = first; block < last; block += ROW_BLOCK) {                                              \
      const idx end = last - block > ROW_BLOCK ? block + ROW_BLOCK : last;                                   \
      floatv part = 0;                                                                                       \
      ROW_LOOP(i, block, end) {                                                                              \
        const floatv value = LOADV(dtype, x, i, last, 0);                                                    \
        part += term;                                                                                        \
      }                                                                                                      \
      sum += part;                                                                                           \
    }                                                                                                        \
    return row_sum(sum, scratch);                                                                            \
  }
DEFINE_SUM(block_squares, X_DTYPE, value *value)
DEFINE_SUM(block_sum, F32, value)

// partial[b] = Σ x² over block b of `share` elements.
ROW_GROUP __kernel void square_blocks(const __global real *x, long x_offset, __global float *partial, long count,
                                      long share) {
  __local float scratch[GROUP];
  const idx blocks = (count + share - 1) / share;
  ROWS_LOOP(block, blocks) {
    const idx first = block * (idx)share, last = min((idx)count, first + (idx)share);
    const float sum = block_squares(x + x_offset, first, last, scratch);
    if (ROW_LANE == 0) partial[block] = sum;
  }
}

// As in cl/ops/grad_norm.c.
enum { ACCUMULATES = 1, TAKES_ROOT = 2 };

// sum = Σ partial: one group.
ROW_GROUP __kernel void square_sum(const __global float *partial, long blocks, __global float *sum, long sum_offset,
                                   uint what) {
  __local float scratch[GROUP];
  float total = block_sum(partial, 0, blocks, scratch);
  if (ROW_LANE != 0) return;
  if (what & ACCUMULATES) total += sum[sum_offset];
  sum[sum_offset] = what & TAKES_ROOT ? sqrt(total) : total;
}

// min(1, max_norm / (norm + 1e-6)); NaN of NaN.
float clip_of(float norm, float max_norm) {
  const float factor = max_norm / (norm + 1e-6f);
  return factor > 1 ? 1.0f : factor;
}

// x *= clip. A work-item goes over `walk` elements.
__kernel void clip_by_norm(const __global float *norm, long norm_offset, __global real *x, long x_offset, long count,
                           uint walk, float max_norm) {
  const float factor = clip_of(norm[norm_offset], max_norm);
  if (factor == 1) return;
  const idx first = (idx)get_global_id(0) * walk, end = min(count, (long)first + walk);
  x += x_offset;
  for (idx i = first; i < end; i += VECTOR) STOREV(X_DTYPE, x, i, end, LOADV(X_DTYPE, x, i, end, 0) * factor);
}

// One work-item. counts: applied, tried, first bad, in a row. operators.h tells what they mean.
__kernel void grad_control(const __global float *squares, long squares_offset, __global float *norm, long norm_offset,
                           __global float *factor, long factor_offset, __global int *counts, long counts_offset,
                           __global float *scale, long scale_offset, uint has_scale, float max_norm, float growth,
                           float backoff, uint growth_interval) {
  if (get_global_id(0) != 0) return;
  const float before = has_scale ? scale[scale_offset] : 1, now = sqrt(squares[squares_offset]) / before;
  const bool finite = isfinite(now);
  counts += counts_offset;
  norm[norm_offset] = now;
  factor[factor_offset] = finite ? (max_norm > 0 ? clip_of(now, max_norm) : 1.0f) / before : NAN;
  const int tried = counts[1] + 1, row = finite ? counts[3] + 1 : 0;
  const bool grows = row >= (int)growth_interval;
  counts[0] += finite;
  counts[1] = tried;
  if (!finite && counts[2] == 0) counts[2] = tried;
  counts[3] = grows ? 0 : row;
  const float next = grows ? before * growth : finite ? before : before * backoff;
  // Neither 0 nor infinity, from which no step would come back.
  if (has_scale && next >= 0x1p-126f && next <= 0x1p127f) scale[scale_offset] = next;
}
