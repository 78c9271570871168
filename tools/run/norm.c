// heed run layer_norm and rms_norm.
#include "run/run.h"

static int check_vector(const run_call *run, const char *name, const heed_tensor *vector, const heed_tensor *x) {
  if (!vector || (heed_tensor_rank(x) >= 1 && heed_tensor_rank(vector) == 1 &&
                  heed_tensor_dim(vector, 0) == heed_tensor_dim(x, -1)))
    return TOOL_DONE;
  return tool_fail(run->args->command, "%s: x is %s and %s %s; they must be [..., C] and [C]", run->op,
                   heed_tensor_describe(x), name, heed_tensor_describe(vector));
}

static int layer_norm(run_call *run) {
  const double eps = run->settings.eps;
  heed_tensor *x, *weight, *bias, *out, *dout, *dx, *dweight, *dbias;
  TOOL_TRY(run_input(run, "x", &x));
  TOOL_TRY(run_input(run, "weight", &weight));
  TOOL_TRY(run_optional(run, "bias", &bias));
  TOOL_TRY(check_vector(run, "weight", weight, x));
  TOOL_TRY(check_vector(run, "bias", bias, x));
  TOOL_TRY(run_create_like(run, x, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  RUN_TRY(run, heed_layer_norm_fwd(x, weight, bias, eps, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  TOOL_TRY(run_create_like(run, weight, &dweight));
  TOOL_TRY(run_create_like(run, bias, &dbias));
  RUN_TRY(run, heed_layer_norm_bwd(x, weight, dout, NULL, eps, dx, dweight, dbias, false));
  TOOL_TRY(run_write(run, "grad.x", dx));
  TOOL_TRY(run_write(run, "grad.weight", dweight));
  return run_write(run, "grad.bias", dbias);
}

static int rms_norm(run_call *run) {
  const double eps = run->settings.eps;
  heed_tensor *x, *weight, *out, *dout, *dx, *dweight;
  TOOL_TRY(run_input(run, "x", &x));
  TOOL_TRY(run_input(run, "weight", &weight));
  TOOL_TRY(check_vector(run, "weight", weight, x));
  TOOL_TRY(run_create_like(run, x, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  RUN_TRY(run, heed_rms_norm_fwd(x, weight, eps, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  TOOL_TRY(run_create_like(run, weight, &dweight));
  RUN_TRY(run, heed_rms_norm_bwd(x, weight, dout, NULL, eps, dx, dweight, false));
  TOOL_TRY(run_write(run, "grad.x", dx));
  return run_write(run, "grad.weight", dweight);
}

static const tool_option layer_norm_options[] = {
    TOOL_OPTION_REAL("eps", run_settings, eps, 0, TOOL_MAX_REAL, "at least 0",
                     "added to the mean of squares (default 1e-5)"),
};
static const tool_option rms_norm_options[] = {
    TOOL_OPTION_REAL("eps", run_settings, eps, 0, TOOL_MAX_REAL, "at least 0",
                     "added to the mean of squares (default 1e-6)"),
};

static const run_name layer_norm_names[] = {{"x", "input"}, {"x", "X"},         {"weight", "Scale"},
                                            {"bias", "B"},  {"grad.out", NULL}, {0}};
static const run_name rms_norm_names[] = {{"x", "input"}, {"x", "X"}, {"weight", "scale"}, {"grad.out", NULL}, {0}};

const run_op run_layer_norm = {
    .name = "layer_norm",
    .summary = "LayerNorm over the last axis",
    .tensors =
        "In:  x [...,C]  weight [C]  bias [C] (may be left out)\n"
        "     grad.out (asks for the gradients)\n"
        "Out: out [...,C]  grad.x  grad.weight  grad.bias",
    .names = layer_norm_names,
    RUN_OPTIONS(layer_norm_options),
    .defaults = {.eps = 1e-5},
    .uses = HEED_USES_ROWS,
    .function = layer_norm,
};

const run_op run_rms_norm = {
    .name = "rms_norm",
    .summary = "RMSNorm over the last axis",
    .tensors =
        "In:  x [...,C]  weight [C]  grad.out (asks for the gradients)\n"
        "Out: out [...,C]  grad.x  grad.weight",
    .names = rms_norm_names,
    RUN_OPTIONS(rms_norm_options),
    .defaults = {.eps = 1e-6},
    .uses = HEED_USES_ROWS,
    .function = rms_norm,
};
