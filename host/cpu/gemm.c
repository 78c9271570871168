// Matrix products on the host: C = alpha op(A) op(B) + beta C from its definition. Each element is one F64 sum over k in ascending order.
// The loops are tiled so that B stays in the cache; this does not change the order of the sum.
#include <stdlib.h>
#include <string.h>

#include "cpu/rows.h"

enum { TILE_ROWS = 16, TILE_COLUMNS = 64, TILE_TERMS = 32 };

static void finish_row(const struct heed__cpu_product *p, int64_t i, int64_t j0, int64_t columns, double *sum) {
  // c: [m, n]; bias: [n]; sum: [columns], row i of c from column j0 on
  for (int64_t j = 0; j < columns; ++j) sum[j] *= p->alpha;
  if (p->beta != 0) {
    double old[TILE_COLUMNS];
    heed__cpu_load_row(old, p->c, p->c_dtype, i * p->c_stride + j0, 1, columns);
    heed__cpu_axpy(columns, p->beta, old, sum);
  }
  if (p->bias) heed__cpu_axpy(columns, 1, p->bias + j0, sum);
  heed__cpu_store_row(p->c, p->c_dtype, i * p->c_stride + j0, 1, columns, sum);
}

static void multiply_tile(const struct heed__cpu_product *p, const double *a, const double *b, int64_t i0, int64_t j0) {
  // a: [m, k]; b: [k, n]
  const int64_t rows = heed__min(TILE_ROWS, p->m - i0), columns = heed__min(TILE_COLUMNS, p->n - j0);
  double sums[TILE_ROWS][TILE_COLUMNS];
  memset(sums, 0, sizeof sums);
  for (int64_t k0 = 0; k0 < p->k; k0 += TILE_TERMS) {
    const int64_t terms = heed__min(TILE_TERMS, p->k - k0);
    for (int64_t i = 0; i < rows; ++i)
      heed__cpu_accumulate(columns, terms, a + (i0 + i) * p->k + k0, b + k0 * p->n + j0, p->n, sums[i]);
  }
  for (int64_t i = 0; i < rows; ++i) finish_row(p, i0 + i, j0, columns, sums[i]);
}

heed_status heed__cpu_multiply(const struct heed__cpu_product *p) {
  // a: [m, k]; b: [k, n]; c: [m, n]; bias: [n] or NULL
  double *a = NULL, *b = NULL;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cpu_scratch(p->m, p->k, 1, &a));
  HEED__TRY_TO(done, status, heed__cpu_scratch(p->k, p->n, 1, &b));
  heed__cpu_load_panel(a, p->a, p->m, p->k);
  heed__cpu_load_panel(b, p->b, p->k, p->n);
  const int64_t tiles_down = heed__ceil_div(p->m, TILE_ROWS), tiles_across = heed__ceil_div(p->n, TILE_COLUMNS);
  HEED__CPU_PARALLEL_FOR((double)p->m * (double)p->n * (double)p->k)
  for (int64_t tile = 0; tile < tiles_down * tiles_across; ++tile)
    multiply_tile(p, a, b, tile % tiles_down * TILE_ROWS, tile / tiles_down * TILE_COLUMNS);
done:
  free(a);
  free(b);
  return status;
}

// Matrix (b0, b1) of a rank 4 tensor.
static char *batch_data(const heed_tensor *t, int64_t b0, int64_t b1) {
  const int64_t offset = b0 * t->strides[0] + b1 * t->strides[1];
  return (char *)heed__cpu_data(t) + offset * (int64_t)heed_dtype_size(t->dtype);
}

static struct heed__cpu_matrix batch_matrix(const heed_tensor *t, int64_t b0, int64_t b1, bool transposed) {
  const struct heed__cpu_matrix a = {batch_data(t, b0, b1), t->dtype, t->strides[2], t->strides[3]};
  return transposed ? heed__cpu_transposed(a) : a;
}

heed_status heed__cpu_gemm(heed_context *ctx, const struct heed__call *call) {
  // a: [B0, B1, m, k]; b: [B0, B1, k, n], either with its last two axes swapped where it is transposed; c: [B0, B1, m, n]
  (void)ctx;
  const struct heed__gemm_params *params = call->params;
  const heed_tensor *a = call->in[HEED__gemm_a], *b = call->in[HEED__gemm_b], *c = call->out[HEED__gemm_c];
  for (int64_t b0 = 0; b0 < c->dims[0]; ++b0) {
    for (int64_t b1 = 0; b1 < c->dims[1]; ++b1) {
      const struct heed__cpu_product product = {
          .m = c->dims[2],
          .n = c->dims[3],
          .k = params->trans_a ? a->dims[2] : a->dims[3],
          .alpha = params->alpha,
          .beta = params->beta,
          .a = batch_matrix(a, b0, b1, params->trans_a),
          .b = batch_matrix(b, b0, b1, params->trans_b),
          .c = batch_data(c, b0, b1),
          .c_dtype = c->dtype,
          .c_stride = c->strides[2],
      };
      HEED__TRY(heed__cpu_multiply(&product));
    }
  }
  return HEED_OK;
}
