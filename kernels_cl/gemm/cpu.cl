// The product of gemm on CPUs, where a work-item works alone: a register tile of TILE_ROWS rows by TILE_VECTORS vectors, whose sums
// stay in registers through a block of k, one broadcast scalar times TILE_VECTORS vectors a row and step.
//
// T = R V: rows of R are read as scalars, so that either storage order does, and columns of V as vectors, so that they lie side by
// side or are packed (gemm/cpu_pack.cl). T is C, or Cᵀ with SWAP where that saves packing the larger operand. Element (i, p) of R
// is at i r_row + p r_step, packed panels of TILE_ROWS rows [k][TILE_ROWS] included (r_row = k for their first rows); within a
// tile rows are r_row apart (ROWS_APART), else 1. The same for V with v_col and v_step, panels of PANEL columns.
// With PAIRS a float of R or V stands for two BF16 numbers, those of steps 2p (its low half) and 2p + 1 of k, and a step adds both of their
// products. AVX512_BF16 does so in one instruction, which adds them one after the other, rounds to the nearest even and takes denormals for 0.
// As usual (Goto and van de Geijn 2008) a block of R stays in the second cache while panels of V pass, block of k by block of k.
//
// check with: -DVECTOR=16 -DTILE_ROWS=8
// check with: -DVECTOR=16 -DTILE_ROWS=8 -DROWS_APART=1 -DSWAP=1 -DX_DTYPE=BF16 -DGELU=2
// check with: -DVECTOR=8 -DSWAP=1 -DX_DTYPE=F16 -DGELU=1
// check with: -DVECTOR=4 -DSWAP=1 -DROWS_APART=1
// check with: -DVECTOR=16 -DTILE_ROWS=8 -DROWS_APART=1 -DX_DTYPE=BF16 -DPAIRS=1
// check with: -DVECTOR=8 -DX_DTYPE=BF16 -DPAIRS=2
#include "gemm/cpu_common.cl"
#ifndef TILE_ROWS
#define TILE_ROWS 4
#endif
#ifndef TILE_VECTORS
#define TILE_VECTORS 3
#endif
#ifndef ROWS_APART
#define ROWS_APART 0
#endif
#ifndef SWAP
#define SWAP 0
#endif
#ifndef PAIRS
#define PAIRS 0 // 1: by the processor's instruction, 2: emulated
#endif
#define PANEL (TILE_VECTORS * VECTOR)

// A finished tile that is swapped, has an epilogue, or is cut by an edge goes to C from a small block in the first cache. Rows of T become columns of C by whole vectors when swapped.
#if SWAP && TILE_ROWS < VECTOR
#define GROUP_ROWS VECTOR
#else
#define GROUP_ROWS TILE_ROWS
#endif
#define BLOCK_LD (PANEL + VECTOR)
#define BLOCK_VECTORS (1 + (TILE_ROWS + GROUP_ROWS) * (TILE_VECTORS + 1) + 1)

// ---- the register tile. The sums are named variables: an array may stay in memory

#define EACH_COL1(X, i) X(i, 0)
#define EACH_COL2(X, i) EACH_COL1(X, i) X(i, 1)
#define EACH_COL3(X, i) EACH_COL2(X, i) X(i, 2)
#define EACH_ROW1(F, X) F(X, 0)
#define EACH_ROW4(F, X) EACH_ROW1(F, X) F(X, 1) F(X, 2) F(X, 3)
#define EACH_ROW8(F, X) EACH_ROW4(F, X) F(X, 4) F(X, 5) F(X, 6) F(X, 7)
#define EACH_ROW12(F, X) EACH_ROW8(F, X) F(X, 8) F(X, 9) F(X, 10) F(X, 11)
#define EACH_ROW14(F, X) EACH_ROW12(F, X) F(X, 12) F(X, 13)
#define EACH_ROW HEED_JOIN(EACH_ROW, TILE_ROWS)

#if ROWS_APART
#define R_AT(i) ((i) * r_row)
#else
#define R_AT(i) (i)
#endif
#define SUM_ZERO(i, j) floatv sum##i##_##j = 0;
#define LOAD_V(i, j) const floatv v##j = VLOAD(v + j * VECTOR);
#define LOAD_R(X, i) const floatv r##i = (floatv)(r[R_AT(i)]);
#if PAIRS == 1 && defined(__AVX512F__) // not the builtin, on which clang 14 aborts
#define MULTIPLY_ADD(i, j) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum##i##_##j) : "v"(v##j), "v"(r##i));
#elif PAIRS
INLINE floatv low_of(floatv pairs) { return AS_FLOATV(HEED_JOIN(as_uint, VECTOR)(pairs) << 16); }
INLINE floatv high_of(floatv pairs) { return AS_FLOATV(HEED_JOIN(as_uint, VECTOR)(pairs) & 0xffff0000u); }
#define MULTIPLY_ADD(i, j)                       \
  sum##i##_##j += high_of(r##i) * high_of(v##j); \
  sum##i##_##j += low_of(r##i) * low_of(v##j);
