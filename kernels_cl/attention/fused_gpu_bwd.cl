// Fused attention on GPUs, backward, without atomics: the softmax of each row (attention_rows), then dk and dv by tiles of keys
// (attention_keys_bwd) and dq by tiles of queries (attention_queries_bwd), which makes seven products of a tile. Or in five: then dk's and
// dv's kernel makes parts of dq, see fused_gpu_parts.cl. With Z the factors of dropout:
//   dv = (P∘Z)ᵀ dO      dP = Z ∘ (dO vᵀ)     δ = Σ_j P dP = Σ_d dO∘O
//   dS = P ∘ (dP − δ)   dq = scale dS k      dk = scale dSᵀ q
//
// check with: -DALIGNED=1
// check with: -DKERNEL=1 -DALIGNED=1 -DSHUFFLE=1
// check with: -DKERNEL=1 -DX_DTYPE=F16 -DEXACT_DELTA=1 -DHAS_MASK=1 -DMASK_IS_BOOL=1 -DMASK_DTYPE=BOOL -DDROPOUT=1
// check with: -DKERNEL=2 -DX_DTYPE=BF16 -DALIGNED=1 -DHAS_MASK=1 -DSOFTCAP=1 -DHAS_LENGTHS=1 -DLENGTH_DTYPE=I64
// check with: -DKERNEL=2 -DDQ_PARTS=1 -DALIGNED=1 -DDROPOUT=1
// check with: -DKERNEL=4 -DDQ_PARTS=1 -DX_DTYPE=BF16 -DGATED=1
// check with: -DKERNEL=3 -DGATED=1 -DX_DTYPE=BF16 -DHAS_MASK=1 -DMASK_DTYPE=F16 -DSOFTCAP=1 -DDROPOUT=1
#ifndef SHUFFLE
#define SHUFFLE 0
#endif
#define LANES_IN_Z (!SHUFFLE)
#include "attention/fused_gpu_stage.cl"
#ifndef EXACT_DELTA
#define EXACT_DELTA 0 // δ from P and dP, not from O, which has been rounded to 16 bits
#endif

// One program a kernel, since each has a tile of its own; 0: all of them.
#ifndef KERNEL
#define KERNEL 0
#endif
#define KERNEL_ROWS 1
#define KERNEL_KEYS 2
#define KERNEL_QUERIES 3
#define KERNEL_SUM 4
#define HAS_KERNEL(which) (KERNEL == 0 || KERNEL == which)

#define RESULT __global TYPE(X_DTYPE) *
#define BWD_ARGUMENTS CALL_ARGUMENTS, storage q, storage k, storage v, storage dout

// The scores of a tile, in s and slope, and then dO vᵀ, in dp. Before the scores nobody may be reading the pool. attended: of the tile's rows,
// after the next barrier.
#define SCORES(s, slope, row0, key0)                                                                                          \
  do {                                                                                                                      \
    multiply_tiles(FOUND(q), (idx)call.q.stride2, row0, row_end, FOUND(k), (idx)call.k.stride2, key0, key_end, QK_WIDTH,    \
                   true, 0, pool + place.origin, s);                                                                                       \
    const bool whole = attended[QUERIES - 1].x <= key0 && min(attended[0].y, attended[QUERIES - 1].y) >= key0 + KEYS;       \
    finish_tile(s, slope, attended, whole, row0, key0, (int)call.reach.queries, call.scale, call.softcap,                   \
                AT_HEAD(mask, place.batch, place.head), 0, (idx)call.mask.stride2, (idx)call.mask_stride3);                 \
  } while (0)
#define DWEIGHTS(dp, row0, key0)                                                                                            \
  multiply_tiles(FOUND(dout), (idx)call.dout.stride2, row0, row_end, FOUND(v), (idx)call.v.stride2, key0, key_end, V_WIDTH, \
                 false, BUFFER_AFTER(QK_WIDTH, 0), pool + place.origin, dp)
// Where a work-group is that does rows of a head.
#define FIND_ROWS                 \
  do {                            \
    place.batch = batch;          \
    place.head = head;            \
    FIND(q, batch, head);         \
    FIND(k, batch, head / group); \
    FIND(v, batch, head / group); \
    FIND(dout, batch, head);      \
    place.origin = 0;             \
    place.first = row0;           \
  } while (0)

