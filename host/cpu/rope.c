// Rotary positions on the host: each pair of a row is a point of the plane, which the row's angle turns.
#include "cpu/rows.h"

// direction: 1, or −1 to turn back.
static void turn_row(const heed_tensor *x, const heed_tensor *table, heed_rope_style style, double direction,
                     const heed_tensor *y, int64_t row) {
  // x, y: [B, H, L, D]; table: F32 [L, D]
  const int64_t width = x->dims[3], half = width / 2;
  const float *angles = (const float *)heed__cpu_data(table) + row % x->dims[2] * width;
  const int64_t from = heed__cpu_row_start(x, row), to = heed__cpu_row_start(y, row);
  for (int64_t i = 0; i < half; ++i) {
    const int64_t a = style == HEED_ROPE_HALF ? i : 2 * i, b = style == HEED_ROPE_HALF ? i + half : 2 * i + 1;
    const double cosine = (double)angles[i], sine = direction * (double)angles[half + i];
    const double x_a = heed__load(heed__cpu_data(x), x->dtype, from + a);
    const double x_b = heed__load(heed__cpu_data(x), x->dtype, from + b);
    heed__store(heed__cpu_data(y), y->dtype, to + a, x_a * cosine - x_b * sine);
    heed__store(heed__cpu_data(y), y->dtype, to + b, x_b * cosine + x_a * sine);
  }
}

// rope_bwd has the slots of rope_fwd.
static heed_status turn(const struct heed__call *call, double direction) {
  const struct heed__rope_params *params = call->params;
  const heed_tensor *x = call->in[HEED__rope_fwd_x], *table = call->in[HEED__rope_fwd_table];
  const heed_tensor *y = call->out[HEED__rope_fwd_y];
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t row = 0; row < y->count / y->dims[3]; ++row) turn_row(x, table, params->style, direction, y, row);
  return HEED_OK;
}

heed_status heed__cpu_rope_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return turn(call, 1);
}

heed_status heed__cpu_rope_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return turn(call, -1);
}
