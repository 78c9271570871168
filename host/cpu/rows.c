// Rows of any dtype as double, and scratch memory, for the host operators.
#include <stdlib.h>

#include "cpu/rows.h"

void heed__cpu_load_row(double *row, const void *data, heed_dtype dtype, int64_t start, int64_t stride, int64_t count) {
  if (dtype == HEED_F32) {
    const float *x = (const float *)data + start;
    if (stride == 1) {
      HEED__CPU_SIMD
      for (int64_t i = 0; i < count; ++i) row[i] = (double)x[i];
    } else {
      for (int64_t i = 0; i < count; ++i) row[i] = (double)x[i * stride];
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) row[i] = heed__load(data, dtype, start + i * stride);
}

void heed__cpu_store_row(void *data, heed_dtype dtype, int64_t start, int64_t stride, int64_t count,
                         const double *row) {
  if (dtype == HEED_F32) {
    float *y = (float *)data + start;
    if (stride == 1) {
      HEED__CPU_SIMD
      for (int64_t i = 0; i < count; ++i) y[i] = (float)row[i];
    } else {
      for (int64_t i = 0; i < count; ++i) y[i * stride] = (float)row[i];
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) heed__store(data, dtype, start + i * stride, row[i]);
}

int64_t heed__cpu_row_start(const heed_tensor *tensor, int64_t row) {
  int64_t start = 0;
  for (int axis = tensor->rank - 2; axis >= 0; --axis) {
    start += row % tensor->dims[axis] * tensor->strides[axis];
    row /= tensor->dims[axis];
  }
  return start;
}

heed_status heed__cpu_scratch(int64_t a, int64_t b, int64_t c, double **out) {
  int64_t count, bytes;
  *out = NULL;
  HEED__REQUIRE(heed__mul(a, b, &count) && heed__mul(count, c, &count) &&
                    heed__mul(count, (int64_t)sizeof(double), &bytes) && (uint64_t)bytes <= SIZE_MAX,
                HEED_ERROR_OVERFLOW, "the host's scratch memory for this shape does not fit 64 bits");
  char text[32];
  *out = malloc(bytes > 0 ? (size_t)bytes : 1);
  HEED__REQUIRE(*out != NULL, HEED_ERROR_OUT_OF_MEMORY,
                "the host backend cannot allocate %s of scratch memory; use smaller shapes or free memory",
                heed__bytes_text((uint64_t)bytes, text));
  return HEED_OK;
}

// If a row's elements are apart and a column's are adjacent, read pieces of a column at once and distribute them to as many rows of the
// panel, so that both sides stay in the cache.
static void load_panel_rows(double *panel, struct heed__cpu_matrix a, int64_t first, int64_t rows, int64_t columns) {
  if (a.row_stride != 1 || a.column_stride == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t start = (first + i) * a.row_stride;
      heed__cpu_load_row(panel + (first + i) * columns, a.data, a.dtype, start, a.column_stride, columns);
    }
    return;
  }
  double piece[HEED__CPU_PIECE];
  for (int64_t j = 0; j < columns; ++j) {
    heed__cpu_load_row(piece, a.data, a.dtype, first + j * a.column_stride, 1, rows);
    for (int64_t i = 0; i < rows; ++i) panel[(first + i) * columns + j] = piece[i];
  }
}

void heed__cpu_load_panel(double *panel, struct heed__cpu_matrix a, int64_t rows, int64_t columns) {
  enum { ROWS = 64 };
  const int64_t pieces = heed__ceil_div(rows, ROWS);
  HEED__CPU_PARALLEL_FOR(rows * columns)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = piece * ROWS;
    load_panel_rows(panel, a, first, heed__min(ROWS, rows - first), columns);
  }
}

// Each pass adds four rows of x, so that it reads and writes y a quarter as often.
void heed__cpu_accumulate(int64_t count, int64_t terms, const double *a, const double *x, int64_t x_stride,
                          double *restrict y) {
  int64_t k = 0;
  for (; k + 4 <= terms; k += 4) {
    const double a0 = a[k], a1 = a[k + 1], a2 = a[k + 2], a3 = a[k + 3];
    const double *restrict x0 = x + k * x_stride, *restrict x1 = x0 + x_stride;
    const double *restrict x2 = x1 + x_stride, *restrict x3 = x2 + x_stride;
    HEED__CPU_SIMD
    for (int64_t j = 0; j < count; ++j) y[j] = y[j] + a0 * x0[j] + a1 * x1[j] + a2 * x2[j] + a3 * x3[j];
  }
  for (; k < terms; ++k) heed__cpu_axpy(count, a[k], x + k * x_stride, y);
}
