// Fused attention on tensor cores, backward, without floating-point atomics: dq by tiles of queries (attention_tensor_queries_bwd),
// which also finds the softmax of each row, then dk and dv by tiles of keys (attention_tensor_keys_bwd). With Z the factors of
// dropout:
//   dv = (P∘Z)ᵀ dO      dP = Z ∘ (dO vᵀ)     δ = Σ_j P dP = Σ_d dO∘O
//   dS = P ∘ (dP − δ)   dq = scale dS k      dk = scale dSᵀ q
// O and lse have been rounded, so that δ and P are taken from them at first and put right with what they miss: with
// e^(s − lse) = r P and δ' from O, Σ_j r P (dP − δ') = r (δ − δ'), and dq follows from Σ_j r P (dP − δ') k and Σ_j r P k. There
// are no registers for the second sum where IS_LARGE; O is F32 there, and dq takes δ' for δ.
//
// check with: -DKERNEL=1 -DX_DTYPE=F16 -DDROPOUT=1 -DHAS_MASK=1 -DMASK_IS_BOOL=1 -DMASK_DTYPE=BOOL
// check with: -DKERNEL=1 -DX_DTYPE=BF16 -DDIM=128 -DTILE=16 -DSOFTCAP=1 -DHAS_MASK=1
// check with: -DKERNEL=2 -DX_DTYPE=F16 -DSOFTCAP=1 -DHAS_LENGTHS=1
// check with: -DKERNEL=2 -DX_DTYPE=BF16 -DDIM=128 -DTILE=16 -DDROPOUT=1 -DHAS_MASK=1 -DMASK_DTYPE=BF16
// check with: -DKERNEL=1 -DX_DTYPE=F32
// check with: -DKERNEL=1 -DX_DTYPE=F32 -DDIM=128 -DTILE=16 -DSOFTCAP=1 -DHAS_MASK=1
// check with: -DKERNEL=2 -DX_DTYPE=F32
// check with: -DKERNEL=2 -DX_DTYPE=F32 -DDIM=128 -DTILE=16 -DDROPOUT=1 -DHAS_LENGTHS=1
#ifndef TILE
#define TILE 32 // rows of the tiles that come through local memory
#endif
#define COLUMN_TILES (TILE / 8)
#include "attention/fused_tensor.cl"
#ifndef KERNEL
#define KERNEL 1
#endif
#define OWN_ROWS 64 // that a work-group has of its product: 16 a warp
// Rows so wide leave local memory for one tile at a time, and registers for one of the two factors of the own rows. The other stays
// in local memory, after the first has come through.
#define IS_LARGE (IS_TF32 && DIM > 64)
#define BUFFERS (IS_LARGE ? 1 : 2)

#define BWD_ARGUMENTS \
  CALL_ARGUMENTS, storage q, storage k, storage v, storage dout, __global float4 *stats, __global int *flags

// Powers of two that keep 16-bit weights and dS of F16 within its range: weights of 2^-24 and less would become 0.
#define WEIGHT_EXPONENT (IS_F16 ? 8 : 0)
#define WEIGHT_FACTOR (IS_F16 ? 256.0f : 1.0f)
// The factor of dS for rows with dO up to a size, told by its bits: such that it would come to 16.
float dscore_factor(uint largest) {
  return IS_F16 && largest > 0 ? as_float((258 - (largest >> 23)) << 23) : 1;
}

