// Fused attention on CPUs for few query rows against many keys (decoding), forward: flash-decoding's split over keys.
//
// The work is reading k and v, so both are read once and straight from where they lie: all rows that share a key head (group x
// queries) make one tile, keys are split over work-items, and attention_fused_decode_merge joins the parts by their largest score
// and sum. ROW_TILE rows share the loads of VECTOR / ROW_TILE keys, which leaves VECTOR dot products in as many registers.
//
// check with: -DVECTOR=16 -DROW_TILE=4 -DROWS=4
// check with: -DVECTOR=8 -DROW_TILE=1 -DROWS=1 -DHEAD_D=33 -DHEAD_DV=7 -DMASK=1 -DMASK_DTYPE=BOOL -DX_DTYPE=F16 -DDROPOUT=1
// check with: -DVECTOR=4 -DROW_TILE=2 -DROWS=4 -DMASK=2 -DMASK_DTYPE=F16 -DX_DTYPE=BF16 -DLENGTH_DTYPE=I64 -DSOFTCAP=1
#include "attention/fused_cpu_common.cl"
#ifndef ROW_TILE
#define ROW_TILE 4 // at most VECTOR
#endif
#ifndef ROWS
#define ROWS ROW_TILE // group x queries, rounded up to ROW_TILE
#endif
#define KEY_BLOCK 64
#define KEY_TILE (VECTOR / ROW_TILE)
#define KEYS_AT_ONCE 4 // of v: out is loaded and stored once for so many
#define KEYS_AHEAD 16 // rows of k and v are asked for so early: a processor's own prefetching ends with each page

// s[r0 …][c …] = q kᵀ for ROW_TILE rows by KEY_TILE keys. Past the last key, that key again.
INLINE void score_tile(const float *q, __global const TYPE(X_DTYPE) *k, idx k_at, idx k_step, int j, int last,
                       float *s) {
  floatv sum[VECTOR]; // [r * KEY_TILE + e]: row r, key j + e
  UNROLL for (int x = 0; x < VECTOR; ++x) sum[x] = 0;
  for (int d = 0; d < HEAD_D; d += VECTOR) {
    UNROLL for (int e = 0; e < KEY_TILE; ++e) {
      const idx at = k_at + min(j + e, last) * k_step;
      const floatv x = LOADV(X_DTYPE, k, at + d, at + HEAD_D, 0);
      PREFETCH_READ(k + at + KEYS_AHEAD * k_step + d);
      UNROLL for (int r = 0; r < ROW_TILE; ++r) sum[r * KEY_TILE + e] += VLOAD(q + r * D_PAD + d) * x;
    }
  }
  // All VECTOR sums over lanes at once: each step folds neighbours and halves the number of vectors.
  UNROLL for (int n = VECTOR / 2; n >= 1; n /= 2) UNROLL for (int x = 0; x < n; ++x) {
    floatv folded;
    folded.lo = sum[2 * x].even + sum[2 * x].odd;
    folded.hi = sum[2 * x + 1].even + sum[2 * x + 1].odd;
    sum[x] = folded;
  }
  float lanes[VECTOR];
  VSTORE(sum[0], lanes);
  UNROLL for (int r = 0; r < ROW_TILE; ++r) UNROLL for (int e = 0; e < KEY_TILE; ++e)
    s[r * KEY_BLOCK + e] = lanes[r * KEY_TILE + e];
}

// The online softmax of one row over n keys from j0 on.
INLINE void softmax_row(const problem *pr, const query_row *row, int j0, int n, float *s, float *largest, float *sum,
                        float *out) {
  floatv most = (floatv)-INFINITY, total = 0;
  for (int c = 0; c < n; c += VECTOR) {
    const floatv x = mask_scores(pr, row, CAPPED(pr, VLOAD(s + c)), j0 + c, 1);
    most = x > most ? x : most;
    VSTORE(x, s + c);
  }
  const float before = *largest, now = fmax(before, max_of(most)), shift = now == -INFINITY ? 0 : now;
#if DROPOUT
  float z[KEY_BLOCK + 32];
  dropout_factors(pr, row, j0, n, z);
#endif
  for (int c = 0; c < n; c += VECTOR) {
    floatv p = EXP_OF(VLOAD(s + c) - shift);
    total += p;
#if DROPOUT
    p = VLOAD(z + c) == 0 ? (floatv)0 : p * VLOAD(z + c);
#endif
    VSTORE(p, s + c);
  }
  if (now > before) {
    const floatv decay = EXP_OF((floatv)before - shift);
    *sum *= decay.s0;
    for (int d = 0; d < DV_PAD; d += VECTOR)
      VSTORE(decay == 0 ? (floatv)0 : VLOAD(out + d) * decay, out + d); // NaN of a v whose weight is 0 now
  }
  *largest = now;
  *sum += sum_of(total);
}

