// Fused attention on CPUs, backward: FlashAttention-2's algorithm 2 with the loop over keys outermost.
//
// A work-item takes one key head with all query heads of its group and walks over blocks of KEY_BLOCK keys; for each it passes over
// the query rows, QUERY_BLOCK at a time, with five products: s = q kᵀ, dP = dO vᵀ, dQ += dS k, dV += pᵀ dO, dK += dSᵀ q. dK and dV
// of a block stay private until they are done. dQ is summed in memory, in one order, by this work-item alone: no atomics, and no
// second pass that forms the scores again. Where there are fewer key heads than cores, `splits` work-items share one, each with
// every splits-th block of keys and a dQ of its own; attention_fused_bwd_dq adds these.
// q and dO are read once for every block of keys: attention_fused_bwd_rows copies them to rows without gaps first, in F32.
// Blocks of 96 x 96 keep the private arrays (200 KB at a width of 64, 320 KB at 128) and those rows in the second cache.
//
// check with: -DVECTOR=16 -DTILE_ROWS=12
// check with: -DVECTOR=8 -DHEAD_D=33 -DHEAD_DV=7 -DMASK=1 -DMASK_DTYPE=BOOL -DX_DTYPE=F16 -DDROPOUT=1
// check with: -DVECTOR=4 -DTILE_ROWS=8 -DMASK=2 -DMASK_DTYPE=F16 -DX_DTYPE=BF16 -DLENGTH_DTYPE=I64 -DSOFTCAP=1
// check with: -DVECTOR=8 -DHEAD_D=33 -DHEAD_DV=7 -DX_DTYPE=F16 -DEXACT_DELTA=1 -DDROPOUT=1
#include "attention/fused_cpu_common.cl"
#ifndef EXACT_DELTA
#define EXACT_DELTA 0 // δ from P and dP, not from O, which has been rounded to 16 bits
#endif
#ifndef KEY_BLOCK
#define KEY_BLOCK 96 // a multiple of PANEL and TILE_ROWS
#endif
#ifndef QUERY_BLOCK
#define QUERY_BLOCK 96 // a multiple of TILE_ROWS
#endif
#define TILES (QUERY_BLOCK / TILE_ROWS)
#define QUERIES_PAD(queries) ROUND_UP(queries, TILE_ROWS) // rows of a head in scratch
// dK is summed from q as packed (times Q_FACTOR). What lacks of scale dSᵀ q:
#if SOFTCAP
#define DK_FACTOR(pr) ((pr)->softcap)
#elif MASK == 2
#define DK_FACTOR(pr) 1.0f
#else
#define DK_FACTOR(pr) LN2
#endif
#define Q_BAD 1 // a block of rows of q, or of dO, holds NaN or Inf
#define DOUT_BAD 2

DEFINE_TILE(scores, __global, , )
DEFINE_SCORE(score_panel, scores_2, __global, )
DEFINE_TILE(product_dq, , , __global)
DEFINE_TILE(product_keys, , __global, )
DEFINE_TO_PANEL(to_panel, )

// ---- per row: stats = {shift, factor, δ, is_constant}, where p = exp(s - shift) factor

// An lse this large has too few digits left for exp(s - lse): rounded to F32, it is off by up to 4e-6. NaN belongs here too.
#define LSE_IS_COARSE(lse) (!(fabs(lse) <= 64.0f) && (lse) != -INFINITY)
// Whether the row attends exactly one key: its weight is 1 whatever the score, so its gradient is exactly 0.
INLINE int has_one_key(const problem *pr, const query_row *row) {
#if MASK
  int count = 0;
  for (int j = row->lo; j < row->hi && count < 2; ++j) {
    const float value = mask_at(pr, row, j);
    count += MASK == 1 ? value != 0 : value != -INFINITY;
  }
  return count == 1;
#else
  return row->hi - row->lo == 1;
#endif
}

