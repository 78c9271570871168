// LayerNorm and RMSNorm: checks the arguments, turns the leading axes into rows, and dispatches the calls.
#include <math.h>

#include "ops/check.h"

static heed_status check_eps(const char *op, double eps) {
  HEED__REQUIRE(isfinite(eps) && eps >= 0, HEED_ERROR_INVALID_ARGUMENT, "%s: eps is %g; it must be finite and >= 0", op,
                eps);
  return HEED_OK;
}

// vector: weight, or what must have its shape; NULL is right.
static heed_status check_vector(const char *op, const char *name, const heed_tensor *vector, const char *x_name,
                                const heed_tensor *x) {
  HEED__REQUIRE(!vector || (x->rank >= 1 && vector->rank == 1 && vector->dims[0] == x->dims[x->rank - 1]),
                HEED_ERROR_SHAPE, "%s: %s %s does not fit %s %s; it must have one axis, as long as the last of %s", op,
                name, heed__tensor_text(vector), x_name, heed__tensor_text(x), x_name);
  return HEED_OK;
}

// x [..., C] as [rows, C]; NULL stays NULL.
static heed_tensor *as_rows(const heed_tensor *x, struct heed_tensor *view) {
  if (!x) return NULL;
  int64_t rows = 1;
  for (int axis = 0; axis < x->rank - 1; ++axis) rows *= x->dims[axis];
  heed__reshape_init(view, x, 2, (const int64_t[]){rows, x->dims[x->rank - 1]});
  return view;
}

// What a forward works on. addend and sum NULL: the norm is that of x.
struct forward {
  enum heed__op op;  // rms_norm_fwd has the slots of layer_norm_fwd but bias
  const char *name;
  const heed_tensor *x, *addend, *weight, *bias;
  double eps;
};

// Rows of x and addend are read before theirs of sum is written, but weight and bias are read after it.
static heed_status check_sum(const struct forward *f, const heed_tensor *sum) {
  HEED__TRY(heed__check_same_shape(f->name, "a", f->x, "b", f->addend));
  HEED__TRY(heed__check_same_shape(f->name, "a", f->x, "sum", sum));
  HEED__REQUIRE(!heed_tensor_overlaps(sum, f->weight), HEED_ERROR_INVALID_ARGUMENT, "%s: sum overlaps weight in memory",
                f->name);
  HEED__REQUIRE(!heed_tensor_overlaps(sum, f->bias), HEED_ERROR_INVALID_ARGUMENT, "%s: sum overlaps bias in memory",
                f->name);
  return HEED_OK;
}

static heed_status forward(const struct forward *f, bool adds, heed_tensor *sum, heed_tensor *y) {
  heed_context *ctx;
  const unsigned added = adds ? 0 : HEED__OPTIONAL;
  const char *x_name = adds ? "a" : "x";
  HEED__CHECK_ARGS(f->name, &ctx, {x_name, f->x, HEED__FLOAT}, {"b", f->addend, HEED__FLOAT | added},
                   {"weight", f->weight, HEED__FLOAT}, {"bias", f->bias, HEED__FLOAT | HEED__OPTIONAL},
                   {"sum", sum, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE | added},
                   {"y", y, HEED__FLOAT | HEED__OUT | (adds ? 0 : HEED__IN_PLACE)});
  HEED__TRY(check_vector(f->name, "weight", f->weight, x_name, f->x));
  HEED__TRY(check_vector(f->name, "bias", f->bias, x_name, f->x));
  if (adds) HEED__TRY(check_sum(f, sum));
  HEED__TRY(heed__check_same_shape(f->name, x_name, f->x, "y", y));
  HEED__TRY(check_eps(f->name, f->eps));
  if (y->count == 0) return HEED_OK;
  struct heed_tensor x2, addend2, sum2, y2;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = f->op,
               .name = f->name,
               .in = {[HEED__layer_norm_fwd_x] = as_rows(f->x, &x2),
                      [HEED__layer_norm_fwd_addend] = as_rows(f->addend, &addend2),
                      [HEED__layer_norm_fwd_weight] = f->weight,
                      [HEED__layer_norm_fwd_bias] = f->bias},
               .out = {[HEED__layer_norm_fwd_y] = as_rows(y, &y2), [HEED__layer_norm_fwd_sum] = as_rows(sum, &sum2)},
               .params = &(struct heed__norm_params){.eps = f->eps}});
}

heed_status heed_layer_norm_fwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *bias, double eps,
                                heed_tensor *y) {
  const struct forward f = {HEED__OP_layer_norm_fwd, "layer_norm_fwd", x, NULL, weight, bias, eps};
  return forward(&f, false, NULL, y);
}
heed_status heed_rms_norm_fwd(const heed_tensor *x, const heed_tensor *weight, double eps, heed_tensor *y) {
  const struct forward f = {HEED__OP_rms_norm_fwd, "rms_norm_fwd", x, NULL, weight, NULL, eps};
  return forward(&f, false, NULL, y);
}

