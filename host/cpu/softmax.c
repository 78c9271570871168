// softmax and log-softmax along the middle axis of [outer, axis, inner] on the host, forward and backward.
#include <math.h>
#include <stdlib.h>

#include "cpu/rows.h"

// y_i = exp(x_i − m) / Σ exp(x_j − m), or its logarithm. If all x are −inf, there is nothing to choose from: y is 0, or −inf.
static void softmax_slice(double *x, int64_t count, bool log_form) {
  // x: [count]
  double m = -INFINITY, sum = 0;
  bool empty = true;
  for (int64_t i = 0; i < count; ++i) {
    if (x[i] > m) m = x[i];
    if (x[i] != -INFINITY) empty = false;
  }
  if (empty) {
    for (int64_t i = 0; i < count; ++i) x[i] = log_form ? -INFINITY : 0;
    return;
  }
  for (int64_t i = 0; i < count; ++i) sum += exp(x[i] - m);
  const double log_sum = log(sum);
  for (int64_t i = 0; i < count; ++i) x[i] = log_form ? x[i] - m - log_sum : exp(x[i] - m) / sum;
}

// softmax: dx = y ∘ (dy − Σ y dy). log-softmax: dx = dy − exp(y) Σ dy. Writes dx over y.
static void softmax_slice_gradient(double *y, const double *dy, int64_t count, bool log_form) {
  // y, dy: [count]
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += log_form ? dy[i] : y[i] * dy[i];
  if (log_form) {
    for (int64_t i = 0; i < count; ++i) y[i] = dy[i] - exp(y[i]) * sum;
    return;
  }
  // Storage rounds y, so its sum is only nearly 1, and on a nearly one-hot row dy − Σ y dy consists of that error. The formula also holds
  // for dy minus any constant; subtracting Σ y dy first removes the error.
  const double centre = sum;
  double rest = 0;
  for (int64_t i = 0; i < count; ++i) rest += y[i] * (dy[i] - centre);
  for (int64_t i = 0; i < count; ++i) y[i] *= (dy[i] - centre) - rest;
}

// Slice s = outer · inner_count + inner of a [outer, axis, inner] tensor starts here; its elements are `inner` apart.
static int64_t slice_start(const heed_tensor *t, int64_t slice) {
  // t: [outer, axis, inner]
  const int64_t inner = t->dims[2];
  return slice / inner * t->dims[1] * inner + slice % inner;
}

static heed_status slices_forward(heed_context *ctx, const struct heed__call *call,
                                  void (*of_slice)(double *x, int64_t count, bool log_form)) {
  // x, y: [outer, axis, inner]
  (void)ctx;
  const heed_tensor *x = call->in[HEED__softmax_fwd_x], *y = call->out[HEED__softmax_fwd_y];
  const bool log_form = ((const struct heed__softmax_params *)call->params)->log;
  const int64_t length = x->dims[1], inner = x->dims[2], slices = x->dims[0] * inner;
  double *scratch;
  HEED__TRY(heed__cpu_scratch(heed__cpu_threads(), length, 1, &scratch));
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t slice = 0; slice < slices; ++slice) {
    double *row = scratch + heed__cpu_thread() * length;
    const int64_t start = slice_start(x, slice);
    heed__cpu_load_row(row, heed__cpu_data(x), x->dtype, start, inner, length);
    of_slice(row, length, log_form);
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, start, inner, length, row);
  }
  free(scratch);
  return HEED_OK;
}

