// What the host operators share: rows of any dtype as double, threads, scratch memory, and the two inner loops of all matrix work. Each
// operator's meaning is in its own file.
#ifndef HEED__CPU_ROWS_H
#define HEED__CPU_ROWS_H

#include "cpu/cpu.h"

#ifdef _OPENMP
#include <omp.h>
#define HEED__CPU_PRAGMA(text) _Pragma(#text)
// Iterations must not depend on each other: any thread may take any of them, and no result may depend on which. Threads take them one by
// one, so that a thread that the system delays does not delay the others. A loop of few operations runs on the caller's thread.
#define HEED__CPU_PARALLEL_FOR(operations) \
  HEED__CPU_PRAGMA(omp parallel for schedule(dynamic) if ((operations) > HEED__CPU_PARALLEL_MIN))
#define HEED__CPU_SIMD HEED__CPU_PRAGMA(omp simd)
static inline int heed__cpu_threads(void) { return omp_get_max_threads(); }
static inline int heed__cpu_thread(void) { return omp_get_thread_num(); }
// Of the calling thread's later loops, in all its contexts: OpenMP keeps the number by thread.
static inline void heed__cpu_take_part(int parts) {
  const int threads = omp_get_max_threads() / parts;
  omp_set_num_threads(threads > 1 ? threads : 1);
}
#else
#define HEED__CPU_PARALLEL_FOR(operations) (void)(operations);
#define HEED__CPU_SIMD
static inline int heed__cpu_threads(void) { return 1; }
static inline int heed__cpu_thread(void) { return 0; }
static inline void heed__cpu_take_part(int parts) { (void)parts; }
#endif

// About a millisecond of work. Starting threads costs microseconds if cores are free, and far more if they are not.
#define HEED__CPU_PARALLEL_MIN 2000000

// Elementwise operators work on pieces of this many elements, which they hold on the stack as double.
#define HEED__CPU_PIECE 512

// count elements from index `start`, `stride` elements apart, as double.
void heed__cpu_load_row(double *row, const void *data, heed_dtype dtype, int64_t start, int64_t stride, int64_t count);
void heed__cpu_store_row(void *data, heed_dtype dtype, int64_t start, int64_t stride, int64_t count, const double *row);

// The start of row `row` of a tensor: rows run along the last dimension and are counted in row-major order.
int64_t heed__cpu_row_start(const heed_tensor *tensor, int64_t row);

// Allocates a·b·c doubles; free() them. Errors: OUT_OF_MEMORY, OVERFLOW.
heed_status heed__cpu_scratch(int64_t a, int64_t b, int64_t c, double **out);

// A matrix of any dtype: element (i, j) stands at data[i · row_stride + j · column_stride].
struct heed__cpu_matrix {
  const void *data;
  heed_dtype dtype;
  int64_t row_stride, column_stride;
};
static inline struct heed__cpu_matrix heed__cpu_transposed(struct heed__cpu_matrix a) {
  return (struct heed__cpu_matrix){a.data, a.dtype, a.column_stride, a.row_stride};
}

// panel [rows, columns] = the matrix, as double.
void heed__cpu_load_panel(double *panel, struct heed__cpu_matrix a, int64_t rows, int64_t columns);

// c [m, n] = alpha a [m, k] b [k, n] + beta c + bias [n]. c is written row by row, its columns adjacent; bias NULL: none.
struct heed__cpu_product {
  int64_t m, n, k;
  double alpha, beta;
  struct heed__cpu_matrix a, b;
  const double *bias;
  void *c;
  heed_dtype c_dtype;
  int64_t c_stride;
};
heed_status heed__cpu_multiply(const struct heed__cpu_product *product);

// y += a x
static inline void heed__cpu_axpy(int64_t count, double a, const double *restrict x, double *restrict y) {
  HEED__CPU_SIMD
  for (int64_t j = 0; j < count; ++j) y[j] += a * x[j];
}

// y += Σ_k a[k] x[k, :], in the order of k.
void heed__cpu_accumulate(int64_t count, int64_t terms, const double *a, const double *x, int64_t x_stride,
                          double *restrict y);

#endif
