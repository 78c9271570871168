// softmax and log-softmax, forward and backward, of [outer, axis, inner]. Row kernels share a slice among the work-items of a
// group; column kernels give a work-item whole slices. Either subtracts the slice's largest element; a slice that is −inf throughout subtracts 0 and has the sum 0.
//
// check with: -DVECTOR=8
// check with: -DX_DTYPE=F16 -DGROUP=64 -DLOG=1
// check with: -DVECTOR=8 -DSTREAMED=4096
// check with: -DVECTOR=8 -DSTREAMED=4096 -DLOG=1
// check with: -DX_DTYPE=BF16 -DGROUP=64 -DHELD=4
// check with: -DGROUP=256 -DHELD=16 -DLOG=1
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef LOG
#define LOG 0
#endif
// Not 0: rows of F32, a multiple of VECTOR and at most STREAMED of them, of results too many for the caches.
#ifndef STREAMED
#define STREAMED 0
#endif
// Not 0: an item holds a row's share in so many registers, and the row is no longer than a group's items hold. Each element is then read
// once, and its exponential computed once.
#ifndef HELD
#define HELD 0
#endif
typedef TYPE(X_DTYPE) real;
#pragma OPENCL FP_CONTRACT ON
#include "exp.cl"

// Any finite shift gives the same result; −inf − (−inf) would be NaN.
#define SHIFT_OF(largest) ((largest) == -INFINITY ? 0.0f : (largest))

// What a slice comes to, given its shift and its Σ exp(x − shift): y = x − shift − factor or exp(x − shift) · factor.
float factor_of(float sum) {
#if LOG
  return sum == 0 ? 0.0f : log(sum);
#else
  return sum == 0 ? 0.0f : 1 / sum;
#endif
}
floatv result_of(floatv x, float shift, float factor) {
#if LOG
  return (x - shift) - factor;
#else
  return exp_flushed(x - shift) * factor;
#endif
}

// Whether a row of results holds the exponentials until their sum is known. It saves the second exp() where the row stays in a
// work-item's cache and loses no digits. Where results are streamed, a private row holds them.
#define IS_KEPT_F32 1
#define IS_KEPT_F16 0
#define IS_KEPT_BF16 0
#define KEEPS_EXP (GROUP == 1 && !LOG && HEED_JOIN(IS_KEPT_, X_DTYPE))
#if STREAMED
typedef __private float *kept;
#else
typedef __global real *kept;
#endif

// Elements of a slice; they lie `step` apart, which is 1 where VECTOR is not.
#if VECTOR == 1
#define GET(x, i, padding) LOAD(X_DTYPE, x, (i) * step)
#define PUT(x, i, value) STORE(X_DTYPE, x, (i) * step, value)
#else
#define GET(x, i, padding) LOADV(X_DTYPE, x, i, cols, padding)
#define PUT(x, i, value) STOREV(X_DTYPE, x, i, cols, value)
#endif
#if STREAMED
#define GET_KEPT(i) VLOAD(terms + (i))
#define KEEP(i, value) VSTORE(value, terms + (i))
#define PUT_RESULT(x, i, value)       \
  if (is_aligned)                     \
    STORE_PAST_CACHES(value, x + (i)); \
  else                                \
    VSTORE(value, x + (i))
#else
#define GET_KEPT(i) GET(terms, i, 0)
#define KEEP(i, value) PUT(terms, i, value)
#define PUT_RESULT(x, i, value) PUT(x, i, value)
#endif

// fmax without its care for NaN: one in x is passed over, and comes back through exp().
floatv larger_of(floatv largest, floatv x) { return x > largest ? x : largest; }

floatv row_largest(const __global real *x, idx cols, idx step) {
  floatv largest = -INFINITY;
  ROW_LOOP(i, 0, cols) largest = larger_of(largest, GET(x, i, -INFINITY));
  return largest;
}

// Σ exp(x − shift); the terms go to `terms` where they are kept. On the way, where a core takes row after row, the largest element
// of the next one, so that memory is read while exp() is computed.
#define LOOKS_AHEAD (VECTOR > 1)
float row_exp_sum(const __global real *x, idx cols, idx step, float shift, kept terms,
                  const __global real *next, floatv *next_largest, __local float *scratch) {
  floatv ahead = -INFINITY;
  floatv sum = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) {
      const floatv e = exp_flushed(GET(x, i, -INFINITY) - shift);
#if KEEPS_EXP
      KEEP(i, e);
#endif
#if LOOKS_AHEAD
      ahead = larger_of(ahead, GET(next, i, -INFINITY));
#endif
      part += e;
    }
    sum += part;
  }
  *next_largest = ahead;
  return row_sum(sum, scratch);
}

