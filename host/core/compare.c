// How two tensors of one shape differ: the one measure that check, validate and the tests use.
#include <math.h>
#include <stdlib.h>

#include "core/core.h"

static bool same_non_finite(double a, double e) {
  if (isnan(a) || isnan(e)) return isnan(a) && isnan(e);
  return a == e;
}

void heed__compare(const void *actual, heed_dtype actual_dtype, const void *expected, heed_dtype expected_dtype,
                   int64_t count, heed_difference *difference) {
  *difference = (heed_difference){.index = -1};
  double error = 0, norm = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double a = heed__load(actual, actual_dtype, i), e = heed__load(expected, expected_dtype, i);
    if (isnan(a) || isnan(e)) difference->has_nan = true;
    if (!isfinite(a) || !isfinite(e)) {
      if (same_non_finite(a, e) || difference->non_finite_mismatch) continue;
      difference->non_finite_mismatch = true;
      difference->index = i;
      difference->actual = a;
      difference->expected = e;
      continue;
    }
    const double d = fabs(a - e);
    error += d * d;
    norm += e * e;
    if (d <= difference->max_abs) continue;
    difference->max_abs = d;
    if (difference->non_finite_mismatch) continue;
    difference->index = i;
    difference->actual = a;
    difference->expected = e;
  }
  difference->error = sqrt(error);
  difference->relative = norm > 0 ? sqrt(error / norm) : sqrt(error);
}

heed_status heed_tensor_compare(const heed_tensor *actual, const heed_tensor *expected, heed_difference *difference) {
  HEED__REQUIRE(actual && expected && difference, HEED_ERROR_INVALID_ARGUMENT, "compare: an argument is NULL");
  bool same = actual->rank == expected->rank;
  for (int axis = 0; same && axis < actual->rank; ++axis) same = actual->dims[axis] == expected->dims[axis];
  HEED__REQUIRE(same, HEED_ERROR_SHAPE, "compare: the shapes differ: %s against %s", heed__tensor_text(actual),
                heed__tensor_text(expected));
  const size_t actual_bytes = heed_tensor_bytes(actual), expected_bytes = heed_tensor_bytes(expected);
  void *a = malloc(actual_bytes + 1), *e = malloc(expected_bytes + 1);
  heed_status status = HEED_OK;
  if (!a || !e)
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "compare: no host memory for %s", heed__tensor_text(actual));
  if (status == HEED_OK) status = heed_tensor_download(actual, a, actual_bytes);
  if (status == HEED_OK) status = heed_tensor_download(expected, e, expected_bytes);
  if (status == HEED_OK) heed__compare(a, actual->dtype, e, expected->dtype, actual->count, difference);
  free(a);
  free(e);
  return status;
}

bool heed_difference_within(const heed_difference *difference, double tolerance) {
  return difference && !difference->non_finite_mismatch && difference->relative <= tolerance;
}
