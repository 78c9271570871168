// heed run linear and mlp.
#include <heed/nn.h>
#include <string.h>

#include "cli/model.h"
#include "run/run.h"

static int linear(run_call *run) {
  heed_tensor *x, *weight, *bias, *out, *dout, *dx, *dweight, *dbias;
  TOOL_TRY(run_input(run, "x", &x));
  TOOL_TRY(run_input(run, "weight", &weight));
  TOOL_TRY(run_optional(run, "bias", &bias));
  const int rank = heed_tensor_rank(x);
  if (rank < 1 || heed_tensor_rank(weight) != 2 || heed_tensor_dim(x, -1) != heed_tensor_dim(weight, 1))
    return tool_fail(run->args->command, "linear: x is %s and weight %s; they must be [..., in] and [out, in]",
                     heed_tensor_describe(x), heed_tensor_describe(weight));
  int64_t dims[HEED_MAX_RANK];
  memcpy(dims, heed_tensor_dims(x), (size_t)rank * sizeof *dims);
  dims[rank - 1] = heed_tensor_dim(weight, 0);
  TOOL_TRY(run_create(run, heed_tensor_dtype(x), rank, dims, &out));
  TOOL_TRY(run_optional_like(run, "grad.out", "out", out, &dout));
  RUN_TRY(run, heed_linear_fwd(x, weight, bias, out));
  TOOL_TRY(run_write(run, "out", out));
  if (!dout) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  TOOL_TRY(run_create_like(run, weight, &dweight));
  TOOL_TRY(run_create_like(run, bias, &dbias));
  RUN_TRY(run, heed_linear_bwd(x, weight, dout, dx, dweight, dbias, false));
  TOOL_TRY(run_write(run, "grad.x", dx));
  TOOL_TRY(run_write(run, "grad.weight", dweight));
  return run_write(run, "grad.bias", dbias);
}

static const run_name linear_names[] = {{"x", "input"}, {"weight", NULL}, {"bias", NULL}, {"grad.out", NULL}, {0}};

const run_op run_linear = {
    .name = "linear",
    .summary = "x W^T + b",
    .tensors =
        "In:  x [...,in]  weight [out,in]  bias [out] (may be left out)\n"
        "     grad.out (asks for the gradients)\n"
        "Out: out [...,out]  grad.x  grad.weight  grad.bias",
    .names = linear_names,
    .uses = HEED_USES_PRODUCTS,
    .function = linear,
};

// Finds the gradient of the logits: grad.out, or with --grad that of the loss.
static int logits_grad(run_call *run, const heed_tensor *logits, const heed_tensor *target, heed_tensor **dlogits) {
  TOOL_TRY(run_optional_like(run, "grad.out", "out", logits, dlogits));
  if (!run->settings.grad) return TOOL_DONE;
  if (*dlogits)
    return tool_fail(run->args->command,
                     "mlp: %s has grad.out, and --grad asks for the gradients of the loss; leave out one of them",
                     run_file(run));
  if (!target)
    return tool_fail(run->args->command, "mlp: --grad needs a tensor 'target' in %s to compute the loss",
                     run_file(run));
  TOOL_TRY(run_create_like(run, logits, dlogits));
  RUN_TRY(run, heed_cross_entropy_bwd(logits, target, NULL, NULL, *dlogits));
  return TOOL_DONE;
}

static int forward_backward(run_call *run, heed_mlp *mlp, const heed_tensor *x, int64_t classes) {
  heed_tensor *target, *logits, *loss, *dlogits, *dx;
  TOOL_TRY(run_check_classes(run, classes, &(int64_t){HEED_IGNORE_INDEX}));
  TOOL_TRY(run_optional(run, "target", &target));
  TOOL_TRY(run_create(run, heed_tensor_dtype(x), 2, (const int64_t[]){heed_tensor_dim(x, 0), classes}, &logits));
  RUN_TRY(run, heed_mlp_fwd(mlp, x, true, logits));
  TOOL_TRY(run_write(run, "out", logits));
  if (target) {
    TOOL_TRY(run_create(run, HEED_F32, 1, (const int64_t[]){1}, &loss));
    RUN_TRY(run, heed_cross_entropy_fwd(logits, target, NULL, loss));
    TOOL_TRY(run_write(run, "loss", loss));
  }
  TOOL_TRY(logits_grad(run, logits, target, &dlogits));
  if (!dlogits) return TOOL_DONE;
  TOOL_TRY(run_create_like(run, x, &dx));
  RUN_TRY(run, heed_mlp_bwd(mlp, dlogits, dx, false));
  TOOL_TRY(run_write(run, "grad.x", dx));
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(mlp, &parameters);
  for (size_t i = 0; i < count; i++) TOOL_TRY(run_write_grad(run, parameters[i].name, parameters[i].grad));
  return TOOL_DONE;
}

static int mlp(run_call *run) {
  heed_tensor *x;
  model_shape shape;
  TOOL_TRY(run_input(run, "x", &x));
  TOOL_TRY(model_read_shape(run->args->command, run_file(run), run->in, &shape));
  if (heed_tensor_rank(x) != 2 || heed_tensor_dim(x, 1) != shape.sizes[0] || heed_tensor_dtype(x) != shape.dtype)
    return tool_fail(run->args->command, "mlp: x is %s; with these weights it must be %s[N, %lld]",
                     heed_tensor_describe(x), heed_dtype_string(shape.dtype), (long long)shape.sizes[0]);
  heed_mlp *module = NULL;
  const heed_mlp_config config = {.sizes = shape.sizes, .count = shape.count, .dtype = shape.dtype};
  RUN_TRY(run, heed_mlp_create(run->ctx, &config, 0, &module));
  int status = model_load(run->args->command, run_file(run), run->in, run->ctx, module);
  if (status == TOOL_DONE) status = forward_backward(run, module, x, shape.sizes[shape.count - 1]);
  heed_mlp_destroy(module);
  return status;
}

static const tool_option mlp_options[] = {
    TOOL_OPTION_FLAG("grad", run_settings, grad, "write the gradients of the loss; needs target"),
};

static const run_name mlp_names[] = {{"x", "input"},
                                     {"target", NULL},
                                     {"grad.out", NULL},
                                     {"l1.weight", NULL},
                                     {"l1.bias", NULL},
                                     {"l2.weight", NULL},
                                     {0}};

const run_op run_mlp = {
    .name = "mlp",
    .summary = "linear, relu, ..., linear; with a target, also the mean loss",
    .tensors =
        "In:  x [N,in]  l1.weight l1.bias l2.weight l2.bias ...\n"
        "     (or 0.weight 0.bias 2.weight 2.bias ...)\n"
        "     target: class indices [N], or probabilities\n"
        "     grad.out (asks for the gradients from those of the logits)\n"
        "Out: out [N,classes], the logits  loss, F32 [1], if there is a target  grad.x\n"
        "     grad.l1.weight ...",
    .names = mlp_names,
    .more_names = model_is_layer,
    RUN_OPTIONS(mlp_options),
    .uses = HEED_USES_PRODUCTS | HEED_USES_TRAINING,
    .function = mlp,
};
