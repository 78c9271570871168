// Fused attention on GPUs, forward: online softmax over tiles of keys, and the sum of results where the keys were split over
// several work-groups (flash-decoding).
//
// check with: -DALIGNED=1
// check with: -DALIGNED=1 -DSHUFFLE=1
// check with: -DX_DTYPE=F16 -DPACKED=1 -DSPLIT=1 -DHAS_MASK=1 -DMASK_IS_BOOL=1 -DMASK_DTYPE=BOOL -DDROPOUT=1
// check with: -DX_DTYPE=BF16 -DALIGNED=1 -DHAS_MASK=1 -DMASK_DTYPE=F16 -DSOFTCAP=1 -DHAS_LENGTHS=1 -DLENGTH_DTYPE=I64 -DGATED=1 -DCAREFUL=1
// check with: -DCAREFUL=1
#define LANES_IN_Z 1
#include "attention/fused_gpu.cl"
// Whether the queries of a tile are in local memory for as long as the tile is worked on; else they come with each chunk of keys.
#ifndef RESIDENT
#define RESIDENT 0
#endif
#ifndef WEIGHT_KEYS
#define WEIGHT_KEYS KEYS // keys of weights that are in local memory at a time: all of a tile, or the half
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
// A weight of 0 takes nothing from v, NaN and Inf included, and a weight that other keys outdo later may not have seemed 0 at first. So where
// a sum is not finite, the ordinary kernel marks its rows, and a careful one does them again: first the maxima alone, then with them
// all weights as they are. Where another path has asked for the call, the careful one does it all.
#ifndef CAREFUL
#define CAREFUL 0
#endif
#define OUT_ROWS (QUERIES / OUT_Y)

// Local memory, in float4s: the queries if they stay, and then by turns two chunks of keys (and queries), and the weights with some rows of
// v behind them.
#define CHUNKS ((QK_WIDTH + DEPTH - 1) / DEPTH)
#define TAIL ((QK_WIDTH % DEPTH + 3) & ~3) // columns of the last chunk, if it is not a whole one
#define QUERY_PITCH (RESIDENT ? CHUNKS * CHUNK_X + 1 : CHUNK_PITCH)
#define QUERY_FOURS (QUERIES * QUERY_PITCH)
#define PART_FOURS ((QUERIES * PART_PITCH + 3) / 4)
#define KEY_FOURS (KEYS * CHUNK_PITCH + (RESIDENT ? 0 : QUERY_FOURS))
#define CHUNK_FOURS (KEY_FOURS > PART_FOURS ? KEY_FOURS : PART_FOURS)
#define HALF_PITCH (WEIGHT_KEYS / 4 + 1)
#define WEIGHT_FOURS (QUERIES * HALF_PITCH)
#define OUT_FOURS (WEIGHT_FOURS + V_ROWS * FOURS(V))
#define TURN_FOURS (2 * CHUNK_FOURS > OUT_FOURS ? 2 * CHUNK_FOURS : OUT_FOURS)

DEFINE_COLUMNS(V)

// ---------------------------------------------------------------- into local memory, by way of registers

// What an item brings of a chunk, and of some rows of v. How many loads it does is a constant, so that a compiler unrolls them, and all are on
// their way before the first of them is stored. Were they on their way while the item multiplies what came before, it would need more
// registers than NVIDIA's GPUs have for three work-groups at a time. Rows past the last are the last again: no weight reaches them.
struct chunk {
  float4 key[ROUNDS(KEYS * CHUNK_X)];
#if !RESIDENT
  float4 query[ROUNDS(QUERIES * CHUNK_X)];
#endif
};
struct rows {
  float4 x[ROUNDS(V_ROWS * FOURS(V))];
};

// Where row `row` of the tile begins in q. PACKED: a row is (head, query).
idx query_at(idx stride_head, idx stride, int queries, int row) {
#if PACKED
  return row / queries * stride_head + row % queries * stride;
#else
  return row * stride;
#endif
}

