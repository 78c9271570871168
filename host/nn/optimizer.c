// The optimizer: keeps what each kind remembers of every parameter, and counts steps; heed_sgd() and heed_adamw() have the formulas. It
// steps parameters that follow one another in memory, as a module's do, as one tensor. optimizer_run.c makes these runs.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/optimizer.h"

static heed_status check_config(const heed_optimizer_config *config) {
  const bool adamw = config->kind == HEED_OPTIMIZER_ADAMW;
  HEED__REQUIRE(adamw || config->kind == HEED_OPTIMIZER_SGD, HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: kind %d is unknown", (int)config->kind);
  HEED__REQUIRE(isfinite(config->max_norm) && config->max_norm >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: max_norm is %g; it must be finite and >= 0", config->max_norm);
  HEED__REQUIRE(isfinite(config->loss_scale) && config->loss_scale >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: loss_scale is %g; it must be finite and >= 0", config->loss_scale);
  HEED__REQUIRE(adamw || (config->loss_scale == 0 && !config->decay_matrices), HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: loss_scale and decay_matrices are AdamW's; SGD has neither");
  heed_status status = adamw ? heed_adamw_check(&config->adamw) : heed_sgd_check(&config->sgd);
  if (status == HEED_OK) status = heed_grad_control_check(&config->loss_scaling);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "optimizer");
}

// ---------------------------------------------------------------- making it

// What a step's control keeps on the device.
static heed_status create_control(heed_optimizer *optimizer) {
  const heed_optimizer_config *config = &optimizer->config;
  const bool adamw = config->kind == HEED_OPTIMIZER_ADAMW;
  if (optimizer->count == 0 || (!adamw && config->max_norm == 0)) return HEED_OK;
  heed_context *ctx = heed_tensor_context(optimizer->parameters->value);
  HEED__TRY(heed__zeros_create(ctx, HEED_F32, 1, &optimizer->norm));
  if (!adamw && !config->squares) return HEED_OK;
  HEED__TRY(heed__zeros_create(ctx, HEED_F32, 1, &optimizer->squares));
  HEED__TRY(heed__zeros_create(ctx, HEED_F32, 1, &optimizer->factor));
  HEED__TRY(heed__zeros_create(ctx, HEED_I32, 4, &optimizer->counts));
  HEED__TRY(heed_tensor_view(optimizer->counts, 1, (const int64_t[]){1}, (const int64_t[]){1}, 0, &optimizer->applied));
  if (config->loss_scale == 0) return HEED_OK;
  const float scale = (float)config->loss_scale;
  return heed_tensor_create_from(ctx, HEED_F32, 1, (const int64_t[]){1}, &scale, &optimizer->scale);
}

static heed_status fill_optimizer(heed_optimizer *optimizer, const heed_parameter *parameters, size_t count) {
  bool failed = false;
  optimizer->parameters = calloc(count + 1, sizeof *optimizer->parameters);
  optimizer->runs = calloc(count + 1, sizeof *optimizer->runs);
  optimizer->grads = calloc(count + 1, sizeof *optimizer->grads);
  for (int i = 0; i < HEED__MEMORIES; ++i) {
    optimizer->memory[i] = calloc(count + 1, sizeof *optimizer->memory[i]);
    failed = failed || !optimizer->memory[i];
  }
  HEED__REQUIRE(!failed && optimizer->parameters && optimizer->runs && optimizer->grads, HEED_ERROR_OUT_OF_MEMORY,
                "no memory for an optimizer of %zu parameters", count);
  if (count > 0) memcpy(optimizer->parameters, parameters, count * sizeof *parameters);
  optimizer->count = count;
  HEED__TRY(heed__optimizer_runs_create(optimizer));
  return create_control(optimizer);
}

heed_status heed_optimizer_create(const heed_parameter *parameters, size_t count, const heed_optimizer_config *config,
                                  heed_optimizer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(config && (parameters || count == 0), HEED_ERROR_INVALID_ARGUMENT,
                "heed_optimizer_create: an argument is NULL");
  HEED__TRY(check_config(config));
  heed_optimizer *optimizer = calloc(1, sizeof *optimizer);
  HEED__REQUIRE(optimizer, HEED_ERROR_OUT_OF_MEMORY, "no memory for an optimizer");
  optimizer->config = *config;
  const heed_status status = fill_optimizer(optimizer, parameters, count);
  if (status != HEED_OK) {
    heed_optimizer_destroy(optimizer);
    return status;
  }
  *out = optimizer;
  return HEED_OK;
}

void heed_optimizer_destroy(heed_optimizer *optimizer) {
  if (!optimizer) return;
  for (int m = 0; m < HEED__MEMORIES; ++m) {
    for (size_t i = 0; i < optimizer->count; ++i) heed_tensor_destroy(optimizer->memory[m][i]);
    free(optimizer->memory[m]);
  }
  for (size_t i = 0; i < optimizer->run_count; ++i) heed__optimizer_run_destroy(&optimizer->runs[i]);
  heed_tensor_destroy(optimizer->applied);
  heed_tensor *const tensors[] = {optimizer->squares, optimizer->norm, optimizer->factor, optimizer->counts,
                                  optimizer->scale};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; ++i) heed_tensor_destroy(tensors[i]);
  free(optimizer->grads);
  free(optimizer->runs);
  free(optimizer->parameters);
  free(optimizer);
}

// ---------------------------------------------------------------- stepping

// By the norm of more gradients than these.
static heed_status clip_by_squares(const heed_optimizer *optimizer) {
  const heed_grad_control_options control = {.max_norm = optimizer->config.max_norm};
  const heed_grad_control_state state = {optimizer->norm, optimizer->factor, optimizer->counts, NULL};
  HEED__TRY(heed_grad_control(&control, optimizer->config.squares, &state));
  for (size_t i = 0; i < optimizer->run_count; ++i)
    HEED__TRY(heed_mul(optimizer->runs[i].grad, optimizer->factor, optimizer->runs[i].grad));
  return HEED_OK;
}

static heed_status clip_sgd(const heed_optimizer *optimizer) {
  if (!optimizer->norm) return HEED_OK;
  if (optimizer->config.squares) return clip_by_squares(optimizer);
  return heed_clip_grad_norm(optimizer->grads, optimizer->run_count, optimizer->config.max_norm, optimizer->norm);
}

static heed_status step_sgd(const heed_optimizer *optimizer) {
  heed_sgd_options options = optimizer->config.sgd;
  options.first = optimizer->steps == 0;
  HEED__TRY(clip_sgd(optimizer));
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    const struct heed__optimizer_run *run = &optimizer->runs[i];
    const heed_status status = heed_sgd(&options, run->grad, run->value, run->memory[HEED__MOMENTUM]);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
  }
  return HEED_OK;
}

// Before the first step, and after the caller has set the count of steps: brings the device's memory to it.
static heed_status begin_adamw(heed_optimizer *optimizer) {
  if (optimizer->is_counted) return HEED_OK;
  const int32_t steps = (int32_t)(optimizer->steps < INT32_MAX ? optimizer->steps : INT32_MAX);
  HEED__TRY(heed_tensor_upload(optimizer->counts, (const int32_t[]){steps, steps, 0, 0}, 4 * sizeof steps));
  for (size_t i = 0; steps == 0 && i < optimizer->run_count; ++i) {
    HEED__TRY(heed_fill(optimizer->runs[i].memory[HEED__EXP_AVG], 0));
    HEED__TRY(heed_fill(optimizer->runs[i].memory[HEED__EXP_AVG_SQ], 0));
  }
  optimizer->is_counted = true;
  return HEED_OK;
}

static heed_status step_adamw(heed_optimizer *optimizer) {
  if (optimizer->count == 0) return HEED_OK;
  HEED__TRY(begin_adamw(optimizer));
  heed_grad_control_options control = optimizer->config.loss_scaling;
  control.max_norm = optimizer->config.max_norm;
  const heed_grad_control_state state = {optimizer->norm, optimizer->factor, optimizer->counts, optimizer->scale};
  const heed_tensor *squares = optimizer->config.squares;
  if (!squares) {
    squares = optimizer->squares;
    HEED__TRY(heed_sum_squares((const heed_tensor *const *)optimizer->grads, optimizer->run_count, optimizer->squares));
  }
  HEED__TRY(heed_grad_control(&control, squares, &state));
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    const struct heed__optimizer_run *run = &optimizer->runs[i];
    heed_tensor *master = run->memory[HEED__MASTER];
    const heed_adamw_inputs inputs = {run->grad, run->decaying, optimizer->factor, optimizer->applied};
    const heed_status status =
        heed_adamw(&optimizer->config.adamw, &inputs, master ? master : run->value, run->memory[HEED__EXP_AVG],
                   run->memory[HEED__EXP_AVG_SQ], master ? run->value : NULL);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
  }
  return HEED_OK;
}

