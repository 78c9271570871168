// Fused attention on GPUs, forward: online softmax over tiles of keys, and the sum of results where the keys were split over
// several work-groups (flash-decoding).
//
// check with: -DALIGNED=1
// check with: -DALIGNED=1 -DSHUFFLE=1
// check with: -DX_DTYPE=F16 -DPACKED=1 -DSPLIT=1 -DHAS_MASK=1 -DMASK_IS_BOOL=1 -DMASK_DTYPE=BOOL -DDROPOUT=1
// check with: -DX_DTYPE=BF16 -DALIGNED=1 -DHAS_MASK=1 -DMASK_DTYPE=F16 -DSOFTCAP=1 -DHAS_LENGTHS=1 -DLENGTH_DTYPE=I64 -DGATED=1 -DCAREFUL=1
// check with: -DCAREFUL=1
#include "attention/fused_gpu.cl"
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

DEFINE_COLUMNS(V)
DEFINE_OUTPUT_OF_QUERIES(V)

// out[b, h, i] = Σ_j p v and lse. A work-group does QUERIES rows of a head, or of all heads of a group (PACKED). With SPLIT it
// does one of `splits` parts of the keys and leaves Σ exp(s − m) v in part_out[split, row] and {m, Σ exp(s − m)} in part_stats.
// redo[split, row]: whether the careful kernel is to do the row again; both may have tiles of their own.
// Work-group `first` + group id: from the last tile of rows to the first (with causal, the longest first).
ITEMS_GROUP __kernel void attention_forward(CALL_ARGUMENTS, storage q, storage k, storage v,
                                            __global TYPE(X_DTYPE) *out, __global float *lse, __global float *part_out,
                                            __global float2 *part_stats, __global int *redo GATE_ARGUMENT) {
  __local float4 stage[STAGE / 4], weights[QUERIES * WEIGHT_PITCH];
  __local float row_max[QUERIES], row_factor[QUERIES];
  __local int bad;
  LEAVE_IF_CLOSED;
  const long queries = call.reach.queries, heads = call.heads, group = call.group, splits = call.splits;
  const int rows = (int)(PACKED ? group * queries : queries), tiles = (rows + QUERIES - 1) / QUERIES;
  const long work = call.first + get_group_id(0), tile = work / splits % tiles;
  const long slot = work / splits / tiles, slots = PACKED ? heads / group : heads;
  const long batch = slot / slots, head = (slot - batch * slots) * (PACKED ? group : 1);
  const int row0 = (int)(tiles - 1 - tile) * QUERIES, row_end = min(row0 + QUERIES, rows);
  // Rows of all heads and batches in order; those of a packed tile follow each other too.
  const long first_row = (batch * heads + head) * queries + row0;
  redo += (SPLIT ? work % splits : 0) * call.all_rows + first_row;
  if (ITEM == 0) bad = 0;
#if CAREFUL && !GATED
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int row = ITEM; row0 + row < row_end; row += ITEMS)
    if (redo[row]) atomic_or(&bad, 1);
  barrier(CLK_LOCAL_MEM_FENCE);
  if (!bad) return;
#endif
  q = AT_HEAD(q, batch, head);
  k = AT_HEAD(k, batch, head / group);
  v = AT_HEAD(v, batch, head / group);
  mask = AT_HEAD(mask, batch, head);

  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  const int i_first = PACKED ? 0 : row0, i_last = PACKED ? (int)queries - 1 : row_end - 1;
  int key_first = first_key(&reach, i_first) / KEYS * KEYS, key_end = end_key(&reach, i_last);
  const int inner_first = first_key(&reach, i_last), inner_end = end_key(&reach, i_first);
#if SPLIT
  const long split = work % splits;
  const int key_tiles = (max(key_end - key_first, 0) + KEYS - 1) / KEYS;
  const int share = (key_tiles + (int)splits - 1) / (int)splits * KEYS;
  key_first += (int)split * share;
  key_end = min(key_end, key_first + share);
#endif

  float sum[OUT_ROWS][COLUMNS(V)], row_sum[SCORE_ROWS];
  for (int row = ITEM; row < QUERIES; row += ITEMS) row_max[row] = -INFINITY;