void load_chunk(storage q, idx q_stride_head, idx q_stride, int queries, int row0, int row_end, storage k, idx stride,
                int key0, int key_end, int column, struct chunk *to) {
  const int r = ITEM / CHUNK_X, c = column + ITEM % CHUNK_X * 4;
#pragma unroll
  for (int n = 0; n < ROUNDS(KEYS * CHUNK_X); ++n)
    to->key[n] = load4(k, min(key0 + r + n * (ITEMS / CHUNK_X), key_end - 1) * stride, c, QK_WIDTH);
#if !RESIDENT
#pragma unroll
  for (int n = 0; n < ROUNDS(QUERIES * CHUNK_X); ++n) {
    const int row = min(row0 + r + n * (ITEMS / CHUNK_X), row_end - 1);
    to->query[n] = load4(q, query_at(q_stride_head, q_stride, queries, row), c, QK_WIDTH);
  }
#endif
}

// Key 4 x + j is put in row j SCORE_X + x: neighbouring items then read neighbouring rows. Queries lie behind the keys.
void store_chunk(const struct chunk *from, __local float4 *to) {
  const uint r = (uint)ITEM / CHUNK_X;
  to += ITEM % CHUNK_X;
#pragma unroll
  for (int n = 0; n < ROUNDS(KEYS * CHUNK_X); ++n) {
    const uint key = r + n * (ITEMS / CHUNK_X);
    if (KEYS * CHUNK_X % ITEMS == 0 || key < KEYS) to[(key % 4 * SCORE_X + key / 4) * CHUNK_PITCH] = from->key[n];
  }
#if !RESIDENT
#pragma unroll
  for (int n = 0; n < ROUNDS(QUERIES * CHUNK_X); ++n) {
    const uint row = r + n * (ITEMS / CHUNK_X);
    if (QUERIES * CHUNK_X % ITEMS == 0 || row < QUERIES) to[(KEYS + row) * CHUNK_PITCH] = from->query[n];
  }
#endif
}

void load_rows(storage v, idx stride, int key0, int key_end, int first, struct rows *to) {
#pragma unroll
  for (int n = 0; n < ROUNDS(V_ROWS * FOURS(V)); ++n)
    to->x[n] = load4(v, min(key0 + ROW_OF(V, n, first), key_end - 1) * stride, FOUR_OF(V, n, first) * 4, V_WIDTH);
}

void store_rows(const struct rows *from, __local float4 *to) {
#pragma unroll
  for (int n = 0; n < ROUNDS(V_ROWS * FOURS(V)); ++n) {
    const uint e = (uint)ITEM + n * ITEMS;
    if (V_ROWS * FOURS(V) % ITEMS == 0 || e < V_ROWS * FOURS(V)) to[e] = from->x[n];
  }
}

// ---------------------------------------------------------------- products

// sum[r] += Σ_j w[row r][j] z[j] over V_ROWS staged rows z. An item's rows lie OUT_Y apart. With care, what a weight of 0 meets does not count.
void add_rows(const __local float4 *w, const __local float *z, float sum[OUT_ROWS][COLUMNS(V)]) {
  w += OUT_ITEM_Y * HALF_PITCH;
#if CAREFUL
#pragma unroll 1
  for (int j = 0; j < V_ROWS; ++j) {
    float row[COLUMNS(V)];
    columns_V(z + j * PADDED(V), row);
#pragma unroll
    for (int r = 0; r < OUT_ROWS; ++r) {
      const float weight = ((const __local float *)(w + r * OUT_Y * HALF_PITCH))[j];
#pragma unroll
      for (int c = 0; c < COLUMNS(V); ++c) sum[r][c] += weight != 0 ? weight * row[c] : 0;
    }
  }
#else
  UNROLL_FOURS for (int j = 0; j < V_ROWS; j += 4) {
    float row[4][COLUMNS(V)];
#pragma unroll
    for (int n = 0; n < 4; ++n) columns_V(z + (j + n) * PADDED(V), row[n]);
#pragma unroll
    for (int r = 0; r < OUT_ROWS; ++r) {
      const float4 four = w[r * OUT_Y * HALF_PITCH + j / 4];
      const float weight[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int c = 0; c < COLUMNS(V); ++c) sum[r][c] += weight[n] * row[n][c];
    }
  }
#endif
}

