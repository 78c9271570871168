// linear on OpenCL: three forms of GEMM. heed's own kernels add the bias and apply the activation, or its derivative, when they store the
// product. The bias's gradient is a sum of columns. A small layer's backward is one small kernel instead.
#include "cl/gemm/gemm.h"
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// A contiguous [rows, cols] as gemm expects it.
static struct heed_tensor as_matrix(const heed_tensor *t) {
  struct heed_tensor view;
  heed__reshape_init(&view, t, 4, (const int64_t[]){1, 1, t->dims[0], t->dims[1]});
  return view;
}

static heed_status multiply(heed_context *ctx, bool trans_a, const heed_tensor *a, bool trans_b, const heed_tensor *b,
                            const struct heed__cl_gemm_epilogue *epilogue, double beta, const heed_tensor *c) {
  // a: [m, k]; b: [k, n], either with its axes swapped where it is transposed; c: [m, n]
  const struct heed__gemm_params params = {.trans_a = trans_a, .trans_b = trans_b, .alpha = 1, .beta = beta};
  const struct heed_tensor a4 = as_matrix(a), b4 = as_matrix(b);
  struct heed_tensor c4 = as_matrix(c);
  return heed__cl_gemm_with(ctx, &params, &a4, &b4, epilogue, &c4);
}

heed_status heed__cl_linear_fwd(heed_context *ctx, const struct heed__call *call) {
  // x: [rows, in]; weight: [out, in]; bias: [out] or NULL; y: [rows, out]; z: the same or NULL
  static const enum heed__cl_gemm_activation activations[] = {HEED__GEMM_LINEAR, HEED__GEMM_RELU, HEED__GEMM_GELU};
  const struct heed__linear_params *params = call->params;
  struct heed_tensor argument;
  struct heed__cl_gemm_epilogue epilogue = {
      .bias = call->in[HEED__linear_fwd_bias], .activation = activations[params->activation], .gelu = params->form};
  if (call->out[HEED__linear_fwd_z]) {
    argument = as_matrix(call->out[HEED__linear_fwd_z]);
    epilogue.argument = &argument;
  }
  return multiply(ctx, false, call->in[HEED__linear_fwd_x], true, call->in[HEED__linear_fwd_weight], &epilogue, 0,
                  call->out[HEED__linear_fwd_y]);
}

// One pass of sums: `from` and `to` are a tensor, or else the partial sums in `partial`. `add`: add to what `to` holds.
static heed_status column_sums(heed_context *ctx, const heed_tensor *from, const heed_tensor *to, cl_mem partial,
                               int64_t rows, int64_t cols, int64_t share, bool add) {
  // from: [rows, cols]; to: [ceil(rows / share), cols]
  const int vector = heed__cl_rows_for(ctx, cols).vector;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/linear.cl", "column_sums");
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
  heed__cl_uint(&k, add);
  // Even without rows there is one share, whose sum is 0.
  const int64_t shares = heed__max(1, heed__ceil_div(rows, share));
  return heed__cl_launch_walks(&k, shares * heed__ceil_div(cols, vector));
}

// dbias = Σ rows of dy: about √rows partial sums, then their sum. The same order on every run.
static heed_status bias_gradient(heed_context *ctx, const heed_tensor *dy, bool accumulate, const heed_tensor *dbias) {
  // dy: [rows, cols]; dbias: [cols]
  const int64_t rows = dy->dims[0], cols = dy->dims[1];
  int64_t share = 64;
  while (share * share < rows) share *= 2;
  const int64_t shares = heed__ceil_div(rows, share);
  if (shares <= 2) return column_sums(ctx, dy, dbias, NULL, rows, cols, heed__max(rows, 1), accumulate);
  cl_mem partial = NULL;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, (uint64_t)(shares * cols) * sizeof(float), &partial));
  HEED__TRY_TO(done, status, column_sums(ctx, dy, NULL, partial, rows, cols, share, false));
  status = column_sums(ctx, NULL, dbias, partial, shares, cols, shares, accumulate);
done:
  heed__cl_scratch_give(ctx, partial);
  return status;
}

// As in the kernel: the amounts per step, and the bits that say what to compute.
enum { NARROW_ROWS_A_TIME = 4, NARROW_VECTORS_A_TIME = 2 };
enum { WANTS_DX = 1, WANTS_DWEIGHT = 2, WANTS_DBIAS = 4, MASKED = 8, ACCUMULATES = 16 };

