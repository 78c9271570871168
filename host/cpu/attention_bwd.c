// Attention on the host, backward. With Z the factors of dropout (0 or 1/(1 − p)), for each head:
//   P = softmax(softcap(scale · q kᵀ) + mask)      dV = (P∘Z)ᵀ dO        dP = Z ∘ (dO Vᵀ)
//   δ_i = Σ_j P_ij dP_ij                           dS = P ∘ (dP − δ)     dmask = Σ over broadcast dimensions of dS
//   dR = dS ∘ softcap' · scale                     dQ = dR K             dK = dRᵀ Q
// It computes P and δ again from q, k and v in F64. The forward's lse and out are rounded to their storage, and δ = Σ dO∘O and exp(s − lse)
// would inherit that rounding, which a reference should not.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/attention.h"

// The backward works on blocks of query rows. Within a block, rows are independent for dQ, and then keys are independent for dK and dV,
// each of which sums its rows in ascending order. So the result does not depend on the number of threads. A block has as many rows as keep
// a million weights, because the threads must meet twice in each block.
enum { BLOCK_ROWS_MIN = 64, BLOCK_WEIGHTS = 1 << 20, CHUNK_KEYS = 64 };

struct backward {
  struct heed__cpu_attention a;
  const heed_tensor *out, *dout, *dq, *dk, *dv, *dmask;
  bool terms;  // results are those of attention_terms.c; keys, q and dout are then made absolute for the products
  // Of one kv head.
  double *keys, *keys_by_dim, *values_by_dim;  // [keys, dim], [dim, keys], [value_dim, keys]
  double *dk_sum, *dv_sum;                     // [keys, dim], [keys, value_dim]
  // Of one block.
  int64_t block_rows;
  double *q_rows, *dout_rows;             // [block, dim], [block, value_dim]
  double *weights, *dscores, *dproducts;  // P∘Z, dS, dR: [block, keys], written from lo to hi
  double *thread_rows;  // for each thread: slope [keys], dP [keys], dq [dim]; scratch of terms [3, keys]
  double *dmask_sum;
};

static int64_t thread_row_size(const struct backward *w) { return (w->terms ? 5 : 2) * w->a.keys + w->a.dim; }

static void make_absolute(int64_t count, double *x) {
  for (int64_t i = 0; i < count; ++i) x[i] = fabs(x[i]);
}

// P of row r is in `weights` and becomes P∘Z; dS and dR go beside it.
static void row_gradients(const struct backward *w, int64_t b, int64_t h, int64_t i, int64_t r, const double *dp,
                          const struct heed__cpu_attention_row *row) {
  // p, ds, dr, dp: [keys]
  const struct heed__cpu_attention *a = &w->a;
  const int64_t lo = row->lo, hi = row->hi;
  double *p = w->weights + r * a->keys, *ds = w->dscores + r * a->keys, *dr = w->dproducts + r * a->keys;
  double delta = 0;
  for (int64_t j = lo; j <= hi; ++j) {
    ds[j] = 0;
    if (heed__cpu_attention_is_zero(p[j])) continue;
    const double z = heed__cpu_attention_dropout(a->params, b, h, i, j);
    ds[j] = z == 0 ? 0 : z * dp[j];
    delta += p[j] * ds[j];
  }
  for (int64_t j = lo; j <= hi; ++j) {
    dr[j] = 0;
    if (heed__cpu_attention_is_zero(p[j])) {
      p[j] = 0;
      continue;
    }
    ds[j] = p[j] * (ds[j] - delta);
    dr[j] = ds[j] * row->slope[j] * a->params->scale;
    p[j] *= heed__cpu_attention_dropout(a->params, b, h, i, j);
  }
}

