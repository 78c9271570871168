// heed run adamw and clip_grad_norm.
#include <stdlib.h>
#include <string.h>

#include "run/run.h"

// State of the shape of param, or zeros where the file has none.
static int find_moment(run_call *run, const char *name, const heed_tensor *param, heed_tensor **out) {
  TOOL_TRY(run_optional_like(run, name, "param", param, out));
  if (*out) return TOOL_DONE;
  if (run->settings.step != 1)
    return tool_fail(run->args->command, "adamw: %s has no %s, which only the first step begins without", run_file(run),
                     name);
  TOOL_TRY(run_create_like(run, param, out));
  RUN_TRY(run, heed_fill(*out, 0));
  return TOOL_DONE;
}

static int adamw(run_call *run) {
  const run_settings *settings = &run->settings;
  heed_tensor *param, *grad, *exp_avg, *exp_avg_sq, *steps;
  TOOL_TRY(run_input(run, "param", &param));
  if (heed_tensor_dtype(param) != HEED_F32)
    return tool_fail(run->args->command, "adamw: param is %s; it must be F32", heed_tensor_describe(param));
  TOOL_TRY(run_input(run, "grad", &grad));
  const bool has_first = run_has(run, "exp_avg"), has_second = run_has(run, "exp_avg_sq");
  if (has_first != has_second)
    return tool_fail(run->args->command, "adamw: %s has %s but no %s; give both, or none in the first step",
                     run_file(run), has_first ? "exp_avg" : "exp_avg_sq", has_first ? "exp_avg_sq" : "exp_avg");
  TOOL_TRY(find_moment(run, "exp_avg", param, &exp_avg));
  TOOL_TRY(find_moment(run, "exp_avg_sq", param, &exp_avg_sq));
  TOOL_TRY(run_create(run, HEED_I32, 1, (const int64_t[]){1}, &steps));
  RUN_TRY(run, heed_fill(steps, (double)settings->step));
  const heed_adamw_options options = {.lr = settings->lr,
                                      .beta1 = settings->beta1,
                                      .beta2 = settings->beta2,
                                      .eps = settings->eps,
                                      .weight_decay = settings->weight_decay};
  RUN_TRY(run,
          heed_adamw(&options, &(heed_adamw_inputs){.grad = grad, .steps = steps}, param, exp_avg, exp_avg_sq, NULL));
  TOOL_TRY(run_write(run, "param", param));
  TOOL_TRY(run_write(run, "exp_avg", exp_avg));
  return run_write(run, "exp_avg_sq", exp_avg_sq);
}

static const tool_option adamw_options[] = {
    TOOL_OPTION_REAL("lr", run_settings, lr, 0, TOOL_MAX_REAL, "at least 0", "learning rate (default 0.001)"),
    TOOL_OPTION_REAL("beta1", run_settings, beta1, 0, 0.99999999999999988898, "from 0 to below 1",
                     "what exp_avg keeps (default 0.9)"),
    TOOL_OPTION_REAL("beta2", run_settings, beta2, 0, 0.99999999999999988898, "from 0 to below 1",
                     "what exp_avg_sq keeps (default 0.999)"),
    TOOL_OPTION_REAL("eps", run_settings, eps, 0, TOOL_MAX_REAL, "at least 0",
                     "added to the root of exp_avg_sq (default 1e-8)"),
    TOOL_OPTION_REAL("weight-decay", run_settings, weight_decay, 0, TOOL_MAX_REAL, "at least 0", "(default 0)"),
    TOOL_OPTION_INTEGER("step", run_settings, step, 1, 2147483647.0, "from 1 to 2147483647",
                        "number of the step, which counts from 1 (default 1)"),
};

static const run_name adamw_names[] = {{"param", NULL}, {"grad", NULL}, {"exp_avg", NULL}, {"exp_avg_sq", NULL}, {0}};

const run_op run_adamw = {
    .name = "adamw",
    .summary = "one step of AdamW, by PyTorch's formula",
    .tensors =
        "In:  param  grad  exp_avg  exp_avg_sq (leave the last two out in the first step)\n"
        "Out: param  exp_avg  exp_avg_sq",
    .names = adamw_names,
    RUN_OPTIONS(adamw_options),
    .defaults = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = 1},
    .uses = HEED_USES_TRAINING,
    .function = adamw,
};

// ---------------------------------------------------------------- clip_grad_norm

static bool is_gradient(const char *name) { return strncmp(name, "grad.", 5) == 0 && name[5]; }

static int clip(run_call *run, heed_tensor **grads) {
  heed_tensor *norm;
  size_t count = 0;
  for (size_t i = 0; i < heed_safetensors_count(run->in); i++) {
    const char *name = heed_safetensors_get(run->in, i)->name;
    if (is_gradient(name)) TOOL_TRY(run_input(run, name, &grads[count++]));
  }
  if (count == 0)
    return tool_fail(run->args->command, "clip_grad_norm: %s has no tensor whose name begins with 'grad.'",
                     run_file(run));
  TOOL_TRY(run_create(run, HEED_F32, 1, (const int64_t[]){1}, &norm));
  RUN_TRY(run, heed_clip_grad_norm(grads, count, run->settings.max_norm, norm));
  TOOL_TRY(run_write(run, "norm", norm));
  count = 0;
  for (size_t i = 0; i < heed_safetensors_count(run->in); i++) {
    const char *name = heed_safetensors_get(run->in, i)->name;
    if (is_gradient(name)) TOOL_TRY(run_write(run, name, grads[count++]));
  }
  return TOOL_DONE;
}

static int clip_grad_norm(run_call *run) {
  heed_tensor **grads = calloc(heed_safetensors_count(run->in) + 1, sizeof(heed_tensor *));
  if (!grads) return tool_fail(run->args->command, "out of memory");
  const int status = clip(run, grads);
  free(grads);
  return status;
}

static const tool_option clip_options[] = {
    TOOL_OPTION_REAL("max-norm", run_settings, max_norm, 0, TOOL_MAX_REAL, "at least 0",
                     "the most that the norm of all gradients may be (default 1)"),
};

static const run_name clip_names[] = {{0}};

const run_op run_clip_grad_norm = {
    .name = "clip_grad_norm",
    .summary = "clips gradients by the norm of all of them together",
    .tensors = "In:  grad.NAME, as many as there are\nOut: the same names  norm, F32 [1]",
    .names = clip_names,
    .more_names = is_gradient,
    RUN_OPTIONS(clip_options),
    .defaults = {.max_norm = 1},
    .uses = HEED_USES_TRAINING,
    .function = clip_grad_norm,
};
