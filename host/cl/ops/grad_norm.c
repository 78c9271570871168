// The norm of gradients on OpenCL: sums of squares in two launches, clipping, and a step's control.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// As in ops/grad_norm.cl.
enum { ACCUMULATES = 1, TAKES_ROOT = 2 };

// Elements of a block: the same on every device, so that the units do not decide the order of a sum.
enum { SHARE = 16384 };

static void begin(struct heed__cl_kernel *k, heed_context *ctx, const char *kernel, struct heed__cl_rows layout,
                  heed_dtype dtype) {
  heed__cl_begin(k, ctx, "ops/grad_norm.cl", kernel);
  heed__cl_define_rows(k, layout);
  heed__cl_define_dtype(k, "X_DTYPE", dtype);
}

static heed_status square_blocks(heed_context *ctx, const heed_tensor *x, struct heed__cl_rows layout, int64_t blocks,
                                 cl_mem partial) {
  // x: any shape; partial: F32 [blocks]
  struct heed__cl_kernel k;
  begin(&k, ctx, "square_blocks", layout, x->dtype);
  heed__cl_tensor(&k, x);
  heed__cl_buffer(&k, partial);
  heed__cl_long(&k, x->count);
  heed__cl_long(&k, SHARE);
  return heed__cl_launch_rows(&k, layout, blocks);
}

heed_status heed__cl_sum_squares(heed_context *ctx, const struct heed__call *call) {
  // x: any shape; sum: F32 [1]
  const struct heed__sum_squares_params *params = call->params;
  const heed_tensor *x = call->in[HEED__sum_squares_x], *sum = call->out[HEED__sum_squares_sum];
  const int64_t blocks = heed__ceil_div(x->count, SHARE);
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, x->count);
  HEED__TRY(heed__cl_check_rows(ctx, blocks));
  cl_mem partial = NULL;
  heed_status status;
  HEED__TRY(heed__cl_scratch_take(ctx, (uint64_t)heed__max(blocks, 1) * sizeof(float), &partial));
  HEED__TRY_TO(done, status, square_blocks(ctx, x, layout, blocks, partial));
  struct heed__cl_kernel k;
  begin(&k, ctx, "square_sum", layout, x->dtype);
  heed__cl_buffer(&k, partial);
  heed__cl_long(&k, blocks);
  heed__cl_tensor(&k, sum);
  heed__cl_uint(&k, (params->accumulate ? ACCUMULATES : 0u) | (params->root ? TAKES_ROOT : 0u));
  status = heed__cl_launch_group(&k, layout);
done:
  heed__cl_scratch_give(ctx, partial);
  return status;
}

heed_status heed__cl_clip_by_norm(heed_context *ctx, const struct heed__call *call) {
  // norm: F32 [1]; x: any shape
  const struct heed__clip_params *params = call->params;
  const heed_tensor *x = call->out[HEED__clip_by_norm_x];
  const bool cpu_like = heed__cl_state(ctx)->traits.cpu_like;
  struct heed__cl_rows layout = heed__cl_rows_for(ctx, x->count);
  layout.group = 1;
  const int64_t walk = cpu_like ? 4096 : layout.vector, items = heed__ceil_div(x->count, walk);
  struct heed__cl_kernel k;
  begin(&k, ctx, "clip_by_norm", layout, x->dtype);
  heed__cl_tensor(&k, call->in[HEED__clip_by_norm_norm]);
  heed__cl_tensor(&k, x);
  heed__cl_long(&k, x->count);
  heed__cl_uint(&k, (uint32_t)walk);
  heed__cl_float(&k, params->max_norm);
  return cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}

heed_status heed__cl_grad_control(heed_context *ctx, const struct heed__call *call) {
  // squares, norm, factor, scale: F32 [1]; counts: I32 [4]
  const heed_grad_control_options *options = call->params;
  const struct heed__cl_rows one = {.vector = 1, .group = 1};
  struct heed__cl_kernel k;
  begin(&k, ctx, "grad_control", one, HEED_F32);
  heed__cl_tensor(&k, call->in[HEED__grad_control_squares]);
  for (int i = 0; i < HEED__grad_control_OUTS; ++i) heed__cl_tensor(&k, call->out[i]);
  heed__cl_uint(&k, call->out[HEED__grad_control_scale] != NULL);
  heed__cl_float(&k, options->max_norm);
  heed__cl_float(&k, options->growth);
  heed__cl_float(&k, options->backoff);
  heed__cl_uint(&k, (uint32_t)options->growth_interval);
  return heed__cl_launch_group(&k, one);
}