// VECTOR rows of a head from j on become columns of a panel; rows from `live` on are taken as zeros.
#define LOAD_PANEL(x, place, width, pad, panel)                                               \
  {                                                                                           \
    float rows_[VECTOR * (pad)];                                                              \
    for (int r = 0; r < VECTOR; ++r)                                                          \
      if (c + r < live)                                                                       \
        load_row(x, ROW_AT(place, b, hk, j0 + c + r), width, 1, rows_ + r * (pad), &gathered); \
      else                                                                                    \
        zero_row(width, rows_ + r * (pad));                                                   \
    to_panel(rows_, pad, (panel) + c / PANEL * ((pad)*PANEL) + c % PANEL);                    \
  }

// What rows from i0 on have of the softmax: the largest score, the sum of exp(score - largest) and, where δ is exact, the sum of that
// times dP; all from the very products the walk makes.
typedef struct {
  float largest[QUERY_BLOCK], sum[QUERY_BLOCK], weighted[QUERY_BLOCK];
} row_sums;

// Adds the keys from j0 + c0 to j0 + c1, whose scores and dP are given, to the sums of one row. edge: whether it may end among them.
INLINE void add_to_row(const problem *pr, const query_row *row, int j0, int c0, int c1, int edge, float *s,
                       const float *dp, int r, row_sums *sums) {
  floatv most = (floatv)-INFINITY, total = 0, weighted = 0;
  for (int c = c0; c < c1; c += VECTOR) {
    const floatv x = mask_scores(pr, row, CAPPED(pr, VLOAD(s + c)), j0 + c, edge);
    most = x > most ? x : most;
    VSTORE(x, s + c);
  }
  const float before = sums->largest[r], now = fmax(before, max_of(most)), shift = now == -INFINITY ? 0 : now;
#if EXACT_DELTA && DROPOUT
  float z[KEY_BLOCK + 32];
  dropout_factors(pr, row, j0 + c0, c1 - c0, z);
#endif
  for (int c = c0; c < c1; c += VECTOR) {
    const floatv e = EXP_OF(VLOAD(s + c) - shift);
    total += e;
#if EXACT_DELTA
    floatv gradient = VLOAD(dp + c);
#if DROPOUT
    const floatv keep = VLOAD(z + c - c0);
    gradient = keep == 0 ? (floatv)0 : gradient * keep;
#endif
    weighted += e == 0 ? (floatv)0 : e * gradient; // a weight of 0 hides what stands in dP
#endif
  }
  const float decay = EXP_OF((floatv)before - shift).s0;
  sums->sum[r] = sums->sum[r] * decay + sum_of(total);
  sums->weighted[r] = (decay == 0 ? 0 : sums->weighted[r] * decay) + sum_of(weighted);
  sums->largest[r] = now;
}

// qs, douts: the `rows` rows, packed.
void find_row_sums(const problem *pr, const struct reach *w, __global const float *qs, __global const float *douts,
                   IN_TENSOR(k), const struct heed__cl_attention_place *k_place, IN_TENSOR(v),
                   const struct heed__cl_attention_place *v_place, int b, int hk, int h, int i0, int rows,
                   row_sums *sums) {
  float k_panels[KEY_BLOCK * D_PAD], s[TILE_ROWS * KEY_BLOCK];
#if EXACT_DELTA
  float v_panels[KEY_BLOCK * DV_PAD], dp[TILE_ROWS * KEY_BLOCK];
#else
  const float *dp = 0;
#endif
  const int last = i0 + rows - 1, key_end = end_key(w, last);
  floatv gathered = 0;
  for (int r = 0; r < rows; ++r) {
    sums->largest[r] = -INFINITY;
    sums->sum[r] = sums->weighted[r] = 0;
  }
  for (int j0 = first_key(w, i0) / KEY_BLOCK * KEY_BLOCK; j0 < key_end; j0 += KEY_BLOCK) {
    const int live = min(KEY_BLOCK, w->end - j0);
    for (int c = 0; c < ROUND_UP(live, PANEL); c += VECTOR) {
      LOAD_PANEL(k, *k_place, HEAD_D, D_PAD, k_panels);
#if EXACT_DELTA
      LOAD_PANEL(v, *v_place, HEAD_DV, DV_PAD, v_panels);
#endif
    }
    for (int r = 0; r < rows; r += TILE_ROWS) {
      const int i = i0 + r, i_last = min(i + TILE_ROWS - 1, last);
      const int lo = max(first_key(w, i) - j0, 0), hi = min(end_key(w, i_last) - j0, live);
      if (lo >= hi) continue;
      const int c0 = lo / PANEL * PANEL, c1 = ROUND_UP(hi, PANEL);
      const int edge = j0 + c0 < first_key(w, i_last) || j0 + c1 > end_key(w, i);
      for (int c = c0; c < c1; c += PANEL) {
        score_panel(qs + r * D_PAD, k_panels + c * D_PAD, s + c, KEY_BLOCK);
#if EXACT_DELTA
        scores_2(douts + r * DV_PAD, DV_PAD, 1, v_panels + c * DV_PAD, PANEL, HEAD_DV, dp + c, KEY_BLOCK, 0);
#endif
      }
      for (int t = 0; t < TILE_ROWS && r + t < rows; ++t) {
        query_row row;
        get_row(pr, w, b, h, i + t, &row);
        if (edge)
          add_to_row(pr, &row, j0, c0, c1, 1, s + t * KEY_BLOCK, dp + t * KEY_BLOCK, r + t, sums);
        else
          add_to_row(pr, &row, j0, c0, c1, 0, s + t * KEY_BLOCK, dp + t * KEY_BLOCK, r + t, sums);
      }
    }
  }
}

