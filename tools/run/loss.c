// heed run softmax and cross_entropy.
#include <string.h>

#include "run/run.h"

static int softmax(run_call *run) {
  heed_tensor *x, *out, *dout, *dx;
  const int axis = (int)run->settings.axis;
  TOOL_TRY(run_input(run, "x", &x));
  TOOL_TRY(run_create_like(run, x, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  const bool log = run->settings.log;
  RUN_TRY(run, log ? heed_log_softmax_fwd(x, axis, out) : heed_softmax_fwd(x, axis, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  RUN_TRY(run, log ? heed_log_softmax_bwd(out, dout, axis, dx) : heed_softmax_bwd(out, dout, axis, dx));
  return run_write(run, "grad.x", dx);
}

static const tool_option softmax_options[] = {
    TOOL_OPTION_INTEGER("axis", run_settings, axis, -HEED_MAX_RANK, HEED_MAX_RANK - 1, "an axis of x",
                        "axis that sums to 1; negative numbers count from the end (default -1)"),
    TOOL_OPTION_FLAG("log", run_settings, log, "log-softmax instead"),
};

static const run_name softmax_names[] = {{"x", "input"}, {"grad.out", NULL}, {0}};

const run_op run_softmax = {
    .name = "softmax",
    .summary = "softmax or log-softmax over one axis",
    .tensors = "In:  x (any shape)  grad.out (asks for the gradient)\nOut: out  grad.x",
    .names = softmax_names,
    RUN_OPTIONS(softmax_options),
    .defaults = {.axis = -1},
    .uses = HEED_USES_ROWS,
    .function = softmax,
};

// The axis of classes that the library will find, or one of the two between which it will not choose.
static int class_axis(const heed_tensor *input, const heed_tensor *target, heed_class_axis choice) {
  const int last = heed_tensor_rank(input) - 1;
  if (choice != HEED_CLASS_AXIS_AUTO) return choice == HEED_CLASS_AXIS_1 ? 1 : last;
  bool fits_1 = heed_tensor_rank(target) == last;
  for (int i = 0; fits_1 && i < last; i++)
    fits_1 = heed_tensor_dim(target, i) == heed_tensor_dim(input, i < 1 ? i : i + 1);
  return fits_1 ? 1 : last;
}

// The weights of the classes in F32; NULL where the file has none.
static int class_weights(run_call *run, const heed_tensor **out) {
  heed_tensor *weight, *wide;
  TOOL_TRY(run_optional(run, "weight", &weight));
  *out = weight;
  if (!weight || !heed_dtype_is_float(heed_tensor_dtype(weight)) || heed_tensor_dtype(weight) == HEED_F32)
    return TOOL_DONE;
  TOOL_TRY(run_create(run, HEED_F32, heed_tensor_rank(weight), heed_tensor_dims(weight), &wide));
  RUN_TRY(run, heed_copy(weight, wide));
  *out = wide;
  return TOOL_DONE;
}

static int create_loss(run_call *run, const heed_tensor *input, int axis, heed_reduction reduction,
                       heed_tensor **loss) {
  int64_t dims[HEED_MAX_RANK] = {1};
  int rank = reduction == HEED_REDUCTION_NONE ? 0 : 1;
  for (int i = 0; reduction == HEED_REDUCTION_NONE && i < heed_tensor_rank(input); i++)
    if (i != axis) dims[rank++] = heed_tensor_dim(input, i);
  return run_create(run, HEED_F32, rank, dims, loss);
}

static int check_input_name(const run_call *run, const char *name) {
  const run_settings *settings = &run->settings;
  if (settings->from_probs && settings->label_smoothing > 0)
    return tool_usage(run->args->command, "cross_entropy: --label-smoothing needs logits; leave out --from-probs");
  if (!run_has(run, name) && run_has(run, settings->from_probs ? "logits" : "probs"))
    return tool_fail(run->args->command, "cross_entropy: %s has '%s' where '%s' is needed; %s --from-probs",
                     run_file(run), settings->from_probs ? "logits" : "probs", name,
                     settings->from_probs ? "leave out" : "give");
  return TOOL_DONE;
}

// One row may come as [C] with a target without axes, as in PyTorch; the views have the axis of rows.
static int as_row(run_call *run, heed_tensor **input, heed_tensor **target) {
  const int64_t classes = heed_tensor_count(*input), one = 1;
  const bool probabilities = heed_tensor_rank(*target) == 1;
  if (heed_tensor_rank(*input) != 1 || heed_tensor_rank(*target) > 1) return TOOL_DONE;
  RUN_TRY(run, heed_tensor_reshape(*input, 2, (const int64_t[]){1, classes}, input));
  TOOL_TRY(run_own(run, *input));
  if (probabilities)
    RUN_TRY(run, heed_tensor_reshape(*target, 2, (const int64_t[]){1, heed_tensor_count(*target)}, target));
  else
    RUN_TRY(run, heed_tensor_reshape(*target, 1, &one, target));
  return run_own(run, *target);
}

static int cross_entropy(run_call *run) {
  const run_settings *settings = &run->settings;
  const char *name = settings->from_probs ? "probs" : "logits";
  heed_tensor *given, *input, *target, *loss, *dgiven, *dinput;
  heed_cross_entropy_options options = {.reduction = (heed_reduction)settings->reduction,
                                        .from_probs = settings->from_probs,
                                        .label_smoothing = settings->label_smoothing,
                                        .has_ignore_index = tool_given(run->args, "ignore-index"),
                                        .ignore_index = settings->ignore_index,
                                        .class_axis = (heed_class_axis)settings->class_axis};
  TOOL_TRY(check_input_name(run, name));
  TOOL_TRY(run_input(run, name, &given));
  TOOL_TRY(run_input(run, "target", &target));
  TOOL_TRY(class_weights(run, &options.weight));
  input = given;
  TOOL_TRY(as_row(run, &input, &target));
  if (heed_tensor_rank(input) < 2)
    return tool_fail(run->args->command,
                     "cross_entropy: %s is %s and target %s; logits are [N,C], [...,C] or [N,C,...], or [C] with one "
                     "class as target",
                     name, heed_tensor_describe(input), heed_tensor_describe(target));
  const int axis = class_axis(input, target, options.class_axis);
  TOOL_TRY(run_check_classes(run, heed_tensor_dim(input, axis), &settings->ignore_index));
  TOOL_TRY(create_loss(run, input, axis, options.reduction, &loss));
  RUN_TRY(run, heed_cross_entropy_fwd(input, target, &options, loss));
  TOOL_TRY(run_write(run, "loss", loss));
  if (!settings->grad) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, given, &dgiven));
  RUN_TRY(run, heed_tensor_reshape(dgiven, heed_tensor_rank(input), heed_tensor_dims(input), &dinput));
  TOOL_TRY(run_own(run, dinput));
  RUN_TRY(run, heed_cross_entropy_bwd(input, target, &options, NULL, dinput));
  return run_write_grad(run, name, dgiven);
}

static const char *const reductions[] = {"mean", "sum", "none", NULL}, *const class_axes[] = {"auto", "last", "1",
                                                                                              NULL};

static const tool_option cross_entropy_options[] = {
    TOOL_OPTION_FLAG("from-probs", run_settings, from_probs, "the input is probabilities, in 'probs'"),
    TOOL_OPTION_REAL("label-smoothing", run_settings, label_smoothing, 0, 1, "from 0 to 1",
                     "move X of each target evenly to all classes (default 0)"),
    TOOL_OPTION_INTEGER("ignore-index", run_settings, ignore_index, -9007199254740992.0, 9007199254740992.0,
                        "within 2^53", "rows of this class do not count (default -100, as in PyTorch)"),
    TOOL_OPTION_CHOICE("class-axis", run_settings, class_axis, class_axes, "auto|last|1",
                       "axis of the classes (default auto: the one that the shape of target leaves)"),
    TOOL_OPTION_CHOICE("reduction", run_settings, reduction, reductions, "mean|sum|none", "(default mean)"),
    TOOL_OPTION_FLAG("grad", run_settings, grad,
                     "write the gradient of the loss (with --reduction none: of the sum of all losses)"),
};

static const run_name cross_entropy_names[] = {{"logits", "input"},  {"logits", "scores"},  {"probs", NULL},
                                               {"target", "labels"}, {"weight", "weights"}, {0}};

const run_op run_cross_entropy = {
    .name = "cross_entropy",
    .summary = "cross-entropy of logits or probabilities",
    .tensors =
        "In:  logits [N,C], [...,C], [N,C,...] or [C] (or probs, with --from-probs)\n"
        "     weight [C], of the classes (may be left out)\n"
        "     target: class indices [N], [...] or [N,...], or probabilities in the shape\n"
        "     of logits\n"
        "Out: loss, F32 [1], or with --reduction none one for each row\n"
        "     grad.logits (or grad.probs) with --grad",
    .names = cross_entropy_names,
    RUN_OPTIONS(cross_entropy_options),
    .defaults = {.ignore_index = HEED_IGNORE_INDEX},
    .uses = HEED_USES_TRAINING,
    .function = cross_entropy,
};
