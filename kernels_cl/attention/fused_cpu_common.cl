// Fused attention on CPUs, what its kernels share: the problem and its key ranges, masks, exp and tanh, register tiles.
//
// The method is FlashAttention-2 (Dao 2023, arXiv 2307.08691): scores never leave the cache, the softmax runs online over blocks
// of keys, and the backward forms them anew. Symbols are the paper's: s = scores, p = weights, lse = log-sum-exp of a row,
// dP = dO vᵀ, dS = p (dP − δ), δ = rowsum(dO ∘ O). On a CPU one work-item takes what a work-group takes there; registers hold a
// tile of TILE_ROWS x PANEL accumulators, the first cache a block of scores, the second the rows and keys of one work-item.
//
// check with: -DVECTOR=16 -DTILE_ROWS=12
// check with: -DVECTOR=8 -DHEAD_D=33 -DHEAD_DV=7 -DMASK=1 -DMASK_DTYPE=BOOL -DX_DTYPE=F16 -DDROPOUT=1
// check with: -DVECTOR=4 -DTILE_ROWS=8 -DMASK=2 -DMASK_DTYPE=F16 -DX_DTYPE=BF16 -DLENGTH_DTYPE=I64 -DSOFTCAP=1
#pragma OPENCL FP_CONTRACT ON
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef HEAD_D
#define HEAD_D 64 // width of q and k
#endif
#ifndef HEAD_DV
#define HEAD_DV HEAD_D // width of v
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 6
#endif
#ifndef MASK
#define MASK 0 // 1: BOOL, 2: added to the scores
#endif

#define PANEL (2 * VECTOR) // columns of a register tile: two vectors. A packed panel lies [D_PAD][PANEL]
#define ROUND_UP(n, m) (((n) + (m) - 1) / (m) * (m))
#define D_PAD ROUND_UP(HEAD_D, VECTOR) // rows in private memory end on a vector
#define DV_PAD ROUND_UP(HEAD_DV, VECTOR)
#define INLINE static inline __attribute__((always_inline))
#define ONE_ITEM __attribute__((reqd_work_group_size(1, 1, 1)))
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("nounroll")
#include "attention/options.cl"

// ---- rows of vectors

// Halving keeps the sum and the maximum of a vector in vector registers.
#define FOLD_4(x, combine) combine(combine((x).s0, (x).s1), combine((x).s2, (x).s3))
#define FOLD_8(x, combine) FOLD_4(combine((x).lo, (x).hi), combine)
#define FOLD_16(x, combine) FOLD_8(combine((x).lo, (x).hi), combine)
#define PLUS(a, b) ((a) + (b))
INLINE float sum_of(floatv x) { return HEED_JOIN(FOLD_, VECTOR)(x, PLUS); }
INLINE float max_of(floatv x) { return HEED_JOIN(FOLD_, VECTOR)(x, fmax); }

// NaN and Inf are gathered as x · 0, which is NaN for them, and looked for at the end of a block.
INLINE int is_bad(floatv gathered) { return sum_of(gathered) != 0; }

// Row `at` of a tensor, times `factor`, into `to`, zero up to the next vector.
INLINE void load_row(__global const TYPE(X_DTYPE) *x, idx at, int width, float factor, float *to, floatv *gathered) {
  for (int d = 0; d < width; d += VECTOR) {
    const floatv value = LOADV(X_DTYPE, x, at + d, at + width, 0);
    *gathered += value * 0;
    VSTORE(value * factor, to + d);
  }
}
INLINE void zero_row(int width, float *to) {
  for (int d = 0; d < width; d += VECTOR) VSTORE((floatv)0, to + d);
}
INLINE void store_row(const float *from, int width, float factor, __global TYPE(X_DTYPE) *x, idx at) {
  for (int d = 0; d < width; d += VECTOR) STOREV(X_DTYPE, x, at + d, at + width, VLOAD(from + d) * factor);
}

// Transposes VECTOR vectors: log2(VECTOR) perfect shuffles, each of which interleaves the two halves of the rows.
INLINE void transpose(floatv *x) {
  floatv y[VECTOR];
  UNROLL for (int s = 1; s < VECTOR; s *= 2) {
    UNROLL for (int r = 0; r < VECTOR / 2; ++r) {
      y[2 * r].even = x[r].lo;
      y[2 * r].odd = x[r + VECTOR / 2].lo;
      y[2 * r + 1].even = x[r].hi;
      y[2 * r + 1].odd = x[r + VECTOR / 2].hi;
    }
    UNROLL for (int r = 0; r < VECTOR; ++r) x[r] = y[r];
  }
}

