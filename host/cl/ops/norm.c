// LayerNorm and RMSNorm on OpenCL: a kernel of rows forward; backward a kernel of blocks of rows, and the sums of what blocks add to the
// gradients of weight and bias.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

// As in ops/norm.cl.
enum { WANTS_DX = 1, WANTS_SUMS = 2, HAS_RESIDUAL = 4 };
enum { ACCUMULATES = 1 };

// Whether to write results past the caches, because they would only displace data that still have to be read.
static bool streams(const heed_context *ctx, const heed_tensor *x, struct heed__cl_rows layout, int tensors) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  return traits->cpu_like && x->dtype == HEED_F32 && layout.vector > 1 && x->dims[1] % layout.vector == 0 &&
         (uint64_t)tensors * (uint64_t)heed_tensor_bytes(x) > traits->cache;
}

// x: [rows, cols] or [cols]
static void begin(struct heed__cl_kernel *k, heed_context *ctx, const char *kernel, struct heed__cl_rows layout,
                  const heed_tensor *x, bool rms) {
  heed__cl_begin(k, ctx, "ops/norm.cl", kernel);
  heed__cl_define_rows(k, layout);
  heed__cl_define_dtype(k, "X_DTYPE", x->dtype);
  heed__cl_define_int(k, "WHOLE", layout.vector > 1 && x->dims[x->rank - 1] % layout.vector == 0);
  heed__cl_define_int(k, "RMS", rms);
}

// rms_norm_fwd has the slots of layer_norm_fwd but bias.
static heed_status forward(heed_context *ctx, const struct heed__call *call, bool rms) {
  // x, addend, sum, y: [rows, cols], addend and sum NULL: the norm of x; weight, bias: [cols], bias NULL: none
  const heed_tensor *x = call->in[HEED__layer_norm_fwd_x], *addend = call->in[HEED__layer_norm_fwd_addend],
                    *bias = call->in[HEED__layer_norm_fwd_bias];
  const struct heed__norm_params *params = call->params;
  const int64_t rows = x->dims[0], cols = x->dims[1];
  HEED__TRY(heed__cl_check_rows(ctx, cols));
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, cols);
  struct heed__cl_kernel k;
  begin(&k, ctx, "norm_rows", layout, x, rms);
  heed__cl_define_int(&k, "BIAS", bias != NULL);
  if (addend) heed__cl_define_int(&k, "ADDS", 1);
  if (streams(ctx, x, layout, addend ? 4 : 2)) heed__cl_define_int(&k, "STREAMED", 1);
  heed__cl_tensor(&k, x);
  heed__cl_tensor(&k, addend);
  heed__cl_tensor(&k, call->in[HEED__layer_norm_fwd_weight]);
  heed__cl_tensor(&k, bias);
  heed__cl_tensor(&k, call->out[HEED__layer_norm_fwd_sum]);
  heed__cl_tensor(&k, call->out[HEED__layer_norm_fwd_y]);
  heed__cl_long(&k, rows);
  heed__cl_long(&k, cols);
  heed__cl_float(&k, params->eps);
  return heed__cl_launch_rows(&k, layout, rows);
}

heed_status heed__cl_layer_norm_fwd(heed_context *ctx, const struct heed__call *call) {
  return forward(ctx, call, false);
}

heed_status heed__cl_rms_norm_fwd(heed_context *ctx, const struct heed__call *call) { return forward(ctx, call, true); }

// ---------------------------------------------------------------- backward

struct backward {
  bool rms;
  const heed_tensor *x, *weight, *dy, *residual;  // residual NULL: none
  const heed_tensor *dx, *dweight, *dbias;        // NULL where not wanted
  const struct heed__norm_params *params;
};

// Rows of a block. Neither the device's units nor what is wanted decide it: each gradient always has the same bits.
static int64_t share_of(int64_t rows) {
  enum { FEWEST = 8, MOST_BLOCKS = 256 };
  return heed__max(FEWEST, heed__ceil_div(rows, MOST_BLOCKS));
}

