// What the GPU's GEMM kernels share beside the epilogue: their arguments, and which tile of C a work-group makes.
#include "gemm/epilogue.cl"
#ifndef Y_DTYPE
#define Y_DTYPE X_DTYPE // of A and B; X_DTYPE is C's, or F32 where C is parts of a sum
#endif
typedef TYPE(Y_DTYPE) factor;

// Bits of `form`: which of a matrix's dimensions has neighbours (k, or else the rows of op(A) or columns of op(B)), and whether
// its vectors of four of them are aligned.
#define FORM_A_ALONG_K 1
#define FORM_B_ALONG_K 2
#define FORM_A_ALIGNED 4
#define FORM_B_ALIGNED 8

// A tensor [B0, B1, ...]: its first element, how far apart its batches are, and the rows (columns) and steps of k of its op().
#define GRID_MATRIX(x) const __global factor *x, long x##_offset, long x##_stride0, long x##_stride1, long x##_x, long x##_k
// C's parts are c_split apart. A launch has the tiles from first_tile on, in dimension 0, and in dimension 1 those of
// batch · splits + split from first_batch on; a split has `share` steps of k.
#define GRID_ARGUMENTS                                                                                               \
  GRID_MATRIX(a), GRID_MATRIX(b), __global real *c, long c_offset, long c_stride0, long c_stride1, long c_split,     \
      long c_ld, EPILOGUE_ARGUMENTS, uint batches1, uint m, uint n, uint k, uint splits, uint share,                 \
      uint first_tile, uint first_batch, uint form

struct place {
  long row, col;
  int k, k_end;
  long batch0, batch1, split;
};

// Tiles are counted down through bands of BAND tile rows: work-groups that run together then share more of A and B in caches.
#define BAND 8
// By pointer: Oclgrind cannot run what clang inlines of a struct returned by value.
INLINE void find_place(int tile, uint tile_number, uint batch, uint batches1, uint m, uint n, uint k, uint splits, uint share,
                       struct place *at) {
  const uint across = (n + tile - 1) / tile, down = (m + tile - 1) / tile;
  const uint band = tile_number / (BAND * across), in_band = tile_number % (BAND * across);
  const uint height = min((uint)BAND, down - band * BAND);
  at->row = (long)(band * BAND + in_band % height) * tile;
  at->col = (long)(in_band / height) * tile;
  at->split = batch % splits;
  at->batch0 = batch / splits / batches1;
  at->batch1 = batch / splits % batches1;
  at->k = at->split * share;
  at->k_end = min(k, at->k + share);
}
#define FIND_PLACE(tile, at) \
  find_place(tile, first_tile + (uint)get_group_id(0), first_batch + (uint)get_group_id(1), batches1, m, n, k, splits, share, at)
#define MATRIX_AT(x) (x + x##_offset + at.batch0 * x##_stride0 + at.batch1 * x##_stride1)
#define C_OFFSET(at) (c_offset + (at).batch0 * c_stride0 + (at).batch1 * c_stride1 + (at).split * c_split)