#pragma unroll
  for (int r = 0; r < OUT_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < COLUMNS(V); ++c) sum[r][c] = 0;
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) row_sum[r] = 0;

  // With care over the keys twice, in one loop: of two loops a compiler keeps the numbers of both in registers.
  const int span = (max(key_end - key_first, 0) + KEYS - 1) / KEYS * KEYS;
  for (int at = CAREFUL ? -span : 0; at < span; at += KEYS) {
    const int key0 = key_first + (at < 0 ? at + span : at);
    float s[SCORE_ROWS][4];
    multiply_rows(q, (idx)call.q.stride1, (idx)call.q.stride2, (int)queries, row0, row_end, k, (idx)call.k.stride2,
                  key0, key_end, QK_WIDTH, true, stage, s);
    float slope[SCORE_ROWS][4];
    finish_scores(s, slope, reach, key0 >= inner_first && key0 + KEYS <= inner_end && row0 + QUERIES <= rows, row0,
                  row_end, key0, (int)queries, call.scale, call.softcap, mask, (idx)call.mask.stride1,
                  (idx)call.mask.stride2, (idx)call.mask_stride3);
    float most[SCORE_ROWS], factor[SCORE_ROWS];
    update_maxima(s, (__local float *)weights, row_max, row_factor, most, factor);
    if (at < 0) continue; // only CAREFUL
#if DROPOUT
    const uint kept = kept_weights(call.seed_low, call.seed_high, call.dropout_threshold, (uint)batch,
                                   (uint)head, row0, key0, (int)queries);
#endif
#pragma unroll
    for (int r = 0; r < SCORE_ROWS; ++r) {
      const float shift = shift_of(most[r]);
      row_sum[r] *= factor[r];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[r][j] = exp_of(s[r][j], shift);
        row_sum[r] += s[r][j];
#if DROPOUT
        s[r][j] = IS_KEPT(kept, r, j) ? s[r][j] * call.dropout_scale : 0;
#endif
      }
      store_weights(weights, r, s[r]);
    }
    for (int row = 0; row < KEYS; row += V_ROWS) {
      if (SHUFFLE || row > 0) barrier(CLK_LOCAL_MEM_FENCE); // without shuffles those of the maxima have done it
      stage_rows(v, (idx)call.v.stride2, key0 + row, key_end, V_ROWS, V_WIDTH, PADDED(V), stage, &bad);
      barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
      for (int r = 0; r < OUT_ROWS; ++r) {
        const float old = row == 0 ? row_factor[OUT_ITEM_Y + r * OUT_Y] : 1;
#pragma unroll
        for (int c = 0; c < COLUMNS(V); ++c) sum[r][c] *= old;
      }
      output_of_queries(weights, row, (const __local float *)stage, CAREFUL, sum);
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
  sum_rows(row_sum, (__local float *)weights, row_factor);
  for (int row = ITEM; row0 + row < row_end; row += ITEMS) {
    const float total = row_factor[row];
#if !CAREFUL
    redo[row] = bad;
#endif
#if SPLIT
    part_stats[split * call.all_rows + first_row + row] = (float2)(row_max[row], total);
#else
    if (call.wants & WANTS_LSE)
      lse[call.lse_offset + first_row + row] = total == 0 ? -INFINITY : shift_of(row_max[row]) + log(total);
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
    const float factor = exp_of(part.x, shift_of(most));
    if (factor != 0) total += part.y * factor;
  }
  if ((call.wants & WANTS_LSE) && ITEM == 0)
    lse[call.lse_offset + row] = total == 0 ? -INFINITY : shift_of(most) + log(total);
  out = AT_HEAD(out, batch, batch_head - batch * heads) + (row - batch_head * queries) * call.out.stride2;
  for (int column = ITEM; column < V_WIDTH; column += ITEMS) {
    float sum = 0;
    for (int split = 0; split < splits; ++split) {
      const float factor = exp_of(part_stats[split * all_rows + row].x, shift_of(most));
      if (factor != 0) sum += part_out[(split * all_rows + row) * V_WIDTH + column] * factor;
    }
    STORE(X_DTYPE, out, column, total == 0 ? 0 : sum / total);
  }
}
