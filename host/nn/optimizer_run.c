// Runs of an optimizer's parameters: which of them lie one after another in memory, what is remembered of them, and which decay.
#include <stdlib.h>

#include "nn/optimizer.h"

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
static heed_status join_run(const heed_optimizer *optimizer, struct heed__optimizer_run *run,
                            const heed_tensor **parts) {
  const heed_parameter *parameters = optimizer->parameters + run->first;
  for (size_t i = 0; i < run->count; ++i) parts[i] = parameters[i].value;
  HEED__TRY(heed_tensor_join(parts, run->count, &run->value));
  for (size_t i = 0; i < run->count; ++i) parts[i] = parameters[i].grad;
  return heed_tensor_join(parts, run->count, &run->grad);
}

// ---------------------------------------------------------------- memory

static heed_status remember(heed_optimizer *optimizer, struct heed__optimizer_run *run,
                            enum heed__optimizer_memory memory, heed_dtype dtype) {
  HEED__TRY(
      heed__zeros_create(heed_tensor_context(run->value), dtype, heed_tensor_count(run->value), &run->memory[memory]));
  int64_t offset = 0;
  for (size_t i = run->first; i < run->first + run->count; ++i) {
    const heed_tensor *value = optimizer->parameters[i].value;
    HEED__TRY(heed_tensor_view(run->memory[memory], heed_tensor_rank(value), heed_tensor_dims(value),
                               heed_tensor_strides(value), offset, &optimizer->memory[memory][i]));
    offset += heed_tensor_count(value);
  }
  return HEED_OK;
}

// Writes the ranges of the run's elements that belong to parameters of rank 2 and more; neighbours are one range.
static heed_status find_decaying(const heed_optimizer *optimizer, struct heed__optimizer_run *run) {
  int64_t *ranges = calloc(2 * run->count + 2, sizeof *ranges), offset = 0, count = 0;
  HEED__REQUIRE(ranges, HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu parameters that decay", run->count);
  for (size_t i = run->first; i < run->first + run->count; ++i) {
    const heed_tensor *value = optimizer->parameters[i].value;
    const int64_t end = offset + heed_tensor_count(value);
    if (heed_tensor_rank(value) >= 2) {
      if (count > 0 && ranges[2 * count - 1] == offset) --count, offset = ranges[2 * count];
      ranges[2 * count] = offset;
      ranges[2 * count + 1] = end;
      ++count;
    }
    offset = end;
  }
  // Without any, the empty range at 0.
  const int64_t dims[] = {count ? count : 1, 2};
  heed_status status = HEED_OK;
  if (count != 1 || ranges[0] != 0 || ranges[1] != offset)
    status = heed_tensor_create_from(heed_tensor_context(run->value), HEED_I64, 2, dims, ranges, &run->decaying);
  free(ranges);
  return status;
}

static heed_status remember_all(heed_optimizer *optimizer, struct heed__optimizer_run *run) {
  const heed_optimizer_config *config = &optimizer->config;
  const heed_dtype dtype = heed_tensor_dtype(run->value);
  if (config->kind == HEED_OPTIMIZER_SGD)
    return config->sgd.momentum != 0 ? remember(optimizer, run, HEED__MOMENTUM, dtype) : HEED_OK;
  HEED__TRY(remember(optimizer, run, HEED__EXP_AVG, HEED_F32));
  HEED__TRY(remember(optimizer, run, HEED__EXP_AVG_SQ, HEED_F32));
  if (dtype != HEED_F32) {
    HEED__TRY(remember(optimizer, run, HEED__MASTER, HEED_F32));
    HEED__TRY(heed_copy(run->value, run->memory[HEED__MASTER]));
  }
  return config->decay_matrices ? find_decaying(optimizer, run) : HEED_OK;
}

// ---------------------------------------------------------------- all runs

static heed_status create_runs(heed_optimizer *optimizer, const heed_tensor **parts) {
  for (size_t i = 0; i < optimizer->count; ++i) {
    const heed_parameter *parameter = &optimizer->parameters[i];
    HEED__TRY(check_parameter(optimizer->parameters, parameter));
    if (i == 0 || !continues(parameter - 1, parameter)) optimizer->runs[optimizer->run_count++].first = i;
    ++optimizer->runs[optimizer->run_count - 1].count;
  }
  for (size_t i = 0; i < optimizer->run_count; ++i) {
    struct heed__optimizer_run *run = &optimizer->runs[i];
    heed_status status = join_run(optimizer, run, parts);
    if (status == HEED_OK) status = remember_all(optimizer, run);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", optimizer->parameters[run->first].name);
    optimizer->grads[i] = run->grad;
  }
  return HEED_OK;
}

heed_status heed__optimizer_runs_create(heed_optimizer *optimizer) {
  const heed_tensor **parts = calloc(optimizer->count + 1, sizeof *parts);
  HEED__REQUIRE(parts, HEED_ERROR_OUT_OF_MEMORY, "no memory for an optimizer of %zu parameters", optimizer->count);
  const heed_status status = create_runs(optimizer, parts);
  free(parts);
  return status;
}

void heed__optimizer_run_destroy(struct heed__optimizer_run *run) {
  heed_tensor_destroy(run->value);
  heed_tensor_destroy(run->grad);
  heed_tensor_destroy(run->decaying);
  for (int i = 0; i < HEED__MEMORIES; ++i) heed_tensor_destroy(run->memory[i]);
}
