// Fused attention on tensor cores: what the kernels of its forward and backward share (FlashAttention-2, Dao 2023, arXiv
// 2307.08691, section 3). Tiles of rows lie in local memory; fragments of them, scores, and sums stay in the registers of 4
// warps, each of which has 16 ROW_TILES rows of the products. See warp.cl for fragments. Rows of 16 bits are factors as they are;
// F32 ones become factors of TF32, rounded on their way to registers.
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
#ifndef HAS_MASK
#define HAS_MASK 0
#endif
#ifndef MASK_IS_BOOL
#define MASK_IS_BOOL 0
#endif
#include "attention/options.cl"
#include "warp.cl"

#define ITEMS 128
#define ITEM ((int)get_local_id(0))
#define ITEMS_GROUP __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
#define FACTOR_F16 F16
#define FACTOR_BF16 BF16
#define FACTOR_F32 TF32
#define FACTOR HEED_JOIN(FACTOR_, X_DTYPE)
#define IS_TF32_F16 0
#define IS_TF32_BF16 0
#define IS_TF32_F32 1
#define IS_TF32 HEED_JOIN(IS_TF32_, X_DTYPE)
#if IS_TF32
typedef float element;
#define CHUNK 4 // elements of 16 bytes, the unit of copies
#define PACKED_TILES 1 // of a product, which make an A
#define SPREAD_TILES 4 // of 8 columns, which load_columns fetches
#else
typedef ushort element;
#define CHUNK 8
#define PACKED_TILES 2
#define SPREAD_TILES 2
#endif
#define CHUNKS (DIM / CHUNK) // of a row
#if IS_TF32 && DIM > 64
#define COPY_UNROLL _Pragma("unroll 2") // the addresses of all copies would take the registers of fragments
#else
#define COPY_UNROLL WARP_UNROLL
#endif
#define STEPS (CHUNKS / 2) // of a product over the columns
#define SUM_TILES (DIM / 8) // of a sum of rows
#define LOG2E 1.44269504f
#define LN2 0.693147181f
// Scores stay q kᵀ, and scale is applied within the exponent, unless something is added to them or bends them.
#define NATURAL (SOFTCAP || (HAS_MASK && !MASK_IS_BOOL))
#define IS_F16_F16 1
#define IS_F16_BF16 0
#define IS_F16_F32 0
#define IS_F16 HEED_JOIN(IS_F16_, X_DTYPE)

// The part of a D fragment that an item holds: rows G and G + 8, columns COLUMN and COLUMN + 1.
#define G (WARP_LANE / 4)
#define T (WARP_LANE % 4)
#define COLUMN (T * 2)

typedef __global const element *storage;
typedef __global element *result;

bool is_finite(float x) { return (as_uint(x) & 0x7fffffff) < 0x7f800000; }

// ---------------------------------------------------------------- tiles

// Where chunk `chunk` of a row begins. Chunks of 8 rows that lie one above the other change places, so that they are in
// different banks. Eights of chunks stand apart, so that compilers find few addresses, with constants added to them, and not many.
int place(uint row, uint chunk) { return row * DIM + chunk / 8 * (8 * CHUNK) + (chunk % 8 ^ row % 8) * CHUNK; }

void copy_chunk(__local void *to, const __global void *from, bool there) {
  warp_copy16((__local ushort *)to, (const __global ushort *)from, there);
}

// Begins to copy rows [row0, row0 + rows) of x; 0 from row_end on.
void copy_rows(storage x, idx stride, int row0, int row_end, int rows, __local element *tile) {
  const int row = ITEM / CHUNKS, chunk = ITEM % CHUNKS, step = ITEMS / CHUNKS;
  idx from = (row0 + row) * stride + chunk * CHUNK;
  COPY_UNROLL
  for (int e = 0; e < rows; e += step, from += step * stride) {
    const int at = step % 8 == 0 ? place(row, chunk) + e * DIM : place(row + e, chunk);
    copy_chunk(tile + at, x + from, row0 + row + e < row_end);
  }
}

// As factors, what has been loaded.
void round_factors(uint *factors, int count) {
#if IS_TF32
  WARP_UNROLL
  for (int i = 0; i < count; ++i) factors[i] = warp_round_TF32(as_float(factors[i]));
#endif
}

// Rows [row, row + 16), chunks 2 step and 2 step + 1 of a tile, transposed, as two Bs: the factor of a product over columns. A
// matrix of 8 x 8 16-bit elements is also one of 8 x 4 32-bit ones, and comes to lie as TF32 wants it. row: a multiple of 8.
void load_transposed(uint b[4], const __local element *tile, int row, int step, warp_scratch scratch) {
  const int at = place(WARP_LANE / 16 * 8 + WARP_LANE % 8, 2 * step + WARP_LANE / 8 % 2);
  warp_load4(b, (const __local ushort *)(tile + row * DIM + at), scratch);
  round_factors(b, 4);
}
// The same as an A, from the same addresses, which are in registers already.
void load_rows(uint a[4], const __local element *tile, int row, int step, warp_scratch scratch) {
  load_transposed(a, tile, row, step, scratch);
  const uint second = a[2];
  a[2] = a[1];
  a[1] = second;
}

