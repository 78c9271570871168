// Fused attention on tensor cores: what the kernels of its forward and backward share (FlashAttention-2, Dao 2023, arXiv
// 2307.08691, section 3). Tiles of 16-bit rows lie in local memory; fragments of them, scores, and sums stay in the registers
// of 4 warps, each of which has 16 ROW_TILES rows of the products. See warp.cl for fragments.
#pragma OPENCL FP_CONTRACT ON
#ifndef X_DTYPE
#define X_DTYPE F16
#endif
#ifndef DIM
#define DIM 64 // of q, k and v: 64 or 128
#endif
#ifndef ROW_TILES
#define ROW_TILES 1 // of 16 rows that a warp has of a product
#endif
#ifndef COLUMN_TILES
#define COLUMN_TILES 8 // of 8 columns that it has of a product of rows
#endif
#include "attention_reach.cl"
#include "warp.cl"

#define ITEMS 128
#define ITEM ((int)get_local_id(0))
#define ITEMS_GROUP __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
#define STEPS (DIM / 16) // of a product over the columns
#define CHUNKS (DIM / 8) // of 16 bytes in a row
#define LOG2E 1.44269504f
#define LN2 0.693147181f
// Scores stay q kᵀ, and scale is applied within the exponent, unless something is added to them or bends them.
#define NATURAL (SOFTCAP || (HAS_MASK && !MASK_IS_BOOL))
#define IS_F16_F16 1
#define IS_F16_BF16 0
#define IS_F16 HEED_JOIN(IS_F16_, X_DTYPE)

// The part of a D fragment that an item holds: rows G and G + 8, columns COLUMN and COLUMN + 1.
#define G (WARP_LANE / 4)
#define COLUMN (WARP_LANE % 4 * 2)

typedef __global const ushort *storage;
typedef __global ushort *result;
#define TENSOR4(x) storage x, long x##_offset, long x##_stride0, long x##_stride1, long x##_stride2
#define RESULT4(x) result x, long x##_offset, long x##_stride0, long x##_stride1, long x##_stride2
#define AT_HEAD(x, batch, head) (x + x##_offset + (batch)*x##_stride0 + (head)*x##_stride1)

// Which keys j query i attends, in numbers that do not overflow.
struct bounds {
  int queries, end, low, high;
};
struct bounds bounds_of(struct reach reach, long queries) {
  struct bounds bounds = {(int)queries, (int)reach.end, (int)max(reach.low, -(long)INT_MAX),
                          (int)min(reach.high, (long)INT_MAX)};
  return bounds;
}
// A tile is attended throughout where its last row attends its first key and its first row its last key.
bool is_within(struct bounds bounds, int i, int j) {
  return i < bounds.queries && j < bounds.end && j - i >= bounds.low && j - i < bounds.high;
}

bool is_finite(float x) { return (as_uint(x) & 0x7fffffff) < 0x7f800000; }

// ---------------------------------------------------------------- tiles

// Where chunk `chunk` of a row begins. Chunks of 8 rows that lie one above the other change places, so that they are in
// different banks.
int place(int row, int chunk) { return row * DIM + (chunk ^ row % 8) * 8; }

// Begins to copy rows [row0, row0 + rows) of x; 0 from row_end on.
void copy_rows(storage x, idx stride, int row0, int row_end, int rows, __local ushort *tile) {
  const int row = ITEM / CHUNKS, chunk = ITEM % CHUNKS, step = ITEMS / CHUNKS;
  storage from = x + (row0 + row) * stride + chunk * 8;
  tile += place(row, chunk); // step is a multiple of 8
  WARP_UNROLL
  for (int e = 0; e < rows; e += step, from += step * stride)
    warp_copy16(tile + e * DIM, from, row0 + row + e < row_end);
}

// Rows [row, row + 16), columns [16 step, 16 step + 16) of a tile as an A.
void load_rows(uint a[4], const __local ushort *tile, int row, int step, warp_scratch scratch) {
  warp_load4(a, tile + place(row + WARP_LANE % 16, 2 * step + WARP_LANE / 16), scratch);
}
// The same, transposed, as two Bs: the factor of a product over columns.
void load_transposed(uint b[4], const __local ushort *tile, int row, int step, warp_scratch scratch) {
  warp_load4(b, tile + place(row + WARP_LANE / 16 * 8 + WARP_LANE % 8, 2 * step + WARP_LANE / 8 % 2), scratch);
}
// The same as two Bs: the factor of a product over rows.
void load_columns(uint b[4], const __local ushort *tile, int row, int step, warp_scratch scratch) {
  warp_load4_trans(b, tile + place(row + WARP_LANE % 16, 2 * step + WARP_LANE / 16), scratch);
}

// ---------------------------------------------------------------- products

// s = x yᵀ for the rows of a warp and 8 COLUMN_TILES rows of a tile.
void multiply_rows(float s[ROW_TILES][COLUMN_TILES][4], uint x[ROW_TILES][STEPS][4], const __local ushort *y,
                   warp_scratch scratch) {
  WARP_UNROLL
  for (int m = 0; m < ROW_TILES; ++m)
    WARP_UNROLL
    for (int n = 0; n < COLUMN_TILES; ++n)
      WARP_UNROLL
      for (int e = 0; e < 4; ++e) s[m][n][e] = 0;
  WARP_UNROLL
  for (int step = 0; step < STEPS; ++step)
    WARP_UNROLL
    for (int n = 0; n < COLUMN_TILES; n += 2) {
      uint b[4];
      load_transposed(b, y, 8 * n, step, scratch);
      WARP_UNROLL
      for (int m = 0; m < ROW_TILES; ++m)
        WARP_UNROLL
        for (int half_b = 0; half_b < 2; ++half_b)
          WARP_MMA(X_DTYPE, s[m][n + half_b], x[m][step], b + 2 * half_b, scratch);
    }
}

