// What tests over contexts share: the host, the OpenCL device they run on, and assertions with heed's own message.
#ifndef SUPPORT_DEVICES_H
#define SUPPORT_DEVICES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <heed/heed.h>

#define ASSERT_OK(call)                                                                                                \
  do {                                                                                                                 \
    const heed_status assert_status = (call);                                                                          \
    if (assert_status != HEED_OK) fail_msg("%s: %s: %s", #call, heed_status_string(assert_status), heed_last_error()); \
  } while (0)

// The call fails with this status, and its message holds `part`.
#define ASSERT_FAILS(expected, part, call) support_assert_fails((expected), (part), (call), #call, __FILE__, __LINE__)
void support_assert_fails(heed_status expected, const char *part, heed_status actual, const char *call,
                          const char *file, int line);

// Group fixtures: *state is the context. The OpenCL one is what heed_open(NULL) picks; where that is the host, *state is
// NULL, or the group fails when the environment has HEED_REQUIRE_DEVICE=1. HEED_TEST_HOST_ONLY=1 leaves OpenCL alone, for
// runs under valgrind and the sanitizers: *state is NULL.
int support_open_host(void **state);
int support_open_device(void **state);
int support_close(void **state);  // fails when tensors are left
// The test's context; skips the test where there is none.
heed_context *support_context(void **state);

// The number that a variable of the environment holds, such as how many draws a test makes; `otherwise` where it is not set.
uint64_t support_number(const char *name, uint64_t otherwise);

// `count` values in [−1, 1), multiples of 2^-8, the same everywhere.
void support_fill(float *values, int64_t count, uint64_t seed);
// A tensor of such values, also written to `copy` where that is not NULL.
heed_tensor *support_tensor(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed,
                            float *copy);
// ‖actual − expected‖ / ‖expected‖; NaN where either holds one.
double support_relative(const float *actual, const double *expected, int64_t count);

#endif