// What a tile needs to know of its rows, for after the next barrier: which keys they attend, and what attention_rows found of them. `stats`
// begins at the head's first row.
void find_rows(const struct reach *reach, __global const float4 *stats, int row0, int row_end, int queries,
               __local int2 *attended, __local float4 *row_stats) {
  find_attended(reach, row0, row_end, queries, attended);
  for (int row = ITEM; row < QUERIES; row += ITEMS) row_stats[row] = stats[min(row0 + row, row_end - 1)];
}

// From the scores of a tile to its weights. stats of each row: {shift, 1/Σ weights, δ}.
void weights_of(float s[SCORE_ROWS][4], float unit, const __local float4 *stats) {
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) {
    const float4 row = stats[SCORE_ROW(r)];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float e = exp_of(s[r][j], unit, row.x);
      s[r][j] = e == 0 || s[r][j] == -INFINITY ? 0 : e * row.y;
    }
  }
}

// From dP to dS before the softcap. Where p is 0, so is dS, whatever stands in dp.
void dscores_of(float p[SCORE_ROWS][4], float dp[SCORE_ROWS][4], float slope[SCORE_ROWS][4], uint kept,
                float dropout_scale, const __local float4 *stats) {
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) {
    const float delta = stats[SCORE_ROW(r)].z;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float d = dp[r][j];
#if DROPOUT
      d = IS_KEPT(kept, r, j) ? d * dropout_scale : 0;
#endif
      d = p[r][j] == 0 ? 0 : p[r][j] * (d - delta);
#if SOFTCAP
      d = d == 0 ? 0 : d * slope[r][j];
#endif
      dp[r][j] = d;
    }
  }
}

#include "attention/fused_gpu_parts.cl"

#if HAS_KERNEL(KERNEL_ROWS)
// Above this, the digits of lse that stand for the sum of a row are too few (half a unit in the last place is 1e-6).
#define LSE_EXACT 32

// stats[b, h, i] = {shift, 1/Σ weights, δ}: from lse and out where they have the digits for it, else from q, k, v, dout.
ITEMS_GROUP __kernel void attention_rows(BWD_ARGUMENTS, storage out, __global const float *lse,
                                         __global float4 *stats GATE_ARGUMENT) {
  __local float4 pool[2 * BUFFER];
  __local float parts[QUERIES * PART_PITCH], row_max[QUERIES], row_factor[QUERIES], row_delta[QUERIES];
  __local int recompute;
  __local int2 attended[QUERIES];
  __local struct place place;
  LEAVE_IF_CLOSED;
  const long queries = call.reach.queries, heads = call.heads, group = call.group;
  const int tiles = ((int)queries + QUERIES - 1) / QUERIES;
  const long work = call.first + get_group_id(0), batch_head = work / tiles;
  const long batch = batch_head / heads, head = batch_head - batch * heads;
  const int row0 = (int)(work - batch_head * tiles) * QUERIES, row_end = min(row0 + QUERIES, (int)queries);
  lse += call.lse_offset + batch_head * queries;
  stats += batch_head * queries;

  if (ITEM == 0) recompute = EXACT_DELTA;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int row = row0 + ITEM; row < row_end; row += ITEMS)
    if (lse[row] != -INFINITY && !(fabs(lse[row]) <= LSE_EXACT)) atomic_or(&recompute, 1);
  barrier(CLK_LOCAL_MEM_FENCE);
#if !EXACT_DELTA
  const storage out_head = AT_HEAD(out, batch, head);
  const storage dout_head = AT_HEAD(dout, batch, head);
  for (int row = row0 + ITEM; row < row_end; row += ITEMS) {
    float delta = 0;
    for (int column = 0; column < V_WIDTH; column += 4) {
      const float4 x = load4(dout_head, row * (idx)call.dout.stride2, column, V_WIDTH);
      const float4 y = load4(out_head, row * (idx)call.out.stride2, column, V_WIDTH);
      delta += x.x * y.x;
      delta += x.y * y.y;
      delta += x.z * y.z;
      delta += x.w * y.w;
    }
    const bool dead = lse[row] == -INFINITY;
    row_delta[row - row0] = delta;
    const float2 shift = shift_of_lse(lse[row]);
    if (!recompute) stats[row] = (float4)(dead ? 0 : shift.x, dead ? 0 : shift.y, delta, 0);
  }
#endif
  if (!recompute) return;

  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  const int key_first = first_key(&reach, row0) / KEYS * KEYS, key_end = end_key(&reach, row_end - 1);
  if (ITEM == 0) {
    FIND_ROWS;
  }
  find_attended(&reach, row0, row_end, (int)queries, attended);
  float row_sum[SCORE_ROWS], part_delta[SCORE_ROWS];
