// SGD over a module's parameters: keeps momentum buffers and counts steps; the formula is heed_sgd()'s.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/module.h"

struct heed_optimizer {
  heed_parameter *parameters;  // a copy of the list; the tensors are the module's
  heed_tensor **momentum;      // NULL each where options.momentum is 0
  size_t count;
  heed_sgd_options options;
  int64_t steps;
};

static bool is_rate(double value) { return isfinite(value) && value >= 0; }

static heed_status check_options(const heed_sgd_options *o) {
  HEED__REQUIRE(is_rate(o->lr), HEED_INVALID_ARGUMENT, "optimizer: lr is %g; it must be finite and not negative",
                o->lr);
  HEED__REQUIRE(is_rate(o->momentum), HEED_INVALID_ARGUMENT,
                "optimizer: momentum is %g; it must be finite and not negative", o->momentum);
  HEED__REQUIRE(is_rate(o->dampening), HEED_INVALID_ARGUMENT,
                "optimizer: dampening is %g; it must be finite and not negative", o->dampening);
  HEED__REQUIRE(is_rate(o->weight_decay), HEED_INVALID_ARGUMENT,
                "optimizer: weight_decay is %g; it must be finite and not negative", o->weight_decay);
  HEED__REQUIRE(!o->nesterov || (o->momentum > 0 && o->dampening == 0), HEED_INVALID_ARGUMENT,
                "optimizer: nesterov needs a momentum over 0 and dampening 0, not %g and %g", o->momentum,
                o->dampening);
  return HEED_OK;
}

static heed_status create_momentum(heed_optimizer *optimizer, heed_context *ctx) {
  if (optimizer->options.momentum == 0) return HEED_OK;
  for (size_t i = 0; i < optimizer->count; ++i) {
    const heed_tensor *value = optimizer->parameters[i].value;
    HEED__TRY(heed_tensor_create(ctx, heed_tensor_dtype(value), heed_tensor_rank(value), heed_tensor_dims(value),
                                 &optimizer->momentum[i]));
    HEED__TRY(heed_fill(optimizer->momentum[i], 0));
  }
  return HEED_OK;
}

heed_status heed_optimizer_create(heed_context *ctx, const heed_parameter *parameters, size_t count,
                                  const heed_sgd_options *options, heed_optimizer **out) {
  HEED__REQUIRE(out, HEED_INVALID_ARGUMENT, "heed_optimizer_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && options && (parameters || count == 0), HEED_INVALID_ARGUMENT,
                "heed_optimizer_create: an argument is NULL");
  HEED__TRY(check_options(options));
  heed_optimizer *optimizer = calloc(1, sizeof *optimizer);
  HEED__REQUIRE(optimizer, HEED_OUT_OF_MEMORY, "no memory for an optimizer");
  optimizer->options = *options;
  optimizer->parameters = calloc(count + 1, sizeof *optimizer->parameters);
  optimizer->momentum = calloc(count + 1, sizeof *optimizer->momentum);
  heed_status status = HEED_OK;
  if (!optimizer->parameters || !optimizer->momentum)
    status = heed__fail(HEED_OUT_OF_MEMORY, "no memory for an optimizer of %zu parameters", count);
  if (status == HEED_OK) {
    if (count > 0) memcpy(optimizer->parameters, parameters, count * sizeof *parameters);
    optimizer->count = count;
    status = create_momentum(optimizer, ctx);
  }
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
  free(optimizer->momentum);
  free(optimizer->parameters);
  free(optimizer);
}

heed_status heed_optimizer_step(heed_optimizer *optimizer) {
  HEED__REQUIRE(optimizer, HEED_INVALID_ARGUMENT, "heed_optimizer_step: the optimizer is NULL");
  heed_sgd_options options = optimizer->options;
  options.first = optimizer->steps == 0;
  for (size_t i = 0; i < optimizer->count; ++i) {
    const heed_parameter *parameter = &optimizer->parameters[i];
    const heed_status status = heed_sgd(&options, parameter->grad, parameter->value, optimizer->momentum[i]);
    if (status != HEED_OK) return heed__fail_prefix(status, "optimizer: %s", parameter->name);
  }
  ++optimizer->steps;
  return HEED_OK;
}

heed_tensor *heed_optimizer_momentum(const heed_optimizer *optimizer, size_t index) {
  return index < optimizer->count ? optimizer->momentum[index] : NULL;
}

int64_t heed_optimizer_steps(const heed_optimizer *optimizer) { return optimizer->steps; }

void heed_optimizer_set_steps(heed_optimizer *optimizer, int64_t steps) { optimizer->steps = steps > 0 ? steps : 0; }