// OWN_ROWS rows of x, 16 of them a warp's, as A fragments. They come through `tile`.
void load_own_rows(storage x, idx stride, int row0, int row_end, __local element *tile, uint rows[1][STEPS][4],
                   warp_scratch scratch) {
  copy_rows(x, stride, row0, row_end, OWN_ROWS, tile);
  warp_copy_commit();
  warp_copy_wait(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  WARP_UNROLL
  for (int step = 0; step < STEPS; ++step) load_rows(rows[0][step], tile, WARP_NUMBER * 16, step, scratch);
  barrier(CLK_LOCAL_MEM_FENCE);
}

// s = x yᵀ, as multiply_rows, for rows of x that lie in a tile, to spare registers.
void multiply_tiles(float s[1][COLUMN_TILES][4], const __local element *x, const __local element *y, warp_scratch scratch) {
  const int row = warp_forget(WARP_NUMBER * 16);
  WARP_UNROLL
  for (int n = 0; n < COLUMN_TILES; ++n)
    WARP_UNROLL
    for (int e = 0; e < 4; ++e) s[0][n][e] = 0;
  WARP_UNROLL
  for (int step = 0; step < STEPS; ++step) {
    uint a[4];
    load_rows(a, x, row, step, scratch);
    WARP_UNROLL
    for (int n = 0; n < COLUMN_TILES; n += 2) {
      uint b[4];
      load_transposed(b, y, 8 * n, step, scratch);
      WARP_UNROLL
      for (int side = 0; side < 2; ++side) WARP_MMA(FACTOR, s[0][n + side], a, b + 2 * side, scratch);
    }
  }
}

#if KERNEL == 1

// This item's part of δ, as O has it, and of the bits of the largest |dO|, in row G + 8 r.
float part_of_delta(const __local element *dout_tile, int r, storage out, uint *largest) {
  const int row = WARP_NUMBER * 16 + G + 8 * r;
  float delta = 0;
  uint size = 0;
  WARP_UNROLL
  for (int chunk = 0; chunk < CHUNKS; ++chunk) {
#if IS_TF32
    // As products have it, so that it cancels where a row has one weight of nearly 1.
    delta += as_float(warp_round_TF32(dout_tile[place(row, chunk) + T])) * out[CHUNK * chunk + T];
#else
    const uint x = *(const __local uint *)(dout_tile + place(row, chunk) + COLUMN);
    const uint y = *(__global const uint *)(out + 8 * chunk + COLUMN);
    delta += WARP_LOW(X_DTYPE, x) * WARP_LOW(X_DTYPE, y);
    delta += WARP_HIGH(X_DTYPE, x) * WARP_HIGH(X_DTYPE, y);
    size = max(size, as_uint(WARP_LOW(X_DTYPE, x)) & 0x7fffffff);
    size = max(size, as_uint(WARP_HIGH(X_DTYPE, x)) & 0x7fffffff);
#endif
  }
  *largest = size;
  return delta;
}

// sum1 += w1 y and sum2 += w2 y, as add_product.
void add_products(float sum1[1][SUM_TILES][4], float w1[1][COLUMN_TILES][4], float sum2[1][SUM_TILES][4],
                  float w2[1][COLUMN_TILES][4], const __local element *y, warp_scratch scratch) {
  WARP_UNROLL
  for (int tile = 0; tile < COLUMN_TILES; tile += PACKED_TILES) {
    uint a1[4], a2[4];
    pack_tiles(a1, w1[0] + tile);
    pack_tiles(a2, w2[0] + tile);
    WARP_UNROLL
    for (int spread = 0; spread < SUM_TILES / SPREAD_TILES; ++spread) {
      uint b[2 * SPREAD_TILES];
      load_columns(b, y, 8 * tile, spread, scratch);
      WARP_UNROLL
      for (int n = 0; n < SPREAD_TILES; ++n) {
        WARP_MMA(FACTOR, sum1[0][SPREAD_TILES * spread + n], a1, b + 2 * n, scratch);
        WARP_MMA(FACTOR, sum2[0][SPREAD_TILES * spread + n], a2, b + 2 * n, scratch);
      }
    }
  }
}

// dq of OWN_ROWS rows of a head, over tiles of keys; stats[b, h, i] = {shift, f, δ, shift'}, such that a weight is
// f exp(s − shift) / WEIGHT_FACTOR, and exp(s − shift') where that is 1.
ITEMS_GROUP __kernel void attention_tensor_queries_bwd(BWD_ARGUMENTS, storage out, __global const float *lse,
                                                       result dq) {
  // BUFFERS times k and v; dO.
  __local element tiles[BUFFERS * 2 * TILE * DIM + OWN_ROWS * DIM] __attribute__((aligned(128)));
  __local element *dout_tile = tiles + BUFFERS * 2 * TILE * DIM;
  WARP_SCRATCH(scratch, ITEMS);
  const long queries = call.reach.queries, heads = call.heads, group = call.group;
  const int row_blocks = ((int)queries + OWN_ROWS - 1) / OWN_ROWS;
  const long work = call.first + get_group_id(0), batch_head = work / row_blocks;
  const long batch = batch_head / heads, head = batch_head - batch * heads;
  const int row0 = (row_blocks - 1 - (int)(work - batch_head * row_blocks)) * OWN_ROWS;
  const int row_end = min(row0 + OWN_ROWS, (int)queries), row = row0 + WARP_NUMBER * 16 + G;
  const storage k_head = AT_HEAD(k, batch, head / group), v_head = AT_HEAD(v, batch, head / group);
  __global const TYPE(MASK_DTYPE) *mask_head = AT_HEAD(mask, batch, head);
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  struct pairs pairs;
  pairs_of(&reach, queries, &pairs);
  const int key_first = first_key(&reach, row0) / TILE * TILE, key_end = end_key(&reach, row_end - 1);
  const float unit = EXPONENT_UNIT;
  // All keys in one tile: P and δ then are what they are from that tile, exact where a row has one key.
  const bool single = key_first + TILE >= key_end;

  uint q_rows[1][STEPS][4];
  if (IS_LARGE) load_own_rows(AT_HEAD(q, batch, head), (idx)call.q.stride2, row0, row_end, dout_tile, q_rows, scratch);
  copy_rows(AT_HEAD(dout, batch, head), (idx)call.dout.stride2, row0, row_end, OWN_ROWS, dout_tile);
  if (IS_LARGE) {
    warp_copy_commit();
    warp_copy_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
  } else {
    load_own_rows(AT_HEAD(q, batch, head), (idx)call.q.stride2, row0, row_end, tiles, q_rows, scratch);
  }
  lse += call.lse_offset + batch_head * queries;
  float shift[2], delta[2], factor[2], total[2], error[2];
  WARP_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int i = min(row + r * 8, row_end - 1);
    uint largest;
    delta[r] = part_of_delta(dout_tile, r, AT_HEAD(out, batch, head) + i * (idx)call.out.stride2, &largest);
    delta[r] = row_total(delta[r], scratch);
    largest = as_uint(row_maximum(as_float(largest), scratch));
    if (IS_F16 && COLUMN == 0) atomic_max((volatile __global uint *)flags + FLAG_LARGEST, largest);
    factor[r] = dscore_factor(largest) / WEIGHT_FACTOR;
    shift[r] = lse[i] == -INFINITY ? 0 : NATURAL ? lse[i] : lse[i] / call.scale;
    total[r] = error[r] = 0;
  }

  float dq_sum[1][SUM_TILES][4];
  clear_sum(dq_sum);
#if !IS_LARGE
  float k_sum[1][SUM_TILES][4];
  clear_sum(k_sum);
#endif
#define COPY_KEYS(key0, to)                                                    \
  do {                                                                         \
    if ((key0) < key_end) {                                                    \
      copy_rows(k_head, (idx)call.k.stride2, key0, key_end, TILE, to);              \
      copy_rows(v_head, (idx)call.v.stride2, key0, key_end, TILE, (to) + TILE * DIM); \
    }                                                                          \
    warp_copy_commit();                                                        \
  } while (0)
  COPY_KEYS(key_first, tiles);
  for (int key0 = key_first, turn = 0; key0 < key_end; key0 += TILE, turn = (turn + 1) % BUFFERS) {
    const bool whole = is_attended(pairs, row0 + OWN_ROWS - 1, key0) && is_attended(pairs, row0, key0 + TILE - 1);
    const __local element *k_tile = tiles + turn * 2 * TILE * DIM, *v_tile = k_tile + TILE * DIM;
    float s[1][COLUMN_TILES][4], dp[1][COLUMN_TILES][4];
    warp_copy_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (BUFFERS == 2) COPY_KEYS(key0 + TILE, tiles + (turn ^ 1) * 2 * TILE * DIM);
    multiply_rows(s, q_rows, k_tile, scratch);
    multiply_tiles(dp, dout_tile, v_tile, scratch);

    float slope[COLUMN_TILES][4];
    if (SCORES_CHANGE(whole)) {
      WARP_UNROLL
      for (int n = 0; n < COLUMN_TILES; ++n)
        WARP_UNROLL
        for (int e = 0; e < 4; ++e)
          s[0][n][e] = score_of(s[0][n][e], &slope[n][e], whole, pairs, row + e / 2 * 8,
                                key0 + n * 8 + COLUMN + e % 2, call.scale, call.softcap, mask_head,
                                (idx)call.mask.stride2, (idx)call.mask_stride3);
    }
    if (single) {
      WARP_UNROLL
      for (int r = 0; r < 2; ++r) {
        float largest = -INFINITY;
        WARP_UNROLL
        for (int n = 0; n < COLUMN_TILES; ++n) largest = fmax(largest, fmax(s[0][n][2 * r], s[0][n][2 * r + 1]));
        largest = row_maximum(largest, scratch);
        shift[r] = largest == -INFINITY ? 0 : largest;
      }
    }
    WARP_UNROLL
    for (int r = 0; r < 2; ++r)
      WARP_UNROLL
      for (int n = 0; n < COLUMN_TILES; ++n) {
#if DROPOUT
        const uint kept = kept_pair(call.seed_low, call.seed_high, call.dropout_threshold, (uint)batch,
                                    (uint)head, row + r * 8, key0 + n * 8 + COLUMN);
        dp[0][n][2 * r] = kept & 1 ? dp[0][n][2 * r] * call.dropout_scale : 0;
        dp[0][n][2 * r + 1] = kept & 2 ? dp[0][n][2 * r + 1] * call.dropout_scale : 0;
#endif
        WARP_UNROLL
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          s[0][n][e] = warp_exp2((s[0][n][e] - shift[r]) * unit + WEIGHT_EXPONENT);
          total[r] += s[0][n][e];
        }
      }
    if (single) {
      WARP_UNROLL
      for (int r = 0; r < 2; ++r) {
        float product = 0;
        WARP_UNROLL
        for (int n = 0; n < COLUMN_TILES; ++n)
          WARP_UNROLL
          for (int e = 2 * r; e < 2 * r + 2; ++e) product += s[0][n][e] == 0 ? 0 : s[0][n][e] * dp[0][n][e];
        const float all = row_total(total[r], scratch);
        product = row_total(product, scratch);
        delta[r] = all == 0 ? 0 : product / all;
      }
    }
    WARP_UNROLL
    for (int n = 0; n < COLUMN_TILES; ++n)
      WARP_UNROLL
      for (int e = 0; e < 4; ++e) {
        const float d = s[0][n][e] == 0 ? 0 : s[0][n][e] * (dp[0][n][e] - delta[e / 2]);
        error[e / 2] += d;
#if SOFTCAP
        s[0][n][e] = s[0][n][e] == 0 ? 0 : s[0][n][e] * slope[n][e];
        dp[0][n][e] = d == 0 ? 0 : d * factor[e / 2] * slope[n][e];
#else
        dp[0][n][e] = d * factor[e / 2];
#endif
      }
#if IS_LARGE
    add_product(dq_sum, dp, k_tile, scratch);
#else
    add_products(dq_sum, dp, k_sum, s, k_tile, scratch);
#endif
    if (BUFFERS == 1) {
      barrier(CLK_LOCAL_MEM_FENCE);
      COPY_KEYS(key0 + TILE, tiles);
    }
  }

  dq = AT_HEAD(dq, batch, head);
  stats += batch_head * queries;
  WARP_UNROLL
  for (int r = 0; r < 2; ++r) {
    const float all = row_total(total[r], scratch), missed = row_total(error[r], scratch);
    const int i = row + r * 8;
    if (i < row_end) {
      const float inverse = all == 0 ? 0 : 1 / all, missing = missed * inverse;
      if (COLUMN == 0) {
        stats[i] = (float4)(shift[r], inverse * (WEIGHT_FACTOR * WEIGHT_FACTOR), all == 0 ? 0 : delta[r] + missing,
                            shift[r] - warp_log2(inverse) / unit);
        // An lse so large that it does not tell the weights.
        const float sum = all / WEIGHT_FACTOR;
        if (!single && lse[i] != -INFINITY && !(sum > 0.5f && sum < 2)) atomic_or(flags + FLAG_REDO, 1);
      }
      if (call.wants & WANTS_DQ) {
#if !IS_LARGE
        WARP_UNROLL
        for (int n = 0; n < SUM_TILES; ++n)
          WARP_UNROLL
          for (int e = 2 * r; e < 2 * r + 2; ++e)
            dq_sum[0][n][e] = dq_sum[0][n][e] / factor[r] - missing * k_sum[0][n][e];
#endif
        store_row(dq + i * (idx)call.dq.stride2, dq_sum[0], r, inverse * call.scale, flags);
      }
    }
  }
}

