// Fused attention on GPUs: what the kernels of its forward and backward share (FlashAttention-2, Dao 2023, arXiv 2307.08691,
// sections 3.1 and 3.2). A work-group of ITEMS work-items holds a tile of scores, QUERIES x KEYS, in registers; factors come
// through local memory in chunks. What is chosen for a device and a problem comes in as -D; see host/cl/attention/fused_gpu_plan.c.
#pragma OPENCL FP_CONTRACT ON
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef QK_WIDTH // of q and k; the numbers here go together
#define QK_WIDTH 64
#define V_WIDTH 64
#define ITEMS 128
#define QUERIES 64
#define KEYS 64
#define DEPTH 16   // columns of a chunk of both factors of a score
#define OUT_X 16   // work-items across a row of an output; its other ITEMS / OUT_X lie across rows
#define STAGE 2560 // floats
#define QK_COLUMNS 4 // of an item
#define QK_ROWS 32   // rows that are staged at a time
#define V_COLUMNS 4
#define V_ROWS 32
#endif
#ifndef ALIGNED
#define ALIGNED 0 // every row of every tensor begins at a multiple of 4 elements
#endif
#ifndef SPARE_REGISTERS
#define SPARE_REGISTERS 1 // products are unrolled, and an item has 4 loads on their way at a time; else 2
#endif
#ifndef RAW_SCORES
#define RAW_SCORES 0 // no mask and no softcap needs the scores, and their scale is above 0: q kᵀ stays as it is until its exponential
#endif
#ifndef NATIVE_EXP2
#define NATIVE_EXP2 0 // the device's own exp2 is exact enough; see host/cl/runtime/trials.c
#endif
#ifndef PACKED
#define PACKED 0 // a tile holds the rows of all query heads that share a key head
#endif

// Of a tile of scores, an item has SCORE_ROWS rows, SCORE_Y apart, and 4 neighbouring keys.
#define SCORE_X (KEYS / 4)
#define SCORE_Y (ITEMS / SCORE_X)
#define SCORE_ROWS (QUERIES / SCORE_Y)
#define ITEM ((int)get_local_id(0))
#define SCORE_KEY (SCORE_ITEM_X * 4)
#define SCORE_ROW(r) (SCORE_ITEM_Y + (r)*SCORE_Y)
// How items lie over a tile `across` wide. LANES_IN_Z: in lots of 2 x 2, so that of the lanes of a warp neighbours share a column of items
// and lanes two apart a row; a read of a vector by the warp then takes two cycles of local memory where it would take four.
#ifndef LANES_IN_Z
#define LANES_IN_Z 0
#endif
#define IN_Z(across, down) (LANES_IN_Z && (across) % 2 == 0 && (down) % 2 == 0)
// Unsigned, as compilers do not all know that an item's number is not negative, and a division by a power of two is then a shift.
#define ITEM_X(across, down) \
  ((int)(IN_Z(across, down) ? (uint)ITEM / 4 % ((across) / 2) * 2 + (uint)ITEM / 2 % 2 : (uint)ITEM % (across)))
#define ITEM_Y(across, down) \
  ((int)(IN_Z(across, down) ? (uint)ITEM / (2 * (across)) * 2 + (uint)ITEM % 2 : (uint)ITEM / (across)))
#define SCORE_STEP (IN_Z(SCORE_X, SCORE_Y) ? 2 : 1) // from an item to the next of its rows
#define SCORE_ITEM_X ITEM_X(SCORE_X, SCORE_Y)
#define SCORE_ITEM_Y ITEM_Y(SCORE_X, SCORE_Y)
// float4s from a row of a chunk to the next: odd, so that neighbouring rows lie in different banks.
#define CHUNK_PITCH (DEPTH / 4 + 1)
// float4s from a row of weights, stored for the products over rows and keys, to the next.
#define WEIGHT_PITCH (KEYS / 4 + 1)
// floats of a row of partial results of a row's items
#define PART_PITCH (SCORE_X + 1)
#define OUT_Y (ITEMS / OUT_X)
#define OUT_ITEM_X ITEM_X(OUT_X, OUT_Y)
#define OUT_ITEM_Y ITEM_Y(OUT_X, OUT_Y)
#define COLUMNS(WIDTH) WIDTH##_COLUMNS
#define PADDED(WIDTH) (OUT_X * COLUMNS(WIDTH))
#define ITEMS_GROUP SUBGROUP_SIZE __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
// log2(e) and ln(2), each with what a float leaves of it.
#define LOG2E 1.44269502f
#define LOG2E_REST 1.92596303e-8f
#define LN2 0.693147182f
#define LN2_REST -1.90465430e-9f
#include "shuffle.cl"

