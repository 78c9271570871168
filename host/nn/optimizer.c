// The optimizer: keeps what each kind remembers of every parameter, and counts steps; heed_sgd() has SGD's formula. It steps parameters
// that follow one another in memory, as a module's do, as one tensor.
#include <stdlib.h>
#include <string.h>

#include "nn/module.h"

// Parameters first .. first + count − 1 of the list, seen as rank 1 tensors: each step needs one launch for them.
struct run {
  size_t first, count;
  heed_tensor *value, *grad, *momentum;  // momentum NULL where the options' is 0
};

struct heed_optimizer {
  heed_parameter *parameters;  // a copy of the list; the tensors are the module's
  heed_tensor **momentum;      // of each parameter, a view of its run's
  size_t count;
  struct run *runs;
  size_t run_count;
  heed_optimizer_config config;
  int64_t steps;
};

static heed_status check_config(const heed_optimizer_config *config) {
  HEED__REQUIRE(config->kind == HEED_OPTIMIZER_SGD, HEED_ERROR_INVALID_ARGUMENT, "optimizer: kind %d is unknown",
                (int)config->kind);
  const heed_status status = heed_sgd_check(&config->sgd);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "optimizer");
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

static heed_status check_parameter(const heed_parameter *first, const heed_parameter *p) {
  HEED__REQUIRE(p->value && p->grad, HEED_ERROR_INVALID_ARGUMENT, "optimizer: %s has no %s", p->name,
                p->value ? "gradient" : "value");
  HEED__REQUIRE(heed__has_shape(p->grad, heed_tensor_rank(p->value), heed_tensor_dims(p->value)), HEED_ERROR_SHAPE,
                "optimizer: %s is %s but its gradient is %s", p->name, heed_tensor_describe(p->value),
                heed_tensor_describe(p->grad));
  const heed_context *ctx = heed_tensor_context(first->value);
  HEED__REQUIRE(heed_tensor_context(p->value) == ctx && heed_tensor_context(p->grad) == ctx,
                HEED_ERROR_INVALID_ARGUMENT,
                "optimizer: %s is on another context than %s; each needs its own optimizer", p->name, first->name);
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

static heed_status create_momentum(heed_optimizer *optimizer, struct run *run) {
  HEED__TRY(heed__zeros_create(heed_tensor_context(run->value), heed_tensor_dtype(run->value),
                               heed_tensor_count(run->value), &run->momentum));
  int64_t offset = 0;
  for (size_t i = run->first; i < run->first + run->count; ++i) {
    const heed_tensor *value = optimizer->parameters[i].value;
    HEED__TRY(heed_tensor_view(run->momentum, heed_tensor_rank(value), heed_tensor_dims(value),
                               heed_tensor_strides(value), offset, &optimizer->momentum[i]));
    offset += heed_tensor_count(value);
  }
  return HEED_OK;
}

static heed_status create_runs(heed_optimizer *optimizer, const heed_tensor **parts) {
  for (size_t i = 0; i < optimizer->count; ++i) {
    const heed_parameter *parameter = &optimizer->parameters[i];
    HEED__TRY(check_parameter(optimizer->parameters, parameter));
    if (i == 0 || !continues(parameter - 1, parameter)) optimizer->runs[optimizer->run_count++].first = i;
    ++optimizer->runs[optimizer->run_count - 1].count;
  }
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    struct run *run = &optimizer->runs[i];
    heed_status status = join_run(optimizer, run, parts);
    if (status == HEED_OK && optimizer->config.sgd.momentum != 0) status = create_momentum(optimizer, run);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- the optimizer

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
    status = create_runs(optimizer, parts);
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
  heed_sgd_options options = optimizer->config.sgd;
  options.first = optimizer->steps == 0;
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    const struct run *run = &optimizer->runs[i];
    const heed_status status = heed_sgd(&options, run->grad, run->value, run->momentum);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
  }
  ++optimizer->steps;
  return HEED_OK;
}

heed_tensor *heed_optimizer_state(const heed_optimizer *optimizer, const char *name, size_t index) {
  if (!optimizer || !name || index >= optimizer->count) return NULL;
  return strcmp(name, "momentum_buffer") == 0 ? optimizer->momentum[index] : NULL;
}

double heed_optimizer_learning_rate(const heed_optimizer *optimizer) {
  return optimizer ? optimizer->config.sgd.lr : 0;
}

heed_status heed_optimizer_set_learning_rate(heed_optimizer *optimizer, double learning_rate) {
  HEED__REQUIRE(optimizer, HEED_ERROR_INVALID_ARGUMENT, "heed_optimizer_set_learning_rate: the optimizer is NULL");
  heed_optimizer_config config = optimizer->config;
  config.sgd.lr = learning_rate;
  HEED__TRY(check_config(&config));
  optimizer->config = config;
  return HEED_OK;
}

int64_t heed_optimizer_steps(const heed_optimizer *optimizer) { return optimizer ? optimizer->steps : 0; }

void heed_optimizer_set_steps(heed_optimizer *optimizer, int64_t steps) {
  if (optimizer) optimizer->steps = steps > 0 ? steps : 0;
}
