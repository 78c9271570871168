// Fused attention on GPUs, backward in five products: dk's and dv's kernel, which has dS of a tile in local memory, multiplies it with the
// tile's keys, too, and leaves the part of dq that these make in global memory. attention_queries_sum adds a row's parts in the order of the
// keys, so that nothing is added atomically. Rounds bound what the parts take: a round has some pairs of batch and key head (call.slots of
// them, from call.slot0 on) and some tiles of keys (call.splits, from tile0 on). What a row has been summed to goes from round to round in
// F32, which gives every number of rounds the same bits.
#ifndef DQ_PARTS
#define DQ_PARTS 0
#endif

#if DQ_PARTS
#ifndef PART_ROWS // of an item at a time
#define PART_ROWS (WEIGHT_ROWS / OUT_Y)
#endif
// parts: [call.splits][query heads of call.slots][rows of whole tiles][PADDED(QK)]. What a tile has past the last row is stored, too, and never
// read: with a condition on every store the kernel spills.
#define PARTS_ARGUMENTS , __global float *parts, long tile0
#define ROUND_TILES(tiles) ((int)call.splits)
#define ROUND_FIRST ((int)tile0)
// The first row of a head's part.
#define PART_ROW(tile, slots_head) \
  (((tile) * call.slots * call.group + (slots_head)) * ((call.reach.queries + QUERIES - 1) / QUERIES * QUERIES))
#define STORE_PART(line)                                                                                                     \
  store_part(FOUND(k), (idx)call.k.stride2, place.first, key_end, pool + place.origin, &bad, row0 + (line),                  \
             parts + PADDED(QK) * PART_ROW(place.split, place.batch * call.heads + place.head - call.slot0 * call.group))

// The keys of a tile are rows that are staged like those of q and dO, but at most all of them.
#define KEY_WIDTH QK_WIDTH
#define KEY_COLUMNS QK_COLUMNS
#define KEY_ROWS (QK_ROWS < KEYS ? QK_ROWS : KEYS)
#define columns_KEY columns_QK

// part[row] = w k for the rows of w, WEIGHT_ROWS from row0 on. In passes, as registers hold the sums of dk and dv meanwhile.
#define DEFINE_PARTS                                                                                                     \
  DEFINE_ROWS(KEY)                                                                                                       \
  DEFINE_OUTPUT_OF_QUERIES(KEY, PART_ROWS)                                                                               \
  void store_part(storage k, idx stride, int key0, int key_end, __local float4 *pool, __local int *bad, int row0,        \
                  __global float *part) {                                                                                \
    _Pragma("nounroll") for (int first = 0; first < WEIGHT_ROWS; first += PART_ROWS * OUT_Y) {                           \
      float sum[PART_ROWS][COLUMNS(QK)];                                                                                 \
      _Pragma("unroll") for (int r = 0; r < PART_ROWS; ++r)                                                              \
          _Pragma("unroll") for (int c = 0; c < COLUMNS(QK); ++c) sum[r][c] = 0;                                         \
      _Pragma("nounroll") for (int key = 0; key < KEYS; key += KEY_ROWS) {                                               \
        if (first == 0 || KEY_ROWS < KEYS) {                                                                             \
          struct rows_KEY loaded;                                                                                        \
          load_rows_KEY(k, stride, key0, key_end, key, 0, &loaded);                                                      \
          barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
          store_rows_KEY(k, stride, key0, key_end, key, &loaded, pool + STAGED, bad);                                    \
          barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        }                                                                                                                \
        output_of_queries(pool + first * WEIGHT_PITCH, key, (const __local float *)(pool + STAGED), *bad, sum);          \
      }                                                                                                                  \
      _Pragma("unroll") for (int r = 0; r < PART_ROWS; ++r) {                                                            \
        const int row = row0 + first + OUT_ITEM_Y + r * OUT_Y;                                                           \
        store_columns(sum[r], part + row * (idx)PADDED(QK));                                                             \
      }                                                                                                                  \
    }                                                                                                                    \
  }

