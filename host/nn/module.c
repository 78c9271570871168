// Parameters and kept memory for the modules; each module's own file says what it computes.
#include "nn/module.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

heed_status heed__scratch_shape(struct heed__scratch *scratch, heed_context *ctx, heed_dtype dtype, int rank,
                                const int64_t *dims) {
  if (scratch->tensor && heed_tensor_dtype(scratch->tensor) == dtype && heed__has_shape(scratch->tensor, rank, dims))
    return HEED_OK;
  int64_t count = 1;
  int64_t strides[HEED_MAX_RANK];
  for (int i = rank - 1; i >= 0; --i) {
    strides[i] = count;
    HEED__REQUIRE(heed__mul(count, dims[i], &count), HEED_ERROR_OVERFLOW, "an activation's size does not fit 64 bits");
  }
  heed_tensor_destroy(scratch->tensor);
  scratch->tensor = NULL;
  if (!scratch->storage || heed_tensor_dtype(scratch->storage) != dtype ||
      heed_tensor_count(scratch->storage) < count) {
    heed_tensor_destroy(scratch->storage);
    scratch->storage = NULL;
    HEED__TRY(heed_tensor_create(ctx, dtype, 1, &count, &scratch->storage));
  }
  return heed_tensor_view(scratch->storage, rank, dims, strides, 0, &scratch->tensor);
}

void heed__scratch_destroy(struct heed__scratch *scratch) {
  heed_tensor_destroy(scratch->tensor);
  heed_tensor_destroy(scratch->storage);
  *scratch = (struct heed__scratch){0};
}

// Plans follow one another in one storage, as far as the device's largest buffer allows.
struct plan_run {
  size_t count;
  int64_t total;  // elements
};

static int64_t plan_count(const struct heed__parameter_plan *plan) {
  int64_t count = 1;
  for (int i = 0; i < plan->rank; ++i) count *= plan->dims[i];
  return count;
}

static heed_status next_run(heed_context *ctx, heed_dtype dtype, const struct heed__parameter_plan *plans, size_t count,
                            struct plan_run *run) {
  const uint64_t most = heed_context_device(ctx)->max_allocation / heed_dtype_size(dtype);
  struct plan_run group = {0};  // up to the last place where the run may end
  *run = (struct plan_run){0};
  for (; run->count < count; ++run->count) {
    const struct heed__parameter_plan *plan = &plans[run->count];
    int64_t size = 1, total = 0;
    bool fits = true;
    for (int axis = 0; axis < plan->rank; ++axis) fits = fits && heed__mul(size, plan->dims[axis], &size);
    HEED__REQUIRE(fits && heed__sum(run->total, size, &total), HEED_ERROR_OVERFLOW, "%s does not fit 64 bits",
                  plan->name);
    if (!plan->with_previous) group = *run;
    if (group.count > 0 && (uint64_t)total > most) {
      *run = group;
      return HEED_OK;
    }
    run->total = total;
  }
  return HEED_OK;
}

static void draw(const struct heed__parameter_plan *plan, uint64_t seed, int64_t size, float *values) {
  for (int64_t i = 0; i < size; ++i) {
    double value = plan->constant;
    if (plan->bound != 0) value += plan->bound * (2 * heed_random_uniform(seed, plan->stream, (uint64_t)i) - 1);
    if (plan->deviation != 0) value += plan->deviation * heed_random_normal(seed, plan->stream, (uint64_t)i);
    values[i] = (float)value;
  }
}

// Values are drawn by index, so that a parameter has the same initial values on every device.
static heed_status initialise(heed_tensor *values, const struct heed__parameter_plan *plans, size_t count,
                              uint64_t seed) {
  const int64_t total = heed_tensor_count(values);
  float *host = calloc((size_t)total + 1, sizeof *host), *next = host;
  HEED__REQUIRE(host, HEED_ERROR_OUT_OF_MEMORY, "no memory for %" PRId64 " initial values", total);
  for (size_t p = 0; p < count; ++p) {
    const int64_t size = plan_count(&plans[p]);
    draw(&plans[p], seed, size, next);
    next += size;
  }
  const heed_status status = heed_tensor_upload_f32(values, host, total);
  free(host);
  return status;
}

heed_status heed__zeros_create(heed_context *ctx, heed_dtype dtype, int64_t count, heed_tensor **out) {
  HEED__TRY(heed_tensor_create(ctx, dtype, 1, &count, out));
  const size_t bytes = heed_tensor_bytes(*out);
  void *zeros = calloc(bytes + 1, 1);
  heed_status status = zeros ? heed_tensor_upload(*out, zeros, bytes)
                             : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %" PRId64 " zeros", count);
  free(zeros);
  if (status == HEED_OK) return HEED_OK;
  heed_tensor_destroy(*out);
  *out = NULL;
  return status;
}

static heed_status part_of(const heed_tensor *storage, const struct heed__parameter_plan *plan, int64_t offset,
                           heed_tensor **out) {
  const int64_t strides[] = {plan->rank == 2 ? plan->dims[1] : 1, 1};
  return heed_tensor_view(storage, plan->rank, plan->dims, strides, offset, out);
}

