// The tuning of products: what the table needs to know about them, and which choices are worth a try.
#include <stdio.h>
#include <string.h>

#include "cl/gemm/variant.h"
#include "cl/operators.h"

// A contiguous matrix without memory, for a problem that is only planned.
static struct heed_tensor matrix(heed_context *ctx, const heed_tune_problem *problem, int64_t rows, int64_t cols) {
  struct heed_tensor t = {.ctx = ctx,
                          .dtype = problem->dtype,
                          .rank = 4,
                          .dims = {1, problem->sizes[3], rows, cols},
                          .count = problem->sizes[3] * rows * cols};
  heed__contiguous_strides(t.rank, t.dims, t.strides);
  return t;
}

// On CPUs, skip the variants for GPUs, and for problems that the first cannot do: they are several times slower.
static bool is_worth(const heed_context *ctx, const struct heed__cl_gemm_variant *variant) {
  return !heed__cl_state(ctx)->traits.cpu_like || variant == &heed__cl_gemm_cpu || variant == &heed__cl_gemm_cpu_bf16;
}

static void add_variants(const heed_context *ctx, const struct heed__cl_gemm_problem *p,
                         const struct heed__cl_gemm_variant *used, struct heed__cl_tuning_choices *out) {
  const struct heed__cl_gemm_variant *variant;
  for (size_t i = 0; (variant = heed__cl_gemm_variant_at(i)) && out->count < out->room; ++i) {
    struct heed__cl_tuning_choice choice = {0};
    struct heed__cl_gemm_plan plan;
    snprintf(choice.variant, sizeof choice.variant, "%s", variant->tuning.key);
    if (variant != used && is_worth(ctx, variant) && heed__cl_gemm_allows(ctx, variant) &&
        heed__cl_gemm_plan(ctx, p, &choice, &plan))
      out->list[out->count++] = choice;
  }
}

static void neighbours(heed_context *ctx, const heed_tune_problem *problem, const struct heed__cl_tuning_choice *choice,
                       struct heed__cl_tuning_choices *out) {
  const int64_t m = problem->sizes[0], n = problem->sizes[1], k = problem->sizes[2];
  const struct heed_tensor a = matrix(ctx, problem, problem->trans_a ? k : m, problem->trans_a ? m : k);
  const struct heed_tensor b = matrix(ctx, problem, problem->trans_b ? n : k, problem->trans_b ? k : n);
  struct heed_tensor c = matrix(ctx, problem, m, n);
  const struct heed__cl_gemm_problem p = {.trans_a = problem->trans_a,
                                          .trans_b = problem->trans_b,
                                          .alpha = 1,
                                          .a = &a,
                                          .b = &b,
                                          .c = &c,
                                          .m = m,
                                          .n = n,
                                          .k = k,
                                          .batches = problem->sizes[3]};
  struct heed__cl_gemm_plan plan;
  struct heed__cl_tuning_choice from = *choice;
  if (!heed__cl_gemm_plan(ctx, &p, choice, &plan)) return;
  snprintf(from.variant, sizeof from.variant, "%s", plan.variant->tuning.key);
  add_variants(ctx, &p, plan.variant, out);
  if (plan.variant->neighbours) plan.variant->neighbours(ctx, &p, &from, out);
}

static const struct heed__cl_tuning_variant *variant_at(size_t i) {
  const struct heed__cl_gemm_variant *variant = heed__cl_gemm_variant_at(i);
  return variant ? &variant->tuning : NULL;
}

const struct heed__cl_tuning_op heed__cl_gemm_tuning = {
    .kind = HEED__TUNE_BY_FORM,
    .edges = {{1, 16, 64, 256, 1024, 4096}, {1, 16, 64, 256, 1024, 4096}, {1, 16, 64, 256, 1024, 4096}, {1, 2}},
    .variant = variant_at,
    .neighbours = neighbours};