// Two neighbouring tiles of a product as an A.
void pack_pair(uint a[4], float x[2][4]) {
  a[0] = WARP_PACK(X_DTYPE, x[0][0], x[0][1]);
  a[1] = WARP_PACK(X_DTYPE, x[0][2], x[0][3]);
  a[2] = WARP_PACK(X_DTYPE, x[1][0], x[1][1]);
  a[3] = WARP_PACK(X_DTYPE, x[1][2], x[1][3]);
}

void clear_sum(float sum[ROW_TILES][2 * STEPS][4]) {
  WARP_UNROLL
  for (int m = 0; m < ROW_TILES; ++m)
    WARP_UNROLL
    for (int n = 0; n < 2 * STEPS; ++n)
      WARP_UNROLL
      for (int e = 0; e < 4; ++e) sum[m][n][e] = 0;
}

// sum += w y, with w a product of the warp's rows and y the rows of a tile.
void add_product(float sum[ROW_TILES][2 * STEPS][4], float w[ROW_TILES][COLUMN_TILES][4], const __local ushort *y,
                 warp_scratch scratch) {
  WARP_UNROLL
  for (int pair = 0; pair < COLUMN_TILES / 2; ++pair) {
    uint a[ROW_TILES][4];
    WARP_UNROLL
    for (int m = 0; m < ROW_TILES; ++m) pack_pair(a[m], w[m] + 2 * pair);
    WARP_UNROLL
    for (int step = 0; step < STEPS; ++step) {
      uint b[4];
      load_columns(b, y, 16 * pair, step, scratch);
      WARP_UNROLL
      for (int m = 0; m < ROW_TILES; ++m)
        WARP_UNROLL
        for (int half_b = 0; half_b < 2; ++half_b)
          WARP_MMA(X_DTYPE, sum[m][2 * step + half_b], a[m], b + 2 * half_b, scratch);
    }
  }
}

// Over the four items that share a row of a product.
float row_maximum(float x, warp_scratch scratch) {
  WARP_UNROLL
  for (int mask = 1; mask <= 2; mask *= 2) x = fmax(x, warp_xor(x, mask, scratch));
  return x;
}
float row_total(float x, warp_scratch scratch) {
  WARP_UNROLL
  for (int mask = 1; mask <= 2; mask *= 2) x += warp_xor(x, mask, scratch);
  return x;
}

// ---------------------------------------------------------------- scores

// Of query i on key j: from q·k to the score; −inf where it is not attended. slope: of the softcap. mask: of batch and head.
float score_of(float s, float *slope, bool whole, struct bounds bounds, int i, int j, float scale, float softcap,
               __global const TYPE(MASK_DTYPE) *mask, idx mask_row, idx mask_key) {
  bool attended = whole || is_within(bounds, i, j);
#if NATURAL
  s *= scale;
#endif
#if SOFTCAP
  // tanh, whose error of 1e-7 times the cap is far below that of 16-bit factors.
  const float t = 1 - 2 / (warp_exp2(2 * LOG2E / softcap * s) + 1);
  s = softcap * t;
  *slope = 1 - t * t;
#endif
#if HAS_MASK
  if (attended) {
    const idx at = i * mask_row + j * mask_key;
#if MASK_IS_BOOL
    attended = mask[at];
#else
    const float bias = LOAD(MASK_DTYPE, mask, at);
    attended = bias != -INFINITY;
    s += bias;
#endif
  }
#endif
  return attended ? s : -INFINITY;
}
// Whether score_of may do anything to the scores of a tile.
#define SCORES_CHANGE(whole) (HAS_MASK || SOFTCAP || !(whole))
// What a difference of scores is multiplied by to be the exponent of 2.
#define EXPONENT_UNIT (NATURAL ? LOG2E : LOG2E * scale)

// Whether dropout keeps the weights of query i on keys j and j + 1, j even: bits 0 and 1.
uint kept_pair(uint seed_low, uint seed_high, uint threshold, uint batch, uint head, int i, int j) {
  const uint4 random = philox(seed_low, seed_high, (uint4)((uint)j >> 2, (uint)i, head, batch));
  const uint first = j & 2 ? random.z : random.x, second = j & 2 ? random.w : random.y;
  return (first >= threshold ? 1u : 0u) | (second >= threshold ? 2u : 0u);
}

// ---------------------------------------------------------------- results

// Two words of a call.
#define FLAG_REDO 0    // not 0: the general kernels are to do it again
#define FLAG_LARGEST 1 // backward: bits of the largest |dO|
__kernel void attention_tensor_begin(__global int *flags) { flags[FLAG_REDO] = flags[FLAG_LARGEST] = 0; }

// A row's two elements that an item holds, to 16 bits. Sets *redo where one is not finite: products on tensor cores make NaN of
// 0 · NaN and Inf of what 16 bits do not hold, which the general kernels do not.
void store_pair(result to, float x, float y, __global int *redo) {
  if (!is_finite(x) || !is_finite(y)) atomic_or(redo, 1);
  *(__global uint *)to = WARP_PACK(X_DTYPE, x, y);
}
