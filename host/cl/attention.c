// attention_fwd and attention_bwd: names the parts of a call and hands it to the first variant that can do it. How it is done
// is the variants' own.
#include "cl/attention.h"

// From fast to general; the last one takes every call.
static const struct heed__cl_attention_variant *const variants[] = {
    &heed__cl_attention_fused_cpu,
    &heed__cl_attention_fused_tensor,
    &heed__cl_attention_fused_gpu,
    &heed__cl_attention_staged,
};

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
    a.out = in[HEED__ATT_O];
    a.lse = in[HEED__ATT_LSE_IN];
    a.dout = in[HEED__ATT_DOUT];
    a.dq = call->out[HEED__ATT_DQ];
    a.dk = call->out[HEED__ATT_DK];
    a.dv = call->out[HEED__ATT_DV];
    a.dmask = call->out[HEED__ATT_DMASK];
  } else {
    a.out = call->out[HEED__ATT_OUT];
    a.lse = call->out[HEED__ATT_LSE];
    a.weights = call->out[HEED__ATT_WEIGHTS];
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

static const struct heed__cl_attention_variant *pick(const heed_context *ctx, const struct heed__cl_attention *a) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  for (size_t i = 0; i < sizeof variants / sizeof *variants; ++i) {
    const struct heed__cl_attention_variant *variant = variants[i];
    if (a->params->path != HEED_PATH_AUTO && a->params->path != variant->path) continue;
    if (variant->supports(traits, a)) return variant;
  }
  return NULL;
}

static heed_status run(heed_context *ctx, const struct heed__call *call) {
  const struct heed__cl_attention a = describe(call);
  const struct heed__cl_attention_variant *variant = pick(ctx, &a);
  HEED__REQUIRE(variant, HEED_UNSUPPORTED, "the fused path cannot do q %s on k %s and v %s on %s; take staged or auto",
                heed__tensor_text(a.q), heed__tensor_text(a.k), heed__tensor_text(a.v), ctx->device.name);
  return a.backward ? variant->bwd(ctx, &a) : variant->fwd(ctx, &a);
}

heed_status heed__cl_attention_fwd(heed_context *ctx, const struct heed__call *call) { return run(ctx, call); }
heed_status heed__cl_attention_bwd(heed_context *ctx, const struct heed__call *call) { return run(ctx, call); }
