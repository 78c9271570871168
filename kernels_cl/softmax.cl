// softmax and log-softmax, forward and backward: rows where the axis is the last one, else columns [outer, axis, inner].
// Either subtracts the slice's largest element; a slice that is −inf throughout subtracts 0 and has the sum 0.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef LOG
#define LOG 0
#endif
typedef TYPE(X_DTYPE) real;

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
  return exp(x - shift) * factor;
#endif
}

float row_shift(const __global real *x, idx cols, __local float *scratch) {
  floatv largest = -INFINITY;
  ROW_LOOP(i, 0, cols) largest = fmax(largest, LOADV(X_DTYPE, x, i, cols, -INFINITY));
  return SHIFT_OF(row_max(largest, scratch));
}

float row_exp_sum(const __global real *x, idx cols, float shift, __local float *scratch) {
  floatv sum = 0;
  for (idx block = 0; block < cols; block += ROW_BLOCK) {
    const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : cols;
    floatv part = 0;
    ROW_LOOP(i, block, end) part += exp(LOADV(X_DTYPE, x, i, cols, -INFINITY) - shift);
    sum += part;
  }
  return row_sum(sum, scratch);
}

// Returns log Σ exp(x). out may be in: a work-item writes only what it alone has read.
float softmax_row(const __global real *in, __global real *out, idx cols, __local float *scratch) {
  const float shift = row_shift(in, cols, scratch);
  const float sum = row_exp_sum(in, cols, shift, scratch);
  const float factor = factor_of(sum);
  ROW_LOOP(i, 0, cols) STOREV(X_DTYPE, out, i, cols, result_of(LOADV(X_DTYPE, in, i, cols, 0), shift, factor));
  return shift + log(sum);
}

ROW_GROUP __kernel void softmax_rows(const __global real *x, long x_offset, __global real *y, long y_offset, long rows,
                                     long cols) {
  __local float scratch[GROUP];
  for (idx row = ROW_FIRST; row < rows; row += ROW_STEP)
    softmax_row(x + x_offset + row * (idx)cols, y + y_offset + row * (idx)cols, cols, scratch);
}

// The same, and lse = log Σ exp(x) for each row: −inf where the row is −inf throughout.
ROW_GROUP __kernel void softmax_rows_lse(const __global real *x, long x_offset, __global real *y, long y_offset,
                                         __global float *lse, long lse_offset, long rows, long cols) {
  __local float scratch[GROUP];
  for (idx row = ROW_FIRST; row < rows; row += ROW_STEP) {
    const float row_lse =
        softmax_row(x + x_offset + row * (idx)cols, y + y_offset + row * (idx)cols, cols, scratch);
    if (ROW_LANE == 0) lse[lse_offset + row] = row_lse;
  }
}

// softmax: dx = y (dy − Σ y dy). log-softmax: dx = dy − exp(y) Σ dy.
floatv term_of(floatv y, floatv dy) { return LOG ? dy : y * dy; }
floatv gradient_of(floatv y, floatv dy, float sum) { return LOG ? dy - exp(y) * sum : y * (dy - sum); }

ROW_GROUP __kernel void softmax_rows_gradient(const __global real *y, long y_offset, const __global real *dy,
                                              long dy_offset, __global real *dx, long dx_offset, long rows,
                                              long cols) {
  __local float scratch[GROUP];
  for (idx row = ROW_FIRST; row < rows; row += ROW_STEP) {
    const __global real *y_row = y + y_offset + row * (idx)cols;
    const __global real *dy_row = dy + dy_offset + row * (idx)cols;
    __global real *out = dx + dx_offset + row * (idx)cols;
    floatv total = 0;
    for (idx block = 0; block < cols; block += ROW_BLOCK) {
      const idx end = cols - block > ROW_BLOCK ? block + ROW_BLOCK : (idx)cols;
      floatv part = 0;
      ROW_LOOP(i, block, end)
      part += term_of(LOADV(X_DTYPE, y_row, i, cols, 0), LOADV(X_DTYPE, dy_row, i, cols, 0));
      total += part;
    }
    const float sum = row_sum(total, scratch);
    ROW_LOOP(i, 0, (idx)cols)
    STOREV(X_DTYPE, out, i, cols,
           gradient_of(LOADV(X_DTYPE, y_row, i, cols, 0), LOADV(X_DTYPE, dy_row, i, cols, 0), sum));
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
    for (idx a = block; a < end; ++a) part += exp(LOADV(X_DTYPE, in + a * step, i, step, 0) - shift);
    sum += part;
  }
  const floatv factor = factors_of(sum);
  AXIS_LOOP(a, (idx)axis) {
    const floatv shifted = LOADV(X_DTYPE, in + a * step, i, step, 0) - shift;
    STOREV(X_DTYPE, out + a * step, i, step, LOG ? shifted - factor : exp(shifted) * factor);
  }
}

__kernel void softmax_columns_gradient(const __global real *y, long y_offset, const __global real *dy, long dy_offset,
                                       __global real *dx, long dx_offset, long outer, long axis, long inner) {
  const idx per_outer = ((idx)inner + VECTOR - 1) / VECTOR, item = get_global_id(0);
  if (item >= (idx)outer * per_outer) return;
  const idx slice = item / per_outer * (idx)axis * (idx)inner, i = item % per_outer * VECTOR, step = inner;
  y += y_offset + slice;
  dy += dy_offset + slice;
  dx += dx_offset + slice;

  floatv sum = 0;
  for (idx block = 0; block < axis; block += COLUMN_BLOCK) {
    const idx end = axis - block > COLUMN_BLOCK ? block + COLUMN_BLOCK : (idx)axis;
    floatv part = 0;
    for (idx a = block; a < end; ++a)
      part += term_of(LOADV(X_DTYPE, y + a * step, i, step, 0), LOADV(X_DTYPE, dy + a * step, i, step, 0));
    sum += part;
  }
  AXIS_LOOP(a, (idx)axis) {
    const floatv y_a = LOADV(X_DTYPE, y + a * step, i, step, 0), dy_a = LOADV(X_DTYPE, dy + a * step, i, step, 0);
    STOREV(X_DTYPE, dx + a * step, i, step, LOG ? dy_a - exp(y_a) * sum : y_a * (dy_a - sum));
  }
}
