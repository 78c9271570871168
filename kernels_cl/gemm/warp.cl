// C = activation(alpha op(A) op(B) + beta C + bias) on tensor cores: factors of 16-bit floats, or of F32 rounded to TF32, and sums in
// F32. Four warps make a TILE x TILE tile of C, or of one part of the sum, a quarter each. Blocks of 64 bytes of k pass through local
// memory, STAGES - 1 of them on their way while one is used. Every row of a factor in memory is 16-byte aligned, whatever its length.
//
// check with: -DVECTOR=2 -DX_DTYPE=F16
// check with: -DVECTOR=2 -DX_DTYPE=BF16 -DTILE=64 -DA_ALONG_K=0 -DB_ALONG_K=0 -DGELU=2
// check with: -DVECTOR=2 -DX_DTYPE=F32 -DY_DTYPE=TF32
// check with: -DVECTOR=2 -DX_DTYPE=F32 -DY_DTYPE=TF32 -DTILE=64 -DA_ALONG_K=0 -DB_ALONG_K=0
#define TYPE_TF32 float
#include "gemm/grid.cl"
#include "warp.cl"
#ifndef TILE
#define TILE 128
#endif
#ifndef A_ALONG_K // else its neighbours lie along the rows of op(A)
#define A_ALONG_K 1
#endif
#ifndef B_ALONG_K
#define B_ALONG_K 1
#endif
#define STAGES 3
#define ITEMS 128
#define ITEM ((int)get_local_id(0))
#define IS_WIDE_F16 0
#define IS_WIDE_BF16 0
#define IS_WIDE_TF32 1
#define IS_WIDE HEED_JOIN(IS_WIDE_, Y_DTYPE)

#if IS_WIDE
typedef uint element; // its bits
#define CHUNK 4 // elements of 16 bytes, the unit of copies
#else
typedef ushort element;
#define CHUNK 8
#endif
#define DEPTH (4 * CHUNK)
#define BLOCK (TILE * DEPTH) // elements of a factor in a stage
// Tiles of 16 rows and of 8 columns that a warp has.
#define TILES_DOWN (TILE / 32)
#define TILES_ACROSS (TILE / 16)

// ---- a block in local memory

// [TILE][DEPTH] along k, else [DEPTH][TILE]. Chunks of a row are shuffled with the row's number, so that the eight rows that a
// matrix of 8 x 8 is read from lie in different banks.
INLINE int block_at(int along_k, int x, int k) {
  if (along_k) return x * DEPTH + (k / CHUNK ^ (x / 2 & 3)) * CHUNK + k % CHUNK;
#if IS_WIDE
  return k * TILE + (x / CHUNK ^ (k & 3) * 2) * CHUNK + x % CHUNK;
#else
  return k * TILE + (x / CHUNK ^ (k & 7)) * CHUNK + x % CHUNK;
#endif
}

// 16 bytes of which `count` elements, or less than none, are there. What is cut short by the matrix's edge comes one by one.
INLINE void copy_chunk(__local element *to, const __global element *from, long count, const __global element *any) {
  if (count >= CHUNK || count <= 0) {
    warp_copy16((__local ushort *)to, (const __global ushort *)(count > 0 ? from : any), count > 0);
    return;
  }
  for (int i = 0; i < CHUNK; ++i) to[i] = i < count ? from[i] : 0;
}

// Steps k0 to k0 + DEPTH of rows (columns) x0 to x0 + TILE. From one chunk of an item to its next the shuffle is the same.
INLINE void copy_block(__local element *to, const __global element *x, long ld, int along_k, long x0, long extent,
                       int k0, int k_end) {
  const int across = along_k ? 4 : TILE / CHUNK, row = ITEM / across, column = ITEM % across * CHUNK;
  const int rows = ITEMS / across, pitch = along_k ? DEPTH : TILE;
  const long row0 = along_k ? x0 : k0, row_end = along_k ? extent : k_end;
  const long column0 = along_k ? k0 : x0, column_end = along_k ? k_end : extent;
  const long count = column_end - column0 - column;
  const __global element *from = x + (row0 + row) * ld + column0 + column;
  to += along_k ? block_at(1, row, column) : block_at(0, column, row);
  for (int i = 0; i < BLOCK / CHUNK / ITEMS; ++i, from += rows * ld)
    copy_chunk(to + i * rows * pitch, from, row0 + row + i * rows < row_end ? count : 0, x);
}

// ---- from there to registers, and the product

