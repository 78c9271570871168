// cross_entropy: checks the arguments, finds the axis of classes and dispatches the calls. Class indices out of range are data, and
// become NaN on the device.
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
  HEED__REQUIRE(o->class_axis == HEED_CLASS_AXIS_AUTO || o->class_axis == HEED_CLASS_AXIS_LAST ||
                    o->class_axis == HEED_CLASS_AXIS_1,
                HEED_ERROR_INVALID_ARGUMENT, "%s: class_axis %d is unknown", op, (int)o->class_axis);
  return HEED_OK;
}

static heed_status check_indices(const char *op, const heed_tensor *target) {
  HEED__REQUIRE(target->dtype == HEED_I32 || target->dtype == HEED_I64 || target->dtype == HEED_U8, HEED_ERROR_DTYPE,
                "%s: target is %s; class indices are I32, I64 or U8", op, heed__tensor_text(target));
  return HEED_OK;
}

static heed_status check_target(const char *op, const heed_tensor *input, const heed_tensor *target, bool from_probs) {
  if (heed_dtype_is_float(target->dtype)) {
    HEED__REQUIRE(target->dtype == input->dtype, HEED_ERROR_DTYPE, "%s: target is %s but input is %s", op,
                  heed__tensor_text(target), heed__tensor_text(input));
    return heed__check_same_shape(op, "input", input, "target", target);
  }
  HEED__REQUIRE(!from_probs, HEED_ERROR_DTYPE, "%s: from_probs needs a floating-point target, not %s", op,
                heed__tensor_text(target));
  return check_indices(op, target);
}

// ---------------------------------------------------------------- the axis of classes

// The dims of the rows: those of input without the axis of classes. Returns their number.
static int row_dims(const heed_tensor *input, int axis, int64_t dims[HEED_MAX_RANK]) {
  int rank = 0;
  for (int i = 0; i < input->rank; ++i)
    if (i != axis) dims[rank++] = input->dims[i];
  return rank;
}

static bool has_dims(const heed_tensor *t, int rank, const int64_t *dims) {
  if (t->rank != rank) return false;
  for (int i = 0; i < rank; ++i)
    if (t->dims[i] != dims[i]) return false;
  return true;
}

// Whether the target could be one for classes in this axis.
static bool target_fits(const heed_tensor *input, const heed_tensor *target, int axis) {
  int64_t dims[HEED_MAX_RANK];
  return heed_dtype_is_float(target->dtype) || has_dims(target, row_dims(input, axis, dims), dims);
}

static heed_status find_class_axis(const char *op, const heed_tensor *input, const heed_tensor *target,
                                   heed_class_axis choice, int *axis) {
  HEED__REQUIRE(input->rank >= 2, HEED_ERROR_SHAPE, "%s: input %s is not [N, C], [..., C] or [N, C, ...]", op,
                heed__tensor_text(input));
  const int last = input->rank - 1;
  const bool fits_last = choice != HEED_CLASS_AXIS_1 && target_fits(input, target, last);
  const bool fits_1 = choice != HEED_CLASS_AXIS_LAST && target_fits(input, target, 1);
  HEED__REQUIRE(fits_last || fits_1, HEED_ERROR_SHAPE,
                "%s: target %s does not fit input %s; it has the shape of input without the axis of classes, which %s",
                op, heed__tensor_text(target), heed__tensor_text(input),
                choice == HEED_CLASS_AXIS_1      ? "is axis 1"
                : choice == HEED_CLASS_AXIS_LAST ? "is the last one"
                                                 : "is the last one or axis 1");
  HEED__REQUIRE(
      last == 1 || !fits_last || !fits_1, HEED_ERROR_INVALID_ARGUMENT,
      "%s: target %s fits input %s with %lld classes in axis 1, as PyTorch has them, and with %lld in the last "
      "axis; class_axis must say which is meant",
      op, heed__tensor_text(target), heed__tensor_text(input), (long long)input->dims[1], (long long)input->dims[last]);
  *axis = fits_1 ? 1 : last;
  HEED__REQUIRE(input->dims[*axis] >= 1, HEED_ERROR_SHAPE, "%s: input %s has no class in axis %d", op,
                heed__tensor_text(input), *axis);
  return HEED_OK;
}

