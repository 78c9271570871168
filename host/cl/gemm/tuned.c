// Looks up a product in the table of tuned choices.
#include "cl/gemm/variant.h"

heed_tune_problem heed__cl_gemm_tune_problem(const struct heed__cl_gemm_problem *p) {
  return (heed_tune_problem){.op = HEED_TUNE_GEMM,
                             .dtype = p->c->dtype,
                             .trans_a = p->trans_a,
                             .trans_b = p->trans_b,
                             .sizes = {p->m, p->n, p->k, p->batches}};
}

const struct heed__cl_tuning_choice *heed__cl_gemm_tuned(const heed_context *ctx,
                                                         const struct heed__cl_gemm_problem *p) {
  const heed_tune_problem problem = heed__cl_gemm_tune_problem(p);
  return heed__cl_tuning_find(ctx, &problem);
}
