// In place of clblast.c in builds without CLBlast: a variant that does no problem, so that the next one does it.
#include "cl/gemm/variant.h"

static bool make_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                      const struct heed__cl_tuning_choice *choice, struct heed__cl_gemm_plan *plan) {
  (void)ctx;
  (void)p;
  (void)choice;
  (void)plan;
  return false;
}

const struct heed__cl_gemm_variant heed__cl_gemm_clblast = {
    .tuning = {"clblast", 0}, .provider = HEED__GEMM_CLBLAST, .plan = make_plan};

void heed__cl_gemm_clblast_close(heed_context *ctx) { (void)ctx; }
