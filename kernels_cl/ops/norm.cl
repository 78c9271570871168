// LayerNorm and RMSNorm of rows, forward and backward. Work-items of a group share a row, as common.cl tells. The backward goes over blocks
// of rows; what a block adds to the gradients of weight and bias stands in `partial`, and norm_sums adds the blocks up.
//
// check with: -DVECTOR=8
// check with: -DX_DTYPE=F16 -DGROUP=64 -DRMS=1
// check with: -DVECTOR=8 -DBIAS=1
// check with: -DVECTOR=16 -DX_DTYPE=BF16 -DRMS=1 -DWHOLE=1
// check with: -DGROUP=64 -DADDS=1
// check with: -DVECTOR=8 -DWHOLE=1 -DSTREAMED=1 -DADDS=1
// check with: -DVECTOR=8 -DWHOLE=1 -DSTREAMED=1 -DWHAT=3
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef RMS
#define RMS 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
// 1: what is normed is the sum of two tensors, which is a result too.
#ifndef ADDS
#define ADDS 0
#endif
// 1: rows are a multiple of VECTOR, so that all vectors are whole.
#ifndef WHOLE
#define WHOLE 0
#endif
// 1: rows of F32, whole, of results too many for the caches.
#ifndef STREAMED
#define STREAMED 0
#endif
typedef TYPE(X_DTYPE) real;
// Terms cancel here: two expressions of one text must be one number, and a product that is fused with a sum is not.
#pragma OPENCL FP_CONTRACT OFF

#if WHOLE
#define GET(x, i, padding) HEED_JOIN(whole_, X_DTYPE)((x) + (i))
#define GET_SUM(x, i) VLOAD((x) + (i))
#define PUT_SUM(x, i, value) VSTORE(value, (x) + (i))
#define IN_ROW(value, i) (value)
#else
#define GET(x, i, padding) LOADV(X_DTYPE, x, i, cols, padding)
#define GET_SUM(x, i) LOADV(F32, x, i, cols, 0)
#define PUT_SUM(x, i, value) STOREV(F32, x, i, cols, value)
#define IN_ROW(value, i) (LANES < (intv)min(cols - (i), (idx)VECTOR) ? (value) : (floatv)0)
#endif
#if STREAMED
#define PUT_RESULT(x, i, value)       \
  if (is_aligned)                     \
    STORE_PAST_CACHES(value, x + (i)); \
  else                                \
    VSTORE(value, x + (i))
#else
#define PUT_RESULT(x, i, value) STOREV(X_DTYPE, x, i, cols, value)
#endif
// Sums over a row, in blocks; TERMS(i, n) adds to part0[n], part1[n] and part2[n] what element vector i has. A core adds to two numbers in
// turn, since it begins an addition in each cycle and ends it some cycles later.
#define CHAINS (VECTOR > 1 ? 2 : 1)
#define ROW_STEP (GROUP * VECTOR)
#define SUM_BLOCKS(TERMS)                                                                        \
  for (idx block = 0; block < cols; block += ROW_BLOCK) {                                        \
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;                         \
    floatv part0[2] = {0, 0}, part1[2] = {0, 0}, part2[2] = {0, 0};                              \
    idx i = block + ROW_LANE * VECTOR;                                                           \
    for (; CHAINS == 2 && end - i >= 2 * ROW_STEP; i += 2 * ROW_STEP) {                          \
      TERMS(i, 0)                                                                                \
      TERMS(i + ROW_STEP, 1)                                                                     \
    }                                                                                            \
    for (; i < end; i += ROW_STEP) TERMS(i, 0)                                                   \
    sum0 += part0[0] + part0[1], sum1 += part1[0] + part1[1], sum2 += part2[0] + part2[1];       \
  }

// What a row's elements are measured by: x − μ = (x − shift) − rest, so that no digit is lost where μ is large and σ small.
// RMSNorm has μ = 0, and σ² is the mean of squares. rate = 1/√(σ² + eps).
struct row_norm {
  float shift, rest, variance, rate;
};

