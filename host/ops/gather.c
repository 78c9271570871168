// gather_rows and argmax: checks the arguments and dispatches the calls.
#include "ops/check.h"

heed_status heed_gather_rows(const heed_tensor *x, const heed_tensor *index, double scale, double shift,
                             heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("gather_rows", &ctx, {"x", x, 0}, {"index", index, HEED__IS_I32}, {"y", y, HEED__OUT});
  HEED__REQUIRE(x->rank >= 1 && index->rank == 1 && y->rank == x->rank && y->dims[0] == index->dims[0],
                HEED_ERROR_SHAPE, "gather_rows: x %s, index %s and y %s are not [N, ...], [R] and [R, ...]",
                heed__tensor_text(x), heed__tensor_text(index), heed__tensor_text(y));
  int64_t width = 1;
  for (int axis = 1; axis < x->rank; ++axis) {
    HEED__REQUIRE(x->dims[axis] == y->dims[axis], HEED_ERROR_SHAPE,
                  "gather_rows: x %s and y %s differ past their first axis", heed__tensor_text(x),
                  heed__tensor_text(y));
    width *= x->dims[axis];
  }
  if (y->count == 0) return HEED_OK;
  struct heed_tensor rows, result;
  heed__reshape_init(&rows, x, 2, (const int64_t[]){x->dims[0], width});
  heed__reshape_init(&result, y, 2, (const int64_t[]){y->dims[0], width});
  const struct heed__gather_params params = {scale, shift};
  return heed__dispatch(ctx,
                        &(struct heed__call){.op = HEED__OP_gather_rows,
                                             .in = {[HEED__gather_rows_x] = &rows, [HEED__gather_rows_index] = index},
                                             .out = {[HEED__gather_rows_y] = &result},
                                             .params = &params});
}

heed_status heed_argmax(const heed_tensor *x, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("argmax", &ctx, {"x", x, HEED__FLOAT}, {"y", y, HEED__IS_I32 | HEED__OUT});
  HEED__REQUIRE(x->rank == 2 && y->rank == 1 && y->dims[0] == x->dims[0] && x->dims[1] >= 1, HEED_ERROR_SHAPE,
                "argmax: x %s and y %s are not [N, C] and [N]", heed__tensor_text(x), heed__tensor_text(y));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){.op = HEED__OP_argmax, .in = {[HEED__argmax_x] = x}, .out = {[HEED__argmax_y] = y}});
}