// out[ROW_TILE] += p v over `count` keys from c on: whole rows of v, in the order in which they lie in memory. careful: a p of 0
// leaves out what stands in v.
INLINE void add_keys(const float *p, __global const TYPE(X_DTYPE) *v, idx v_at, idx v_step, int c, int count,
                     int careful, float *out) {
  floatv weight[ROW_TILE][KEYS_AT_ONCE];
  UNROLL for (int r = 0; r < ROW_TILE; ++r) UNROLL for (int e = 0; e < count; ++e) weight[r][e] = p[r * KEY_BLOCK + c + e];
  v_at += c * v_step;
  NO_UNROLL for (int d = 0; d < HEAD_DV; d += VECTOR) {
    floatv x[KEYS_AT_ONCE];
    UNROLL for (int e = 0; e < count; ++e) {
      const idx at = v_at + e * v_step;
      x[e] = LOADV(X_DTYPE, v, at + d, at + HEAD_DV, 0);
      PREFETCH_READ(v + at + KEYS_AHEAD * v_step + d);
    }
    UNROLL for (int r = 0; r < ROW_TILE; ++r) {
      floatv sum = VLOAD(out + r * DV_PAD + d);
      UNROLL for (int e = 0; e < count; ++e)
        sum += careful ? (weight[r][e] == 0 ? (floatv)0 : weight[r][e] * x[e]) : weight[r][e] * x[e];
      VSTORE(sum, out + r * DV_PAD + d);
    }
  }
}

INLINE void add_values(const float *p, __global const TYPE(X_DTYPE) *v, idx v_at, idx v_step, int n, int careful,
                       float *out) {
  int c = 0;
  for (; c + KEYS_AT_ONCE <= n; c += KEYS_AT_ONCE) add_keys(p, v, v_at, v_step, c, KEYS_AT_ONCE, careful, out);
  for (; c < n; ++c) add_keys(p, v, v_at, v_step, c, 1, careful, out);
}

INLINE void add_all_values(const float *s, __global const TYPE(X_DTYPE) *v, idx v_at, idx v_step, int n, int careful,
                           float *out) {
  for (int r = 0; r < ROWS; r += ROW_TILE)
    if (careful)
      add_values(s + r * KEY_BLOCK, v, v_at, v_step, n, 1, out + r * DV_PAD);
    else
      add_values(s + r * KEY_BLOCK, v, v_at, v_step, n, 0, out + r * DV_PAD);
}