#if !EXACT_DELTA
// Products of VECTOR rows of dO with those of O, each summed in the order in which the walk sums dP: where one key has all the weight,
// O is its v, and dP - δ must be 0 to the bit, since a q of thousands would make a gradient of what is left.
INLINE floatv dot_rows(const float *dout_rows, const float *out_rows) {
  floatv sum = 0;
  for (int d = 0; d < DV_PAD; d += VECTOR) {
    floatv x[VECTOR], y[VECTOR];
    UNROLL for (int r = 0; r < VECTOR; ++r) {
      x[r] = VLOAD(dout_rows + r * DV_PAD + d);
      y[r] = VLOAD(out_rows + r * DV_PAD + d);
    }
    transpose(x);
    transpose(y);
    UNROLL for (int c = 0; c < VECTOR; ++c) sum += x[c] * y[c];
  }
  return sum;
}
#endif

// Rows of heads that lie side by side are far apart in memory, so that the processor does not see which one comes next.
INLINE void prefetch_row(__global const TYPE(X_DTYPE) *x, idx at, int width) {
  for (int d = 0; d < width; d += 64 / (int)sizeof(TYPE(X_DTYPE))) PREFETCH_READ(x + at + d);
}

// What the walk needs of each row, stats (shift Inf and so p = 0 where it has no keys), and q times Q_FACTOR and dO,
// packed; zeros for rows without keys and past the end. bad: Q_BAD and DOUT_BAD of each block.
// global: slots x group x ceil(queries / QUERY_BLOCK)
ONE_ITEM __kernel void attention_fused_bwd_rows(CALL_ARGUMENTS, IN_TENSOR(q), IN_TENSOR(k), IN_TENSOR(v),
                                                IN_TENSOR(out), IN_TENSOR(dout), __global const float *lse, __global float *qs,
                                                __global float *douts, __global float *stats, __global int *bad) {
  const problem pr = PROBLEM;
  const int blocks = (pr.queries + QUERY_BLOCK - 1) / QUERY_BLOCK, item = get_global_id(0);
  const int slot = pr.slot0 + item / blocks / pr.group, b = slot / pr.kv_heads, hk = slot % pr.kv_heads;
  const int h = hk * pr.group + item / blocks % pr.group;
  const int i0 = item % blocks * QUERY_BLOCK, rows = min(QUERY_BLOCK, pr.queries - i0);
  struct reach w;
  reach_of(&call.reach, kv_lengths, b, &w);
  const size_t first = (size_t)(item / blocks) * QUERIES_PAD(pr.queries) + i0;
  lse += (idx)call.lse_offset + (b * (idx)call.heads + h) * (idx)pr.queries + i0;
  qs += first * D_PAD;
  douts += first * DV_PAD;
  stats += first * 4;

  floatv q_gathered = 0, dout_gathered = 0;
  int resum = EXACT_DELTA; // lse and out do not tell what the walk needs
  for (int r0 = 0; r0 < ROUND_UP(rows, TILE_ROWS); r0 += VECTOR) {
    const int here = min(VECTOR, ROUND_UP(rows, TILE_ROWS) - r0);
    for (int r = r0 ? r0 + VECTOR : 0; r < min(rows, r0 + 2 * VECTOR); ++r) {
      prefetch_row(q, ROW_AT(call.q, b, h, i0 + r), HEAD_D);
      prefetch_row(dout, ROW_AT(call.dout, b, h, i0 + r), HEAD_DV);
      prefetch_row(out, ROW_AT(call.out, b, h, i0 + r), HEAD_DV);
    }
    float q_row_[D_PAD], dout_rows[VECTOR * DV_PAD], delta[VECTOR];
    zero_row(VECTOR * DV_PAD, dout_rows);
#if !EXACT_DELTA
    float out_rows[VECTOR * DV_PAD];
    zero_row(VECTOR * DV_PAD, out_rows);
#endif
    for (int r = r0; r < r0 + here; ++r) {
      float *dout_row_ = dout_rows + (r - r0) * DV_PAD;
      zero_row(HEAD_D, q_row_);
      if (r < rows && lse[r] != -INFINITY) {
        load_row(q, ROW_AT(call.q, b, h, i0 + r), HEAD_D, Q_FACTOR(&pr), q_row_, &q_gathered);
        load_row(dout, ROW_AT(call.dout, b, h, i0 + r), HEAD_DV, 1, dout_row_, &dout_gathered);
#if !EXACT_DELTA
        floatv gathered = 0;
        load_row(out, ROW_AT(call.out, b, h, i0 + r), HEAD_DV, 1, out_rows + (r - r0) * DV_PAD, &gathered);
#endif
        resum |= LSE_IS_COARSE(lse[r]);
      }
      for (int d = 0; d < D_PAD; d += VECTOR) VSTORE(VLOAD(q_row_ + d), qs + r * D_PAD + d);
      for (int d = 0; d < DV_PAD; d += VECTOR) VSTORE(VLOAD(dout_row_ + d), douts + r * DV_PAD + d);
    }
#if EXACT_DELTA
    VSTORE((floatv)0, delta);
#else
    VSTORE(dot_rows(dout_rows, out_rows), delta);
#endif
    for (int r = r0; r < r0 + here; ++r) {
      const int live = r < rows && lse[r] != -INFINITY;
      vstore4((float4)(live ? lse[r] / SCORE_TO_LN : INFINITY, 1, delta[r - r0], 0), r, stats);
    }
  }
  bad[item] = (is_bad(q_gathered) ? Q_BAD : 0) | (is_bad(dout_gathered) ? DOUT_BAD : 0);

  row_sums sums;
  if (resum) find_row_sums(&pr, &w, qs, douts, k, &call.k, v, &call.v, b, hk, h, i0, rows, &sums);
  for (int r = 0; r < rows; ++r) {
    if (lse[r] == -INFINITY) continue;
    query_row row;
    get_row(&pr, &w, b, h, i0 + r, &row);
    float4 st = vload4(r, stats);
    if (EXACT_DELTA || LSE_IS_COARSE(lse[r])) {
      st.s0 = sums.largest[r] == -INFINITY ? 0 : sums.largest[r];
      st.s1 = 1 / sums.sum[r];
      if (EXACT_DELTA) st.s2 = sums.weighted[r] * st.s1;
    }
    st.s3 = has_one_key(&pr, &row) && isfinite(st.s1) && isfinite(st.s2);
    vstore4(st, r, stats);
  }
}