#ifndef HAS_MASK
#define HAS_MASK 0
#endif
#ifndef MASK_IS_BOOL
#define MASK_IS_BOOL 0
#endif
#include "attention/options.cl"
#ifndef GATED
#define GATED 0
#endif
// Work that is done only where another path has asked for it.
#if GATED
#define GATE_ARGUMENT , __global const int *gate
#define LEAVE_IF_CLOSED \
  if (*gate == 0) return
#else
#define GATE_ARGUMENT
#define LEAVE_IF_CLOSED
#endif

typedef __global const TYPE(X_DTYPE) *storage;

// Where a work-group is, in local memory: what is read now and then from there needs no registers meanwhile, which are scarce where tiles
// are multiplied. Nor does what follows from it: compilers keep what an item reckons from a number that does not change in a loop.
struct place {
  long batch, head, split;
  idx q, k, v, dout; // where heads begin
  int origin;        // 0, of which no compiler knows it: addresses in local memory that begin with it are not kept for the whole loop over tiles
  int first;         // of the rows, or in dk's and dv's kernel of the keys, that are the work-group's
  struct reach reach;
};
#define FIND(x, batch, head) place.x = (idx)((batch)*call.x.stride0 + (head)*call.x.stride1)
#define FOUND(x) ((x) + call.x.offset + place.x)

// ---------------------------------------------------------------- into local memory

// Columns [column, column + 4) of a row that begins at `at`; 0 from `width` on.
float4 load4(storage x, idx at, int column, int width) {
#if ALIGNED
  if (column >= width) return 0;
  const storage p = x + at + column;
#define WHOLE_F32 *(__global const float4 *)p
#define WHOLE_F16 vloada_half4(0, p)
#define WHOLE_BF16 as_float4(convert_uint4(*(__global const ushort4 *)p) << 16)
  return HEED_JOIN(WHOLE_, X_DTYPE);
#else
  float4 value = 0;
  if (column < width) value.x = LOAD(X_DTYPE, x, at + column);
  if (column + 1 < width) value.y = LOAD(X_DTYPE, x, at + column + 1);
  if (column + 2 < width) value.z = LOAD(X_DTYPE, x, at + column + 2);
  if (column + 3 < width) value.w = LOAD(X_DTYPE, x, at + column + 3);
  return value;
#endif
}

#define CHUNK_X (DEPTH / 4) // float4s of a row of a chunk
#define ROUNDS(fours) (((fours) + ITEMS - 1) / ITEMS)
// Where what an item loads in this round lies: the row of the tile, and the float4 in it. Where that is a division a round, it counts from the
// tile's first row: all the results would stay in registers for the whole loop else.
#define FOURS(WIDTH) (PADDED(WIDTH) / 4)
#define NUMBER_OF(WIDTH, round, first) ((uint)ITEM + (uint)(round) * ITEMS + (uint)(first) * FOURS(WIDTH))
#define ROW_OF(WIDTH, round, first)                                                                          \
  (ITEMS % FOURS(WIDTH) == 0 ? (first) + (int)((uint)ITEM / FOURS(WIDTH)) + (round) * (ITEMS / FOURS(WIDTH)) \
                             : (int)(NUMBER_OF(WIDTH, round, first) / FOURS(WIDTH)))
#define FOUR_OF(WIDTH, round, first)               \
  (int)(ITEMS % FOURS(WIDTH) == 0 ? (uint)ITEM % FOURS(WIDTH) : NUMBER_OF(WIDTH, round, first) % FOURS(WIDTH))

// ---------------------------------------------------------------- products

#if SPARE_REGISTERS
#define UNROLL_FOURS _Pragma("unroll 4")
#else
#define UNROLL_FOURS _Pragma("unroll 1")
#endif

// s += x yᵀ over one chunk of `depth` columns.
void multiply_chunk(const __local float4 *x, int x_pitch, const __local float4 *y, int depth, float s[SCORE_ROWS][4]) {
  x += SCORE_ITEM_Y * x_pitch;
  y += SCORE_ITEM_X * CHUNK_PITCH;
  UNROLL_FOURS for (int c = 0; c < depth / 4; ++c) {
    float4 factor[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) factor[j] = y[j * SCORE_X * CHUNK_PITCH + c];
#pragma unroll
    for (int r = 0; r < SCORE_ROWS; ++r) {
      const float4 row = x[r * SCORE_Y * x_pitch + c];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[r][j] += row.x * factor[j].x;
        s[r][j] += row.y * factor[j].y;
        s[r][j] += row.z * factor[j].z;
        s[r][j] += row.w * factor[j].w;
      }
    }
  }
}