static void store_dq(const struct backward *w, int64_t b, int64_t h, int64_t i, int64_t r,
                     const struct heed__cpu_attention_row *row, double *dq) {
  // dr: [keys]; dq: [dim]; w->dq: [B, heads, queries, dim]
  const struct heed__cpu_attention *a = &w->a;
  const double *dr = w->dproducts + r * a->keys;
  memset(dq, 0, (size_t)a->dim * sizeof *dq);
  for (int64_t j = row->lo; j <= row->hi; ++j)
    if (dr[j] != 0) heed__cpu_axpy(a->dim, dr[j], w->keys + j * a->dim, dq);
  heed__cpu_store_row(heed__cpu_data(w->dq), w->dq->dtype, heed__cpu_attention_start(w->dq, b, h, i), 1, a->dim, dq);
}

static void row_terms(const struct backward *w, int64_t b, int64_t h, int64_t i, int64_t r, const double *dp,
                      struct heed__cpu_attention_row *row) {
  // ds, dr, dp: [keys]; q: [dim]; dout: [value_dim]
  const struct heed__cpu_attention *a = &w->a;
  double *q = w->q_rows + r * a->dim, *dout = w->dout_rows + r * a->value_dim;
  const struct heed__cpu_attention_row_gradient gradient = {
      .q = q,
      .dout = dout,
      .keys_by_dim = w->keys_by_dim,
      .values_by_dim = w->values_by_dim,
      .dp = dp,
      .ds = w->dscores + r * a->keys,
      .dr = w->dproducts + r * a->keys,
      .scratch = row->slope + 2 * a->keys + a->dim,
  };
  heed__cpu_attention_backward_terms(a, w->out, b, h, i, &gradient, row);
  make_absolute(a->dim, q);
  make_absolute(a->value_dim, dout);
}

static void backward_row(const struct backward *w, int64_t b, int64_t h, int64_t i, int64_t r) {
  // slope, dp: [keys]; dq, q: [dim]; dout: [value_dim]
  const struct heed__cpu_attention *a = &w->a;
  double *slope = w->thread_rows + heed__cpu_thread() * thread_row_size(w), *dp = slope + a->keys, *dq = dp + a->keys;
  double *q = w->q_rows + r * a->dim, *dout = w->dout_rows + r * a->value_dim;
  struct heed__cpu_attention_row row = {.p = w->weights + r * a->keys, .slope = slope};
  heed__cpu_load_row(q, heed__cpu_data(a->q), a->q->dtype, heed__cpu_attention_start(a->q, b, h, i), 1, a->dim);
  heed__cpu_load_row(dout, heed__cpu_data(w->dout), w->dout->dtype, heed__cpu_attention_start(w->dout, b, h, i), 1,
                     a->value_dim);
  heed__cpu_attention_probabilities(a, b, h, i, q, w->keys_by_dim, &row);
  if (row.hi >= row.lo) {
    const int64_t count = row.hi - row.lo + 1;
    memset(dp + row.lo, 0, (size_t)count * sizeof *dp);
    heed__cpu_accumulate(count, a->value_dim, dout, w->values_by_dim + row.lo, a->keys, dp + row.lo);
    if (w->terms)
      row_terms(w, b, h, i, r, dp, &row);
    else
      row_gradients(w, b, h, i, r, dp, &row);
  }
  if (w->dq) store_dq(w, b, h, i, r, &row, dq);
}

// Adds the rows of a block to dK and dV of keys [first, first + CHUNK_KEYS).
static void accumulate_keys(const struct backward *w, int64_t b, int64_t i0, int64_t rows, int64_t first) {
  // p, dr: [keys]; q: [dim]; dout: [value_dim]; dk_sum: [keys, dim]; dv_sum: [keys, value_dim]
  const struct heed__cpu_attention *a = &w->a;
  for (int64_t r = 0; r < rows; ++r) {
    const double *p = w->weights + r * a->keys, *dr = w->dproducts + r * a->keys;
    const double *q = w->q_rows + r * a->dim, *dout = w->dout_rows + r * a->value_dim;
    int64_t lo, hi;
    heed__cpu_attention_range(a, b, i0 + r, &lo, &hi);
    lo = heed__max(lo, first);
    hi = heed__min(hi, first + CHUNK_KEYS - 1);
    for (int64_t j = lo; j <= hi; ++j) {
      if (w->dv && p[j] != 0) heed__cpu_axpy(a->value_dim, p[j], dout, w->dv_sum + j * a->value_dim);
      if (w->dk && dr[j] != 0) heed__cpu_axpy(a->dim, dr[j], q, w->dk_sum + j * a->dim);
    }
  }
}