// An item's columns, which lie as OUT_COLUMN has them, in one store for each of their vectors.
void store_columns(const float sum[COLUMNS(QK)], __global float *row) {
#pragma unroll
  for (int c = 0; c < FOURTHS(QK); c += 4)
    ((__global float4 *)(row + c * OUT_X))[OUT_ITEM_X] = (float4)(sum[c], sum[c + 1], sum[c + 2], sum[c + 3]);
  if (COLUMNS(QK) % 4 >= 2)
    ((__global float2 *)(row + FOURTHS(QK) * OUT_X))[OUT_ITEM_X] =
        (float2)(sum[FOURTHS(QK) % COLUMNS(QK)], sum[(FOURTHS(QK) + 1) % COLUMNS(QK)]);
  if (COLUMNS(QK) % 2 == 1) row[(COLUMNS(QK) - 1) * OUT_X + OUT_ITEM_X] = sum[COLUMNS(QK) - 1];
}
#else
#define PARTS_ARGUMENTS
#define ROUND_TILES(tiles) (tiles)
#define ROUND_FIRST 0
#define STORE_PART(line)
#define DEFINE_PARTS
#endif

#if DQ_PARTS
#if HAS_KERNEL(KERNEL_SUM)
// [*first, *end): the tiles of keys that leave a part for the tile of rows from row0 on. They are those of which attention_keys_bwd goes
// over it, no more, as others leave nothing: key0 < reach.end, first_row(key0) < row0 + QUERIES, row0 < end_row(key0 + KEYS), and
// first_row(key0) < end_row(key0 + KEYS), where a window may leave no row.
void tiles_of_rows(const struct reach *reach, int row0, long queries, int *first, int *end) {
  const long last = min(row0 + (long)QUERIES, queries) - 1;
  *first = (int)(clamp(row0 + reach->low, 0L, (long)INT_MAX) / KEYS);
  *end = (end_key(reach, last) + KEYS - 1) / KEYS;
  if (reach->low >= reach->high + KEYS - 1) *end = 0;
}

// dq of the heads of a round, or where tiles of keys are left after it their sums so far, which lie as one tile's parts.
// global: (float4s of the rows of a head, query heads), rounded up
__kernel void attention_queries_sum(CALL_ARGUMENTS, RESULT dq, __global const float *parts, __global float4 *sums,
                                    long tile0 GATE_ARGUMENT) {
  LEAVE_IF_CLOSED;
  const size_t item = get_global_id(0);
  const long row_of_item = item / FOURS(QK), slots_head = get_global_id(1);
  const int column = (int)(item % FOURS(QK)) * 4;
  if (row_of_item >= call.reach.queries || column >= QK_WIDTH || slots_head >= call.slots * call.group) return;
  const int row = (int)row_of_item;
  const long batch_head = call.slot0 * call.group + slots_head, batch = batch_head / call.heads;
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  int first, end;
  tiles_of_rows(&reach, row / QUERIES * QUERIES, call.reach.queries, &first, &end);
  const long at = (PART_ROW(0, slots_head) + row) * FOURS(QK) + column / 4, step = PART_ROW(1L, 0) * FOURS(QK);
  float4 sum = 0;
  if (tile0 > 0) sum = sums[at];
  const int tile_end = min(end - (int)tile0, (int)call.splits);
#pragma unroll 4
  for (int tile = max(first - (int)tile0, 0); tile < tile_end; ++tile)
    sum += ((__global const float4 *)parts)[at + tile * step];
  if (tile0 + call.splits < (call.reach.keys + KEYS - 1) / KEYS) {
    sums[at] = sum;
    return;
  }
  dq = AT_HEAD(dq, batch, batch_head - batch * call.heads);
  const idx to = row * (idx)call.dq.stride2 + column;
  STORE(X_DTYPE, dq, to, sum.x * call.scale);
  if (column + 1 < QK_WIDTH) STORE(X_DTYPE, dq, to + 1, sum.y * call.scale);
  if (column + 2 < QK_WIDTH) STORE(X_DTYPE, dq, to + 2, sum.z * call.scale);
  if (column + 3 < QK_WIDTH) STORE(X_DTYPE, dq, to + 3, sum.w * call.scale);
}
#endif
#endif
