// add and mul of what broadcasts: rows of y along an inner axis, along which a and b either run or stand.
//
// check with: -DVECTOR=8 -DSTREAMED=1
// check with: -DVECTOR=8 -DMUL=1 -DB_STEP=0 -DX_DTYPE=F16
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef MUL
#define MUL 0
#endif
#ifndef A_STEP
#define A_STEP 1
#endif
#ifndef B_STEP
#define B_STEP 1
#endif
typedef TYPE(X_DTYPE) real;
#include "walk.cl"

#if A_STEP
#define A(i) LOADV(X_DTYPE, a, i, length, 0)
#else
#define A(i) ((floatv)LOAD(X_DTYPE, a, 0))
#endif
#if B_STEP
#define B(i) LOADV(X_DTYPE, b, i, length, 0)
#else
#define B(i) ((floatv)LOAD(X_DTYPE, b, 0))
#endif

void combine_run(const __global real *a, const __global real *b, __global real *y, idx length, float alpha, float beta) {
  for (idx i = 0; i < length; i += VECTOR)
#if MUL
    PUT_RUN(X_DTYPE, y, i, length, A(i) * B(i));
#else
    PUT_RUN(X_DTYPE, y, i, length, alpha * A(i) + beta * B(i));
#endif
}

__kernel void combine(const __global real *a, long a_offset, STRIDES(as), const __global real *b, long b_offset,
                      STRIDES(bs), __global real *y, long y_offset, DIMS, long count, long share, float alpha,
                      float beta) {
  idx i = (idx)get_global_id(0) * (idx)share;
  COORDINATES(i);
  STRETCHES_LOOP(i, length, count, share)
  combine_run(a + a_offset + PLACE(as), b + b_offset + PLACE(bs), y + y_offset + i, length, alpha, beta);
}
