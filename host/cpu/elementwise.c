// fill, copy, add, mul and reduce_sum on the host. They accept rows with any strides, and any dtypes that the operator allows.
#include <stdlib.h>
#include <string.h>

#include "cpu/rows.h"

// Rows along the last dimension; a tensor of rank 0 is one row of one element.
static int64_t row_length(const heed_tensor *t) { return t->rank == 0 ? 1 : t->dims[t->rank - 1]; }
static int64_t row_stride(const heed_tensor *t) { return t->rank == 0 ? 1 : t->strides[t->rank - 1]; }

heed_status heed__cpu_fill(heed_context *ctx, const struct heed__call *call) {
  // y: any shape and strides
  (void)ctx;
  const heed_tensor *y = call->out[HEED__fill_y];
  if (y->count == 0) return HEED_OK;
  const struct heed__fill_params *params = call->params;
  const double value = params->value;
  const int64_t length = row_length(y), stride = row_stride(y), rows = y->count / length;
  void *data = heed__cpu_data(y);
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t start = heed__cpu_row_start(y, row);
    for (int64_t i = 0; i < length; ++i) heed__store(data, y->dtype, start + i * stride, value);
  }
  return HEED_OK;
}

// If the dtypes are the same, copy bytes, so that I64 beyond 2^53 and the payload of a NaN survive.
static void copy_row(const heed_tensor *x, const heed_tensor *y, int64_t row) {
  // x, y: one shape, of any strides
  const int64_t length = row_length(y), x_stride = row_stride(x), y_stride = row_stride(y);
  const int64_t x_start = heed__cpu_row_start(x, row), y_start = heed__cpu_row_start(y, row);
  const char *from = heed__cpu_data(x);
  char *to = heed__cpu_data(y);
  if (x->dtype == y->dtype) {
    const int64_t size = (int64_t)heed_dtype_size(x->dtype);
    if (x_stride == 1 && y_stride == 1) {
      memcpy(to + y_start * size, from + x_start * size, (size_t)(length * size));
      return;
    }
    for (int64_t i = 0; i < length; ++i)
      memcpy(to + (y_start + i * y_stride) * size, from + (x_start + i * x_stride) * size, (size_t)size);
    return;
  }
  for (int64_t i = 0; i < length; ++i)
    heed__store(to, y->dtype, y_start + i * y_stride, heed__load(from, x->dtype, x_start + i * x_stride));
}

heed_status heed__cpu_copy(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape, of any strides and dtypes
  (void)ctx;
  const heed_tensor *x = call->in[HEED__copy_x], *y = call->out[HEED__copy_y];
  if (y->count == 0) return HEED_OK;
  const int64_t rows = y->count / row_length(y);
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t row = 0; row < rows; ++row) copy_row(x, y, row);
  return HEED_OK;
}

// a = combine(a, b) for `count` elements.
typedef void combine_row(double *a, const double *b, int64_t count, const struct heed__add_params *params);

static void add_row(double *a, const double *b, int64_t count, const struct heed__add_params *params) {
  const double alpha = params->alpha, beta = params->beta;
  HEED__CPU_SIMD
  for (int64_t i = 0; i < count; ++i) a[i] = alpha * a[i] + beta * b[i];
}

static void mul_row(double *a, const double *b, int64_t count, const struct heed__add_params *params) {
  (void)params;
  HEED__CPU_SIMD
  for (int64_t i = 0; i < count; ++i) a[i] *= b[i];
}

// mul has the slots of add.
static heed_status combine(const struct heed__call *call, combine_row *function) {
  // a, b, y: one shape; y contiguous, a and b of any strides
  const heed_tensor *a = call->in[HEED__add_a], *b = call->in[HEED__add_b], *y = call->out[HEED__add_y];
  // What is contiguous is one row.
  const bool flat = heed_tensor_is_contiguous(a) && heed_tensor_is_contiguous(b);
  const int64_t length = flat ? y->count : row_length(y), pieces = heed__ceil_div(length, HEED__CPU_PIECE);
  const int64_t a_stride = flat ? 1 : row_stride(a), b_stride = flat ? 1 : row_stride(b);
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t piece = 0; piece < y->count / length * pieces; ++piece) {
    const int64_t row = piece / pieces, start = piece % pieces * HEED__CPU_PIECE;
    const int64_t count = heed__min(HEED__CPU_PIECE, length - start);
    const int64_t a_start = flat ? 0 : heed__cpu_row_start(a, row), b_start = flat ? 0 : heed__cpu_row_start(b, row);
    double a_row[HEED__CPU_PIECE], b_row[HEED__CPU_PIECE];
    heed__cpu_load_row(a_row, heed__cpu_data(a), a->dtype, a_start + start * a_stride, a_stride, count);
    heed__cpu_load_row(b_row, heed__cpu_data(b), b->dtype, b_start + start * b_stride, b_stride, count);
    function(a_row, b_row, count, call->params);
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, row * length + start, 1, count, a_row);
  }
  return HEED_OK;
}

heed_status heed__cpu_add(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return combine(call, add_row);
}

heed_status heed__cpu_mul(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return combine(call, mul_row);
}

heed_status heed__cpu_reduce_sum(heed_context *ctx, const struct heed__call *call) {
  // x, y: one rank; y has 1 where x is summed
  (void)ctx;
  const struct heed__reduce_params *params = call->params;
  const heed_tensor *x = call->in[HEED__reduce_sum_x], *y = call->out[HEED__reduce_sum_y];
  double *sums;
  HEED__TRY(heed__cpu_scratch(y->count, 1, 1, &sums));
  for (int64_t i = 0; i < y->count; ++i) sums[i] = params->accumulate ? heed__load(heed__cpu_data(y), y->dtype, i) : 0;
  for (int64_t i = 0; i < x->count; ++i) {
    int64_t rest = i, place = 0, stride = 1;
    for (int axis = x->rank - 1; axis >= 0; --axis) {
      if (y->dims[axis] != 1) place += rest % x->dims[axis] * stride;
      stride *= y->dims[axis];
      rest /= x->dims[axis];
    }
    sums[place] += heed__load(heed__cpu_data(x), x->dtype, i);
  }
  for (int64_t i = 0; i < y->count; ++i) heed__store(heed__cpu_data(y), y->dtype, i, sums[i]);
  free(sums);
  return HEED_OK;
}
