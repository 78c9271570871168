// Fused attention on CPUs, forward: out = softmax(scores) v and lse, FlashAttention-2's algorithm 1.
//
// k and v are packed once per key head, so that every tile reads them in order: blocks of KEY_BLOCK keys, k transposed into panels.
// A work-item takes QUERY_BLOCK rows of one head; blocks of keys are its outer loop, so that a block comes from memory once for all
// of these rows, and stays in the second cache meanwhile. Blocks, and panels inside them, that no row of a tile may attend are
// skipped. Sizes: a row of scores of a block times TILE_ROWS (at most 8 KB) fits the first cache; QUERY_BLOCK is what makes the loads of a
// block vanish behind its products.
//
// check with: -DVECTOR=16 -DTILE_ROWS=8
// check with: -DVECTOR=8 -DHEAD_D=33 -DHEAD_DV=7 -DMASK=1 -DMASK_DTYPE=BOOL -DX_DTYPE=F16 -DDROPOUT=1
// check with: -DVECTOR=4 -DTILE_ROWS=8 -DMASK=2 -DMASK_DTYPE=F16 -DX_DTYPE=BF16 -DLENGTH_DTYPE=I64 -DSOFTCAP=1
#include "attention/fused_cpu_common.cl"
#ifndef KEY_BLOCK
#define KEY_BLOCK 256 // a multiple of PANEL
#endif
#ifndef QUERY_BLOCK
#define QUERY_BLOCK (8 * TILE_ROWS)
#endif
// Floats of a packed block: k as [KEY_BLOCK / PANEL][D_PAD][PANEL], v as [columns / PANEL][KEY_BLOCK][PANEL], where the last chunk
// of columns may be one vector wide.
#define K_BLOCK_SIZE (KEY_BLOCK * D_PAD)
#define V_BLOCK_SIZE (KEY_BLOCK * DV_PAD)

DEFINE_TILE(product, , __global, )
DEFINE_SCORE(score_panel, product_2, , __global)
DEFINE_TO_PANEL(to_panel, __global)

// Packs one block of one key head. Keys at or past the length become zeros, so that NaN there cannot leak. v_bad: whether the
// block of v holds NaN or Inf. global: slots x blocks
ONE_ITEM __kernel void attention_fused_pack(CALL_ARGUMENTS, IN_TENSOR(k), IN_TENSOR(v), __global float *k_packed,
                                            __global float *v_packed, __global int *v_bad) {
  const problem pr = PROBLEM;
  const int blocks = (pr.keys + KEY_BLOCK - 1) / KEY_BLOCK, item = get_global_id(0);
  const int slot = pr.slot0 + item / blocks, hk = slot % pr.kv_heads, b = slot / pr.kv_heads;
  struct reach w;
  reach_of(&call.reach, kv_lengths, b, &w);
  const int first = item % blocks * KEY_BLOCK, live = clamp(w.end - first, 0, KEY_BLOCK);
  const int padded = min(ROUND_UP(live, PANEL), KEY_BLOCK);
  k_packed += (size_t)item * K_BLOCK_SIZE;
  v_packed += (size_t)item * V_BLOCK_SIZE;

  float rows[VECTOR * D_PAD];
  floatv k_gathered = 0, v_gathered = 0;
  for (int c = 0; c < padded; c += VECTOR) {
    for (int r = 0; r < VECTOR; ++r)
      if (c + r < live)
        load_row(k, ROW_AT(call.k, b, hk, first + c + r), HEAD_D, 1, rows + r * D_PAD, &k_gathered);
      else
        zero_row(HEAD_D, rows + r * D_PAD);
    to_panel(rows, D_PAD, k_packed + c / PANEL * (D_PAD * PANEL) + c % PANEL);
  }
  for (int c = 0; c < padded; ++c) {
    float row[DV_PAD];
    if (c < live)
      load_row(v, ROW_AT(call.v, b, hk, first + c), HEAD_DV, 1, row, &v_gathered);
    else
      zero_row(HEAD_DV, row);
    for (int d = 0; d < DV_PAD; d += VECTOR) {
      const int chunk = d / PANEL, width = min(PANEL, DV_PAD - chunk * PANEL);
      VSTORE(VLOAD(row + d), v_packed + chunk * (KEY_BLOCK * PANEL) + c * width + d % PANEL);
    }
  }
  v_bad[item] = is_bad(v_gathered);
}

// Masked scores of one row of a block, columns c0 to c1; returns the largest, which a NaN is not.
INLINE float mask_row_scores(const problem *pr, const query_row *row, int j0, int c0, int c1, int edge, float *s) {
  floatv largest = (floatv)-INFINITY;
  for (int c = c0; c < c1; c += VECTOR) {
    const floatv x = mask_scores(pr, row, CAPPED(pr, VLOAD(s + c)), j0 + c, edge);
    largest = x > largest ? x : largest;
    if (MASK || SOFTCAP || edge) VSTORE(x, s + c);
  }
  return max_of(largest);
}

