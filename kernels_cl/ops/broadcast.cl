// add and mul of what broadcasts: rows of y along an inner axis, along which a and b either run or stand; a work-item takes `share`
// elements of a row.
//
// check with: -DVECTOR=8
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

#define STRIDES(x) long x##0, long x##1, long x##2, long x##3
#define PLACE(x) (c0 * (idx)x##0 + c1 * (idx)x##1 + c2 * (idx)x##2 + c3 * (idx)x##3)
// A division costs more than asking.
#define TAKE(coordinate, dim)      \
  idx coordinate = 0;              \
  if (dim > 1) {                   \
    coordinate = rest % (idx)dim;  \
    rest /= (idx)dim;              \
  }

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

__kernel void combine(const __global real *a, long a_offset, STRIDES(as), const __global real *b, long b_offset,
                      STRIDES(bs), __global real *y, long y_offset, long d1, long d2, long d3, long rows, long length,
                      long share, float alpha, float beta) {
  const idx items_a_row = ((idx)length - 1) / (idx)share + 1, item = get_global_id(0), row = item / items_a_row;
  if (row >= rows) return;
  const idx first = (item - row * items_a_row) * (idx)share, end = min((idx)length, first + (idx)share);
  idx rest = row;
  TAKE(c3, d3) TAKE(c2, d2) TAKE(c1, d1) const idx c0 = rest;
  a += a_offset + PLACE(as);
  b += b_offset + PLACE(bs);
  y += y_offset + row * (idx)length;
  for (idx i = first; i < end; i += VECTOR)
#if MUL
    STOREV(X_DTYPE, y, i, length, A(i) * B(i));
#else
    STOREV(X_DTYPE, y, i, length, alpha * A(i) + beta * B(i));
#endif
}
