// What every kernel of attention is told of a call, by names; see call.h.
#include "cl/attention/call.h"

#include "cl/attention/attention.h"

struct heed__cl_attention_reach heed__cl_attention_reach(const struct heed__cl_attention *a) {
  const struct heed__attention_params *params = a->params;
  // Enough, since no row's place among the keys, i + offset, is beyond queries + keys.
  const int64_t unlimited = a->queries + a->keys + 1, left = params->window_left;
  // Keys begin to be out of reach one key behind the window, and one behind the diagonal.
  const int64_t right = params->window_right < 0 ? unlimited : heed__min(params->window_right, unlimited - 1) + 1;
  return (struct heed__cl_attention_reach){
      .queries = a->queries,
      .keys = a->keys,
      .columns = a->mask ? heed__min(a->mask->dims[3], a->keys) : a->keys,
      .offset = params->offset,
      .left = left < 0 ? unlimited : heed__min(left, unlimited),
      .right = params->causal == HEED_CAUSAL_TOP_LEFT ? heed__min(right, 1) : right,
      .corner = params->causal == HEED_CAUSAL_BOTTOM_RIGHT ? a->keys - a->queries + 1 : unlimited,
      .has_lengths = a->kv_lengths != NULL,
      .lengths_offset = a->kv_lengths ? a->kv_lengths->offset : 0};
}

struct heed__cl_attention_reach heed__cl_attention_everything(const struct heed__cl_attention *a) {
  const int64_t unlimited = a->queries + a->keys + 1;
  return (struct heed__cl_attention_reach){.queries = a->queries,
                                           .keys = a->keys,
                                           .columns = a->keys,
                                           .left = unlimited,
                                           .right = unlimited,
                                           .corner = unlimited};
}

struct heed__cl_attention_place heed__cl_attention_place(const heed_tensor *t) {
  if (!t) return (struct heed__cl_attention_place){0};
  return (struct heed__cl_attention_place){t->offset, t->strides[0], t->strides[1], t->strides[2]};
}

struct heed__cl_attention_numbers heed__cl_attention_numbers(const struct heed__cl_attention *a) {
  const struct heed__attention_params *params = a->params;
  return (struct heed__cl_attention_numbers){
      .q = heed__cl_attention_place(a->q),
      .k = heed__cl_attention_place(a->k),
      .v = heed__cl_attention_place(a->v),
      .out = heed__cl_attention_place(a->out),
      .dout = heed__cl_attention_place(a->dout),
      .dq = heed__cl_attention_place(a->dq),
      .dk = heed__cl_attention_place(a->dk),
      .dv = heed__cl_attention_place(a->dv),
      .mask = heed__cl_attention_place(a->mask),
      .mask_stride3 = a->mask ? a->mask->strides[3] : 0,
      .lse_offset = a->lse ? a->lse->offset : 0,
      .wants = (a->lse ? WANTS_LSE : 0) | (a->dq ? WANTS_DQ : 0) | (a->dk ? WANTS_DK : 0) | (a->dv ? WANTS_DV : 0),
      .reach = heed__cl_attention_reach(a),
      .heads = a->heads,
      .kv_heads = a->kv_heads,
      .group = a->group,
      .all_rows = a->batch * a->heads * a->queries,
      .splits = 1,
      .scale = (cl_float)params->scale,
      .softcap = (cl_float)params->softcap,
      .dropout_scale = (cl_float)params->dropout_scale,
      .dropout_threshold = params->dropout_threshold,
      .seed_low = (cl_uint)params->seed,
      .seed_high = (cl_uint)(params->seed >> 32)};
}

// Kernels take lengths for I32 unless they are told: such lengths, or none, are one program.
void heed__cl_attention_define_lengths(struct heed__cl_kernel *k, const struct heed__cl_attention *a) {
  if (a->kv_lengths && a->kv_lengths->dtype != HEED_I32) heed__cl_define_dtype(k, "LENGTH_DTYPE", a->kv_lengths->dtype);
}

void heed__cl_attention_pass_call(struct heed__cl_kernel *k, const struct heed__cl_attention *a,
                                  const struct heed__cl_attention_numbers *numbers) {
  heed__cl_struct(k, numbers, sizeof *numbers, HEED__CALL_LONGS);
  heed__cl_memory(k, a->kv_lengths);
  heed__cl_memory(k, a->mask);
}
