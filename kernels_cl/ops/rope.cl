// Rotary positions (Su et al. 2021): each pair of a row is a point of the plane, which the row's angle turns; `direction` −1 turns back.
// Rows lie in three axes of any strides; a row of the table has the cosines, then the sines. A work-item takes `share` rows, of
// which `lanes` neighbours take every lanes-th vector of pairs.
//
// check with: -DVECTOR=8
// check with: -DVECTOR=4 -DINTERLEAVED=1 -DX_DTYPE=BF16
// check with: -DVECTOR=16 -DINTERLEAVED=1
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef INTERLEAVED
#define INTERLEAVED 0
#endif
typedef TYPE(X_DTYPE) real;
#pragma OPENCL FP_CONTRACT ON

// Pairs i to i + VECTOR − 1 of a row, those before `pairs`: their first and second elements.
#if !INTERLEAVED
void load_pairs(const __global real *x, idx i, idx pairs, floatv *a, floatv *b) {
  *a = LOADV(X_DTYPE, x, i, pairs, 0);
  *b = LOADV(X_DTYPE, x + pairs, i, pairs, 0);
}
void store_pairs(__global real *y, idx i, idx pairs, floatv a, floatv b) {
  STOREV(X_DTYPE, y, i, pairs, a);
  STOREV(X_DTYPE, y + pairs, i, pairs, b);
}
#elif VECTOR == 1
void load_pairs(const __global real *x, idx i, idx pairs, floatv *a, floatv *b) {
  *a = LOAD(X_DTYPE, x, 2 * i);
  *b = LOAD(X_DTYPE, x, 2 * i + 1);
}
void store_pairs(__global real *y, idx i, idx pairs, floatv a, floatv b) {
  STORE(X_DTYPE, y, 2 * i, a);
  STORE(X_DTYPE, y, 2 * i + 1, b);
}
#else
// Element by element: Oclgrind does not survive .even and .odd.
#if VECTOR == 4
#define EVEN(x) x.s0, x.s2
#define ODD(x) x.s1, x.s3
#define MERGED(a, b) (float4)(a.s0, b.s0, a.s1, b.s1)
#elif VECTOR == 8
#define EVEN(x) x.s0, x.s2, x.s4, x.s6
#define ODD(x) x.s1, x.s3, x.s5, x.s7
#define MERGED(a, b) (float8)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3)
#else
#define EVEN(x) x.s0, x.s2, x.s4, x.s6, x.s8, x.sa, x.sc, x.se
#define ODD(x) x.s1, x.s3, x.s5, x.s7, x.s9, x.sb, x.sd, x.sf
#define MERGED(a, b) \
  (float16)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7)
#endif
void load_pairs(const __global real *x, idx i, idx pairs, floatv *a, floatv *b) {
  const floatv low = LOADV(X_DTYPE, x, 2 * i, 2 * pairs, 0), high = LOADV(X_DTYPE, x, 2 * i + VECTOR, 2 * pairs, 0);
  *a = (floatv)(EVEN(low), EVEN(high));
  *b = (floatv)(ODD(low), ODD(high));
}
void store_pairs(__global real *y, idx i, idx pairs, floatv a, floatv b) {
  const floatv low = MERGED(a.lo, b.lo), high = MERGED(a.hi, b.hi);
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
      floatv a, b;
      load_pairs(from, i, pairs, &a, &b);
      store_pairs(to, i, pairs, a * cosine - b * sine, b * cosine + a * sine);
    }
    if (++c2 < d2) continue;
    c2 = 0;
    if (++c1 < d1) continue;
    c1 = 0;
    ++c0;
  }
}
