// The tensors of a case: seeded inputs, outputs with guards and poison, and the comparison of two runs.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

enum { GUARD = 64 };  // elements before and after each output

// FNV-1a of a name, which chooses the stream of its random numbers.
static uint64_t hash(const char *text) {
  uint64_t value = 0xcbf29ce484222325u;
  for (; *text; ++text) value = (value ^ (unsigned char)*text) * 0x100000001b3u;
  return value;
}

static float draw(const case_env *env, uint64_t stream, int64_t index, int64_t count, case_fill fill, double scale) {
  const uint64_t i = (uint64_t)index;
  switch (fill) {
    case CASE_NORMAL:
      return (float)(scale * heed_random_normal(env->seed, stream, i));
    case CASE_UNIFORM:
      return (float)(scale * heed_random_uniform(env->seed, stream, i));
    case CASE_HUGE:
      return (float)(heed_random_uniform(env->seed, stream, i) < 0.5 ? -88.0 : 88.0) *
             (float)(0.9 + 0.1 * heed_random_uniform(env->seed, stream, i + (UINT64_C(1) << 32)));
    case CASE_SAME:
      return (float)scale;
    case CASE_OUTLIER:
      return index == count / 2 ? 1e4f : (float)(scale * heed_random_normal(env->seed, stream, i));
    case CASE_DENORMAL:
      return (float)(scale * heed_random_normal(env->seed, stream, i)) * (i % 4 ? 1.0f : 0x1p-130f);
    case CASE_ZERO:
      return 0;
  }
  return 0;
}

static int64_t count_of(int rank, const int64_t *dims) {
  int64_t count = 1;
  for (int axis = 0; axis < rank; ++axis) count *= dims[axis];
  return count;
}

static case_tensor *add(case_env *env, const char *name) {
  if (env->count == CASE_MAX_TENSORS) return NULL;
  case_tensor *t = &env->tensors[env->count++];
  *t = (case_tensor){0};
  snprintf(t->name, sizeof t->name, "%s", name);
  return t;
}

static heed_status make_values(const case_env *env, const char *name, int64_t count, case_fill fill, double scale,
                               float **out) {
  float *values = malloc((size_t)count * sizeof *values + 1);
  if (!values) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < count; ++i) values[i] = draw(env, hash(name), i, count, fill, scale);
  *out = values;
  return HEED_OK;
}

heed_status case_input(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims, case_fill fill,
                       double scale) {
  case_tensor *t = add(env, name);
  if (!t) return HEED_ERROR_INVALID_ARGUMENT;
  heed_status status = heed_tensor_create(env->ctx, dtype, rank, dims, &t->tensor);
  if (status != HEED_OK) return status;
  float *values;
  status = make_values(env, name, count_of(rank, dims), fill, scale, &values);
  if (status != HEED_OK) return status;
  status = heed_tensor_upload_f32(t->tensor, values, count_of(rank, dims));
  free(values);
  return status;
}

heed_status case_input_data(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims,
                            const void *data) {
  case_tensor *t = add(env, name);
  if (!t) return HEED_ERROR_INVALID_ARGUMENT;
  return heed_tensor_create_from(env->ctx, dtype, rank, dims, data, &t->tensor);
}

heed_status case_output(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims,
                        double tolerance) {
  case_tensor *t = add(env, name);
  if (!t) return HEED_ERROR_INVALID_ARGUMENT;
  t->output = true;
  t->tolerance = tolerance;
  const int64_t count = count_of(rank, dims), guarded = count + 2 * GUARD;
  heed_status status = heed_tensor_create(env->ctx, dtype, 1, &guarded, &t->base);
  if (status != HEED_OK) return status;
  int64_t strides[HEED_MAX_RANK], stride = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= dims[axis] ? dims[axis] : 1;
  }
  return heed_tensor_view(t->base, rank, dims, strides, GUARD, &t->tensor);
}

heed_status case_state(case_env *env, const char *name, heed_dtype dtype, int rank, const int64_t *dims, case_fill fill,
                       double scale, double tolerance) {
  heed_status status = case_output(env, name, dtype, rank, dims, tolerance);
  if (status != HEED_OK) return status;
  float *values;
  status = make_values(env, name, count_of(rank, dims), fill, scale, &values);
  if (status != HEED_OK) return status;
  env->tensors[env->count - 1].initial = values;
  return HEED_OK;
}

heed_tensor *case_get(const case_env *env, const char *name) {
  for (int i = 0; i < env->count; ++i)
    if (strcmp(env->tensors[i].name, name) == 0) return env->tensors[i].tensor;
  return NULL;
}

double case_random(const case_env *env, uint64_t index) {
  return heed_random_uniform(env->seed, hash("choice"), index);
}

// The poison is a byte pattern that is a NaN in every float dtype and an unlikely number in the others.
enum { POISON = 0xff };

heed_status case_poison(case_env *env) {
  for (int i = 0; i < env->count; ++i) {
    case_tensor *t = &env->tensors[i];
    if (!t->output) continue;
    const size_t bytes = heed_tensor_bytes(t->base);
    void *poison = malloc(bytes);
    if (!poison) return HEED_ERROR_OUT_OF_MEMORY;
    memset(poison, POISON, bytes);
    heed_status status = heed_tensor_upload(t->base, poison, bytes);
    free(poison);
    if (status != HEED_OK) return status;
    if (!t->initial) continue;
    status = heed_tensor_upload_f32(t->tensor, t->initial, heed_tensor_count(t->tensor));
    if (status != HEED_OK) return status;
  }
  return HEED_OK;
}

