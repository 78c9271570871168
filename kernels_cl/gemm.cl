// C = activation(alpha op(A) op(B) + beta C + bias), for every batch. Two kernels with the same arguments: gemm_tiles for devices
// with work-groups and local memory, gemm_panels for a work-item that works alone on wide vectors (CPUs have gemm_cpu.cl besides).
// What lies outside a matrix is taken as 0 and never read.
//
// check with: -DTILED=1
// check with: -DVECTOR=4 -DROWS=4 -DX_DTYPE=F16 -DGELU=1
// check with: -DVECTOR=16 -DROWS=12 -DX_DTYPE=BF16
#include "gemm_epilogue.cl"

// A tensor [B0, B1, …]: its first element, how far apart its batches are, and the rows and columns of its op(): a transposed
// matrix has row 1. One program serves every form.
#define MATRIX(x) __global real *x, long x##_offset, long x##_stride0, long x##_stride1, long x##_row, long x##_col
#define BATCH_OF(x, batch) \
  (x + x##_offset + (batch) / batches1 * x##_stride0 + (batch) % batches1 * x##_stride1)
#define GEMM_ARGUMENTS                                                                                               \
  const MATRIX(a), const MATRIX(b), MATRIX(c), EPILOGUE_ARGUMENTS, long batches1, long m, long n, long k
#define AT(x, row, col) ((idx)(row) * (idx)x##_row + (idx)(col) * (idx)x##_col)

#ifdef TILED
// ---- work-groups: SIDE × SIDE work-items make a tile of C, EACH × EACH elements a work-item

#define SIDE 16
#define EACH 4
#define TILE (SIDE * EACH)
#define DEPTH 16
#define LOADS (TILE * DEPTH / (SIDE * SIDE))

__attribute__((reqd_work_group_size(SIDE, SIDE, 1))) __kernel void gemm_tiles(GEMM_ARGUMENTS) {
  __local float a_tile[DEPTH][TILE + 1], b_tile[DEPTH][TILE + 1];
  const int col = get_local_id(0), row = get_local_id(1), item = row * SIDE + col;
  const idx row0 = (idx)get_group_id(1) * TILE, col0 = (idx)get_group_id(0) * TILE;
  const long batch = get_group_id(2);
  a = BATCH_OF(a, batch);
  b = BATCH_OF(b, batch);
  c = BATCH_OF(c, batch);
  const struct epilogue e = EPILOGUE(batch / batches1, batch % batches1);

  float sum[EACH][EACH];
  for (int i = 0; i < EACH; ++i)
    for (int j = 0; j < EACH; ++j) sum[i][j] = 0;

  for (idx depth0 = 0; depth0 < k; depth0 += DEPTH) {
    // Neighbouring work-items read neighbouring elements in either form.
    const bool a_by_rows = a_col == 1, b_by_rows = b_col == 1;
#pragma unroll
    for (int load = 0; load < LOADS; ++load) {
      const int element = load * SIDE * SIDE + item;
      const int a_inner = a_by_rows ? element % DEPTH : element / TILE;
      const int a_at = a_by_rows ? element / DEPTH : element % TILE;
      const int b_inner = b_by_rows ? element / TILE : element % DEPTH;
      const int b_at = b_by_rows ? element % TILE : element / DEPTH;
      a_tile[a_inner][a_at] = row0 + a_at < m && depth0 + a_inner < k
                                  ? LOAD(X_DTYPE, a, AT(a, row0 + a_at, depth0 + a_inner))
                                  : 0.0f;
      b_tile[b_inner][b_at] = col0 + b_at < n && depth0 + b_inner < k
                                  ? LOAD(X_DTYPE, b, AT(b, depth0 + b_inner, col0 + b_at))
                                  : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int inner = 0; inner < DEPTH; ++inner) {
      float a_each[EACH], b_each[EACH];
      for (int i = 0; i < EACH; ++i) a_each[i] = a_tile[inner][row + i * SIDE];
      for (int j = 0; j < EACH; ++j) b_each[j] = b_tile[inner][col + j * SIDE];
      for (int i = 0; i < EACH; ++i)
        for (int j = 0; j < EACH; ++j) sum[i][j] += a_each[i] * b_each[j];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  for (int i = 0; i < EACH; ++i) {
    const idx to_row = row0 + row + i * SIDE;
    for (int j = 0; j < EACH; ++j) {
      const idx to_col = col0 + col + j * SIDE;
      if (to_row >= m || to_col >= n) continue;
      finish(sum[i][j], c + AT(c, to_row, to_col), to_row, to_col, 1, e);
    }
  }
}

#else
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
#endif
