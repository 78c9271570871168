// gelu and its gradient.
//
// check with: -DVECTOR=8

#include "gelu.cl"
#include "walk.cl"

__kernel void gelu(const __global real *x, long x_offset, __global real *y, long y_offset, long count, long share) {
  RUN_LOOP(i, count, share)
  STOREV(X_DTYPE, y + y_offset, i, count, gelu_of(LOADV(X_DTYPE, x + x_offset, i, count, 0)));
}

__kernel void gelu_gradient(const __global real *x, long x_offset, const __global real *dy, long dy_offset,
                            __global real *dx, long dx_offset, long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv slope = gelu_slope(LOADV(X_DTYPE, x + x_offset, i, count, 0));
    const floatv change = LOADV(X_DTYPE, dy + dy_offset, i, count, 0) * slope;
    STOREV(X_DTYPE, dx + dx_offset, i, count, change);
  }
}