// The online softmax: scores become weights relative to the largest score so far; what was summed under an older one is rescaled.
INLINE void softmax_row(const problem *pr, const query_row *row, int j0, int c0, int c1, int edge, float *s,
                        float *largest, float *sum, float *out) {
  const float before = *largest;
  const float now = fmax(before, edge ? mask_row_scores(pr, row, j0, c0, c1, 1, s)
                                      : mask_row_scores(pr, row, j0, c0, c1, 0, s));
  const float shift = now == -INFINITY ? 0 : now; // nothing attended yet: avoid -Inf + Inf
#if DROPOUT
  float z[KEY_BLOCK + 32];
  dropout_factors(pr, row, j0 + c0, c1 - c0, z);
#endif
  floatv total = 0;
  for (int c = c0; c < c1; c += VECTOR) {
    floatv p = EXP_OF(VLOAD(s + c) - shift);
    total += p;
#if DROPOUT
    p = VLOAD(z + c - c0) == 0 ? (floatv)0 : p * VLOAD(z + c - c0);
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

// out += p v for one tile of rows.
INLINE void add_values(const float *p, int lo, int hi, __global const float *v, int bad, float *out) {
  NO_UNROLL for (int d = 0; d < DV_PAD; d += PANEL) {
    const int width = d + PANEL <= DV_PAD ? PANEL : VECTOR;
    __global const float *chunk = v + d * KEY_BLOCK + lo * width;
    if (bad)
      product_sparse(p + lo, KEY_BLOCK, 1, chunk, width, hi - lo, out + d, DV_PAD, TILE_ROWS, width);
    else if (d + PANEL <= DV_PAD)
      product_2(p + lo, KEY_BLOCK, 1, chunk, PANEL, hi - lo, out + d, DV_PAD, 1);
    else
      product_1(p + lo, KEY_BLOCK, 1, chunk, VECTOR, hi - lo, out + d, DV_PAD, 1);
  }
}

// global: slots x group x ceil(queries / QUERY_BLOCK)
ONE_ITEM __kernel void attention_fused_fwd(CALL_ARGUMENTS, IN_TENSOR(q), __global const float *k_packed,
                                           __global const float *v_packed, __global const int *v_bad,
                                           OUT_TENSOR(out), __global float *lse) {
  const problem pr = PROBLEM;
  const int tiles = (pr.queries + QUERY_BLOCK - 1) / QUERY_BLOCK, item = get_global_id(0);
  const int slot = pr.slot0 + item / tiles / pr.group, b = slot / pr.kv_heads;
  const int h = slot % pr.kv_heads * pr.group + item / tiles % pr.group;
  // Causal tiles grow with their index: taking them from both ends in turn evens out the runs of items that a core gets.
  const int turn = item % tiles, tile = turn % 2 ? tiles - 1 - turn / 2 : turn / 2;
  const int i0 = tile * QUERY_BLOCK, rows = min(QUERY_BLOCK, pr.queries - i0), last = i0 + rows - 1;
  struct reach w;
  reach_of(&call.reach, kv_lengths, b, &w);
  const int blocks = (pr.keys + KEY_BLOCK - 1) / KEY_BLOCK;

  float qs[QUERY_BLOCK * D_PAD], o[QUERY_BLOCK * DV_PAD], s[TILE_ROWS * KEY_BLOCK];
  float largest[QUERY_BLOCK], sum[QUERY_BLOCK];
  floatv q_gathered = 0;
  for (int r = 0; r < ROUND_UP(rows, TILE_ROWS); ++r) {
    largest[r] = -INFINITY;
    sum[r] = 0;
    zero_row(HEAD_DV, o + r * DV_PAD);
    if (r < rows)
      load_row(q, ROW_AT(call.q, b, h, i0 + r), HEAD_D, Q_FACTOR(&pr), qs + r * D_PAD, &q_gathered);
    else
      zero_row(HEAD_D, qs + r * D_PAD);
  }

  const int key_end = end_key(&w, last);
  for (int j0 = first_key(&w, i0) / KEY_BLOCK * KEY_BLOCK; j0 < key_end; j0 += KEY_BLOCK) {
    const size_t block = (size_t)(slot - pr.slot0) * blocks + j0 / KEY_BLOCK;
    __global const float *k_block = k_packed + block * K_BLOCK_SIZE, *v_block = v_packed + block * V_BLOCK_SIZE;
    for (int r = 0; r < rows; r += TILE_ROWS) {
      const int i = i0 + r, i_last = min(i + TILE_ROWS - 1, last);
      const int lo = max(first_key(&w, i) - j0, 0), hi = min(end_key(&w, i_last) - j0, KEY_BLOCK);
      if (lo >= hi) continue;
      const int c0 = lo / PANEL * PANEL, c1 = ROUND_UP(hi, PANEL);
      const int edge = j0 + c0 < first_key(&w, i_last) || j0 + c1 > end_key(&w, i);
      for (int c = c0; c < c1; c += PANEL)
        score_panel(qs + r * D_PAD, k_block + c * D_PAD, s + c, KEY_BLOCK);
      for (int t = 0; t < TILE_ROWS; ++t) {
        query_row row;
        get_row(&pr, &w, b, h, min(i + t, last), &row);
        softmax_row(&pr, &row, j0, c0, c1, edge, s + t * KEY_BLOCK, &largest[r + t], &sum[r + t], o + (r + t) * DV_PAD);
      }
      add_values(s, lo, hi, v_block, v_bad[block], o + r * DV_PAD);
    }
  }

  for (int r = 0; r < rows; ++r) { // a row with nothing to attend: zeros and -Inf
    const float total = sum[r];
    store_row(o + r * DV_PAD, HEAD_DV, total == 0 ? 0 : 1 / total, out, ROW_AT(call.out, b, h, i0 + r));
    if (call.wants & WANTS_LSE)
      lse[(idx)call.lse_offset + (b * (idx)call.heads + h) * (idx)pr.queries + i0 + r] =
          total == 0 ? -INFINITY : largest[r] * SCORE_TO_LN + log(total);
  }
}