#pragma unroll
  for (int r = 0; r < SCORE_ROWS; ++r) row_sum[r] = part_delta[r] = 0;
  for (int row = ITEM; row < QUERIES; row += ITEMS) row_max[row] = -INFINITY;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int key0 = key_first; key0 < key_end; key0 += KEYS) {
    float s[SCORE_ROWS][4], slope[SCORE_ROWS][4];
    SCORES(s, slope, place.first, key0);
    float most[SCORE_ROWS], factors[SCORE_ROWS];
    update_maxima(s, unit_of(call.scale), parts, row_max, row_factor, most, factors);
#if EXACT_DELTA
    float dp[SCORE_ROWS][4];
    DWEIGHTS(dp, place.first, key0);
#endif
#if EXACT_DELTA && DROPOUT
    const uint kept = kept_weights(call.seed_low, call.seed_high, call.dropout_threshold, (uint)batch,
                                   (uint)head, row0, key0, (int)queries);
#endif
#pragma unroll
    for (int r = 0; r < SCORE_ROWS; ++r) {
      const float shift = shift_of(most[r]), factor = factors[r];
      row_sum[r] *= factor;
      part_delta[r] = factor == 0 ? 0 : part_delta[r] * factor;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float e = exp_of(s[r][j], unit_of(call.scale), shift);
        row_sum[r] += e;
#if EXACT_DELTA
        float d = dp[r][j];
#if DROPOUT
        d = IS_KEPT(kept, r, j) ? d * call.dropout_scale : 0;
#endif
        if (e != 0) part_delta[r] += e * d;
#endif
      }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  sum_rows(row_sum, parts, row_factor);
#if EXACT_DELTA
  sum_rows(part_delta, parts, row_delta);
#endif
  for (int row = ITEM; row0 + row < row_end; row += ITEMS) {
    const float inverse = row_factor[row] == 0 ? 0 : 1 / row_factor[row];
    const float delta = row_delta[row] * (EXACT_DELTA ? inverse : 1);
    stats[row0 + row] = (float4)(shift_of(row_max[row]), inverse, delta, 0);
  }
}
#endif

#if HAS_KERNEL(KERNEL_KEYS)
DEFINE_COLUMNS(V)
DEFINE_COLUMNS(QK)
DEFINE_NEIGHBOURS
DEFINE_OUTPUT_OF_KEYS(V)
DEFINE_OUTPUT_OF_KEYS(QK)
DEFINE_ROWS(V)
DEFINE_ROWS(QK)

// sum += wᵀ x for the rows of w whose numbers among an item's are [first, first + WEIGHT_ROWS / SCORE_Y), x being the rows of the tile.
#define DEFINE_KEYS_PRODUCT(WIDTH)                                                                                     \
  void keys_product_##WIDTH(const float w[SCORE_ROWS][4], int first, storage x, idx stride, int row0, int row_end,     \
                            __local float4 *pool, __local int *bad, float sum[OUT_KEYS][COLUMNS(WIDTH)]) {             \
    struct rows_##WIDTH loaded;                                                                                        \
    row0 += first * SCORE_Y;                                                                                           \
    _Pragma("nounroll") for (int row = 0; row < WEIGHT_ROWS; row += WIDTH##_ROWS) {                                    \
      load_rows_##WIDTH(x, stride, row0, row_end, row, 0, &loaded);                                                    \
      barrier(CLK_LOCAL_MEM_FENCE);                                                                                    \
      if (row == 0) {                                                                                                  \
        _Pragma("unroll") for (int r = 0; r < WEIGHT_ROWS / SCORE_Y; ++r)                                              \
            store_weights(pool, r, w[first + r]);                                                                      \
      }                                                                                                                \
      store_rows_##WIDTH(x, stride, row0, row_end, row, &loaded, pool + STAGED, bad);                                  \
      barrier(CLK_LOCAL_MEM_FENCE);                                                                                    \
      output_of_keys_##WIDTH((const __local float *)pool, row, (const __local float *)(pool + STAGED), *bad, sum);     \
    }                                                                                                                  \
  }
DEFINE_KEYS_PRODUCT(V)
DEFINE_KEYS_PRODUCT(QK)
DEFINE_PARTS
// `then` is done with the weights in local memory, of the rows of the tile from its argument on.
#define KEYS_PRODUCT(WIDTH, w, x, sum, then)                                                                 \
  keys_product_##WIDTH(w, 0, FOUND(x), (idx)call.x.stride2, row0, row_end, pool + place.origin, &bad, sum);  \
  then(0);                                                                                                   \
  if (WEIGHT_ROWS < QUERIES) {                                                                               \
    keys_product_##WIDTH(w, SCORE_ROWS / 2, FOUND(x), (idx)call.x.stride2, row0, row_end, pool + place.origin,    \
                         &bad, sum);                                                                          \
    then(WEIGHT_ROWS);                                                                                       \
  }