// Where slice `row` of [outer, cols, inner] begins.
#define SLICE_START(row) ((row) / (idx)inner * (idx)cols * (idx)inner + (row) % (idx)inner)

#if HELD
#define HELD_LOOP(n, i, cols) _Pragma("unroll") for (int n = 0, i = ROW_LANE; n < HELD; ++n, i += GROUP)

void softmax_of_held(const __global real *in, __global real *out, idx cols, idx step, __local float *scratch) {
  float held[HELD], largest = -INFINITY, sum = 0;
  HELD_LOOP(n, i, cols) held[n] = i < cols ? GET(in, i, 0) : -INFINITY;
  HELD_LOOP(n, i, cols) largest = larger_of(largest, held[n]);
  const float shift = SHIFT_OF(row_max(largest, scratch));
  HELD_LOOP(n, i, cols) {
    const float e = i < cols ? exp_flushed(held[n] - shift) : 0;
    sum += e;
    if (!LOG) held[n] = e;
  }
  const float factor = factor_of(row_sum(sum, scratch));
  HELD_LOOP(n, i, cols)
  if (i < cols) PUT(out, i, LOG ? (held[n] - shift) - factor : held[n] * factor);
}
#endif

ROW_GROUP __kernel void softmax_rows(const __global real *x, long x_offset, __global real *y, long y_offset, long outer,
                                     long cols, long inner) {
  __local float scratch[GROUP];
  const idx step = inner;
#if HELD
  ROWS_LOOP(row, outer * inner) {
    const idx start = SLICE_START(row);
    softmax_of_held(x + x_offset + start, y + y_offset + start, cols, step, scratch);
  }
#else
  floatv largest = -INFINITY;
  bool is_known = false;
#if STREAMED
  float terms[STREAMED] __attribute__((aligned(64)));
  const bool is_aligned = (ulong)(y + y_offset) % sizeof(floatv) == 0;
#endif
  ROWS_LOOP(row, outer * inner) {
    const idx start = SLICE_START(row);
    const __global real *in = x + x_offset + start, *next = row + 1 < outer * inner ? in + cols : in;
    __global real *out = y + y_offset + start;
#if !STREAMED
    const kept terms = out;
#endif
    if (!is_known) largest = row_largest(in, cols, step);
    const float shift = SHIFT_OF(row_max(largest, scratch));
    const float factor = factor_of(row_exp_sum(in, cols, step, shift, terms, next, &largest, scratch));
    is_known = LOOKS_AHEAD;
#if KEEPS_EXP
    ROW_LOOP(i, 0, (idx)cols) { PUT_RESULT(out, i, GET_KEPT(i) * factor); }
#else
    ROW_LOOP(i, 0, (idx)cols) { PUT_RESULT(out, i, result_of(GET(in, i, 0), shift, factor)); }
#endif
  }
#endif
}

// log-softmax: dx = dy − exp(y) Σ dy. softmax: dx = y (dy − Σ y dy). Where y is nearly one-hot that difference cancels, and what
// rounding took from y and from the sum would be all that is left. So the sum is taken again around a centre, the first
// sum, which Σ y = 1 allows: dx = y ((dy − centre) − Σ y (dy − centre)).
floatv term_of(floatv y, floatv dy, floatv centre) { return LOG ? dy : y * (dy - centre); }
floatv gradient_of(floatv y, floatv dy, floatv centre, floatv sum) {
  return LOG ? dy - exp_flushed(y) * sum : y * ((dy - centre) - sum);
}

float row_term_sum(const __global real *y, const __global real *dy, idx cols, idx step, float centre,
                   __local float *scratch) {
  floatv sum = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) part += term_of(GET(y, i, 0), GET(dy, i, 0), centre);
    sum += part;
  }
  return row_sum(sum, scratch);
}