// out[b, h, i] = Σ_j p v and lse. A work-group does QUERIES rows of a head, or of all heads of a group (PACKED). With SPLIT it
// does one of `splits` parts of the keys and leaves Σ exp(s − m) v in part_out[split, row] and {m, Σ exp(s − m)} in part_stats.
// redo[split, row]: whether the careful kernel is to do the row again; both may have tiles of their own.
// Work-group `first` + group id: from the last tile of rows to the first (with causal, the longest first).
ITEMS_GROUP __kernel void attention_forward(CALL_ARGUMENTS, storage q, storage k, storage v,
                                            __global TYPE(X_DTYPE) *out, __global float *lse, __global float *part_out,
                                            __global float2 *part_stats, __global int *redo GATE_ARGUMENT) {
  __local float4 pool[(RESIDENT ? QUERY_FOURS : 0) + TURN_FOURS];
  __local float4 *turn = pool + (RESIDENT ? QUERY_FOURS : 0);
  __local float row_max[QUERIES], row_factor[QUERIES];
  __local int2 attended[QUERIES];
  __local int bad;
  __local struct place place;
  LEAVE_IF_CLOSED;
  const long queries = call.reach.queries, heads = call.heads, group = call.group, splits = call.splits;
  const int rows = (int)(PACKED ? group * queries : queries), tiles = (rows + QUERIES - 1) / QUERIES;
  const long work = call.first + get_group_id(0), tile = work / splits % tiles;
  const long slot = work / splits / tiles, slots = PACKED ? heads / group : heads;
  long batch = slot / slots, head = (slot - batch * slots) * (PACKED ? group : 1), split = SPLIT ? work % splits : 0;
  const int row0 = (int)(tiles - 1 - tile) * QUERIES, row_end = min(row0 + QUERIES, rows);
  if (ITEM == 0) {
    bad = 0;
    place.batch = batch;
    place.head = head;
    place.split = split;
    place.origin = 0;
    place.first = row0;
    FIND(q, batch, head);
    FIND(k, batch, head / group);
    FIND(v, batch, head / group);
  }
// Rows of all heads and batches in order; those of a packed tile follow each other too.
#define FIRST_ROW ((batch * heads + head) * queries + row0)
#if CAREFUL && !GATED
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int row = ITEM; row0 + row < row_end; row += ITEMS)
    if (redo[split * call.all_rows + FIRST_ROW + row]) atomic_or(&bad, 1);
  barrier(CLK_LOCAL_MEM_FENCE);
  if (!bad) return;
#endif
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  const int i_first = PACKED ? 0 : row0, i_last = PACKED ? (int)queries - 1 : row_end - 1;
  int key_first = first_key(&reach, i_first) / KEYS * KEYS, key_end = end_key(&reach, i_last);
  const int inner_first = first_key(&reach, i_last), inner_end = end_key(&reach, i_first);
#if SPLIT
  const int key_tiles = (max(key_end - key_first, 0) + KEYS - 1) / KEYS;
  const int share = (key_tiles + (int)splits - 1) / (int)splits * KEYS;
  key_first += (int)split * share;
  key_end = min(key_end, key_first + share);
#endif

  float sum[OUT_ROWS][COLUMNS(V)], row_sum[SCORE_ROWS];
  find_attended(&reach, row0, row_end, (int)queries, attended);
  for (int row = ITEM; row < QUERIES; row += ITEMS) row_max[row] = -INFINITY;
#pragma unroll
  for (int r = 0; r < OUT_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < COLUMNS(V); ++c) sum[r][c] = 0;
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) row_sum[r] = 0;

#if RESIDENT
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int e = ITEM; e < QUERIES * CHUNKS * CHUNK_X; e += ITEMS) {
    const int row = min(row0 + e / (CHUNKS * CHUNK_X), row_end - 1), c = e % (CHUNKS * CHUNK_X);
    pool[e / (CHUNKS * CHUNK_X) * QUERY_PITCH + c] =
        load4(FOUND(q), query_at((idx)call.q.stride1, (idx)call.q.stride2, (int)queries, row), 4 * c, QK_WIDTH);
  }
