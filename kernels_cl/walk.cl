// Walks over arrays of five dimensions, the last one fastest. A work-item has a run of `share` elements, which it takes in stretches along
// the last dimension. No place needs the first of the five sizes.

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
  const idx i##_end = (count) - (share) > i ? i + (idx)(share) : (idx)(count);                               \
  for (idx length = min((idx)d4 - c4, i##_end - i); i < i##_end;                                             \
       i += length, ADVANCE, length = min((idx)d4, i##_end - i))
#define ADVANCE (c4 = 0, ++c3 < d3 || (c3 = 0, ++c2 < d2) || (c2 = 0, ++c1 < d1) || (c1 = 0, ++c0))