// VECTOR rows of `width` floats, a multiple of VECTOR, become VECTOR columns of a panel, which lies [width][PANEL].
#define DEFINE_TO_PANEL(name, SPACE)                                                              \
  INLINE void name(const float *rows, int width, SPACE float *panel) {                            \
    NO_UNROLL for (int d = 0; d < width; d += VECTOR) {                                           \
      floatv square[VECTOR];                                                                      \
      UNROLL for (int r = 0; r < VECTOR; ++r) square[r] = VLOAD(rows + r * width + d);            \
      transpose(square);                                                                          \
      UNROLL for (int c = 0; c < VECTOR; ++c) VSTORE(square[c], panel + (d + c) * PANEL);         \
    }                                                                                             \
  }

// ---- functions

// 2^x, relative error about 1e-7 for x < 128; x <= -127 and -Inf give 0, NaN stays NaN.
// x = n + f with |f| <= 1/2: adding `magic` leaves n + 127 in the low bits of the sum, and the shift moves it into the exponent;
// n = -127 makes the factor 0, so that nothing needs to be flushed.
INLINE floatv exp2_of(floatv x) {
  const float magic = 12582912.0f + 127.0f;
  x = x < -127.0f ? (floatv)-127.0f : x; // written so that NaN passes
  const floatv t = x + magic, f = x - (t - magic);
  floatv y = (floatv)1.545316336e-04f;
  y = y * f + 1.339086331e-03f;
  y = y * f + 9.618083015e-03f;
  y = y * f + 5.550356954e-02f;
  y = y * f + 2.402265072e-01f;
  y = y * f + 6.931471825e-01f;
  y = y * f + 1.0f;
  return y * AS_FLOATV(AS_INTV(t) << 23);
}
#define LOG2E 1.44269504088896341f
#define LN2 0.69314718055994531f

// tanh, relative error about 1e-7: an odd polynomial near 0, where 1 - 2 / (1 + e^2x) would cancel.
INLINE floatv tanh_of(floatv x) {
  const floatv u = x * x, a = fabs(x);
  floatv y = (floatv)-6.269119680e-03f;
  y = y * u + 2.111095935e-02f;
  y = y * u - 5.387394875e-02f;
  y = y * u + 1.333291531e-01f;
  y = y * u - 3.333333135e-01f;
  const floatv small = x + x * u * y;
  const floatv e = exp2_of(a * (-2.0f * LOG2E));
  const floatv large = copysign((1.0f - e) / (1.0f + e), x);
  return a < 0.6f ? small : large; // NaN: the comparison is false, and large is NaN
}

// Units of scores. Without an added mask they carry a factor log2(e), so that exp is one exp2. An added mask may hold
// -FLT_MAX, which that factor would make -Inf: there scores stay natural, and differences take the factor.
#if MASK == 2
#define SCORE_UNIT 1.0f
#define SCORE_TO_LN 1.0f
#define EXP_OF(difference) exp2_of((difference)*LOG2E)
#else
#define SCORE_UNIT LOG2E
#define SCORE_TO_LN LN2
#define EXP_OF(difference) exp2_of(difference)
#endif
// softcap(x) = c tanh(x / c). q is loaded times Q_FACTOR, so a product with k is x / c in natural units, or x in score units.
#if SOFTCAP
#define Q_FACTOR(pr) ((pr)->scale / (pr)->softcap)
#define CAPPED(pr, x) (tanh_of(x) * ((pr)->softcap * SCORE_UNIT))
#else
#define Q_FACTOR(pr) ((pr)->scale * SCORE_UNIT)
#define CAPPED(pr, x) (x)
#endif

// ---- what a call is

#define IN_TENSOR(name) __global const TYPE(X_DTYPE) *name
#define OUT_TENSOR(name) __global TYPE(X_DTYPE) *name
#define ROW_AT(place, b, h, i) \
  ((idx)(place).offset + (b) * (idx)(place).stride0 + (h) * (idx)(place).stride1 + (i) * (idx)(place).stride2)

