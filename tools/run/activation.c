// heed run gelu, relu, silu, swiglu and dropout.
#include "run/run.h"

// What has one tensor in and one out, of one shape.
typedef struct elementwise {
  heed_status (*forward)(const run_call *run, const heed_tensor *x, heed_tensor *y);
  heed_status (*backward)(const run_call *run, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx);
} elementwise;

static int apply(run_call *run, const elementwise *function) {
  heed_tensor *x, *out, *dout, *dx;
  TOOL_TRY(run_input(run, "x", &x));
  TOOL_TRY(run_create_like(run, x, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  RUN_TRY(run, function->forward(run, x, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  RUN_TRY(run, function->backward(run, x, dout, dx));
  return run_write(run, "grad.x", dx);
}

static const run_name x_names[] = {{"x", "input"}, {"x", "X"}, {"grad.out", NULL}, {0}};
static const char x_tensors[] = "In:  x (any shape)  grad.out (asks for the gradient)\nOut: out  grad.x";

// ---------------------------------------------------------------- gelu

static heed_status gelu_fwd(const run_call *run, const heed_tensor *x, heed_tensor *y) {
  return heed_gelu_fwd(x, (heed_gelu_form)run->settings.approximate, y);
}
static heed_status gelu_bwd(const run_call *run, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  return heed_gelu_bwd(x, dy, (heed_gelu_form)run->settings.approximate, dx);
}
static int gelu(run_call *run) { return apply(run, &(elementwise){gelu_fwd, gelu_bwd}); }

// In the order of heed_gelu_form.
static const char *const approximations[] = {"none", "tanh", NULL};

static const tool_option gelu_options[] = {
    TOOL_OPTION_CHOICE("approximate", run_settings, approximate, approximations, "none|tanh",
                       "none: x times the normal distribution of x; tanh: its approximation (default none)"),
};

const run_op run_gelu = {
    .name = "gelu",
    .summary = "GELU, by the normal distribution or by tanh",
    .tensors = x_tensors,
    .names = x_names,
    RUN_OPTIONS(gelu_options),
    .uses = HEED_USES_ROWS,
    .function = gelu,
};

// ---------------------------------------------------------------- relu, silu

static heed_status relu_fwd(const run_call *run, const heed_tensor *x, heed_tensor *y) {
  (void)run;
  return heed_relu_fwd(x, y);
}
static heed_status relu_bwd(const run_call *run, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  (void)run;
  return heed_relu_bwd(x, dy, dx);
}
static int relu(run_call *run) { return apply(run, &(elementwise){relu_fwd, relu_bwd}); }

const run_op run_relu = {
    .name = "relu",
    .summary = "max(x, 0)",
    .tensors = x_tensors,
    .names = x_names,
    .uses = HEED_USES_ROWS,
    .function = relu,
};

static heed_status silu_fwd(const run_call *run, const heed_tensor *x, heed_tensor *y) {
  (void)run;
  return heed_silu_fwd(x, y);
}
static heed_status silu_bwd(const run_call *run, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  (void)run;
  return heed_silu_bwd(x, dy, dx);
}
static int silu(run_call *run) { return apply(run, &(elementwise){silu_fwd, silu_bwd}); }

const run_op run_silu = {
    .name = "silu",
    .summary = "x / (1 + exp(-x))",
    .tensors = x_tensors,
    .names = x_names,
    .uses = HEED_USES_ROWS,
    .function = silu,
};

// ---------------------------------------------------------------- dropout

static heed_dropout_options dropout_of(const run_call *run) {
  return (heed_dropout_options){.p = run->settings.p, .seed = run->settings.seed};
}
static heed_status dropout_fwd(const run_call *run, const heed_tensor *x, heed_tensor *y) {
  const heed_dropout_options options = dropout_of(run);
  return heed_dropout_fwd(x, &options, y);
}
static heed_status dropout_bwd(const run_call *run, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx) {
  const heed_dropout_options options = dropout_of(run);
  (void)x;
  return heed_dropout_bwd(dy, &options, dx);
}
static int dropout(run_call *run) { return apply(run, &(elementwise){dropout_fwd, dropout_bwd}); }

static const tool_option dropout_options[] = {
    TOOL_OPTION_REAL("p", run_settings, p, 0, 0.99999999999999988898, "from 0 to below 1",
                     "probability of dropping an element (default 0.5)"),
    TOOL_OPTION_UNSIGNED("seed", run_settings, seed, "seed of the dropout (default 0)"),
};

const run_op run_dropout = {
    .name = "dropout",
    .summary = "drops elements at random, and scales the others",
    .tensors = x_tensors,
    .names = x_names,
    RUN_OPTIONS(dropout_options),
    .defaults = {.p = 0.5},
    .uses = HEED_USES_ROWS,
    .function = dropout,
};

// ---------------------------------------------------------------- swiglu

static int swiglu(run_call *run) {
  heed_tensor *gate, *up, *out, *dout, *dgate, *dup;
  TOOL_TRY(run_input(run, "gate", &gate));
  TOOL_TRY(run_input(run, "up", &up));
  TOOL_TRY(run_create_like(run, gate, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  RUN_TRY(run, heed_swiglu_fwd(gate, up, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, gate, &dgate));
  TOOL_TRY(run_create_like(run, up, &dup));
  RUN_TRY(run, heed_swiglu_bwd(gate, up, dout, dgate, dup));
  TOOL_TRY(run_write(run, "grad.gate", dgate));
  return run_write(run, "grad.up", dup);
}

static const run_name swiglu_names[] = {{"gate", NULL}, {"up", NULL}, {"grad.out", NULL}, {0}};

const run_op run_swiglu = {
    .name = "swiglu",
    .summary = "silu(gate) times up",
    .tensors =
        "In:  gate  up (of one shape)  grad.out (asks for the gradients)\n"
        "Out: out  grad.gate  grad.up",
    .names = swiglu_names,
    .uses = HEED_USES_ROWS,
    .function = swiglu,
};
