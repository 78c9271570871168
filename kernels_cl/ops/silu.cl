// silu, swiglu (Shazeer 2020) and their gradients.
//
// check with: -DVECTOR=8
// check with: -DX_DTYPE=F16
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;
#pragma OPENCL FP_CONTRACT ON
#include "exp.cl"
#include "walk.cl"

floatv silu_slope(floatv x, shares s) { return s.share * (1 + x * s.rest); }

#define GET(x, i) LOADV(X_DTYPE, x + x##_offset, i, count, 0)
#define PUT(y, i, value) STOREV(X_DTYPE, y + y##_offset, i, count, value)
#define IN(x) const __global real *x, long x##_offset
#define OUT(y) __global real *y, long y##_offset

__kernel void silu(IN(x), OUT(y), long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv at = GET(x, i);
    PUT(y, i, at * shares_of(at).share);
  }
}

__kernel void silu_gradient(IN(x), IN(dy), OUT(dx), long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv at = GET(x, i);
    PUT(dx, i, GET(dy, i) * silu_slope(at, shares_of(at)));
  }
}

__kernel void swiglu(IN(gate), IN(up), OUT(y), long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv at = GET(gate, i);
    PUT(y, i, at * shares_of(at).share * GET(up, i));
  }
}

__kernel void swiglu_gradient(IN(gate), IN(up), IN(dy), OUT(dgate), OUT(dup), long count, long share) {
  RUN_LOOP(i, count, share) {
    const floatv at = GET(gate, i), factor = GET(up, i), upstream = GET(dy, i);
    const shares s = shares_of(at);
    PUT(dgate, i, upstream * factor * silu_slope(at, s));
    PUT(dup, i, upstream * at * s.share);
  }
}