static heed_status slices_backward(heed_context *ctx, const struct heed__call *call,
                                   void (*of_slice)(double *y, const double *dy, int64_t count, bool log_form)) {
  // y, dy, dx: [outer, axis, inner]
  (void)ctx;
  const heed_tensor *y = call->in[HEED__softmax_bwd_y], *dy = call->in[HEED__softmax_bwd_dy];
  const heed_tensor *dx = call->out[HEED__softmax_bwd_dx];
  const bool log_form = ((const struct heed__softmax_params *)call->params)->log;
  const int64_t length = y->dims[1], inner = y->dims[2], slices = y->dims[0] * inner;
  double *scratch;
  HEED__TRY(heed__cpu_scratch(heed__cpu_threads(), 2, length, &scratch));
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t slice = 0; slice < slices; ++slice) {
    double *row = scratch + heed__cpu_thread() * 2 * length, *dy_row = row + length;
    const int64_t start = slice_start(y, slice);
    heed__cpu_load_row(row, heed__cpu_data(y), y->dtype, start, inner, length);
    heed__cpu_load_row(dy_row, heed__cpu_data(dy), dy->dtype, start, inner, length);
    of_slice(row, dy_row, length, log_form);
    heed__cpu_store_row(heed__cpu_data(dx), dx->dtype, start, inner, length, row);
  }
  free(scratch);
  return HEED_OK;
}

heed_status heed__cpu_softmax_fwd(heed_context *ctx, const struct heed__call *call) {
  return slices_forward(ctx, call, softmax_slice);
}

heed_status heed__cpu_softmax_bwd(heed_context *ctx, const struct heed__call *call) {
  return slices_backward(ctx, call, softmax_slice_gradient);
}

// ---------------------------------------------------------------- what one rounding of the terms comes to

// A rounding of x − m is one of exp's argument, which makes as many of exp(x − m) as the argument is large. The errors of all
// exponentials meet in the sum.
static void softmax_slice_terms(double *x, int64_t count, bool log_form) {
  // x: [count] becomes terms
  const double u = heed__rounding(HEED_F32);
  double m = -INFINITY, sum = 0, sum_error = 0;
  for (int64_t i = 0; i < count; ++i) m = fmax(m, x[i]);
  if (m == -INFINITY) {
    for (int64_t i = 0; i < count; ++i) x[i] = 0;
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const double e = exp(x[i] - m);
    if (e == 0) continue;
    sum += e;
    sum_error += e * u * (2 + fabs(x[i] - m));
  }
  for (int64_t i = 0; i < count; ++i) {
    const double d = x[i] - m, y = exp(d) / sum;
    if (log_form)
      x[i] = u * (2 * fabs(d) + 2 * fabs(log(sum))) + sum_error / sum;
    else
      x[i] = y == 0 ? 0 : y * (u * (4 + fabs(d)) + sum_error / sum);
  }
}

// Storage rounds y, so its sum is not 1. The host leaves out what that adds to softmax's gradient, but the formula has it.
static void softmax_slice_gradient_terms(double *y, const double *dy, int64_t count, bool log_form) {
  // y: [count] becomes terms; dy: [count]
  const double u = heed__rounding(HEED_F32);
  double size = 0, sum = 0, missing = 1;
  for (int64_t i = 0; i < count; ++i) {
    size += fabs(log_form ? dy[i] : y[i] * dy[i]);
    sum += y[i] * dy[i];
    missing -= y[i];
  }
  for (int64_t i = 0; i < count; ++i) {
    const double p = exp(y[i]);
    if (log_form)
      y[i] = u * (fabs(dy[i]) + (p == 0 ? 0 : p * (3 + fabs(y[i])) * size));
    else
      y[i] = fabs(y[i]) * (u * (2 * fabs(dy[i]) + 3 * size) + fabs(missing * sum));
  }
}

heed_status heed__cpu_terms_softmax_fwd(heed_context *ctx, const struct heed__call *call) {
  // x: [outer, axis, inner]; y: F32 of that shape
  return slices_forward(ctx, call, softmax_slice_terms);
}

heed_status heed__cpu_terms_softmax_bwd(heed_context *ctx, const struct heed__call *call) {
  // y, dy: [outer, axis, inner]; dx: F32 of that shape
  return slices_backward(ctx, call, softmax_slice_gradient_terms);
}