heed_status heed_add_layer_norm_fwd(const heed_tensor *a, const heed_tensor *b, const heed_tensor *weight,
                                    const heed_tensor *bias, double eps, heed_tensor *sum, heed_tensor *y) {
  const struct forward f = {HEED__OP_layer_norm_fwd, "add_layer_norm_fwd", a, b, weight, bias, eps};
  return forward(&f, true, sum, y);
}
heed_status heed_add_rms_norm_fwd(const heed_tensor *a, const heed_tensor *b, const heed_tensor *weight, double eps,
                                  heed_tensor *sum, heed_tensor *y) {
  const struct forward f = {HEED__OP_rms_norm_fwd, "add_rms_norm_fwd", a, b, weight, NULL, eps};
  return forward(&f, true, sum, y);
}

// ---------------------------------------------------------------- backward

static heed_status check_backward(const char *op, const heed_tensor *x, const heed_tensor *weight,
                                  const heed_tensor *dy, const heed_tensor *residual, double eps,
                                  const heed_tensor *dx) {
  HEED__TRY(check_vector(op, "weight", weight, "x", x));
  HEED__TRY(heed__check_same_shape(op, "x", x, "dy", dy));
  if (residual) HEED__TRY(heed__check_same_shape(op, "x", x, "residual", residual));
  if (dx) HEED__TRY(heed__check_same_shape(op, "x", x, "dx", dx));
  return check_eps(op, eps);
}

heed_status heed_layer_norm_bwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy,
                                const heed_tensor *residual, double eps, heed_tensor *dx, heed_tensor *dweight,
                                heed_tensor *dbias, bool accumulate) {
  static const char op[] = "layer_norm_bwd";
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {"x", x, HEED__FLOAT}, {"weight", weight, HEED__FLOAT}, {"dy", dy, HEED__FLOAT},
                   {"residual", residual, HEED__FLOAT | HEED__OPTIONAL},
                   {"dx", dx, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT | HEED__IN_PLACE},
                   {"dweight", dweight, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT},
                   {"dbias", dbias, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT});
  HEED__TRY(check_backward(op, x, weight, dy, residual, eps, dx));
  HEED__TRY(check_vector(op, "dweight", dweight, "x", x));
  HEED__TRY(check_vector(op, "dbias", dbias, "x", x));
  if (weight->count == 0) return HEED_OK;
  struct heed_tensor x2, dy2, residual2, dx2;
  return heed__dispatch(
      ctx, &(struct heed__call){.op = HEED__OP_layer_norm_bwd,
                                .in = {[HEED__layer_norm_bwd_x] = as_rows(x, &x2),
                                       [HEED__layer_norm_bwd_weight] = weight,
                                       [HEED__layer_norm_bwd_dy] = as_rows(dy, &dy2),
                                       [HEED__layer_norm_bwd_residual] = as_rows(residual, &residual2)},
                                .out = {[HEED__layer_norm_bwd_dx] = as_rows(dx, &dx2),
                                        [HEED__layer_norm_bwd_dweight] = dweight,
                                        [HEED__layer_norm_bwd_dbias] = dbias},
                                .params = &(struct heed__norm_params){.eps = eps, .accumulate = accumulate}});
}

heed_status heed_rms_norm_bwd(const heed_tensor *x, const heed_tensor *weight, const heed_tensor *dy,
                              const heed_tensor *residual, double eps, heed_tensor *dx, heed_tensor *dweight,
                              bool accumulate) {
  static const char op[] = "rms_norm_bwd";
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {"x", x, HEED__FLOAT}, {"weight", weight, HEED__FLOAT}, {"dy", dy, HEED__FLOAT},
                   {"residual", residual, HEED__FLOAT | HEED__OPTIONAL},
                   {"dx", dx, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT | HEED__IN_PLACE},
                   {"dweight", dweight, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT});
  HEED__TRY(check_backward(op, x, weight, dy, residual, eps, dx));
  HEED__TRY(check_vector(op, "dweight", dweight, "x", x));
  if (weight->count == 0) return HEED_OK;
  struct heed_tensor x2, dy2, residual2, dx2;
  return heed__dispatch(
      ctx,
      &(struct heed__call){.op = HEED__OP_rms_norm_bwd,
                           .in = {[HEED__rms_norm_bwd_x] = as_rows(x, &x2),
                                  [HEED__rms_norm_bwd_weight] = weight,
                                  [HEED__rms_norm_bwd_dy] = as_rows(dy, &dy2),
                                  [HEED__rms_norm_bwd_residual] = as_rows(residual, &residual2)},
                           .out = {[HEED__rms_norm_bwd_dx] = as_rows(dx, &dx2), [HEED__rms_norm_bwd_dweight] = dweight},
                           .params = &(struct heed__norm_params){.eps = eps, .accumulate = accumulate}});
}
