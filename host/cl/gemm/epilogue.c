// What happens to a product before it is stored: the arguments and options that all of heed's product kernels take for this, and a kernel
// that does only this, for products that were stored without it.
#include "cl/gemm/variant.h"
#include "cl/runtime/grid.h"

void heed__cl_gemm_epilogue_define(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p) {
  if (heed__cl_gemm_has_gelu(p)) heed__cl_define_int(k, "GELU", p->epilogue.gelu == HEED_GELU_TANH ? 2 : 1);
}

void heed__cl_gemm_epilogue_args(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p) {
  const heed_tensor *argument = p->epilogue.argument;
  heed__cl_tensor(k, p->epilogue.bias);
  heed__cl_tensor(k, argument);
  heed__cl_strides(k, argument, 3);
  heed__cl_float(k, p->alpha);
  heed__cl_float(k, p->beta);
  heed__cl_uint(k, p->epilogue.bias != NULL);
  heed__cl_uint(k, p->epilogue.argument != NULL);
  heed__cl_uint(k, (uint32_t)p->epilogue.activation);  // the values are those of gemm/epilogue.cl
}

void heed__cl_gemm_result(struct heed__cl_kernel *k, const struct heed__cl_gemm_problem *p, cl_mem parts,
                          int64_t splits) {
  if (!parts) {
    heed__cl_tensor(k, p->c);
    heed__cl_strides(k, p->c, 2);
    heed__cl_long(k, 0);
    heed__cl_long(k, p->c->strides[2]);
    heed__cl_gemm_epilogue_args(k, p);
    return;
  }
  const struct heed__cl_gemm_problem bare = {.alpha = 1};
  const int64_t size = p->m * p->n;
  heed__cl_buffer(k, parts);
  heed__cl_long(k, 0);
  heed__cl_long(k, size * splits * p->c->dims[1]);
  heed__cl_long(k, size * splits);
  heed__cl_long(k, size);
  heed__cl_long(k, p->n);
  heed__cl_gemm_epilogue_args(k, &bare);
}

heed_status heed__cl_gemm_epilogue_run(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  if (!p->epilogue.bias && p->epilogue.activation == HEED__GEMM_LINEAR) return HEED_OK;
  const int vector = heed__cl_rows_for(ctx, p->n).vector;
  struct heed__cl_gemm_problem alone = *p;
  alone.alpha = 1;
  alone.beta = 0;
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/linear.cl", "epilogue");
  heed__cl_define_int(&k, "VECTOR", vector);
  heed__cl_define_dtype(&k, "X_DTYPE", p->c->dtype);
  heed__cl_gemm_epilogue_define(&k, p);
  heed__cl_tensor(&k, p->c);
  heed__cl_strides(&k, p->c, 3);
  heed__cl_gemm_epilogue_args(&k, &alone);
  heed__cl_long(&k, p->c->dims[1]);
  heed__cl_long(&k, p->m);
  heed__cl_long(&k, p->n);
  return heed__cl_launch_matrices(&k, heed__ceil_div(p->n, vector), p->m, p->batches);
}
