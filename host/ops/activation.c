// relu, gelu, silu, swiglu and dropout: checks the arguments and dispatches the calls.
#include <math.h>

#include "ops/check.h"

// The slots of all are those of relu_fwd and relu_bwd.
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
heed_status heed_silu_fwd(const heed_tensor *x, heed_tensor *y) {
  return activation_fwd(HEED__OP_silu_fwd, x, y, NULL);
}
heed_status heed_silu_bwd(const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  return activation_bwd(HEED__OP_silu_bwd, x, dy, dx, NULL);
}

heed_status heed_swiglu_fwd(const heed_tensor *gate, const heed_tensor *up, heed_tensor *y) {
  heed_context *ctx;
  HEED__CHECK_ARGS("swiglu_fwd", &ctx, {"gate", gate, HEED__FLOAT}, {"up", up, HEED__FLOAT},
                   {"y", y, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape("swiglu_fwd", "gate", gate, "up", up));
  HEED__TRY(heed__check_same_shape("swiglu_fwd", "gate", gate, "y", y));
  if (y->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_swiglu_fwd,
                                                  .in = {[HEED__swiglu_fwd_gate] = gate, [HEED__swiglu_fwd_up] = up},
                                                  .out = {[HEED__swiglu_fwd_y] = y}});
}

heed_status heed_swiglu_bwd(const heed_tensor *gate, const heed_tensor *up, const heed_tensor *dy, heed_tensor *dgate,
                            heed_tensor *dup) {
  heed_context *ctx;
  const unsigned result = HEED__FLOAT | HEED__OUT | HEED__IN_PLACE;
  HEED__CHECK_ARGS("swiglu_bwd", &ctx, {"gate", gate, HEED__FLOAT}, {"up", up, HEED__FLOAT}, {"dy", dy, HEED__FLOAT},
                   {"dgate", dgate, result}, {"dup", dup, result});
  HEED__REQUIRE(!heed_tensor_overlaps(dgate, dup), HEED_ERROR_INVALID_ARGUMENT,
                "swiglu_bwd: dgate overlaps dup in memory");
  HEED__TRY(heed__check_same_shape("swiglu_bwd", "gate", gate, "up", up));
  HEED__TRY(heed__check_same_shape("swiglu_bwd", "gate", gate, "dy", dy));
  HEED__TRY(heed__check_same_shape("swiglu_bwd", "gate", gate, "dgate", dgate));
  HEED__TRY(heed__check_same_shape("swiglu_bwd", "gate", gate, "dup", dup));
  if (gate->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_swiglu_bwd,
               .in = {[HEED__swiglu_bwd_gate] = gate, [HEED__swiglu_bwd_up] = up, [HEED__swiglu_bwd_dy] = dy},
               .out = {[HEED__swiglu_bwd_dgate] = dgate, [HEED__swiglu_bwd_dup] = dup}});
}

// dropout_bwd has the slots of dropout_fwd.
static heed_status dropout(enum heed__op op, const char *in_name, const heed_tensor *in,
                           const heed_dropout_options *options, const char *out_name, heed_tensor *out) {
  const char *name = heed__op_name(op);
  heed_context *ctx;
  HEED__CHECK_ARGS(name, &ctx, {in_name, in, HEED__FLOAT}, {out_name, out, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(heed__check_same_shape(name, in_name, in, out_name, out));
  HEED__REQUIRE(options, HEED_ERROR_INVALID_ARGUMENT, "%s: options is NULL", name);
  HEED__REQUIRE(options->p >= 0 && options->p < 1, HEED_ERROR_INVALID_ARGUMENT, "%s: p %g is not in [0, 1)", name,
                options->p);
  if (out->count == 0) return HEED_OK;
  HEED__REQUIRE(options->offset <= UINT64_MAX - (uint64_t)out->count, HEED_ERROR_INVALID_ARGUMENT,
                "%s: offset %llu and %lld elements pass 2^64", name, (unsigned long long)options->offset,
                (long long)out->count);
  const struct heed__dropout_params params = {.seed = options->seed,
                                              .offset = options->offset,
                                              .threshold = (uint32_t)fmin(options->p * 0x1p32, 0x1p32 - 1),
                                              .scale = 1 / (1 - options->p)};
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = op, .in = {[HEED__dropout_fwd_x] = in}, .out = {[HEED__dropout_fwd_y] = out}, .params = &params});
}

heed_status heed_dropout_fwd(const heed_tensor *x, const heed_dropout_options *options, heed_tensor *y) {
  return dropout(HEED__OP_dropout_fwd, "x", x, options, "y", y);
}
heed_status heed_dropout_bwd(const heed_tensor *dy, const heed_dropout_options *options, heed_tensor *dx) {
  return dropout(HEED__OP_dropout_bwd, "dy", dy, options, "dx", dx);
}
