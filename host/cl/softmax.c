// softmax and log-softmax on OpenCL, forward and backward: row kernels where the axis is the last, else column kernels.
#include "cl/grid.h"

// Short rows on a GPU go to the column kernel: a work-item each, since a work-group would idle.
static bool takes_rows(const heed_context *ctx, const heed_tensor *x) {
  return x->dims[2] == 1 && (heed__cl_state(ctx)->traits.cpu_like || heed__cl_rows_for(ctx, x->dims[1]).group > 1);
}

// Defines, tensors in order, sizes; `rows` and `columns` are the kernel's name for either layout.
static heed_status run(heed_context *ctx, bool log_form, const char *rows, const char *columns,
                       const heed_tensor *const *tensors, int count) {
  const heed_tensor *x = tensors[0];
  const bool by_rows = takes_rows(ctx, x);
  struct heed__cl_rows layout = heed__cl_rows_for(ctx, x->dims[by_rows ? 1 : 2]);
  if (!by_rows) layout.group = 1;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "softmax.cl", by_rows ? rows : columns);
  heed__cl_define_rows(&k, layout);
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_define_int(&k, "LOG", log_form);
  for (int i = 0; i < count; ++i) heed__cl_tensor(&k, tensors[i]);
  if (by_rows) {
    heed__cl_long(&k, x->dims[0]);
    heed__cl_long(&k, x->dims[1]);
    return heed__cl_launch_rows(&k, layout, x->dims[0]);
  }
  for (int axis = 0; axis < 3; ++axis) heed__cl_long(&k, x->dims[axis]);
  return heed__cl_launch_items(&k, x->dims[0] * heed__ceil_div(x->dims[2], layout.vector));
}

heed_status heed__cl_softmax_fwd(heed_context *ctx, const struct heed__call *call) {
  const struct heed__softmax_params *params = call->params;
  const heed_tensor *tensors[] = {call->in[0], call->out[0]};
  return run(ctx, params->log, "softmax_rows", "softmax_columns", tensors, 2);
}

heed_status heed__cl_softmax_bwd(heed_context *ctx, const struct heed__call *call) {
  const struct heed__softmax_params *params = call->params;
  const heed_tensor *tensors[] = {call->in[0], call->in[1], call->out[0]};
  return run(ctx, params->log, "softmax_rows_gradient", "softmax_columns_gradient", tensors, 3);
}
