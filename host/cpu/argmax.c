// argmax on the host: the smallest column of the largest element in each row; a NaN is larger than everything.
#include <math.h>

#include "cpu/rows.h"

static int32_t argmax_of_row(const void *data, heed_dtype dtype, int64_t start, int64_t columns) {
  // data: [columns] from `start` on
  int64_t best = 0;
  double largest = heed__load(data, dtype, start);
  for (int64_t j = 1; j < columns && !isnan(largest); ++j) {
    const double value = heed__load(data, dtype, start + j);
    if (value > largest || isnan(value)) {
      best = j;
      largest = value;
    }
  }
  return (int32_t)best;
}

heed_status heed__cpu_argmax(heed_context *ctx, const struct heed__call *call) {
  // x: [rows, columns]; y: I32 [rows]
  (void)ctx;
  const heed_tensor *x = call->in[HEED__argmax_x];
  int32_t *y = heed__cpu_data(call->out[HEED__argmax_y]);
  const int64_t rows = x->dims[0], columns = x->dims[1];
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t row = 0; row < rows; ++row) y[row] = argmax_of_row(heed__cpu_data(x), x->dtype, row * columns, columns);
  return HEED_OK;
}
