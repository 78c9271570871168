// C = activation(alpha op(A) op(B) + beta C + bias) on devices with work-groups and local memory. A work-group makes a TILE x TILE
// tile of C, or of one part of the sum: blocks of DEPTH steps of k pass through local memory, as floats [k][row of op(A)] and
// [k][column of op(B)], the next block on its way from global memory while the present one is used. What lies outside a matrix is
// taken as 0 and never read.
//
// check with: -DVECTOR=4
// check with: -DVECTOR=4 -DTILE=64 -DDEPTH=16 -DX_DTYPE=F16 -DY_DTYPE=F16 -DGELU=1
// check with: -DVECTOR=4 -DTILE=32 -DDEPTH=16 -DX_DTYPE=F32 -DY_DTYPE=BF16
#include "gemm/grid.cl"
#ifndef TILE
#define TILE 128
#define DEPTH 8
#endif

// A work-item has ROW_VECTORS times 4 rows and COL_VECTORS times 4 columns. 32 of them are 4 x 8 in every 16 rows and 32 columns:
// then all of their reads from local memory are of neighbours or of one address, and their stores to C are 32 columns of a row.
#if TILE == 128
#define ROW_VECTORS 2
#define COL_VECTORS 2
#elif TILE == 64
#define ROW_VECTORS 2
#define COL_VECTORS 1
#else
#define ROW_VECTORS 1
#define COL_VECTORS 1
#endif
#define ITEMS (2 * TILE)
#define ITEM ((int)get_local_id(0))
#define BLOCKS_ACROSS (TILE / (32 * COL_VECTORS))
#define ITEM_ROW (ITEM / 32 / BLOCKS_ACROSS * 16 * ROW_VECTORS + ITEM % 32 / 8 * 4)
#define ITEM_COL (ITEM / 32 % BLOCKS_ACROSS * 32 * COL_VECTORS + ITEM % 8 * 4)

// float4s from one step of k to the next. A vector along k is stored as a column; with one float4 of padding the eight steps and
// 16 rows that 32 items store at once lie in different banks.
#define PITCH (TILE / 4 + 1)
#define LOADS (DEPTH / 8) // vectors of each factor that an item stages for a block, 8 steps of k apart
#define UNROLL _Pragma("unroll")
#if ON_CPU // whose compilers take many seconds for what is unrolled twice
#define UNROLL_OUTER _Pragma("nounroll")
#else
#define UNROLL_OUTER UNROLL
#endif

// ---- from global memory

// What an item stages of a factor: 4 elements along k of one row or column of the tile, or of 4 of them at one step of k.
struct stage {
  const __global factor *from; // of the block that is fetched next
  long step;    // from one step of k to the next
  int along_k, aligned;
  int x_count;  // not along_k: how many of the four are there
  int k, to;    // its first step of k in a block; where it goes in local memory, in floats
};

INLINE void set_stage(struct stage *s, const __global factor *x, long x_step, long k_step, long x0, long extent, int k0,
                      int along_k, int aligned) {
  s->along_k = along_k;
  s->aligned = aligned;
  s->step = k_step;
  const int at = along_k ? ITEM / 2 : ITEM % (TILE / 4) * 4;
  s->k = along_k ? ITEM % 2 * 4 : ITEM / (TILE / 4);
  s->x_count = (int)clamp(extent - x0 - at, 0L, 4L);
  s->from = x + min(x0 + at, extent - 1) * x_step + (k0 + s->k) * k_step;
  s->to = s->k * PITCH * 4 + at;
}

#define WHOLE4_F32 *(const __global float4 *)p
#define WHOLE4_F16 vloada_half4(0, p)
#define WHOLE4_BF16 as_float4(convert_uint4(*(const __global ushort4 *)p) << 16)

INLINE float4 fetch4(const __global factor *p, int count, int aligned) {
  if (count >= 4 && aligned) return HEED_JOIN(WHOLE4_, Y_DTYPE);
  float4 value = 0;
  if (count > 0) value.x = LOAD(Y_DTYPE, p, 0);
  if (count > 1) value.y = LOAD(Y_DTYPE, p, 1);
  if (count > 2) value.z = LOAD(Y_DTYPE, p, 2);
  if (count > 3) value.w = LOAD(Y_DTYPE, p, 3);
  return value;
}

// A block of which k_left steps of k are there. A row past the edge is the last one once more: nobody stores what comes of it.
INLINE void fetch(const struct stage *s, int k_left, float4 *values) {
  UNROLL for (int load = 0; load < LOADS; ++load) {
    const int k_count = k_left - s->k - 8 * load;
    const int count = s->along_k ? k_count : k_count > 0 ? s->x_count : 0;
    values[load] = fetch4(s->from + 8 * load * s->step, count, s->aligned);
  }
}

// A block that is there as a whole, of aligned vectors.
INLINE void fetch_whole(const struct stage *s, float4 *values) {
  UNROLL for (int load = 0; load < LOADS; ++load) {
    const __global factor *const p = s->from + 8 * load * s->step;
    values[load] = HEED_JOIN(WHOLE4_, Y_DTYPE);
  }
}

INLINE void put(const struct stage *s, const float4 *values, __local float4 *block) {
  UNROLL for (int load = 0; load < LOADS; ++load) {
    __local float *to = (__local float *)(block + 8 * load * PITCH) + s->to;
    if (s->along_k) {
      to[0] = values[load].x;
      to[4 * PITCH] = values[load].y;
      to[8 * PITCH] = values[load].z;
      to[12 * PITCH] = values[load].w;
    } else {
      *(__local float4 *)to = values[load];
    }
  }
}

