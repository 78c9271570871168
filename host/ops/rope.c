// Rotary positions: makes tables, checks the arguments of both directions and dispatches the calls.
#include <math.h>
#include <stdlib.h>

#include "ops/check.h"

static heed_status check_table(const char *op, const heed_tensor *table) {
  HEED__REQUIRE(table->rank == 2 && table->dims[1] % 2 == 0, HEED_ERROR_SHAPE, "%s: table %s is not [L, D] with D even",
                op, heed__tensor_text(table));
  return HEED_OK;
}

static void fill_table(double theta, int64_t first, int64_t rows, int64_t width, float *values) {
  // values: [rows, width]
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency = pow(theta, -2.0 * (double)i / (double)width);
    for (int64_t row = 0; row < rows; ++row) {
      const double angle = (double)(first + row) * frequency;
      values[row * width + i] = (float)cos(angle);
      values[row * width + half + i] = (float)sin(angle);
    }
  }
}

heed_status heed_rope_table(double theta, int64_t first, heed_tensor *table) {
  heed_context *ctx;
  HEED__CHECK_ARGS("rope_table", &ctx, {"table", table, HEED__IS_F32 | HEED__OUT});
  HEED__TRY(check_table("rope_table", table));
  HEED__REQUIRE(theta > 0 && isfinite(theta), HEED_ERROR_INVALID_ARGUMENT, "rope_table: theta %g is not above 0",
                theta);
  HEED__REQUIRE(first >= 0 && first <= (INT64_C(1) << 53) - table->dims[0], HEED_ERROR_INVALID_ARGUMENT,
                "rope_table: positions from %lld on, %lld of them, are not in [0, 2^53)", (long long)first,
                (long long)table->dims[0]);
  if (table->count == 0) return HEED_OK;
  float *values = heed__new_array(table->count, sizeof *values);
  HEED__REQUIRE(values, HEED_ERROR_OUT_OF_MEMORY, "rope_table: no host memory for %s", heed__tensor_text(table));
  fill_table(theta, first, table->dims[0], table->dims[1], values);
  const heed_status status = heed_tensor_upload(table, values, heed_tensor_bytes(table));
  free(values);
  return status;
}

static heed_status check_strides(const char *op, const char *name, const heed_tensor *t) {
  HEED__REQUIRE(t->rank == 4, HEED_ERROR_SHAPE, "%s: %s %s is not [B, H, L, D]", op, name, heed__tensor_text(t));
  HEED__REQUIRE(t->dims[3] <= 1 || t->strides[3] == 1, HEED_ERROR_SHAPE,
                "%s: the last axis of %s %s must have stride 1", op, name, heed__tensor_text(t));
  return HEED_OK;
}

// rope_bwd has the slots of rope_fwd.
static heed_status rope(enum heed__op op, const char *in_name, const heed_tensor *in, const heed_tensor *table,
                        heed_rope_style style, const char *out_name, heed_tensor *out) {
  const char *name = heed__op_name(op);
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {in_name, in, HEED__FLOAT | HEED__STRIDED}, {"table", table, HEED__IS_F32},
                   {out_name, out, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE | HEED__STRIDED});
  HEED__REQUIRE(style == HEED_ROPE_HALF || style == HEED_ROPE_INTERLEAVED, HEED_ERROR_INVALID_ARGUMENT,
                "%s: style %d is unknown", name, (int)style);
  HEED__TRY(check_strides(name, in_name, in));
  HEED__TRY(check_strides(name, out_name, out));
  HEED__TRY(heed__check_same_shape(name, in_name, in, out_name, out));
  HEED__TRY(check_table(name, table));
  HEED__REQUIRE(table->dims[0] == in->dims[2] && table->dims[1] == in->dims[3], HEED_ERROR_SHAPE,
                "%s: table %s is not [L, D] of %s %s", name, heed__tensor_text(table), in_name, heed__tensor_text(in));
  if (out->count == 0) return HEED_OK;
  const struct heed__rope_params params = {style};
  return heed__dispatch(ctx, &(struct heed__call){.op = op,
                                                  .in = {[HEED__rope_fwd_x] = in, [HEED__rope_fwd_table] = table},
                                                  .out = {[HEED__rope_fwd_y] = out},
                                                  .params = &params});
}

heed_status heed_rope_fwd(const heed_tensor *x, const heed_tensor *table, heed_rope_style style, heed_tensor *y) {
  return rope(HEED__OP_rope_fwd, "x", x, table, style, "y", y);
}
heed_status heed_rope_bwd(const heed_tensor *dy, const heed_tensor *table, heed_rope_style style, heed_tensor *dx) {
  return rope(HEED__OP_rope_bwd, "dy", dy, table, style, "dx", dx);
}