// ---- the walk

// One row of a tile, columns c0 to c1: scores become weights (with dropout), dP becomes dS.
// careful: a weight of 0 must hide what stands in dP, which may be NaN.
INLINE void gradients_of_row(const problem *pr, const query_row *row, float4 st, int j0, int c0, int c1, int edge,
                             int careful, const float *z, float *p, float *ds) {
  for (int c = c0; c < c1; c += VECTOR) {
    floatv x = VLOAD(p + c), dp = VLOAD(ds + c);
#if SOFTCAP
    const floatv slope = SOFTCAP_SLOPE(exp2_of(fabs(x) * (-2 * LOG2E)));
    x = CAPPED(pr, x);
#endif
    x = mask_scores(pr, row, x, j0 + c, edge);
    const floatv e = EXP_OF(x - st.s0);
    floatv weight = e * st.s1, dropped = weight;
    if (careful) dropped = weight = e == 0 ? (floatv)0 : weight;
#if DROPOUT
    const floatv keep = VLOAD(z + c - c0);
    dropped = keep == 0 ? (floatv)0 : weight * keep;
    dp = keep == 0 ? (floatv)0 : dp * keep;
#endif
    floatv gradient = weight * (dp - st.s2);
#if SOFTCAP
    gradient *= slope;
#endif
    if (careful) gradient = weight == 0 ? (floatv)0 : gradient;
    VSTORE(dropped, p + c);
    VSTORE(gradient, ds + c);
  }
  if (st.s3 != 0)
    for (int c = c0; c < c1; c += VECTOR) VSTORE((floatv)0, ds + c);
}