// The same for scores: sums of all chunks but the first are made apart, so that the error of a large score, which exp() makes a relative one,
// grows with the square root of the width only.
void add_chunk(const __local float4 *x, int x_pitch, const __local float4 *y, int depth, bool first,
               float s[SCORE_ROWS][4]) {
  if (first && SPARE_REGISTERS) { // the code of the products twice costs registers
    multiply_chunk(x, x_pitch, y, depth, s);
    return;
  }
  float block[SCORE_ROWS][4];
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j) block[r][j] = 0;
  multiply_chunk(x, x_pitch, y, depth, block);
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j) s[r][j] += block[r][j];
}

// The columns of an output that are this item's, from one row of staged rows; and the element where column c of them stands. First all items
// have a vector of 4 each, as often as their columns hold one, then one of 2, then a single column.
#define FOURTHS(WIDTH) (COLUMNS(WIDTH) / 4 * 4)
#define OUT_COLUMN(WIDTH, c)                                                                                        \
  ((c) < FOURTHS(WIDTH)                                   ? ((c) / 4 * OUT_X + OUT_ITEM_X) * 4 + (c) % 4              \
   : COLUMNS(WIDTH) % 4 >= 2 && (c) < FOURTHS(WIDTH) + 2 ? FOURTHS(WIDTH) * OUT_X + OUT_ITEM_X * 2 + (c) % 2          \
                                                         : (COLUMNS(WIDTH) - 1) * OUT_X + OUT_ITEM_X)
#define DEFINE_COLUMNS(WIDTH)                                                                            \
  void columns_##WIDTH(const __local float *row, float z[COLUMNS(WIDTH)]) {                               \
    _Pragma("unroll") for (int c = 0; c < FOURTHS(WIDTH); c += 4) {                                       \
      const float4 part = ((const __local float4 *)(row + c * OUT_X))[OUT_ITEM_X];                        \
      z[c] = part.x;                                                                                      \
      z[c + 1] = part.y;                                                                                  \
      z[c + 2] = part.z;                                                                                  \
      z[c + 3] = part.w;                                                                                  \
    }                                                                                                     \
    if (COLUMNS(WIDTH) % 4 >= 2) {                                                                        \
      const float2 part = ((const __local float2 *)(row + FOURTHS(WIDTH) * OUT_X))[OUT_ITEM_X];           \
      z[FOURTHS(WIDTH) % COLUMNS(WIDTH)] = part.x;                                                        \
      z[(FOURTHS(WIDTH) + 1) % COLUMNS(WIDTH)] = part.y;                                                  \
    }                                                                                                     \
    if (COLUMNS(WIDTH) % 2 == 1) z[COLUMNS(WIDTH) - 1] = row[(COLUMNS(WIDTH) - 1) * OUT_X + OUT_ITEM_X];  \
  }

// sum[r] += Σ_j w[row r][j] z[j] over the staged rows z, which are keys from `first` of the tile on. An item has LINES rows, which lie
// OUT_Y apart.
// `careful`: what a weight of 0 meets does not count, NaN and Inf included.
#define DEFINE_OUTPUT_OF_QUERIES(WIDTH, LINES)                                                                   \
  void output_of_queries(const __local float4 *w, int first, const __local float *z, bool careful,               \
                         float sum[LINES][COLUMNS(WIDTH)]) {                                                     \
    w += OUT_ITEM_Y * WEIGHT_PITCH + first / 4;                                                                  \
    _Pragma("unroll 1") for (int j = 0; !careful && j < WIDTH##_ROWS; j += 4) {                                  \
      float row[4][COLUMNS(WIDTH)];                                                                              \
      _Pragma("unroll") for (int n = 0; n < 4; ++n) columns_##WIDTH(z + (j + n) * PADDED(WIDTH), row[n]);         \
      _Pragma("unroll") for (int r = 0; r < LINES; ++r) {                                                        \
        const float4 four = w[r * OUT_Y * WEIGHT_PITCH + j / 4];                                                 \
        const float weight[4] = {four.x, four.y, four.z, four.w};                                                \
        _Pragma("unroll") for (int n = 0; n < 4; ++n)                                                            \
            _Pragma("unroll") for (int c = 0; c < COLUMNS(WIDTH); ++c) sum[r][c] += weight[n] * row[n][c];       \
      }                                                                                                          \
    }                                                                                                            \
    for (int j = 0; careful && j < WIDTH##_ROWS; ++j) {                                                          \
      float row[COLUMNS(WIDTH)];                                                                                 \
      columns_##WIDTH(z + j * PADDED(WIDTH), row);                                                               \
      _Pragma("unroll") for (int r = 0; r < LINES; ++r) {                                                        \
        const float weight = ((const __local float *)(w + r * OUT_Y * WEIGHT_PITCH))[j];                         \
        _Pragma("unroll") for (int c = 0; c < COLUMNS(WIDTH); ++c) sum[r][c] += weight != 0 ? weight * row[c] : 0; \
      }                                                                                                          \
    }                                                                                                            \
  }

