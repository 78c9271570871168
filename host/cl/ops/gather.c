// gather_rows on OpenCL.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// The number of elements of a row that a work-item takes at once.
static int vector_for(const heed_context *ctx, const heed_tensor *x, const heed_tensor *y) {
  const bool wide = (heed_dtype_is_float(x->dtype) || x->dtype == HEED_U8) && heed_dtype_is_float(y->dtype);
  return wide ? heed__cl_rows_for(ctx, y->dims[1]).vector : 1;
}

heed_status heed__cl_gather_rows(heed_context *ctx, const struct heed__call *call) {
  // x: [N, width]; index: I32 [rows]; y: [rows, width]
  const struct heed__gather_params *params = call->params;
  const heed_tensor *x = call->in[HEED__gather_rows_x], *index = call->in[HEED__gather_rows_index];
  const heed_tensor *y = call->out[HEED__gather_rows_y];
  const bool cpu_like = heed__cl_state(ctx)->traits.cpu_like;
  const int vector = vector_for(ctx, x, y);
  const int64_t walk = cpu_like ? 4096 : vector;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/gather.cl", "gather_rows");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
  heed__cl_define_dtype(&k, "Y_DTYPE", y->dtype);
  if (params->scale == 1 && params->shift == 0) heed__cl_define(&k, "EXACT", "1");
  heed__cl_tensor(&k, x);
  heed__cl_tensor(&k, index);
  heed__cl_tensor(&k, y);
  heed__cl_long(&k, x->dims[0]);
  heed__cl_long(&k, y->dims[1]);
  heed__cl_long(&k, y->dims[0]);
  heed__cl_uint(&k, (uint32_t)walk);
  heed__cl_float(&k, params->scale);
  heed__cl_float(&k, params->shift);
  const int64_t items = y->dims[0] * heed__ceil_div(y->dims[1], walk);
  return cpu_like ? heed__cl_launch_walks(&k, items) : heed__cl_launch_items(&k, items);
}
