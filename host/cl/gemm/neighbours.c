// Products that can be tuned: what the table needs to know of them, and which choices are worth a try. Layouts are cpu.c's.
#include <stdio.h>
#include <string.h>

#include "cl/gemm/gemm.h"
#include "cl/operators.h"

// A contiguous matrix of a problem that is not to be run: without memory.
static struct heed_tensor matrix(heed_context *ctx, const heed_tune_problem *problem, int64_t rows, int64_t cols) {
  struct heed_tensor t = {.ctx = ctx,
                          .dtype = problem->dtype,
                          .rank = 4,
                          .dims = {1, problem->sizes[3], rows, cols},
                          .count = problem->sizes[3] * rows * cols};
  heed__contiguous_strides(t.rank, t.dims, t.strides);
  return t;
}

// What does p where nothing is tuned.
static const char *own_variant(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  struct heed__cl *cl = heed__cl_state(ctx);
  uint32_t place;
  if (!cl->traits.cpu_like && !heed__cl_gemm_state(ctx)->clblast_failed && heed__cl_gemm_clblast_supports(ctx, p))
    return "clblast";
  heed__cl_gemm_state(ctx)->variant = "";
  const char *name = heed__cl_gemm_native_variant(ctx, p, &place);
  heed__cl_gemm_state(ctx)->variant = NULL;
  return name;
}

// On CPUs the other variants are for GPUs, or for what the first cannot do, and several times slower.
static void add_variants(heed_context *ctx, const struct heed__cl_gemm_problem *p, const char *used,
                         struct heed__cl_tuning_choices *out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const struct heed__cl_tuning_variant *variant;
  if (cl->traits.cpu_like) return;
  for (size_t i = 0; (variant = heed__cl_gemm_variant(i)) && out->count < out->room; ++i) {
    const char *name = variant->key;
    const bool clblast = strcmp(name, "clblast") == 0;
    uint32_t place;
    heed__cl_gemm_state(ctx)->variant = name;
    const bool can = clblast ? heed__cl_gemm_clblast_supports(ctx, p) && !heed__cl_gemm_state(ctx)->clblast_failed
                             : strcmp(heed__cl_gemm_native_variant(ctx, p, &place), name) == 0;
    heed__cl_gemm_state(ctx)->variant = NULL;
    if (!can || strcmp(name, used) == 0) continue;
    struct heed__cl_tuning_choice *choice = &out->list[out->count++];
    *choice = (struct heed__cl_tuning_choice){0};
    snprintf(choice->variant, sizeof choice->variant, "%s", name);
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
  struct heed__cl_tuning_choice from = *choice;
  if (!from.variant[0]) snprintf(from.variant, sizeof from.variant, "%s", own_variant(ctx, &p));
  add_variants(ctx, &p, from.variant, out);
  if (strcmp(from.variant, "cpu") == 0) heed__cl_gemm_cpu_neighbours(ctx, &p, &from, out);
}

const struct heed__cl_tuning_op heed__cl_gemm_tuning = {
    .kind = HEED__TUNE_BY_FORM,
    .edges = {{1, 16, 64, 256, 1024, 4096}, {1, 16, 64, 256, 1024, 4096}, {1, 16, 64, 256, 1024, 4096}, {1, 2}},
    .variant = heed__cl_gemm_variant,
    .neighbours = neighbours};
