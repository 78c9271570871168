// sgd on OpenCL: one kernel for all elements.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// Bits of a step's mode, as in ops/sgd.cl.
enum { MOMENTUM = 1, NESTEROV = 2, FIRST = 4 };

heed_status heed__cl_sgd(heed_context *ctx, const struct heed__call *call) {
  // grad, param, buffer: one shape
  const heed_sgd_options *options = call->params;
  const heed_tensor *grad = call->in[HEED__sgd_grad], *param = call->out[HEED__sgd_param];
  const heed_tensor *buffer = call->out[HEED__sgd_momentum_buffer];
  const bool cpu_like = heed__cl_state(ctx)->traits.cpu_like;
  const int vector = heed__cl_rows_for(ctx, param->count).vector;
  const int64_t walk = cpu_like ? 4096 : vector;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/sgd.cl", "sgd");
  heed__cl_define_dtype(&k, "X_DTYPE", param->dtype);
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_tensor(&k, grad);
  heed__cl_tensor(&k, param);
  heed__cl_tensor(&k, buffer);
  heed__cl_long(&k, param->count);
  heed__cl_uint(&k, (uint32_t)walk);
  heed__cl_float(&k, options->lr);
  heed__cl_float(&k, options->momentum);
  heed__cl_float(&k, 1 - options->dampening);
  heed__cl_float(&k, options->weight_decay);
  heed__cl_uint(&k, (buffer ? MOMENTUM : 0u) | (options->nesterov ? NESTEROV : 0u) | (options->first ? FIRST : 0u));
  const int64_t items = heed__ceil_div(param->count, walk);
  return cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}
