// y[r, :] = scale x[index[r], :] + shift, converted. EXACT leaves scale and shift out, so that integers stay exact. A work-item
// walks over `walk` elements of a row, a multiple of VECTOR, which is more than 1 only from floats or bytes to floats.
// check with: -DVECTOR=16
// check with: -DX_DTYPE=I64 -DY_DTYPE=I32 -DEXACT=1

#ifndef X_DTYPE
#define X_DTYPE U8
#endif
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif

#if VECTOR > 1
floatv loadv_U8(const __global uchar *x, idx i, idx end, float padding) {
  if (end - i >= VECTOR) return HEED_JOIN(convert_float, VECTOR)(VLOAD(x + i));
  float part[VECTOR];
  for (int lane = 0; lane < VECTOR; ++lane) part[lane] = lane < end - i ? x[i + lane] : padding;
  return VLOAD(part);
}

// Elements `column` and on of a row, those before `end`.
void convert_elements(const __global TYPE(X_DTYPE) *from, __global TYPE(Y_DTYPE) *to, idx column, idx end, float scale,
                      float shift) {
  const floatv value = LOADV(X_DTYPE, from, column, end, 0);
#ifdef EXACT
  STOREV(Y_DTYPE, to, column, end, value);
#else
  STOREV(Y_DTYPE, to, column, end, scale * value + shift);
#endif
}

void fill_with_nan(__global TYPE(Y_DTYPE) *to, idx column, idx end) { STOREV(Y_DTYPE, to, column, end, (floatv)NAN); }

#else
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

void convert_elements(const __global TYPE(X_DTYPE) *from, __global TYPE(Y_DTYPE) *to, idx column, idx end, float scale,
                      float shift) {
#if defined(EXACT) && !IS_FLOAT(X_DTYPE) && !IS_FLOAT(Y_DTYPE)
  STORE_INT(Y_DTYPE, to, column, LOAD_INT(from, column));
#elif defined(EXACT)
  put_number(to, column, number_of(from, column));
#else
  put_number(to, column, scale * number_of(from, column) + shift);
#endif
}

void fill_with_nan(__global TYPE(Y_DTYPE) *to, idx column, idx end) {
#if IS_FLOAT(Y_DTYPE)
  STORE(Y_DTYPE, to, column, NAN);
#else
  to[column] = 0;
#endif
}
#endif

__kernel void gather_rows(const __global TYPE(X_DTYPE) *x, long x_offset, const __global int *index, long index_offset,
                          __global TYPE(Y_DTYPE) *y, long y_offset, long x_rows, long width, long rows, uint walk,
                          float scale, float shift) {
  const idx a_row = ((idx)width - 1) / (idx)walk + 1, item = get_global_id(0);
  const idx row = item / a_row, first = (item - row * a_row) * (idx)walk, end = min((long)width, (long)first + walk);
  if (row >= rows) return;
  const int source = index[index_offset + row];
  __global TYPE(Y_DTYPE) *to = y + y_offset + row * (idx)width;
  if (source < 0 || source >= x_rows) {
    for (idx column = first; column < end; column += VECTOR) fill_with_nan(to, column, end);
    return;
  }
  const __global TYPE(X_DTYPE) *from = x + x_offset + (idx)source * (idx)width;
  for (idx column = first; column < end; column += VECTOR) convert_elements(from, to, column, end, scale, shift);
}