// Rows [row, row + 8 PACKED_TILES), columns [8 SPREAD_TILES spread, 8 SPREAD_TILES (spread + 1)) as SPREAD_TILES Bs: the factor
// of a product over rows. No instruction transposes 32-bit elements, so that TF32 has its own order: a tile has every fourth of the
// columns, of which an item then finds its own side by side, and steps t and t + 4 of the product are rows 2t and 2t + 1, which a D
// holds side by side. pack_tiles and store_row know.
void load_columns(uint b[2 * SPREAD_TILES], const __local element *tile, int row, int spread, warp_scratch scratch) {
#if IS_TF32
  WARP_UNROLL
  for (int i = 0; i < 2; ++i) {
    const uint4 four = *(const __local uint4 *)(tile + place(row + 2 * T + i, 8 * spread + G));
    b[i] = four.x;
    b[2 + i] = four.y;
    b[4 + i] = four.z;
    b[6 + i] = four.w;
  }
  round_factors(b, 8);
#else
  const int at = place(row + WARP_LANE % 16, 2 * spread + WARP_LANE / 16);
  warp_load4_trans(b, (const __local ushort *)(tile + at), scratch);
#endif
}

// ---------------------------------------------------------------- products

// s = x yᵀ for the rows of a warp and 8 COLUMN_TILES rows of a tile.
void multiply_rows(float s[ROW_TILES][COLUMN_TILES][4], uint x[ROW_TILES][STEPS][4], const __local element *y,
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
          WARP_MMA(FACTOR, s[m][n + half_b], x[m][step], b + 2 * half_b, scratch);
    }
}

// PACKED_TILES neighbouring tiles of a product as an A.
void pack_tiles(uint a[4], float x[PACKED_TILES][4]) {
#if IS_TF32
  a[0] = warp_round_TF32(x[0][0]);
  a[1] = warp_round_TF32(x[0][2]);
  a[2] = warp_round_TF32(x[0][1]);
  a[3] = warp_round_TF32(x[0][3]);
#else
  a[0] = WARP_PACK(X_DTYPE, x[0][0], x[0][1]);
  a[1] = WARP_PACK(X_DTYPE, x[0][2], x[0][3]);
  a[2] = WARP_PACK(X_DTYPE, x[1][0], x[1][1]);
  a[3] = WARP_PACK(X_DTYPE, x[1][2], x[1][3]);
#endif
}

void clear_sum(float sum[ROW_TILES][SUM_TILES][4]) {
  WARP_UNROLL
  for (int m = 0; m < ROW_TILES; ++m)
    WARP_UNROLL
    for (int n = 0; n < SUM_TILES; ++n)
      WARP_UNROLL
      for (int e = 0; e < 4; ++e) sum[m][n][e] = 0;
}

// sum += w y, with w a product of the warp's rows and y the rows of a tile.
void add_product(float sum[ROW_TILES][SUM_TILES][4], float w[ROW_TILES][COLUMN_TILES][4], const __local element *y,
                 warp_scratch scratch) {
  WARP_UNROLL
  for (int tile = 0; tile < COLUMN_TILES; tile += PACKED_TILES) {
    uint a[ROW_TILES][4];
    WARP_UNROLL
    for (int m = 0; m < ROW_TILES; ++m) pack_tiles(a[m], w[m] + tile);
    WARP_UNROLL
    for (int spread = 0; spread < SUM_TILES / SPREAD_TILES; ++spread) {
      uint b[2 * SPREAD_TILES];
      load_columns(b, y, 8 * tile, spread, scratch);
      WARP_UNROLL
      for (int m = 0; m < ROW_TILES; ++m)
        WARP_UNROLL
        for (int n = 0; n < SPREAD_TILES; ++n)
          WARP_MMA(FACTOR, sum[m][SPREAD_TILES * spread + n], a[m], b + 2 * n, scratch);
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
float score_of(float s, float *slope, bool whole, struct pairs pairs, int i, int j, float scale, float softcap,
               __global const TYPE(MASK_DTYPE) *mask, idx mask_row, idx mask_key) {
  bool attended = whole || is_attended(pairs, i, j);
#if NATURAL
  s *= scale;
#endif
#if SOFTCAP
  // tanh, whose error of 1e-7 times the cap is far below that of 16-bit factors.
  const float e = warp_exp2(-2 * LOG2E / softcap * fabs(s));
  s = copysign(softcap * (1 - e) / (1 + e), s);
  *slope = SOFTCAP_SLOPE(e);
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
#define EXPONENT_UNIT (NATURAL ? LOG2E : LOG2E * call.scale)

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

// What an item holds of row G + 8 r of a sum, times factor, to the row of a result. Sets *redo where some of it is not finite:
// products on tensor cores make NaN of 0 · NaN and Inf of what 16 bits do not hold, which the general kernels do not.
void store_row(result to, float sum[SUM_TILES][4], int r, float factor, __global int *redo) {
  bool finite = true;
#if IS_TF32
  WARP_UNROLL
  for (int spread = 0; spread < SUM_TILES / 4; ++spread)
    WARP_UNROLL
    for (int side = 2 * r; side < 2 * r + 2; ++side) {
      float four[4];
      WARP_UNROLL
      for (int n = 0; n < 4; ++n) {
        four[n] = sum[4 * spread + n][side] * factor;
        finite = finite && is_finite(four[n]);
      }
      *(__global float4 *)(to + 32 * spread + 8 * T + 4 * (side % 2)) = (float4)(four[0], four[1], four[2], four[3]);
    }
#else
  WARP_UNROLL
  for (int n = 0; n < SUM_TILES; ++n) {
    const float x = sum[n][2 * r] * factor, y = sum[n][2 * r + 1] * factor;
    finite = finite && is_finite(x) && is_finite(y);
    *(__global uint *)(to + n * 8 + COLUMN) = WARP_PACK(X_DTYPE, x, y);
  }
#endif
  if (!finite) atomic_or(redo, 1);
}