// sum[k] += Σ_i w[i][key k] z[i] over the staged rows z, which are queries from `first` of the tile on. An item's keys are
// neighbours.
#define OUT_KEYS (KEYS / OUT_Y)
#define DEFINE_OUTPUT_OF_KEYS(WIDTH)                                                                               \
  void output_of_keys_##WIDTH(const __local float *w, int first, const __local float *z, bool careful,             \
                              float sum[OUT_KEYS][COLUMNS(WIDTH)]) {                                               \
    w += OUT_ITEM_Y * OUT_KEYS + first * 4 * WEIGHT_PITCH;                                                         \
    UNROLL_FOURS for (int i = 0; !careful && i < WIDTH##_ROWS;                                              \
                             ++i, w += 4 * WEIGHT_PITCH, z += PADDED(WIDTH)) {                                     \
      float row[COLUMNS(WIDTH)], weight[OUT_KEYS];                                                                 \
      columns_##WIDTH(z, row);                                                                                     \
      neighbours(w, weight);                                                                                       \
      _Pragma("unroll") for (int k = 0; k < OUT_KEYS; ++k)                                                         \
          _Pragma("unroll") for (int c = 0; c < COLUMNS(WIDTH); ++c) sum[k][c] += weight[k] * row[c];              \
    }                                                                                                              \
    for (int i = 0; careful && i < WIDTH##_ROWS; ++i, w += 4 * WEIGHT_PITCH, z += PADDED(WIDTH)) {                 \
      float row[COLUMNS(WIDTH)], weight[OUT_KEYS];                                                                 \
      columns_##WIDTH(z, row);                                                                                     \
      neighbours(w, weight);                                                                                       \
      _Pragma("unroll") for (int k = 0; k < OUT_KEYS; ++k)                                                         \
          _Pragma("unroll") for (int c = 0; c < COLUMNS(WIDTH); ++c)                                               \
              sum[k][c] += weight[k] != 0 ? weight[k] * row[c] : 0;                                                \
    }                                                                                                              \
  }
#define DEFINE_NEIGHBOURS                                                \
  void neighbours(const __local float *w, float weight[OUT_KEYS]) {      \
    _Pragma("unroll") for (int k = 0; k < OUT_KEYS; k += 4) {            \
      if (OUT_KEYS % 4 == 0) {                                           \
        const float4 four = *(const __local float4 *)(w + k);            \
        weight[k] = four.x;                                              \
        weight[(k + 1) % OUT_KEYS] = four.y;                             \
        weight[(k + 2) % OUT_KEYS] = four.z;                             \
        weight[(k + 3) % OUT_KEYS] = four.w;                             \
      } else {                                                           \
        _Pragma("unroll") for (int n = 0; n < OUT_KEYS; ++n) weight[n] = w[n]; \
      }                                                                  \
    }                                                                    \
  }

// ---------------------------------------------------------------- scores

#if PACKED
#define QUERY_OF(row, queries) ((row) % (int)(queries))
#define HEAD_OF(row, queries) ((row) / (int)(queries))
#else
#define QUERY_OF(row, queries) (row)
#define HEAD_OF(row, queries) 0
#endif

// From q kᵀ to softcap(scale q kᵀ) + mask, or not even that (RAW_SCORES), and −inf for what is not attended, of row `row` and 4 keys from `key`
// on, where the row attends the keys [first, end). slope: of the softcap at each score; not touched without it. mask: of the first row's batch
// and head.
void finish_row(float s[4], float slope[4], int row, int key, int first, int end, int queries, float scale,
                float softcap, __global const TYPE(MASK_DTYPE) *mask, idx stride_head, idx stride_row, idx stride_key) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float score = RAW_SCORES ? s[j] : s[j] * scale;
