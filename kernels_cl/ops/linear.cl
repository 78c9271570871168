// What a linear layer needs beside products: the epilogue of a product that was stored without one, sums of columns for the bias's
// gradient, and on CPUs the whole backward of a small layer.
//
// check with: -DVECTOR=8 -DX_DTYPE=F16
// check with: -DVECTOR=16 -DGELU=2
#include "gemm/epilogue.cl"
#ifndef Y_DTYPE
#define Y_DTYPE F32
#endif

// Work-item: a vector of a row of C.
__kernel void epilogue(__global real *c, long c_offset, long c_stride0, long c_stride1, long c_ld, EPILOGUE_ARGUMENTS,
                       long batches1, long m, long n) {
  const long col = (long)get_global_id(0) * VECTOR, row = get_global_id(1), batch = get_global_id(2);
  if (col >= n || row >= m) return;
  const struct epilogue e = EPILOGUE(batch / batches1, batch % batches1);
  c += c_offset + batch / batches1 * c_stride0 + batch % batches1 * c_stride1 + row * c_ld + col;
  finish(LOADV(X_DTYPE, c, 0, (idx)(n - col), 0), c, row, col, n - col < VECTOR ? (int)(n - col) : VECTOR, e);
}

// y[s, c] = Σ x[r, c] over the rows r of share s, `share` rows each. A work-item has VECTOR columns of one share; blocks keep
// the rounding of long sums small. `add`: to what stands in y.
#define ROWS_A_BLOCK 32
__kernel void column_sums(const __global TYPE(X_DTYPE) *x, long x_offset, __global TYPE(Y_DTYPE) *y, long y_offset,
                          long rows, long cols, long share, uint add) {
  const idx per_share = ((idx)cols + VECTOR - 1) / VECTOR, shares = max(((idx)rows + (idx)share - 1) / (idx)share, (idx)1);
  const idx item = get_global_id(0);
  if (item >= shares * per_share) return;
  const idx s = item / per_share, col = item % per_share * VECTOR, first = s * (idx)share;
  const idx end = rows - first < share ? (idx)rows : first + (idx)share;
  x += x_offset;
  floatv sum = 0;
  for (idx block = first; block < end; block += ROWS_A_BLOCK) {
    const idx block_end = end - block < ROWS_A_BLOCK ? end : block + ROWS_A_BLOCK;
    floatv part = 0;
    for (idx row = block; row < block_end; ++row) part += LOADV(X_DTYPE, x + row * (idx)cols, col, (idx)cols, 0);
    sum += part;
  }
  y += y_offset + s * (idx)cols;
  if (add) sum += LOADV(Y_DTYPE, y, col, (idx)cols, 0);
  STOREV(Y_DTYPE, y, col, (idx)cols, sum);
}

// ---- the backward of few rows and few outputs, in one launch: three products so small would mostly wait for each other

#define ROWS_A_TIME 4
#define OUTPUTS_A_TIME 6
#define VECTORS_A_TIME 2
#define STRIP (VECTORS_A_TIME * VECTOR)
#define UNROLL _Pragma("unroll")
typedef TYPE(X_DTYPE) element;

#define WANTS_DX 1
#define WANTS_DWEIGHT 2
#define WANTS_DBIAS 4
#define MASKED 8
#define ACCUMULATES 16

// dx = dy W, and 0 where x is not above 0 if that is asked for; of the rows from `first` on, so many as are taken at a time. The last
// strip begins before its place, so that all are whole.
INLINE void narrow_dx(const __global element *x, const __global element *weight, const __global element *dy,
                      __global element *dx, idx rows, idx in, idx out, idx first, bool masked) {
  const __global element *dy_row[ROWS_A_TIME];
  UNROLL for (int r = 0; r < ROWS_A_TIME; ++r) dy_row[r] = dy + min(first + r, rows - 1) * out;
  for (idx strip = 0; strip < in; strip += STRIP) {
    const idx col = min(strip, in - STRIP);
    floatv sum[ROWS_A_TIME][VECTORS_A_TIME];
    UNROLL for (int r = 0; r < ROWS_A_TIME; ++r) UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) sum[r][v] = 0;
    for (idx o = 0; o < out; ++o) {
      floatv part[VECTORS_A_TIME];
      UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) part[v] = WHOLE(weight + o * in + col + v * VECTOR);
      UNROLL for (int r = 0; r < ROWS_A_TIME; ++r) {
        const floatv d = LOAD(X_DTYPE, dy_row[r], o);
        UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) sum[r][v] += d * part[v];
      }
    }
    UNROLL for (int r = 0; r < ROWS_A_TIME; ++r) {
      const idx at = (first + r) * in + col;
      if (first + r >= rows) continue;
      UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) {
        if (masked) sum[r][v] = select((floatv)0, sum[r][v], WHOLE(x + at + v * VECTOR) > 0);
        PUT(sum[r][v], dx + at + v * VECTOR);
      }
    }
  }
}

