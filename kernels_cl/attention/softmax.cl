// Staged attention, stage 3: softmax of the masked scores within each row's bounds, with lse; dropout; the weights as a
// tensor; backward: from the gradient of the weights to that of the scores.
// A row is the work of GROUP work-items, each taking vectors of VECTOR keys in turn; the pitch is a multiple of that.
#pragma OPENCL FP_CONTRACT ON
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef SOFTCAP
#define SOFTCAP 0
#endif
#include "attention/call.cl"

// True where key v VECTOR + number of the lane lies in the range.
intv inside(int v, int2 range) {
  const intv j = v * VECTOR + LANES;
  return j >= range.x && j < range.y;
}

// A row's vectors before `first` and from `last` on.
void zero_outside(__global float *row, int first, int last, int pitch) {
  for (int v = ROW_LANE; v < first; v += GROUP) VSTORE((floatv)0, row + v * VECTOR);
  for (int v = max(first, last) + ROW_LANE; v < pitch / VECTOR; v += GROUP) VSTORE((floatv)0, row + v * VECTOR);
}

// p = softmax of s within the bounds and 0 outside them, up to the pitch; p may be s itself. lse[head0 + z, row0 + row], where
// has_lse. A row whose scores are all −inf gives zeros and −inf. In a row that holds a NaN, a weight of 0 stays 0.
// global: (GROUP, rows_pad, heads); local: (GROUP, 1, 1)
ROW_GROUP __kernel void attention_softmax(__global const float *s, __global float *p, __global const int2 *bounds,
                                          __global float *lse, long lse_offset, int has_lse,
                                          const struct heed__cl_attention_chunk chunk) {
  __local float scratch[GROUP];
  const int lane = ROW_LANE;
  const size_t row = get_global_id(2) * get_global_size(1) + get_global_id(1);
  const int2 range = bounds[row];
  const int first = range.x / VECTOR, last = (range.y + VECTOR - 1) / VECTOR, pitch = chunk.pitch;
  s += row * pitch;
  p += row * pitch;

  floatv most = -INFINITY;
  for (int v = first + lane; v < last; v += GROUP)
    most = fmax(most, select((floatv)(-INFINITY), VLOAD(s + v * VECTOR), inside(v, range)));
  const float largest = row_max(most, scratch);
  // All −inf, or NaN beside that: subtracting 0 keeps exp(−inf) at 0 and NaN at NaN.
  const float shift = largest == -INFINITY ? 0 : largest;
  floatv total = 0;
  for (int v = first + lane; v < last; v += GROUP) {
    const floatv e = exp(select((floatv)(-INFINITY), VLOAD(s + v * VECTOR) - shift, inside(v, range)));
    total += e;
    VSTORE(e, p + v * VECTOR);
  }
  const float sum = row_sum(total, scratch);
  const float factor = sum == 0 ? 0 : 1 / sum;
  for (int v = first + lane; v < last; v += GROUP) {
    const floatv e = VLOAD(p + v * VECTOR);
    VSTORE(select((floatv)0, e * factor, e != 0), p + v * VECTOR);
  }
  zero_outside(p, first, last, pitch);
  if (has_lse && get_local_id(0) == 0 && get_global_id(1) < chunk.rows)
    lse[(idx)lse_offset + ((idx)chunk.head0 + (idx)get_global_id(2)) * (idx)chunk.queries + (idx)chunk.row0 +
        (idx)get_global_id(1)] = sum == 0 ? -INFINITY : shift + log(sum);
}

// From p and dp to ds = p (dp − Σ p dp), in place of dp, and 0 outside the bounds. Where p is 0, so is ds, whatever stands in dp.
// With SOFTCAP, slopes holds those of the cap and becomes the gradient before it.
// global: (GROUP, rows_pad, heads); local: (GROUP, 1, 1)
ROW_GROUP __kernel void attention_softmax_bwd(__global const float *p, __global float *dp, __global float *slopes,
                                              __global const int2 *bounds, const struct heed__cl_attention_chunk chunk) {
  __local float scratch[GROUP];
  const int lane = ROW_LANE;
  const size_t row = get_global_id(2) * get_global_size(1) + get_global_id(1);
  const int2 range = bounds[row];
  const int first = range.x / VECTOR, last = (range.y + VECTOR - 1) / VECTOR, pitch = chunk.pitch;
  p += row * pitch;
  dp += row * pitch;
  slopes += row * pitch;

  floatv total = 0;
  for (int v = first + lane; v < last; v += GROUP) {
    const floatv weight = VLOAD(p + v * VECTOR);
    total += select((floatv)0, weight * VLOAD(dp + v * VECTOR), weight != 0);
  }
  const float delta = row_sum(total, scratch);
  for (int v = first + lane; v < last; v += GROUP) {
    const floatv weight = VLOAD(p + v * VECTOR);
    const floatv ds = select((floatv)0, weight * (VLOAD(dp + v * VECTOR) - delta), weight != 0);
    VSTORE(ds, dp + v * VECTOR);
#if SOFTCAP
    VSTORE(select((floatv)0, ds * VLOAD(slopes + v * VECTOR), ds != 0), slopes + v * VECTOR);
#endif
  }
  zero_outside(dp, first, last, pitch);
#if SOFTCAP
  zero_outside(slopes, first, last, pitch);
#endif
}

// x = x · scale where dropout keeps the weight, else 0. Four keys share one draw of random numbers.
// global: (GROUP, rows_pad, heads); local: (GROUP, 1, 1)
ROW_GROUP __kernel void attention_dropout(__global float *x, __global const int2 *bounds,
                                          const struct heed__cl_attention_chunk chunk, uint seed_low, uint seed_high,
                                          uint threshold, float scale) {
  const uint f = (uint)chunk.head0 + (uint)get_global_id(2), b = f / (uint)chunk.heads_per_batch;
  const uint h = f - b * (uint)chunk.heads_per_batch, i = (uint)chunk.row0 + (uint)get_global_id(1);
  const size_t row = get_global_id(2) * get_global_size(1) + get_global_id(1);
  const int2 range = bounds[row];
  x += row * chunk.pitch;
  for (int v = range.x / 4 + get_local_id(0); v < (range.y + 3) / 4; v += GROUP) {
    const uint4 random = philox(seed_low, seed_high, (uint4)((uint)v, i, h, b));
    vstore4(select((float4)0, vload4(v, x) * scale, random >= threshold), v, x);
  }
}

// weights[head0 + z, row0 + row, j] = p within the row's bounds, else `outside`, in the tensor's dtype; weights is contiguous.
// global: (GROUP, rows, heads); local: (GROUP, 1, 1)
ROW_GROUP __kernel void attention_weights(__global const float *p, __global const int2 *bounds, float outside,
                                          __global TYPE(X_DTYPE) *weights, long weights_offset,
                                          const struct heed__cl_attention_chunk chunk) {
  const size_t row = get_global_id(2) * chunk.rows_pad + get_global_id(1);
  const idx i = (idx)chunk.row0 + (idx)get_global_id(1);
  const idx row_of_all = ((idx)chunk.head0 + (idx)get_global_id(2)) * (idx)chunk.queries + i;
  const idx to = (idx)weights_offset + row_of_all * (idx)chunk.keys;
  const int2 range = bounds[row];
  for (idx j = get_local_id(0); j < (idx)chunk.keys; j += GROUP)
    STORE(X_DTYPE, weights, to + j, (int)j >= range.x && (int)j < range.y ? p[row * chunk.pitch + j] : outside);
}