#define CENTRED(x, n) (RMS ? (x) : ((x) - (n).shift) - (n).rest)

// Sets rest and variance from the mean and the mean square of x − shift.
void row_moments(const __global real *x, idx cols, struct row_norm *n, __local float *scratch) {
#pragma OPENCL FP_CONTRACT ON
  floatv sum0 = 0, sum1 = 0, sum2 = 0;
  const float shift = n->shift;
#define TERMS(i, n)                              \
  {                                              \
    const floatv c = GET(x, i, shift) - shift;   \
    part0[n] += c;                               \
    part1[n] += c * c;                           \
  }
  SUM_BLOCKS(TERMS)
#undef TERMS
  n->rest = RMS ? 0 : row_sum(sum0, scratch) / cols;
  const float variance = row_sum(sum1, scratch) / cols - n->rest * n->rest;
  n->variance = variance < 0 ? 0 : variance;
}

// The shift is the mean of the first vector. Where that is far from μ against σ, as for a row that begins with an outlier, the sums are taken
// again around the mean that they gave.
struct row_norm norm_of_row(const __global real *x, idx cols, float eps, __local float *scratch) {
  struct row_norm n = {0, 0, 0, 0};
#if !RMS
  n.shift = lanes_sum(GET(x, 0, LOAD(X_DTYPE, x, 0)) * (1.0f / VECTOR));
#endif
  row_moments(x, cols, &n, scratch);
  if (!(n.rest * n.rest <= 3 * n.variance)) {
    n.shift += n.rest;
    row_moments(x, cols, &n, scratch);
  }
  n.rate = 1 / sqrt(n.variance + eps);
  return n;
}

// A row of sum = x + addend. All work-items of the row read the first vector.
void add_row(const __global real *x, const __global real *addend, __global real *sum, idx cols) {
  ROW_LOOP(i, 0, cols) {
#if VECTOR > 1
    PREFETCH_READ(x + cols + i);
    PREFETCH_READ(addend + cols + i);
#endif
    STOREV(X_DTYPE, sum, i, cols, GET(x, i, 0) + GET(addend, i, 0));
  }
#if GROUP > 1
  barrier(CLK_GLOBAL_MEM_FENCE);
#endif
}

// y = (x − μ)/√(σ² + eps) ∘ weight + bias; with ADDS of sum = x + addend, a row of which the cache still has when the norm reads it.
ROW_GROUP __kernel void norm_rows(const __global real *x, long x_offset, const __global real *addend, long addend_offset,
                                  const __global real *weight, long weight_offset, const __global real *bias,
                                  long bias_offset, __global real *sum, long sum_offset, __global real *y, long y_offset,
                                  long rows, long all_cols, float eps) {
  __local float scratch[GROUP];
  const idx cols = all_cols;
  x += x_offset, addend += addend_offset, weight += weight_offset, bias += bias_offset;
  sum += sum_offset, y += y_offset;
#if STREAMED
  const bool is_aligned = (ulong)y % sizeof(floatv) == 0;
#endif
  ROWS_LOOP(row, rows) {
    const __global real *in = x + row * cols;
    __global real *out = y + row * cols;
#if ADDS
    add_row(in, addend + row * cols, sum + row * cols, cols);
    in = sum + row * cols;
#endif
    const struct row_norm n = norm_of_row(in, cols, eps, scratch);
    ROW_LOOP(i, 0, cols) {
#if VECTOR > 1 && !ADDS
      PREFETCH_READ(in + cols + i);
#endif
      floatv value = CENTRED(GET(in, i, 0), n) * n.rate * GET(weight, i, 0);
#if BIAS
      value += GET(bias, i, 0);
#endif
      PUT_RESULT(out, i, value);
    }
  }
}