// dW = dyᵀ x, a strip of columns. `add`: to what stands in dW.
INLINE void narrow_dweight(const __global element *x, const __global element *dy, __global element *dweight, idx rows,
                           idx in, idx out, idx col, bool add) {
  for (idx first = 0; first < out; first += OUTPUTS_A_TIME) {
    idx output[OUTPUTS_A_TIME];
    floatv sum[OUTPUTS_A_TIME][VECTORS_A_TIME];
    UNROLL for (int o = 0; o < OUTPUTS_A_TIME; ++o) {
      output[o] = min(first + o, out - 1);
      UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) sum[o][v] = 0;
    }
    for (idx row = 0; row < rows; ++row) {
      floatv part[VECTORS_A_TIME];
      UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v)
        part[v] = LOADV(X_DTYPE, x + row * in, col + v * VECTOR, in, 0);
      UNROLL for (int o = 0; o < OUTPUTS_A_TIME; ++o) {
        const floatv d = LOAD(X_DTYPE, dy + row * out, output[o]);
        UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) sum[o][v] += d * part[v];
      }
    }
    UNROLL for (int o = 0; o < OUTPUTS_A_TIME; ++o)
      UNROLL for (int v = 0; v < VECTORS_A_TIME; ++v) {
        __global element *to = dweight + output[o] * in;
        if (first + o >= out) continue;
        if (add) sum[o][v] += LOADV(X_DTYPE, to, col + v * VECTOR, in, 0);
        STOREV(X_DTYPE, to, col + v * VECTOR, in, sum[o][v]);
      }
  }
}

INLINE void narrow_dbias(const __global element *dy, __global element *dbias, idx rows, idx out, bool add) {
  for (idx o = 0; o < out; ++o) {
    float sum = 0;
    for (idx row = 0; row < rows; ++row) sum += LOAD(X_DTYPE, dy, row * out + o);
    if (add) sum += LOAD(X_DTYPE, dbias, o);
    STORE(X_DTYPE, dbias, o, sum);
  }
}

// Work-item: so many rows of dx as are taken at a time, then a strip of dweight's columns, and the last one dbias. `what` tells
// which of them are wanted. in >= STRIP.
__kernel void narrow_linear_bwd(const __global element *x, long x_offset, const __global element *weight,
                                long weight_offset, const __global element *dy, long dy_offset, __global element *dx,
                                long dx_offset, __global element *dweight, long dweight_offset,
                                __global element *dbias, long dbias_offset, long rows, long in, long out, uint what) {
  const idx blocks = (rows + ROWS_A_TIME - 1) / ROWS_A_TIME, strips = (in + STRIP - 1) / STRIP, item = get_global_id(0);
  x += x_offset, weight += weight_offset, dy += dy_offset;
  if (item < blocks) {
    if (what & WANTS_DX)
      narrow_dx(x, weight, dy, dx + dx_offset, rows, in, out, item * ROWS_A_TIME, what & MASKED);
  } else if (item < blocks + strips) {
    if (what & WANTS_DWEIGHT)
      narrow_dweight(x, dy, dweight + dweight_offset, rows, in, out, (item - blocks) * STRIP, what & ACCUMULATES);
  } else if (what & WANTS_DBIAS) {
    narrow_dbias(dy, dbias + dbias_offset, rows, out, what & ACCUMULATES);
  }
}
