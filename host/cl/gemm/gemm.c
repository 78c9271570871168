// gemm on OpenCL: finds the plan of a problem once and runs it, and reacts when a variant fails or computes wrong results.
#include "cl/gemm/gemm.h"

#include <stdlib.h>
#include <string.h>

#include "cl/operators.h"

// ---------------------------------------------------------------- wrong products

static const char *provider_name(const struct heed__cl_gemm_variant *variant) {
  return variant->provider == HEED__GEMM_CLBLAST ? "CLBlast" : "heed's own kernel";
}

// Adds to heed_context_notice(), and keeps the first notice of this kind.
static void note_wrong(heed_context *ctx, const struct heed__cl_gemm_variant *wrong,
                       const struct heed__cl_gemm_variant *used) {
  static const char text[] = "computes wrong matrix products on this device";
  if (strstr(ctx->notice, text)) return;
  heed__notice_add(ctx, "%s %s; %s does them instead", provider_name(wrong), text, provider_name(used));
}

static heed_status fail_wrong(const heed_context *ctx, const struct heed__cl_gemm_variant *variant) {
  return heed__fail(HEED_ERROR_DEVICE,
                    "gemm: %s computes wrong products on %s (driver %s), so its results are not used; %s",
                    provider_name(variant), ctx->device.name, ctx->device.driver,
                    heed__cl_gemm_state(ctx)->provider == HEED__GEMM_AUTO
                        ? "choose another device, or HEED_GEMM_PROBE=off to use it all the same"
                        : "choose another gemm provider (HEED_GEMM), or HEED_GEMM_PROBE=off to use it all the same");
}

// ---------------------------------------------------------------- settling a problem

enum verdict { RIGHT, WRONG, FAILED, UNFIT };

// Tells whether a variant may fail: heed or a table of choices chose it, and there is another. A failure counts as a wrong result then.
static bool may_fail(const heed_context *ctx, const struct heed__cl_gemm_variant *variant, bool tuned) {
  return tuned || heed__cl_gemm_is_special(variant) ||
         (variant->provider == HEED__GEMM_CLBLAST && heed__cl_gemm_state(ctx)->provider == HEED__GEMM_AUTO);
}

// Prepares the plan and tries its kernels. A lack of memory is no verdict: judge returns it.
static heed_status judge(heed_context *ctx, const struct heed__cl_gemm_problem *p, struct heed__cl_gemm_plan *plan,
                         bool tuned, enum verdict *verdict) {
  bool right = true;
  heed_status status = plan->variant->prepare ? plan->variant->prepare(ctx, p, plan) : HEED_OK;
  if (status == HEED_OK) status = heed__cl_gemm_probe(ctx, p, plan, &right);
  *verdict = right ? RIGHT : WRONG;
  if (status == HEED_OK || !may_fail(ctx, plan->variant, tuned)) return status;
  *verdict = status == HEED_ERROR_UNSUPPORTED ? UNFIT : FAILED;
  if (status == HEED_ERROR_BUILD && heed__cl_state(ctx)->build_may_work_later) return status;
  return status == HEED_ERROR_BUILD || status == HEED_ERROR_DEVICE || *verdict == UNFIT ? HEED_OK : status;
}

// Stops using a variant in this context.
static void give_up(heed_context *ctx, const struct heed__cl_gemm_variant *variant) {
  if (variant->on_tensor_cores) {
    heed__cl_state(ctx)->tensor_cores_off = true;
    heed__notice_add(
        ctx, "the kernels for tensor cores fail or compute wrong on this device; ordinary kernels do their work");
  } else if (variant->on_bf16_dots) {
    heed__cl_gemm_state(ctx)->bf16_dots_failed = true;
    heed__notice_add(
        ctx,
        "the kernel for pairs of BF16 numbers fails or computes wrong on this device; the one for F32 does its work");
  } else {
    heed__cl_gemm_state(ctx)->clblast_failed = true;
  }
  heed__cl_revise(ctx);
}

// Makes the plan of the tuned choice. If it computes wrong results, use the next choice, and at last heed's own.
static heed_status settle_tuned(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                struct heed__cl_gemm_plan *plan, bool *settled) {
  const struct heed__cl_tuning_choice *tuned;
  *settled = false;
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_CLBLAST) return HEED_OK;
  while (!*settled && (tuned = heed__cl_gemm_tuned(ctx, p)) != NULL) {
    enum verdict verdict;
    if (!heed__cl_gemm_plan(ctx, p, tuned, plan) || !heed__cl_gemm_allows(ctx, plan->variant)) return HEED_OK;
    HEED__TRY(judge(ctx, p, plan, true, &verdict));
    if (verdict == UNFIT) return HEED_OK;
    if (verdict == FAILED && may_fail(ctx, plan->variant, false)) give_up(ctx, plan->variant);
    *settled = verdict == RIGHT;
    const heed_tune_problem problem = heed__cl_gemm_tune_problem(p);
    if (!*settled) heed__cl_tuning_distrust(ctx, &problem, verdict == WRONG ? "computes wrong" : "does not run");
  }
  return HEED_OK;
}