// With g = dy ∘ weight and h = (x − μ) rate, dx = rate (g − mean(g) − h mean(g h)); RMSNorm has no mean(g). Written so, what is left of g
// after both is lost where they are nearly all of it: short rows, rows along h. So g is split into its mean, its part along h and
// a remainder: with v = mean(h²) = 1 − eps rate² and k = mean(g h) / v,
//   dx = rate (g − mean − k h + k h eps rate²),
// and where the remainder is small, mean and k are taken again of it (Gram and Schmidt's method, twice is enough).
struct row_gradient {
  float mean, along, mean_rest, along_rest; // along_rest: without the last term
};

#define REMAINDER(g, h, d) ((((g) - (d).mean) - (h) * (d).along))

// Sets mean and along; returns whether so little remains that they must be taken again.
bool row_projections(const __global real *x, const __global real *weight, const __global real *dy, idx cols,
                     const struct row_norm *n, float size, struct row_gradient *d, __local float *scratch) {
#pragma OPENCL FP_CONTRACT ON
  floatv sum0 = 0, sum1 = 0, sum2 = 0;
  const float shift = n->shift;
#define TERMS(i, n)                                       \
  {                                                       \
    const floatv g = GET(dy, i, 0) * GET(weight, i, 0);   \
    part0[n] += g;                                        \
    part1[n] += g * (GET(x, i, 0) - shift);               \
    part2[n] += g * g;                                    \
  }
  SUM_BLOCKS(TERMS)
#undef TERMS
  d->mean = RMS ? 0 : row_sum(sum0, scratch) / cols;
  const float along = (row_sum(sum1, scratch) / cols - n->rest * d->mean) * n->rate;
  const float squares = row_sum(sum2, scratch) / cols;
  d->along = size > 0 ? along / size : 0;
  return !(squares - d->mean * d->mean - d->along * d->along * size >= 0.01f * squares);
}

// The same of the remainder.
void remainder_projections(const __global real *x, const __global real *weight, const __global real *dy, idx cols,
                           const struct row_norm *n, float size, struct row_gradient *d, __local float *scratch) {
  floatv sum0 = 0, sum1 = 0, sum2 = 0;
  const struct row_norm norm = *n;
  const struct row_gradient first = *d;
#define TERMS(i, n)                                                                   \
  {                                                                                   \
    const floatv h = CENTRED(GET(x, i, norm.shift), norm) * norm.rate;                \
    const floatv t = REMAINDER(GET(dy, i, 0) * GET(weight, i, 0), h, first);          \
    const floatv kept = IN_ROW(t, i); /* past the row's end, g is −mean */            \
    part0[n] += kept;                                                                 \
    part1[n] += kept * h;                                                             \
  }
  SUM_BLOCKS(TERMS)
#undef TERMS
  d->mean_rest = RMS ? 0 : row_sum(sum0, scratch) / cols;
  const float along = row_sum(sum1, scratch) / cols;
  d->along_rest = size > 0 ? along / size : 0;
}

struct row_gradient gradient_of_row(const __global real *x, const __global real *weight, const __global real *dy, idx cols,
                                    const struct row_norm *n, float eps, __local float *scratch) {
  struct row_gradient d = {0, 0, 0, 0};
  const float size = n->variance * n->rate * n->rate;
  if (row_projections(x, weight, dy, cols, n, size, &d, scratch))
    remainder_projections(x, weight, dy, cols, n, size, &d, scratch);
  d.along_rest -= (d.along + d.along_rest) * eps * n->rate * n->rate;
  return d;
}

// Bits of WHAT, which tells what is wanted, as in cl/ops/norm.c.
#define WANTS_DX 1
#define WANTS_SUMS 2
#define HAS_RESIDUAL 4
#ifndef WHAT
#define WHAT 7
#endif