// The numbers that inner loops need, as short as they may be here.
typedef struct {
  int slot0, kv_heads, group, queries, keys;
  float scale, softcap;
  __global const TYPE(MASK_DTYPE) *mask;
  idx mask_batch, mask_head, mask_row, mask_key;
  uint seed_low, seed_high, drop_threshold;
  float drop_scale;
} problem;
#define PROBLEM                                                                                                      \
  {                                                                                                                  \
    .slot0 = call.slot0, .kv_heads = call.kv_heads, .group = call.group, .queries = call.reach.queries,              \
    .keys = call.reach.keys, .scale = call.scale, .softcap = call.softcap, .mask = mask + call.mask.offset,          \
    .mask_batch = call.mask.stride0, .mask_head = call.mask.stride1, .mask_row = call.mask.stride2,                  \
    .mask_key = call.mask_stride3, .seed_low = call.seed_low, .seed_high = call.seed_high,                           \
    .drop_threshold = call.dropout_threshold, .drop_scale = call.dropout_scale                                       \
  }

// One query row: its range of keys and its place in the mask.
typedef struct {
  int b, h, i, lo, hi, length;
  idx mask_at;
} query_row;
INLINE void get_row(const problem *pr, const struct reach *w, int b, int h, int i, query_row *row) {
  row->b = b;
  row->h = h;
  row->i = i;
  row->lo = first_key(w, i);
  row->hi = end_key(w, i);
  row->length = w->end;
  row->mask_at = b * pr->mask_batch + h * pr->mask_head + i * pr->mask_row;
}

#if MASK
INLINE float mask_at(const problem *pr, const query_row *row, int j) {
#if MASK == 1
  return pr->mask[row->mask_at + j * pr->mask_key];
#else
  return LOAD(MASK_DTYPE, pr->mask, row->mask_at + j * pr->mask_key);
#endif
}
// VECTOR elements of a row of the mask; what is past its length does not matter, but is not read.
INLINE floatv load_mask(const problem *pr, const query_row *row, int j) {
  if (pr->mask_key == 1 && j + VECTOR <= row->length) {
#if MASK == 1
    return HEED_JOIN(convert_float, VECTOR)(VLOAD(pr->mask + row->mask_at + j));
#else
    return LOADV(MASK_DTYPE, pr->mask, row->mask_at + j, row->mask_at + row->length, 0);
#endif
  }
  if (pr->mask_key == 0) return (floatv)mask_at(pr, row, 0);
  float part[VECTOR];
  for (int lane = 0; lane < VECTOR; ++lane) part[lane] = j + lane < row->length ? mask_at(pr, row, j + lane) : 0;
  return VLOAD(part);
}
#endif

// Scores of keys j, j + 1, …: the mask applied, -Inf where not allowed, so that a NaN of a masked key ends here.
// edge: whether the row's range may end among them.
INLINE floatv mask_scores(const problem *pr, const query_row *row, floatv s, int j, int edge) {
#if MASK == 1
  s = load_mask(pr, row, j) != 0 ? s : (floatv)-INFINITY;
#elif MASK == 2
  const floatv bias = load_mask(pr, row, j);
  s = bias == -INFINITY ? bias : s + bias;
#endif
  if (edge) {
    const intv key = LANES + j;
    s = key >= row->lo && key < row->hi ? s : (floatv)-INFINITY;
  }
  return s;
}

#if DROPOUT
DEFINE_PHILOX(uint8, ulong8)

// Factors of dropout for keys j to j + n of a row, j a multiple of 4: 0 or 1 / (1 - rate). z has room for n rounded up to 32.
INLINE void dropout_factors(const problem *pr, const query_row *row, int j, int n, float *z) {
  for (int c = 0; c < n; c += 32) {
    uint8 word[4] = {(uint8)(0, 1, 2, 3, 4, 5, 6, 7) + ((uint)(j + c) >> 2), (uint8)(uint)row->i, (uint8)(uint)row->h,
                     (uint8)(uint)row->b};
    philox_uint8(pr->seed_low, pr->seed_high, word);
    uint16 even, odd, both; // word w of counter n belongs to key 4 n + w
    even.even = word[0];
    even.odd = word[2];
    odd.even = word[1];
    odd.odd = word[3];
    both.even = even.lo;
    both.odd = odd.lo;
    vstore16(both >= pr->drop_threshold ? (float16)pr->drop_scale : (float16)0, 0, z + c);
    both.even = even.hi;
    both.odd = odd.hi;
    vstore16(both >= pr->drop_threshold ? (float16)pr->drop_scale : (float16)0, 1, z + c);
  }
}
#endif

// ---- register tiles: c[TILE_ROWS][columns] (+)= Σ_t a(r, t) b[t][columns], where a(r, t) = a[r a_row + t a_step]

