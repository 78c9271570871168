// y = x²; dx = 2 x dy.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;

__kernel void square(const __global real *x, long x_offset, __global real *y, long y_offset, long count) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  const float value = LOAD(X_DTYPE, x + x_offset, i);
  STORE(X_DTYPE, y + y_offset, i, value * value);
}

__kernel void square_gradient(const __global real *x, long x_offset, const __global real *dy, long dy_offset,
                              __global real *dx, long dx_offset, long count) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  const float slope = 2 * LOAD(X_DTYPE, x + x_offset, i);
  STORE(X_DTYPE, dx + dx_offset, i, slope * LOAD(X_DTYPE, dy + dy_offset, i));
}
