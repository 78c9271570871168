// sgd and sqrt_sgd: checks options and shapes and dispatches the calls.
#include <math.h>

#include "ops/check.h"

static heed_status check_option(const char *op, const char *name, double value) {
  HEED__REQUIRE(isfinite(value) && value >= 0, HEED_ERROR_INVALID_ARGUMENT, "%s: %s is %g; it must be finite and >= 0",
                op, name, value);
  return HEED_OK;
}

heed_status heed_sgd_check(const heed_sgd_options *options) {
  HEED__REQUIRE(options, HEED_ERROR_INVALID_ARGUMENT, "sgd: options is NULL");
  HEED__TRY(check_option("sgd", "lr", options->lr));
  HEED__TRY(check_option("sgd", "momentum", options->momentum));
  HEED__TRY(check_option("sgd", "dampening", options->dampening));
  HEED__TRY(check_option("sgd", "weight_decay", options->weight_decay));
  HEED__REQUIRE(!options->nesterov || (options->momentum > 0 && options->dampening == 0), HEED_ERROR_INVALID_ARGUMENT,
                "sgd: nesterov needs momentum > 0 (it is %g) and dampening 0 (it is %g)", options->momentum,
                options->dampening);
  return HEED_OK;
}

heed_status heed_sgd(const heed_sgd_options *options, const heed_tensor *grad, heed_tensor *param,
                     heed_tensor *momentum_buffer) {
  HEED__TRY(heed_sgd_check(options));
  heed_context *ctx;
  HEED__CHECK_ARGS("sgd", &ctx, {"grad", grad, HEED__FLOAT}, {"param", param, HEED__FLOAT | HEED__OUT},
                   {"momentum_buffer", momentum_buffer, HEED__FLOAT | HEED__OPTIONAL | HEED__OUT});
  HEED__TRY(heed__check_same_shape("sgd", "grad", grad, "param", param));
  HEED__REQUIRE((momentum_buffer != NULL) == (options->momentum != 0), HEED_ERROR_INVALID_ARGUMENT,
                "sgd: momentum is %g, so momentum_buffer must %s", options->momentum,
                options->momentum != 0 ? "be given" : "be NULL");
  if (momentum_buffer) HEED__TRY(heed__check_same_shape("sgd", "grad", grad, "momentum_buffer", momentum_buffer));
  if (param->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){.op = HEED__OP_sgd,
                                .in = {[HEED__sgd_grad] = grad},
                                .out = {[HEED__sgd_param] = param, [HEED__sgd_momentum_buffer] = momentum_buffer},
                                .params = options});
}

heed_status heed_sqrt_sgd(const heed_sqrt_options *options, const heed_tensor *a, const heed_tensor *x0,
                          heed_tensor *x) {
  HEED__REQUIRE(options, HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd: options is NULL");
  HEED__TRY(check_option("sqrt_sgd", "lr", options->lr));
  HEED__TRY(check_option("sqrt_sgd", "tolerance", options->tolerance));
  HEED__REQUIRE(options->epochs >= 0, HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd: epochs is %lld; it must be >= 0",
                (long long)options->epochs);
  heed_context *ctx;
  HEED__CHECK_ARGS("sqrt_sgd", &ctx, {"a", a, HEED__IS_F32}, {"x0", x0, HEED__IS_F32},
                   {"x", x, HEED__IS_F32 | HEED__OUT});
  HEED__REQUIRE(a->rank == 1, HEED_ERROR_SHAPE, "sqrt_sgd: a %s is not [N]", heed__tensor_text(a));
  HEED__TRY(heed__check_same_shape("sqrt_sgd", "a", a, "x0", x0));
  HEED__TRY(heed__check_same_shape("sqrt_sgd", "a", a, "x", x));
  if (x->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_sqrt_sgd,
                                                  .in = {[HEED__sqrt_sgd_a] = a, [HEED__sqrt_sgd_x0] = x0},
                                                  .out = {[HEED__sqrt_sgd_x] = x},
                                                  .params = options});
}
