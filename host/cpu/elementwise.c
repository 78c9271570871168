// fill, copy and add on the host. They accept rows with any strides, and any dtypes that the operator allows.
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

heed_status heed__cpu_add(heed_context *ctx, const struct heed__call *call) {
  // a, b, y: one shape
  (void)ctx;
  const heed_tensor *a = call->in[HEED__add_a], *b = call->in[HEED__add_b], *y = call->out[HEED__add_y];
  const struct heed__add_params *params = call->params;
  const double alpha = params->alpha, beta = params->beta;
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t start = 0; start < y->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, y->count - start);
    double a_row[HEED__CPU_PIECE], b_row[HEED__CPU_PIECE];
    heed__cpu_load_row(a_row, heed__cpu_data(a), a->dtype, start, 1, count);
    heed__cpu_load_row(b_row, heed__cpu_data(b), b->dtype, start, 1, count);
    HEED__CPU_SIMD
    for (int64_t i = 0; i < count; ++i) a_row[i] = alpha * a_row[i] + beta * b_row[i];
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, start, 1, count, a_row);
  }
  return HEED_OK;
}
