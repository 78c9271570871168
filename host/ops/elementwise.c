// fill, copy, add: checks the arguments and dispatches the calls. heed.h says what they mean.
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

heed_status heed_add(double alpha, const heed_tensor *a, double beta, const heed_tensor *b, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("add", &ctx, {"a", a, HEED__FLOAT}, {"b", b, HEED__FLOAT},
                   {"y", y, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape("add", "a", a, "b", b));
  HEED__TRY(heed__check_same_shape("add", "a", a, "y", y));
  if (y->count == 0) return HEED_OK;
  const struct heed__add_params params = {alpha, beta};
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_add,
                                                  .in = {[HEED__add_a] = a, [HEED__add_b] = b},
                                                  .out = {[HEED__add_y] = y},
                                                  .params = &params});
}
