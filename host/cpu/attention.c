// Attention on the host, forward: out = softmax(softcap(scale · q kᵀ) + mask) v, one query row at a time, from the equation.
// The backward (attention_bwd.c) starts from the same probabilities of a row.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/attention.h"

struct heed__cpu_attention heed__cpu_attention_of(const struct heed__call *call) {
  // q: [B, heads, queries, dim]; k: [B, kv_heads, keys, dim]; v: [B, kv_heads, keys, value_dim];
  // mask: [B, heads, queries, columns], with stride 0 where it broadcasts; kv_lengths: [B]
  const heed_tensor *q = call->in[HEED__ATT_Q], *k = call->in[HEED__ATT_K], *v = call->in[HEED__ATT_V];
  return (struct heed__cpu_attention){
      .params = call->params,
      .q = q,
      .k = k,
      .v = v,
      .mask = call->in[HEED__ATT_MASK],
      .kv_lengths = call->in[HEED__ATT_KV_LENGTHS],
      .batch = q->dims[0],
      .heads = q->dims[1],
      .kv_heads = k->dims[1],
      .group = k->dims[1] > 0 ? q->dims[1] / k->dims[1] : 0,
      .queries = q->dims[2],
      .keys = k->dims[2],
      .dim = q->dims[3],
      .value_dim = v->dims[3],
  };
}

void heed__cpu_attention_range(const struct heed__cpu_attention *a, int64_t b, int64_t i, int64_t *lo, int64_t *hi) {
  // kv_lengths: I32 or I64 [B]
  const struct heed__attention_params *params = a->params;
  int64_t length = a->keys, offset = params->offset;
  if (a->kv_lengths) {
    const heed_tensor *lengths = a->kv_lengths;
    const void *data = heed__cpu_data(lengths);
    const int64_t given = lengths->dtype == HEED_I64 ? ((const int64_t *)data)[b] : ((const int32_t *)data)[b];
    length = heed__max(0, heed__min(given, a->keys));
    offset = length - a->queries;
  }
  *lo = 0;
  *hi = length - 1;
  if (params->causal == HEED_CAUSAL_TOP_LEFT) *hi = heed__min(*hi, i + offset);
  if (params->causal == HEED_CAUSAL_BOTTOM_RIGHT) *hi = heed__min(*hi, i + a->keys - a->queries);
  if (params->window_right >= 0) *hi = heed__min(*hi, i + offset + params->window_right);
  if (params->window_left >= 0) *lo = heed__max(*lo, i + offset - params->window_left);
  if (a->mask) *hi = heed__min(*hi, a->mask->dims[3] - 1);  // keys from cols on are not allowed
}

// −inf marks keys that the row may not attend. This decides it, whatever the score is.
static void apply_mask(const struct heed__cpu_attention *a, int64_t b, int64_t h, int64_t i, int64_t lo, int64_t hi,
                       double *s) {
  // mask: [B, heads, queries, columns]; s: [keys]
  const heed_tensor *mask = a->mask;
  const void *data = heed__cpu_data(mask);
  const int64_t start = heed__cpu_attention_start(mask, b, h, i), stride = mask->strides[3];
  for (int64_t j = lo; j <= hi; ++j) {
    const double value = heed__load(data, mask->dtype, start + j * stride);
    if (mask->dtype == HEED_BOOL)
      s[j] = value != 0 ? s[j] : -INFINITY;
    else
      s[j] = value != -INFINITY ? s[j] + value : -INFINITY;
  }
}

static void apply_softcap(double cap, int64_t lo, int64_t hi, double *s, double *slope) {
  // s, slope: [keys]
  for (int64_t j = lo; j <= hi; ++j) {
    // 1 − tanh² loses its digits where tanh comes close to 1.
    const double x = s[j] / cap, e = exp(-2 * fabs(x));
    s[j] = cap * tanh(x);
    if (slope) slope[j] = 4 * e / ((1 + e) * (1 + e));
  }
}

// s becomes softmax(s) over [lo, hi]; returns the log of the sum.
static double row_softmax(int64_t lo, int64_t hi, double *s) {
  // s: [keys]
  double m = -INFINITY, sum = 0;
  bool empty = true;
  for (int64_t j = lo; j <= hi; ++j) {
    if (s[j] > m) m = s[j];
    if (s[j] != -INFINITY) empty = false;
  }
  if (empty) {
    for (int64_t j = lo; j <= hi; ++j) s[j] = 0;
    return -INFINITY;
  }
  for (int64_t j = lo; j <= hi; ++j) {
    if (s[j] == -INFINITY) {
      s[j] = 0;
      continue;
    }
    s[j] = exp(s[j] - m);
    sum += s[j];
  }
  // A weight of 0 stays 0 even if the row contains a NaN, because the NaN must not reach the gradients of masked keys.
  for (int64_t j = lo; j <= hi; ++j)
    if (s[j] != 0) s[j] /= sum;
  return m + log(sum);
}