// ---- the product

INLINE void multiply(const __local float4 *a, const __local float4 *b, float4 sum[4 * ROW_VECTORS][COL_VECTORS]) {
  UNROLL_OUTER for (int k = 0; k < DEPTH; ++k) {
    float4 a_part[ROW_VECTORS], b_part[COL_VECTORS];
    UNROLL for (int i = 0; i < ROW_VECTORS; ++i) a_part[i] = a[k * PITCH + 4 * i];
    UNROLL for (int j = 0; j < COL_VECTORS; ++j) b_part[j] = b[k * PITCH + 8 * j];
    UNROLL for (int i = 0; i < ROW_VECTORS; ++i)
      UNROLL for (int j = 0; j < COL_VECTORS; ++j) {
        sum[4 * i + 0][j] += a_part[i].x * b_part[j];
        sum[4 * i + 1][j] += a_part[i].y * b_part[j];
        sum[4 * i + 2][j] += a_part[i].z * b_part[j];
        sum[4 * i + 3][j] += a_part[i].w * b_part[j];
      }
  }
}

// Stores a vector of the item's sums. The calls are written out, not left to a loop: a compiler that does not unroll a loop around so much
// code (Intel's) indexes `sum` by a variable, and then keeps it in memory from the first step of k on.
// Places are counted from the tile's corner, in int: with long ones NVIDIA's compiler takes more than 128 registers, and half of the
// work-groups find room.
#define STORE_VECTOR(i, j)                                                                                       \
  {                                                                                                              \
    const int row = (int)at.row + ITEM_ROW + (i) / 4 * 16 + (i) % 4, col = (int)at.col + ITEM_COL + 32 * (j);   \
    if (row < (int)m && col < (int)n)                                                                            \
      finish(sum[i][j], corner + (ITEM_ROW + (i) / 4 * 16 + (i) % 4) * c_ld + ITEM_COL + 32 * (j), row, col,     \
             min((int)n - col, 4), e);                                                                           \
  }
#if COL_VECTORS == 2
#define STORE_ROW(i) STORE_VECTOR(i, 0) STORE_VECTOR(i, 1)
#else
#define STORE_ROW(i) STORE_VECTOR(i, 0)
#endif
#define STORE_FOUR_ROWS(i) STORE_ROW(i) STORE_ROW((i) + 1) STORE_ROW((i) + 2) STORE_ROW((i) + 3)

SUBGROUP_SIZE __attribute__((reqd_work_group_size(ITEMS, 1, 1))) __kernel void gemm_tiles(GRID_ARGUMENTS) {
  __local float4 a_blocks[2 * DEPTH * PITCH], b_blocks[2 * DEPTH * PITCH];
  struct place at;
  FIND_PLACE(TILE, &at);
  const struct epilogue e = EPILOGUE(at.batch0, at.batch1);
  __global real *const corner = c + C_OFFSET(at) + at.row * c_ld + at.col;
  const int a_along_k = (form & FORM_A_ALONG_K) != 0, a_aligned = (form & FORM_A_ALIGNED) != 0;
  const int b_along_k = (form & FORM_B_ALONG_K) != 0, b_aligned = (form & FORM_B_ALIGNED) != 0;
  struct stage a_stage, b_stage;
  set_stage(&a_stage, MATRIX_AT(a), a_x, a_k, at.row, m, at.k, a_along_k, a_aligned);
  set_stage(&b_stage, MATRIX_AT(b), b_x, b_k, at.col, n, at.k, b_along_k, b_aligned);
  float4 a_next[LOADS], b_next[LOADS], sum[4 * ROW_VECTORS][COL_VECTORS];
  UNROLL for (int i = 0; i < 4 * ROW_VECTORS; ++i)
    UNROLL for (int j = 0; j < COL_VECTORS; ++j) sum[i][j] = 0;

  // From how many steps of k on the block after the present one needs no look at what of it is there.
  const int is_inner = a_aligned && b_aligned && (a_along_k || at.row + TILE <= m) && (b_along_k || at.col + TILE <= n);
  const int whole_from = is_inner ? 2 * DEPTH : INT_MAX;
  int k_left = at.k_end - at.k, now = 0;
  fetch(&a_stage, k_left, a_next);
  fetch(&b_stage, k_left, b_next);
  for (; k_left > 0; k_left -= DEPTH) {
    // The block before last was read before the last barrier, so that its place is free.
    put(&a_stage, a_next, a_blocks + now);
    put(&b_stage, b_next, b_blocks + now);
    barrier(CLK_LOCAL_MEM_FENCE);
    a_stage.from += DEPTH * a_stage.step;
    b_stage.from += DEPTH * b_stage.step;
    if (k_left >= whole_from) {
      fetch_whole(&a_stage, a_next);
      fetch_whole(&b_stage, b_next);
    } else if (k_left > DEPTH) {
      fetch(&a_stage, k_left - DEPTH, a_next);
      fetch(&b_stage, k_left - DEPTH, b_next);
    }
    multiply(a_blocks + now + ITEM_ROW / 4, b_blocks + now + ITEM_COL / 4, sum);
    now = DEPTH * PITCH - now;
  }

#if ON_CPU
  for (int i = 0; i < 4 * ROW_VECTORS; ++i)
    for (int j = 0; j < COL_VECTORS; ++j) STORE_VECTOR(i, j)
#else
  STORE_FOUR_ROWS(0)
#if ROW_VECTORS == 2
  STORE_FOUR_ROWS(4)
#endif
#endif
}