#endif
  // With care over the keys twice, in one loop: of two loops a compiler keeps the numbers of both in registers.
  const int span = (max(key_end - key_first, 0) + KEYS - 1) / KEYS * KEYS;
  for (int at = CAREFUL ? -span : 0; at < span; at += KEYS) {
    const int key0 = key_first + (at < 0 ? at + span : at);
    const bool whole = key0 >= inner_first && key0 + KEYS <= inner_end && row0 + QUERIES <= rows;
    float s[SCORE_ROWS][4], slope[SCORE_ROWS][4];
#pragma unroll
    for (int r = 0; r < SCORE_ROWS; ++r)
#pragma unroll
      for (int j = 0; j < 4; ++j) s[r][j] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    __local float4 *origin = turn + place.origin;
#pragma unroll 1
    for (int n = 0; n < CHUNKS; ++n) {
      __local float4 *keys = origin + n % 2 * CHUNK_FOURS, *rows_of_q = RESIDENT ? pool + n * CHUNK_X : keys + KEYS * CHUNK_PITCH;
      struct chunk chunk;
      load_chunk(FOUND(q), (idx)call.q.stride1, (idx)call.q.stride2, (int)queries, place.first, row_end, FOUND(k),
                 (idx)call.k.stride2, key0, key_end, n * DEPTH, &chunk);
      store_chunk(&chunk, keys);
      barrier(CLK_LOCAL_MEM_FENCE);
      if (TAIL > 0 && n + 1 == CHUNKS)
        add_chunk(rows_of_q, QUERY_PITCH, keys, TAIL, n == 0, s);
      else
        add_chunk(rows_of_q, QUERY_PITCH, keys, DEPTH, n == 0, s);
    }
    finish_tile(s, slope, attended, whole, place.first, key0, (int)queries, call.scale, call.softcap,
                AT_HEAD(mask, place.batch, place.head), (idx)call.mask.stride1, (idx)call.mask.stride2,
                (idx)call.mask_stride3);
    float most[SCORE_ROWS], factor[SCORE_ROWS];
    // The chunk before the last has been read.
    update_maxima(s, unit_of(call.scale), (__local float *)(origin + CHUNKS % 2 * CHUNK_FOURS), row_max, row_factor, most, factor);
#if CAREFUL
    if (at < 0) continue;
#endif
#if DROPOUT
    const uint kept = kept_weights(call.seed_low, call.seed_high, call.dropout_threshold, (uint)place.batch,
                                   (uint)place.head, place.first, key0, (int)queries);
#endif
#pragma unroll
    for (int r = 0; r < SCORE_ROWS; ++r) {
      const float shift = shift_of(most[r]);
      row_sum[r] *= factor[r];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[r][j] = exp_of(s[r][j], unit_of(call.scale), shift);
        row_sum[r] += s[r][j];
#if DROPOUT
        s[r][j] = IS_KEPT(kept, r, j) ? s[r][j] * call.dropout_scale : 0;
#endif
      }
    }
#pragma unroll 1
    for (int row = 0; row < KEYS; row += V_ROWS) {
      if (SHUFFLE || row > 0) barrier(CLK_LOCAL_MEM_FENCE); // without shuffles those of the maxima have done it
      if (row % WEIGHT_KEYS == 0 && (WEIGHT_KEYS == KEYS || SCORE_KEY / WEIGHT_KEYS == row / WEIGHT_KEYS)) {
#pragma unroll
        for (int r = 0; r < SCORE_ROWS; ++r)
          origin[SCORE_ROW(r) * HALF_PITCH + SCORE_KEY % WEIGHT_KEYS / 4] = (float4)(s[r][0], s[r][1], s[r][2], s[r][3]);
      }
      struct rows values;
      load_rows(FOUND(v), (idx)call.v.stride2, key0, key_end, row, &values);
      store_rows(&values, origin + WEIGHT_FOURS);
      barrier(CLK_LOCAL_MEM_FENCE);
      if (row == 0) {
#pragma unroll
        for (int r = 0; r < OUT_ROWS; ++r) {
          const float old = row_factor[OUT_ITEM_Y + r * OUT_Y];
#pragma unroll
          for (int c = 0; c < COLUMNS(V); ++c) sum[r][c] *= old;
        }
      }
      add_rows(origin + row % WEIGHT_KEYS / 4, (const __local float *)(origin + WEIGHT_FOURS), sum);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);