// sum += wᵀ x for TILE_ROWS keys from column c on, over n rows.
INLINE void add_to_keys(const float *w, __global const float *x, int n, int width, int bad, float *sum) {
  if (bad) {
    product_keys_sparse(w, 1, KEY_BLOCK, x, width, n, sum, width, TILE_ROWS, width);
    return;
  }
  NO_UNROLL for (int d = 0; d < width; d += PANEL)
    if (d + PANEL <= width)
      product_keys_2(w, 1, KEY_BLOCK, x + d, width, n, sum + d, width, 1);
    else
      product_keys_1(w, 1, KEY_BLOCK, x + d, width, n, sum + d, width, 1);
}

// The run of row tiles that touch columns c to c + TILE_ROWS; what these tiles left unwritten there becomes 0.
INLINE int2 tiles_of_columns(const int *c_first, const int *c_end, int tiles, int c, float *p, float *ds) {
  int2 run = (int2)(tiles, 0);
  for (int g = 0; g < tiles; ++g)
    if (c_first[g] < c + TILE_ROWS && c_end[g] > c) run = (int2)(min(run.x, g), g + 1);
  for (int g = run.x; g < run.y; ++g) {
    if (c_first[g] <= c && c_end[g] >= c + TILE_ROWS) continue;
    for (int e = c; e < c + TILE_ROWS; ++e)
      if (e < c_first[g] || e >= c_end[g])
        for (int r = g * TILE_ROWS; r < (g + 1) * TILE_ROWS; ++r) p[r * KEY_BLOCK + e] = ds[r * KEY_BLOCK + e] = 0;
  }
  return run;
}

