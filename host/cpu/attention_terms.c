// Attention on the host: what one rounding of everything that F32 arithmetic rounds comes to in a row, for validation (see heed__backend).
// attention.c and attention_bwd.c go over rows and heads. Roundings of a score become relative errors of its weight, through exp.
#include <math.h>

#include "cpu/attention.h"

// y += Σ_k |a[k]| |x[k, :]|
static void add_sizes(int64_t count, int64_t terms, const double *a, const double *x, int64_t x_stride,
                      double *restrict y) {
  // a: [terms]; x: [terms, count]; y: [count]
  for (int64_t k = 0; k < terms; ++k) {
    const double size = fabs(a[k]);
    const double *row = x + k * x_stride;
    HEED__CPU_SIMD
    for (int64_t j = 0; j < count; ++j) y[j] += size * fabs(row[j]);
  }
}

// What a 16-bit dtype's products on tensor cores round: weights and the gradients of scores.
static double narrowing(heed_dtype dtype) { return dtype == HEED_F32 ? 0 : heed__rounding(dtype); }

// errors[j]: the relative error of exp(score of j), at most 1, from the roundings of the products in sizes[j], of soft cap, mask, the shift
// by the largest score and exp's argument. Returns the mean of the errors by weight: the relative error of the sum.
static double score_errors(const struct heed__cpu_attention *a, const double *q, const double *keys_by_dim,
                           const struct heed__cpu_attention_row *row, double *sizes, double *errors) {
  // q: [dim]; keys_by_dim: [dim, keys]; sizes, errors: [keys], written from lo to hi
  const double u = heed__rounding(HEED_F32), cap = a->params->softcap;
  double mean = 0;
  for (int64_t j = row->lo; j <= row->hi; ++j) sizes[j] = 0;
  add_sizes(row->hi - row->lo + 1, a->dim, q, keys_by_dim + row->lo, a->keys, sizes + row->lo);
  for (int64_t j = row->lo; j <= row->hi; ++j) {
    sizes[j] *= fabs(a->params->scale);
    errors[j] = 0;
    if (heed__cpu_attention_is_zero(row->p[j])) continue;
    const double below = -log(row->p[j]), score = fabs(row->lse - below);
    const double capped = cap > 0 ? fmin(cap, sizes[j]) : sizes[j];
    double error = cap > 0 ? row->slope[j] * u * sizes[j] + 3 * u * capped : u * sizes[j];
    if (a->mask) error += u * (score + capped);
    error += u * (score + 2 * fabs(below) + 3);
    errors[j] = fmin(error, 1);
    mean += row->p[j] * errors[j];
  }
  return mean;
}

void heed__cpu_attention_score_terms(const struct heed__cpu_attention *a, const double *q, const double *keys_by_dim,
                                     int64_t lo, int64_t hi, double *sizes, double *s) {
  // q: [dim]; keys_by_dim: [dim, keys]; sizes, s: [keys]
  const double u = heed__rounding(HEED_F32);
  for (int64_t j = 0; j < a->keys; ++j) sizes[j] = 0;
  if (lo <= hi) add_sizes(hi - lo + 1, a->dim, q, keys_by_dim + lo, a->keys, sizes + lo);
  // A score's own size counts for the soft cap, and for a mask that is added to it.
  for (int64_t j = 0; j < a->keys; ++j)
    s[j] = isfinite(s[j]) ? u * (2 * fabs(a->params->scale) * sizes[j] + 3 * fabs(s[j])) : 0;
}

static double lse_error(const struct heed__cpu_attention_row *row, double mean) {
  double most = 0;
  for (int64_t j = row->lo; j <= row->hi; ++j) most = fmax(most, row->p[j]);
  if (most == 0) return 0;
  return mean + heed__rounding(HEED_F32) * (3 * fabs(row->lse) - log(most) + 2);
}

