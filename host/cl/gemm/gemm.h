// Products, for the rooms that use them. heed plans a product once: the plan says which kernels run, with which tiles. A context keeps the
// plans of the problems that it has met, so repeating a product costs one look-up and its launches.
#ifndef HEED__CL_GEMM_H
#define HEED__CL_GEMM_H

#include "cl/gemm/variant.h"

// Computes alpha op(a) op(b) + beta c with an epilogue (NULL: none), by the fastest provider and variant that compute it correctly.
heed_status heed__cl_gemm_with(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                               const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue, heed_tensor *c);
// The same by the caller's choice, whether it computes correctly here or not. Errors: UNSUPPORTED if its variant cannot do the problem.
heed_status heed__cl_gemm_forced(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                                 const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue,
                                 const struct heed__cl_tuning_choice *forced, heed_tensor *c);

struct heed__cl_gemm_config {
  enum heed__cl_gemm_provider provider;
  enum heed__cl_gemm_bf16_dots bf16_dots;
  bool probe_off;
};
// Called once per context. Errors: OUT_OF_MEMORY. close: after the queue has finished; releases what products keep in the context.
heed_status heed__cl_gemm_open(heed_context *ctx, const struct heed__cl_gemm_config *config);
void heed__cl_gemm_close(heed_context *ctx);

#endif