// qs, douts, stats: rows [slots x group][QUERIES_PAD] of D_PAD, DV_PAD and 4; dq_parts: such rows of D_PAD for each split.
// global: slots x splits
ONE_ITEM __kernel void attention_fused_bwd_walk(CALL_ARGUMENTS, IN_TENSOR(k), IN_TENSOR(v),
                                                __global const float *qs, __global const float *douts,
                                                __global const float *stats, __global const int *bad,
                                                __global float *dq_parts, OUT_TENSOR(dk), OUT_TENSOR(dv)) {
  const problem pr = PROBLEM;
  const int item = get_global_id(0), splits = call.splits, split = item % splits, wants = call.wants;
  const int slot = pr.slot0 + item / splits, b = slot / pr.kv_heads, hk = slot % pr.kv_heads;
  const int wants_ds = wants & (WANTS_DQ | WANTS_DK);
  struct reach w;
  reach_of(&call.reach, kv_lengths, b, &w);
  const int blocks = (pr.queries + QUERY_BLOCK - 1) / QUERY_BLOCK;
  const size_t head_rows = QUERIES_PAD(pr.queries), head0 = (size_t)(slot - pr.slot0) * pr.group;

  float k_panels[KEY_BLOCK * D_PAD], v_panels[KEY_BLOCK * DV_PAD], k_rows[KEY_BLOCK * D_PAD];
  float dk_sum[KEY_BLOCK * D_PAD], dv_sum[KEY_BLOCK * DV_PAD];
  float p[QUERY_BLOCK * KEY_BLOCK], ds[QUERY_BLOCK * KEY_BLOCK];

  if (!wants_ds) zero_row(QUERY_BLOCK * KEY_BLOCK, ds);
  dq_parts += (split * call.slots + (slot - pr.slot0)) * pr.group * head_rows * D_PAD;
  if (wants & WANTS_DQ)
    for (size_t x = 0; x < pr.group * head_rows * D_PAD; x += VECTOR) VSTORE((floatv)0, dq_parts + x);

  for (int j0 = split * KEY_BLOCK; j0 < pr.keys; j0 += splits * KEY_BLOCK) {
    const int keys_here = min(KEY_BLOCK, pr.keys - j0), live = clamp(w.end - j0, 0, keys_here);
    const int padded = ROUND_UP(live, PANEL);
    floatv k_gathered = 0, v_gathered = 0; // keys at or past the length are taken as zeros
    for (int c = 0; c < padded; c += VECTOR) {
      float v_rows[VECTOR * DV_PAD];
      for (int r = 0; r < VECTOR; ++r)
        if (c + r < live) {
          load_row(k, ROW_AT(call.k, b, hk, j0 + c + r), HEAD_D, 1, k_rows + (c + r) * D_PAD, &k_gathered);
          load_row(v, ROW_AT(call.v, b, hk, j0 + c + r), HEAD_DV, 1, v_rows + r * DV_PAD, &v_gathered);
        } else {
          zero_row(HEAD_D, k_rows + (c + r) * D_PAD);
          zero_row(HEAD_DV, v_rows + r * DV_PAD);
        }
      to_panel(k_rows + c * D_PAD, D_PAD, k_panels + c / PANEL * (D_PAD * PANEL) + c % PANEL);
      to_panel(v_rows, DV_PAD, v_panels + c / PANEL * (DV_PAD * PANEL) + c % PANEL);
    }
    const int k_bad = is_bad(k_gathered), v_bad = is_bad(v_gathered);
    zero_row(KEY_BLOCK * D_PAD, dk_sum);
    zero_row(KEY_BLOCK * DV_PAD, dv_sum);

    for (int hg = 0; hg < pr.group; ++hg) {
      const int h = hk * pr.group + hg;
      for (int i0 = 0; i0 < pr.queries; i0 += QUERY_BLOCK) {
        const int rows = min(QUERY_BLOCK, pr.queries - i0), last = i0 + rows - 1;
        if (max(first_key(&w, i0), j0) >= min(end_key(&w, last), j0 + live)) continue; // no pair in this block
        const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, rows_bad = bad[(head0 + hg) * blocks + i0 / QUERY_BLOCK];
        const size_t first = (head0 + hg) * head_rows + i0;
        __global const float *q_block = qs + first * D_PAD, *dout_block = douts + first * DV_PAD;

        int c_first[TILES], c_end[TILES]; // columns that each tile of rows computed
        for (int g = 0; g < tiles; ++g) {
          const int i = i0 + g * TILE_ROWS, i_last = min(i + TILE_ROWS - 1, last);
          const int lo = max(first_key(&w, i) - j0, 0), hi = min(end_key(&w, i_last) - j0, live);
          float *p_tile = p + g * TILE_ROWS * KEY_BLOCK, *ds_tile = ds + g * TILE_ROWS * KEY_BLOCK;
          c_first[g] = c_end[g] = 0;
          if (lo >= hi) continue;
          const int c0 = lo / PANEL * PANEL, c1 = ROUND_UP(hi, PANEL);
          const int edge = j0 + c0 < first_key(&w, i_last) || j0 + c1 > end_key(&w, i);
          c_first[g] = c0;
          c_end[g] = c1;
          for (int c = c0; c < c1; c += PANEL) {
            score_panel(q_block + g * TILE_ROWS * D_PAD, k_panels + c * D_PAD, p_tile + c, KEY_BLOCK);
            if (wants_ds)
              scores_2(dout_block + g * TILE_ROWS * DV_PAD, DV_PAD, 1, v_panels + c * DV_PAD, PANEL, HEAD_DV, ds_tile + c,
                        KEY_BLOCK, 0);
          }
          for (int t = 0; t < TILE_ROWS; ++t) {
            query_row row;
            get_row(&pr, &w, b, h, min(i + t, last), &row);
            const float4 st = vload4(first + g * TILE_ROWS + t, stats);
            float *p_row = p_tile + t * KEY_BLOCK, *ds_row = ds_tile + t * KEY_BLOCK;
            const float *z = 0;
#if DROPOUT
            float factors[KEY_BLOCK + 32];
            dropout_factors(&pr, &row, j0 + c0, c1 - c0, factors);
            z = factors;
#endif
            if (MASK || edge || k_bad || v_bad || rows_bad || isnan(st.s1))
              gradients_of_row(&pr, &row, st, j0, c0, c1, 1, 1, z, p_row, ds_row);
            else
              gradients_of_row(&pr, &row, st, j0, c0, c1, 0, 0, z, p_row, ds_row);
          }
          if (!(wants & WANTS_DQ)) continue;
          __global float *dq = dq_parts + (hg * head_rows + i) * D_PAD;
          if (k_bad)
            product_dq_sparse(ds_tile + lo, KEY_BLOCK, 1, k_rows + lo * D_PAD, D_PAD, hi - lo, dq, D_PAD, TILE_ROWS,
                              D_PAD);
          else
            NO_UNROLL for (int d = 0; d < D_PAD; d += PANEL)
              if (d + PANEL <= D_PAD)
                product_dq_2(ds_tile + lo, KEY_BLOCK, 1, k_rows + lo * D_PAD + d, D_PAD, hi - lo, dq + d, D_PAD, 1);
              else
                product_dq_1(ds_tile + lo, KEY_BLOCK, 1, k_rows + lo * D_PAD + d, D_PAD, hi - lo, dq + d, D_PAD, 1);
        }

        for (int c = 0; c < padded; c += TILE_ROWS) {
          const int2 run = tiles_of_columns(c_first, c_end, tiles, c, p, ds);
          const int r0 = run.x * TILE_ROWS, n = (run.y - run.x) * TILE_ROWS;
          if (n <= 0) continue;
          if (wants & WANTS_DV)
            add_to_keys(p + r0 * KEY_BLOCK + c, dout_block + r0 * DV_PAD, n, DV_PAD, rows_bad & DOUT_BAD, dv_sum + c * DV_PAD);
          if (wants & WANTS_DK)
            add_to_keys(ds + r0 * KEY_BLOCK + c, q_block + r0 * D_PAD, n, D_PAD, rows_bad & Q_BAD, dk_sum + c * D_PAD);
        }
      }
    }
    for (int c = 0; c < keys_here; ++c) {
      if (wants & WANTS_DK)
        store_row(dk_sum + c * D_PAD, HEAD_D, DK_FACTOR(&pr), dk, ROW_AT(call.dk, b, hk, j0 + c));
      if (wants & WANTS_DV) store_row(dv_sum + c * DV_PAD, HEAD_DV, 1, dv, ROW_AT(call.dv, b, hk, j0 + c));
    }
  }
}

