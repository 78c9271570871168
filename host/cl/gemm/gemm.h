// Products, for the rooms that use them. A product is planned once: the plan says which kernels run, with which tiles. A context keeps the
// plans of the problems that it has met, so that a warm product is one look-up and its launches.
#ifndef HEED__CL_GEMM_H
#define HEED__CL_GEMM_H

#include "cl/gemm/variant.h"

// alpha op(a) op(b) + beta c with an epilogue (NULL: none), by the provider and variant that do it best and right.
heed_status heed__cl_gemm_with(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                               const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue, heed_tensor *c);
// The same by a choice of the caller's, whether it computes right here or not. Errors: UNSUPPORTED where its variant cannot do it.
heed_status heed__cl_gemm_forced(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                                 const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue,
                                 const struct heed__cl_tuning_choice *forced, heed_tensor *c);

struct heed__cl_gemm_config {
  enum heed__cl_gemm_provider provider;
  bool probe_off;
};
// Once a context. Errors: OUT_OF_MEMORY. close: after the queue has finished; drops what products keep of the context.
heed_status heed__cl_gemm_open(heed_context *ctx, const struct heed__cl_gemm_config *config);
void heed__cl_gemm_close(heed_context *ctx);

#endif