// This runs on the calling thread only: if the mask is broadcast, rows and keys share an element.
static void accumulate_dmask(const struct backward *w, int64_t b, int64_t h, int64_t i0, int64_t rows) {
  // ds: [keys]; dmask_sum: [B, heads, queries, columns], size 1 where the mask broadcasts
  const int64_t *dims = w->dmask->dims, *strides = w->dmask->strides;
  const int64_t column_stride = dims[3] == 1 ? 0 : 1;
  for (int64_t r = 0; r < rows; ++r) {
    const double *ds = w->dscores + r * w->a.keys;
    double *sum = w->dmask_sum;
    if (dims[0] != 1) sum += b * strides[0];
    if (dims[1] != 1) sum += h * strides[1];
    if (dims[2] != 1) sum += (i0 + r) * strides[2];
    int64_t lo, hi;
    heed__cpu_attention_range(&w->a, b, i0 + r, &lo, &hi);
    for (int64_t j = lo; j <= hi; ++j) sum[j * column_stride] += ds[j];
  }
}

static void backward_block(const struct backward *w, int64_t b, int64_t h, int64_t i0) {
  const struct heed__cpu_attention *a = &w->a;
  const int64_t rows = heed__min(w->block_rows, a->queries - i0);
  const double work = (double)rows * (double)a->keys * (double)(a->dim + a->value_dim);
  HEED__CPU_PARALLEL_FOR(work)
  for (int64_t r = 0; r < rows; ++r) backward_row(w, b, h, i0 + r, r);
  HEED__CPU_PARALLEL_FOR(work)
  for (int64_t first = 0; first < a->keys; first += CHUNK_KEYS) accumulate_keys(w, b, i0, rows, first);
  if (w->dmask) accumulate_dmask(w, b, h, i0, rows);
}

static void store_head(const heed_tensor *t, int64_t b, int64_t h, const double *rows) {
  // t: [B, heads, rows, width]; rows: [rows, width]
  for (int64_t j = 0; j < t->dims[2]; ++j)
    heed__cpu_store_row(heed__cpu_data(t), t->dtype, heed__cpu_attention_start(t, b, h, j), 1, t->dims[3],
                        rows + j * t->dims[3]);
}

// Computes everything for kv head g of batch b: dK and dV sum over the query heads of its group.
static void backward_kv_head(const struct backward *w, int64_t b, int64_t g) {
  // keys: [keys, dim]; values: [keys, value_dim]; dk_sum: [keys, dim]; dv_sum: [keys, value_dim]
  const struct heed__cpu_attention *a = &w->a;
  const struct heed__cpu_matrix keys = heed__cpu_attention_head(a->k, b, g),
                                values = heed__cpu_attention_head(a->v, b, g);
  heed__cpu_load_panel(w->keys, keys, a->keys, a->dim);
  if (w->terms) make_absolute(a->keys * a->dim, w->keys);
  heed__cpu_load_panel(w->keys_by_dim, heed__cpu_transposed(keys), a->dim, a->keys);
  heed__cpu_load_panel(w->values_by_dim, heed__cpu_transposed(values), a->value_dim, a->keys);
  memset(w->dk_sum, 0, (size_t)(a->keys * a->dim) * sizeof(double));
  memset(w->dv_sum, 0, (size_t)(a->keys * a->value_dim) * sizeof(double));
  for (int64_t h = g * a->group; h < (g + 1) * a->group; ++h)
    for (int64_t i0 = 0; i0 < a->queries; i0 += w->block_rows) backward_block(w, b, h, i0);
  if (w->dk) store_head(w->dk, b, g, w->dk_sum);
  if (w->dv) store_head(w->dv, b, g, w->dv_sum);
}