#else
#define MULTIPLY_ADD(i, j) sum##i##_##j += r##i * v##j;
#endif
#define SUM_PUT(i, j) *(floatv_any *)(t + i * BLOCK_LD + j * VECTOR) = sum##i##_##j;
#define SUM_STORE(i, j) PUT(alpha * sum##i##_##j, c + i * c_ld + j * VECTOR);
#define SUM_ADD(i, j) PUT(alpha * sum##i##_##j + beta * WHOLE(c + i * c_ld + j * VECTOR), c + i * c_ld + j * VECTOR);

#define TILE_ARGUMENTS const __global float *r, long r_row, long r_step, const __global float *v, long v_step, int depth
// sum = R V over `depth` steps. No prefetch: the processor's own keeps up, and the loads are as many as it can do beside the sums.
#define SUM_TILE(EACH)                                                              \
  EACH_ROW(EACH, SUM_ZERO)                                                          \
  for (int p = 0; p < depth; ++p) {                                                 \
    EACH(LOAD_V, 0) EACH_ROW(LOAD_R, 0) EACH_ROW(EACH, MULTIPLY_ADD) r += r_step;    \
    v += v_step;                                                                    \
  }

// t = R V, TILE_ROWS × w vectors.
#define DEFINE_TILE(w)                              \
  static void tile_##w(TILE_ARGUMENTS, float *t) {  \
    SUM_TILE(EACH_COL##w)                           \
    EACH_ROW(EACH_COL##w, SUM_PUT)                  \
  }
DEFINE_TILE(1)
DEFINE_TILE(2)
#if TILE_VECTORS > 2
DEFINE_TILE(3)
#endif
#if !SWAP
// C = alpha R V + beta C, a whole tile, straight from the registers.
#define EACH_COL HEED_JOIN(EACH_COL, TILE_VECTORS)
static void tile_to_c(TILE_ARGUMENTS, __global real *c, long c_ld, float alpha, float beta) {
  SUM_TILE(EACH_COL)
  if (beta == 0) {
    EACH_ROW(EACH_COL, SUM_STORE)
  } else {
    EACH_ROW(EACH_COL, SUM_ADD)
  }
}
#endif

// ---- from the block to C

// Lines of C, and of the argument of its activation, come while their tile is summed. p: the tile's first element in either.
INLINE void prefetch_tile(const __global real *p, long ld) {
#pragma unroll
  for (int l = 0; l < (SWAP ? PANEL : TILE_ROWS); ++l)
#pragma unroll
    for (int m = 0; m < (SWAP ? GROUP_ROWS : PANEL); m += VECTOR) PREFETCH_WRITE(p + l * ld + m);
}

#if SWAP
// rows × cols of T at t are cols × rows of C at (row, col).
INLINE void store_block(const float *t, int rows, int cols, __global real *c, long c_ld, long row, long col,
                        struct epilogue e) {
  c += row * c_ld + col;
#if GROUP_ROWS % 8 == 0
  for (int j = 0; j < cols; j += 8) {
    floatv turned[8 * GROUP_ROWS / VECTOR];
    for (int i = 0; i < GROUP_ROWS; i += 8) {
      float8 part[8];
      for (int l = 0; l < 8; ++l) part[l] = *(const float8_any *)(t + (i + l) * BLOCK_LD + j);
      transpose8(part);
      for (int l = 0; l < 8; ++l) *(float8_any *)((float *)turned + l * GROUP_ROWS + i) = part[l];
    }
    for (int l = 0; l < 8 && j + l < cols; ++l)
      for (int i = 0; i < rows; i += VECTOR)
        finish(turned[(l * GROUP_ROWS + i) / VECTOR], c + (j + l) * c_ld + i, row + j + l, col + i, rows - i, e);
  }
#else
  for (int j = 0; j < cols; ++j)
    for (int i = 0; i < rows; i += VECTOR) {
      float column[VECTOR];
      for (int l = 0; l < VECTOR; ++l) column[l] = t[(i + l) * BLOCK_LD + j];
      finish(VLOAD(column), c + j * c_ld + i, row + j, col + i, rows - i, e);
    }
#endif
}
#else
INLINE void store_block(const float *t, int rows, int cols, __global real *c, long c_ld, long row, long col,
                        struct epilogue e) {
  c += row * c_ld + col;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < cols; j += VECTOR)
      finish(*(const floatv *)(t + i * BLOCK_LD + j), c + i * c_ld + j, row + i, col + j, cols - j, e);
}
#endif

