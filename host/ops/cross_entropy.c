// cross_entropy: checks the arguments and dispatches the calls. Class indices out of range are data, and become NaN on the device.
#include "ops/check.h"

static heed_status check_options(const char *op, const heed_cross_entropy_options *o, const heed_tensor *target) {
  HEED__REQUIRE(
      o->reduction == HEED_REDUCTION_MEAN || o->reduction == HEED_REDUCTION_SUM || o->reduction == HEED_REDUCTION_NONE,
      HEED_ERROR_INVALID_ARGUMENT, "%s: reduction %d is unknown", op, (int)o->reduction);
  HEED__REQUIRE(o->label_smoothing >= 0 && o->label_smoothing <= 1, HEED_ERROR_INVALID_ARGUMENT,
                "%s: label smoothing %g is not in [0, 1]", op, o->label_smoothing);
  HEED__REQUIRE(!o->from_probs || o->label_smoothing == 0, HEED_ERROR_INVALID_ARGUMENT,
                "%s: label smoothing is for logits, not for probabilities", op);
  HEED__REQUIRE(!o->has_ignore_index || !heed_dtype_is_float(target->dtype), HEED_ERROR_INVALID_ARGUMENT,
                "%s: ignore_index needs class indices, but target is %s", op, heed__tensor_text(target));
  return HEED_OK;
}

static heed_status check(const char *op, const heed_tensor *input, const heed_tensor *target,
                         const heed_cross_entropy_options *options, const heed_tensor *loss) {
  HEED__TRY(check_options(op, options, target));
  HEED__REQUIRE(input->rank == 2 && input->dims[1] >= 1, HEED_ERROR_SHAPE, "%s: input %s is not [N, C]", op,
                heed__tensor_text(input));
  if (heed_dtype_is_float(target->dtype)) {
    HEED__REQUIRE(target->dtype == input->dtype, HEED_ERROR_DTYPE, "%s: target is %s but input is %s", op,
                  heed__tensor_text(target), heed__tensor_text(input));
    HEED__TRY(heed__check_same_shape(op, "input", input, "target", target));
  } else {
    HEED__REQUIRE(!options->from_probs, HEED_ERROR_DTYPE, "%s: from_probs needs a floating-point target, not %s", op,
                  heed__tensor_text(target));
    HEED__REQUIRE(target->dtype == HEED_I32 || target->dtype == HEED_I64 || target->dtype == HEED_U8, HEED_ERROR_DTYPE,
                  "%s: target is %s; class indices are I32, I64 or U8", op, heed__tensor_text(target));
    HEED__REQUIRE(target->rank == 1 && target->dims[0] == input->dims[0], HEED_ERROR_SHAPE,
                  "%s: target %s does not fit input %s", op, heed__tensor_text(target), heed__tensor_text(input));
  }
  const int64_t losses = options->reduction == HEED_REDUCTION_NONE ? input->dims[0] : 1;
  HEED__REQUIRE(!loss || (loss->rank == 1 && loss->dims[0] == losses), HEED_ERROR_SHAPE, "%s: loss %s must be [%lld]",
                op, heed__tensor_text(loss), (long long)losses);
  return HEED_OK;
}

heed_status heed_cross_entropy_fwd(const heed_tensor *input, const heed_tensor *target,
                                   const heed_cross_entropy_options *options, heed_tensor *loss) {
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  HEED__CHECK_ARGS("cross_entropy_fwd", &ctx, {"input", input, HEED__FLOAT}, {"target", target, 0},
                   {"loss", loss, HEED__IS_F32 | HEED__OUT});
  HEED__TRY(check("cross_entropy_fwd", input, target, options, loss));
  if (loss->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx,
      &(struct heed__call){.op = HEED__OP_cross_entropy_fwd,
                           .in = {[HEED__cross_entropy_fwd_input] = input, [HEED__cross_entropy_fwd_target] = target},
                           .out = {[HEED__cross_entropy_fwd_loss] = loss},
                           .params = options});
}

heed_status heed_cross_entropy_bwd(const heed_tensor *input, const heed_tensor *target,
                                   const heed_cross_entropy_options *options, const heed_tensor *dloss,
                                   heed_tensor *dinput) {
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  HEED__CHECK_ARGS("cross_entropy_bwd", &ctx, {"input", input, HEED__FLOAT}, {"target", target, 0},
                   {"dloss", dloss, HEED__IS_F32 | HEED__OPTIONAL}, {"dinput", dinput, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check("cross_entropy_bwd", input, target, options, dloss));
  HEED__TRY(heed__check_same_shape("cross_entropy_bwd", "input", input, "dinput", dinput));
  if (dinput->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_cross_entropy_bwd,
                                                  .in = {[HEED__cross_entropy_bwd_input] = input,
                                                         [HEED__cross_entropy_bwd_target] = target,
                                                         [HEED__cross_entropy_bwd_dloss] = dloss},
                                                  .out = {[HEED__cross_entropy_bwd_dinput] = dinput},
                                                  .params = options});
}

heed_status heed_cross_entropy_fwd_bwd(const heed_tensor *input, const heed_tensor *target,
                                       const heed_cross_entropy_options *options, heed_tensor *loss,
                                       heed_tensor *dinput) {
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  HEED__CHECK_ARGS("cross_entropy_fwd_bwd", &ctx, {"input", input, HEED__FLOAT}, {"target", target, 0},
                   {"loss", loss, HEED__IS_F32 | HEED__OUT}, {"dinput", dinput, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check("cross_entropy_fwd_bwd", input, target, options, loss));
  HEED__TRY(heed__check_same_shape("cross_entropy_fwd_bwd", "input", input, "dinput", dinput));
  if (loss->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_cross_entropy_fwd_bwd,
               .in = {[HEED__cross_entropy_fwd_bwd_input] = input, [HEED__cross_entropy_fwd_bwd_target] = target},
               .out = {[HEED__cross_entropy_fwd_bwd_loss] = loss, [HEED__cross_entropy_fwd_bwd_dinput] = dinput},
               .params = options});
}