#define NOTHING(line)

// dk and dv of KEYS keys, and their part of dq where it is wanted so: over the query heads of the group in order, and over their tiles of
// rows.
ITEMS_GROUP __kernel void attention_keys_bwd(BWD_ARGUMENTS, __global const float4 *stats, RESULT dk,
                                             RESULT dv PARTS_ARGUMENTS GATE_ARGUMENT) {
  __local float4 pool[STAGE / 4];
  __local int bad;
  __local int2 attended[QUERIES];
  __local float4 row_stats[QUERIES];
  __local struct place place;
  LEAVE_IF_CLOSED;
  const long queries = call.reach.queries, keys = call.reach.keys, heads = call.heads, group = call.group;
  const int tiles = ROUND_TILES(((int)keys + KEYS - 1) / KEYS);
  const long work = call.first + get_group_id(0), nth = work / tiles, slot = nth + call.slot0, kv_heads = heads / group;
  const long batch = slot / kv_heads, kv_head = slot - batch * kv_heads;
  const int tile = (int)(work - nth * tiles), key0 = (ROUND_FIRST + tile) * KEYS;
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  const int key_end = min(key0 + KEYS, reach.end);
  const int row_first = (int)min(first_row(&reach, key0), queries), row_stop = (int)max(end_row(&reach, key0 + KEYS, queries), 0L);

  float dk_sum[OUT_KEYS][COLUMNS(QK)], dv_sum[OUT_KEYS][COLUMNS(V)];
#pragma unroll
  for (int n = 0; n < OUT_KEYS; ++n) {
#pragma unroll
    for (int c = 0; c < COLUMNS(QK); ++c) dk_sum[n][c] = 0;
#pragma unroll
    for (int c = 0; c < COLUMNS(V); ++c) dv_sum[n][c] = 0;
  }
  if (ITEM == 0) {
    bad = 0;
    place.batch = batch;
    place.head = kv_head * group;
    FIND(k, batch, kv_head);
    FIND(v, batch, kv_head);
    place.origin = 0;
    place.first = key0;
    place.split = tile;
    place.reach = reach;
  }
  for (int n = 0; n < (int)group && key0 < key_end && row_first < row_stop; ++n) {
    if (ITEM == 0) {
      place.head += n > 0;
      FIND(q, place.batch, place.head);
      FIND(dout, place.batch, place.head);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int row0 = row_first / QUERIES * QUERIES; row0 < row_stop; row0 += QUERIES) {
      const int row_end = min(row0 + QUERIES, (int)queries);
      float p[SCORE_ROWS][4], slope[SCORE_ROWS][4], dp[SCORE_ROWS][4];
      const struct reach rows_reach = place.reach;
      find_rows(&rows_reach, stats + (place.batch * heads + place.head) * queries, row0, row_end, (int)queries, attended,
                row_stats);
      SCORES(p, slope, row0, place.first);
      DWEIGHTS(dp, row0, place.first);
      weights_of(p, unit_of(call.scale), row_stats);
      const uint kept = kept_weights(call.seed_low, call.seed_high, call.dropout_threshold, (uint)place.batch,
                                     (uint)place.head, row0, key0, (int)queries);
      dscores_of(p, dp, slope, kept, call.dropout_scale, row_stats);
#if DROPOUT
#pragma unroll
      for (int r = 0; r < SCORE_ROWS; ++r)
#pragma unroll
        for (int j = 0; j < 4; ++j) p[r][j] = IS_KEPT(kept, r, j) ? p[r][j] * call.dropout_scale : 0;
#endif
      KEYS_PRODUCT(V, p, dout, dv_sum, NOTHING);
      KEYS_PRODUCT(QK, dp, q, dk_sum, STORE_PART);
      barrier(CLK_LOCAL_MEM_FENCE);
    }
  }

  barrier(CLK_LOCAL_MEM_FENCE);
  dk = AT_HEAD(dk, place.batch, place.head / group);
  dv = AT_HEAD(dv, place.batch, place.head / group);
#pragma unroll
  for (int n = 0; n < OUT_KEYS; ++n) {
    const int key = key0 + OUT_ITEM_Y * OUT_KEYS + n;
    if (key >= keys) continue;
#pragma unroll
    for (int c = 0; c < COLUMNS(QK); ++c) {
      const int column = OUT_COLUMN(QK, c);
      if ((call.wants & WANTS_DK) && column < QK_WIDTH)
        STORE(X_DTYPE, dk, key * (idx)call.dk.stride2 + column, dk_sum[n][c] * call.scale);
    }
#pragma unroll
    for (int c = 0; c < COLUMNS(V); ++c) {
      const int column = OUT_COLUMN(V, c);
      if ((call.wants & WANTS_DV) && column < V_WIDTH)
        STORE(X_DTYPE, dv, key * (idx)call.dv.stride2 + column, dv_sum[n][c]);
    }
  }
}
#endif

