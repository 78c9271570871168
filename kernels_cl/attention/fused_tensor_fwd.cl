// Fused attention on tensor cores, forward: online softmax over tiles of keys.
//
// check with: -DX_DTYPE=BF16 -DDIM=128
// check with: -DX_DTYPE=F16 -DHAS_MASK=1 -DMASK_IS_BOOL=1 -DMASK_DTYPE=BOOL -DDROPOUT=1 -DHAS_LENGTHS=1
// check with: -DX_DTYPE=BF16 -DHAS_MASK=1 -DMASK_DTYPE=F16 -DSOFTCAP=1
// check with: -DX_DTYPE=F32 -DKEYS=32
// check with: -DX_DTYPE=F32 -DKEYS=32 -DDIM=128 -DHAS_MASK=1 -DMASK_DTYPE=F32 -DSOFTCAP=1 -DDROPOUT=1
#ifndef KEYS
#define KEYS 64 // of a tile
#endif
#define COLUMN_TILES (KEYS / 8)
#include "attention/fused_tensor.cl"
#define QUERIES (64 * ROW_TILES) // not more than 2 KEYS: the queries come through the tiles of keys and values

// Work-group `first` + group id: from the last tile of rows to the first (with causal, the longest first).
ITEMS_GROUP __kernel void attention_tensor_forward(CALL_ARGUMENTS, storage q, storage k, storage v, result out,
                                                   __global float *lse, __global int *flags) {
  __local element tiles[2 * KEYS * DIM] __attribute__((aligned(128)));
  WARP_SCRATCH(scratch, ITEMS);
  __local element *k_tile = tiles, *v_tile = tiles + KEYS * DIM;
  const long queries = call.reach.queries, heads = call.heads, group = call.group;
  const int row_blocks = ((int)queries + QUERIES - 1) / QUERIES;
  const long work = call.first + get_group_id(0), batch_head = work / row_blocks;
  const long batch = batch_head / heads, head = batch_head - batch * heads;
  const int row0 = (row_blocks - 1 - (int)(work - batch_head * row_blocks)) * QUERIES;
  const int row_end = min(row0 + QUERIES, (int)queries), row = row0 + WARP_NUMBER * 16 * ROW_TILES + G;
  const storage k_head = AT_HEAD(k, batch, head / group), v_head = AT_HEAD(v, batch, head / group);
  __global const TYPE(MASK_DTYPE) *mask_head = AT_HEAD(mask, batch, head);
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  struct pairs pairs;
  pairs_of(&reach, queries, &pairs);
  const int key_first = first_key(&reach, row0) / KEYS * KEYS, key_end = end_key(&reach, row_end - 1);
  const float unit = EXPONENT_UNIT;

  uint q_rows[ROW_TILES][STEPS][4];
  copy_rows(AT_HEAD(q, batch, head), (idx)call.q.stride2, row0, row_end, QUERIES, tiles);
  warp_copy_commit();
  warp_copy_wait(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  WARP_UNROLL
  for (int m = 0; m < ROW_TILES; ++m)
    WARP_UNROLL
    for (int step = 0; step < STEPS; ++step)
      load_rows(q_rows[m][step], tiles, (WARP_NUMBER * ROW_TILES + m) * 16, step, scratch);
  barrier(CLK_LOCAL_MEM_FENCE);

  float sum[ROW_TILES][SUM_TILES][4], most[ROW_TILES][2], total[ROW_TILES][2];
  clear_sum(sum);
  WARP_UNROLL
  for (int m = 0; m < ROW_TILES; ++m)
    WARP_UNROLL
    for (int r = 0; r < 2; ++r) {
      most[m][r] = -INFINITY;
      total[m][r] = 0;
    }

  if (key_first < key_end) copy_rows(k_head, (idx)call.k.stride2, key_first, key_end, KEYS, k_tile);
  warp_copy_commit();
  for (int key0 = key_first; key0 < key_end; key0 += KEYS) {
    const bool whole = is_attended(pairs, row0 + QUERIES - 1, key0) && is_attended(pairs, row0, key0 + KEYS - 1);
    float s[ROW_TILES][COLUMN_TILES][4];
    // The values come while the scores are computed, and the next keys while the rest is.
    warp_copy_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    copy_rows(v_head, (idx)call.v.stride2, key0, key_end, KEYS, v_tile);
    warp_copy_commit();
    multiply_rows(s, q_rows, k_tile, scratch);
    warp_copy_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (key0 + KEYS < key_end) copy_rows(k_head, (idx)call.k.stride2, key0 + KEYS, key_end, KEYS, k_tile);
    warp_copy_commit();

    if (SCORES_CHANGE(whole)) {
      WARP_UNROLL
      for (int m = 0; m < ROW_TILES; ++m)
        WARP_UNROLL
        for (int n = 0; n < COLUMN_TILES; ++n)
          WARP_UNROLL
          for (int e = 0; e < 4; ++e) {
            float slope;
            s[m][n][e] = score_of(s[m][n][e], &slope, whole, pairs, row + m * 16 + e / 2 * 8,
                                  key0 + n * 8 + COLUMN + e % 2, call.scale, call.softcap, mask_head,
                                  (idx)call.mask.stride2, (idx)call.mask_stride3);
          }
    }
    WARP_UNROLL
    for (int m = 0; m < ROW_TILES; ++m)
      WARP_UNROLL
      for (int r = 0; r < 2; ++r) {
        float largest = most[m][r];
        WARP_UNROLL
        for (int n = 0; n < COLUMN_TILES; ++n) largest = fmax(largest, fmax(s[m][n][2 * r], s[m][n][2 * r + 1]));
        largest = row_maximum(largest, scratch);
        // Not −inf, so that exp(−inf) is still 0 in a row without any score.
        const float shift = largest == -INFINITY ? 0 : largest;
        const float factor = warp_exp2((most[m][r] - shift) * unit);
        most[m][r] = largest;
        total[m][r] *= factor;
        WARP_UNROLL
        for (int n = 0; n < SUM_TILES; ++n) {
          sum[m][n][2 * r] *= factor;
          sum[m][n][2 * r + 1] *= factor;
        }
        const float shift_unit = shift * unit;
        WARP_UNROLL
        for (int n = 0; n < COLUMN_TILES; ++n)
          WARP_UNROLL
          for (int e = 2 * r; e < 2 * r + 2; ++e) {
            // An added mask may be so large that only the difference can be multiplied.
            const float exponent = NATURAL ? (s[m][n][e] - shift) * unit : s[m][n][e] * unit - shift_unit;
            s[m][n][e] = warp_exp2(exponent);
            total[m][r] += s[m][n][e];
          }
#if DROPOUT
        WARP_UNROLL
        for (int n = 0; n < COLUMN_TILES; ++n) {
          const uint kept = kept_pair(call.seed_low, call.seed_high, call.dropout_threshold, (uint)batch,
                                      (uint)head, row + m * 16 + r * 8, key0 + n * 8 + COLUMN);
          s[m][n][2 * r] = kept & 1 ? s[m][n][2 * r] : 0;
          s[m][n][2 * r + 1] = kept & 2 ? s[m][n][2 * r + 1] : 0;
        }
#endif
      }
    add_product(sum, s, v_tile, scratch);
  }

  out = AT_HEAD(out, batch, head);
  lse += call.lse_offset + batch_head * queries;
  WARP_UNROLL
  for (int m = 0; m < ROW_TILES; ++m)
    WARP_UNROLL
    for (int r = 0; r < 2; ++r) {
      const float all = row_total(total[m][r], scratch);
      const int i = row + m * 16 + r * 8;
      if (i < row_end) {
        float factor = all == 0 ? 0 : 1 / all;
#if DROPOUT
        factor *= call.dropout_scale;
#endif
        if ((call.wants & WANTS_LSE) && COLUMN == 0)
          lse[i] = all == 0 ? -INFINITY : most[m][r] * (NATURAL ? 1 : call.scale) + warp_log2(all) * LN2;
        store_row(out + i * (idx)call.out.stride2, sum[m], r, factor, flags);
      }
    }
}