// dQ = scale times the sum of the splits' parts, in their order. global: slots x group x ceil(queries / QUERY_BLOCK)
ONE_ITEM __kernel void attention_fused_bwd_dq(CALL_ARGUMENTS, __global const float *dq_parts, OUT_TENSOR(dq)) {
  const problem pr = PROBLEM;
  const int tiles = (pr.queries + QUERY_BLOCK - 1) / QUERY_BLOCK, item = get_global_id(0);
  const int slot = pr.slot0 + item / tiles / pr.group, b = slot / pr.kv_heads;
  const int h = slot % pr.kv_heads * pr.group + item / tiles % pr.group;
  const int i0 = item % tiles * QUERY_BLOCK, rows = min(QUERY_BLOCK, pr.queries - i0);
  const size_t head_size = (size_t)QUERIES_PAD(pr.queries) * D_PAD;
  dq_parts += item / tiles * head_size;
  for (int i = i0; i < i0 + rows; ++i) {
    float row[D_PAD];
    for (int d = 0; d < D_PAD; d += VECTOR) {
      floatv total = 0;
      for (int s = 0; s < call.splits; ++s)
        total += VLOAD(dq_parts + (size_t)s * call.slots * pr.group * head_size + (size_t)i * D_PAD + d);
      VSTORE(total, row + d);
    }
    store_row(row, HEAD_D, call.scale, dq, ROW_AT(call.dq, b, h, i));
  }
}
