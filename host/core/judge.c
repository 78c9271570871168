// How far a device's result may be from the host's where terms cancel: the bounds of validation on a tensor and on each of its elements.
#include <math.h>
#include <stdlib.h>

#include "core/core.h"

// Of the whole tensor, validation allows two roundings of the terms: their errors differ in sign and average out, and what was measured is
// below one rounding. A single element may come to many. Terms that an operator has of its own count its roundings, of which the largest
// element measured took 3. For sums of products each term counts once, and a sum of n terms of one sign errs by about √n/3 roundings of
// it, which is 42 for n = 16384. Results are stored by the device and by the host, which is allowed for twice.
#define TENSOR_ROUNDINGS 2
#define ELEMENT_ROUNDINGS 16
#define ELEMENT_ROUNDINGS_OF_SUMS 64
#define ELEMENT_STORAGE 4

// Elements below this are judged with their tensor only: F16 has nothing finer, and products below the normal numbers of F32 become 0 on
// many devices.
static double smallest(heed_dtype dtype) { return dtype == HEED_F16 ? 0x1p-24 : 0x1p-100; }

struct arrays {
  void *actual, *expected, *terms;
};

static heed_status array_of(const heed_tensor *t, void **data) {
  const size_t bytes = heed_tensor_bytes(t);
  *data = malloc(bytes + 1);
  HEED__REQUIRE(*data, HEED_ERROR_OUT_OF_MEMORY, "no host memory to judge %s", heed__tensor_text(t));
  return heed_tensor_download(t, *data, bytes);
}

static void judge_elements(const heed_tensor *t, const struct arrays *arrays, double roundings,
                           struct heed__judgement *j) {
  // actual, expected, terms: [count], the last in F32
  const double stored = heed__rounding(t->dtype), computed = heed__rounding(HEED_F32), least = smallest(t->dtype);
  double errors = 0, bounds = 0, worst = 0;
  for (int64_t i = 0; i < t->count; ++i) {
    const double a = heed__load(arrays->actual, t->dtype, i), e = heed__load(arrays->expected, t->dtype, i);
    if (!isfinite(a) || !isfinite(e)) continue;
    const double error = fabs(a - e);
    errors += error * error;
    const double storage = stored * fabs(e);
    const double terms = arrays->terms ? heed__load(arrays->terms, HEED_F32, i) : computed * fabs(e);
    if (!isfinite(terms)) continue;
    bounds += (storage + terms) * (storage + terms);
    const double allowed = ELEMENT_STORAGE * storage + roundings * terms + least;
    if (error / allowed <= worst) continue;
    worst = error / allowed;
    j->index = i;
    j->actual = a;
    j->expected = e;
    j->used = error;
    j->allowed = allowed;
  }
  j->error = sqrt(errors);
  j->bound = TENSOR_ROUNDINGS * sqrt(bounds);
}

heed_status heed__judge(const heed_tensor *actual, const heed_tensor *expected, const heed_tensor *terms,
                        bool is_sum_of_products, struct heed__judgement *judgement) {
  *judgement = (struct heed__judgement){.index = -1};
  struct arrays arrays = {0};
  heed_status status = array_of(actual, &arrays.actual);
  if (status == HEED_OK) status = array_of(expected, &arrays.expected);
  if (status == HEED_OK && terms) status = array_of(terms, &arrays.terms);
  if (status == HEED_OK)
    judge_elements(actual, &arrays, is_sum_of_products ? ELEMENT_ROUNDINGS_OF_SUMS : ELEMENT_ROUNDINGS, judgement);
  free(arrays.actual);
  free(arrays.expected);
  free(arrays.terms);
  return status;
}
