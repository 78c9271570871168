// relu, gelu, silu, swiglu and dropout on OpenCL, forward and backward.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// Runs a kernel that takes its tensors in order, then their element count and the share of a work-item. `streams`: its results go past the
// caches where these do not hold them, which pays if it computes no exp().
struct activation {
  const char *file, *kernel;
  bool streams, tanh_form;
};

static heed_status apply(heed_context *ctx, struct activation f, const heed_tensor *const *tensors, int count) {
  // tensors: one shape
  const int64_t elements = tensors[0]->count;
  const struct heed__cl_runs runs = heed__cl_runs_for(ctx, elements, (uint64_t)count * heed_tensor_bytes(tensors[0]),
                                                      f.streams && tensors[0]->dtype == HEED_F32);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, f.file, f.kernel);
  heed__cl_define_dtype(&k, "X_DTYPE", tensors[0]->dtype);
  heed__cl_define_runs(&k, runs);
  heed__cl_define_int(&k, "TANH", f.tanh_form);
  for (int i = 0; i < count; ++i) heed__cl_tensor(&k, tensors[i]);
  heed__cl_long(&k, elements);
  heed__cl_long(&k, runs.share);
  return heed__cl_launch_runs(&k, runs, elements);
}

static struct activation gelu(const struct heed__call *call, const char *kernel) {
  const struct heed__gelu_params *params = call->params;
  return (struct activation){.file = "ops/gelu.cl", .kernel = kernel, .tanh_form = params->form == HEED_GELU_TANH};
}

heed_status heed__cl_relu_fwd(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape
  const heed_tensor *tensors[] = {call->in[HEED__relu_fwd_x], call->out[HEED__relu_fwd_y]};
  return apply(ctx, (struct activation){.file = "ops/relu.cl", .kernel = "relu", .streams = true}, tensors, 2);
}

heed_status heed__cl_relu_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, dx: one shape
  const heed_tensor *tensors[] = {call->in[HEED__relu_bwd_x], call->in[HEED__relu_bwd_dy],
                                  call->out[HEED__relu_bwd_dx]};
  return apply(ctx, (struct activation){.file = "ops/relu.cl", .kernel = "relu_gradient", .streams = true}, tensors, 3);
}

heed_status heed__cl_gelu_fwd(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape
  const heed_tensor *tensors[] = {call->in[HEED__gelu_fwd_x], call->out[HEED__gelu_fwd_y]};
  return apply(ctx, gelu(call, "gelu"), tensors, 2);
}

heed_status heed__cl_gelu_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, dx: one shape
  const heed_tensor *tensors[] = {call->in[HEED__gelu_bwd_x], call->in[HEED__gelu_bwd_dy],
                                  call->out[HEED__gelu_bwd_dx]};
  return apply(ctx, gelu(call, "gelu_gradient"), tensors, 3);
}

static struct activation silu(const char *kernel) {
  return (struct activation){.file = "ops/silu.cl", .kernel = kernel};
}

heed_status heed__cl_silu_fwd(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape
  const heed_tensor *tensors[] = {call->in[HEED__silu_fwd_x], call->out[HEED__silu_fwd_y]};
  return apply(ctx, silu("silu"), tensors, 2);
}

heed_status heed__cl_silu_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, dx: one shape
  const heed_tensor *tensors[] = {call->in[HEED__silu_bwd_x], call->in[HEED__silu_bwd_dy],
                                  call->out[HEED__silu_bwd_dx]};
  return apply(ctx, silu("silu_gradient"), tensors, 3);
}

heed_status heed__cl_swiglu_fwd(heed_context *ctx, const struct heed__call *call) {
  // gate, up, y: one shape
  const heed_tensor *tensors[] = {call->in[HEED__swiglu_fwd_gate], call->in[HEED__swiglu_fwd_up],
                                  call->out[HEED__swiglu_fwd_y]};
  return apply(ctx, silu("swiglu"), tensors, 3);
}

heed_status heed__cl_swiglu_bwd(heed_context *ctx, const struct heed__call *call) {
  // gate, up, dy, dgate, dup: one shape
  const heed_tensor *tensors[] = {call->in[HEED__swiglu_bwd_gate], call->in[HEED__swiglu_bwd_up],
                                  call->in[HEED__swiglu_bwd_dy], call->out[HEED__swiglu_bwd_dgate],
                                  call->out[HEED__swiglu_bwd_dup]};
  return apply(ctx, silu("swiglu_gradient"), tensors, 5);
}

// dropout_bwd has the slots of dropout_fwd.
static heed_status drop(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape
  const struct heed__dropout_params *params = call->params;
  const heed_tensor *x = call->in[HEED__dropout_fwd_x], *y = call->out[HEED__dropout_fwd_y];
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int vector = traits->cpu_like ? traits->vector_width : 1;
  // Blocks of 64 share 16 counters. They are aligned in `offset` + i, so the first may begin before element 0.
  const int64_t skipped = (int64_t)(params->offset % 64), blocks = heed__ceil_div(skipped + x->count, 64);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/dropout.cl", "dropout");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_tensor(&k, x);
  heed__cl_tensor(&k, y);
  heed__cl_long(&k, x->count);
  heed__cl_long(&k, skipped);
  heed__cl_uint(&k, (uint32_t)(params->offset / 64 * 16));
  heed__cl_uint(&k, (uint32_t)(params->offset / 64 * 16 >> 32));
  heed__cl_uint(&k, (uint32_t)params->seed);
  heed__cl_uint(&k, (uint32_t)(params->seed >> 32));
  heed__cl_uint(&k, params->threshold);
  heed__cl_float(&k, params->scale);
  return heed__cl_launch_items(&k, blocks * (16 / vector));
}

heed_status heed__cl_dropout_fwd(heed_context *ctx, const struct heed__call *call) { return drop(ctx, call); }
heed_status heed__cl_dropout_bwd(heed_context *ctx, const struct heed__call *call) { return drop(ctx, call); }