// Tells whether a variant is worth a try after others have failed: if one of heed's own computes wrong results, do not trust the others
// either, but try CLBlast, unless the caller asked for heed's kernels.
static bool is_candidate(const heed_context *ctx, const struct heed__cl_gemm_variant *variant,
                         const struct heed__cl_gemm_variant *wrong) {
  if (!heed__cl_gemm_allows(ctx, variant)) return false;
  if (!wrong) return true;
  return variant->provider != wrong->provider && heed__cl_gemm_state(ctx)->provider == HEED__GEMM_AUTO;
}

// Makes the plan of heed's own choice: the first variant that computes the problem correctly.
static heed_status settle_own(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                              struct heed__cl_gemm_plan *plan) {
  static const struct heed__cl_tuning_choice own;
  const struct heed__cl_gemm_variant *variant, *wrong = NULL;
  for (size_t i = 0; (variant = heed__cl_gemm_preferred(ctx, i)) != NULL; ++i) {
    enum verdict verdict;
    if (!is_candidate(ctx, variant, wrong) || !variant->plan(ctx, p, &own, plan)) continue;
    HEED__TRY(judge(ctx, p, plan, false, &verdict));
    if (verdict == RIGHT) {
      if (wrong) note_wrong(ctx, wrong, variant);
      return HEED_OK;
    }
    if (verdict == FAILED || (verdict == WRONG && heed__cl_gemm_is_special(variant))) give_up(ctx, variant);
    if (verdict == WRONG && !heed__cl_gemm_is_special(variant)) {
      if (wrong) break;
      wrong = variant;
    }
  }
  HEED__REQUIRE(wrong, HEED_ERROR_UNSUPPORTED, "gemm: %s does not run the kernels for this product", ctx->device.name);
  return fail_wrong(ctx, wrong);
}

static heed_status settle(heed_context *ctx, const struct heed__cl_gemm_problem *p, struct heed__cl_gemm_plan *plan) {
  bool settled;
  ++heed__cl_gemm_state(ctx)->planned;
  HEED__TRY(settle_tuned(ctx, p, plan, &settled));
  if (!settled) HEED__TRY(settle_own(ctx, p, plan));
  return heed__cl_gemm_plans_add(ctx, p, plan);
}

// Finds the plan that the context keeps for a problem, or makes one.
static heed_status find_plan(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                             struct heed__cl_gemm_plan *plan) {
  const struct heed__cl_gemm_plan *known = heed__cl_gemm_plans_find(ctx, p);
  if (!known) return settle(ctx, p, plan);
  *plan = *known;
  return HEED_OK;
}

// ---------------------------------------------------------------- running

// Makes a problem of batch `batch` alone, over views that live in `views`.
static struct heed__cl_gemm_problem batch_of(const struct heed__cl_gemm_problem *p, int64_t batch,
                                             struct heed_tensor views[4]) {
  struct heed__cl_gemm_problem one = *p;
  const heed_tensor *whole[] = {p->a, p->b, p->c, p->epilogue.argument};
  for (int i = 0; i < 4 && whole[i]; ++i) {
    const int64_t *strides = whole[i]->strides, *dims = whole[i]->dims;
    const int64_t offset = batch / p->c->dims[1] * strides[0] + batch % p->c->dims[1] * strides[1];
    heed__view_init(&views[i], whole[i], 4, (const int64_t[]){1, 1, dims[2], dims[3]}, strides,
                    whole[i]->offset + offset);
  }
  one.a = &views[0];
  one.b = &views[1];
  one.c = &views[2];
  if (one.epilogue.argument) one.epilogue.argument = &views[3];
  one.batches = 1;
  return one;
}

// Finishes a problem after its first `done` batches, which lack the epilogue.
static heed_status run_rest(heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t done) {
  struct heed_tensor views[4];
  struct heed__cl_gemm_plan plan;
  int64_t ignored;
  for (int64_t batch = 0; batch < p->batches; ++batch) {
    const struct heed__cl_gemm_problem one = batch_of(p, batch, views);
    if (batch < done) {
      HEED__TRY(heed__cl_gemm_epilogue_run(ctx, &one));
      continue;
    }
    HEED__TRY(find_plan(ctx, &one, &plan));
    HEED__TRY(plan.variant->run(ctx, &one, &plan, &ignored));
  }
  return HEED_OK;
}

