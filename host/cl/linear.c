// linear on OpenCL: three forms of GEMM, the bias in the product's own store where heed's kernels do it, and its
// gradient as sums of columns.
#include "cl/gemm.h"
#include "cl/grid.h"

// A contiguous [rows, cols] as gemm takes it.
static struct heed_tensor as_matrix(const heed_tensor *t) {
  struct heed_tensor view;
  heed__reshape_init(&view, t, 4, (const int64_t[]){1, 1, t->dims[0], t->dims[1]});
  return view;
}

static heed_status multiply(heed_context *ctx, bool trans_a, const heed_tensor *a, bool trans_b, const heed_tensor *b,
                            const heed_tensor *bias, const heed_tensor *c) {
  const struct heed__gemm_params params = {.trans_a = trans_a, .trans_b = trans_b, .alpha = 1, .beta = 0};
  const struct heed_tensor a4 = as_matrix(a), b4 = as_matrix(b);
  struct heed_tensor c4 = as_matrix(c);
  return heed__cl_gemm_bias_run(ctx, &params, &a4, &b4, bias, &c4);
}

heed_status heed__cl_add_bias(heed_context *ctx, const heed_tensor *bias, heed_tensor *c) {
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "linear.cl", "add_bias");
  heed__cl_define_dtype(&k, "X_DTYPE", c->dtype);
  heed__cl_tensor(&k, bias);
  heed__cl_tensor(&k, c);
  heed__cl_long(&k, bias->count);
  heed__cl_long(&k, c->count);
  return heed__cl_launch_items(&k, c->count);
}

heed_status heed__cl_linear_fwd(heed_context *ctx, const struct heed__call *call) {
  return multiply(ctx, false, call->in[0], true, call->in[1], call->in[2], call->out[0]);
}

// One pass of sums: `from` and `to` are a tensor, or else the partial sums in `partial`.
static heed_status column_sums(heed_context *ctx, const heed_tensor *from, const heed_tensor *to, cl_mem partial,
                               int64_t rows, int64_t cols, int64_t share) {
  const int vector = heed__cl_rows_for(ctx, cols).vector;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "linear.cl", "column_sums");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_dtype(&k, "X_DTYPE", from ? from->dtype : HEED_F32);
  heed__cl_define_dtype(&k, "Y_DTYPE", to ? to->dtype : HEED_F32);
  const heed_tensor *ends[] = {from, to};
  for (int i = 0; i < 2; ++i) {
    if (ends[i]) {
      heed__cl_tensor(&k, ends[i]);
    } else {
      heed__cl_buffer(&k, partial);
      heed__cl_long(&k, 0);
    }
  }
  heed__cl_long(&k, rows);
  heed__cl_long(&k, cols);
  heed__cl_long(&k, share);
  // No rows at all are still a share, whose sum is 0.
  const int64_t shares = heed__max(1, heed__ceil_div(rows, share));
  return heed__cl_launch_items(&k, shares * heed__ceil_div(cols, vector));
}

// dbias = Σ rows of dy: about √rows partial sums, then their sum. The same order on every run.
static heed_status bias_gradient(heed_context *ctx, const heed_tensor *dy, const heed_tensor *dbias) {
  const int64_t rows = dy->dims[0], cols = dy->dims[1];
  int64_t share = 64;
  while (share * share < rows) share *= 2;
  const int64_t shares = heed__ceil_div(rows, share);
  if (shares <= 2) return column_sums(ctx, dy, dbias, NULL, rows, cols, heed__max(rows, 1));
  cl_mem partial = NULL;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, (size_t)(shares * cols) * sizeof(float), &partial));
  HEED__TRY_TO(done, status, column_sums(ctx, dy, NULL, partial, rows, cols, share));
  status = column_sums(ctx, NULL, dbias, partial, shares, cols, shares);
done:
  heed__cl_scratch_give(ctx, partial);
  return status;
}

heed_status heed__cl_linear_bwd(heed_context *ctx, const struct heed__call *call) {
  const heed_tensor *x = call->in[0], *weight = call->in[1], *dy = call->in[2];
  const heed_tensor *dx = call->out[0], *dweight = call->out[1], *dbias = call->out[2];
  if (dx) HEED__TRY(multiply(ctx, false, dy, false, weight, NULL, dx));
  if (dweight) HEED__TRY(multiply(ctx, true, dy, false, x, NULL, dweight));
  return dbias ? bias_gradient(ctx, dy, dbias) : HEED_OK;
}
