// Attention on OpenCL: what one call asks for, and the ways to do it. A way (variant) is a file of its own that fills a
// struct here; attention.c holds the list and picks.
#ifndef HEED__CL_ATTENTION_H
#define HEED__CL_ATTENTION_H

#include "cl/runtime/runtime.h"
#include "cl/tuning/tuning.h"

// One call with its tensors by name; see operators.h. Forward: out, lse?, weights?. Backward: dout, dq?, dk?, dv?, dmask?.
struct heed__cl_attention {
  const struct heed__attention_params *params;
  bool backward;
  const struct heed__cl_tuning_choice *choice;  // tuned, and of the variant that does the call; NULL: its own values
  const heed_tensor *q, *k, *v, *mask, *kv_lengths;
  const heed_tensor *out, *lse;  // results of the forward, inputs of the backward
  const heed_tensor *weights;
  const heed_tensor *dout, *dq, *dk, *dv, *dmask;
  int64_t batch, heads, kv_heads, queries, keys, dim, value_dim;
  int64_t group;  // query heads to a key head
};

struct heed__cl_attention_variant {
  const char *name;                       // for people
  struct heed__cl_tuning_variant tuning;  // its key, and what a choice can say
  heed_attention_path path;               // STAGED or FUSED, for callers that ask for one
  bool (*supports)(const struct heed__cl_traits *traits, const struct heed__cl_attention *a);
  heed_status (*fwd)(heed_context *ctx, const struct heed__cl_attention *a);
  heed_status (*bwd)(heed_context *ctx, const struct heed__cl_attention *a);
  // Adds choices one step away from `choice`, which is of this variant. NULL: it has no values to tune.
  void (*neighbours)(heed_context *ctx, const struct heed__cl_attention *a, const struct heed__cl_tuning_choice *choice,
                     struct heed__cl_tuning_choices *out);
};

// A value of the call's choice; 0: choose by yourself.
static inline int64_t heed__cl_attention_value(const struct heed__cl_attention *a, enum heed__cl_tuning_tunable what) {
  return a->choice ? a->choice->values[what] : 0;
}

extern const struct heed__cl_attention_variant heed__cl_attention_fused_tensor;
extern const struct heed__cl_attention_variant heed__cl_attention_fused_gpu;
extern const struct heed__cl_attention_variant heed__cl_attention_staged;
extern const struct heed__cl_attention_variant heed__cl_attention_fused_cpu;

// attention.c. The variant that does the call, NULL: none can. A tuned choice of this variant travels with the call from here on.
const struct heed__cl_attention_variant *heed__cl_attention_pick(const heed_context *ctx, struct heed__cl_attention *a);

#endif
