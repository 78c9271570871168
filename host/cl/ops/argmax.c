// argmax on OpenCL.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

heed_status heed__cl_argmax(heed_context *ctx, const struct heed__call *call) {
  // x: [rows, columns]; y: I32 [rows]
  const heed_tensor *x = call->in[HEED__argmax_x], *y = call->out[HEED__argmax_y];
  HEED__TRY(heed__cl_check_rows(ctx, x->dims[1]));
  struct heed__cl_rows layout = heed__cl_rows_for(ctx, x->dims[1]);
  layout.vector = 1;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/argmax.cl", "argmax");
  heed__cl_define_rows(&k, layout);
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_tensor(&k, x);
  heed__cl_tensor(&k, y);
  heed__cl_long(&k, x->dims[0]);
  heed__cl_long(&k, x->dims[1]);
  return heed__cl_launch_rows(&k, layout, x->dims[0]);
}
