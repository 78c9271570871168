// Square roots by gradient descent on f(x) = (x² − a)², on the host.
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
