// gemm on OpenCL: which provider does a problem, and what happens when it fails or computes wrong.
#include <stdlib.h>
#include <string.h>

#include "cl/gemm/gemm.h"
#include "cl/operators.h"

// What is left of a problem after its first `done` batches, one at a time.
static heed_status run_native_from(heed_context *ctx, const struct heed__cl_gemm_problem *p, int64_t done) {
  if (done == 0) return heed__cl_gemm_native(ctx, p);
  for (int64_t batch = 0; batch < p->batches; ++batch) {
    struct heed__cl_gemm_problem one = *p;
    struct heed_tensor views[4];
    const heed_tensor *whole[] = {p->a, p->b, p->c, p->epilogue.mask};
    for (int i = 0; i < 4 && whole[i]; ++i) {
      const int64_t *strides = whole[i]->strides, *dims = whole[i]->dims;
      const int64_t offset = batch / p->c->dims[1] * strides[0] + batch % p->c->dims[1] * strides[1];
      heed__view_init(&views[i], whole[i], 4, (const int64_t[]){1, 1, dims[2], dims[3]}, strides,
                      whole[i]->offset + offset);
    }
    one.a = &views[0];
    one.b = &views[1];
    one.c = &views[2];
    if (one.epilogue.mask) one.epilogue.mask = &views[3];
    one.batches = 1;
    if (batch >= done)
      HEED__TRY(heed__cl_gemm_native(ctx, &one));
    else
      HEED__TRY(heed__cl_gemm_epilogue_run(ctx, &one));
  }
  return HEED_OK;
}

static heed_status run_clblast(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  int64_t done = 0;
  const heed_status status = heed__cl_gemm_clblast_run(ctx, p, &done);
  if (status == HEED_OK) return heed__cl_gemm_epilogue_run(ctx, p);
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_CLBLAST) return status;
  heed__cl_gemm_state(ctx)->clblast_failed = true;
  return run_native_from(ctx, p, done);
}

static bool on_tensor_cores(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  return !heed__cl_state(ctx)->traits.cpu_like && heed__cl_gemm_gpu_supports(ctx, p) &&
         heed__cl_gemm_gpu_uses_warps(ctx, p);
}

// CLBlast where it is asked for, by the user or by a tuned choice, or by default on what is not a CPU (there heed's own kernels are
// far faster), but for what tensor cores do.
static bool prefers_clblast(const heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_NATIVE || !heed__cl_gemm_clblast_supports(ctx, p)) return false;
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_CLBLAST) return true;
  if (heed__cl_gemm_state(ctx)->clblast_failed) return false;
  const struct heed__cl_tuning_choice *tuned = heed__cl_gemm_tuned(ctx, p);
  if (tuned && tuned->variant[0]) return strcmp(tuned->variant, "clblast") == 0;
  return !cl->traits.cpu_like && !on_tensor_cores(ctx, p);
}

static const char *provider_name(enum heed__cl_gemm_provider provider) {
  return provider == HEED__GEMM_CLBLAST ? "CLBlast" : "heed's own kernel";
}

// For heed_context_notice(): the first of its kind stays.
static void note_wrong(heed_context *ctx, enum heed__cl_gemm_provider wrong, enum heed__cl_gemm_provider used) {
  static const char text[] = "computes wrong matrix products on this device";
  if (strstr(ctx->notice, text)) return;
  heed__notice_add(ctx, "%s %s; %s does them instead", provider_name(wrong), text, provider_name(used));
}

static heed_status wrong(const heed_context *ctx, enum heed__cl_gemm_provider provider, const char *way_out) {
  return heed__fail(HEED_ERROR_DEVICE,
                    "gemm: %s computes wrong products on %s (driver %s), so its results are not used; %s",
                    provider_name(provider), ctx->device.name, ctx->device.driver, way_out);
}

// Whether the device computes right with a provider that heed chose by itself; one that fails outright is as good as wrong.
static heed_status try_clblast(heed_context *ctx, const struct heed__cl_gemm_problem *p, bool *right) {
  if (heed__cl_gemm_probe(ctx, p, HEED__GEMM_CLBLAST, right) == HEED_OK) return HEED_OK;
  heed__cl_gemm_state(ctx)->clblast_failed = true;
  *right = false;
  return HEED_OK;
}