// dx of a row (plus `residual`), and dy ∘ h and dy added to the block's sums. A core fetches its next row meanwhile.
void row_gradients(const __global real *x, const __global real *weight, const __global real *dy,
                   const __global real *residual, __global real *dx, __global float *sums, idx cols,
                   const struct row_norm n, const struct row_gradient d, bool is_aligned) {
  ROW_LOOP(i, 0, cols) {
    const floatv h = CENTRED(GET(x, i, 0), n) * n.rate, up = GET(dy, i, 0);
#if VECTOR > 1
    PREFETCH_READ(x + cols + i);
    PREFETCH_READ(dy + cols + i);
#endif
#if WHAT & WANTS_SUMS
    PUT_SUM(sums, i, GET_SUM(sums, i) + up * h);
#if !RMS
    PUT_SUM(sums + cols, i, GET_SUM(sums + cols, i) + up);
#endif
#endif
#if WHAT & WANTS_DX
    const floatv t = REMAINDER(up * GET(weight, i, 0), h, d);
    floatv value = n.rate * ((t - d.mean_rest) - h * d.along_rest);
#if WHAT & HAS_RESIDUAL
    value += GET(residual, i, 0);
#endif
    PUT_RESULT(dx, i, value);
#endif
  }
}

// Group: blocks of `share` rows. partial: F32 [blocks, 2 (RMS: 1), cols], the sums of dy ∘ h and of dy.
ROW_GROUP __kernel void norm_rows_gradient(const __global real *x, long x_offset, const __global real *weight,
                                           long weight_offset, const __global real *dy, long dy_offset,
                                           const __global real *residual, long residual_offset, __global real *dx,
                                           long dx_offset, __global float *partial, long rows, long all_cols, long share,
                                           float eps) {
  __local float scratch[GROUP];
  const idx cols = all_cols, blocks = (rows + share - 1) / share;
  x += x_offset, weight += weight_offset, dy += dy_offset, residual += residual_offset, dx += dx_offset;
  const bool is_aligned = (ulong)dx % sizeof(floatv) == 0;
  ROWS_LOOP(block, blocks) {
    const idx first = block * (idx)share, end = min((idx)rows, first + (idx)share);
    __global float *sums = partial + block * (RMS ? 1 : 2) * cols;
#if WHAT & WANTS_SUMS
    ROW_LOOP(i, 0, cols) {
      PUT_SUM(sums, i, (floatv)0);
#if !RMS
      PUT_SUM(sums + cols, i, (floatv)0);
#endif
    }
#endif
    for (idx row = first; row < end; ++row) {
      const idx at = row * cols;
      const struct row_norm n = norm_of_row(x + at, cols, eps, scratch);
      struct row_gradient d = {0, 0, 0, 0};
      if (WHAT & WANTS_DX) d = gradient_of_row(x + at, weight, dy + at, cols, &n, eps, scratch);
      row_gradients(x + at, weight, dy + at, WHAT & HAS_RESIDUAL ? residual + at : residual,
                    WHAT & WANTS_DX ? dx + at : dx, sums, cols, n, d, is_aligned);
    }
  }
}

// y[c] = Σ partial[b, c] over the blocks, `stride` elements apart. A work-item has VECTOR columns; sums run in groups of blocks, so that their
// error grows with the square root of the rows.
#define BLOCKS_A_TIME 32
enum { ACCUMULATES = 1 }; // as in cl/ops/norm.c
__kernel void norm_sums(const __global float *partial, long partial_offset, __global real *y, long y_offset, long blocks,
                        long all_cols, long stride, uint what) {
  const idx cols = all_cols, col = (idx)get_global_id(0) * VECTOR;
  if (col >= cols) return;
  partial += partial_offset, y += y_offset;
  floatv sum = 0;
  for (idx first = 0; first < blocks; first += BLOCKS_A_TIME) {
    const idx end = min((idx)blocks, first + BLOCKS_A_TIME);
    floatv part = 0;
    for (idx block = first; block < end; ++block) part += LOADV(F32, partial + block * (idx)stride, col, cols, 0);
    sum += part;
  }
  if (what & ACCUMULATES) sum += GET(y, col, 0);
  STOREV(X_DTYPE, y, col, cols, sum);
}
