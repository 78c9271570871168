// Tells from offsets, dims and strides whether two views share memory. It counts in bytes, because two tensors over the same cl_mem of a
// program may differ in dtype.
#include "core/core.h"

static int64_t byte_stride(const heed_tensor *t, int axis) {
  return t->strides[axis] * (int64_t)heed_dtype_size(t->dtype);
}
static int64_t first_byte(const heed_tensor *t) { return t->offset * (int64_t)heed_dtype_size(t->dtype); }

// Bytes from the first element to the end of the last one, along the axes whose stride is not a multiple of `period`; 0: all axes.
static int64_t extent(const heed_tensor *t, int64_t period) {
  int64_t bytes = (int64_t)heed_dtype_size(t->dtype);
  for (int axis = 0; axis < t->rank; ++axis) {
    const int64_t stride = byte_stride(t, axis);
    if (period == 0 || stride % period != 0) bytes += (t->dims[axis] - 1) * stride;
  }
  return bytes;
}

// Tells whether the two occupy separate parts of each `period`, as two columns of one matrix do in each row.
static bool apart_modulo(const heed_tensor *a, const heed_tensor *b, int64_t period) {
  if (period <= 0) return false;
  int64_t distance = (first_byte(b) - first_byte(a)) % period;
  if (distance < 0) distance += period;
  return distance >= extent(a, period) && extent(b, period) <= period - distance;
}

static int64_t common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// Tells whether no element of a lies on an element of b. If the two ranges do not settle it, try each stride of the two as a period, and
// the common divisor of all strides. This is enough for all slices and permutations of one tensor. Other views that interleave count as
// overlapping, because a refusal is better than a wrong result.
static bool are_apart(const heed_tensor *a, const heed_tensor *b) {
  if (first_byte(a) + extent(a, 0) <= first_byte(b) || first_byte(b) + extent(b, 0) <= first_byte(a)) return true;
  const heed_tensor *const both[] = {a, b};
  int64_t divisor = 0;
  for (int i = 0; i < 2; ++i) {
    for (int axis = 0; axis < both[i]->rank; ++axis) {
      if (both[i]->dims[axis] == 1) continue;
      if (apart_modulo(a, b, byte_stride(both[i], axis))) return true;
      divisor = common_divisor(divisor, byte_stride(both[i], axis));
    }
  }
  return apart_modulo(a, b, divisor);
}

bool heed_tensor_overlaps(const heed_tensor *a, const heed_tensor *b) {
  if (!a || !b || a->count == 0 || b->count == 0) return false;
  return a->buffer->handle == b->buffer->handle && !are_apart(a, b);
}
