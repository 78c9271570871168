// fill, copy, add, mul, reduce_sum: checks the arguments and dispatches the calls. operators.h says what they mean.
#include <math.h>

#include "ops/check.h"

heed_status heed_fill(heed_tensor *y, double value) {
  heed_context *ctx;
  HEED__CHECK_ARGS("fill", &ctx, {"y", y, HEED__OUT | HEED__STRIDED});
  if (y->count == 0) return HEED_OK;
  const struct heed__fill_params params = {value};
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_fill, .out = {[HEED__fill_y] = y}, .params = &params});
}

heed_status heed_copy(const heed_tensor *x, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("copy", &ctx, {"x", x, HEED__STRIDED}, {"y", y, HEED__OUT | HEED__STRIDED});
  HEED__TRY(heed__check_same_shape("copy", "x", x, "y", y));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){.op = HEED__OP_copy, .in = {[HEED__copy_x] = x}, .out = {[HEED__copy_y] = y}});
}

// ---------------------------------------------------------------- broadcasting

// view = x in the shape of y, with stride 0 where x repeats.
static heed_status broadcast(const char *op, const char *name, const heed_tensor *x, const heed_tensor *y,
                             struct heed_tensor *view) {
  int64_t strides[HEED_MAX_RANK] = {0};
  const int missing = y->rank - x->rank;
  bool fits = missing >= 0;
  for (int axis = 0; fits && axis < x->rank; ++axis) {
    const int64_t dim = x->dims[axis];
    fits = dim == 1 || dim == y->dims[missing + axis];
    strides[missing + axis] = dim == 1 ? 0 : x->strides[axis];
  }
  HEED__REQUIRE(fits, HEED_ERROR_SHAPE, "%s: %s %s does not broadcast to y %s", op, name, heed__tensor_text(x),
                heed__tensor_text(y));
  heed__view_init(view, x, y->rank, y->dims, strides, x->offset);
  return HEED_OK;
}

// mul has the slots of add.
static heed_status combine(enum heed__op op, const heed_tensor *a, const heed_tensor *b, heed_tensor *y,
                           const void *params) {
  const char *name = heed__op_name(op);
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {"a", a, HEED__FLOAT}, {"b", b, HEED__FLOAT},
                   {"y", y, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  struct heed_tensor a_view, b_view;
  HEED__TRY(broadcast(name, "a", a, y, &a_view));
  HEED__TRY(broadcast(name, "b", b, y, &b_view));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = op,
                                                  .in = {[HEED__add_a] = heed__same_shape(a, y) ? a : &a_view,
                                                         [HEED__add_b] = heed__same_shape(b, y) ? b : &b_view},
                                                  .out = {[HEED__add_y] = y},
                                                  .params = params});
}

heed_status heed_add(double alpha, const heed_tensor *a, double beta, const heed_tensor *b, heed_tensor *y) {
  return combine(HEED__OP_add, a, b, y, &(struct heed__add_params){alpha, beta});
}
heed_status heed_mul(const heed_tensor *a, const heed_tensor *b, heed_tensor *y) {
  return combine(HEED__OP_mul, a, b, y, NULL);
}

heed_status heed_reduce_sum(const heed_tensor *x, heed_tensor *y, bool accumulate) {
  heed_context *ctx;
  HEED__CHECK_ARGS("reduce_sum", &ctx, {"x", x, HEED__FLOAT}, {"y", y, HEED__FLOAT | HEED__OUT});
  int64_t dims[HEED_MAX_RANK];
  const int missing = x->rank - y->rank;
  bool fits = missing >= 0;
  for (int axis = 0; fits && axis < x->rank; ++axis) {
    dims[axis] = axis < missing ? 1 : y->dims[axis - missing];
    fits = dims[axis] == 1 || dims[axis] == x->dims[axis];
  }
  HEED__REQUIRE(fits, HEED_ERROR_SHAPE,
                "reduce_sum: y %s must be x %s with some axes made 1, or with leading axes left out",
                heed__tensor_text(y), heed__tensor_text(x));
  if (y->count == 0) return HEED_OK;
  if (x->count == 0) return accumulate ? HEED_OK : heed_fill(y, 0);
  struct heed_tensor view;
  heed__reshape_init(&view, y, x->rank, dims);
  const struct heed__reduce_params params = {accumulate};
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_reduce_sum,
                                                  .in = {[HEED__reduce_sum_x] = x},
                                                  .out = {[HEED__reduce_sum_y] = &view},
                                                  .params = &params});
}
