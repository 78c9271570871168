// Attention, forward and backward. heed.h includes this header. The rules at the top of heed/operators.h hold here, too.
//
// out = softmax(softcap(scale · q kᵀ) + mask) v, per head; softcap(x) = c tanh(x/c).
// The ONNX operator Attention (opsets 23 to 25), with gradients. Memory-linear form: Dao 2023, arXiv 2307.08691.
#ifndef HEED_ATTENTION_H
#define HEED_ATTENTION_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum heed_causal { HEED_CAUSAL_NONE, HEED_CAUSAL_TOP_LEFT, HEED_CAUSAL_BOTTOM_RIGHT } heed_causal;
// AUTO: FUSED if it can do the call, else STAGED. STAGED: score, mask, softmax and output are kernels of their own, in O(Lq Lk)
// memory; only this path returns weights and the gradient of a float mask. FUSED: one pass over tiles, in O(L) memory.
typedef enum heed_attention_path { HEED_PATH_AUTO, HEED_PATH_STAGED, HEED_PATH_FUSED } heed_attention_path;

// What the forward writes to its tensor `weights`, by the steps of the equation. SOFTMAX: the weights as they are applied to v, after
// dropout. RAW: scale · q kᵀ. SOFTCAP: softcap of that. MASKED: the mask added to that, and −inf for each key that a row does not attend,
// whether by mask, causal, window or kv_lengths. RAW and SOFTCAP are there for all keys: what no row attends shows in them, even NaN.
typedef enum heed_attention_weights {
  HEED_WEIGHTS_SOFTMAX,
  HEED_WEIGHTS_RAW,
  HEED_WEIGHTS_SOFTCAP,
  HEED_WEIGHTS_MASKED
} heed_attention_weights;

typedef struct heed_attention_options {
  heed_causal causal;  // TOP_LEFT: key j <= i + offset. BOTTOM_RIGHT: j <= i + Lk − Lq
  bool has_scale;      // false: scale = 1/√D
  double scale;
  double softcap;   // c > 0; 0: none
  bool has_window;  // i + offset − left <= j <= i + offset + right; −1: unbounded
  int64_t window_left, window_right;
  double dropout;  // probability p in [0, 1) that a weight is dropped; the kept ones are scaled by 1/(1 − p)
  uint64_t seed;   // seed, batch, head, i and j decide what is dropped, alike on every device
  heed_attention_path path;
  heed_attention_weights weights;  // which weights the forward writes, if it is given a tensor for them
} heed_attention_options;

// offset is the position of query 0 among the keys: the length of past_k, if there is one; kv_lengths[b] − Lq, if there are
// kv_lengths; else 0.
typedef struct heed_attention_inputs {
  const heed_tensor *q;     // [B, Hq, Lq, D]
  const heed_tensor *k;     // [B, Hkv, Lk, D]; Hkv divides Hq: query head h reads head h / (Hq/Hkv)
  const heed_tensor *v;     // [B, Hkv, Lk, Dv]
  const heed_tensor *mask;  // or NULL. BOOL (true: attend) or float (added; −inf: not), rank 1 to 4, broadcast from the
      // right to [B, Hq, Lq, Lk]; if the last dimension is shorter than Lk (and not 1), no row attends the other keys
  const heed_tensor
      *kv_lengths;  // or NULL. I32 or I64 [B]: keys at or past the length are not attended. Not with past_k
  const heed_tensor
      *past_k;  // or NULL. [B, Hkv, Lp, D], put before k; then Lk counts both. Each call copies past and new keys
  // into one tensor. For a text that grows by tokens keep a cache of full length and give kv_lengths: that copies nothing
  const heed_tensor *past_v;  // with past_k: [B, Hkv, Lp, Dv]
} heed_attention_inputs;

// out: [B, Hq, Lq, Dv]. lse: F32 [B, Hq, Lq], the log of each row's Σ exp; or NULL. weights: [B, Hq, Lq, Lk], of the step that
// options.weights names, with STAGED or AUTO; or NULL. The last stride of q, k, v, past and out is 1, and their other strides are free:
// heed_tensor_permute() reads [B, L, H, D] storage in place.
// A row that attends nothing gives zeros in out and weights (MASKED: −inf), and lse = −inf. The contents of keys and values that a row does not attend
// never reach its result, not even NaN or Inf.
// Errors: SHAPE, DTYPE, INVALID_ARGUMENT, UNSUPPORTED (FUSED for a call that only STAGED can do), OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_attention_fwd(const heed_attention_inputs *inputs,
                                                        const heed_attention_options *options, heed_tensor *out,
                                                        heed_tensor *lse, heed_tensor *weights);

typedef struct heed_attention_grads {
  heed_tensor *dq, *dk, *dv;  // shapes of q, k, v; any may be NULL
  heed_tensor *dpast_k, *dpast_v;
  heed_tensor *dmask;  // shape of a float mask
} heed_attention_grads;

// Computes gradients from the forward's inputs, options, out and lse, and from dout = d loss/d out. The same call gives the same bits
// on the same device.
HEED_API HEED_MUST_CHECK heed_status heed_attention_bwd(const heed_attention_inputs *inputs,
                                                        const heed_attention_options *options, const heed_tensor *out,
                                                        const heed_tensor *lse, const heed_tensor *dout,
                                                        const heed_attention_grads *grads);

#ifdef __cplusplus
}
#endif
#endif
