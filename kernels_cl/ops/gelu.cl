// gelu and its gradient, an element a lane.

#include "gelu.cl"

__kernel void gelu(const __global real *x, long x_offset, __global real *y, long y_offset, long count) {
  const idx i = (idx)get_global_id(0) * VECTOR;
  if (i < count) STOREV(X_DTYPE, y + y_offset, i, count, gelu_of(LOADV(X_DTYPE, x + x_offset, i, count, 0)));
}

__kernel void gelu_gradient(const __global real *x, long x_offset, const __global real *dy, long dy_offset,
                            __global real *dx, long dx_offset, long count) {
  const idx i = (idx)get_global_id(0) * VECTOR;
  if (i >= count) return;
  const floatv slope = gelu_slope(LOADV(X_DTYPE, x + x_offset, i, count, 0));
  STOREV(X_DTYPE, dx + dx_offset, i, count, LOADV(X_DTYPE, dy + dy_offset, i, count, 0) * slope);
}
