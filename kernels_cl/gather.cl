// y[r, :] = scale x[index[r], :] + shift, converted. EXACT leaves scale and shift out, so that integers stay exact.

#ifndef X_DTYPE
#define X_DTYPE U8
#endif
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif

float number_of(const __global TYPE(X_DTYPE) *x, idx i) {
#if IS_FLOAT(X_DTYPE)
  return LOAD(X_DTYPE, x, i);
#else
  return (float)x[i];
#endif
}

void put_number(__global TYPE(Y_DTYPE) *y, idx i, float value) {
#if IS_FLOAT(Y_DTYPE)
  STORE(Y_DTYPE, y, i, value);
#else
  y[i] = FLOAT_TO_INT(Y_DTYPE, value);
#endif
}

__kernel void gather_rows(const __global TYPE(X_DTYPE) *x, long x_offset, const __global int *index, long index_offset,
                          __global TYPE(Y_DTYPE) *y, long y_offset, long x_rows, long width, long count, float scale,
                          float shift) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  const idx row = i / (idx)width, column = i - row * (idx)width;
  const int source = index[index_offset + row];
  x += x_offset;
  y += y_offset;
  if (source < 0 || source >= x_rows) {
#if IS_FLOAT(Y_DTYPE)
    STORE(Y_DTYPE, y, i, NAN);
#else
    y[i] = 0;
#endif
    return;
  }
  const idx from = (idx)source * (idx)width + column;
#if defined(EXACT) && !IS_FLOAT(X_DTYPE) && !IS_FLOAT(Y_DTYPE)
  STORE_INT(Y_DTYPE, y, i, LOAD_INT(x, from));
#elif defined(EXACT)
  put_number(y, i, number_of(x, from));
#else
  put_number(y, i, scale * number_of(x, from) + shift);
#endif
}
