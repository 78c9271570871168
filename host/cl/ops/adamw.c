// adamw on OpenCL: one kernel for all elements.
#include <math.h>

#include "cl/runtime/grid.h"
#include "cl/operators.h"

// As in ops/adamw.cl.
enum { HAS_RANGES = 1, HAS_FACTOR = 2, HAS_STEPS = 4 };

static void set_options(struct heed__cl_kernel *k, const heed_adamw_options *options, uint32_t what) {
  heed__cl_float(k, options->lr);
  heed__cl_float(k, options->beta1);
  heed__cl_float(k, 1 - options->beta1);
  heed__cl_float(k, log(options->beta1));
  heed__cl_float(k, options->beta2);
  heed__cl_float(k, 1 - options->beta2);
  heed__cl_float(k, log(options->beta2));
  heed__cl_float(k, options->eps);
  heed__cl_float(k, options->lr * options->weight_decay);
  heed__cl_float(k, (double)options->step);
  heed__cl_uint(k, what);
}

heed_status heed__cl_adamw(heed_context *ctx, const struct heed__call *call) {
  // grad, param, exp_avg, exp_avg_sq, copy: one shape; decaying: [ranges, 2]; factor, steps: [1]
  const heed_tensor *grad = call->in[HEED__adamw_grad], *decaying = call->in[HEED__adamw_decaying];
  const heed_tensor *param = call->out[HEED__adamw_param], *copy = call->out[HEED__adamw_copy];
  const bool cpu_like = heed__cl_state(ctx)->traits.cpu_like;
  const int vector = heed__cl_rows_for(ctx, param->count).vector;
  const int64_t walk = cpu_like ? 4096 : vector;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/adamw.cl", "adamw");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_dtype(&k, "G_DTYPE", grad->dtype);
  if (copy) heed__cl_define_int(&k, "HAS_COPY", 1);
  if (copy) heed__cl_define_dtype(&k, "COPY_DTYPE", copy->dtype);
  for (int i = 0; i < HEED__adamw_INS; ++i) heed__cl_tensor(&k, call->in[i]);
  for (int i = 0; i < HEED__adamw_OUTS; ++i) heed__cl_tensor(&k, call->out[i]);
  heed__cl_long(&k, param->count);
  heed__cl_long(&k, decaying ? decaying->dims[0] : 0);
  heed__cl_uint(&k, (uint32_t)walk);
  set_options(&k, call->params,
              (decaying ? HAS_RANGES : 0u) | (call->in[HEED__adamw_factor] ? HAS_FACTOR : 0u) |
                  (call->in[HEED__adamw_steps] ? HAS_STEPS : 0u));
  const int64_t items = heed__ceil_div(param->count, walk);
  return cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}
