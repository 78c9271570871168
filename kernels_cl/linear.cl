// The parts of a linear layer that are not matrix products: bias onto rows, and sums of columns for its gradient.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif

// y[r, c] += bias[c]
__kernel void add_bias(const __global TYPE(X_DTYPE) *bias, long bias_offset, __global TYPE(X_DTYPE) *y, long y_offset,
                       long cols, long count) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  y += y_offset;
  STORE(X_DTYPE, y, i, LOAD(X_DTYPE, y, i) + LOAD(X_DTYPE, bias + bias_offset, i % (idx)cols));
}

// y[s, c] = Σ x[r, c] over the rows r of share s, `share` rows each. A work-item has VECTOR columns of one share; blocks keep
// the rounding of long sums small.
#define ROWS_A_BLOCK 32
__kernel void column_sums(const __global TYPE(X_DTYPE) *x, long x_offset, __global TYPE(Y_DTYPE) *y, long y_offset,
                          long rows, long cols, long share) {
  const idx per_share = ((idx)cols + VECTOR - 1) / VECTOR, shares = max(((idx)rows + (idx)share - 1) / (idx)share, (idx)1);
  const idx item = get_global_id(0);
  if (item >= shares * per_share) return;
  const idx s = item / per_share, col = item % per_share * VECTOR, first = s * (idx)share;
  const idx end = rows - first < share ? (idx)rows : first + (idx)share;
  x += x_offset;
  floatv sum = 0;
  for (idx block = first; block < end; block += ROWS_A_BLOCK) {
    const idx block_end = end - block < ROWS_A_BLOCK ? end : block + ROWS_A_BLOCK;
    floatv part = 0;
    for (idx row = block; row < block_end; ++row) part += LOADV(X_DTYPE, x + row * (idx)cols, col, (idx)cols, 0);
    sum += part;
  }
  STOREV(Y_DTYPE, y + y_offset + s * (idx)cols, col, (idx)cols, sum);
}
