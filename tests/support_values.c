#include "support_values.h"

#include <stdlib.h>

// A test fails by longjmp, so what it took is remembered here.
static heed_tensor *tensors[4096];
static size_t tensor_count;
static void *memory[4096];
static size_t memory_count;
static heed_context *other;

int support_release(void **state) {
  (void)state;
  while (tensor_count > 0) heed_tensor_destroy(tensors[--tensor_count]);
  while (memory_count > 0) free(memory[--memory_count]);
  heed_context_destroy(other);
  other = NULL;
  return 0;
}

heed_tensor *support_keep(heed_tensor *tensor) {
  assert_non_null(tensor);
  assert_true(tensor_count < sizeof tensors / sizeof *tensors);
  return tensors[tensor_count++] = tensor;
}

void *support_memory(size_t bytes) {
  assert_true(memory_count < sizeof memory / sizeof *memory);
  void *block = calloc(bytes + 1, 1);
  assert_non_null(block);
  return memory[memory_count++] = block;
}

heed_context *support_other(void) {
  if (!other) ASSERT_OK(heed_open("host", &other));
  return other;
}

heed_tensor *support_new(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims) {
  heed_tensor *tensor = NULL;
  ASSERT_OK(heed_tensor_create(ctx, dtype, rank, dims, &tensor));
  const size_t bytes = heed_tensor_bytes(support_keep(tensor));
  void *poison = support_memory(bytes);
  memset(poison, 0xff, bytes);
  ASSERT_OK(heed_tensor_upload(tensor, poison, bytes));
  return tensor;
}

heed_tensor *support_like(const heed_tensor *t) {
  return support_new(heed_tensor_context(t), heed_tensor_dtype(t), heed_tensor_rank(t), heed_tensor_dims(t));
}

heed_tensor *support_put(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, const void *data) {
  heed_tensor *tensor = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, dtype, rank, dims, data, &tensor));
  return support_keep(tensor);
}

heed_tensor *support_put_f32(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, const float *values) {
  heed_tensor *tensor = NULL;
  ASSERT_OK(heed_tensor_create(ctx, dtype, rank, dims, &tensor));
  ASSERT_OK(heed_tensor_upload_f32(support_keep(tensor), values, heed_tensor_count(tensor)));
  return tensor;
}

heed_tensor *support_random(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed) {
  return support_keep(support_tensor(ctx, dtype, rank, dims, seed, NULL));
}

float *support_get(const heed_tensor *tensor) {
  const int64_t count = heed_tensor_count(tensor);
  float *values = support_memory((size_t)count * sizeof *values);
  ASSERT_OK(heed_tensor_download_f32(tensor, values, count));
  return values;
}

heed_tensor *support_transposed(const heed_tensor *tensor) {
  int order[HEED_MAX_RANK];
  const int rank = heed_tensor_rank(tensor);
  for (int axis = 0; axis < rank; ++axis) order[axis] = rank - 1 - axis;
  heed_tensor *view = NULL;
  ASSERT_OK(heed_tensor_permute(tensor, order, &view));
  return support_keep(view);
}

void support_assert_close(double actual, double expected, double tolerance, const char *what, const char *file,
                          int line) {
  if (fabs(actual - expected) <= tolerance || actual == expected) return;
  print_error("%s is %.9g, not %.9g (tolerance %.3g)\n", what, actual, expected, tolerance);
  _fail(file, line);
}

void support_assert_agree(const heed_tensor *actual, const heed_tensor *expected, double tolerance, const char *what,
                          const char *file, int line) {
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(actual, expected, &difference));
  if (heed_difference_within(&difference, tolerance)) return;
  print_error("%s: element %lld is %.9g, not %.9g; relative %.3g (tolerance %.3g)\n", what, (long long)difference.index,
              difference.actual, difference.expected, difference.relative, tolerance);
  _fail(file, line);
}

void support_assert_same_bits(const heed_tensor *a, const heed_tensor *b, const char *what, const char *file,
                              int line) {
  const size_t bytes = heed_tensor_bytes(a), size = heed_dtype_size(heed_tensor_dtype(a));
  assert_int_equal(bytes, heed_tensor_bytes(b));
  unsigned char *bits_a = support_memory(bytes), *bits_b = support_memory(bytes);
  ASSERT_OK(heed_tensor_download(a, bits_a, bytes));
  ASSERT_OK(heed_tensor_download(b, bits_b, bytes));
  for (size_t at = 0; at < bytes; ++at) {
    if (bits_a[at] == bits_b[at]) continue;
    print_error("%s: the bits of element %zu differ\n", what, at / size);
    _fail(file, line);
  }
}
