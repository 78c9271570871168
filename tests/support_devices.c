#include "support_devices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void support_assert_fails(heed_status expected, const char *part, heed_status actual, const char *call,
                          const char *file, int line) {
  if (actual != expected) {
    print_error("%s: \"%s\" instead of \"%s\" (%s)\n", call, heed_status_string(actual), heed_status_string(expected),
                actual == HEED_OK ? "" : heed_last_error());
    _fail(file, line);
  }
  if (!strstr(heed_last_error(), part)) {
    print_error("%s: \"%s\" is not in \"%s\"\n", call, part, heed_last_error());
    _fail(file, line);
  }
}

int support_open_host(void **state) {
  heed_context *ctx = NULL;
  const heed_status status = heed_open("host", &ctx);
  if (status != HEED_OK) print_error("host: %s\n", heed_last_error());
  *state = ctx;
  return status == HEED_OK ? 0 : -1;
}

static bool is_one(const char *name) {
  const char *value = getenv(name);
  return value && strcmp(value, "1") == 0;
}

int support_open_device(void **state) {
  heed_context *ctx = NULL;
  *state = NULL;
  if (is_one("HEED_TEST_HOST_ONLY")) return 0;
  const heed_status status = heed_open(NULL, &ctx);
  if (status != HEED_OK) {
    print_error("device: %s\n", heed_last_error());
    return -1;
  }
  *state = ctx;
  if (heed_context_device(ctx)->type != HEED_DEVICE_HOST) return 0;
  heed_context_destroy(ctx);
  *state = NULL;
  if (!is_one("HEED_REQUIRE_DEVICE")) return 0;
  print_error("no OpenCL device, and HEED_REQUIRE_DEVICE=1 asks for one\n");
  return -1;
}

int support_close(void **state) {
  heed_context *ctx = *state;
  if (!ctx) return 0;
  const size_t left = heed_context_live_tensors(ctx);
  if (left > 0) print_error("%zu tensors are left\n", left);
  heed_context_destroy(ctx);
  return left == 0 ? 0 : -1;
}

heed_context *support_context(void **state) {
  if (!*state) skip();
  return *state;
}

uint64_t support_number(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

void support_fill(float *values, int64_t count, uint64_t seed) {
  for (int64_t i = 0; i < count; ++i)
    values[i] = (float)(floor(heed_random_uniform(seed, 0, (uint64_t)i) * 512) / 256 - 1);
}

heed_tensor *support_tensor(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed,
                            float *copy) {
  heed_tensor *tensor = NULL;
  ASSERT_OK(heed_tensor_create(ctx, dtype, rank, dims, &tensor));
  const int64_t count = heed_tensor_count(tensor);
  float *values = calloc((size_t)count + 1, sizeof *values);
  assert_non_null(values);
  support_fill(values, count, seed);
  ASSERT_OK(heed_tensor_upload_f32(tensor, values, count));
  if (copy) memcpy(copy, values, (size_t)count * sizeof *values);
  free(values);
  return tensor;
}

double support_relative(const float *actual, const double *expected, int64_t count) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < count; ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}
