// heed run sgd and sqrt_sgd.
#include "run/run.h"

static int sgd(run_call *run) {
  const run_settings *settings = &run->settings;
  if (settings->nesterov && (!(settings->momentum > 0) || settings->dampening != 0))
    return tool_usage(run->args->command, "sgd: --nesterov needs a --momentum above 0 and no --dampening");
  heed_tensor *param, *grad, *buffer = NULL;
  TOOL_TRY(run_input(run, "param", &param));
  TOOL_TRY(run_input(run, "grad", &grad));
  if (settings->momentum == 0 && run_has(run, "momentum_buffer"))
    return tool_fail(run->args->command, "sgd: %s has a momentum_buffer, but --momentum is 0; give it, or leave it out",
                     run_file(run));
  TOOL_TRY(run_optional(run, "momentum_buffer", &buffer));
  const heed_sgd_options options = {.lr = settings->lr,
                                    .momentum = settings->momentum,
                                    .dampening = settings->dampening,
                                    .weight_decay = settings->weight_decay,
                                    .nesterov = settings->nesterov,
                                    .first = !buffer};
  if (settings->momentum > 0 && !buffer) TOOL_TRY(run_create_like(run, param, &buffer));
  RUN_TRY(run, heed_sgd(&options, grad, param, buffer));
  TOOL_TRY(run_write(run, "param", param));
  return run_write(run, "momentum_buffer", buffer);
}

static const tool_option sgd_options[] = {
    TOOL_OPTION_REAL("lr", run_settings, lr, 0, TOOL_MAX_REAL, "at least 0", "learning rate (default 0.01)"),
    TOOL_OPTION_REAL("momentum", run_settings, momentum, 0, TOOL_MAX_REAL, "at least 0", "(default 0)"),
    TOOL_OPTION_REAL("dampening", run_settings, dampening, 0, TOOL_MAX_REAL, "at least 0",
                     "the momentum takes (1 - X) of the gradient (default 0)"),
    TOOL_OPTION_FLAG("nesterov", run_settings, nesterov, "Nesterov momentum"),
    TOOL_OPTION_REAL("weight-decay", run_settings, weight_decay, 0, TOOL_MAX_REAL, "at least 0", "(default 0)"),
};

static const run_name sgd_names[] = {{"param", NULL}, {"grad", NULL}, {"momentum_buffer", NULL}, {0}};

const run_op run_sgd = {
    .name = "sgd",
    .summary = "one step of stochastic gradient descent, by PyTorch's formula",
    .tensors =
        "In:  param  grad  momentum_buffer (leave it out in the first step)\n"
        "Out: param  momentum_buffer, with --momentum",
    .names = sgd_names,
    RUN_OPTIONS(sgd_options),
    .defaults = {.lr = 0.01},
    .uses = HEED_USES_TRAINING,
    .function = sgd,
};

static int sqrt_sgd(run_call *run) {
  heed_tensor *a, *x0, *out;
  TOOL_TRY(run_input(run, "a", &a));
  TOOL_TRY(run_input(run, "x0", &x0));
  TOOL_TRY(run_create_like(run, x0, &out));
  const heed_sqrt_options options = {
      .lr = run->settings.lr, .epochs = run->settings.epochs, .tolerance = run->settings.tolerance};
  RUN_TRY(run, heed_sqrt_sgd(&options, a, x0, out));
  return run_write(run, "out", out);
}

static const tool_option sqrt_options[] = {
    TOOL_OPTION_REAL("lr", run_settings, lr, 0, TOOL_MAX_REAL, "at least 0", "learning rate (default 0.001)"),
    TOOL_OPTION_INTEGER("epochs", run_settings, epochs, 0, TOOL_MAX_COUNT, "at least 0",
                        "the most steps (default 1000)"),
    TOOL_OPTION_REAL("tolerance", run_settings, tolerance, 0, TOOL_MAX_REAL, "at least 0",
                     "stop when (x*x - a)^2 <= X (default 1e-7)"),
};

static const run_name sqrt_sgd_names[] = {{"a", NULL}, {"x0", NULL}, {0}};

const run_op run_sqrt_sgd = {
    .name = "sqrt_sgd",
    .summary = "square roots, each by gradient descent on (x*x - a)^2",
    .tensors = "In:  a [N]  x0 [N], where to start\nOut: out [N]",
    .names = sqrt_sgd_names,
    RUN_OPTIONS(sqrt_options),
    .defaults = {.lr = 0.001, .epochs = 1000, .tolerance = 1e-7},
    .uses = HEED_USES_TRAINING,
    .function = sqrt_sgd,
};
