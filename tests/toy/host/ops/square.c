// square: arguments checked, calls sent.
#include "ops/check.h"

heed_status heed_square_fwd(const heed_tensor *x, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("square_fwd", &ctx, {"x", x, HEED__FLOAT}, {"y", y, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape("square_fwd", "x", x, "y", y));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_square_fwd, .in = {[HEED__square_fwd_x] = x}, .out = {[HEED__square_fwd_y] = y}});
}

heed_status heed_square_bwd(const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  heed_context *ctx;
  HEED__CHECK_ARGS("square_bwd", &ctx, {"x", x, HEED__FLOAT}, {"dy", dy, HEED__FLOAT},
                   {"dx", dx, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape("square_bwd", "x", x, "dy", dy));
  HEED__TRY(heed__check_same_shape("square_bwd", "x", x, "dx", dx));
  if (dx->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_square_bwd,
                                                  .in = {[HEED__square_bwd_x] = x, [HEED__square_bwd_dy] = dy},
                                                  .out = {[HEED__square_bwd_dx] = dx}});
}
