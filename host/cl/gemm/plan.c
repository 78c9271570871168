// Which variant computes a product: the list of variants, their order in a context, and the first that plans a problem.
#include <string.h>

#include "cl/gemm/variant.h"

// From fast to general: the first variant that supports a problem computes it, and the last one supports all. CLBlast comes after the
// variants that are faster than it: heed's kernels for CPUs and for tensor cores; and, on a GPU, those for GPUs, whose inner loop has a
// larger share of multiply-adds and reads less local memory than CLBlast's where CLBlast does not know the device, and which need no
// launches of their own to transpose, pad and finish. `heed tune` finds the products for which CLBlast is faster all the same.
static const struct heed__cl_gemm_variant *const variants[] = {
    &heed__cl_gemm_cpu_bf16, &heed__cl_gemm_cpu, &heed__cl_gemm_panels,       &heed__cl_gemm_tensor,
    &heed__cl_gemm_clblast,  &heed__cl_gemm_gpu, &heed__cl_gemm_panels_small,
};
enum { VARIANTS = sizeof variants / sizeof *variants };

const struct heed__cl_gemm_variant *heed__cl_gemm_variant_at(size_t i) { return i < VARIANTS ? variants[i] : NULL; }

const struct heed__cl_gemm_variant *heed__cl_gemm_preferred(const heed_context *ctx, size_t i) {
  size_t at = 0;
  while (variants[at] != &heed__cl_gemm_clblast) ++at;
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_CLBLAST)
    return i == 0 ? &heed__cl_gemm_clblast : heed__cl_gemm_variant_at(i <= at ? i - 1 : i);
  if (heed__cl_state(ctx)->traits.cpu_like) return heed__cl_gemm_variant_at(i);
  return heed__cl_gemm_variant_at(i == at ? at + 1 : i == at + 1 ? at : i);  // the two change places
}

bool heed__cl_gemm_allows(const heed_context *ctx, const struct heed__cl_gemm_variant *variant) {
  const struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  if (variant->on_tensor_cores) return !heed__cl_state(ctx)->tensor_cores_off;
  if (variant->on_bf16_dots) return state->bf16_dots != HEED__GEMM_DOTS_OFF && !state->bf16_dots_failed;
  if (variant->provider != HEED__GEMM_CLBLAST) return true;
  return state->provider == HEED__GEMM_CLBLAST || (state->provider == HEED__GEMM_AUTO && !state->clblast_failed);
}

bool heed__cl_gemm_plan(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                        const struct heed__cl_tuning_choice *forced, struct heed__cl_gemm_plan *plan) {
  static const struct heed__cl_tuning_choice own;
  const struct heed__cl_gemm_variant *variant;
  if (!forced) forced = &own;
  for (size_t i = 0; (variant = heed__cl_gemm_preferred(ctx, i)) != NULL; ++i) {
    const bool is_asked =
        forced->variant[0] ? strcmp(variant->tuning.key, forced->variant) == 0 : heed__cl_gemm_allows(ctx, variant);
    if (is_asked && variant->plan(ctx, p, forced, plan)) return true;
  }
  return false;
}