// s = softcap(scale q kᵀ) over [lo, hi].
static void row_scores(const struct heed__cpu_attention *a, const double *q, const double *keys_by_dim, double softcap,
                       int64_t lo, int64_t hi, double *s, double *slope) {
  // q: [dim]; keys_by_dim: [dim, keys]; s, slope: [keys]
  const int64_t count = hi - lo + 1;
  memset(s + lo, 0, (size_t)count * sizeof *s);
  heed__cpu_accumulate(count, a->dim, q, keys_by_dim + lo, a->keys, s + lo);
  for (int64_t j = lo; j <= hi; ++j) s[j] *= a->params->scale;
  if (softcap > 0)
    apply_softcap(softcap, lo, hi, s, slope);
  else if (slope)
    for (int64_t j = lo; j <= hi; ++j) slope[j] = 1;
}

void heed__cpu_attention_probabilities(const struct heed__cpu_attention *a, int64_t b, int64_t h, int64_t i,
                                       const double *q, const double *keys_by_dim,
                                       struct heed__cpu_attention_row *row) {
  // q: [dim]; keys_by_dim: [dim, keys]; row->p, row->slope: [keys]
  heed__cpu_attention_range(a, b, i, &row->lo, &row->hi);
  row->lse = -INFINITY;
  if (row->hi < row->lo) return;
  row_scores(a, q, keys_by_dim, a->params->softcap, row->lo, row->hi, row->p, row->slope);
  if (a->mask) apply_mask(a, b, h, i, row->lo, row->hi, row->p);
  row->lse = row_softmax(row->lo, row->hi, row->p);
}

// ---------------------------------------------------------------- forward

struct forward {
  struct heed__cpu_attention a;
  const heed_tensor *out, *lse, *weights;
  double *keys_by_dim, *values;  // of one kv head: [dim, keys], [keys, value_dim]
  double *rows;                  // for each thread: p [keys], q [dim], out [value_dim]; for terms, slope and scratch
  bool terms;                    // results are those of attention_terms.c
};

static void store_row_results(const struct forward *f, int64_t b, int64_t h, int64_t i,
                              const struct heed__cpu_attention_row *row, const double *out) {
  // f->out: [B, heads, queries, value_dim]; lse: F32 [B, heads, queries]; weights: [B, heads, queries, keys]; out: [value_dim]
  const struct heed__cpu_attention *a = &f->a;
  heed__cpu_store_row(heed__cpu_data(f->out), f->out->dtype, heed__cpu_attention_start(f->out, b, h, i), 1,
                      a->value_dim, out);
  const int64_t index = (b * a->heads + h) * a->queries + i;
  if (f->lse) heed__store(heed__cpu_data(f->lse), f->lse->dtype, index, row->lse);
  if (!f->weights || a->params->weights != HEED_WEIGHTS_SOFTMAX) return;
  void *data = heed__cpu_data(f->weights);
  for (int64_t j = 0; j < a->keys; ++j) {
    const bool inside = j >= row->lo && j <= row->hi;
    heed__store(data, f->weights->dtype, index * a->keys + j, inside ? row->p[j] : 0);
  }
}

// The weights of a step before the softmax, or their terms; s and sizes are scratch.
static void store_scores(const struct forward *f, int64_t b, int64_t h, int64_t i, const double *q, double *s,
                         double *sizes) {
  // q: [dim]; s, sizes: [keys]; f->weights: [B, heads, queries, keys]
  const struct heed__cpu_attention *a = &f->a;
  const heed_attention_weights step = a->params->weights;
  if (!f->weights || step == HEED_WEIGHTS_SOFTMAX) return;
  int64_t lo = 0, hi = a->keys - 1;
  for (int64_t j = 0; j < a->keys; ++j) s[j] = -INFINITY;
  if (step == HEED_WEIGHTS_MASKED) heed__cpu_attention_range(a, b, i, &lo, &hi);
  if (lo <= hi) row_scores(a, q, f->keys_by_dim, step == HEED_WEIGHTS_RAW ? 0 : a->params->softcap, lo, hi, s, NULL);
  if (step == HEED_WEIGHTS_MASKED && a->mask) apply_mask(a, b, h, i, lo, hi, s);
  if (f->terms) heed__cpu_attention_score_terms(a, q, f->keys_by_dim, lo, hi, sizes, s);
  heed__cpu_store_row(heed__cpu_data(f->weights), f->weights->dtype, ((b * a->heads + h) * a->queries + i) * a->keys, 1,
                      a->keys, s);
}

