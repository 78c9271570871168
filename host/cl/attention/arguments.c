// What the fused kernels for GPUs are given alike: options of a call, tensors, which keys rows attend, and how scores are made.
#include "cl/attention/fused_gpu.h"

void heed__cl_attention_define(struct heed__cl_kernel *k, const struct heed__cl_attention *a) {
  heed__cl_define_dtype(k, "X_DTYPE", a->q->dtype);
  heed__cl_define_int(k, "SOFTCAP", a->params->softcap > 0);
  heed__cl_define_int(k, "DROPOUT", a->params->has_dropout);
  heed__cl_define_int(k, "HAS_LENGTHS", a->kv_lengths != NULL);
  if (a->kv_lengths) heed__cl_define_dtype(k, "LENGTH_DTYPE", a->kv_lengths->dtype);
  heed__cl_define_int(k, "HAS_MASK", a->mask != NULL);
  if (!a->mask) return;
  heed__cl_define_dtype(k, "MASK_DTYPE", a->mask->dtype);
  heed__cl_define_int(k, "MASK_IS_BOOL", a->mask->dtype == HEED_BOOL);
}

void heed__cl_attention_pass_tensor(struct heed__cl_kernel *k, const heed_tensor *t) {
  heed__cl_tensor(k, t);
  heed__cl_strides(k, t, 3);
}

// MASK_ARGUMENTS and REACH_ARGUMENTS of the kernels.
void heed__cl_attention_pass_bounds(struct heed__cl_kernel *k, const struct heed__cl_attention *a) {
  const struct heed__attention_params *params = a->params;
  const int64_t unbounded = a->queries + a->keys + 1;
  const int64_t window_right = params->window_right < 0 ? unbounded : heed__min(params->window_right + 1, unbounded);
  heed__cl_tensor(k, a->mask);
  heed__cl_strides(k, a->mask, 4);
  heed__cl_tensor(k, a->kv_lengths);
  heed__cl_long(k, a->queries);
  heed__cl_long(k, a->keys);
  heed__cl_long(k, a->mask ? heed__min(a->mask->dims[3], a->keys) : a->keys);
  heed__cl_long(k, params->offset);
  heed__cl_long(k, params->window_left < 0 ? unbounded : heed__min(params->window_left, unbounded));
  heed__cl_long(k, params->causal == HEED_CAUSAL_TOP_LEFT ? heed__min(window_right, 1) : window_right);
  heed__cl_long(k, params->causal == HEED_CAUSAL_BOTTOM_RIGHT ? a->keys - a->queries + 1 : unbounded);
}

void heed__cl_attention_pass_scoring(struct heed__cl_kernel *k, const struct heed__attention_params *params) {
  heed__cl_float(k, params->scale);
  heed__cl_float(k, params->softcap);
  heed__cl_uint(k, (uint32_t)params->seed);
  heed__cl_uint(k, (uint32_t)(params->seed >> 32));
  heed__cl_uint(k, params->dropout_threshold);
  heed__cl_float(k, params->dropout_scale);
}
