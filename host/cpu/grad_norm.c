// The norm of gradients, what it clips, and what it controls, on the host.
#include <math.h>
#include <stdlib.h>

#include "cpu/rows.h"

heed_status heed__cpu_sum_squares(heed_context *ctx, const struct heed__call *call) {
  // x: any shape; sum: [1]
  (void)ctx;
  const struct heed__sum_squares_params *params = call->params;
  const heed_tensor *x = call->in[HEED__sum_squares_x], *sum = call->out[HEED__sum_squares_sum];
  const int64_t pieces = heed__ceil_div(x->count, HEED__CPU_PIECE);
  double *sums, total = params->accumulate ? heed__load(heed__cpu_data(sum), HEED_F32, 0) : 0;
  HEED__TRY(heed__cpu_scratch(heed__max(pieces, 1), 1, 1, &sums));
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    double row[HEED__CPU_PIECE];
    const int64_t start = piece * HEED__CPU_PIECE, count = heed__min(HEED__CPU_PIECE, x->count - start);
    heed__cpu_load_row(row, heed__cpu_data(x), x->dtype, start, 1, count);
    sums[piece] = 0;
    for (int64_t i = 0; i < count; ++i) sums[piece] += row[i] * row[i];
  }
  for (int64_t piece = 0; piece < pieces; ++piece) total += sums[piece];
  free(sums);
  heed__store(heed__cpu_data(sum), HEED_F32, 0, params->root ? sqrt(total) : total);
  return HEED_OK;
}

// min(1, max_norm / (norm + 1e-6)); NaN of NaN.
static double clip_of(double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  return factor > 1 ? 1 : factor;
}

heed_status heed__cpu_clip_by_norm(heed_context *ctx, const struct heed__call *call) {
  // norm: [1]; x: any shape
  (void)ctx;
  const struct heed__clip_params *params = call->params;
  const heed_tensor *x = call->out[HEED__clip_by_norm_x];
  const double norm = heed__load(heed__cpu_data(call->in[HEED__clip_by_norm_norm]), HEED_F32, 0);
  const double factor = clip_of(norm, params->max_norm);
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t start = 0; start < x->count; start += HEED__CPU_PIECE) {
    double row[HEED__CPU_PIECE];
    const int64_t count = heed__min(HEED__CPU_PIECE, x->count - start);
    heed__cpu_load_row(row, heed__cpu_data(x), x->dtype, start, 1, count);
    for (int64_t i = 0; i < count; ++i) row[i] *= factor;
    heed__cpu_store_row(heed__cpu_data(x), x->dtype, start, 1, count, row);
  }
  return HEED_OK;
}

heed_status heed__cpu_grad_control(heed_context *ctx, const struct heed__call *call) {
  // squares, norm, factor, scale: [1], scale NULL: 1; counts: [4]
  (void)ctx;
  const heed_grad_control_options *o = call->params;
  const heed_tensor *scale_tensor = call->out[HEED__grad_control_scale];
  int32_t *counts = heed__cpu_data(call->out[HEED__grad_control_counts]);
  double scale = scale_tensor ? heed__load(heed__cpu_data(scale_tensor), HEED_F32, 0) : 1;
  const double squares = heed__load(heed__cpu_data(call->in[HEED__grad_control_squares]), HEED_F32, 0);
  const double norm = sqrt(squares) / scale;
  const bool finite = isfinite(norm);
  const double factor = finite ? (o->max_norm > 0 ? clip_of(norm, o->max_norm) : 1) / scale : (double)NAN;
  heed__store(heed__cpu_data(call->out[HEED__grad_control_norm]), HEED_F32, 0, norm);
  heed__store(heed__cpu_data(call->out[HEED__grad_control_factor]), HEED_F32, 0, factor);
  counts[1] += 1;
  counts[0] += finite;
  if (!finite && counts[2] == 0) counts[2] = counts[1];
  counts[3] = finite ? counts[3] + 1 : 0;
  double next = finite ? scale : scale * o->backoff;
  if (counts[3] >= o->growth_interval) {
    counts[3] = 0;
    next = scale * o->growth;
  }
  // Neither 0 nor infinity, from which no step would come back.
  if (next >= 0x1p-126 && next <= 0x1p127) scale = next;
  if (scale_tensor) heed__store(heed__cpu_data(scale_tensor), HEED_F32, 0, scale);
  return HEED_OK;
}
