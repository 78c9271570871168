// Modules made of heed's operators: multi-head attention, multi-layer perceptron, SGD. They hold parameters and
// gradients by name, as PyTorch's state dicts do, and add nothing that a caller of heed.h could not do.
#ifndef HEED_NN_H
#define HEED_NN_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// One trainable tensor of a module. Both tensors belong to the module. A module's values lie one after another in memory, in the
// order of its list, and so do its gradients: heed_tensor_join() makes one tensor of them.
typedef struct heed_parameter {
  const char *name;  // "l1.weight"
  heed_tensor *value;
  heed_tensor *grad;  // written by the module's backward, overwritten each time
} heed_parameter;

// ---------------------------------------------------------------- multi-head attention

// out = (concat_h attention(query Wqᵀ + bq, key Wkᵀ + bk, value Wvᵀ + bv)_h) Woᵀ + bo
// (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2). Zero fields take the default.
typedef struct heed_mha_config {
  int64_t embed_dim;                 // width of query
  int64_t key_dim, value_dim;        // width of key and value; default embed_dim
  int64_t heads;                     // query heads
  int64_t kv_heads;                  // default heads
  int64_t head_dim, value_head_dim;  // default embed_dim / heads; head_dim
  int64_t out_dim;                   // default embed_dim
  bool no_bias_q, no_bias_k, no_bias_v, no_bias_o;
  heed_dtype dtype;
} heed_mha_config;

typedef struct heed_mha heed_mha;
// Parameters {q,k,v,o}_proj.weight [out features, in features] and .bias, initialised uniformly in ±√(6/(in + out)) (Glorot
// and Bengio 2010) from seed; biases 0. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_mha_create(heed_context *ctx, const heed_mha_config *config, uint64_t seed,
                                                     heed_mha **out);
HEED_API void heed_mha_destroy(heed_mha *mha);
HEED_API size_t heed_mha_parameters(const heed_mha *mha, const heed_parameter **parameters);

// query: [B, Lq, embed_dim]; key: [B, Lk, key_dim] or NULL for query; value: [B, Lk, value_dim] or NULL for key; mask and
// kv_lengths as in heed_attention_inputs, or NULL; options NULL: none. out: [B, Lq, out_dim]; weights: [B, heads, Lq, Lk] or NULL.
// Keeps what the backward needs (inputs are borrowed until then) when `train`. options.dropout acts with and without it.
// Memory is kept: a call with the shapes of the last one allocates nothing. Errors: SHAPE, and those of the operators.
HEED_API HEED_MUST_CHECK heed_status heed_mha_fwd(heed_mha *mha, const heed_tensor *query, const heed_tensor *key,
                                                  const heed_tensor *value, const heed_tensor *mask,
                                                  const heed_tensor *kv_lengths, const heed_attention_options *options,
                                                  bool train, heed_tensor *out, heed_tensor *weights);
// Gradients of every parameter, and of the inputs whose pointers are given (each may be NULL). Where key or value was
// NULL in the forward its gradient is summed into the tensor that stood in for it, and its pointer must be NULL.
// dmask: gradient of a float mask or NULL. Once for each forward.
// Errors: INVALID_ARGUMENT without a forward with `train` before it, or for a pointer that must be NULL; SHAPE.
HEED_API HEED_MUST_CHECK heed_status heed_mha_bwd(heed_mha *mha, const heed_tensor *dout, heed_tensor *dquery,
                                                  heed_tensor *dkey, heed_tensor *dvalue, heed_tensor *dmask,
                                                  bool accumulate);

// ---------------------------------------------------------------- multi-layer perceptron

// x → linear → relu → … → linear: sizes[0] inputs, sizes[count − 1] classes. Parameters l1.weight [out, in], l1.bias, l2.…
typedef struct heed_mlp heed_mlp;
// Initialised as PyTorch's Linear: weight and bias uniform in ±1/√in, from seed. count >= 2.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_create(heed_context *ctx, const int64_t *sizes, size_t count,
                                                     heed_dtype dtype, uint64_t seed, heed_mlp **out);
HEED_API void heed_mlp_destroy(heed_mlp *mlp);
HEED_API size_t heed_mlp_parameters(const heed_mlp *mlp, const heed_parameter **parameters);
// logits: [N, classes] for x: [N, sizes[0]]. Keeps activations for the backward (x is borrowed until then). Memory is
// kept too: a call allocates nothing unless N is the largest so far. Errors: SHAPE, and those of the operators.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_fwd(heed_mlp *mlp, const heed_tensor *x, heed_tensor *logits);
// Gradients of every parameter from dlogits; dx: gradient of x, or NULL. Once for each forward: INVALID_ARGUMENT without one.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_bwd(heed_mlp *mlp, const heed_tensor *dlogits, heed_tensor *dx,
                                                  bool accumulate);
// One forward, loss, backward: mean cross-entropy of class indices target [N] into loss (F32 [1]); gradients are left in
// the parameters. logits: [N, classes] or NULL when the caller does not want them. Queues work only; no waiting.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_loss(heed_mlp *mlp, const heed_tensor *x, const heed_tensor *target,
                                                   heed_tensor *logits, heed_tensor *loss, bool accumulate);

// ---------------------------------------------------------------- SGD

// Steps a module's parameters with heed_sgd(). Keeps one momentum buffer a parameter, when momentum is not 0. Parameters of the
// list that follow one another in memory, as those of one module do, are stepped in one launch, to the same bits.
typedef struct heed_optimizer heed_optimizer;
// The parameters must outlive the optimizer. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, SHAPE for a gradient of another shape than
// its value and for parameters that are not contiguous.
HEED_API HEED_MUST_CHECK heed_status heed_optimizer_create(heed_context *ctx, const heed_parameter *parameters,
                                                           size_t count, const heed_sgd_options *options,
                                                           heed_optimizer **out);
HEED_API void heed_optimizer_destroy(heed_optimizer *optimizer);
HEED_API HEED_MUST_CHECK heed_status heed_optimizer_step(heed_optimizer *optimizer);
// The momentum buffer of parameter `index` for saving and restoring; NULL when momentum is 0.
HEED_API heed_tensor *heed_optimizer_momentum(const heed_optimizer *optimizer, size_t index);
// Steps taken; setting it to 0 makes the next step the first one (no momentum history), as options.first does.
HEED_API int64_t heed_optimizer_steps(const heed_optimizer *optimizer);
HEED_API void heed_optimizer_set_steps(heed_optimizer *optimizer, int64_t steps);

#ifdef __cplusplus
}
#endif
#endif
