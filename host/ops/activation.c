// relu and gelu: checks the arguments and dispatches the calls.
#include "ops/check.h"

// gelu_fwd has the slots of relu_fwd, and gelu_bwd those of relu_bwd.
static heed_status activation_fwd(enum heed__op op, const heed_tensor *x, heed_tensor *y, const void *params) {
  const char *name = heed__op_name(op);
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {"x", x, HEED__FLOAT}, {"y", y, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape(name, "x", x, "y", y));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = op, .in = {[HEED__relu_fwd_x] = x}, .out = {[HEED__relu_fwd_y] = y}, .params = params});
}

static heed_status activation_bwd(enum heed__op op, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx,
                                  const void *params) {
  const char *name = heed__op_name(op);
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {"x", x, HEED__FLOAT}, {"dy", dy, HEED__FLOAT},
                   {"dx", dx, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape(name, "x", x, "dy", dy));
  HEED__TRY(heed__check_same_shape(name, "x", x, "dx", dx));
  if (dx->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = op,
                                                  .in = {[HEED__relu_bwd_x] = x, [HEED__relu_bwd_dy] = dy},
                                                  .out = {[HEED__relu_bwd_dx] = dx},
                                                  .params = params});
}

heed_status heed_relu_fwd(const heed_tensor *x, heed_tensor *y) {
  return activation_fwd(HEED__OP_relu_fwd, x, y, NULL);
}
heed_status heed_relu_bwd(const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  return activation_bwd(HEED__OP_relu_bwd, x, dy, dx, NULL);
}
heed_status heed_gelu_fwd(const heed_tensor *x, heed_gelu_form form, heed_tensor *y) {
  HEED__TRY(heed__check_gelu_form("gelu_fwd", form));
  return activation_fwd(HEED__OP_gelu_fwd, x, y, &(struct heed__gelu_params){form});
}
heed_status heed_gelu_bwd(const heed_tensor *x, const heed_tensor *dy, heed_gelu_form form, heed_tensor *dx) {
  HEED__TRY(heed__check_gelu_form("gelu_bwd", form));
  return activation_bwd(HEED__OP_gelu_bwd, x, dy, dx, &(struct heed__gelu_params){form});
}
