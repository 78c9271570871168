// square on OpenCL.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

heed_status heed__cl_square_fwd(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape
  const heed_tensor *x = call->in[HEED__square_fwd_x], *y = call->out[HEED__square_fwd_y];
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/square.cl", "square");
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_tensor(&k, x);
  heed__cl_tensor(&k, y);
  heed__cl_long(&k, x->count);
  return heed__cl_launch_items(&k, x->count);
}

heed_status heed__cl_square_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, dx: one shape
  const heed_tensor *x = call->in[HEED__square_bwd_x], *dy = call->in[HEED__square_bwd_dy];
  const heed_tensor *dx = call->out[HEED__square_bwd_dx];
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/square.cl", "square_gradient");
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_tensor(&k, x);
  heed__cl_tensor(&k, dy);
  heed__cl_tensor(&k, dx);
  heed__cl_long(&k, x->count);
  return heed__cl_launch_items(&k, x->count);
}
