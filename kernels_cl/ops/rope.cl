// Rotary positions (Su et al. 2021): each pair of a row is a point of the plane, which the row's angle turns; `direction` −1 turns back.
// Rows lie in three axes of any strides; a row of the table has the cosines, then the sines. A work-item takes `share` rows, of
// which `lanes` neighbours take every lanes-th vector of pairs.
//
// check with: -DVECTOR=8
// check with: -DVECTOR=4 -DINTERLEAVED=1 -DX_DTYPE=BF16
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef INTERLEAVED
#define INTERLEAVED 0
#endif
typedef TYPE(X_DTYPE) real;
#pragma OPENCL FP_CONTRACT ON

typedef struct points {
  floatv a, b;
} points;

// Pairs i to i + VECTOR − 1 of a row, those before `pairs`.
#if !INTERLEAVED
points load_points(const __global real *x, idx i, idx pairs) {
  points p;
  p.a = LOADV(X_DTYPE, x, i, pairs, 0);
  p.b = LOADV(X_DTYPE, x + pairs, i, pairs, 0);
  return p;
}
void store_points(__global real *y, idx i, idx pairs, points p) {
  STOREV(X_DTYPE, y, i, pairs, p.a);
  STOREV(X_DTYPE, y + pairs, i, pairs, p.b);
}
#elif VECTOR == 1
points load_points(const __global real *x, idx i, idx pairs) {
  points p;
  p.a = LOAD(X_DTYPE, x, 2 * i);
  p.b = LOAD(X_DTYPE, x, 2 * i + 1);
  return p;
}
void store_points(__global real *y, idx i, idx pairs, points p) {
  STORE(X_DTYPE, y, 2 * i, p.a);
  STORE(X_DTYPE, y, 2 * i + 1, p.b);
}
#else
points load_points(const __global real *x, idx i, idx pairs) {
  const floatv low = LOADV(X_DTYPE, x, 2 * i, 2 * pairs, 0), high = LOADV(X_DTYPE, x, 2 * i + VECTOR, 2 * pairs, 0);
  points p;
  p.a = (floatv)(low.even, high.even);
  p.b = (floatv)(low.odd, high.odd);
  return p;
}
void store_points(__global real *y, idx i, idx pairs, points p) {
  floatv low, high;
  low.even = p.a.lo;
  low.odd = p.b.lo;
  high.even = p.a.hi;
  high.odd = p.b.hi;
  STOREV(X_DTYPE, y, 2 * i, 2 * pairs, low);
  STOREV(X_DTYPE, y, 2 * i + VECTOR, 2 * pairs, high);
}
#endif

#define STRIDES(x) long x##0, long x##1, long x##2
#define PLACE(x) (c0 * (idx)x##0 + c1 * (idx)x##1 + c2 * (idx)x##2)

__kernel void rope(const __global real *x, long x_offset, STRIDES(xs), const __global float *table, long table_offset,
                   STRIDES(ts), __global real *y, long y_offset, STRIDES(ys), long d1, long d2, long rows, long pairs,
                   long share, long lanes, float direction) {
  const idx item = get_global_id(0), lane = item % (idx)lanes, first = item / (idx)lanes * (idx)share;
  idx c2 = first % (idx)d2, c1 = first / (idx)d2 % (idx)d1, c0 = first / (idx)d2 / (idx)d1;
  for (idx row = first; row < min((idx)rows, first + (idx)share); ++row) {
    const __global float *angles = table + table_offset + PLACE(ts);
    const __global real *from = x + x_offset + PLACE(xs);
    __global real *to = y + y_offset + PLACE(ys);
    for (idx i = lane * VECTOR; i < pairs; i += (idx)lanes * VECTOR) {
      const floatv cosine = LOADV(F32, angles, i, pairs, 0), sine = direction * LOADV(F32, angles + pairs, i, pairs, 0);
      const points p = load_points(from, i, pairs);
      points turned;
      turned.a = p.a * cosine - p.b * sine;
      turned.b = p.b * cosine + p.a * sine;
      store_points(to, i, pairs, turned);
    }
    if (++c2 < d2) continue;
    c2 = 0;
    if (++c1 < d1) continue;
    c1 = 0;
    ++c0;
  }
}
