// relu and gelu on OpenCL, forward and backward.
#include "cl/grid.h"

// All four take their tensors in order and the element count.
static heed_status apply(heed_context *ctx, const char *file, const char *kernel, bool tanh_form,
                         const heed_tensor *const *tensors, int count) {
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, file, kernel);
  heed__cl_define_dtype(&k, "X_DTYPE", tensors[0]->dtype);
  if (tanh_form) heed__cl_define(&k, "TANH", "1");
  for (int i = 0; i < count; ++i) heed__cl_tensor(&k, tensors[i]);
  heed__cl_long(&k, tensors[0]->count);
  return heed__cl_launch_items(&k, tensors[0]->count);
}

static bool is_tanh(const struct heed__call *call) {
  return ((const struct heed__gelu_params *)call->params)->form == HEED_GELU_TANH;
}

heed_status heed__cl_relu_fwd(heed_context *ctx, const struct heed__call *call) {
  const heed_tensor *tensors[] = {call->in[0], call->out[0]};
  return apply(ctx, "relu.cl", "relu", false, tensors, 2);
}

heed_status heed__cl_relu_bwd(heed_context *ctx, const struct heed__call *call) {
  const heed_tensor *tensors[] = {call->in[0], call->in[1], call->out[0]};
  return apply(ctx, "relu.cl", "relu_gradient", false, tensors, 3);
}

heed_status heed__cl_gelu_fwd(heed_context *ctx, const struct heed__call *call) {
  const heed_tensor *tensors[] = {call->in[0], call->out[0]};
  return apply(ctx, "gelu.cl", "gelu", is_tanh(call), tensors, 2);
}

heed_status heed__cl_gelu_bwd(heed_context *ctx, const struct heed__call *call) {
  const heed_tensor *tensors[] = {call->in[0], call->in[1], call->out[0]};
  return apply(ctx, "gelu.cl", "gelu_gradient", is_tanh(call), tensors, 3);
}