#else

// Begins to copy a tile of rows of q, dO, and stats, for which there is no room where IS_LARGE.
void copy_queries(storage q, idx q_stride, storage dout, idx dout_stride, __global const float4 *stats, int row0,
                  int row_end, __local element *tiles, __local float4 *stats_tile) {
  copy_rows(q, q_stride, row0, row_end, TILE, tiles);
  copy_rows(dout, dout_stride, row0, row_end, TILE, tiles + TILE * DIM);
#if !IS_LARGE
  if (ITEM < TILE) copy_chunk(stats_tile + ITEM, stats + row0 + ITEM, row0 + ITEM < row_end);
#endif
}

// dk and dv of OWN_ROWS keys: over the query heads of the group in order, and over their tiles of rows.
ITEMS_GROUP __kernel void attention_tensor_keys_bwd(BWD_ARGUMENTS, result dk, result dv) {
#if IS_LARGE
  __local element tiles[2 * TILE * DIM + OWN_ROWS * DIM] __attribute__((aligned(128))); // q and dO; v
  __local element *v_tile = tiles + 2 * TILE * DIM;
  __local float4 *stats_tiles = 0;
#else
  __local element tiles[4 * TILE * DIM] __attribute__((aligned(128))); // q and dO, twice
  __local float4 stats_tiles[2 * TILE];
#endif
  WARP_SCRATCH(scratch, ITEMS);
  const long queries = call.reach.queries, keys = call.reach.keys, heads = call.heads, group = call.group;
  const int key_blocks = ((int)keys + OWN_ROWS - 1) / OWN_ROWS;
  const long work = call.first + get_group_id(0), slot = work / key_blocks, kv_heads = heads / group;
  const long batch = slot / kv_heads, kv_head = slot - batch * kv_heads;
  const int key0 = (int)(work - slot * key_blocks) * OWN_ROWS, key = key0 + WARP_NUMBER * 16 + G;
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  struct pairs pairs;
  pairs_of(&reach, queries, &pairs);
  const int key_end = min(key0 + OWN_ROWS, reach.end);
  const int row_first = (int)min(first_row(&reach, key0) / TILE * TILE, queries);
  const int row_stop = key0 < key_end ? (int)max(end_row(&reach, key0 + OWN_ROWS, queries), 0L) : 0;
  const int head_end = (int)((kv_head + 1) * group);
  int head = row_first < row_stop ? (int)(kv_head * group) : head_end, row0 = row_first;
  const float unit = EXPONENT_UNIT, factor = dscore_factor((uint)flags[FLAG_LARGEST]) / WEIGHT_FACTOR;

  uint k_rows[1][STEPS][4];
#if IS_LARGE
  load_own_rows(AT_HEAD(k, batch, kv_head), (idx)call.k.stride2, key0, key_end, v_tile, k_rows, scratch);
  if (head < head_end) copy_rows(AT_HEAD(v, batch, kv_head), (idx)call.v.stride2, key0, key_end, OWN_ROWS, v_tile);
#else
  uint v_rows[1][STEPS][4];
  load_own_rows(AT_HEAD(k, batch, kv_head), (idx)call.k.stride2, key0, key_end, tiles, k_rows, scratch);
  load_own_rows(AT_HEAD(v, batch, kv_head), (idx)call.v.stride2, key0, key_end, tiles, v_rows, scratch);
#endif
  float dk_sum[1][SUM_TILES][4], dv_sum[1][SUM_TILES][4];
  clear_sum(dk_sum);
  clear_sum(dv_sum);
#define COPY_QUERIES(head, row0, turn)                                                                            \
  do {                                                                                                            \
    if ((head) < head_end)                                                                                        \
      copy_queries(AT_HEAD(q, batch, head), (idx)call.q.stride2, AT_HEAD(dout, batch, head), (idx)call.dout.stride2,        \
                   stats + (batch * heads + (head)) * queries, row0, (int)queries, tiles + (turn)*2 * TILE * DIM, \
                   stats_tiles + (turn)*TILE);                                                                    \
    warp_copy_commit();                                                                                           \
  } while (0)
  COPY_QUERIES(head, row0, 0);
  for (int turn = 0; head < head_end; turn = (turn + 1) % BUFFERS) {
    const bool is_last = row0 + TILE >= row_stop; // of the head
    const int next_head = is_last ? head + 1 : head, next_row0 = is_last ? row_first : row0 + TILE;
    const bool whole = is_attended(pairs, row0 + TILE - 1, key0) && is_attended(pairs, row0, key0 + OWN_ROWS - 1);
    const __local element *q_tile = tiles + turn * 2 * TILE * DIM, *dout_tile = q_tile + TILE * DIM;
#if IS_LARGE
    __global const float4 *stats_head = stats + (batch * heads + head) * queries;
#else
    const __local float4 *stats_tile = stats_tiles + turn * TILE;
#endif
    __global const TYPE(MASK_DTYPE) *mask_head = AT_HEAD(mask, batch, head);
    float s[1][COLUMN_TILES][4], dp[1][COLUMN_TILES][4];
    warp_copy_wait(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (BUFFERS == 2) COPY_QUERIES(next_head, next_row0, turn ^ 1);
    multiply_rows(s, k_rows, q_tile, scratch);
#if IS_LARGE
    multiply_tiles(dp, v_tile, dout_tile, scratch);
#else
    multiply_rows(dp, v_rows, dout_tile, scratch);
#endif

    float slope[COLUMN_TILES][4];
    if (SCORES_CHANGE(whole)) {
      WARP_UNROLL
      for (int n = 0; n < COLUMN_TILES; ++n)
        WARP_UNROLL
        for (int e = 0; e < 4; ++e)
          s[0][n][e] = score_of(s[0][n][e], &slope[n][e], whole, pairs, row0 + n * 8 + COLUMN + e % 2,
                                key + e / 2 * 8, call.scale, call.softcap, mask_head,
                                (idx)call.mask.stride2, (idx)call.mask_stride3);
    }
    WARP_UNROLL
    for (int n = 0; n < COLUMN_TILES; ++n)
      WARP_UNROLL
      for (int e = 0; e < 4; ++e) {
#if IS_LARGE
        // A row that is not there has no score above −inf.
        const int i = min(row0 + n * 8 + COLUMN + e % 2, pairs.queries - 1);
        const float2 row = ((__global const float2 *)(stats_head + i))[1];
        const float p = warp_exp2((s[0][n][e] - row.y) * unit), delta = row.x;
#else
        const float4 row = stats_tile[n * 8 + COLUMN + e % 2];
        const float p = warp_exp2((s[0][n][e] - row.x) * unit) * row.y, delta = row.z;
#endif
        float d = dp[0][n][e];
        bool kept = true;
#if DROPOUT
        kept = dropout_keeps(call.seed_low, call.seed_high, call.dropout_threshold, (uint)batch, (uint)head,
                             (uint)(row0 + n * 8 + COLUMN + e % 2), (uint)(key + e / 2 * 8));
        d = kept ? d * call.dropout_scale : 0;
#endif
        d = p == 0 ? 0 : p * (d - delta) * factor;
#if SOFTCAP
        d = d == 0 ? 0 : d * slope[n][e];
#endif
        s[0][n][e] = kept ? p : 0;
        dp[0][n][e] = d;
      }
    add_product(dv_sum, s, dout_tile, scratch);
    add_product(dk_sum, dp, q_tile, scratch);
    if (BUFFERS == 1) {
      barrier(CLK_LOCAL_MEM_FENCE);
      COPY_QUERIES(next_head, next_row0, 0);
    }
    head = next_head;
    row0 = next_row0;
  }

  dk = AT_HEAD(dk, batch, kv_head);
  dv = AT_HEAD(dv, batch, kv_head);
  const float dk_factor = call.scale / (factor * WEIGHT_FACTOR);
  const float dv_factor = (DROPOUT ? call.dropout_scale : 1) / WEIGHT_FACTOR;
  WARP_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int j = key + r * 8;
    if ((call.wants & WANTS_DK) && j < keys) store_row(dk + j * (idx)call.dk.stride2, dk_sum[0], r, dk_factor, flags);
    if ((call.wants & WANTS_DV) && j < keys) store_row(dv + j * (idx)call.dv.stride2, dv_sum[0], r, dv_factor, flags);
  }
}
#endif
