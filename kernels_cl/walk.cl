// Walks of elementwise operators. A work-item has a run of `share` elements: on a CPU many, on a GPU one. Where strides say where elements
// lie, in arrays of five dimensions of which the last is fastest, it takes them in stretches along that one. No place needs the first of
// the five sizes.

// 1: the results, of 32 bits an element, are too many for the caches, which they would only fill.
#ifndef STREAMED
#define STREAMED 0
#endif
#if STREAMED
void put_floats(floatv value, __global float *p) {
  if ((ulong)p % sizeof(floatv) == 0)
    STORE_PAST_CACHES(value, p);
  else
    VSTORE(value, p);
}
#define PUT_RUN(dtype, p, i, end, value) \
  {                                      \
    if ((end) - (i) >= VECTOR)           \
      put_floats(value, (p) + (i));      \
    else                                 \
      STOREV(dtype, p, i, end, value);   \
  }
#else
#define PUT_RUN(dtype, p, i, end, value) STOREV(dtype, p, i, end, value)
#endif

// for each vector of the run, the first of them at element i; of `count` elements.
#define RUN_END(i, count, share) ((count) - (share) > (i) ? (i) + (idx)(share) : (idx)(count))
#define RUN_LOOP(i, count, share)                                                                               \
  for (idx i = (idx)get_global_id(0) * (idx)(share), i##_end = RUN_END(i, count, share); i < i##_end; i += VECTOR)

#define DIMS long d1, long d2, long d3, long d4
#define STRIDES(x) long x##0, long x##1, long x##2, long x##3, long x##4
// Where, in an array of these strides, element (c0, …, c4) lies.
#define PLACE(x) (c0 * (idx)x##0 + c1 * (idx)x##1 + c2 * (idx)x##2 + c3 * (idx)x##3 + c4 * (idx)x##4)

// The coordinates of element i. A division costs more than asking.
#define COORDINATES(i) \
  idx rest = i;        \
  TAKE(c4, d4) TAKE(c3, d3) TAKE(c2, d2) TAKE(c1, d1) idx c0 = rest
#define TAKE(coordinate, dim)     \
  idx coordinate = 0;             \
  if (dim > 1) {                  \
    coordinate = rest % (idx)dim; \
    rest /= (idx)dim;             \
  }

// for each stretch of `length` elements from (c0, …, c4) on, which are elements i to i + length − 1 of `count`.
#define STRETCHES_LOOP(i, length, count, share)                                                              \
  const idx i##_end = RUN_END(i, count, share);                                                              \
  for (idx length = min((idx)d4 - c4, i##_end - i); i < i##_end;                                             \
       i += length, ADVANCE, length = min((idx)d4, i##_end - i))
#define ADVANCE (c4 = 0, ++c3 < d3 || (c3 = 0, ++c2 < d2) || (c2 = 0, ++c1 < d1) || (c1 = 0, ++c0))
