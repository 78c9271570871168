// What the parts of the GEMM operator share: the problem with its bias, and the providers.
#ifndef HEED__GEMM_H
#define HEED__GEMM_H

#include "cl/cl.h"

// c = alpha op(a) op(b) + beta c + bias on each row. Tensors of rank 4 as in operators.h; bias [N] or NULL.
struct heed__gemm_problem {
  bool trans_a, trans_b;
  double alpha, beta;
  const heed_tensor *a, *b, *bias;
  heed_tensor *c;
  int64_t m, n, k, batches;  // batches: B0 · B1 of c
};

// heed__cl_gemm_run with a bias.
heed_status heed__cl_gemm_bias_run(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                                   const heed_tensor *b, const heed_tensor *bias, heed_tensor *c);

// Adds bias [N] to each row of c [M, N], contiguous.
heed_status heed__cl_add_bias(heed_context *ctx, const heed_tensor *bias, heed_tensor *c);

// gemm_clblast.c. `supports` says whether CLBlast can be trusted with the problem. `run` sets *done to the batches that it queued,
// which are all unless it fails.
bool heed__cl_clblast_supports(const heed_context *ctx, const struct heed__gemm_problem *p);
heed_status heed__cl_clblast_run(heed_context *ctx, const struct heed__gemm_problem *p, int64_t *done);

#endif
