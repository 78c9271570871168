// Rotary positions on OpenCL, forward and backward, over rows in the order in which they lie in memory.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// The axes B, H and L from the widest stride of x to the narrowest.
static void order_axes(const heed_tensor *x, int axes[3]) {
  for (int i = 0; i < 3; ++i) {
    int at = i;
    for (; at > 0 && x->strides[axes[at - 1]] < x->strides[i]; --at) axes[at] = axes[at - 1];
    axes[at] = i;
  }
}

static void pass_view(struct heed__cl_kernel *k, const heed_tensor *t, const int axes[3]) {
  heed__cl_tensor(k, t);
  for (int i = 0; i < 3; ++i) heed__cl_long(k, t->strides[axes[i]]);
}

// rope_bwd has the slots of rope_fwd.
static heed_status turn(heed_context *ctx, const struct heed__call *call, double direction) {
  // x, y: [B, H, L, D]; table: F32 [L, D]
  const struct heed__rope_params *params = call->params;
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const heed_tensor *x = call->in[HEED__rope_fwd_x], *table = call->in[HEED__rope_fwd_table];
  const heed_tensor *y = call->out[HEED__rope_fwd_y];
  const int64_t half = x->dims[3] / 2, rows = x->dims[0] * x->dims[1] * x->dims[2];
  // On a CPU each work-item takes neighbouring rows; on a GPU each takes a pair.
  const int64_t lanes = traits->cpu_like ? 1 : half;
  const int64_t share = traits->cpu_like ? heed__ceil_div(rows, 16 * heed__max(traits->compute_units, 1)) : 1;
  int axes[3] = {0, 1, 2};
  order_axes(x, axes);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/rope.cl", "rope");
  heed__cl_define_int(&k, "VECTOR", heed__cl_rows_for(ctx, half).vector);
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_define_int(&k, "INTERLEAVED", params->style == HEED_ROPE_INTERLEAVED);
  pass_view(&k, x, axes);
  heed__cl_tensor(&k, table);
  for (int i = 0; i < 3; ++i) heed__cl_long(&k, axes[i] == 2 ? x->dims[3] : 0);
  pass_view(&k, y, axes);
  heed__cl_long(&k, x->dims[axes[1]]);
  heed__cl_long(&k, x->dims[axes[2]]);
  heed__cl_long(&k, rows);
  heed__cl_long(&k, half);
  heed__cl_long(&k, share);
  heed__cl_long(&k, lanes);
  heed__cl_float(&k, direction);
  const int64_t items = heed__ceil_div(rows, share) * lanes;
  return traits->cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}

heed_status heed__cl_rope_fwd(heed_context *ctx, const struct heed__call *call) { return turn(ctx, call, 1); }
heed_status heed__cl_rope_bwd(heed_context *ctx, const struct heed__call *call) { return turn(ctx, call, -1); }