#if SOFTCAP
    const float x = score / softcap;
    score = softcap * tanh(x);
    slope[j] = SOFTCAP_SLOPE(exp2(-2 * LOG2E * fabs(x)));
#endif
    bool attended = key + j >= first && key + j < end;
#if HAS_MASK
    if (attended) {
      const idx at = HEAD_OF(row, queries) * stride_head + QUERY_OF(row, queries) * stride_row + (key + j) * stride_key;
#if MASK_IS_BOOL
      attended = mask[at];
#else
      const float bias = LOAD(MASK_DTYPE, mask, at);
      attended = bias != -INFINITY;
      score += bias;
#endif
    }
#endif
    s[j] = attended ? score : -INFINITY;
  }
}

// Puts into local memory from which key to which each row of a tile attends; none for rows past the last.
void find_attended(const struct reach *reach, int row0, int row_end, int queries, __local int2 *attended) {
  for (int row = ITEM; row < QUERIES; row += ITEMS) {
    const int i = QUERY_OF(row0 + row, queries);
    attended[row] = row0 + row < row_end ? (int2)(first_key(reach, i), end_key(reach, i)) : (int2)0;
  }
}

// What finish_row does, of a tile. A tile that is `whole` needs not know what its rows attend, and there it is read from local memory: it would
// stay in registers else, for the whole loop over tiles.
void finish_tile(float s[SCORE_ROWS][4], float slope[SCORE_ROWS][4], const __local int2 *attended, bool whole, int row0,
                 int key0, int queries, float scale, float softcap, __global const TYPE(MASK_DTYPE) *mask,
                 idx stride_head, idx stride_row, idx stride_key) {
#if !HAS_MASK
  if (whole) {
#pragma unroll
    for (int r = 0; r < SCORE_ROWS; ++r)
      finish_row(s[r], slope[r], 0, 0, 0, INT_MAX, queries, scale, softcap, mask, stride_head, stride_row, stride_key);
    return;
  }
#endif
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) {
    const int2 keys = attended[SCORE_ROW(r)];
    finish_row(s[r], slope[r], row0 + SCORE_ROW(r), key0 + SCORE_KEY, keys.x, keys.y, queries, scale, softcap, mask,
               stride_head, stride_row, stride_key);
  }
}

#if NATIVE_EXP2
#define EXP2 native_exp2
#else
#define EXP2 exp2
#endif
// A row's largest score is told as a shift, by which its weights are smaller: weight = 2^(unit s − shift), s being q kᵀ itself (RAW_SCORES),
// rounded once before the exponential. A shift is one number for all of a row: what it was rounded by is in all of the row's weights and in
// their sum. Or, where a mask may have put scores where 2^ has no number for them, such as −FLT_MAX, weight = exp(s − shift). A score of any
// size loses nothing either way.
#if RAW_SCORES
float unit_of(float scale) { return scale * LOG2E; }
float exp_of(float s, float unit, float shift) { return EXP2(fma(s, unit, -shift)); }
// What sums with the shift `before` are to be multiplied by where it is `now`.
float factor_of(float before, float now) { return EXP2(before - now); }
// ln of a sum of exponentials, by its shift and their sum. ln 2 in two parts: with one, a large shift would lose digits of `total`.
float lse_of(float shift, float total) { return fma(shift, LN2, fma(shift, LN2_REST, log(total))); }
// {shift, 1/total} by ln(2^shift · total): the second is 2^ what the shift was rounded by.
float2 shift_of_lse(float lse) {
  const float shift = lse * LOG2E;
  return (float2)(shift, exp2(fma(-lse, LOG2E_REST, -fma(lse, LOG2E, -shift))));
}
#else
float unit_of(float scale) { return 1; }
float exp_of(float s, float unit, float shift) { return EXP2((s - shift) * LOG2E); }
float factor_of(float before, float now) { return exp_of(before, 1, now); }
float lse_of(float shift, float total) { return shift + log(total); }
float2 shift_of_lse(float lse) { return (float2)(lse, 1); }
#endif
// What to subtract in a row whose largest score is −inf, so that its weights are still 0.
float shift_of(float most) { return most == -INFINITY ? 0 : most; }