// name_2: PANEL columns, name_1: VECTOR columns. a is read as scalars and b as vectors; the sums stay in registers and are added to
// c at the end, so that long sums are made in blocks.
// name_sparse: any number of rows and columns, leaving out where a is 0, so that NaN in b passes only where it belongs. Slow,
// and only for blocks that hold NaN or Inf.
#define DEFINE_TILE(name, A_SPACE, B_SPACE, C_SPACE)                                                                 \
  INLINE void name##_2(A_SPACE const float *a, int a_row, int a_step, B_SPACE const float *b, int b_step, int n,     \
                       C_SPACE float *c, int c_row, int add) {                                                       \
    floatv sum0[TILE_ROWS], sum1[TILE_ROWS];                                                                         \
    UNROLL for (int r = 0; r < TILE_ROWS; ++r) sum0[r] = sum1[r] = 0;                                                \
    NO_UNROLL for (int t = 0; t < n; ++t) {                                                                          \
      const floatv b0 = VLOAD(b + (long)t * b_step), b1 = VLOAD(b + (long)t * b_step + VECTOR);                      \
      UNROLL for (int r = 0; r < TILE_ROWS; ++r) {                                                                   \
        const float x = a[r * a_row + t * a_step];                                                                   \
        sum0[r] += x * b0;                                                                                           \
        sum1[r] += x * b1;                                                                                           \
      }                                                                                                              \
    }                                                                                                                \
    UNROLL for (int r = 0; r < TILE_ROWS; ++r) {                                                                     \
      VSTORE(add ? VLOAD(c + r * c_row) + sum0[r] : sum0[r], c + r * c_row);                                         \
      VSTORE(add ? VLOAD(c + r * c_row + VECTOR) + sum1[r] : sum1[r], c + r * c_row + VECTOR);                       \
    }                                                                                                                \
  }                                                                                                                  \
  INLINE void name##_1(A_SPACE const float *a, int a_row, int a_step, B_SPACE const float *b, int b_step, int n,     \
                       C_SPACE float *c, int c_row, int add) {                                                       \
    floatv sum[TILE_ROWS];                                                                                           \
    UNROLL for (int r = 0; r < TILE_ROWS; ++r) sum[r] = 0;                                                           \
    NO_UNROLL for (int t = 0; t < n; ++t) {                                                                          \
      const floatv b0 = VLOAD(b + (long)t * b_step);                                                                 \
      UNROLL for (int r = 0; r < TILE_ROWS; ++r) sum[r] += a[r * a_row + t * a_step] * b0;                           \
    }                                                                                                                \
    UNROLL for (int r = 0; r < TILE_ROWS; ++r)                                                                       \
      VSTORE(add ? VLOAD(c + r * c_row) + sum[r] : sum[r], c + r * c_row);                                           \
  }                                                                                                                  \
  void name##_sparse(A_SPACE const float *a, int a_row, int a_step, B_SPACE const float *b, int b_step, int n,       \
                     C_SPACE float *c, int c_row, int rows, int columns) {                                           \
    for (int r = 0; r < rows; ++r)                                                                                   \
      for (int t = 0; t < n; ++t) {                                                                                  \
        const float x = a[r * a_row + t * a_step];                                                                   \
        if (x == 0) continue;                                                                                        \
        for (int d = 0; d < columns; d += VECTOR)                                                                    \
          VSTORE(VLOAD(c + r * c_row + d) + x * VLOAD(b + (long)t * b_step + d), c + r * c_row + d);                 \
      }                                                                                                              \
  }

// s = q kᵀ for a tile of rows and the keys of one panel, by `product`, a tile of two vectors. exp turns the absolute error of a large
// score into a relative one, so the sum over the width is made in blocks: for 3 % of the time at a width of 64, half the error.
// Forward and backward must form the same bits: δ takes the weights that out was made of for those of the backward.
#define DEPTH_BLOCKS ((HEAD_D + 31) / 32)
#define DEPTH_BLOCK ((HEAD_D + DEPTH_BLOCKS - 1) / DEPTH_BLOCKS)
#define DEFINE_SCORE(name, product, A_SPACE, B_SPACE)                                                                \
  INLINE void name(A_SPACE const float *q, B_SPACE const float *panel, float *s, int s_row) {                        \
    NO_UNROLL for (int d = 0; d < HEAD_D; d += DEPTH_BLOCK)                                                          \
      product(q + d, D_PAD, 1, panel + d * PANEL, PANEL, min(DEPTH_BLOCK, HEAD_D - d), s, s_row, d > 0);             \
  }