// If CLBlast fails on the way and heed chose it by itself, stop using it, and let heed's kernels do the rest.
static heed_status run(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                       const struct heed__cl_gemm_plan *plan) {
  int64_t done;
  const heed_status status = plan->variant->run(ctx, p, plan, &done);
  if (status != HEED_ERROR_DEVICE || plan->variant->provider != HEED__GEMM_CLBLAST ||
      heed__cl_gemm_state(ctx)->provider != HEED__GEMM_AUTO)
    return status;
  give_up(ctx, plan->variant);
  if (done > 0) return run_rest(ctx, p, done);
  struct heed__cl_gemm_plan other;
  HEED__TRY(settle(ctx, p, &other));
  return other.variant->run(ctx, p, &other, &done);
}

// a: [B0, B1, m, k]; b: [B0, B1, k, n], either transposed; c: [B0, B1, m, n]
static struct heed__cl_gemm_problem describe(const struct heed__gemm_params *params, const heed_tensor *a,
                                             const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue,
                                             heed_tensor *c) {
  return (struct heed__cl_gemm_problem){.trans_a = params->trans_a,
                                        .trans_b = params->trans_b,
                                        .alpha = params->alpha,
                                        .beta = params->beta,
                                        .a = a,
                                        .b = b,
                                        .c = c,
                                        .epilogue = epilogue ? *epilogue : (struct heed__cl_gemm_epilogue){0},
                                        .m = c->dims[2],
                                        .n = c->dims[3],
                                        .k = params->trans_a ? a->dims[2] : a->dims[3],
                                        .batches = c->dims[0] * c->dims[1]};
}

heed_status heed__cl_gemm_with(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                               const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue, heed_tensor *c) {
  const struct heed__cl_gemm_problem p = describe(params, a, b, epilogue, c);
  if (p.m == 0 || p.n == 0 || p.batches == 0) return HEED_OK;
  struct heed__cl_gemm_plan plan;
  HEED__TRY(find_plan(ctx, &p, &plan));
  return run(ctx, &p, &plan);
}

heed_status heed__cl_gemm_forced(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                                 const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue,
                                 const struct heed__cl_tuning_choice *forced, heed_tensor *c) {
  const struct heed__cl_gemm_problem p = describe(params, a, b, epilogue, c);
  if (p.m == 0 || p.n == 0 || p.batches == 0) return HEED_OK;
  struct heed__cl_gemm_plan plan;
  int64_t done;
  HEED__REQUIRE(heed__cl_gemm_plan(ctx, &p, forced, &plan), HEED_ERROR_UNSUPPORTED,
                "gemm: the variant '%s' does not do this product on %s", forced->variant, ctx->device.name);
  if (plan.variant->prepare) HEED__TRY(plan.variant->prepare(ctx, &p, &plan));
  return plan.variant->run(ctx, &p, &plan, &done);
}

heed_status heed__cl_gemm(heed_context *ctx, const struct heed__call *call) {
  return heed__cl_gemm_with(ctx, call->params, call->in[HEED__gemm_a], call->in[HEED__gemm_b], NULL,
                            call->out[HEED__gemm_c]);
}

// ---------------------------------------------------------------- a context's life

heed_status heed__cl_gemm_open(heed_context *ctx, const struct heed__cl_gemm_config *config) {
  HEED__REQUIRE(config->provider != HEED__GEMM_CLBLAST || heed__cl_gemm_clblast.run, HEED_ERROR_UNSUPPORTED,
                "open: this build of heed has no CLBlast, which the gemm provider 'clblast' (HEED_GEMM) asks for");
  struct heed__cl_gemm_state *state = calloc(1, sizeof *state);
  HEED__REQUIRE(state, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  state->provider = config->provider;
  state->bf16_dots = config->bf16_dots;
  state->probe_off = config->probe_off;
  heed__cl_state(ctx)->kept[HEED__CL_ROOM_GEMM] = state;
  return HEED_OK;
}

void heed__cl_gemm_close(heed_context *ctx) {
  if (!heed__cl_gemm_state(ctx)) return;
  heed__cl_gemm_plans_free(ctx);
  heed__cl_gemm_verdicts_free(ctx);
  heed__cl_gemm_clblast_close(ctx);
  free(heed__cl_gemm_state(ctx));
  heed__cl_state(ctx)->kept[HEED__CL_ROOM_GEMM] = NULL;
}
