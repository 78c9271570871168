// Parameters and kept memory for the modules; what a module computes is in its own file.
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
    HEED__REQUIRE(heed__mul(count, dims[i], &count), HEED_OVERFLOW, "an activation's size does not fit 64 bits");
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

// Values are drawn by index, so that a parameter starts the same on every device.
static heed_status initialise(heed_tensor *value, double bound, uint64_t seed, uint64_t stream) {
  const int64_t count = heed_tensor_count(value);
  if (bound == 0 || count == 0) return heed_fill(value, 0);
  float *host = calloc((size_t)count, sizeof *host);
  HEED__REQUIRE(host, HEED_OUT_OF_MEMORY, "no memory for %" PRId64 " initial values", count);
  for (int64_t i = 0; i < count; ++i)
    host[i] = (float)(bound * (2 * heed_random_uniform(seed, stream, (uint64_t)i) - 1));
  const heed_status status = heed_tensor_upload_f32(value, host, count);
  free(host);
  return status;
}

heed_status heed__parameter_create(heed_context *ctx, const char *name, heed_dtype dtype, int rank, const int64_t *dims,
                                   double bound, uint64_t seed, uint64_t stream, heed_parameter *out) {
  *out = (heed_parameter){.name = strdup(name)};
  HEED__REQUIRE(out->name, HEED_OUT_OF_MEMORY, "no memory for a parameter's name");
  HEED__TRY(heed_tensor_create(ctx, dtype, rank, dims, &out->value));
  HEED__TRY(heed_tensor_create(ctx, dtype, rank, dims, &out->grad));
  HEED__TRY(initialise(out->value, bound, seed, stream));
  return heed_fill(out->grad, 0);
}

void heed__parameter_destroy(heed_parameter *parameter) {
  free((char *)parameter->name);
  heed_tensor_destroy(parameter->value);
  heed_tensor_destroy(parameter->grad);
  *parameter = (heed_parameter){0};
}

struct heed__shape_text heed__shape_text(const heed_tensor *tensor) {
  struct heed__shape_text out = {"none"};
  if (!tensor) return out;
  int used = snprintf(out.text, sizeof out.text, "%s[", heed_dtype_string(heed_tensor_dtype(tensor)));
  for (int i = 0; i < heed_tensor_rank(tensor); ++i)
    used += snprintf(out.text + used, sizeof out.text - (size_t)used, "%s%" PRId64, i ? ", " : "",
                     heed_tensor_dim(tensor, i));
  snprintf(out.text + used, sizeof out.text - (size_t)used, "]");
  return out;
}

bool heed__has_shape(const heed_tensor *tensor, int rank, const int64_t *dims) {
  if (!tensor || heed_tensor_rank(tensor) != rank) return false;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] != -1 && heed_tensor_dim(tensor, i) != dims[i]) return false;
  }
  return true;
}