static int64_t thread_row_size(const struct forward *f) {
  return (f->terms ? 4 : 1) * f->a.keys + f->a.dim + (f->terms ? 2 : 1) * f->a.value_dim;
}

static void forward_row(const struct forward *f, int64_t b, int64_t h, int64_t i) {
  // p: [keys]; q: [dim]; out: [value_dim]
  const struct heed__cpu_attention *a = &f->a;
  double *p = f->rows + heed__cpu_thread() * thread_row_size(f);
  double *q = p + a->keys, *out = q + a->dim, *slope = out + a->value_dim;
  struct heed__cpu_attention_row row = {.p = p, .slope = f->terms ? slope : NULL};
  heed__cpu_load_row(q, heed__cpu_data(a->q), a->q->dtype, heed__cpu_attention_start(a->q, b, h, i), 1, a->dim);
  store_scores(f, b, h, i, q, p, slope);
  heed__cpu_attention_probabilities(a, b, h, i, q, f->keys_by_dim, &row);
  memset(out, 0, (size_t)a->value_dim * sizeof *out);
  for (int64_t j = row.lo; j <= row.hi; ++j) {
    const double z = heed__cpu_attention_is_zero(p[j]) ? 0 : heed__cpu_attention_dropout(a->params, b, h, i, j);
    if (z != 0) heed__cpu_axpy(a->value_dim, p[j] * z, f->values + j * a->value_dim, out);
    if (!f->terms) p[j] *= z;
  }
  if (f->terms) heed__cpu_attention_forward_terms(a, b, h, i, q, f->keys_by_dim, f->values, &row, slope + a->keys, out);
  store_row_results(f, b, h, i, &row, out);
}

// Computes all query rows that read kv head `g` of batch b.
static void forward_kv_head(const struct forward *f, int64_t b, int64_t g) {
  // keys: [keys, dim]; values: [keys, value_dim]
  const struct heed__cpu_attention *a = &f->a;
  const struct heed__cpu_matrix keys = heed__cpu_attention_head(a->k, b, g);
  const struct heed__cpu_matrix values = heed__cpu_attention_head(a->v, b, g);
  heed__cpu_load_panel(f->keys_by_dim, heed__cpu_transposed(keys), a->dim, a->keys);
  heed__cpu_load_panel(f->values, values, a->keys, a->value_dim);
  const int64_t rows = a->group * a->queries;
  HEED__CPU_PARALLEL_FOR((double)rows * (double)a->keys * (double)(a->dim + a->value_dim))
  for (int64_t r = 0; r < rows; ++r) forward_row(f, b, g * a->group + r / a->queries, r % a->queries);
}

static heed_status forward(const struct heed__call *call, bool terms) {
  // q: [B, heads, queries, dim]; k: [B, kv_heads, keys, dim]; v: [B, kv_heads, keys, value_dim];
  // out: [B, heads, queries, value_dim]; lse: F32 [B, heads, queries]; weights: [B, heads, queries, keys]
  struct forward f = {.a = heed__cpu_attention_of(call),
                      .terms = terms,
                      .out = call->out[HEED__attention_fwd_out],
                      .lse = call->out[HEED__attention_fwd_lse],
                      .weights = call->out[HEED__attention_fwd_weights]};
  const struct heed__cpu_attention *a = &f.a;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cpu_scratch(a->keys, a->dim, 1, &f.keys_by_dim));
  HEED__TRY_TO(done, status, heed__cpu_scratch(a->keys, a->value_dim, 1, &f.values));
  HEED__TRY_TO(done, status, heed__cpu_scratch(heed__cpu_threads(), thread_row_size(&f), 1, &f.rows));
  for (int64_t b = 0; b < a->batch; ++b)
    for (int64_t g = 0; g < a->kv_heads; ++g) forward_kv_head(&f, b, g);
done:
  free(f.keys_by_dim);
  free(f.values);
  free(f.rows);
  return status;
}

heed_status heed__cpu_attention_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return forward(call, false);
}

heed_status heed__cpu_terms_attention_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return forward(call, true);
}
