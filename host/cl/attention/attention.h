// Attention on OpenCL: what one call asks for, and the ways to do it. A way (variant) is a file of its own that fills a
// struct here; attention.c holds the list and picks.
#ifndef HEED__CL_ATTENTION_H
#define HEED__CL_ATTENTION_H

#include "cl/attention/plan.h"
#include "cl/runtime/runtime.h"
#include "cl/tuning/tuning.h"

// One call with its tensors by name; see operators.h. Forward: out, lse?, weights?. Backward: dout, dq?, dk?, dv?, dmask?.
struct heed__cl_attention {
  const struct heed__attention_params *params;
  bool backward;
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
  // Decides how the call is done. False: it cannot be done this way. `choice`: tuned values of this variant; NULL: its own.
  bool (*plan)(const heed_context *ctx, const struct heed__cl_attention *a, const struct heed__cl_tuning_choice *choice,
               union heed__cl_attention_plan *plan);
  heed_status (*run)(heed_context *ctx, const struct heed__cl_attention *a, const union heed__cl_attention_plan *plan);
  // Adds choices one step away from `choice`, which is of this variant. NULL: it has no values to tune.
  void (*neighbours)(heed_context *ctx, const struct heed__cl_attention *a, const struct heed__cl_tuning_choice *choice,
                     struct heed__cl_tuning_choices *out);
};

// A value of a choice; 0: choose by yourself.
static inline int64_t heed__cl_attention_value(const struct heed__cl_tuning_choice *choice,
                                               enum heed__cl_tuning_tunable what) {
  return choice ? choice->values[what] : 0;
}

extern const struct heed__cl_attention_variant heed__cl_attention_fused_tensor;
extern const struct heed__cl_attention_variant heed__cl_attention_fused_gpu;
extern const struct heed__cl_attention_variant heed__cl_attention_staged;
extern const struct heed__cl_attention_variant heed__cl_attention_fused_cpu;

// attention.c. How a call is done: the tuned choice is looked up here, and what it means is in the plan from here on.
struct heed__cl_attention_way {
  const struct heed__cl_attention_variant *variant;  // NULL: none can do it
  union heed__cl_attention_plan plan;
};
struct heed__cl_attention_way heed__cl_attention_choose(const heed_context *ctx, const struct heed__cl_attention *a);

#endif