#if HAS_KERNEL(KERNEL_QUERIES)
#if KERNEL
DEFINE_COLUMNS(QK)
#endif
DEFINE_OUTPUT_OF_QUERIES(QK, QUERIES / OUT_Y)
#if KERNEL
DEFINE_ROWS(QK)
#endif

// dq of QUERIES rows of a head, over tiles of keys.
ITEMS_GROUP __kernel void attention_queries_bwd(BWD_ARGUMENTS, __global const float4 *stats, RESULT dq GATE_ARGUMENT) {
  __local float4 pool[STAGE / 4];
  __local int bad;
  __local int2 attended[QUERIES];
  __local float4 row_stats[QUERIES];
  __local struct place place;
  LEAVE_IF_CLOSED;
  const long queries = call.reach.queries, heads = call.heads, group = call.group;
  const int tiles = ((int)queries + QUERIES - 1) / QUERIES;
  const long work = call.first + get_group_id(0), batch_head = work / tiles;
  const long batch = batch_head / heads, head = batch_head - batch * heads;
  const int row0 = (tiles - 1 - (int)(work - batch_head * tiles)) * QUERIES, row_end = min(row0 + QUERIES, (int)queries);
  struct reach reach;
  reach_of(&call.reach, kv_lengths, batch, &reach);
  const int key_first = first_key(&reach, row0) / KEYS * KEYS, key_end = end_key(&reach, row_end - 1);

  float sum[QUERIES / OUT_Y][COLUMNS(QK)];
#pragma unroll
  for (int r = 0; r < QUERIES / OUT_Y; ++r)
#pragma unroll
    for (int c = 0; c < COLUMNS(QK); ++c) sum[r][c] = 0;
  if (ITEM == 0) {
    bad = 0;
    FIND_ROWS;
  }
  find_rows(&reach, stats + batch_head * queries, row0, row_end, (int)queries, attended, row_stats);
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int key0 = key_first; key0 < key_end; key0 += KEYS) {
    float p[SCORE_ROWS][4], slope[SCORE_ROWS][4], dp[SCORE_ROWS][4];
    SCORES(p, slope, place.first, key0);
    DWEIGHTS(dp, place.first, key0);
    weights_of(p, unit_of(call.scale), row_stats);
    const uint kept = kept_weights(call.seed_low, call.seed_high, call.dropout_threshold, (uint)place.batch,
                                   (uint)place.head, place.first, key0, (int)queries);
    dscores_of(p, dp, slope, kept, call.dropout_scale, row_stats);
#pragma nounroll
    for (int row = 0; row < KEYS; row += QK_ROWS) {
      struct rows_QK loaded;
      __local float4 *origin = pool + place.origin;
      load_rows_QK(FOUND(k), (idx)call.k.stride2, key0, key_end, row, 0, &loaded);
      barrier(CLK_LOCAL_MEM_FENCE);
      if (row == 0) {
#pragma unroll
        for (int r = 0; r < SCORE_ROWS; ++r) store_weights(origin, r, dp[r]);
      }
      store_rows_QK(FOUND(k), (idx)call.k.stride2, key0, key_end, row, &loaded, origin + STAGED, &bad);
      barrier(CLK_LOCAL_MEM_FENCE);
      output_of_queries(origin, row, (const __local float *)(origin + STAGED), bad, sum);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }

  dq = AT_HEAD(dq, place.batch, place.head);
#pragma unroll
  for (int r = 0; r < QUERIES / OUT_Y; ++r) {
    const int row = row0 + OUT_ITEM_Y + r * OUT_Y;
    if (row >= row_end) continue;
#pragma unroll
    for (int c = 0; c < COLUMNS(QK); ++c) {
      const int column = OUT_COLUMN(QK, c);
      if (column < QK_WIDTH) STORE(X_DTYPE, dq, row * (idx)call.dq.stride2 + column, sum[r][c] * call.scale);
    }
  }
}
#endif
