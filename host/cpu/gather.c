// gather_rows on the host: y[r, :] = scale x[index[r], :] + shift.
#include <math.h>
#include <string.h>

#include "cpu/rows.h"

static void gather_row(const heed_tensor *x, int64_t index, const struct heed__gather_params *params,
                       const heed_tensor *y, int64_t row) {
  // x: [N, width]; y: [rows, width]
  const int64_t width = y->dims[1];
  char *to = heed__cpu_data(y);
  const char *from = heed__cpu_data(x);
  if (index < 0 || index >= x->dims[0]) {
    const double outside = heed_dtype_is_float(y->dtype) ? NAN : 0;
    for (int64_t j = 0; j < width; ++j) heed__store(to, y->dtype, row * width + j, outside);
    return;
  }
  if (x->dtype == y->dtype && params->scale == 1 && params->shift == 0) {
    const int64_t bytes = width * (int64_t)heed_dtype_size(x->dtype);
    memcpy(to + row * bytes, from + index * bytes, (size_t)bytes);
    return;
  }
  for (int64_t j = 0; j < width; ++j) {
    const double value = params->scale * heed__load(from, x->dtype, index * width + j) + params->shift;
    heed__store(to, y->dtype, row * width + j, value);
  }
}

heed_status heed__cpu_gather_rows(heed_context *ctx, const struct heed__call *call) {
  // x: [N, width]; index: I32 [rows]; y: [rows, width]
  (void)ctx;
  const heed_tensor *x = call->in[HEED__gather_rows_x], *y = call->out[HEED__gather_rows_y];
  const int32_t *index = heed__cpu_data(call->in[HEED__gather_rows_index]);
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t row = 0; row < y->dims[0]; ++row) gather_row(x, index[row], call->params, y, row);
  return HEED_OK;
}

heed_status heed__cpu_terms_gather_rows(heed_context *ctx, const struct heed__call *call) {
  // x: [N, width]; index: I32 [rows]; y: F32 [rows, width]
  (void)ctx;
  const heed_tensor *x = call->in[HEED__gather_rows_x], *y = call->out[HEED__gather_rows_y];
  const int32_t *index = heed__cpu_data(call->in[HEED__gather_rows_index]);
  const struct heed__gather_params *params = call->params;
  const double u = heed__rounding(HEED_F32);
  for (int64_t row = 0; row < y->dims[0]; ++row) {
    if (index[row] < 0 || index[row] >= x->dims[0]) continue;  // NaN, or 0
    for (int64_t j = 0; j < y->dims[1]; ++j) {
      const double value = heed__load(heed__cpu_data(x), x->dtype, index[row] * y->dims[1] + j);
      // scale and shift become F32, and an integer does, too.
      const double terms = 3 * fabs(params->scale * value) + fabs(params->shift);
      heed__store(heed__cpu_data(y), y->dtype, row * y->dims[1] + j, u * terms);
    }
  }
  return HEED_OK;
}
