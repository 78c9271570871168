// LayerNorm and RMSNorm of rows on the host, forward and backward.
#include <math.h>
#include <stdlib.h>

#include "cpu/rows.h"

// Replaces x by h = (x − μ)/√(σ² + eps), or by x/√(mean(x²) + eps), and returns 1/√(…).
static double normalize(double *x, int64_t count, double eps, bool rms) {
  // x: [count]
  double mean = 0, squares = 0;
  for (int64_t i = 0; !rms && i < count; ++i) mean += x[i];
  mean /= (double)count;
  for (int64_t i = 0; i < count; ++i) x[i] -= mean;
  for (int64_t i = 0; i < count; ++i) squares += x[i] * x[i];
  const double rate = 1 / sqrt(squares / (double)count + eps);
  for (int64_t i = 0; i < count; ++i) x[i] *= rate;
  return rate;
}

// Replaces g = dy ∘ weight by rate (g − mean(g) − h mean(g ∘ h)); RMSNorm's has no mean(g).
static void row_gradient(double *g, const double *h, double rate, int64_t count, bool rms) {
  // g, h: [count]
  double mean = 0, along = 0;
  for (int64_t i = 0; !rms && i < count; ++i) mean += g[i];
  for (int64_t i = 0; i < count; ++i) along += g[i] * h[i];
  mean /= (double)count;
  along /= (double)count;
  for (int64_t i = 0; i < count; ++i) g[i] -= mean;
  for (int64_t i = 0; i < count; ++i) g[i] = rate * (g[i] - h[i] * along);
}

// A row of sum = x + addend, and back as what the dtype holds of it.
static void add_row(double *h, double *other, const heed_tensor *addend, const heed_tensor *sum, int64_t start) {
  // h, other: [cols]; addend, sum: [rows, cols]
  const int64_t cols = sum->dims[1];
  heed__cpu_load_row(other, heed__cpu_data(addend), addend->dtype, start, 1, cols);
  for (int64_t i = 0; i < cols; ++i) h[i] += other[i];
  heed__cpu_store_row(heed__cpu_data(sum), sum->dtype, start, 1, cols, h);
  heed__cpu_load_row(h, heed__cpu_data(sum), sum->dtype, start, 1, cols);
}

// rms_norm_fwd has the slots of layer_norm_fwd but bias.
static heed_status forward(const struct heed__call *call, bool rms) {
  // x, addend, sum, y: [rows, cols], addend and sum NULL: the norm of x; weight, bias: [cols], bias NULL: none
  const heed_tensor *x = call->in[HEED__layer_norm_fwd_x], *addend = call->in[HEED__layer_norm_fwd_addend],
                    *weight = call->in[HEED__layer_norm_fwd_weight], *bias = call->in[HEED__layer_norm_fwd_bias];
  const heed_tensor *y = call->out[HEED__layer_norm_fwd_y], *sum = call->out[HEED__layer_norm_fwd_sum];
  const struct heed__norm_params *params = call->params;
  const int64_t rows = x->dims[0], cols = x->dims[1];
  double *scratch;
  HEED__TRY(heed__cpu_scratch(2 * heed__cpu_threads() + 2, cols, 1, &scratch));
  double *w = scratch, *b = scratch + cols;
  heed__cpu_load_row(w, heed__cpu_data(weight), weight->dtype, 0, 1, cols);
  for (int64_t i = 0; i < cols; ++i) b[i] = 0;
  if (bias) heed__cpu_load_row(b, heed__cpu_data(bias), bias->dtype, 0, 1, cols);
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t row = 0; row < rows; ++row) {
    double *h = scratch + (2 + 2 * heed__cpu_thread()) * cols;
    heed__cpu_load_row(h, heed__cpu_data(x), x->dtype, row * cols, 1, cols);
    if (addend) add_row(h, h + cols, addend, sum, row * cols);
    normalize(h, cols, params->eps, rms);
    for (int64_t i = 0; i < cols; ++i) h[i] = h[i] * w[i] + b[i];
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, row * cols, 1, cols, h);
  }
  free(scratch);
  return HEED_OK;
}

heed_status heed__cpu_layer_norm_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return forward(call, false);
}

heed_status heed__cpu_rms_norm_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return forward(call, true);
}

// ---------------------------------------------------------------- backward

struct backward {
  bool rms;
  const heed_tensor *x, *weight, *dy, *residual;  // residual NULL: none
  const heed_tensor *dx, *dweight, *dbias;        // NULL where not wanted
  const struct heed__norm_params *params;
};