#if IS_WIDE
INLINE uint tf32_at(const __local element *block, int along_k, int x, int k) {
  return warp_round_TF32(as_float(block[block_at(along_k, x, k)]));
}
#define K_STEPS 8
INLINE void load_a(uint a[4], const __local element *block, int x, int k, warp_scratch scratch) {
  const int g = WARP_LANE / 4, t = WARP_LANE % 4;
  for (int i = 0; i < 4; ++i) a[i] = tf32_at(block, A_ALONG_K, x + g + i % 2 * 8, k + t + i / 2 * 4);
}
// Two neighbouring tiles of columns.
INLINE void load_b(uint b[4], const __local element *block, int x, int k, warp_scratch scratch) {
  const int g = WARP_LANE / 4, t = WARP_LANE % 4;
  for (int i = 0; i < 4; ++i) b[i] = tf32_at(block, B_ALONG_K, x + g + i / 2 * 8, k + t + i % 2 * 4);
}
#else
#define K_STEPS 16
INLINE void load_a(uint a[4], const __local element *block, int x, int k, warp_scratch scratch) {
  const int row = WARP_LANE % 8, second = WARP_LANE / 8 % 2, fourth = WARP_LANE / 16;
#if A_ALONG_K
  warp_load4(a, block + block_at(1, x + row + second * 8, k + fourth * 8), scratch);
#else
  warp_load4_trans(a, block + block_at(0, x + second * 8, k + row + fourth * 8), scratch);
#endif
}
INLINE void load_b(uint b[4], const __local element *block, int x, int k, warp_scratch scratch) {
  const int row = WARP_LANE % 8, second = WARP_LANE / 8 % 2, fourth = WARP_LANE / 16;
#if B_ALONG_K
  warp_load4(b, block + block_at(1, x + row + fourth * 8, k + second * 8), scratch);
#else
  warp_load4_trans(b, block + block_at(0, x + fourth * 8, k + row + second * 8), scratch);
#endif
}
#endif

#define WARP_ROW (WARP_NUMBER / 2 * (TILE / 2))
#define WARP_COL (WARP_NUMBER % 2 * (TILE / 2))

INLINE void multiply(const __local element *a_block, const __local element *b_block,
                     float sum[TILES_DOWN][TILES_ACROSS][4], warp_scratch scratch) {
  WARP_UNROLL for (int k = 0; k < DEPTH; k += K_STEPS) {
    uint a[TILES_DOWN][4], b[TILES_ACROSS / 2][4];
    WARP_UNROLL for (int i = 0; i < TILES_DOWN; ++i) load_a(a[i], a_block, WARP_ROW + 16 * i, k, scratch);
    WARP_UNROLL for (int j = 0; j < TILES_ACROSS / 2; ++j) load_b(b[j], b_block, WARP_COL + 16 * j, k, scratch);
    WARP_UNROLL for (int i = 0; i < TILES_DOWN; ++i)
      WARP_UNROLL for (int j = 0; j < TILES_ACROSS; ++j)
        WARP_MMA(Y_DTYPE, sum[i][j], a[i], b[j / 2] + j % 2 * 2, scratch);
  }
}

#define COPY(number)                                                                                         \
  do {                                                                                                       \
    const int k_copy = at.k + (number) * DEPTH;                                                              \
    if (k_copy < at.k_end) {                                                                                 \
      __local element *stage = (__local element *)stages + (number) % STAGES * 2 * BLOCK;                    \
      copy_block(stage, a_from, A_ALONG_K ? a_x : a_k, A_ALONG_K, at.row, m, k_copy, at.k_end);              \
      copy_block(stage + BLOCK, b_from, B_ALONG_K ? b_x : b_k, B_ALONG_K, at.col, n, k_copy, at.k_end);      \
    }                                                                                                        \
    warp_copy_commit();                                                                                      \
  } while (0)

__attribute__((reqd_work_group_size(ITEMS, 1, 1))) __kernel void gemm_warp(GRID_ARGUMENTS) {
  __local uint4 stages[STAGES * 2 * BLOCK / CHUNK];
  WARP_SCRATCH(scratch, ITEMS);
  struct place at;
  FIND_PLACE(TILE, &at);
  const __global element *a_from = (const __global element *)MATRIX_AT(a), *b_from = (const __global element *)MATRIX_AT(b);
  float sum[TILES_DOWN][TILES_ACROSS][4];
  WARP_UNROLL for (int i = 0; i < TILES_DOWN; ++i)
    WARP_UNROLL for (int j = 0; j < TILES_ACROSS; ++j)
      WARP_UNROLL for (int l = 0; l < 4; ++l) sum[i][j][l] = 0;

  for (int ahead = 0; ahead < STAGES - 1; ++ahead) COPY(ahead);
  const int blocks = (at.k_end - at.k + DEPTH - 1) / DEPTH;
  for (int block = 0; block < blocks; ++block) {
    // After the barrier everyone sees this block, and has done with the one before, whose place is taken by the next copy.
    warp_copy_wait(STAGES - 2);
    barrier(CLK_LOCAL_MEM_FENCE);
    COPY(block + STAGES - 1);
    const __local element *stage = (const __local element *)stages + block % STAGES * 2 * BLOCK;
    multiply(stage, stage + BLOCK, sum, scratch);
  }

  const struct epilogue e = EPILOGUE(at.batch0, at.batch1);
  c += C_OFFSET(at);
  const long row0 = at.row + WARP_ROW + WARP_LANE / 4, col0 = at.col + WARP_COL + WARP_LANE % 4 * 2;
  WARP_UNROLL for (int i = 0; i < TILES_DOWN; ++i)
    WARP_UNROLL for (int j = 0; j < TILES_ACROSS; ++j)
      WARP_UNROLL for (int half8 = 0; half8 < 2; ++half8) {
        const long row = row0 + 16 * i + 8 * half8, col = col0 + 8 * j;
        if (row < m && col < n)
          finish((float2)(sum[i][j][2 * half8], sum[i][j][2 * half8 + 1]), c + row * c_ld + col, row, col,
                 (int)min(n - col, 2L), e);
      }
}