// ---- the product

// Work-item: `panels` panels of T's columns, `rows` rows of T, and of batches · splits one. k is cut into `splits` parts of `share`;
// they write to consecutive matrices c_split apart. Blocks of `depth` steps of k are added up in C, which is F32 if there are several.
// R (not packed) has at least TILE_ROWS rows, V (not packed) VECTOR columns: a tile at the edge begins before it.
__kernel ONE_ITEM void gemm_cpu(const __global float *r, long r_offset, long r_stride0, long r_stride1, long r_row,
                                long r_step, const __global float *v, long v_offset, long v_stride0, long v_stride1,
                                long v_col, long v_step, __global real *c, long c_offset, long c_stride0,
                                long c_stride1, long c_split, long c_ld, EPILOGUE_ARGUMENTS, uint batches1, uint x,
                                uint y, uint k, uint rows, uint panels, uint depth, uint splits, uint share,
                                uint r_packed, uint v_packed) {
  floatv block[BLOCK_VECTORS];
  float *t = (float *)(block + 1) + TILE_ROWS * BLOCK_LD;
  const uint x0 = get_global_id(1) * rows, x_end = min(x, x0 + rows);
  const uint y0 = get_global_id(0) * panels * PANEL, y_end = min(y, y0 + panels * PANEL);
  const uint split = get_global_id(2) % splits, batch = get_global_id(2) / splits;
  const uint k0 = split * share, k_end = min(k, k0 + share);
  const long batch0 = batch / batches1, batch1 = batch % batches1;
  r += r_offset + batch0 * r_stride0 + batch1 * r_stride1;
  v += v_offset + batch0 * v_stride0 + batch1 * v_stride1;
  c += c_offset + batch0 * c_stride0 + batch1 * c_stride1 + split * c_split;
  const struct epilogue last = EPILOGUE(batch0, batch1);

  for (uint p = k0; p == k0 || p < k_end; p += depth) {
    const int steps = min(depth, k_end - p);
    struct epilogue e = last;
    if (p != k0) e.beta = 1;
    if (p + steps < k_end) e.has_bias = e.activation = 0;
    for (uint j = y0; j < y_end; j += PANEL) {
      const int cols = min((uint)PANEL, y_end - j), vectors = (cols + VECTOR - 1) / VECTOR;
      const uint col = v_packed ? j : min(j, y - vectors * VECTOR);
      const __global float *v_tile = v + col * v_col + p * v_step;
      for (uint group = x0; group < x_end; group += GROUP_ROWS) {
        const int height = min((uint)GROUP_ROWS, x_end - group);
        prefetch_tile(c + (SWAP ? j : group) * c_ld + (SWAP ? group : j), c_ld);
        if (e.has_argument)
          prefetch_tile(e.argument + (SWAP ? j : group) * e.argument_ld + (SWAP ? group : j), e.argument_ld);
#if !SWAP
        if (height == TILE_ROWS && cols == PANEL && is_plain(e)) {
          tile_to_c(r + group * r_row + p * r_step, r_row, r_step, v_tile, v_step, steps, c + group * c_ld + j, c_ld,
                    e.alpha, e.beta);
          continue;
        }
#endif
        for (uint i = group; i < group + height; i += TILE_ROWS) {
          const uint row = r_packed ? i : min(i, x - TILE_ROWS);
          const __global float *r_tile = r + row * r_row + p * r_step;
          float *to = t + ((int)(row - group) * BLOCK_LD + (int)(col - j));
          if (vectors == TILE_VECTORS)
            HEED_JOIN(tile_, TILE_VECTORS)(r_tile, r_row, r_step, v_tile, v_step, steps, to);
          else if (vectors == 2)
            tile_2(r_tile, r_row, r_step, v_tile, v_step, steps, to);
          else
            tile_1(r_tile, r_row, r_step, v_tile, v_step, steps, to);
        }
#if SWAP
        store_block(t, height, cols, c, c_ld, j, group, e);
#else
        store_block(t, height, cols, c, c_ld, group, j, e);
#endif
      }
    }
  }
}