static void backward_free(struct backward *w) {
  free(w->keys);
  free(w->keys_by_dim);
  free(w->values_by_dim);
  free(w->dk_sum);
  free(w->dv_sum);
  free(w->q_rows);
  free(w->dout_rows);
  free(w->weights);
  free(w->dscores);
  free(w->dproducts);
  free(w->thread_rows);
  free(w->dmask_sum);
}

static heed_status backward_allocate(struct backward *w) {
  const struct heed__cpu_attention *a = &w->a;
  w->block_rows = heed__min(a->queries, heed__max(BLOCK_ROWS_MIN, BLOCK_WEIGHTS / heed__max(a->keys, 1)));
  HEED__TRY(heed__cpu_scratch(a->keys, a->dim, 1, &w->keys));
  HEED__TRY(heed__cpu_scratch(a->keys, a->dim, 1, &w->keys_by_dim));
  HEED__TRY(heed__cpu_scratch(a->keys, a->value_dim, 1, &w->values_by_dim));
  HEED__TRY(heed__cpu_scratch(a->keys, a->dim, 1, &w->dk_sum));
  HEED__TRY(heed__cpu_scratch(a->keys, a->value_dim, 1, &w->dv_sum));
  HEED__TRY(heed__cpu_scratch(w->block_rows, a->dim, 1, &w->q_rows));
  HEED__TRY(heed__cpu_scratch(w->block_rows, a->value_dim, 1, &w->dout_rows));
  HEED__TRY(heed__cpu_scratch(w->block_rows, a->keys, 1, &w->weights));
  HEED__TRY(heed__cpu_scratch(w->block_rows, a->keys, 1, &w->dscores));
  HEED__TRY(heed__cpu_scratch(w->block_rows, a->keys, 1, &w->dproducts));
  HEED__TRY(heed__cpu_scratch(heed__cpu_threads(), thread_row_size(w), 1, &w->thread_rows));
  if (!w->dmask) return HEED_OK;
  HEED__TRY(heed__cpu_scratch(w->dmask->count, 1, 1, &w->dmask_sum));
  memset(w->dmask_sum, 0, (size_t)w->dmask->count * sizeof(double));
  return HEED_OK;
}

static heed_status backward(const struct heed__call *call, bool terms) {
  // q, dq: [B, heads, queries, dim]; k, dk: [B, kv_heads, keys, dim]; v, dv: [B, kv_heads, keys, value_dim];
  // dout: [B, heads, queries, value_dim]; dmask: [B, heads, queries, columns], size 1 where the mask broadcasts
  struct backward w = {.a = heed__cpu_attention_of(call),
                       .terms = terms,
                       .out = call->in[HEED__attention_bwd_out],
                       .dout = call->in[HEED__attention_bwd_dout],
                       .dq = call->out[HEED__attention_bwd_dq],
                       .dk = call->out[HEED__attention_bwd_dk],
                       .dv = call->out[HEED__attention_bwd_dv],
                       .dmask = call->out[HEED__attention_bwd_dmask]};
  const struct heed__cpu_attention *a = &w.a;
  const heed_status status = backward_allocate(&w);
  if (status == HEED_OK) {
    for (int64_t b = 0; b < a->batch; ++b)
      for (int64_t g = 0; g < a->kv_heads; ++g) backward_kv_head(&w, b, g);
    if (w.dmask) heed__cpu_store_row(heed__cpu_data(w.dmask), w.dmask->dtype, 0, 1, w.dmask->count, w.dmask_sum);
  }
  backward_free(&w);
  return status;
}

heed_status heed__cpu_attention_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return backward(call, false);
}

heed_status heed__cpu_terms_attention_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return backward(call, true);
}