// Parts: out_parts [slots][splits][ROWS][DV_PAD], not yet divided by the sum, and row_parts [slots][splits][ROWS][2] = largest score
// and sum. Split x takes keys from x chunk on, chunk a multiple of KEY_BLOCK. global: slots x splits
ONE_ITEM __kernel void attention_fused_decode(CALL_ARGUMENTS, IN_TENSOR(q), IN_TENSOR(k), IN_TENSOR(v),
                                              __global float *out_parts, __global float *row_parts) {
  const problem pr = PROBLEM;
  const int item = get_global_id(0), splits = call.splits, chunk = call.chunk_keys, split = item % splits;
  const int slot = pr.slot0 + item / splits, hk = slot % pr.kv_heads, b = slot / pr.kv_heads;
  const int rows = pr.group * pr.queries; // row r: query r % queries of head hk group + r / queries
  struct reach w;
  reach_of(&call.reach, kv_lengths, b, &w);
  const int first = max(split * chunk, first_key(&w, 0) / KEY_BLOCK * KEY_BLOCK);
  const int end = min((split + 1) * chunk, end_key(&w, pr.queries - 1));
  const idx k_at = ROW_AT(call.k, b, hk, 0), v_at = ROW_AT(call.v, b, hk, 0);

  float qs[ROWS * D_PAD], out[ROWS * DV_PAD], s[ROWS * KEY_BLOCK], largest[ROWS], sum[ROWS];
  floatv gathered = 0;
  for (int r = 0; r < ROWS; ++r)
    if (r < rows)
      load_row(q, ROW_AT(call.q, b, hk * pr.group + r / pr.queries, r % pr.queries), HEAD_D, Q_FACTOR(&pr),
               qs + r * D_PAD, &gathered);
    else
      zero_row(HEAD_D, qs + r * D_PAD);

  // A v with NaN or Inf shows in the sums; then all is done again with an eye on weights of 0, which must hide it.
  for (int careful = 0; careful < 2; ++careful) {
    zero_row(ROWS * DV_PAD, out);
    for (int r = 0; r < ROWS; ++r) {
      largest[r] = -INFINITY;
      sum[r] = 0;
    }
    for (int j0 = first; j0 < end; j0 += KEY_BLOCK) {
      const int n = min(KEY_BLOCK, end - j0);
      for (int r = 0; r < ROWS; r += ROW_TILE)
        for (int c = 0; c < n; c += KEY_TILE)
          score_tile(qs + r * D_PAD, k, k_at, (idx)call.k.stride2, j0 + c, end - 1, s + r * KEY_BLOCK + c);
      for (int r = 0; r < rows; ++r) {
        query_row row;
        get_row(&pr, &w, b, hk * pr.group + r / pr.queries, r % pr.queries, &row);
        softmax_row(&pr, &row, j0, n, s + r * KEY_BLOCK, &largest[r], &sum[r], out + r * DV_PAD);
      }
      add_all_values(s, v, v_at + j0 * (idx)call.v.stride2, (idx)call.v.stride2, n, careful, out);
    }
    gathered = 0;
    for (int x = 0; x < rows * DV_PAD; x += VECTOR) gathered += VLOAD(out + x) * 0;
    if (!is_bad(gathered)) break;
  }
  out_parts += (size_t)item * ROWS * DV_PAD;
  row_parts += (size_t)item * ROWS * 2;
  for (int x = 0; x < rows * DV_PAD; x += VECTOR) VSTORE(VLOAD(out + x), out_parts + x);
  for (int r = 0; r < rows; ++r) {
    row_parts[2 * r] = largest[r];
    row_parts[2 * r + 1] = sum[r];
  }
}

// global: slots x group x queries
ONE_ITEM __kernel void attention_fused_decode_merge(CALL_ARGUMENTS, __global const float *out_parts,
                                                    __global const float *row_parts, OUT_TENSOR(out),
                                                    __global float *lse) {
  const problem pr = PROBLEM;
  const int splits = call.splits;
  const int item = get_global_id(0), rows = pr.group * pr.queries, r = item % rows, slot = pr.slot0 + item / rows;
  const int b = slot / pr.kv_heads, h = slot % pr.kv_heads * pr.group + r / pr.queries, i = r % pr.queries;
  const size_t first = (size_t)(item / rows) * splits * ROWS + r;
  float largest = -INFINITY, sum = 0, total[DV_PAD];
  zero_row(DV_PAD, total);
  for (int s = 0; s < splits; ++s) largest = fmax(largest, row_parts[(first + s * ROWS) * 2]);
  const float shift = largest == -INFINITY ? 0 : largest;
  for (int s = 0; s < splits; ++s) {
    const size_t part = first + s * ROWS;
    const float part_sum = row_parts[part * 2 + 1];
    const floatv decay = EXP_OF((floatv)row_parts[part * 2] - shift);
    sum += decay.s0 * part_sum;
    if (decay.s0 == 0) continue; // nothing attended, or nothing that counts
    for (int d = 0; d < DV_PAD; d += VECTOR)
      VSTORE(VLOAD(total + d) + decay * VLOAD(out_parts + part * DV_PAD + d), total + d);
  }
  store_row(total, HEAD_DV, sum == 0 ? 0 : 1 / sum, out, ROW_AT(call.out, b, h, i));
  if (call.wants & WANTS_LSE)
    lse[(idx)call.lse_offset + (b * (idx)call.heads + h) * (idx)pr.queries + i] =
        sum == 0 ? -INFINITY : largest * SCORE_TO_LN + log(sum);
}
