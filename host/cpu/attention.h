// Attention on the host: the geometry of a call and the probabilities of one row, shared by forward and backward.
#ifndef HEED__CPU_ATTENTION_H
#define HEED__CPU_ATTENTION_H

#include "base/random.h"
#include "cpu/rows.h"

struct heed__cpu_attention {
  const struct heed__attention_params *params;
  const heed_tensor *q, *k, *v, *mask, *kv_lengths;
  int64_t batch, heads, kv_heads, group, queries, keys, dim, value_dim;
};

struct heed__cpu_attention heed__cpu_attention_of(const struct heed__call *call);

// The start of row (b, h, i) of a rank 4 tensor, as an index from the tensor's first element.
static inline int64_t heed__cpu_attention_start(const heed_tensor *t, int64_t b, int64_t h, int64_t i) {
  return b * t->strides[0] + h * t->strides[1] + i * t->strides[2];
}

// Head h of batch b as a matrix of rows.
static inline struct heed__cpu_matrix heed__cpu_attention_head(const heed_tensor *t, int64_t b, int64_t h) {
  const int64_t start = heed__cpu_attention_start(t, b, h, 0);
  const char *data = (const char *)heed__cpu_data(t) + start * (int64_t)heed_dtype_size(t->dtype);
  return (struct heed__cpu_matrix){data, t->dtype, t->strides[2], t->strides[3]};
}

// The keys that row i of batch b may attend, lo to hi inclusive, before the mask; hi < lo: none.
void heed__cpu_attention_range(const struct heed__cpu_attention *a, int64_t b, int64_t i, int64_t *lo, int64_t *hi);

// One query row. p and slope hold `keys` elements each, and only those from lo to hi (inclusive) are written.
struct heed__cpu_attention_row {
  int64_t lo, hi;  // see heed__cpu_attention_range
  double *p;       // softmax before dropout; exactly 0 where a key is not attended
  double *slope;   // d softcap / d score, or NULL when not wanted
  double lse;
};
// q: the row as double. keys_by_dim: k as [dim, keys]. A row that may attend no key has p = 0 and lse = −inf.
void heed__cpu_attention_probabilities(const struct heed__cpu_attention *a, int64_t b, int64_t h, int64_t i,
                                       const double *q, const double *keys_by_dim, struct heed__cpu_attention_row *row);

// The factor of dropout for the weight of key j: 0, or 1/(1 − p); 1 without dropout.
static inline double heed__cpu_attention_dropout(const struct heed__attention_params *params, int64_t b, int64_t h,
                                                 int64_t i, int64_t j) {
  if (!params->has_dropout) return 1;
  const bool kept =
      heed__dropout_keeps(params->seed, params->dropout_threshold, (uint32_t)b, (uint32_t)h, (uint32_t)i, (uint32_t)j);
  return kept ? params->dropout_scale : 0;
}

// What one rounding of the terms comes to in a row (attention_terms.c). Forward: row->p, row->lse and `out`, which holds the row's result,
// become the terms of weights, lse and out; row->slope must be there; scratch: 2 keys + value_dim.
void heed__cpu_attention_forward_terms(const struct heed__cpu_attention *a, int64_t b, int64_t h, int64_t i,
                                       const double *q, const double *keys_by_dim, const double *values,
                                       struct heed__cpu_attention_row *row, double *scratch, double *out);
// The scores s of all keys become their terms: those from lo to hi, the others 0. sizes: scratch.
void heed__cpu_attention_score_terms(const struct heed__cpu_attention *a, const double *q, const double *keys_by_dim,
                                     int64_t lo, int64_t hi, double *sizes, double *s);
// Backward: row->p, ds and dr become the terms of P∘Z, dS and dR. `out` is the tensor that the call reads.
struct heed__cpu_attention_row_gradient {
  const double *q, *dout;                     // [dim], [value_dim]
  const double *keys_by_dim, *values_by_dim;  // [dim, keys], [value_dim, keys]
  const double *dp;                           // [keys]
  double *ds, *dr, *scratch;                  // [keys], [keys], [3, keys]
};
void heed__cpu_attention_backward_terms(const struct heed__cpu_attention *a, const heed_tensor *out, int64_t b,
                                        int64_t h, int64_t i, const struct heed__cpu_attention_row_gradient *g,
                                        struct heed__cpu_attention_row *row);

// The host's rule for what counts as a weight: if F32 cannot tell it from 0, it is 0, as on every device.
static inline bool heed__cpu_attention_is_zero(double p) { return (float)p == 0; }

#endif