// loss: the tensor of losses or of their gradients, or NULL.
static heed_status check_loss(const char *op, const heed_tensor *input, int axis, heed_reduction reduction,
                              const heed_tensor *loss) {
  int64_t dims[HEED_MAX_RANK] = {1};
  const int rank = reduction == HEED_REDUCTION_NONE ? row_dims(input, axis, dims) : 1;
  HEED__REQUIRE(!loss || has_dims(loss, rank, dims), HEED_ERROR_SHAPE, "%s: loss %s must be %s", op,
                heed__tensor_text(loss), heed__dims_text(rank, dims));
  return HEED_OK;
}

static heed_status check_weight(const char *op, const heed_tensor *weight, int64_t classes) {
  HEED__REQUIRE(!weight || (weight->rank == 1 && weight->dims[0] == classes), HEED_ERROR_SHAPE,
                "%s: weight %s must have one number for each of the %lld classes", op, heed__tensor_text(weight),
                (long long)classes);
  return HEED_OK;
}

// ---------------------------------------------------------------- all of it

static heed_status check(const char *op, const heed_tensor *input, const heed_tensor *target,
                         const heed_cross_entropy_options *options, const heed_tensor *loss,
                         struct heed__cross_entropy_params *params) {
  int axis = 1;
  HEED__TRY(check_options(op, options, target));
  HEED__TRY(check_target(op, input, target, options->from_probs));
  HEED__TRY(find_class_axis(op, input, target, options->class_axis, &axis));
  HEED__TRY(check_weight(op, options->weight, input->dims[axis]));
  HEED__TRY(check_loss(op, input, axis, options->reduction, loss));
  const int64_t ignored = options->has_ignore_index ? options->ignore_index : HEED_IGNORE_INDEX;
  *params = (struct heed__cross_entropy_params){
      .rows = 1,
      .classes = input->dims[axis],
      .inner = 1,
      .reduction = options->reduction,
      .from_probs = options->from_probs,
      .label_smoothing = options->label_smoothing,
      .ignores = !heed_dtype_is_float(target->dtype) && ignored != HEED_IGNORE_NOTHING,
      .ignore_index = ignored,
  };
  for (int i = 0; i < input->rank; ++i)
    if (i != axis) *(i < axis ? &params->rows : &params->inner) *= input->dims[i];
  return HEED_OK;
}

heed_status heed_cross_entropy_fwd(const heed_tensor *input, const heed_tensor *target,
                                   const heed_cross_entropy_options *options, heed_tensor *loss) {
  static const char op[] = "cross_entropy_fwd";
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  struct heed__cross_entropy_params params;
  HEED__CHECK_ARGS(op, &ctx, {"input", input, HEED__FLOAT}, {"target", target, 0},
                   {"weight", options->weight, HEED__IS_F32 | HEED__OPTIONAL},
                   {"loss", loss, HEED__IS_F32 | HEED__OUT});
  HEED__TRY(check(op, input, target, options, loss, &params));
  if (loss->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_cross_entropy_fwd,
                                                  .in = {[HEED__cross_entropy_fwd_input] = input,
                                                         [HEED__cross_entropy_fwd_target] = target,
                                                         [HEED__cross_entropy_fwd_weight] = options->weight},
                                                  .out = {[HEED__cross_entropy_fwd_loss] = loss},
                                                  .params = &params});
}

heed_status heed_cross_entropy_bwd(const heed_tensor *input, const heed_tensor *target,
                                   const heed_cross_entropy_options *options, const heed_tensor *dloss,
                                   heed_tensor *dinput) {
  static const char op[] = "cross_entropy_bwd";
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  struct heed__cross_entropy_params params;
  HEED__CHECK_ARGS(op, &ctx, {"input", input, HEED__FLOAT}, {"target", target, 0},
                   {"weight", options->weight, HEED__IS_F32 | HEED__OPTIONAL},
                   {"dloss", dloss, HEED__IS_F32 | HEED__OPTIONAL}, {"dinput", dinput, HEED__FLOAT | HEED__OUT});
  HEED__TRY(check(op, input, target, options, dloss, &params));
  HEED__TRY(heed__check_same_shape(op, "input", input, "dinput", dinput));
  if (dinput->count == 0) return HEED_OK;
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_cross_entropy_bwd,
                                                  .in = {[HEED__cross_entropy_bwd_input] = input,
                                                         [HEED__cross_entropy_bwd_target] = target,
                                                         [HEED__cross_entropy_bwd_weight] = options->weight,
                                                         [HEED__cross_entropy_bwd_dloss] = dloss},
                                                  .out = {[HEED__cross_entropy_bwd_dinput] = dinput},
                                                  .params = &params});
}

