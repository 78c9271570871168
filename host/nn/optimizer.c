// SGD over a module's parameters: keeps momentum buffers and counts steps; the formula is heed_sgd()'s. Parameters that lie one
// after another in memory, as a module's do, are stepped as one.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/module.h"

// Parameters first .. first + count − 1 of the list, seen as rank 1 tensors: one launch a step.
struct run {
  size_t first, count;
  heed_tensor *value, *grad, *momentum;  // momentum NULL where options.momentum is 0
};

struct heed_optimizer {
  heed_parameter *parameters;  // a copy of the list; the tensors are the module's
  heed_tensor **momentum;      // of each parameter, a view of its run's
  size_t count;
  struct run *runs;
  size_t run_count;
  heed_sgd_options options;
  int64_t steps;
};

static bool is_rate(double value) { return isfinite(value) && value >= 0; }

static heed_status check_options(const heed_sgd_options *o) {
  HEED__REQUIRE(is_rate(o->lr), HEED_ERROR_INVALID_ARGUMENT, "optimizer: lr is %g; it must be finite and not negative",
                o->lr);
  HEED__REQUIRE(is_rate(o->momentum), HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: momentum is %g; it must be finite and not negative", o->momentum);
  HEED__REQUIRE(is_rate(o->dampening), HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: dampening is %g; it must be finite and not negative", o->dampening);
  HEED__REQUIRE(is_rate(o->weight_decay), HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: weight_decay is %g; it must be finite and not negative", o->weight_decay);
  HEED__REQUIRE(!o->nesterov || (o->momentum > 0 && o->dampening == 0), HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: nesterov needs a momentum over 0 and dampening 0, not %g and %g", o->momentum,
                o->dampening);
  return HEED_OK;
}

// ---------------------------------------------------------------- runs

static bool follows(const heed_tensor *before, const heed_tensor *tensor) {
  return heed_tensor_shares_storage(before, tensor) && heed_tensor_dtype(before) == heed_tensor_dtype(tensor) &&
         heed_tensor_is_contiguous(before) && heed_tensor_is_contiguous(tensor) &&
         heed_tensor_offset(tensor) == heed_tensor_offset(before) + heed_tensor_count(before);
}

static bool continues(const heed_parameter *before, const heed_parameter *parameter) {
  return follows(before->value, parameter->value) && follows(before->grad, parameter->grad);
}

static heed_status check_parameter(const heed_parameter *p) {
  HEED__REQUIRE(p->value && p->grad, HEED_ERROR_INVALID_ARGUMENT, "optimizer: %s has no %s", p->name,
                p->value ? "gradient" : "value");
  HEED__REQUIRE(heed__has_shape(p->grad, heed_tensor_rank(p->value), heed_tensor_dims(p->value)), HEED_ERROR_SHAPE,
                "optimizer: %s is %s but its gradient is %s", p->name, heed_tensor_describe(p->value),
                heed_tensor_describe(p->grad));
  return HEED_OK;
}

// parts: room for the parameters of the run.
static heed_status join_run(const heed_optimizer *optimizer, struct run *run, const heed_tensor **parts) {
  const heed_parameter *parameters = optimizer->parameters + run->first;
  for (size_t i = 0; i < run->count; ++i) parts[i] = parameters[i].value;
  HEED__TRY(heed_tensor_join(parts, run->count, &run->value));
  for (size_t i = 0; i < run->count; ++i) parts[i] = parameters[i].grad;
  return heed_tensor_join(parts, run->count, &run->grad);
}

static heed_status create_momentum(heed_optimizer *optimizer, heed_context *ctx, struct run *run) {
  HEED__TRY(heed__zeros_create(ctx, heed_tensor_dtype(run->value), heed_tensor_count(run->value), &run->momentum));
  int64_t offset = 0;
  for (size_t i = run->first; i < run->first + run->count; ++i) {
    const heed_tensor *value = optimizer->parameters[i].value;
    HEED__TRY(heed_tensor_view(run->momentum, heed_tensor_rank(value), heed_tensor_dims(value),
                               heed_tensor_strides(value), offset, &optimizer->momentum[i]));
    offset += heed_tensor_count(value);
  }
  return HEED_OK;
}

static heed_status create_runs(heed_optimizer *optimizer, heed_context *ctx, const heed_tensor **parts) {
  for (size_t i = 0; i < optimizer->count; ++i) {
    const heed_parameter *parameter = &optimizer->parameters[i];
    HEED__TRY(check_parameter(parameter));
    if (i == 0 || !continues(parameter - 1, parameter)) optimizer->runs[optimizer->run_count++].first = i;
    ++optimizer->runs[optimizer->run_count - 1].count;
  }
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    struct run *run = &optimizer->runs[i];
    heed_status status = join_run(optimizer, run, parts);
    if (status == HEED_OK && optimizer->options.momentum != 0) status = create_momentum(optimizer, ctx, run);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- the optimizer

heed_status heed_optimizer_create(heed_context *ctx, const heed_parameter *parameters, size_t count,
                                  const heed_sgd_options *options, heed_optimizer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && options && (parameters || count == 0), HEED_ERROR_INVALID_ARGUMENT,
                "heed_optimizer_create: an argument is NULL");
  HEED__TRY(check_options(options));
  heed_optimizer *optimizer = calloc(1, sizeof *optimizer);
  HEED__REQUIRE(optimizer, HEED_ERROR_OUT_OF_MEMORY, "no memory for an optimizer");
  optimizer->options = *options;
  optimizer->parameters = calloc(count + 1, sizeof *optimizer->parameters);
  optimizer->momentum = calloc(count + 1, sizeof *optimizer->momentum);
  optimizer->runs = calloc(count + 1, sizeof *optimizer->runs);
  const heed_tensor **parts = calloc(count + 1, sizeof *parts);
  heed_status status = HEED_OK;
  if (!optimizer->parameters || !optimizer->momentum || !optimizer->runs || !parts) {
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for an optimizer of %zu parameters", count);
  } else {
    if (count > 0) memcpy(optimizer->parameters, parameters, count * sizeof *parameters);
    optimizer->count = count;
    status = create_runs(optimizer, ctx, parts);
  }
  free(parts);
  if (status != HEED_OK) {
    heed_optimizer_destroy(optimizer);
    return status;
  }
  *out = optimizer;
  return HEED_OK;
}

void heed_optimizer_destroy(heed_optimizer *optimizer) {
  if (!optimizer) return;
  for (size_t i = 0; i < optimizer->count; ++i) heed_tensor_destroy(optimizer->momentum[i]);
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    heed_tensor_destroy(optimizer->runs[i].value);
    heed_tensor_destroy(optimizer->runs[i].grad);
    heed_tensor_destroy(optimizer->runs[i].momentum);
  }
  free(optimizer->runs);
  free(optimizer->momentum);
  free(optimizer->parameters);
  free(optimizer);
}

heed_status heed_optimizer_step(heed_optimizer *optimizer) {
  HEED__REQUIRE(optimizer, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_step: the optimizer is NULL");
  heed_sgd_options options = optimizer->options;
  options.first = optimizer->steps == 0;
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    const struct run *run = &optimizer->runs[i];
    const heed_status status = heed_sgd(&options, run->grad, run->value, run->momentum);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
  }
  ++optimizer->steps;
  return HEED_OK;
}

heed_tensor *heed_optimizer_momentum(const heed_optimizer *optimizer, size_t index) {
  return optimizer && index < optimizer->count ? optimizer->momentum[index] : NULL;
}

int64_t heed_optimizer_steps(const heed_optimizer *optimizer) { return optimizer ? optimizer->steps : 0; }

void heed_optimizer_set_steps(heed_optimizer *optimizer, int64_t steps) {
  if (optimizer) optimizer->steps = steps > 0 ? steps : 0;
}
