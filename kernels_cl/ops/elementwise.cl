// fill and copy. Strided forms walk up to five dimensions, the last one fastest; strides and offsets are in elements.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif
#ifndef WORD
#define WORD uint
#endif

// Where element i of an array d0 × … × d4 lies.
#define DIMS long d1, long d2, long d3, long d4
#define STRIDES(x) long x##0, long x##1, long x##2, long x##3, long x##4
#define PLACE(x, c0, c1, c2, c3, c4) \
  ((c0) * (idx)x##0 + (c1) * (idx)x##1 + (c2) * (idx)x##2 + (c3) * (idx)x##3 + (c4) * (idx)x##4)
#define COORDINATES(i)             \
  idx rest = i, c4, c3, c2, c1;    \
  TAKE(c4, d4) TAKE(c3, d3) TAKE(c2, d2) TAKE(c1, d1) const idx c0 = rest
// Most views need fewer dimensions, and a division costs more than asking.
#define TAKE(coordinate, dim)        \
  coordinate = 0;                    \
  if (dim > 1) {                     \
    coordinate = rest % (idx)dim;    \
    rest /= (idx)dim;                \
  }

// WORD is an unsigned integer of the element's size; the host made the bits.
__kernel void fill(__global WORD *y, long y_offset, long count, uint low, uint high) {
  const idx i = get_global_id(0);
  if (i < count) y[y_offset + i] = (WORD)((ulong)high << 32 | low);
}

__kernel void fill_strided(__global WORD *y, long y_offset, STRIDES(ys), DIMS, long count, uint low, uint high) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  COORDINATES(i);
  y[y_offset + PLACE(ys, c0, c1, c2, c3, c4)] = (WORD)((ulong)high << 32 | low);
}

// One element, converted.
void convert_one(const __global TYPE(X_DTYPE) *x, idx from, __global TYPE(Y_DTYPE) *y, idx to) {
#if IS_FLOAT(X_DTYPE) && IS_FLOAT(Y_DTYPE)
  STORE(Y_DTYPE, y, to, LOAD(X_DTYPE, x, from));
#elif IS_FLOAT(X_DTYPE)
  y[to] = FLOAT_TO_INT(Y_DTYPE, LOAD(X_DTYPE, x, from));
#elif IS_FLOAT(Y_DTYPE)
  STORE(Y_DTYPE, y, to, (float)x[from]);
#else
  STORE_INT(Y_DTYPE, y, to, LOAD_INT(x, from));
#endif
}

__kernel void copy(const __global TYPE(X_DTYPE) *x, long x_offset, __global TYPE(Y_DTYPE) *y, long y_offset,
                   long count) {
  const idx i = get_global_id(0);
  if (i < count) convert_one(x + x_offset, i, y + y_offset, i);
}

__kernel void copy_strided(const __global TYPE(X_DTYPE) *x, long x_offset, STRIDES(xs), __global TYPE(Y_DTYPE) *y,
                           long y_offset, STRIDES(ys), DIMS, long count) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  COORDINATES(i);
  convert_one(x + x_offset, PLACE(xs, c0, c1, c2, c3, c4), y + y_offset, PLACE(ys, c0, c1, c2, c3, c4));
}

// The same where elements keep their bits.
__kernel void move(const __global WORD *x, long x_offset, __global WORD *y, long y_offset, long count) {
  const idx i = get_global_id(0);
  if (i < count) y[y_offset + i] = x[x_offset + i];
}

__kernel void move_strided(const __global WORD *x, long x_offset, STRIDES(xs), __global WORD *y, long y_offset,
                           STRIDES(ys), DIMS, long count) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  COORDINATES(i);
  y[y_offset + PLACE(ys, c0, c1, c2, c3, c4)] = x[x_offset + PLACE(xs, c0, c1, c2, c3, c4)];
}