// Returns the name of the first output whose guard was overwritten, or NULL.
static heed_status broken_guard(const case_env *env, const char **name) {
  *name = NULL;
  for (int i = 0; i < env->count; ++i) {
    const case_tensor *t = &env->tensors[i];
    if (!t->output) continue;
    const size_t size = heed_dtype_size(heed_tensor_dtype(t->base)), bytes = heed_tensor_bytes(t->base);
    unsigned char *data = malloc(bytes);
    if (!data) return HEED_ERROR_OUT_OF_MEMORY;
    heed_status status = heed_tensor_download(t->base, data, bytes);
    for (size_t at = 0; status == HEED_OK && at < GUARD * size; ++at)
      if (data[at] != POISON || data[bytes - 1 - at] != POISON) *name = t->name;
    free(data);
    if (status != HEED_OK || *name) return status;
  }
  return HEED_OK;
}

heed_status case_check_guards(const case_env *env) {
  const char *name;
  heed_status status = broken_guard(env, &name);
  return status == HEED_OK && name ? HEED_ERROR_MISMATCH : status;
}

void case_free(case_env *env) {
  for (int i = env->count - 1; i >= 0; --i) {
    heed_tensor_destroy(env->tensors[i].tensor);
    heed_tensor_destroy(env->tensors[i].base);
    free(env->tensors[i].initial);
  }
  if (env->module) env->module_free(env->module);
  *env = (case_env){0};
}

// ---------------------------------------------------------------- comparing two runs

heed_status case_run(case_env *env, const heed_case *c) {
  heed_status status = case_poison(env);
  if (status == HEED_OK) status = c->family->run(env, c);
  if (status == HEED_OK) status = heed_sync(env->ctx);
  return status;
}

heed_status case_start(case_env *env, const heed_case *c, heed_context *ctx) {
  *env = (case_env){.ctx = ctx, .of = c, .seed = hash(c->name)};
  return c->family->setup(env, c);
}

static void fail(case_result *result, const char *format, const char *a, const char *b) {
  result->passed = false;
  if (!result->message[0]) snprintf(result->message, sizeof result->message, format, a, b);
}

static heed_status compare_output(const case_tensor *actual, const case_tensor *expected, case_result *result) {
  heed_difference d;
  heed_status status = heed_tensor_compare(actual->tensor, expected->tensor, &d);
  if (status != HEED_OK) return status;
  result->has_nan |= d.has_nan;
  // The worst output is the one that uses up most of its tolerance; for an exact output any error counts.
  const double scale = actual->tolerance > 0 ? actual->tolerance : 1e-300;
  const double best = result->tolerance > 0 ? result->tolerance : 1e-300;
  if (!(d.relative / scale <= result->relative / best) || !result->output[0]) {
    result->relative = d.relative;
    result->tolerance = actual->tolerance;
    snprintf(result->output, sizeof result->output, "%s", actual->name);
  }
  if (heed_difference_within(&d, actual->tolerance)) return HEED_OK;
  result->passed = false;
  if (!result->message[0])
    snprintf(result->message, sizeof result->message,
             "%s at flat index %" PRId64 ": device %.9g, host %.9g; relative error %.3g, tolerated %.3g%s",
             actual->name, d.index, d.actual, d.expected, d.relative, actual->tolerance,
             d.non_finite_mismatch ? " (one side is not finite)" : "");
  return HEED_OK;
}

// Collects the bytes of all outputs, one after the other.
static heed_status snapshot(const case_env *env, unsigned char **out, size_t *bytes) {
  *bytes = 0;
  for (int i = 0; i < env->count; ++i)
    if (env->tensors[i].output) *bytes += heed_tensor_bytes(env->tensors[i].tensor);
  *out = malloc(*bytes + 1);
  if (!*out) return HEED_ERROR_OUT_OF_MEMORY;
  size_t at = 0;
  for (int i = 0; i < env->count; ++i) {
    const case_tensor *t = &env->tensors[i];
    if (!t->output) continue;
    heed_status status = heed_tensor_download(t->tensor, *out + at, heed_tensor_bytes(t->tensor));
    if (status != HEED_OK) return status;
    at += heed_tensor_bytes(t->tensor);
  }
  return HEED_OK;
}

// Checks that a second run gives the same bits as the first.
static heed_status check_repeatable(case_env *env, const heed_case *c, case_result *result) {
  unsigned char *first = NULL, *second = NULL;
  size_t bytes;
  heed_status status = snapshot(env, &first, &bytes);
  if (status == HEED_OK) status = case_run(env, c);
  if (status == HEED_OK) status = snapshot(env, &second, &bytes);
  if (status == HEED_OK && memcmp(first, second, bytes) != 0)
    fail(result, "%s%s", "the same call twice gave different bits", "");
  free(first);
  free(second);
  return status;
}

heed_status case_compare(const heed_case *c, heed_context *device, heed_context *host, case_result *result) {
  *result = (case_result){.passed = true};
  case_env actual = {0}, expected = {0};
  heed_status status = case_start(&actual, c, device);
  if (status == HEED_OK) status = case_start(&expected, c, host);
  if (status == HEED_OK) status = case_run(&expected, c);
  if (status == HEED_OK) status = case_run(&actual, c);
  const char *guard = NULL;
  if (status == HEED_OK) status = broken_guard(&actual, &guard);
  if (guard) fail(result, "%s: elements outside the output were written%s", guard, "");
  for (int i = 0; status == HEED_OK && i < actual.count; ++i)
    if (actual.tensors[i].output) status = compare_output(&actual.tensors[i], &expected.tensors[i], result);
  if (status == HEED_OK) status = check_repeatable(&actual, c, result);
  if (status != HEED_OK) fail(result, "%s: %s", heed_status_string(status), heed_last_error());
  case_free(&actual);
  case_free(&expected);
  return status;
}
