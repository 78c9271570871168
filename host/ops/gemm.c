// gemm: checks the arguments and brings every accepted shape to rank 4. Batch strides are 0 if an operand is broadcast.
#include <math.h>

#include "ops/check.h"

// [rows, cols], [B, rows, cols] or [B0, B1, rows, cols] as rank 4.
static heed_status to_rank4(const char *name, const heed_tensor *x, struct heed_tensor *view) {
  HEED__REQUIRE(x->rank >= 2 && x->rank <= 4, HEED_ERROR_SHAPE, "gemm: %s %s is not of rank 2 to 4", name,
                heed__tensor_text(x));
  int64_t dims[4] = {1, 1, 1, 1}, strides[4] = {0, 0, 0, 0};
  for (int axis = 0; axis < x->rank; ++axis) {
    dims[4 - x->rank + axis] = x->dims[axis];
    strides[4 - x->rank + axis] = x->strides[axis];
  }
  HEED__REQUIRE(dims[3] <= 1 || strides[3] == 1, HEED_ERROR_SHAPE, "gemm: the last axis of %s %s must have stride 1",
                name, heed__tensor_text(x));
  strides[3] = 1;
  heed__view_init(view, x, 4, dims, strides, x->offset);
  return HEED_OK;
}

static heed_status broadcast(const char *name, const heed_tensor *x, const struct heed_tensor *c,
                             struct heed_tensor *view) {
  for (int axis = 0; axis < 2; ++axis) {
    HEED__REQUIRE(view->dims[axis] == c->dims[axis] || view->dims[axis] == 1, HEED_ERROR_SHAPE,
                  "gemm: the batch of %s %s does not fit that of c", name, heed__tensor_text(x));
    if (view->dims[axis] == c->dims[axis]) continue;
    view->dims[axis] = c->dims[axis];
    view->strides[axis] = 0;
  }
  view->count = view->dims[0] * view->dims[1] * view->dims[2] * view->dims[3];
  return HEED_OK;
}

heed_status heed_gemm(bool trans_a, bool trans_b, double alpha, const heed_tensor *a, const heed_tensor *b, double beta,
                      heed_tensor *c) {
  heed_context *ctx;
  HEED__CHECK_ARGS("gemm", &ctx, {"a", a, HEED__FLOAT | HEED__STRIDED}, {"b", b, HEED__FLOAT | HEED__STRIDED},
                   {"c", c, HEED__FLOAT | HEED__STRIDED | HEED__OUT});
  struct heed_tensor a4, b4, c4;
  HEED__TRY(to_rank4("a", a, &a4));
  HEED__TRY(to_rank4("b", b, &b4));
  HEED__TRY(to_rank4("c", c, &c4));
  HEED__TRY(broadcast("a", a, &c4, &a4));
  HEED__TRY(broadcast("b", b, &c4, &b4));
  const int64_t m = a4.dims[trans_a ? 3 : 2], k = a4.dims[trans_a ? 2 : 3];
  const int64_t k_of_b = b4.dims[trans_b ? 3 : 2], n = b4.dims[trans_b ? 2 : 3];
  HEED__REQUIRE(k == k_of_b && c4.dims[2] == m && c4.dims[3] == n, HEED_ERROR_SHAPE,
                "gemm: the shapes do not fit: op(a) is %lld x %lld (a %s%s), op(b) is %lld x %lld (b %s%s), c is %s",
                (long long)m, (long long)k, heed__tensor_text(a), trans_a ? ", transposed" : "", (long long)k_of_b,
                (long long)n, heed__tensor_text(b), trans_b ? ", transposed" : "", heed__tensor_text(c));
  HEED__REQUIRE(isfinite(alpha) && isfinite(beta), HEED_ERROR_INVALID_ARGUMENT, "gemm: alpha and beta must be finite");
  if (c4.count == 0) return HEED_OK;
  const struct heed__gemm_params params = {trans_a, trans_b, alpha, beta};
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_gemm,
                                                  .in = {[HEED__gemm_a] = &a4, [HEED__gemm_b] = &b4},
                                                  .out = {[HEED__gemm_c] = &c4},
                                                  .params = &params});
}