static heed_status row_gradients(heed_context *ctx, const struct backward *b, int64_t share, cl_mem partial) {
  // x, dy, residual, dx: [rows, cols]; weight: [cols]; partial: F32 [blocks, 2 or 1, cols], NULL: not wanted
  const int64_t rows = b->x->dims[0], cols = b->x->dims[1];
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, cols);
  struct heed__cl_kernel k;
  begin(&k, ctx, "norm_rows_gradient", layout, b->x, b->rms);
  heed__cl_define_int(&k, "WHAT",
                      (b->dx ? WANTS_DX : 0) | (partial ? WANTS_SUMS : 0) | (b->residual ? HAS_RESIDUAL : 0));
  if (b->dx && streams(ctx, b->x, layout, 3)) heed__cl_define_int(&k, "STREAMED", 1);
  const heed_tensor *tensors[] = {b->x, b->weight, b->dy, b->residual, b->dx};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; ++i) heed__cl_tensor(&k, tensors[i]);
  heed__cl_buffer(&k, partial);
  heed__cl_long(&k, rows);
  heed__cl_long(&k, cols);
  heed__cl_long(&k, share);
  heed__cl_float(&k, b->params->eps);
  return heed__cl_launch_rows(&k, layout, heed__ceil_div(rows, share));
}

// y = the sums over blocks of the sums number `which` (0: of the weight, 1: of the bias).
static heed_status sums(heed_context *ctx, const struct backward *b, cl_mem partial, int which, int64_t blocks,
                        const heed_tensor *y) {
  // partial: F32 [blocks, 2 or 1, cols]; y: [cols], NULL: not wanted
  if (!y) return HEED_OK;
  const int64_t cols = y->count;
  struct heed__cl_rows layout = heed__cl_rows_for(ctx, cols);
  layout.group = 1;
  struct heed__cl_kernel k;
  begin(&k, ctx, "norm_sums", layout, y, b->rms);
  heed__cl_buffer(&k, partial);
  heed__cl_long(&k, which * cols);
  heed__cl_tensor(&k, y);
  heed__cl_long(&k, blocks);
  heed__cl_long(&k, cols);
  heed__cl_long(&k, b->rms ? cols : 2 * cols);
  heed__cl_uint(&k, b->params->accumulate ? ACCUMULATES : 0u);
  return heed__cl_launch_walks(&k, heed__ceil_div(cols, layout.vector));
}

static heed_status backward(heed_context *ctx, const struct backward *b) {
  // x, dy, residual, dx: [rows, cols]; weight, dweight, dbias: [cols]
  const int64_t rows = b->x->dims[0], cols = b->x->dims[1], share = share_of(rows),
                blocks = heed__ceil_div(rows, share);
  HEED__TRY(heed__cl_check_rows(ctx, cols));
  cl_mem partial = NULL;
  heed_status status;
  if (b->dweight || b->dbias) {
    int64_t count, bytes;
    HEED__REQUIRE(heed__mul(blocks, b->rms ? cols : 2 * cols, &count) && heed__mul(count, sizeof(float), &bytes),
                  HEED_ERROR_OVERFLOW, "the partial sums of %lld rows of %lld do not fit 64 bits", (long long)rows,
                  (long long)cols);
    HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, (uint64_t)heed__max(bytes, 4), &partial));
  }
  if (rows > 0) HEED__TRY_TO(done, status, row_gradients(ctx, b, share, partial));
  HEED__TRY_TO(done, status, sums(ctx, b, partial, 0, blocks, b->dweight));
  status = sums(ctx, b, partial, 1, blocks, b->dbias);
done:
  heed__cl_scratch_give(ctx, partial);
  return status;
}

heed_status heed__cl_layer_norm_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, residual, dx: [rows, cols]; weight, dweight, dbias: [cols]; gradients and residual NULL where not wanted
  return backward(ctx, &(struct backward){.x = call->in[HEED__layer_norm_bwd_x],
                                          .weight = call->in[HEED__layer_norm_bwd_weight],
                                          .dy = call->in[HEED__layer_norm_bwd_dy],
                                          .residual = call->in[HEED__layer_norm_bwd_residual],
                                          .dx = call->out[HEED__layer_norm_bwd_dx],
                                          .dweight = call->out[HEED__layer_norm_bwd_dweight],
                                          .dbias = call->out[HEED__layer_norm_bwd_dbias],
                                          .params = call->params});
}

heed_status heed__cl_rms_norm_bwd(heed_context *ctx, const struct heed__call *call) {
  // x, dy, residual, dx: [rows, cols]; weight, dweight: [cols]; gradients and residual NULL where not wanted
  return backward(ctx, &(struct backward){.rms = true,
                                          .x = call->in[HEED__rms_norm_bwd_x],
                                          .weight = call->in[HEED__rms_norm_bwd_weight],
                                          .dy = call->in[HEED__rms_norm_bwd_dy],
                                          .residual = call->in[HEED__rms_norm_bwd_residual],
                                          .dx = call->out[HEED__rms_norm_bwd_dx],
                                          .dweight = call->out[HEED__rms_norm_bwd_dweight],
                                          .params = call->params});
}