ROW_GROUP __kernel void softmax_rows_gradient(const __global real *y, long y_offset, const __global real *dy,
                                              long dy_offset, __global real *dx, long dx_offset, long outer, long cols,
                                              long inner) {
  __local float scratch[GROUP];
  const idx step = inner;
  ROWS_LOOP(row, outer * inner) {
    const idx start = SLICE_START(row);
    const __global real *y_row = y + y_offset + start, *dy_row = dy + dy_offset + start;
    __global real *out = dx + dx_offset + start;
    float sum = row_term_sum(y_row, dy_row, cols, step, 0, scratch), centre = 0;
#if !LOG
    centre = isfinite(sum) ? sum : 0;
    sum = row_term_sum(y_row, dy_row, cols, step, centre, scratch);
#endif
    ROW_LOOP(i, 0, (idx)cols) PUT(out, i, gradient_of(GET(y_row, i, 0), GET(dy_row, i, 0), centre, sum));
  }
}

// ---- columns: a work-item has VECTOR neighbours of `inner`, and walks the axis

#define COLUMN_BLOCK 64
#define AXIS_LOOP(a, end) for (idx a = 0; a < (end); ++a)

floatv factors_of(floatv sum) {
#if LOG
  return select(log(sum), (floatv)0, sum == 0);
#else
  return select(1 / sum, (floatv)0, sum == 0);
#endif
}

__kernel void softmax_columns(const __global real *x, long x_offset, __global real *y, long y_offset, long outer,
                              long axis, long inner) {
  const idx per_outer = ((idx)inner + VECTOR - 1) / VECTOR, item = get_global_id(0);
  if (item >= (idx)outer * per_outer) return;
  const idx slice = item / per_outer * (idx)axis * (idx)inner, i = item % per_outer * VECTOR, step = inner;
  const __global real *in = x + x_offset + slice;
  __global real *out = y + y_offset + slice;

  floatv shift = -INFINITY, sum = 0;
  AXIS_LOOP(a, (idx)axis) shift = fmax(shift, LOADV(X_DTYPE, in + a * step, i, step, 0));
  shift = select(shift, (floatv)0, shift == -INFINITY);
  for (idx block = 0; block < axis; block += COLUMN_BLOCK) {
    const idx end = axis - block > COLUMN_BLOCK ? block + COLUMN_BLOCK : (idx)axis;
    floatv part = 0;
    for (idx a = block; a < end; ++a) part += exp_flushed(LOADV(X_DTYPE, in + a * step, i, step, 0) - shift);
    sum += part;
  }
  const floatv factor = factors_of(sum);
  AXIS_LOOP(a, (idx)axis) {
    const floatv shifted = LOADV(X_DTYPE, in + a * step, i, step, 0) - shift;
    STOREV(X_DTYPE, out + a * step, i, step, LOG ? shifted - factor : exp_flushed(shifted) * factor);
  }
}

floatv column_term_sum(const __global real *y, const __global real *dy, idx axis, idx step, idx i, floatv centre) {
  floatv sum = 0;
  for (idx block = 0; block < axis; block += COLUMN_BLOCK) {
    const idx end = axis - block > COLUMN_BLOCK ? block + COLUMN_BLOCK : axis;
    floatv part = 0;
    for (idx a = block; a < end; ++a)
      part += term_of(LOADV(X_DTYPE, y + a * step, i, step, 0), LOADV(X_DTYPE, dy + a * step, i, step, 0), centre);
    sum += part;
  }
  return sum;
}

__kernel void softmax_columns_gradient(const __global real *y, long y_offset, const __global real *dy, long dy_offset,
                                       __global real *dx, long dx_offset, long outer, long axis, long inner) {
  const idx per_outer = ((idx)inner + VECTOR - 1) / VECTOR, item = get_global_id(0);
  if (item >= (idx)outer * per_outer) return;
  const idx slice = item / per_outer * (idx)axis * (idx)inner, i = item % per_outer * VECTOR, step = inner;
  y += y_offset + slice;
  dy += dy_offset + slice;
  dx += dx_offset + slice;

  floatv sum = column_term_sum(y, dy, axis, step, i, 0), centre = 0;
#if !LOG
  centre = select((floatv)0, sum, isfinite(sum));
  sum = column_term_sum(y, dy, axis, step, i, centre);
#endif
  AXIS_LOOP(a, (idx)axis) {
    const floatv y_a = LOADV(X_DTYPE, y + a * step, i, step, 0), dy_a = LOADV(X_DTYPE, dy + a * step, i, step, 0);
    STOREV(X_DTYPE, dx + a * step, i, step, gradient_of(y_a, dy_a, centre, sum));
  }
}