#if !CAREFUL
  uint largest = 0;
#pragma unroll
  for (int r = 0; r < OUT_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < COLUMNS(V); ++c) largest = max(largest, as_uint(sum[r][c]) & 0x7fffffff);
  if (largest >= 0x7f800000) atomic_or(&bad, 1);
#endif
  sum_rows(row_sum, (__local float *)turn, row_factor);
  batch = place.batch;
  head = place.head;
  split = place.split;
  const long first_row = FIRST_ROW;
  redo += split * call.all_rows + first_row;
  for (int row = ITEM; row0 + row < row_end; row += ITEMS) {
    const float total = row_factor[row];
#if !CAREFUL
    redo[row] = bad;
#endif
#if SPLIT
    part_stats[split * call.all_rows + first_row + row] = (float2)(row_max[row], total);
#else
    if (call.wants & WANTS_LSE)
      lse[call.lse_offset + first_row + row] = total == 0 ? -INFINITY : lse_of(shift_of(row_max[row]), total);
    row_factor[row] = total == 0 ? 0 : 1 / total;
#endif
  }
  barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
  for (int r = 0; r < OUT_ROWS; ++r) {
    const int row = OUT_ITEM_Y + r * OUT_Y;
    if (row0 + row >= row_end) continue;
#if SPLIT
    __global float *to = part_out + (split * call.all_rows + first_row + row) * V_WIDTH;
#else
    __global TYPE(X_DTYPE) *to = out + call.out.offset + batch * call.out.stride0 +
                                 (head + HEAD_OF(row0 + row, queries)) * call.out.stride1 +
                                 QUERY_OF(row0 + row, queries) * call.out.stride2;
#endif
#pragma unroll
    for (int c = 0; c < COLUMNS(V); ++c) {
      const int column = OUT_COLUMN(V, c);
      if (column >= V_WIDTH) continue;
#if SPLIT
      to[column] = sum[r][c];
#else
      STORE(X_DTYPE, to, column, sum[r][c] * row_factor[row]);
#endif
    }
  }
}

// out and lse of each row from its `splits` parts. A part whose largest score is far below that of another does not count.
// global: (ITEMS, all_rows); local: (ITEMS, 1)
ITEMS_GROUP __kernel void attention_combine(CALL_ARGUMENTS, __global const float *part_out,
                                            __global const float2 *part_stats, __global TYPE(X_DTYPE) *out,
                                            __global float *lse GATE_ARGUMENT) {
  LEAVE_IF_CLOSED;
  const long queries = call.reach.queries, heads = call.heads, all_rows = call.all_rows, splits = call.splits;
  const long row = get_group_id(1), batch_head = row / queries, batch = batch_head / heads;
  float most = -INFINITY, total = 0;
  for (int split = 0; split < splits; ++split) most = fmax(most, part_stats[split * all_rows + row].x);
  for (int split = 0; split < splits; ++split) {
    const float2 part = part_stats[split * all_rows + row];
    const float factor = factor_of(part.x, shift_of(most));
    if (factor != 0) total += part.y * factor;
  }
  if ((call.wants & WANTS_LSE) && ITEM == 0)
    lse[call.lse_offset + row] = total == 0 ? -INFINITY : lse_of(shift_of(most), total);
  out = AT_HEAD(out, batch, batch_head - batch * heads) + (row - batch_head * queries) * call.out.stride2;
  for (int column = ITEM; column < V_WIDTH; column += ITEMS) {
    float sum = 0;
    for (int split = 0; split < splits; ++split) {
      const float factor = factor_of(part_stats[split * all_rows + row].x, shift_of(most));
      if (factor != 0) sum += part_out[(split * all_rows + row) * V_WIDTH + column] * factor;
    }
    STORE(X_DTYPE, out, column, total == 0 ? 0 : sum / total);
  }
}