// Tells whether there are so few rows and outputs that, on a CPU, one launch for all gradients beats a product for each. It does not depend
// on which gradients the caller wants, so that each has the same bits with and without the others.
static bool is_narrow(const heed_context *ctx, const heed_tensor *dy, int64_t in) {
  enum { MOST_ROWS = 256, MOST_OUTPUTS = 16 };
  const struct heed__cl *cl = heed__cl_state(ctx);
  const int64_t rows = dy->dims[0], out = dy->dims[1];
  return cl->traits.cpu_like && heed__cl_gemm_state(ctx)->provider != HEED__GEMM_CLBLAST &&
         in >= NARROW_VECTORS_A_TIME * cl->traits.vector_width && in <= 1 << 30 && rows > 0 && rows <= MOST_ROWS &&
         out > 0 && out <= MOST_OUTPUTS;
}

static heed_status narrow_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dx: [rows, in]; weight, dweight: [out, in]; dy: [rows, out]; dbias: [out]
  const heed_tensor *x = call->in[HEED__linear_bwd_x], *weight = call->in[HEED__linear_bwd_weight];
  const heed_tensor *dy = call->in[HEED__linear_bwd_dy], *dx = call->out[HEED__linear_bwd_dx];
  const heed_tensor *dweight = call->out[HEED__linear_bwd_dweight], *dbias = call->out[HEED__linear_bwd_dbias];
  const struct heed__linear_params *params = call->params;
  const int64_t rows = dy->dims[0], in = x->dims[1], out = dy->dims[1];
  const int vector = heed__cl_state(ctx)->traits.vector_width;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/linear.cl", "narrow_linear_bwd");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_dtype(&k, "X_DTYPE", dy->dtype);
  heed__cl_define_dtype(&k, "Y_DTYPE", dy->dtype);
  const heed_tensor *tensors[] = {x, weight, dy, dx, dweight, dbias};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; ++i) heed__cl_tensor(&k, tensors[i]);
  heed__cl_long(&k, rows);
  heed__cl_long(&k, in);
  heed__cl_long(&k, out);
  heed__cl_uint(&k, (dx ? WANTS_DX : 0u) | (dweight ? WANTS_DWEIGHT : 0u) | (dbias ? WANTS_DBIAS : 0u) |
                        (params->activation == HEED__LINEAR_RELU ? MASKED : 0u) |
                        (params->accumulate ? ACCUMULATES : 0u));
  const int64_t items =
      heed__ceil_div(rows, NARROW_ROWS_A_TIME) + heed__ceil_div(in, NARROW_VECTORS_A_TIME * vector) + 1;
  return heed__cl_launch_walks(&k, items);
}

heed_status heed__cl_linear_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, z, dx: [rows, in]; weight, dweight: [out, in]; dy: [rows, out]; dbias: [out]; gradients NULL where not wanted
  const heed_tensor *x = call->in[HEED__linear_bwd_x], *weight = call->in[HEED__linear_bwd_weight];
  const heed_tensor *dy = call->in[HEED__linear_bwd_dy], *dx = call->out[HEED__linear_bwd_dx];
  const heed_tensor *dweight = call->out[HEED__linear_bwd_dweight], *dbias = call->out[HEED__linear_bwd_dbias];
  const struct heed__linear_params *params = call->params;
  const bool gelu = params->activation == HEED__LINEAR_GELU;
  if (!gelu && is_narrow(ctx, dy, x->dims[1])) return narrow_bwd(ctx, call);
  const struct heed_tensor argument = as_matrix(gelu ? call->in[HEED__linear_bwd_z] : x);
  const struct heed__cl_gemm_epilogue slope = {
      .activation = gelu ? HEED__GEMM_GELU_SLOPE : HEED__GEMM_MASK, .gelu = params->form, .argument = &argument};
  const bool plain = params->activation == HEED__LINEAR_PLAIN;
  if (dx) HEED__TRY(multiply(ctx, false, dy, false, weight, plain ? NULL : &slope, 0, dx));
  if (dweight) HEED__TRY(multiply(ctx, true, dy, false, x, NULL, params->accumulate, dweight));
  return dbias ? bias_gradient(ctx, dy, params->accumulate, dbias) : HEED_OK;
}
