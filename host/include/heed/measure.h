// What tools and tests need beside heed.h: random numbers that are the same everywhere, how far two tensors differ, and how long
// launches take. heed.h includes it.
#ifndef HEED_MEASURE_H
#define HEED_MEASURE_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------- random numbers
// Counter-based (Philox4x32-10, Salmon et al. 2011): the same on every machine, in any order.
HEED_API void heed_philox(uint64_t seed, const uint32_t counter[4], uint32_t random[4]);
HEED_API double heed_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);  // [0, 1), 32 random bits
HEED_API double heed_random_normal(uint64_t seed, uint64_t stream, uint64_t index);   // mean 0, variance 1
HEED_API uint64_t heed_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);  // [0, n), n >= 1

// ---------------------------------------------------------------- comparing

// How two tensors of one shape differ. relative = ‖a − e‖/‖e‖ over the finite elements (‖a − e‖ if ‖e‖ is 0).
typedef struct heed_difference {
  double relative;
  double error;    // ‖a − e‖ over the finite elements
  double max_abs;  // largest |a − e| of them
  int64_t index;   // flat index of the worst element, or of the first non_finite_mismatch if there is one; −1: none
  double actual, expected;   // the values at index
  bool non_finite_mismatch;  // some element is NaN, +Inf or −Inf in one and not the same in the other
  bool has_nan;              // either holds a NaN
} heed_difference;
// Downloads both and compares them in F64. They may be on different contexts and have different float dtypes.
HEED_API HEED_MUST_CHECK heed_status heed_tensor_compare(const heed_tensor *actual, const heed_tensor *expected,
                                                         heed_difference *difference);
// The verdict: false for a non-finite mismatch and for !(relative <= tolerance).
HEED_API bool heed_difference_within(const heed_difference *difference, double tolerance);
// The relative difference that heed allows: heed_open_options.validate and `heed check` judge operators by it.
// `dtype` is the result's; `gradient`: the result of a backward. F32: 5e-6, gradients 2e-5; F16: 4e-3; BF16: 3.2e-2;
// integers and BOOL: 0. Operators that only move or round values (fill, copy) must be exact in any dtype.
HEED_API double heed_tolerance(heed_dtype dtype, bool gradient);

// ---------------------------------------------------------------- measuring

// One launch of a profiling context. Times in nanoseconds of the device's clock.
typedef struct heed_profile_record {
  const char *kernel;
  uint64_t start_ns, end_ns;
} heed_profile_record;
// Waits, then hands out the launches since the last such call. They are valid until the next call on ctx. Empty without profiling.
HEED_API HEED_MUST_CHECK heed_status heed_profile_records(heed_context *ctx, const heed_profile_record **records,
                                                          size_t *count);

// Measures what the device reaches with code like heed's: fma_gflops by multiply-adds on registers, copy_gbytes (read and written) by
// a copy of `bytes` bytes. Takes about a second.
HEED_API HEED_MUST_CHECK heed_status heed_measure_peak(heed_context *ctx, size_t bytes, double *fma_gflops,
                                                       double *copy_gbytes);

#ifdef __cplusplus
}
#endif
#endif