// dinput may be input itself, but none of the others.
static heed_status check_in_place(const char *op, const heed_tensor *dinput, const heed_tensor *const *others,
                                  const char *const *names, int count) {
  for (int i = 0; i < count; ++i)
    HEED__REQUIRE(!heed_tensor_overlaps(dinput, others[i]), HEED_ERROR_INVALID_ARGUMENT,
                  "%s: dinput overlaps %s in memory", op, names[i]);
  return HEED_OK;
}

heed_status heed_cross_entropy_fwd_bwd(const heed_tensor *input, const heed_tensor *target,
                                       const heed_cross_entropy_options *options, const heed_tensor *dloss,
                                       heed_tensor *loss, heed_tensor *dinput) {
  static const char op[] = "cross_entropy_fwd_bwd", *const names[] = {"target", "weight", "dloss", "loss"};
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  struct heed__cross_entropy_params params;
  HEED__CHECK_ARGS(op, &ctx, {"input", input, HEED__FLOAT}, {"target", target, 0},
                   {"weight", options->weight, HEED__IS_F32 | HEED__OPTIONAL},
                   {"dloss", dloss, HEED__IS_F32 | HEED__OPTIONAL}, {"loss", loss, HEED__IS_F32 | HEED__OUT},
                   {"dinput", dinput, HEED__FLOAT | HEED__OUT | HEED__IN_PLACE});
  HEED__TRY(check_in_place(op, dinput, (const heed_tensor *const[]){target, options->weight, dloss, loss}, names, 4));
  HEED__TRY(check(op, input, target, options, loss, &params));
  HEED__TRY(check(op, input, target, options, dloss, &params));
  HEED__TRY(heed__check_same_shape(op, "input", input, "dinput", dinput));
  if (loss->count == 0) return HEED_OK;
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_cross_entropy_fwd_bwd,
               .in = {[HEED__cross_entropy_fwd_bwd_input] = input,
                      [HEED__cross_entropy_fwd_bwd_target] = target,
                      [HEED__cross_entropy_fwd_bwd_weight] = options->weight,
                      [HEED__cross_entropy_fwd_bwd_dloss] = dloss},
               .out = {[HEED__cross_entropy_fwd_bwd_loss] = loss, [HEED__cross_entropy_fwd_bwd_dinput] = dinput},
               .params = &params});
}

heed_status heed_cross_entropy_share(const heed_tensor *target, const heed_cross_entropy_options *options,
                                     heed_tensor *share) {
  static const char op[] = "cross_entropy_share";
  const heed_cross_entropy_options defaults = {0};
  if (!options) options = &defaults;
  const heed_tensor *weight = options->weight;
  heed_context *ctx;
  HEED__CHECK_ARGS(op, &ctx, {"target", target, 0}, {"weight", weight, HEED__IS_F32 | HEED__OPTIONAL},
                   {"share", share, HEED__IS_F32 | HEED__OUT});
  HEED__TRY(check_indices(op, target));
  HEED__TRY(check_options(op, options, target));
  HEED__REQUIRE(!options->from_probs, HEED_ERROR_DTYPE, "%s: from_probs needs a floating-point target, not %s", op,
                heed__tensor_text(target));
  HEED__REQUIRE(!weight || (weight->rank == 1 && weight->count >= 1), HEED_ERROR_SHAPE,
                "%s: weight %s must have one number for each class", op, heed__tensor_text(weight));
  HEED__REQUIRE(has_dims(share, 1, (const int64_t[]){1}), HEED_ERROR_SHAPE, "%s: share %s must be [1]", op,
                heed__tensor_text(share));
  const int64_t ignored = options->has_ignore_index ? options->ignore_index : HEED_IGNORE_INDEX;
  const struct heed__cross_entropy_params params = {.rows = target->count,
                                                    .classes = weight ? weight->dims[0] : 1,
                                                    .inner = 1,
                                                    .reduction = HEED_REDUCTION_MEAN,
                                                    .ignores = ignored != HEED_IGNORE_NOTHING,
                                                    .ignore_index = ignored};
  return heed__dispatch(
      ctx, &(struct heed__call){
               .op = HEED__OP_cross_entropy_share,
               .in = {[HEED__cross_entropy_share_target] = target, [HEED__cross_entropy_share_weight] = weight},
               .out = {[HEED__cross_entropy_share_share] = share},
               .params = &params});
}