// One row of dx, and what it adds to the gradients of weight and bias.
static void backward_row(const struct backward *b, int64_t row, const double *weight, double *scratch, double *dweight,
                         double *dbias) {
  // weight, dweight, dbias: [cols]; scratch: [2, cols]
  const int64_t cols = b->x->dims[1];
  double *h = scratch, *g = scratch + cols;
  heed__cpu_load_row(h, heed__cpu_data(b->x), b->x->dtype, row * cols, 1, cols);
  heed__cpu_load_row(g, heed__cpu_data(b->dy), b->dy->dtype, row * cols, 1, cols);
  const double rate = normalize(h, cols, b->params->eps, b->rms);
  for (int64_t i = 0; i < cols; ++i) dweight[i] += g[i] * h[i];
  for (int64_t i = 0; i < cols; ++i) dbias[i] += g[i];
  if (!b->dx) return;
  for (int64_t i = 0; i < cols; ++i) g[i] *= weight[i];
  row_gradient(g, h, rate, cols, b->rms);
  if (b->residual) {
    heed__cpu_load_row(h, heed__cpu_data(b->residual), b->residual->dtype, row * cols, 1, cols);
    for (int64_t i = 0; i < cols; ++i) g[i] += h[i];
  }
  heed__cpu_store_row(heed__cpu_data(b->dx), b->dx->dtype, row * cols, 1, cols, g);
}

// sums: a partial sum of each block of rows, one block after the other. Adds them up, and writes the result unless it is not wanted.
static void store_sums(const heed_tensor *to, const double *sums, int64_t blocks, int64_t stride, bool accumulate,
                       double *row) {
  // to, row: [cols]; sums: [blocks, stride], of which the first cols
  if (!to) return;
  const int64_t cols = to->count;
  for (int64_t i = 0; i < cols; ++i) row[i] = 0;
  if (accumulate) heed__cpu_load_row(row, heed__cpu_data(to), to->dtype, 0, 1, cols);
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t i = 0; i < cols; ++i) row[i] += sums[block * stride + i];
  heed__cpu_store_row(heed__cpu_data(to), to->dtype, 0, 1, cols, row);
}

static heed_status backward(const struct backward *b) {
  // x, dy, residual, dx: [rows, cols]; weight, dweight, dbias: [cols]
  enum { MOST_BLOCKS = 16 };  // so that no result depends on the number of threads
  const int64_t rows = b->x->dims[0], cols = b->x->dims[1], blocks = heed__min(rows, MOST_BLOCKS);
  double *scratch;
  HEED__TRY(heed__cpu_scratch(1 + 4 * MOST_BLOCKS, cols, 1, &scratch));
  double *weight = scratch, *rooms = weight + cols;
  heed__cpu_load_row(weight, heed__cpu_data(b->weight), b->weight->dtype, 0, 1, cols);
  HEED__CPU_PARALLEL_FOR(b->x->count)
  for (int64_t block = 0; block < blocks; ++block) {
    double *room = rooms + block * 4 * cols, *dweight = room, *dbias = room + cols;
    for (int64_t i = 0; i < 2 * cols; ++i) room[i] = 0;
    for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row)
      backward_row(b, row, weight, room + 2 * cols, dweight, dbias);
  }
  store_sums(b->dweight, rooms, blocks, 4 * cols, b->params->accumulate, weight);
  store_sums(b->dbias, rooms + cols, blocks, 4 * cols, b->params->accumulate, weight);
  free(scratch);
  return HEED_OK;
}

heed_status heed__cpu_layer_norm_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, residual, dx: [rows, cols]; weight, dweight, dbias: [cols]; gradients and residual NULL where not wanted
  (void)ctx;
  return backward(&(struct backward){.x = call->in[HEED__layer_norm_bwd_x],
                                     .weight = call->in[HEED__layer_norm_bwd_weight],
                                     .dy = call->in[HEED__layer_norm_bwd_dy],
                                     .residual = call->in[HEED__layer_norm_bwd_residual],
                                     .dx = call->out[HEED__layer_norm_bwd_dx],
                                     .dweight = call->out[HEED__layer_norm_bwd_dweight],
                                     .dbias = call->out[HEED__layer_norm_bwd_dbias],
                                     .params = call->params});
}

heed_status heed__cpu_rms_norm_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, residual, dx: [rows, cols]; weight, dweight: [cols]; gradients and residual NULL where not wanted
  (void)ctx;
  return backward(&(struct backward){.rms = true,
                                     .x = call->in[HEED__rms_norm_bwd_x],
                                     .weight = call->in[HEED__rms_norm_bwd_weight],
                                     .dy = call->in[HEED__rms_norm_bwd_dy],
                                     .residual = call->in[HEED__rms_norm_bwd_residual],
                                     .dx = call->out[HEED__rms_norm_bwd_dx],
                                     .dweight = call->out[HEED__rms_norm_bwd_dweight],
                                     .params = call->params});
}
