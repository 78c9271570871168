// adamw: checks options and shapes and dispatches the calls.
#include <math.h>

#include "ops/check.h"

static heed_status check_rate(const char *name, double value) {
  HEED__REQUIRE(isfinite(value) && value >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "adamw: %s is %g; it must be finite and >= 0", name, value);
  return HEED_OK;
}

static heed_status check_beta(const char *name, double value) {
  HEED__REQUIRE(value >= 0 && value < 1, HEED_ERROR_INVALID_ARGUMENT, "adamw: %s is %g; it must be from 0 to below 1",
                name, value);
  return HEED_OK;
}

heed_status heed_adamw_check(const heed_adamw_options *options) {
  HEED__REQUIRE(options, HEED_ERROR_INVALID_ARGUMENT, "adamw: options is NULL");
  HEED__TRY(check_rate("lr", options->lr));
  HEED__TRY(check_beta("beta1", options->beta1));
  HEED__TRY(check_beta("beta2", options->beta2));
  HEED__TRY(check_rate("eps", options->eps));
  return check_rate("weight_decay", options->weight_decay);
}

static heed_status check_single(const char *name, const heed_tensor *t) {
  HEED__REQUIRE(!t || (t->rank == 1 && t->count == 1), HEED_ERROR_SHAPE, "adamw: %s %s is not [1]", name,
                heed__tensor_text(t));
  return HEED_OK;
}

static heed_status check_inputs(const heed_adamw_inputs *inputs, const heed_tensor *param, const heed_tensor *copy) {
  const heed_tensor *grad = inputs->grad, *decaying = inputs->decaying;
  HEED__REQUIRE(heed_dtype_is_float(grad->dtype), HEED_ERROR_DTYPE, "adamw: grad is %s; F32, F16 or BF16 is needed",
                heed__tensor_text(grad));
  HEED__REQUIRE(!copy || copy->dtype == HEED_F16 || copy->dtype == HEED_BF16, HEED_ERROR_DTYPE,
                "adamw: copy is %s; F16 or BF16 is needed", heed__tensor_text(copy));
  HEED__REQUIRE(!decaying || decaying->dtype == HEED_I64, HEED_ERROR_DTYPE, "adamw: decaying is %s; I64 is needed",
                heed__tensor_text(decaying));
  HEED__REQUIRE(!decaying || (decaying->rank == 2 && decaying->dims[1] == 2), HEED_ERROR_SHAPE,
                "adamw: decaying %s is not [ranges, 2]", heed__tensor_text(decaying));
  HEED__TRY(check_single("factor", inputs->factor));
  HEED__TRY(check_single("steps", inputs->steps));
  HEED__TRY(heed__check_same_shape("adamw", "grad", grad, "param", param));
  return copy ? heed__check_same_shape("adamw", "param", param, "copy", copy) : HEED_OK;
}

heed_status heed_adamw(const heed_adamw_options *options, const heed_adamw_inputs *inputs, heed_tensor *param,
                       heed_tensor *exp_avg, heed_tensor *exp_avg_sq, heed_tensor *copy) {
  HEED__TRY(heed_adamw_check(options));
  HEED__REQUIRE(inputs, HEED_ERROR_INVALID_ARGUMENT, "adamw: inputs is NULL");
  heed_context *ctx;
  HEED__CHECK_ARGS("adamw", &ctx, {"grad", inputs->grad, 0}, {"decaying", inputs->decaying, HEED__OPTIONAL},
                   {"factor", inputs->factor, HEED__IS_F32 | HEED__OPTIONAL},
                   {"steps", inputs->steps, HEED__IS_I32 | HEED__OPTIONAL}, {"param", param, HEED__IS_F32 | HEED__OUT},
                   {"exp_avg", exp_avg, HEED__IS_F32 | HEED__OUT}, {"exp_avg_sq", exp_avg_sq, HEED__IS_F32 | HEED__OUT},
                   {"copy", copy, HEED__OPTIONAL | HEED__OUT});
  HEED__TRY(check_inputs(inputs, param, copy));
  HEED__TRY(heed__check_same_shape("adamw", "param", param, "exp_avg", exp_avg));
  HEED__TRY(heed__check_same_shape("adamw", "param", param, "exp_avg_sq", exp_avg_sq));
  HEED__REQUIRE(inputs->steps || options->step >= 1, HEED_ERROR_INVALID_ARGUMENT,
                "adamw: step is %lld; steps count from 1", (long long)options->step);
  if (param->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_adamw,
                                                  .in = {[HEED__adamw_grad] = inputs->grad,
                                                         [HEED__adamw_decaying] = inputs->decaying,
                                                         [HEED__adamw_factor] = inputs->factor,
                                                         [HEED__adamw_steps] = inputs->steps},
                                                  .out = {[HEED__adamw_param] = param,
                                                          [HEED__adamw_exp_avg] = exp_avg,
                                                          [HEED__adamw_exp_avg_sq] = exp_avg_sq,
                                                          [HEED__adamw_copy] = copy},
                                                  .params = options});
}
