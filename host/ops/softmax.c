// softmax and log-softmax: checks the arguments and makes any axis the middle one of [outer, axis, inner].
#include "ops/check.h"

static void to_rank3(const heed_tensor *x, int axis, struct heed_tensor *view) {
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= x->dims[i];
  for (int i = axis + 1; i < x->rank; ++i) inner *= x->dims[i];
  heed__reshape_init(view, x, 3, (const int64_t[]){outer, x->dims[axis], inner});
}

static heed_status softmax_fwd(const char *name, const heed_tensor *x, int axis, heed_tensor *y, bool log) {
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {"x", x, HEED__FLOAT}, {"y", y, HEED__FLOAT | HEED__OUT});
  HEED__TRY(heed__check_same_shape(name, "x", x, "y", y));
  HEED__TRY(heed__check_axis(name, "x", x, axis, &axis));
  if (y->count == 0) return HEED_OK;
  struct heed_tensor x3, y3;
  to_rank3(x, axis, &x3);
  to_rank3(y, axis, &y3);
  const struct heed__softmax_params params = {log};
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_softmax_fwd,
                                                  .name = name,
                                                  .in = {[HEED__softmax_fwd_x] = &x3},
                                                  .out = {[HEED__softmax_fwd_y] = &y3},
                                                  .params = &params});
}

static heed_status softmax_bwd(const char *name, const heed_tensor *y, const heed_tensor *dy, int axis, heed_tensor *dx,
                               bool log) {
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {"y", y, HEED__FLOAT}, {"dy", dy, HEED__FLOAT}, {"dx", dx, HEED__FLOAT | HEED__OUT});
  HEED__TRY(heed__check_same_shape(name, "y", y, "dy", dy));
  HEED__TRY(heed__check_same_shape(name, "y", y, "dx", dx));
  HEED__TRY(heed__check_axis(name, "y", y, axis, &axis));
  if (dx->count == 0) return HEED_OK;
  struct heed_tensor y3, dy3, dx3;
  to_rank3(y, axis, &y3);
  to_rank3(dy, axis, &dy3);
  to_rank3(dx, axis, &dx3);
  const struct heed__softmax_params params = {log};
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_softmax_bwd,
                                                  .name = name,
                                                  .in = {[HEED__softmax_bwd_y] = &y3, [HEED__softmax_bwd_dy] = &dy3},
                                                  .out = {[HEED__softmax_bwd_dx] = &dx3},
                                                  .params = &params});
}

heed_status heed_softmax_fwd(const heed_tensor *x, int axis, heed_tensor *y) {
  return softmax_fwd("softmax_fwd", x, axis, y, false);
}
heed_status heed_log_softmax_fwd(const heed_tensor *x, int axis, heed_tensor *y) {
  return softmax_fwd("log_softmax_fwd", x, axis, y, true);
}
heed_status heed_softmax_bwd(const heed_tensor *y, const heed_tensor *dy, int axis, heed_tensor *dx) {
  return softmax_bwd("softmax_bwd", y, dy, axis, dx, false);
}
heed_status heed_log_softmax_bwd(const heed_tensor *y, const heed_tensor *dy, int axis, heed_tensor *dx) {
  return softmax_bwd("log_softmax_bwd", y, dy, axis, dx, true);
}