// A tuned choice that computes wrong gives way to heed's own.
static heed_status drop_wrong_tuning(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_CLBLAST) return HEED_OK;
  while (heed__cl_gemm_tuned(ctx, p)) {
    const bool clblast = prefers_clblast(ctx, p);
    bool right = true;
    if (clblast)
      HEED__TRY(try_clblast(ctx, p, &right));
    else
      HEED__TRY(heed__cl_gemm_probe(ctx, p, HEED__GEMM_NATIVE, &right));
    if (right) break;
    const heed_tune_problem problem = heed__cl_gemm_tune_problem(p);
    heed__cl_tuning_distrust(ctx, &problem);
  }
  return HEED_OK;
}

// Tensor cores whose driver does not take their kernels, or whose products are wrong, are done without: ordinary kernels do all.
static void settle_tensor_cores(heed_context *ctx, const struct heed__cl_gemm_problem *p) {
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  if (heed__cl_gemm_state(ctx)->provider == HEED__GEMM_CLBLAST || !on_tensor_cores(ctx, p)) return;
  bool right = true;
  if (heed__cl_gemm_probe(ctx, p, HEED__GEMM_NATIVE, &right) != HEED_OK || !right)
    traits->tensor_cores = traits->emulate_warps = false;
}

// The provider that does p: the preferred one unless the device has been seen to compute wrong with it.
static heed_status choose(heed_context *ctx, const struct heed__cl_gemm_problem *p, enum heed__cl_gemm_provider *out) {
  HEED__TRY(drop_wrong_tuning(ctx, p));
  static const char forced_way_out[] =
      "choose another gemm provider (HEED_GEMM), or HEED_GEMM_PROBE=off to use it all the same";
  bool right = true;
  settle_tensor_cores(ctx, p);
  *out = prefers_clblast(ctx, p) ? HEED__GEMM_CLBLAST : HEED__GEMM_NATIVE;
  if (heed__cl_gemm_state(ctx)->provider != HEED__GEMM_AUTO) {
    HEED__TRY(heed__cl_gemm_probe(ctx, p, *out, &right));
    return right ? HEED_OK : wrong(ctx, *out, forced_way_out);
  }
  const enum heed__cl_gemm_provider first = *out;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (*out == HEED__GEMM_NATIVE)
      HEED__TRY(heed__cl_gemm_probe(ctx, p, *out, &right));
    else if (heed__cl_gemm_clblast_supports(ctx, p) && !heed__cl_gemm_state(ctx)->clblast_failed)
      HEED__TRY(try_clblast(ctx, p, &right));
    if (right) break;
    if (attempt == 0) *out = first == HEED__GEMM_CLBLAST ? HEED__GEMM_NATIVE : HEED__GEMM_CLBLAST;
  }
  if (!right)
    return wrong(ctx, HEED__GEMM_NATIVE, "choose another device, or HEED_GEMM_PROBE=off to use it all the same");
  if (*out != first && !heed__cl_gemm_state(ctx)->clblast_failed) note_wrong(ctx, first, *out);
  return HEED_OK;
}

heed_status heed__cl_gemm_with(heed_context *ctx, const struct heed__gemm_params *params, const heed_tensor *a,
                               const heed_tensor *b, const struct heed__cl_gemm_epilogue *epilogue, heed_tensor *c) {
  const struct heed__cl_gemm_problem p = {.trans_a = params->trans_a,
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
  if (p.m == 0 || p.n == 0 || p.batches == 0) return HEED_OK;
  enum heed__cl_gemm_provider provider;
  HEED__TRY(choose(ctx, &p, &provider));
  return provider == HEED__GEMM_CLBLAST ? run_clblast(ctx, &p) : heed__cl_gemm_native(ctx, &p);
}

heed_status heed__cl_gemm(heed_context *ctx, const struct heed__call *call) {
  return heed__cl_gemm_with(ctx, call->params, call->in[0], call->in[1], NULL, call->out[0]);
}

heed_status heed__cl_gemm_open(heed_context *ctx, enum heed__cl_gemm_provider provider) {
  struct heed__cl_gemm_state *state = calloc(1, sizeof *state);
  HEED__REQUIRE(state, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  state->provider = provider;
  heed__cl_state(ctx)->kept[HEED__CL_ROOM_GEMM] = state;
  return HEED_OK;
}

void heed__cl_gemm_close(heed_context *ctx) {
  if (!heed__cl_gemm_state(ctx)) return;
  heed__cl_gemm_verdicts_free(ctx);
  heed__cl_gemm_clblast_close(ctx);
  free(heed__cl_gemm_state(ctx));
  heed__cl_state(ctx)->kept[HEED__CL_ROOM_GEMM] = NULL;
}
