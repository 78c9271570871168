// C = activation(alpha op(A) op(B) + beta C + bias), for every batch and of any size: a work-item works alone on vectors. CPUs have
// gemm/cpu.cl besides, devices with work-groups and local memory gemm/tiles.cl; this does what those leave.
// What lies outside a matrix is taken as 0 and never read.
//
// check with: -DVECTOR=4 -DROWS=4 -DX_DTYPE=F16 -DGELU=1
// check with: -DVECTOR=16 -DROWS=12 -DX_DTYPE=BF16
#include "gemm/epilogue.cl"

// A tensor [B0, B1, …]: its first element, how far apart its batches are, and the rows and columns of its op(): a transposed
// matrix has row 1. One program serves every form.
#define MATRIX(x) __global real *x, long x##_offset, long x##_stride0, long x##_stride1, long x##_row, long x##_col
#define BATCH_OF(x, batch) \
  (x + x##_offset + (batch) / batches1 * x##_stride0 + (batch) % batches1 * x##_stride1)
#define GEMM_ARGUMENTS                                                                                               \
  const MATRIX(a), const MATRIX(b), MATRIX(c), EPILOGUE_ARGUMENTS, long batches1, long m, long n, long k
#define AT(x, row, col) ((idx)(row) * (idx)x##_row + (idx)(col) * (idx)x##_col)

// ---- single work-items: a panel of COLS columns of C, ROWS × STRIPS rows of it

// B's panel is packed DEPTH rows at a time, whatever its form and dtype, and then used for every strip of ROWS rows, whose
// sums live in registers meanwhile. Sums of sums keep the rounding of a long k small.
#ifndef ROWS
#define ROWS 6
#endif
#define STRIPS 16
#define COLS (2 * VECTOR)
#define DEPTH 128

void pack_panel(const __global real *b, idx b_row, idx b_col, idx depth0, idx depth, idx col0, idx cols,
                float *panel) {
  if (b_col == 1) {
    for (idx inner = 0; inner < depth; ++inner)
      for (int col = 0; col < COLS; col += VECTOR)
        VSTORE(LOADV(X_DTYPE, b + AT(b, depth0 + inner, col0), col, cols, 0), panel + inner * COLS + col);
    return;
  }
  for (int col = 0; col < COLS; ++col)
    for (idx inner = 0; inner < depth; ++inner)
      panel[inner * COLS + col] = col < cols ? LOAD(X_DTYPE, b, AT(b, depth0 + inner, col0 + col)) : 0;
}

// sums += op(A)[row0 …][depth0 …] · panel. Rows past the last one repeat it and are not stored.
void multiply_strip(const __global real *a, idx a_row, idx a_col, idx row0, idx last_row, idx depth0, idx depth,
                    const float *panel, float *sums) {
  floatv sum[ROWS][2];
  idx rows[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    sum[i][0] = 0;
    sum[i][1] = 0;
    rows[i] = row0 + i < last_row ? row0 + i : last_row;
  }
  for (idx inner = 0; inner < depth; ++inner) {
    const floatv b0 = VLOAD(panel + inner * COLS), b1 = VLOAD(panel + inner * COLS + VECTOR);
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      const float a_i = LOAD(X_DTYPE, a, AT(a, rows[i], depth0 + inner));
      sum[i][0] += a_i * b0;
      sum[i][1] += a_i * b1;
    }
  }
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    VSTORE(VLOAD(sums + i * COLS) + sum[i][0], sums + i * COLS);
    VSTORE(VLOAD(sums + i * COLS + VECTOR) + sum[i][1], sums + i * COLS + VECTOR);
  }
}

__attribute__((reqd_work_group_size(1, 1, 1))) __kernel void gemm_panels(GEMM_ARGUMENTS) {
  float panel[DEPTH * COLS], sums[STRIPS * ROWS * COLS];
  const idx row0 = (idx)get_group_id(1) * (STRIPS * ROWS), col0 = (idx)get_group_id(0) * COLS;
  const long batch = get_group_id(2);
  a = BATCH_OF(a, batch);
  b = BATCH_OF(b, batch);
  c = BATCH_OF(c, batch);
  const struct epilogue e = EPILOGUE(batch / batches1, batch % batches1);
  const int rows = m - row0 < STRIPS * ROWS ? (int)(m - row0) : STRIPS * ROWS;
  const int cols = n - col0 < COLS ? (int)(n - col0) : COLS;

  for (int i = 0; i < STRIPS * ROWS * COLS; ++i) sums[i] = 0;
  for (idx depth0 = 0; depth0 < k; depth0 += DEPTH) {
    const idx depth = k - depth0 < DEPTH ? (idx)k - depth0 : DEPTH;
    pack_panel(b, b_row, b_col, depth0, depth, col0, cols, panel);
    for (int row = 0; row < rows; row += ROWS)
      multiply_strip(a, a_row, a_col, row0 + row, (idx)m - 1, depth0, depth, panel, sums + row * COLS);
  }

  for (int row = 0; row < rows; ++row) {
    __global real *out = c + AT(c, row0 + row, col0);
    for (int col = 0; col < cols; col += VECTOR)
      finish(VLOAD(sums + row * COLS + col), out + col, row0 + row, col0 + col, cols - col, e);
  }
}
