// What a linear layer needs beside products: the epilogue of a product that was stored without one, and sums of columns for the
// bias's gradient.
//
// check with: -DVECTOR=8 -DX_DTYPE=F16
// check with: -DVECTOR=16 -DGELU=2
#include "gemm_epilogue.cl"
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif

// Work-item: a vector of a row of C.
__kernel void epilogue(__global real *c, long c_offset, long c_stride0, long c_stride1, long c_ld, EPILOGUE_ARGUMENTS,
                       long batches1, long m, long n) {
  const long col = (long)get_global_id(0) * VECTOR, row = get_global_id(1), batch = get_global_id(2);
  const struct epilogue e = EPILOGUE(batch / batches1, batch % batches1);
  c += c_offset + batch / batches1 * c_stride0 + batch % batches1 * c_stride1 + row * c_ld + col;
  finish(LOADV(X_DTYPE, c, 0, (idx)(n - col), 0), c, row, col, n - col < VECTOR ? (int)(n - col) : VECTOR, e);
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