void heed__cpu_attention_forward_terms(const struct heed__cpu_attention *a, int64_t b, int64_t h, int64_t i,
                                       const double *q, const double *keys_by_dim, const double *values,
                                       struct heed__cpu_attention_row *row, double *scratch, double *out) {
  // q: [dim]; keys_by_dim: [dim, keys]; values: [keys, value_dim]; row->p: [keys]; out: [value_dim]; scratch: [2 keys + value_dim]
  const double u = heed__rounding(HEED_F32), stored = 3 * u + narrowing(a->q->dtype);
  double *errors = scratch + a->keys, *terms = errors + a->keys;
  const double mean = score_errors(a, q, keys_by_dim, row, scratch, errors);
  row->lse = lse_error(row, mean);
  for (int64_t d = 0; d < a->value_dim; ++d) terms[d] = 0;
  for (int64_t j = row->lo; j <= row->hi; ++j) {
    const double p = row->p[j];
    if (heed__cpu_attention_is_zero(p)) continue;
    const double z = heed__cpu_attention_dropout(a->params, b, h, i, j), *value = values + j * a->value_dim;
    // The weights are divided by their sum, so that an error which all of them share cancels.
    for (int64_t d = 0; d < a->value_dim; ++d) {
      const double kept = z == 0 ? 0 : z * value[d];
      terms[d] += p * (errors[j] * fabs(kept - out[d]) + stored * fabs(kept));
    }
    const double others = errors[j] * (1 - p) + fmax(0, mean - p * errors[j]);
    row->p[j] = p * z * (others + 4 * u);
  }
  for (int64_t d = 0; d < a->value_dim; ++d) out[d] = terms[d];
}

// δ = Σ dO∘O, from an O that is stored, or Σ P∘dP: with sizes[j] = Σ |dO||V|, and the errors of P that O has.
static double delta_error(const struct heed__cpu_attention *a, const heed_tensor *out, int64_t b, int64_t h, int64_t i,
                          const double *dout, const struct heed__cpu_attention_row *row, const double *dp,
                          const double *sizes, const double *errors, double delta) {
  // out: [B, heads, queries, value_dim]; dout: [value_dim]; dp, sizes, errors: [keys]
  const double stored = heed__rounding(HEED_F32) + narrowing(a->q->dtype);
  const int64_t start = heed__cpu_attention_start(out, b, h, i);
  double products = 0, terms = 0;
  for (int64_t d = 0; d < a->value_dim; ++d)
    products += fabs(dout[d] * heed__load(heed__cpu_data(out), out->dtype, start + d * out->strides[3]));
  for (int64_t j = row->lo; j <= row->hi; ++j) {
    if (heed__cpu_attention_is_zero(row->p[j])) continue;
    const double z = heed__cpu_attention_dropout(a->params, b, h, i, j), gradient = z == 0 ? 0 : z * dp[j];
    terms += row->p[j] * (errors[j] * fabs(gradient - delta) + (z == 0 ? 0 : z * stored * sizes[j]));
  }
  return heed__rounding(out->dtype) * products + terms;
}

void heed__cpu_attention_backward_terms(const struct heed__cpu_attention *a, const heed_tensor *out, int64_t b,
                                        int64_t h, int64_t i, const struct heed__cpu_attention_row_gradient *g,
                                        struct heed__cpu_attention_row *row) {
  // row->p: [keys] becomes the terms of P∘Z; g: see its declaration
  const double u = heed__rounding(HEED_F32), narrow = narrowing(a->q->dtype), cap = a->params->softcap;
  double *scores = g->scratch, *errors = scores + a->keys, *sizes = errors + a->keys, delta = 0;
  const double mean = score_errors(a, g->q, g->keys_by_dim, row, scores, errors), of_lse = lse_error(row, mean);
  for (int64_t j = row->lo; j <= row->hi; ++j) sizes[j] = 0;
  add_sizes(row->hi - row->lo + 1, a->value_dim, g->dout, g->values_by_dim + row->lo, a->keys, sizes + row->lo);
  for (int64_t j = row->lo; j <= row->hi; ++j) {
    const double z = heed__cpu_attention_dropout(a->params, b, h, i, j);
    if (!heed__cpu_attention_is_zero(row->p[j]) && z != 0) delta += row->p[j] * z * g->dp[j];
  }
  const double of_delta = delta_error(a, out, b, h, i, g->dout, row, g->dp, sizes, errors, delta);
  for (int64_t j = row->lo; j <= row->hi; ++j) {
    const double p = row->p[j], z = heed__cpu_attention_dropout(a->params, b, h, i, j);
    row->p[j] = g->ds[j] = g->dr[j] = 0;
    if (heed__cpu_attention_is_zero(p)) continue;
    const double dp = z == 0 ? 0 : z * g->dp[j], size = z == 0 ? 0 : z * sizes[j], ds = fabs(p * (dp - delta));
    // The backward divides by the sum that the stored lse tells, and not by that of its own exponentials.
    const double weight = fmin(1, errors[j] + of_lse);
    g->ds[j] = weight * ds + p * (of_delta + u * (size + fabs(delta))) + (u + narrow) * ds;
    const double bend = cap > 0 ? fmin(1, u * (2 + 4 * scores[j] / cap)) : 0;
    g->dr[j] = fabs(a->params->scale) * row->slope[j] * (g->ds[j] + (3 * u + bend) * ds);
    row->p[j] = p * z * (weight + 3 * u + narrow);
  }
}
