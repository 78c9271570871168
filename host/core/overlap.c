// Whether two views share memory, told from their offsets, dims and strides. Everything here counts bytes, because two tensors over
// one cl_mem of a program's own may differ in dtype.
#include "core/core.h"

static int64_t byte_stride(const heed_tensor *t, int axis) {
  return t->strides[axis] * (int64_t)heed_dtype_size(t->dtype);
}
static int64_t first_byte(const heed_tensor *t) { return t->offset * (int64_t)heed_dtype_size(t->dtype); }

// Bytes from the first element to the end of the last one, along the axes whose stride is no multiple of `period`; 0: all axes.
static int64_t extent(const heed_tensor *t, int64_t period) {
  int64_t bytes = (int64_t)heed_dtype_size(t->dtype);
  for (int axis = 0; axis < t->rank; ++axis) {
    const int64_t stride = byte_stride(t, axis);
    if (period == 0 || stride % period != 0) bytes += (t->dims[axis] - 1) * stride;
  }
  return bytes;
}

// Whether both, seen modulo `period`, keep to parts of it that are apart, as columns of one matrix do modulo its row.
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

// Whether no element of a lies on one of b. The ends of the two decide it where they can; else it is tried modulo each stride of the
// two, and modulo the common divisor of all strides. That is enough for whatever slices and permutations of one tensor give. Other
// views that interleave count as overlapping: a refusal is better than a wrong result.
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
