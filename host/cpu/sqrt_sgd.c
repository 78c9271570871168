// Square roots by gradient descent on f(x) = (x² − a)², on the host.
#include <math.h>

#include "cpu/rows.h"

static double descend(const heed_sqrt_options *options, double a, double x) {
  for (int64_t epoch = 0; epoch < options->epochs; ++epoch) {
    const double error = x * x - a;
    x -= options->lr * 4 * x * error;
    if (error * error <= options->tolerance) break;
  }
  return x;
}

heed_status heed__cpu_sqrt_sgd(heed_context *ctx, const struct heed__call *call) {
  // a, x0, x: F32 of one shape
  (void)ctx;
  const heed_sqrt_options *options = call->params;
  const float *a = heed__cpu_data(call->in[HEED__sqrt_sgd_a]), *x0 = heed__cpu_data(call->in[HEED__sqrt_sgd_x0]);
  float *x = heed__cpu_data(call->out[HEED__sqrt_sgd_x]);
  const int64_t count = call->out[HEED__sqrt_sgd_x]->count;
  HEED__CPU_PARALLEL_FOR((double)count * (double)options->epochs)
  for (int64_t i = 0; i < count; ++i) x[i] = (float)descend(options, (double)a[i], (double)x0[i]);
  return HEED_OK;
}

// Each step multiplies the error that x has by |1 − 4 lr (3x² − a)| and adds its own roundings. Where rounding may decide whether the
// element stops here, the next step is the device's to take or to leave.
static double descend_terms(const heed_sqrt_options *options, double a, double x) {
  const double u = heed__rounding(HEED_F32);
  double terms = 0;
  for (int64_t epoch = 0; epoch < options->epochs; ++epoch) {
    const double error = x * x - a, factor = options->lr * 4 * x, step = factor * error;
    const double own = u * (2 * x * x + fabs(a)) + 2 * fabs(x) * terms;  // of x² − a
    terms = fabs(1 - 4 * options->lr * (3 * x * x - a)) * terms +
            u * (fabs(x) + 3 * fabs(step) + fabs(factor) * (2 * x * x + fabs(a)));
    x -= step;
    const double beyond = error * error - options->tolerance, doubt = 4 * (2 * fabs(error) * own + u * error * error);
    if (fabs(beyond) <= doubt) terms += fabs(options->lr * 4 * x * (x * x - a));
    if (beyond <= 0) break;
  }
  return terms;
}

heed_status heed__cpu_terms_sqrt_sgd(heed_context *ctx, const struct heed__call *call) {
  // a, x0, x: F32 of one shape
  (void)ctx;
  const float *a = heed__cpu_data(call->in[HEED__sqrt_sgd_a]), *x0 = heed__cpu_data(call->in[HEED__sqrt_sgd_x0]);
  float *x = heed__cpu_data(call->out[HEED__sqrt_sgd_x]);
  const int64_t count = call->out[HEED__sqrt_sgd_x]->count;
  for (int64_t i = 0; i < count; ++i) x[i] = (float)descend_terms(call->params, (double)a[i], (double)x0[i]);
  return HEED_OK;
}
