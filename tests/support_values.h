// Tensors to and from plain arrays, for tests that state facts about an operator. What these functions hand out belongs to
// the running test and goes at its end (TEST adds the teardown), so a test that fails leaves nothing behind.
#ifndef SUPPORT_VALUES_H
#define SUPPORT_VALUES_H

#include <math.h>
#include <string.h>

#include "support_devices.h"

// Rank and dims, for the two arguments of that kind.
#define SHAPE(...) \
  (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { __VA_ARGS__ }

// A test whose tensors are released after it.
#define TEST(function) cmocka_unit_test_teardown(function, support_release)
int support_release(void **state);
heed_tensor *support_keep(heed_tensor *tensor);

// Filled with bytes 0xff: NaN in every float dtype.
heed_tensor *support_new(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims);
heed_tensor *support_like(const heed_tensor *tensor);
// With densely packed data of the dtype, or with floats that are converted.
heed_tensor *support_put(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, const void *data);
heed_tensor *support_put_f32(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, const float *values);
// support_fill's values.
heed_tensor *support_random(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed);
float *support_get(const heed_tensor *tensor);
void *support_memory(size_t bytes);
// A second context, on the host, until the end of the test.
heed_context *support_other(void);

// A view with its axes swapped back to front.
heed_tensor *support_transposed(const heed_tensor *tensor);

#define ASSERT_CLOSE(actual, expected, tolerance) \
  support_assert_close((double)(actual), (double)(expected), (tolerance), #actual, __FILE__, __LINE__)
void support_assert_close(double actual, double expected, double tolerance, const char *what, const char *file,
                          int line);
// ‖a − b‖ ≤ tolerance ‖b‖, and the same places not finite.
#define ASSERT_AGREE(actual, expected, tolerance) \
  support_assert_agree((actual), (expected), (tolerance), #actual, __FILE__, __LINE__)
void support_assert_agree(const heed_tensor *actual, const heed_tensor *expected, double tolerance, const char *what,
                          const char *file, int line);
#define ASSERT_SAME_BITS(a, b) support_assert_same_bits((a), (b), #a, __FILE__, __LINE__)
void support_assert_same_bits(const heed_tensor *a, const heed_tensor *b, const char *what, const char *file, int line);

// The call fails with this status and a message that begins with the operator's name and holds `part`.
#define ASSERT_REFUSED(expected, operator_name, part, call)                                 \
  do {                                                                                      \
    ASSERT_FAILS((expected), (part), (call));                                               \
    if (strncmp(heed_last_error(), operator_name ": ", sizeof operator_name ": " - 1) != 0) \
      fail_msg("%s: \"%s\" does not begin with " operator_name, #call, heed_last_error());  \
  } while (0)

// Both groups of an operator's tests: on the host backend, and on the OpenCL device.
#define RUN_ON_BOTH(name, tests)                                                               \
  (cmocka_run_group_tests_name(name " on the host", tests, support_open_host, support_close) + \
   cmocka_run_group_tests_name(name " on the device", tests, support_open_device, support_close))

#endif
