// gemm on CPUs beside the main product: A Bᵀ where packing would cost more than multiplying, and the sum of a long k's parts.
//
// check with: -DVECTOR=16
// check with: -DVECTOR=16 -DDOT_ROWS=1
// check with: -DVECTOR=8 -DX_DTYPE=F16 -DGELU=1
// check with: -DVECTOR=4 -DX_DTYPE=BF16 -DGELU=2
#include "gemm/cpu_common.cl"

#if VECTOR < 4
#error "a work-item has four columns of C in a vector"
#endif
#define UNROLL _Pragma("unroll")
#define EDGE 4
#define FOLD_4(x) (((x).s0 + (x).s1) + ((x).s2 + (x).s3))
#define FOLD_8(x) FOLD_4((x).lo + (x).hi)
#define FOLD_16(x) FOLD_8((x).lo + (x).hi)
INLINE float sum_of(floatv x) { return HEED_JOIN(FOLD_, VECTOR)(x); }

// Rows and columns of a tile of dot products.
#ifndef DOT_ROWS
#define DOT_ROWS EDGE
#endif

// Both operands lie along k, so that dot products run on vectors of k: out = a tile of DOT_ROWS rows of A by EDGE rows of B, VECTOR
// partial sums each. Rows past the last repeat it. While it multiplies, it fetches the EDGE rows of B that follow.
INLINE void dot_tile(const __global real *const *a_row, const __global real *const *b_row, long b_next, uint k,
                     float (*out)[VECTOR]) {
  floatv sum[DOT_ROWS][EDGE];
  UNROLL for (uint r = 0; r < DOT_ROWS; ++r)
    UNROLL for (uint j = 0; j < EDGE; ++j) sum[r][j] = 0;
  uint p = 0;
  for (; p + VECTOR <= k; p += VECTOR) {
    floatv b_part[EDGE];
    UNROLL for (uint j = 0; j < EDGE; ++j) {
      PREFETCH_READ(b_row[j] + b_next + p);
      b_part[j] = WHOLE(b_row[j] + p);
    }
    UNROLL for (uint r = 0; r < DOT_ROWS; ++r) {
      const floatv a_part = WHOLE(a_row[r] + p);
      UNROLL for (uint j = 0; j < EDGE; ++j) sum[r][j] += a_part * b_part[j];
    }
  }
  UNROLL for (uint r = 0; r < DOT_ROWS; ++r)
    UNROLL for (uint j = 0; j < EDGE; ++j) out[r][j] = sum_of(sum[r][j]);
  for (; p < k; ++p)
    for (uint r = 0; r < DOT_ROWS; ++r)
      for (uint j = 0; j < EDGE; ++j) out[r][j] += LOAD(X_DTYPE, a_row[r], p) * LOAD(X_DTYPE, b_row[j], p);
}

// Work-item: `cols` columns of C, a multiple of EDGE up to VECTOR, `rows` rows, a batch.
__kernel ONE_ITEM void gemm_dot(const __global real *a, long a_offset, long a_stride0, long a_stride1, long a_ld,
                                const __global real *b, long b_offset, long b_stride0, long b_stride1, long b_ld,
                                __global real *c, long c_offset, long c_stride0, long c_stride1, long c_ld,
                                EPILOGUE_ARGUMENTS, uint batches1, uint m, uint n, uint k, uint rows, uint cols) {
  const uint j0 = get_global_id(0) * cols, i0 = get_global_id(1) * rows, i_end = min(m, i0 + rows);
  const int width = min(cols, n - j0);
  const long batch0 = get_global_id(2) / batches1, batch1 = get_global_id(2) % batches1;
  a += a_offset + batch0 * a_stride0 + batch1 * a_stride1;
  b += b_offset + batch0 * b_stride0 + batch1 * b_stride1;
  c += c_offset + batch0 * c_stride0 + batch1 * c_stride1;
  const struct epilogue e = EPILOGUE(batch0, batch1);
  for (uint i = i0; i < i_end; i += DOT_ROWS) {
    const __global real *a_row[DOT_ROWS];
    UNROLL for (uint r = 0; r < DOT_ROWS; ++r) a_row[r] = a + min(i + r, m - 1) * a_ld;
    float out[DOT_ROWS][VECTOR];
    UNROLL for (uint r = 0; r < DOT_ROWS; ++r) VSTORE((floatv)0, out[r]);
    for (int j = 0; j < width; j += EDGE) {
      const __global real *b_row[EDGE];
      UNROLL for (uint l = 0; l < EDGE; ++l) b_row[l] = b + min(j0 + j + l, n - 1) * b_ld;
      float tile[DOT_ROWS][VECTOR];
      dot_tile(a_row, b_row, EDGE * b_ld, k, tile);
      UNROLL for (uint r = 0; r < DOT_ROWS; ++r)
        UNROLL for (uint l = 0; l < EDGE; ++l) out[r][j + l] = tile[r][l];
    }
    for (uint r = 0; r < min((uint)DOT_ROWS, i_end - i); ++r)
      finish(VLOAD(out[r]), c + (i + r) * c_ld + j0, i + r, j0, width, e);
  }
}

// C = the sum over the splits, in order, of parts [batches][splits][m][n]. Work-item: a row of C.
__kernel ONE_ITEM void gemm_reduce(const __global float *part, __global real *c, long c_offset, long c_stride0,
                                   long c_stride1, long c_ld, EPILOGUE_ARGUMENTS, uint batches1, uint m, uint n,
                                   uint splits) {
  const long row = get_global_id(0), batch = get_global_id(1), batch0 = batch / batches1, batch1 = batch % batches1;
  part += (batch * splits * m + row) * n;
  c += c_offset + batch0 * c_stride0 + batch1 * c_stride1 + row * c_ld;
  const struct epilogue e = EPILOGUE(batch0, batch1);
  for (uint j = 0; j < n; j += VECTOR) {
    floatv sum = 0;
    for (uint s = 0; s < splits; ++s) sum += LOADV(F32, part + (long)s * m * n + j, 0, (idx)(n - j), 0);
    finish(sum, c + j, row, j, min(n - j, (uint)VECTOR), e);
  }
}
