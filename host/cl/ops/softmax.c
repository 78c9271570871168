// softmax and log-softmax on OpenCL, forward and backward: row kernels if the axis is the last one, else column kernels.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// Whether work-groups share a slice (row kernels) or each slice belongs to one work-item (column kernels).
static bool takes_rows(const heed_context *ctx, const heed_tensor *x) {
  const int64_t outer = x->dims[0], axis = x->dims[1], inner = x->dims[2];
  if (heed__cl_state(ctx)->traits.cpu_like) return inner == 1;
  // A group would idle over a short slice. If a slice's elements lie apart, columns read memory better, unless there are too few columns to
  // fill a GPU, or they are so long that one alone takes long.
  if (inner == 1) return axis > 32;
  return axis > 16384 || (axis >= 64 && outer * inner < 4096);
}

// The longest row that softmax_rows keeps in a cache, with as much room left for other data: 16 KB.
enum { STREAMED_MOST = 4096 };

// Whether to write results past the caches, because they would only displace data that still have to be read.
static bool streams(const heed_context *ctx, const heed_tensor *x, struct heed__cl_rows layout) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int64_t axis = x->dims[1];
  return traits->cpu_like && x->dtype == HEED_F32 && layout.vector > 1 && axis % layout.vector == 0 &&
         axis <= STREAMED_MOST && 2 * (uint64_t)heed_tensor_bytes(x) > traits->cache;
}

// How many elements of a row each item of a group holds in registers; 0: they do not fit there.
static int held_by(struct heed__cl_rows layout, int64_t axis) {
  enum { MOST = 16 };
  int held = 1;
  while (held <= MOST && (int64_t)held * layout.group < axis) held *= 2;
  return layout.group > 1 && held <= MOST ? held : 0;
}

// Passes the defines, the tensors in order and the sizes; `rows` and `columns` are the kernel's names for the two layouts.
static heed_status run(heed_context *ctx, bool log_form, const char *rows, const char *columns,
                       const heed_tensor *const *tensors, int count) {
  // tensors: [outer, axis, inner]
  const heed_tensor *x = tensors[0];
  const int64_t outer = x->dims[0], axis = x->dims[1], inner = x->dims[2];
  HEED__TRY(heed__cl_check_rows(ctx, axis));
  const bool by_rows = takes_rows(ctx, x);
  struct heed__cl_rows layout = heed__cl_rows_for(ctx, by_rows ? axis : inner);
  if (!by_rows) layout.group = 1;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/softmax.cl", by_rows ? rows : columns);
  heed__cl_define_rows(&k, layout);
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_define_int(&k, "LOG", log_form);
  if (by_rows && count == 2) {
    if (streams(ctx, x, layout)) heed__cl_define_int(&k, "STREAMED", STREAMED_MOST);
    if (held_by(layout, axis)) heed__cl_define_int(&k, "HELD", held_by(layout, axis));
  }
  for (int i = 0; i < count; ++i) heed__cl_tensor(&k, tensors[i]);
  for (int i = 0; i < 3; ++i) heed__cl_long(&k, x->dims[i]);
  if (by_rows) return heed__cl_launch_rows(&k, layout, outer * inner);
  return heed__cl_launch_walks(&k, outer * heed__ceil_div(inner, layout.vector));
}

heed_status heed__cl_softmax_fwd(heed_context *ctx, const struct heed__call *call) {
  // x, y: [outer, axis, inner]
  const struct heed__softmax_params *params = call->params;
  const heed_tensor *tensors[] = {call->in[HEED__softmax_fwd_x], call->out[HEED__softmax_fwd_y]};
  return run(ctx, params->log, "softmax_rows", "softmax_columns", tensors, 2);
}

heed_status heed__cl_softmax_bwd(heed_context *ctx, const struct heed__call *call) {
  // y, dy, dx: [outer, axis, inner]
  const struct heed__softmax_params *params = call->params;
  const heed_tensor *tensors[] = {call->in[HEED__softmax_bwd_y], call->in[HEED__softmax_bwd_dy],
                                  call->out[HEED__softmax_bwd_dx]};
  return run(ctx, params->log, "softmax_rows_gradient", "softmax_columns_gradient", tensors, 3);
}