// Puts the tile into the running maxima of its rows, as shifts; `factor` is what sums so far are to be multiplied by. An item gets those of
// its own rows, others find them in row_max and row_factor after the next barrier.
// parts: QUERIES x PART_PITCH floats that nobody reads until the next barrier but one.
void update_maxima(float s[SCORE_ROWS][4], float unit, __local float *parts, __local float *row_max,
                   __local float *row_factor, float most[SCORE_ROWS], float factor[SCORE_ROWS]) {
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) most[r] = unit * fmax(fmax(s[r][0], s[r][1]), fmax(s[r][2], s[r][3]));
#if SHUFFLE
  if (SHUFFLE_REACHES(SCORE_X * SCORE_STEP)) {
    __local float *scratch = parts;
    SHUFFLE_UNROLL for (int r = 0; r < SCORE_ROWS; ++r) {
      const float before = row_max[SCORE_ROW(r)];
      float now = fmax(before, most[r]);
      SHUFFLE_FOLD(now, SCORE_STEP, SCORE_X, fmax);
      most[r] = now;
      factor[r] = now == before ? 1 : factor_of(before, now);
      if (SCORE_ITEM_X == 0) {
        row_max[SCORE_ROW(r)] = now;
        row_factor[SCORE_ROW(r)] = factor[r];
      }
    }
    return;
  }
#endif
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) parts[SCORE_ROW(r) * PART_PITCH + SCORE_ITEM_X] = most[r];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int row = ITEM; row < QUERIES; row += ITEMS) {
    const float before = row_max[row];
    float now = before;
    for (int x = 0; x < SCORE_X; ++x) now = fmax(now, parts[row * PART_PITCH + x]);
    row_factor[row] = now == before ? 1 : factor_of(before, now);
    row_max[row] = now;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) {
    most[r] = row_max[SCORE_ROW(r)];
    factor[r] = row_factor[SCORE_ROW(r)];
  }
}

// Sums each row's parts over its items; the result is in sums[row] after this. Everybody's reads of `parts` and `sums` must be done.
void sum_rows(const float part[SCORE_ROWS], __local float *parts, __local float *sums) {
#if SHUFFLE
  if (SHUFFLE_REACHES(SCORE_X * SCORE_STEP)) {
    __local float *scratch = parts;
    SHUFFLE_UNROLL for (int r = 0; r < SCORE_ROWS; ++r) {
      float sum = part[r];
      SHUFFLE_FOLD(sum, SCORE_STEP, SCORE_X, SHUFFLE_ADD);
      if (SCORE_ITEM_X == 0) sums[SCORE_ROW(r)] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return;
  }
#endif
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) parts[SCORE_ROW(r) * PART_PITCH + SCORE_ITEM_X] = part[r];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int row = ITEM; row < QUERIES; row += ITEMS) {
    float sum = 0;
    for (int x = 0; x < SCORE_X; ++x) sum += parts[row * PART_PITCH + x];
    sums[row] = sum;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
}

// Bit 4 r + j: dropout keeps the weight of row r and key j of this item.
uint kept_weights(uint seed_low, uint seed_high, uint threshold, uint batch, uint head, int row0, int key0,
                  int queries) {
  uint kept = ~0u;
#if DROPOUT
  kept = 0;
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) {
    const int row = row0 + SCORE_ROW(r);
    const uint4 random = philox(seed_low, seed_high,
                                (uint4)((uint)(key0 + SCORE_KEY) >> 2, (uint)QUERY_OF(row, queries),
                                        head + (uint)HEAD_OF(row, queries), batch));
    kept |= (random.x >= threshold ? 1u : 0u) << (4 * r);
    kept |= (random.y >= threshold ? 2u : 0u) << (4 * r);
    kept |= (random.z >= threshold ? 4u : 0u) << (4 * r);
    kept |= (random.w >= threshold ? 8u : 0u) << (4 * r);
  }
#endif
  return kept;
}
#if DROPOUT
#define IS_KEPT(kept, r, j) ((kept) >> (4 * (r) + (j)) & 1)
#else
#define IS_KEPT(kept, r, j) 1
#endif

// w[row][keys] of this item.
void store_weights(__local float4 *w, int r, const float weight[4]) {
  w += SCORE_ITEM_Y * WEIGHT_PITCH + SCORE_ITEM_X; // what depends on the item apart, so that r is a constant in the address
  w[r * SCORE_Y * WEIGHT_PITCH] = (float4)(weight[0], weight[1], weight[2], weight[3]);
}
