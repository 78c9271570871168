// fill and copy. Strides and offsets are in elements.
//
// check with: -DVECTOR=8 -DSTREAMED=1
// check with: -DVECTOR=8 -DX_DTYPE=BF16 -DY_DTYPE=F16
// check with: -DVECTOR=16 -DX_DTYPE=I64 -DY_DTYPE=U8 -DWORD=uchar

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif
#ifndef WORD
#define WORD uint
#endif
#include "walk.cl"

#if VECTOR == 1
typedef WORD words;
#else
typedef HEED_JOIN(WORD, VECTOR) words;
#endif
#if STREAMED
#define PUT_WORDS(value, p) put_floats(AS_FLOATV(value), (__global float *)(p))
#else
#define PUT_WORDS(value, p) VSTORE(value, p)
#endif

// WORD is an unsigned integer of an element's size, or of several elements'; the host made the bits.
void fill_run(__global WORD *y, idx step, idx count, WORD bits) {
  idx i = 0;
  if (step == 1)
    for (; count - i >= VECTOR; i += VECTOR) PUT_WORDS((words)bits, y + i);
  for (; i < count; ++i) y[i * step] = bits;
}

__kernel void fill(__global WORD *y, long y_offset, long count, long share, uint low, uint high) {
  const idx i = (idx)get_global_id(0) * (idx)share;
  if (i < count) fill_run(y + y_offset + i, 1, min(count - i, share), (WORD)((ulong)high << 32 | low));
}

__kernel void fill_strided(__global WORD *y, long y_offset, STRIDES(ys), DIMS, long count, long share, uint low,
                           uint high) {
  idx i = (idx)get_global_id(0) * (idx)share;
  COORDINATES(i);
  STRETCHES_LOOP(i, length, count, share)
  fill_run(y + y_offset + PLACE(ys), ys4, length, (WORD)((ulong)high << 32 | low));
}

// Elements, converted.
void convert_run(const __global TYPE(X_DTYPE) *x, idx x_step, __global TYPE(Y_DTYPE) *y, idx y_step, idx count) {
  idx i = 0;
#if IS_FLOAT(X_DTYPE) && IS_FLOAT(Y_DTYPE)
  if (x_step == 1 && y_step == 1)
    for (; count - i >= VECTOR; i += VECTOR) PUT_RUN(Y_DTYPE, y, i, count, HEED_JOIN(whole_, X_DTYPE)(x + i));
  for (; i < count; ++i) STORE(Y_DTYPE, y, i * y_step, LOAD(X_DTYPE, x, i * x_step));
#elif IS_FLOAT(X_DTYPE)
  for (; i < count; ++i) y[i * y_step] = FLOAT_TO_INT(Y_DTYPE, LOAD(X_DTYPE, x, i * x_step));
#elif IS_FLOAT(Y_DTYPE)
  for (; i < count; ++i) STORE(Y_DTYPE, y, i * y_step, (float)x[i * x_step]);
#else
  for (; i < count; ++i) STORE_INT(Y_DTYPE, y, i * y_step, LOAD_INT(x, i * x_step));
#endif
}

__kernel void copy(const __global TYPE(X_DTYPE) *x, long x_offset, __global TYPE(Y_DTYPE) *y, long y_offset,
                   long count, long share) {
  const idx i = (idx)get_global_id(0) * (idx)share;
  if (i < count) convert_run(x + x_offset + i, 1, y + y_offset + i, 1, min(count - i, share));
}

__kernel void copy_strided(const __global TYPE(X_DTYPE) *x, long x_offset, STRIDES(xs), __global TYPE(Y_DTYPE) *y,
                           long y_offset, STRIDES(ys), DIMS, long count, long share) {
  idx i = (idx)get_global_id(0) * (idx)share;
  COORDINATES(i);
  STRETCHES_LOOP(i, length, count, share)
  convert_run(x + x_offset + PLACE(xs), xs4, y + y_offset + PLACE(ys), ys4, length);
}

// The same where elements keep their bits.
void move_run(const __global WORD *x, idx x_step, __global WORD *y, idx y_step, idx count) {
  idx i = 0;
  if (x_step == 1 && y_step == 1)
    for (; count - i >= VECTOR; i += VECTOR) PUT_WORDS(VLOAD(x + i), y + i);
  for (; i < count; ++i) y[i * y_step] = x[i * x_step];
}

__kernel void move(const __global WORD *x, long x_offset, __global WORD *y, long y_offset, long count, long share) {
  const idx i = (idx)get_global_id(0) * (idx)share;
  if (i < count) move_run(x + x_offset + i, 1, y + y_offset + i, 1, min(count - i, share));
}

__kernel void move_strided(const __global WORD *x, long x_offset, STRIDES(xs), __global WORD *y, long y_offset,
                           STRIDES(ys), DIMS, long count, long share) {
  idx i = (idx)get_global_id(0) * (idx)share;
  COORDINATES(i);
  STRETCHES_LOOP(i, length, count, share)
  move_run(x + x_offset + PLACE(xs), xs4, y + y_offset + PLACE(ys), ys4, length);
}
