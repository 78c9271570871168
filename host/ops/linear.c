// linear: checks the arguments, turns the leading axes of x into rows, and dispatches the calls.
#include "ops/check.h"

// x [..., width] as [rows, width].
static heed_status rows_of(const char *op, const char *name, const heed_tensor *x, int64_t width,
                           struct heed_tensor *view) {
  HEED__REQUIRE(x->rank >= 1 && x->dims[x->rank - 1] == width, HEED_ERROR_SHAPE,
                "%s: the last axis of %s %s must have %lld", op, name, heed__tensor_text(x), (long long)width);
  int64_t rows = 1;
  for (int axis = 0; axis < x->rank - 1; ++axis) rows *= x->dims[axis];
  heed__reshape_init(view, x, 2, (const int64_t[]){rows, width});
  return HEED_OK;
}

static heed_status check_weight(const char *op, const heed_tensor *weight, const heed_tensor *bias) {
  HEED__REQUIRE(weight->rank == 2, HEED_ERROR_SHAPE, "%s: weight %s is not [out, in]", op, heed__tensor_text(weight));
  HEED__REQUIRE(!bias || (bias->rank == 1 && bias->dims[0] == weight->dims[0]), HEED_ERROR_SHAPE,
                "%s: bias %s does not fit weight %s", op, heed__tensor_text(bias), heed__tensor_text(weight));
  return HEED_OK;
}

static heed_status forward(const char *op, const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias,
                           bool relu, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {"x", x, HEED__FLOAT}, {"weight", weight, HEED__FLOAT},
                   {"bias", bias, HEED__FLOAT | HEED__OPTIONAL}, {"y", y, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check_weight(op, weight, bias));
  struct heed_tensor x2, y2;
  HEED__TRY(rows_of(op, "x", x, weight->dims[1], &x2));
  HEED__TRY(rows_of(op, "y", y, weight->dims[0], &y2));
  HEED__REQUIRE(x2.dims[0] == y2.dims[0], HEED_ERROR_SHAPE, "%s: x %s and y %s differ in rows", op,
                heed__tensor_text(x), heed__tensor_text(y));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_linear_fwd,
               .name = op,
               .in = {[HEED__linear_fwd_x] = &x2, [HEED__linear_fwd_weight] = weight, [HEED__linear_fwd_bias] = bias},
               .out = {[HEED__linear_fwd_y] = &y2},
               .params = &(struct heed__linear_params){.relu = relu}});
}

static heed_status backward(const char *op, const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy,
                            bool relu, heed_tensor *dx, heed_tensor *dweight, heed_tensor *dbias, bool accumulate) {
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {"x", x, HEED__FLOAT}, {"weight", weight, HEED__FLOAT}, {"dy", dy, HEED__FLOAT},
                   {"dx", dx, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT},
                   {"dweight", dweight, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT},
                   {"dbias", dbias, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT});
  HEED__TRY(check_weight(op, weight, dbias));
  struct heed_tensor x2, dy2, dx2;
  HEED__TRY(rows_of(op, "x", x, weight->dims[1], &x2));
  HEED__TRY(rows_of(op, "dy", dy, weight->dims[0], &dy2));
  HEED__REQUIRE(x2.dims[0] == dy2.dims[0], HEED_ERROR_SHAPE, "%s: x %s and dy %s differ in rows", op,
                heed__tensor_text(x), heed__tensor_text(dy));
  if (dweight) HEED__TRY(heed__check_same_shape(op, "weight", weight, "dweight", dweight));
  if (dx) {
    HEED__TRY(heed__check_same_shape(op, "x", x, "dx", dx));
    HEED__TRY(rows_of(op, "dx", dx, weight->dims[1], &dx2));
  }
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_linear_bwd,
               .name = op,
               .in = {[HEED__linear_bwd_x] = &x2, [HEED__linear_bwd_weight] = weight, [HEED__linear_bwd_dy] = &dy2},
               .out = {[HEED__linear_bwd_dx] = dx ? &dx2 : NULL,
                       [HEED__linear_bwd_dweight] = dweight,
                       [HEED__linear_bwd_dbias] = dbias},
               .params = &(struct heed__linear_params){.relu = relu, .accumulate = accumulate}});
}

heed_status heed_linear_fwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias, heed_tensor *y) {
  return forward("linear_fwd", x, weight, bias, false, y);
}
heed_status heed_linear_relu_fwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias,
                                 heed_tensor *y) {
  return forward("linear_relu_fwd", x, weight, bias, true, y);
}

heed_status heed_linear_bwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy, heed_tensor *dx,
                            heed_tensor *dweight, heed_tensor *dbias, bool accumulate) {
  return backward("linear_bwd", x, weight, dy, false, dx, dweight, dbias, accumulate);
}
heed_status heed_relu_linear_bwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy,
                                 heed_tensor *dx, heed_tensor *dweight, heed_tensor *dbias, bool accumulate) {
  return backward("relu_linear_bwd", x, weight, dy, true, dx, dweight, dbias, accumulate);
}
