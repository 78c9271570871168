// attention_fwd and attention_bwd: names the parts of a call and hands it to the first variant that can do it. How it is done
// is the variants' own.
#include <stdio.h>
#include <string.h>

#include "cl/attention/attention.h"
#include "cl/operators.h"

// From fast to general; the last one takes every call that the device can do at all.
static const struct heed__cl_attention_variant *const variants[] = {
    &heed__cl_attention_fused_cpu,
    &heed__cl_attention_fused_tensor,
    &heed__cl_attention_fused_gpu,
    &heed__cl_attention_staged,
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static struct heed__cl_attention describe(const struct heed__call *call) {
  const bool backward = call->op == HEED__OP_attention_bwd;
  const heed_tensor *const *in = call->in;
  struct heed__cl_attention a = {.params = call->params,
                                 .backward = backward,
                                 .q = in[HEED__ATT_Q],
                                 .k = in[HEED__ATT_K],
                                 .v = in[HEED__ATT_V],
                                 .mask = in[HEED__ATT_MASK],
                                 .kv_lengths = in[HEED__ATT_KV_LENGTHS]};
  if (backward) {
    a.out = in[HEED__attention_bwd_out];
    a.lse = in[HEED__attention_bwd_lse];
    a.dout = in[HEED__attention_bwd_dout];
    a.dq = call->out[HEED__attention_bwd_dq];
    a.dk = call->out[HEED__attention_bwd_dk];
    a.dv = call->out[HEED__attention_bwd_dv];
    a.dmask = call->out[HEED__attention_bwd_dmask];
  } else {
    a.out = call->out[HEED__attention_fwd_out];
    a.lse = call->out[HEED__attention_fwd_lse];
    a.weights = call->out[HEED__attention_fwd_weights];
  }
  a.batch = a.q->dims[0];
  a.heads = a.q->dims[1];
  a.queries = a.q->dims[2];
  a.dim = a.q->dims[3];
  a.kv_heads = a.k->dims[1];
  a.keys = a.k->dims[2];
  a.value_dim = a.v->dims[3];
  a.group = a.heads / a.kv_heads;
  return a;
}

// The first that can do the call; with a choice, the one that the choice names.
static struct heed__cl_attention_way first_of(const heed_context *ctx, const struct heed__cl_attention *a,
                                              const char *key, const struct heed__cl_tuning_choice *choice) {
  struct heed__cl_attention_way way = {0};
  for (size_t i = 0; i < VARIANTS && !way.variant; ++i) {
    const struct heed__cl_attention_variant *variant = variants[i];
    if (key && strcmp(variant->tuning.key, key) != 0) continue;
    if (a->params->path != HEED_PATH_AUTO && a->params->path != variant->path) continue;
    if (variant->plan(ctx, a, choice, &way.plan)) way.variant = variant;
  }
  return way;
}

struct heed__cl_attention_way heed__cl_attention_choose(const heed_context *ctx, const struct heed__cl_attention *a) {
  const heed_tune_problem problem = {
      .op = a->backward ? HEED_TUNE_ATTENTION_BWD : HEED_TUNE_ATTENTION_FWD,
      .dtype = a->q->dtype,
      .causal = a->params->causal != HEED_CAUSAL_NONE,
      .sizes = {heed__max(a->dim, a->value_dim), a->queries, a->keys, a->batch * a->heads}};
  const struct heed__cl_tuning_choice *tuned = heed__cl_tuning_find(ctx, &problem);
  const struct heed__cl_attention_way way =
      tuned ? first_of(ctx, a, tuned->variant, tuned) : (struct heed__cl_attention_way){0};
  return way.variant ? way : first_of(ctx, a, NULL, NULL);
}

// q: [B, Hq, Lq, D]; k: [B, Hkv, Lk, D]; v: [B, Hkv, Lk, Dv]; out, dout: [B, Hq, Lq, Dv]; lse: [B, Hq, Lq]; weights: [B, Hq, Lq, Lk];
// mask: [B, Hq, Lq, columns] by strides; kv_lengths: [B]; dq, dk, dv as q, k, v; dmask: as the mask was given
static heed_status run(heed_context *ctx, const struct heed__call *call) {
  const struct heed__cl_attention a = describe(call);
  const struct heed__cl_attention_way way = heed__cl_attention_choose(ctx, &a);
  if (way.variant) return way.variant->run(ctx, &a, &way.plan);
  union heed__cl_attention_plan staged;
  HEED__REQUIRE(heed__cl_attention_staged.plan(ctx, &a, NULL, &staged), HEED_ERROR_UNSUPPORTED,
                "%s silently ends a kernel's loops after 65535 rounds, and q %s on k %s and v %s needs more; choose "
                "another device",
                ctx->device.name, heed__tensor_text(a.q), heed__tensor_text(a.k), heed__tensor_text(a.v));
  return heed__fail(HEED_ERROR_UNSUPPORTED, "the fused path cannot do q %s on k %s and v %s on %s; take staged or auto",
                    heed__tensor_text(a.q), heed__tensor_text(a.k), heed__tensor_text(a.v), ctx->device.name);
}

heed_status heed__cl_attention_fwd(heed_context *ctx, const struct heed__call *call) { return run(ctx, call); }
heed_status heed__cl_attention_bwd(heed_context *ctx, const struct heed__call *call) { return run(ctx, call); }

// ---------------------------------------------------------------- tuning

static const struct heed__cl_tuning_variant *variant_at(size_t i) { return i < VARIANTS ? &variants[i]->tuning : NULL; }

// Values of the variant first, as they are cheaper to try than another variant's kernels.
static void neighbours(heed_context *ctx, const heed_tune_problem *problem, const struct heed__cl_tuning_choice *choice,
                       struct heed__cl_tuning_choices *out) {
  // The call without its memory. Key heads are as many as query heads.
  const struct heed__attention_params params = {.scale = 1,
                                                .causal = problem->causal ? HEED_CAUSAL_TOP_LEFT : HEED_CAUSAL_NONE,
                                                .window_left = -1,
                                                .window_right = -1};
  const struct heed_tensor t = {.ctx = ctx, .dtype = problem->dtype, .rank = 4};
  struct heed__cl_attention a = {.params = &params,
                                 .backward = problem->op == HEED_TUNE_ATTENTION_BWD,
                                 .q = &t,
                                 .k = &t,
                                 .v = &t,
                                 .out = &t,
                                 .batch = 1,
                                 .heads = problem->sizes[3],
                                 .kv_heads = problem->sizes[3],
                                 .queries = problem->sizes[1],
                                 .keys = problem->sizes[2],
                                 .dim = problem->sizes[0],
                                 .value_dim = problem->sizes[0],
                                 .group = 1};
  if (a.backward) a.dout = a.dq = a.dk = a.dv = &t;
  const bool named = choice->variant[0] != 0;
  const struct heed__cl_attention_variant *used =
      first_of(ctx, &a, named ? choice->variant : NULL, named ? choice : NULL).variant;
  if (!used) return;
  struct heed__cl_tuning_choice from = *choice;
  snprintf(from.variant, sizeof from.variant, "%s", used->tuning.key);
  if (used->neighbours) used->neighbours(ctx, &a, &from, out);
  for (size_t i = 0; i < VARIANTS && out->count < out->room; ++i) {
    if (variants[i] == used || !first_of(ctx, &a, variants[i]->tuning.key, NULL).variant) continue;
    struct heed__cl_tuning_choice *other = &out->list[out->count++];
    *other = (struct heed__cl_tuning_choice){0};
    snprintf(other->variant, sizeof other->variant, "%s", variants[i]->tuning.key);
  }
}

const struct heed__cl_tuning_op heed__cl_attention_tuning = {
    .kind = HEED__TUNE_BY_CAUSAL,
    .edges = {{1, 33, 65, 129, 257}, {1, 9, 128, 512, 2048}, {1, 9, 128, 512, 2048}, {1, 8}},
    .variant = variant_at,
    .neighbours = neighbours};
