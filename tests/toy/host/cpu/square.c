// square on the host: y = x², dx = 2 x dy.
#include "cpu/rows.h"

heed_status heed__cpu_square_fwd(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape
  (void)ctx;
  const heed_tensor *x = call->in[HEED__square_fwd_x], *y = call->out[HEED__square_fwd_y];
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t i = 0; i < x->count; ++i) {
    const double value = heed__load(heed__cpu_data(x), x->dtype, i);
    heed__store(heed__cpu_data(y), y->dtype, i, value * value);
  }
  return HEED_OK;
}

heed_status heed__cpu_square_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, dx: one shape
  (void)ctx;
  const heed_tensor *x = call->in[HEED__square_bwd_x], *dy = call->in[HEED__square_bwd_dy];
  const heed_tensor *dx = call->out[HEED__square_bwd_dx];
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t i = 0; i < x->count; ++i) {
    const double slope = 2 * heed__load(heed__cpu_data(x), x->dtype, i);
    heed__store(heed__cpu_data(dx), dx->dtype, i, slope * heed__load(heed__cpu_data(dy), dy->dtype, i));
  }
  return HEED_OK;
}
