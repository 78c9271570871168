// y = x Wᵀ + b on the host, and its gradients: three matrix products and a sum over rows.
#include <stdlib.h>

#include "cpu/activation.h"
#include "cpu/rows.h"

static struct heed__cpu_matrix rows_of(const heed_tensor *t) {
  return (struct heed__cpu_matrix){heed__cpu_data(t), t->dtype, t->dims[1], 1};
}

static heed_status multiply_into(heed_tensor *c, int64_t terms, struct heed__cpu_matrix a, struct heed__cpu_matrix b,
                                 const double *bias, double beta) {
  // c: [m, n]; a: [m, terms]; b: [terms, n]; bias: [n] or NULL
  const struct heed__cpu_product product = {
      .m = c->dims[0],
      .n = c->dims[1],
      .k = terms,
      .alpha = 1,
      .beta = beta,
      .a = a,
      .b = b,
      .bias = bias,
      .c = heed__cpu_data(c),
      .c_dtype = c->dtype,
      .c_stride = c->dims[1],
  };
  return heed__cpu_multiply(&product);
}

// relu and the rounding of the stored value commute, so the relu runs after the store.
static void relu_in_place(heed_tensor *y) {
  // y: [rows, out]
  void *data = heed__cpu_data(y);
  for (int64_t i = 0; i < y->count; ++i)
    if (heed__load(data, y->dtype, i) < 0) heed__store(data, y->dtype, i, 0);
}

// z, if it is there, holds what y held; y becomes gelu(y). The argument is stored before it is read, so that it is rounded as z is.
static void gelu_in_place(heed_gelu_form form, heed_tensor *y, heed_tensor *z) {
  // y, z: [rows, out]
  void *data = heed__cpu_data(y);
  for (int64_t i = 0; i < y->count; ++i) {
    const double argument = heed__load(data, y->dtype, i);
    if (z) heed__store(heed__cpu_data(z), z->dtype, i, argument);
    heed__store(data, y->dtype, i, heed__cpu_gelu(form, argument));
  }
}

static void multiply_by_slope(heed_gelu_form form, const heed_tensor *z, heed_tensor *dx) {
  // z, dx: [rows, in]
  void *data = heed__cpu_data(dx);
  for (int64_t i = 0; i < dx->count; ++i) {
    const double slope = heed__cpu_gelu_slope(form, heed__load(heed__cpu_data(z), z->dtype, i));
    heed__store(data, dx->dtype, i, heed__load(data, dx->dtype, i) * slope);
  }
}

// dx where x > 0, else 0.
static void mask_in_place(const heed_tensor *x, heed_tensor *dx) {
  // x, dx: [rows, in]
  for (int64_t i = 0; i < dx->count; ++i)
    if (!(heed__load(heed__cpu_data(x), x->dtype, i) > 0)) heed__store(heed__cpu_data(dx), dx->dtype, i, 0);
}

heed_status heed__cpu_linear_fwd(heed_context *ctx, const struct heed__call *call) {
  // x: [rows, in]; weight: [out, in]; bias: [out] or NULL; y: [rows, out]; z: the same or NULL
  (void)ctx;
  const heed_tensor *x = call->in[HEED__linear_fwd_x], *weight = call->in[HEED__linear_fwd_weight];
  const heed_tensor *bias = call->in[HEED__linear_fwd_bias];
  heed_tensor *y = call->out[HEED__linear_fwd_y];
  const struct heed__linear_params *params = call->params;
  double *bias_row = NULL;
  if (bias) {
    HEED__TRY(heed__cpu_scratch(bias->count, 1, 1, &bias_row));
    heed__cpu_load_row(bias_row, heed__cpu_data(bias), bias->dtype, 0, 1, bias->count);
  }
  const heed_status status =
      multiply_into(y, x->dims[1], rows_of(x), heed__cpu_transposed(rows_of(weight)), bias_row, 0);
  free(bias_row);
  if (status == HEED_OK && params->activation == HEED__LINEAR_RELU) relu_in_place(y);
  if (status == HEED_OK && params->activation == HEED__LINEAR_GELU)
    gelu_in_place(params->form, y, call->out[HEED__linear_fwd_z]);
  return status;
}

static heed_status sum_rows(const heed_tensor *dy, bool accumulate, heed_tensor *dbias) {
  // dy: [rows, columns]; dbias: [columns]
  const int64_t rows = dy->dims[0], columns = dy->dims[1];
  double *sum, *row;
  HEED__TRY(heed__cpu_scratch(2, columns, 1, &sum));
  row = sum + columns;
  for (int64_t j = 0; j < columns; ++j) sum[j] = 0;
  for (int64_t i = 0; i < rows; ++i) {
    heed__cpu_load_row(row, heed__cpu_data(dy), dy->dtype, i * columns, 1, columns);
    heed__cpu_axpy(columns, 1, row, sum);
  }
  if (accumulate) {
    heed__cpu_load_row(row, heed__cpu_data(dbias), dbias->dtype, 0, 1, columns);
    heed__cpu_axpy(columns, 1, row, sum);
  }
  heed__cpu_store_row(heed__cpu_data(dbias), dbias->dtype, 0, 1, columns, sum);
  free(sum);
  return HEED_OK;
}

heed_status heed__cpu_linear_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, z, dx: [rows, in]; weight, dweight: [out, in]; dy: [rows, out]; dbias: [out]; gradients NULL where not wanted
  (void)ctx;
  const heed_tensor *x = call->in[HEED__linear_bwd_x], *weight = call->in[HEED__linear_bwd_weight];
  const heed_tensor *dy = call->in[HEED__linear_bwd_dy];
  heed_tensor *dx = call->out[HEED__linear_bwd_dx], *dweight = call->out[HEED__linear_bwd_dweight];
  heed_tensor *dbias = call->out[HEED__linear_bwd_dbias];
  const struct heed__linear_params *params = call->params;
  if (dx) HEED__TRY(multiply_into(dx, dy->dims[1], rows_of(dy), rows_of(weight), NULL, 0));
  if (dx && params->activation == HEED__LINEAR_RELU) mask_in_place(x, dx);
  if (dx && params->activation == HEED__LINEAR_GELU) multiply_by_slope(params->form, call->in[HEED__linear_bwd_z], dx);
  if (dweight)
    HEED__TRY(
        multiply_into(dweight, dy->dims[0], heed__cpu_transposed(rows_of(dy)), rows_of(x), NULL, params->accumulate));
  if (dbias) HEED__TRY(sum_rows(dy, params->accumulate, dbias));
  return HEED_OK;
}
