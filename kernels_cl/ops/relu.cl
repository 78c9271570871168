// y = max(x, 0), where NaN stays NaN; dx = dy where x > 0, else 0.
//
// check with: -DVECTOR=8 -DSTREAMED=1
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;
#include "walk.cl"

__kernel void relu(const __global real *x, long x_offset, __global real *y, long y_offset, long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv value = LOADV(X_DTYPE, x + x_offset, i, count, 0);
    PUT_RUN(X_DTYPE, y + y_offset, i, count, value < 0 ? (floatv)0 : value);
  }
}

__kernel void relu_gradient(const __global real *x, long x_offset, const __global real *dy, long dy_offset,
                            __global real *dx, long dx_offset, long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv slope = LOADV(X_DTYPE, dy + dy_offset, i, count, 0);
    PUT_RUN(X_DTYPE, dx + dx_offset, i, count, LOADV(X_DTYPE, x + x_offset, i, count, 0) > 0 ? slope : (floatv)0);
  }
}