heed_status heed_optimizer_step(heed_optimizer *optimizer) {
  HEED__REQUIRE(optimizer, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_step: the optimizer is NULL");
  HEED__TRY(optimizer->config.kind == HEED_OPTIMIZER_ADAMW ? step_adamw(optimizer) : step_sgd(optimizer));
  ++optimizer->steps;
  return HEED_OK;
}

// ---------------------------------------------------------------- what it holds

heed_tensor *heed_optimizer_state(const heed_optimizer *optimizer, const char *name, size_t index) {
  static const char *const names[] = {"momentum_buffer", "exp_avg", "exp_avg_sq", "master"};
  if (!optimizer || !name || index >= optimizer->count) return NULL;
  for (int i = 0; i < HEED__MEMORIES; ++i)
    if (strcmp(name, names[i]) == 0) return optimizer->memory[i][index];
  return NULL;
}

double heed_optimizer_learning_rate(const heed_optimizer *optimizer) {
  if (!optimizer) return 0;
  const heed_optimizer_config *config = &optimizer->config;
  return config->kind == HEED_OPTIMIZER_ADAMW ? config->adamw.lr : config->sgd.lr;
}

heed_status heed_optimizer_set_learning_rate(heed_optimizer *optimizer, double learning_rate) {
  HEED__REQUIRE(optimizer, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_set_learning_rate: the optimizer is NULL");
  heed_optimizer_config config = optimizer->config;
  if (config.kind == HEED_OPTIMIZER_ADAMW)
    config.adamw.lr = learning_rate;
  else
    config.sgd.lr = learning_rate;
  HEED__TRY(check_config(&config));
  optimizer->config = config;
  return HEED_OK;
}

int64_t heed_optimizer_steps(const heed_optimizer *optimizer) { return optimizer ? optimizer->steps : 0; }

void heed_optimizer_set_steps(heed_optimizer *optimizer, int64_t steps) {
  if (!optimizer) return;
  optimizer->steps = steps > 0 ? steps : 0;
  optimizer->is_counted = false;
}

heed_status heed_optimizer_set_counts(heed_optimizer *optimizer, const int32_t counts[4]) {
  HEED__REQUIRE(optimizer && counts, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_set_counts: an argument is NULL");
  const bool adamw = heed_optimizer_counts(optimizer);
  HEED__REQUIRE(adamw && counts[0] >= 0 && counts[1] >= counts[0], HEED_ERROR_INVALID_ARGUMENT,
                "heed_optimizer_set_counts: %s",
                adamw ? "fewer steps tried than applied" : "the optimizer is not AdamW");
  optimizer->steps = counts[1];
  optimizer->is_counted = counts[1] > 0;  // the first step makes its own moments
  return heed_tensor_upload(optimizer->counts, counts, 4 * sizeof *counts);
}

const heed_tensor *heed_optimizer_norm(const heed_optimizer *optimizer) { return optimizer ? optimizer->norm : NULL; }
const heed_tensor *heed_optimizer_counts(const heed_optimizer *optimizer) {
  return optimizer && optimizer->config.kind == HEED_OPTIMIZER_ADAMW ? optimizer->counts : NULL;
}
heed_tensor *heed_optimizer_loss_scale(const heed_optimizer *optimizer) { return optimizer ? optimizer->scale : NULL; }
