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
                           struct heed__linear_params params, heed_tensor *z, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {"x", x, HEED__FLOAT}, {"weight", weight, HEED__FLOAT},
                   {"bias", bias, HEED__FLOAT | HEED__OPTIONAL}, {"z", z, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT},
                   {"y", y, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check_weight(op, weight, bias));
  struct heed_tensor x2, y2, z2;
  HEED__TRY(rows_of(op, "x", x, weight->dims[1], &x2));
  HEED__TRY(rows_of(op, "y", y, weight->dims[0], &y2));
  HEED__REQUIRE(x2.dims[0] == y2.dims[0], HEED_ERROR_SHAPE, "%s: x %s and y %s differ in rows", op,
                heed__tensor_text(x), heed__tensor_text(y));
  if (z) {
    HEED__TRY(heed__check_same_shape(op, "y", y, "z", z));
    HEED__TRY(rows_of(op, "z", z, weight->dims[0], &z2));
  }
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_linear_fwd,
               .name = op,
               .in = {[HEED__linear_fwd_x] = &x2, [HEED__linear_fwd_weight] = weight, [HEED__linear_fwd_bias] = bias},
               .out = {[HEED__linear_fwd_y] = &y2, [HEED__linear_fwd_z] = z ? &z2 : NULL},
               .params = &params});
}

// What a backward reads, and whether it adds to the gradients of the parameters. z NULL: the activation is no gelu.
struct backward {
  const heed_tensor *x, *z, *weight, *dy;
  struct heed__linear_params params;
};

static heed_status backward(const char *op, const struct backward *of, heed_tensor *dx, heed_tensor *dweight,
                            heed_tensor *dbias) {
  const heed_tensor *x = of->x, *z = of->z, *weight = of->weight, *dy = of->dy;
  const bool gelu = of->params.activation == HEED__LINEAR_GELU;
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {gelu ? "y" : "x", x, HEED__FLOAT}, {"weight", weight, HEED__FLOAT},
                   {"dy", dy, HEED__FLOAT}, {"z", z, gelu ? HEED__FLOAT : HEED__FLOAT | HEED__OPTIONAL},
                   {"dx", dx, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT},
                   {"dweight", dweight, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT},
                   {"dbias", dbias, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT});
  HEED__TRY(check_weight(op, weight, dbias));
  struct heed_tensor x2, z2, dy2, dx2;
  HEED__TRY(rows_of(op, "x", x, weight->dims[1], &x2));
  HEED__TRY(rows_of(op, "dy", dy, weight->dims[0], &dy2));
  HEED__REQUIRE(x2.dims[0] == dy2.dims[0], HEED_ERROR_SHAPE, "%s: x %s and dy %s differ in rows", op,
                heed__tensor_text(x), heed__tensor_text(dy));
  if (z) {
    HEED__TRY(heed__check_same_shape(op, "y", x, "z", z));
    HEED__TRY(rows_of(op, "z", z, weight->dims[1], &z2));
  }
  if (dweight) HEED__TRY(heed__check_same_shape(op, "weight", weight, "dweight", dweight));
  if (dx) {
    HEED__TRY(heed__check_same_shape(op, "x", x, "dx", dx));
    HEED__TRY(rows_of(op, "dx", dx, weight->dims[1], &dx2));
  }
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_linear_bwd,
                                                  .name = op,
                                                  .in = {[HEED__linear_bwd_x] = &x2,
                                                         [HEED__linear_bwd_weight] = weight,
                                                         [HEED__linear_bwd_dy] = &dy2,
                                                         [HEED__linear_bwd_z] = z ? &z2 : NULL},
                                                  .out = {[HEED__linear_bwd_dx] = dx ? &dx2 : NULL,
                                                          [HEED__linear_bwd_dweight] = dweight,
                                                          [HEED__linear_bwd_dbias] = dbias},
                                                  .params = &of->params});
}

heed_status heed_linear_fwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias, heed_tensor *y) {
  return forward("linear_fwd", x, weight, bias, (struct heed__linear_params){0}, NULL, y);
}
heed_status heed_linear_relu_fwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias,
                                 heed_tensor *y) {
  return forward("linear_relu_fwd", x, weight, bias, (struct heed__linear_params){.activation = HEED__LINEAR_RELU},
                 NULL, y);
}
heed_status heed_linear_gelu_fwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias,
                                 heed_gelu_form form, heed_tensor *z, heed_tensor *y) {
  HEED__TRY(heed__check_gelu_form("linear_gelu_fwd", form));
  return forward("linear_gelu_fwd", x, weight, bias,
                 (struct heed__linear_params){.activation = HEED__LINEAR_GELU, .form = form}, z, y);
}

heed_status heed_linear_bwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy, heed_tensor *dx,
                            heed_tensor *dweight, heed_tensor *dbias, bool accumulate) {
  const struct backward of = {.x = x, .weight = weight, .dy = dy, .params = {.accumulate = accumulate}};
  return backward("linear_bwd", &of, dx, dweight, dbias);
}
heed_status heed_relu_linear_bwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy,
                                 heed_tensor *dx, heed_tensor *dweight, heed_tensor *dbias, bool accumulate) {
  const struct backward of = {
      .x = x, .weight = weight, .dy = dy, .params = {.activation = HEED__LINEAR_RELU, .accumulate = accumulate}};
  return backward("relu_linear_bwd", &of, dx, dweight, dbias);
}
heed_status heed_gelu_linear_bwd(const heed_tensor *z, const heed_tensor *y, const heed_tensor *weight,
                                 const heed_tensor *dy, heed_gelu_form form, heed_tensor *dz, heed_tensor *dweight,
                                 heed_tensor *dbias, bool accumulate) {
  HEED__TRY(heed__check_gelu_form("gelu_linear_bwd", form));
  const struct backward of = {.x = y,
                              .z = z,
                              .weight = weight,
                              .dy = dy,
                              .params = {.activation = HEED__LINEAR_GELU, .form = form, .accumulate = accumulate}};
  return backward("gelu_linear_bwd", &of, dz, dweight, dbias);
}