static heed_status fill_parameters(const char *prefix, const struct heed__parameter_plan *plans, size_t count,
                                   uint64_t seed, heed_tensor *values, heed_tensor *grads, heed_parameter *out) {
  int64_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    char *name = NULL;
    if (asprintf(&name, "%s%s", prefix ? prefix : "", plans[i].name) < 0) name = NULL;
    out[i].name = name;
    HEED__REQUIRE(name, HEED_ERROR_OUT_OF_MEMORY, "no memory for a parameter's name");
    HEED__TRY(part_of(values, &plans[i], offset, &out[i].value));
    if (grads) HEED__TRY(part_of(grads, &plans[i], offset, &out[i].grad));
    offset += plan_count(&plans[i]);
  }
  return initialise(values, plans, count, seed);
}

static heed_status create_run(heed_context *ctx, heed_dtype dtype, const char *prefix,
                              const struct heed__parameter_plan *plans, struct plan_run run, uint64_t seed,
                              bool with_grads, heed_parameter *out) {
  heed_tensor *values = NULL, *grads = NULL;
  heed_status status = heed_tensor_create(ctx, dtype, 1, &run.total, &values);
  if (status == HEED_OK && with_grads) status = heed__zeros_create(ctx, dtype, run.total, &grads);
  if (status == HEED_OK) status = fill_parameters(prefix, plans, run.count, seed, values, grads, out);
  heed_tensor_destroy(values);
  heed_tensor_destroy(grads);
  return status;
}

heed_status heed__parameters_create(heed_context *ctx, heed_dtype dtype, const char *prefix,
                                    const struct heed__parameter_plan *plans, size_t count, uint64_t seed,
                                    bool with_grads, heed_parameter *out) {
  for (size_t i = 0; i < count; ++i) out[i] = (heed_parameter){0};
  struct plan_run run;
  for (size_t first = 0; first < count; first += run.count) {
    HEED__TRY(next_run(ctx, dtype, plans + first, count - first, &run));
    HEED__TRY(create_run(ctx, dtype, prefix, plans + first, run, seed, with_grads, out + first));
  }
  return HEED_OK;
}

void heed__parameter_destroy(heed_parameter *parameter) {
  free((char *)parameter->name);
  heed_tensor_destroy(parameter->value);
  heed_tensor_destroy(parameter->grad);
  *parameter = (heed_parameter){0};
}

bool heed__has_shape(const heed_tensor *tensor, int rank, const int64_t *dims) {
  if (!tensor || heed_tensor_rank(tensor) != rank) return false;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] != -1 && heed_tensor_dim(tensor, i) != dims[i]) return false;
  }
  return true;
}

static heed_status check_pair(const char *who, const struct heed__named *output, const char *name,
                              const heed_tensor *other) {
  HEED__REQUIRE(!heed_tensor_overlaps(output->tensor, other), HEED_ERROR_INVALID_ARGUMENT,
                "%s: %s overlaps %s in memory", who, output->name, name);
  return HEED_OK;
}

heed_status heed__check_apart(const char *who, const struct heed__named *outputs, size_t output_count,
                              const struct heed__named *inputs, size_t input_count, const heed_parameter *parameters,
                              size_t parameter_count) {
  for (size_t i = 0; i < output_count; ++i) {
    for (size_t j = 0; j < i; ++j) HEED__TRY(check_pair(who, &outputs[i], outputs[j].name, outputs[j].tensor));
    for (size_t j = 0; j < input_count; ++j) HEED__TRY(check_pair(who, &outputs[i], inputs[j].name, inputs[j].tensor));
    for (size_t j = 0; j < parameter_count; ++j) {
      HEED__TRY(check_pair(who, &outputs[i], parameters[j].name, parameters[j].value));
      HEED__TRY(check_pair(who, &outputs[i], parameters[j].name, parameters[j].grad));
    }
  }
  return HEED_OK;
}

heed_status heed_parameters_append(heed_parameter **list, size_t *count, const heed_parameter *more,
                                   size_t more_count) {
  HEED__REQUIRE(list && count && (*list || *count == 0) && (more || more_count == 0), HEED_ERROR_INVALID_ARGUMENT,
                "heed_parameters_append: an argument is NULL");
  for (size_t i = 0; i < more_count; ++i)
    for (size_t j = 0; j < *count; ++j)
      HEED__REQUIRE(!more[i].name || !(*list)[j].name || strcmp(more[i].name, (*list)[j].name) != 0,
                    HEED_ERROR_INVALID_ARGUMENT,
                    "parameters: two are called \"%s\"; give their modules different prefixes", more[i].name);
  heed_parameter *grown = reallocarray(*list, *count + more_count + 1, sizeof *grown);
  HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "no memory for a list of %zu parameters", *count + more_count);
  if (more_count > 0) memcpy(grown + *count, more, more_count * sizeof *more);
  *list = grown;
  *count += more_count;
  return HEED_OK;
}
