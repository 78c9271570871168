// Modules made of heed's operators: multi-head attention, multi-layer perceptron, transformers of tokens and of images, and an optimizer
// that steps their parameters.
// A module holds parameters and gradients under names, as PyTorch's state dicts do. It does nothing that a caller of heed.h could
// not do.
//
// Conventions of modules, beside those of heed.h:
//   Names            A module puts its `prefix` before the names of its parameters, so that several modules fit in one file and in
//                    one list. The module copies the prefix.
//   Forward          With `train`, a forward keeps what its backward needs, and borrows its inputs until then. Each backward
//                    uses up one forward.
//   Memory           A module keeps its memory from call to call: a call with the shapes of the last one allocates nothing.
//   Aliasing         An output of a module may not overlap its inputs, its parameters or another output. A gradient may also not
//                    overlap what the backward reads. Such calls are refused with INVALID_ARGUMENT.
//   Accumulation     As in heed.h: `accumulate` adds to the gradients of parameters; gradients of inputs are overwritten.
#ifndef HEED_NN_H
#define HEED_NN_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// One trainable tensor of a module. The module owns the name and both tensors. In memory the values of a module lie one after
// another, in the order of its list, and so do its gradients: heed_tensor_join() makes one tensor of them.
typedef struct heed_parameter {
  const char *name;  // "l1.weight"
  heed_tensor *value;
  heed_tensor *grad;  // written by the module's backward; NULL: the module is frozen
} heed_parameter;

// Appends the parameters of a module to a list of the caller's, for one optimizer over several modules. Start with *list NULL and
// *count 0, and free() the list. The tensors still belong to the modules.
// Errors: INVALID_ARGUMENT when a name is already in the list; OUT_OF_MEMORY. The list stays as it was.
HEED_API HEED_MUST_CHECK heed_status heed_parameters_append(heed_parameter **list, size_t *count,
                                                            const heed_parameter *more, size_t more_count);

// ---------------------------------------------------------------- multi-head attention

// out = (concat_h attention(query Wqᵀ + bq, key Wkᵀ + bk, value Wvᵀ + bv)_h) Woᵀ + bo
// (Vaswani et al. 2017, arXiv 1706.03762, section 3.2.2). A zero field takes its default.
typedef struct heed_mha_config {
  int64_t embed_dim;                 // width of query
  int64_t key_dim, value_dim;        // width of key and of value; default: embed_dim
  int64_t heads;                     // query heads
  int64_t kv_heads;                  // default: heads
  int64_t head_dim, value_head_dim;  // default: embed_dim / heads; head_dim
  int64_t out_dim;                   // default: embed_dim
  bool no_bias_q, no_bias_k, no_bias_v, no_bias_o;
  heed_dtype dtype;
  const char *prefix;  // "blocks.0.attention."; NULL: none
} heed_mha_config;

typedef struct heed_mha heed_mha;
// Makes the parameters {q,k,v,o}_proj.weight [out features, in features] and {q,k,v,o}_proj.bias. Weights are drawn from seed,
// uniformly in ±√(6/(in + out)) (Glorot and Bengio 2010); biases are 0. Errors: INVALID_ARGUMENT, DTYPE, OVERFLOW, OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_mha_create(heed_context *ctx, const heed_mha_config *config, uint64_t seed,
                                                     heed_mha **out);
HEED_API void heed_mha_destroy(heed_mha *mha);
// Returns how many parameters there are, and points *parameters to the list, which lives as long as the module.
HEED_API size_t heed_mha_parameters(const heed_mha *mha, const heed_parameter **parameters);

typedef struct heed_mha_inputs {
  const heed_tensor *query;       // [B, Lq, embed_dim]
  const heed_tensor *key;         // [B, Lk, key_dim]; NULL: query
  const heed_tensor *value;       // [B, Lk, value_dim]; NULL: key
  const heed_tensor *mask;        // as in heed_attention_inputs; NULL: none
  const heed_tensor *kv_lengths;  // as in heed_attention_inputs; NULL: none
} heed_mha_inputs;

// out: [B, Lq, out_dim]. weights: [B, heads, Lq, Lk], of the step that options.weights names, or NULL. options NULL: none;
// options.dropout acts with and without `train`.
// Errors: SHAPE, and those of the operators.
HEED_API HEED_MUST_CHECK heed_status heed_mha_fwd(heed_mha *mha, const heed_mha_inputs *inputs,
                                                  const heed_attention_options *options, bool train, heed_tensor *out,
                                                  heed_tensor *weights);
// Computes the gradients of every parameter, and of those inputs whose pointers are given; dmask is the gradient of a float mask.
// When the forward had no key (or no value), query (or key) stood in for it: the gradient is then summed into that tensor's, and
// dkey (or dvalue) must be NULL.
// Errors: INVALID_ARGUMENT without a forward with `train` before it, or for a pointer that must be NULL; SHAPE.
HEED_API HEED_MUST_CHECK heed_status heed_mha_bwd(heed_mha *mha, const heed_tensor *dout, heed_tensor *dquery,
                                                  heed_tensor *dkey, heed_tensor *dvalue, heed_tensor *dmask,
                                                  bool accumulate);

// ---------------------------------------------------------------- multi-layer perceptron

// x → linear → relu → … → linear.
typedef struct heed_mlp_config {
  const int64_t *sizes;  // sizes[0] inputs, the hidden layers' units, sizes[count − 1] classes; copied
  size_t count;          // at least 2
  heed_dtype dtype;
  const char *prefix;  // NULL: none
} heed_mlp_config;

typedef struct heed_mlp heed_mlp;
// Makes the parameters l1.weight [out, in], l1.bias, l2.weight, … with the initial values of PyTorch's Linear: weight and bias are drawn
// from seed, uniformly in ±1/√in. Errors: INVALID_ARGUMENT, DTYPE, OVERFLOW, OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_create(heed_context *ctx, const heed_mlp_config *config, uint64_t seed,
                                                     heed_mlp **out);
HEED_API void heed_mlp_destroy(heed_mlp *mlp);
HEED_API size_t heed_mlp_parameters(const heed_mlp *mlp, const heed_parameter **parameters);
// x: [N, sizes[0]]; logits: [N, classes]. A call allocates nothing unless N is the largest so far.
// Errors: SHAPE, and those of the operators.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_fwd(heed_mlp *mlp, const heed_tensor *x, bool train, heed_tensor *logits);
// Computes the gradients of every parameter from dlogits. dx: gradient of x, or NULL.
// Errors: INVALID_ARGUMENT without a forward with `train` before it; SHAPE.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_bwd(heed_mlp *mlp, const heed_tensor *dlogits, heed_tensor *dx,
                                                  bool accumulate);
// Forward, loss and backward in one call: writes the mean cross-entropy with the class indices target [N] (-100 is ignored) to loss
// (F32 [1]), and the gradients to the parameters. logits: [N, classes], or NULL if the caller does not want them; their gradient then takes
// their place. Queues work and does not wait.
HEED_API HEED_MUST_CHECK heed_status heed_mlp_loss(heed_mlp *mlp, const heed_tensor *x, const heed_tensor *target,
                                                   heed_tensor *logits, heed_tensor *loss, bool accumulate);

// ---------------------------------------------------------------- transformer

// A decoder-only language model, as `transformers` defines these architectures:
//   x = embedding[tokens]; GPT-2: + position embedding
//   each block: x = x + attention(norm₁(x)); x = x + mlp(norm₂(x))
//   logits = norm(x) headᵀ; the head is the embedding's weight if they are tied
// Attention is causal. GPT-2 (Radford et al. 2019): layer norms, learned positions, mlp = W₂ gelu_tanh(W₁ x), biases everywhere.
// Llama (Touvron et al. 2023, arXiv 2302.13971): rms norms, rotary positions (HEED_ROPE_HALF), mlp = W₃ (silu(W₁ x) ∘ W₂ x),
// grouped heads, no biases. Mistral (arXiv 2310.06825): Llama with a sliding window. Qwen2 (arXiv 2407.10671): Llama with biases
// on q, k and v.
typedef enum heed_architecture {
  HEED_ARCHITECTURE_GPT2,
  HEED_ARCHITECTURE_LLAMA,
  HEED_ARCHITECTURE_MISTRAL,
  HEED_ARCHITECTURE_QWEN2
} heed_architecture;
HEED_API const char *heed_architecture_string(heed_architecture architecture);  // "gpt2"; "" for no architecture

// A zero field takes its default.
typedef struct heed_transformer_config {
  heed_architecture architecture;
  int64_t layers, width, heads;
  int64_t vocab;     // token ids
  int64_t context;   // the longest text, in tokens
  int64_t kv_heads;  // default: heads, and GPT-2 has no other number
  int64_t head_dim;  // default: width / heads, and GPT-2 has no other
  int64_t
      ffn;  // hidden units of an mlp; default: 4 width (GPT-2), 8/3 width rounded up to a multiple of 32 (the others)
  int64_t window;     // Mistral: how many keys a query attends, itself included; default: all
  double norm_eps;    // default: 1e-5 (GPT-2), 1e-6 (the others)
  double rope_theta;  // default: 10,000
  int tied;  // 1: the head's weight is the embedding's; −1: it has its own; 0: 1 for GPT-2, −1 for the others
  double
      dropout;  // probability, in heed_transformer_loss() alone: of embeddings, attention weights and what is added to x
  heed_dtype dtype;  // of parameters, gradients and activations; for F16 and BF16 an optimizer keeps F32 masters
  bool recompute;    // keeps only each block's input for the backward, which computes the block again, to the same bits
  bool frozen;       // parameters have no gradients: for a model that only runs, in half the memory
  bool empty;        // values start as zeros, for a caller that loads them
} heed_transformer_config;

// What a model needs, in bytes of device memory.
typedef struct heed_transformer_memory {
  uint64_t parameters;
  uint64_t gradients;
  uint64_t activations;  // what forward and backward keep and what they compute with
  uint64_t cache;        // keys and values of a heed_kv_cache
  uint64_t
      scratch;  // on an OpenCL CPU, about: operands that products and attention pack, and partial sums; the host has none
} heed_transformer_memory;

typedef struct heed_transformer heed_transformer;
// Fills in the defaults. Errors: INVALID_ARGUMENT, DTYPE, OVERFLOW, with the field's name.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_complete(heed_transformer_config *config);
// Makes the model's parameters. Their names are those of a folder of `transformers`: transformer.h.0.attn.c_attn.weight,
// model.layers.0.self_attn.q_proj.weight, ... Weights are [out features, in features], GPT-2's too (its files hold them transposed).
// Initial values: normal of deviation 0.02, and 0.02/√(2 layers) for the projections back into x; norms 1, biases 0.
// Errors: those of heed_transformer_complete(); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_create(heed_context *ctx, const heed_transformer_config *config,
                                                             uint64_t seed, heed_transformer **out);
HEED_API void heed_transformer_destroy(heed_transformer *transformer);
HEED_API size_t heed_transformer_parameters(const heed_transformer *transformer, const heed_parameter **parameters);
// The configuration with its defaults filled in; NULL for NULL.
HEED_API const heed_transformer_config *heed_transformer_configuration(const heed_transformer *transformer);
// tokens: I32, I64 or U8 [B, L], L <= context. logits: [B, L, vocab]. A token outside the vocabulary makes its text's logits NaN.
// Errors: SHAPE, DTYPE, OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_fwd(heed_transformer *transformer, const heed_tensor *tokens,
                                                          heed_tensor *logits);

typedef struct heed_transformer_loss_options {
  bool accumulate;           // adds to the gradients, as told in heed.h
  double weight;             // factor on all gradients, for example 1/micro-batches; 0: 1
  uint64_t seed;             // of the dropout: with the same seed, the same is dropped
  const heed_tensor *scale;  // F32 [1] on the device, another factor on all gradients (loss scaling); NULL: 1
  // Called when the work that makes the gradients of parameters [first, first + count) final is queued: once for each, the last block first.
  // It may queue work on these gradients; an error ends the call. NULL: nobody is told.
  heed_status (*final)(size_t first, size_t count, void *user);
  void *user;
} heed_transformer_loss_options;
// Forward, loss and backward: writes the mean cross-entropy of the logits with targets (class indices [B, L]; −100 is not
// counted) to loss (F32 [1]), and the gradients to the parameters. logits: [B, L, vocab], or NULL if the caller does not want them;
// then no more than a part of them is in memory at a time. options NULL: zeros. Queues work, and does not wait. A call with the
// shapes of the last one allocates no device memory. Errors: SHAPE, DTYPE, OUT_OF_MEMORY; INVALID_ARGUMENT for a frozen transformer.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_loss(heed_transformer *transformer, const heed_tensor *tokens,
                                                           const heed_tensor *targets,
                                                           const heed_transformer_loss_options *options,
                                                           heed_tensor *logits, heed_tensor *loss);
// Forward and loss alone, without dropout, for validation: writes the mean cross-entropy to loss (F32 [1]) and leaves gradients alone.
// No more than a part of the logits is in memory at a time. Errors: SHAPE, DTYPE, OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_evaluate(heed_transformer *transformer, const heed_tensor *tokens,
                                                               const heed_tensor *targets, heed_tensor *loss);
// The attention weights of layers in a forward without dropout, which is that of heed_transformer_fwd(), to the same bits:
//   weights[layer] = softmax(q kᵀ/√head_dim + mask), [B, heads, L, L], of the model's dtype
// for the layer's queries and keys, rotated where the architecture does. The mask leaves each query its own position and those before it,
// and with a window the last `window` of them; the others weigh 0. A query head has the keys of its group.
// weights: a tensor for each layer, or NULL where the caller does not want them. Queues work, and does not wait. A token outside the
// vocabulary makes the weights of those who attend it NaN. Errors: SHAPE, DTYPE, OUT_OF_MEMORY; INVALID_ARGUMENT when no layer is wanted
// or tensors overlap.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_attention(heed_transformer *transformer,
                                                                const heed_tensor *tokens, heed_tensor *const *weights);
// Reckons what a model of this configuration needs to train on [batch, length] tokens; batch 0: to run only. cache: texts × tokens
// of a heed_kv_cache. Errors: those of heed_transformer_complete().
HEED_API HEED_MUST_CHECK heed_status heed_transformer_reckon(const heed_transformer_config *config, int64_t batch,
                                                             int64_t length, int64_t cache,
                                                             heed_transformer_memory *memory);

// Keys and values of `batch` texts of up to `capacity` tokens, kept between calls of heed_transformer_decode(). Cache and transformer may be
// destroyed in either order.
typedef struct heed_kv_cache heed_kv_cache;
HEED_API HEED_MUST_CHECK heed_status heed_kv_cache_create(heed_transformer *transformer, int64_t batch,
                                                          int64_t capacity, heed_kv_cache **out);
HEED_API void heed_kv_cache_destroy(heed_kv_cache *cache);
HEED_API int64_t heed_kv_cache_length(const heed_kv_cache *cache);
// Forgets the tokens from `length` on. Errors: INVALID_ARGUMENT when there are not so many.
HEED_API HEED_MUST_CHECK heed_status heed_kv_cache_truncate(heed_kv_cache *cache, int64_t length);
// Appends tokens [B, L] to the texts of the cache, in place, and gives the logits of the last one. logits: [B, vocab].
// Errors: SHAPE, INVALID_ARGUMENT when the cache has no room or belongs to another model.
HEED_API HEED_MUST_CHECK heed_status heed_transformer_decode(heed_transformer *transformer, heed_kv_cache *cache,
                                                             const heed_tensor *tokens, heed_tensor *logits);

// ---------------------------------------------------------------- vision transformer

// A transformer over the patches of an image, as a classifier (Dosovitskiy et al. 2020, arXiv 2010.11929), with GPT-2's blocks and
// positions that are learned:
//   x = patches Wᵀ + b + positions, patches in the order of rows
//   each block: x = x + attention(norm₁(x)); x = x + mlp(norm₂(x)); every patch attends all of its image
//   logits = mean over the patches of norm(x), times headᵀ, plus its bias
// A zero field takes its default.
typedef struct heed_vit_config {
  int64_t rows, cols;  // of an image
  int64_t patch;       // side of a patch, in pixels: it divides rows and cols
  int64_t classes;
  int64_t layers, width, heads;
  int64_t ffn;      // hidden units of an mlp; default: 4 width
  double norm_eps;  // default: 1e-5
  double
      dropout;  // probability, in a forward with `train` alone: of embeddings, attention weights and what is added to x
  heed_dtype dtype;
  const char *prefix;  // NULL: none
} heed_vit_config;

typedef struct heed_vit heed_vit;
// Makes the parameters patch.weight [width, patch²], patch.bias, positions [patches, width], head.weight, head.bias and, under the names of
// torch.nn.TransformerEncoder, encoder.layers.0.self_attn.in_proj_weight, ... and encoder.norm.weight. Initial values: matrices
// normal of deviation 1/√in, and 1/√(2 in layers) for the projections back into x; norms 1, biases 0. Errors: INVALID_ARGUMENT, DTYPE, OVERFLOW, with the field's name; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_vit_create(heed_context *ctx, const heed_vit_config *config, uint64_t seed,
                                                     heed_vit **out);
HEED_API void heed_vit_destroy(heed_vit *vit);
HEED_API size_t heed_vit_parameters(const heed_vit *vit, const heed_parameter **parameters);
// The configuration with its defaults filled in, without the prefix; NULL for NULL.
HEED_API const heed_vit_config *heed_vit_configuration(const heed_vit *vit);
// images: [N, rows · cols]; logits: [N, classes]. seed: of the dropout, with `train`: with the same seed, the same is dropped. A call
// allocates nothing unless N is the largest so far. Errors: SHAPE, DTYPE, and those of the operators.
HEED_API HEED_MUST_CHECK heed_status heed_vit_fwd(heed_vit *vit, const heed_tensor *images, bool train, uint64_t seed,
                                                  heed_tensor *logits);
// Computes the gradients of every parameter from dlogits. Errors: INVALID_ARGUMENT if the call before was no forward with `train`; SHAPE.
HEED_API HEED_MUST_CHECK heed_status heed_vit_bwd(heed_vit *vit, const heed_tensor *dlogits, bool accumulate);
// Forward, loss and backward in one call, as heed_mlp_loss() does them. Queues work and does not wait.
HEED_API HEED_MUST_CHECK heed_status heed_vit_loss(heed_vit *vit, const heed_tensor *images, const heed_tensor *target,
                                                   uint64_t seed, heed_tensor *logits, heed_tensor *loss,
                                                   bool accumulate);

// ---------------------------------------------------------------- optimizer

typedef enum heed_optimizer_kind {
  HEED_OPTIMIZER_SGD = 0,   // heed_sgd()
  HEED_OPTIMIZER_ADAMW = 1  // heed_adamw()
} heed_optimizer_kind;

// Zero-initialise it, and set the options of the kind.
typedef struct heed_optimizer_config {
  heed_optimizer_kind kind;
  heed_sgd_options sgd;      // `first` is not read: the optimizer knows its first step
  heed_adamw_options adamw;  // `step` is not read
  bool decay_matrices;       // AdamW: only parameters of rank 2 and more decay; else all do
  double max_norm;           // clips the gradients of all parameters together; 0: no clipping
  double loss_scale;         // AdamW: the first loss scale, for gradients in F16; 0: the loss is not scaled
  heed_grad_control_options loss_scaling;  // how it changes; max_norm is not read
  const heed_tensor *
      squares;  // F32 [1], the sum of squares by which a step judges (AdamW) and clips, for an optimizer of a part of the
  // gradients, or of sums in a tree; the caller writes it before each step, and it outlives the optimizer.
  // NULL: the optimizer sums
} heed_optimizer_config;

// Steps parameters. An optimizer keeps what its kind remembers of each parameter. SGD keeps a momentum buffer, unless momentum is 0. AdamW
// keeps two moments in F32, and for parameters in F16 or BF16 masters in F32, which begin as copies of the values; values are then the
// masters rounded. Parameters that follow one another both in the list and in memory, as those of one module do, are stepped in one
// launch, with the same bits.
//
// AdamW takes the norm of all gradients before each step; a step whose norm is not finite changes neither parameters nor moments. SGD with
// max_norm scales the gradients in place, as heed_clip_grad_norm() does, and skips no step: a norm that is not finite makes them NaN.
typedef struct heed_optimizer heed_optimizer;
// The optimizer copies the list; the tensors must outlive it, and all of them must be on one context.
// Errors: INVALID_ARGUMENT (options, a second context), OUT_OF_MEMORY, SHAPE when a gradient has another shape than its value or a
// parameter is not contiguous.
HEED_API HEED_MUST_CHECK heed_status heed_optimizer_create(const heed_parameter *parameters, size_t count,
                                                           const heed_optimizer_config *config, heed_optimizer **out);
HEED_API void heed_optimizer_destroy(heed_optimizer *optimizer);
// Updates every parameter from its gradient. Queues work, does not wait, and reads nothing back.
HEED_API HEED_MUST_CHECK heed_status heed_optimizer_step(heed_optimizer *optimizer);
// The learning rate of the steps to come. Changing it keeps what the optimizer remembers.
HEED_API double heed_optimizer_learning_rate(const heed_optimizer *optimizer);
HEED_API HEED_MUST_CHECK heed_status heed_optimizer_set_learning_rate(heed_optimizer *optimizer, double learning_rate);
// What the optimizer remembers of parameter `index`, to be saved and restored; NULL if its kind has nothing of this name. SGD with
// momentum has "momentum_buffer"; AdamW "exp_avg" and "exp_avg_sq", and "master" of parameters in F16 or BF16. The tensor belongs to the
// optimizer. If you change a value that has a master, change the master, too.
HEED_API heed_tensor *heed_optimizer_state(const heed_optimizer *optimizer, const char *name, size_t index);
// Steps taken so far, skipped ones too. Setting it to 0 makes the next step the first one, which reads no momentum and no moments.
HEED_API int64_t heed_optimizer_steps(const heed_optimizer *optimizer);
// AdamW: `steps` is the number of steps that were applied, the first element of heed_optimizer_counts().
HEED_API void heed_optimizer_set_steps(heed_optimizer *optimizer, int64_t steps);

// AdamW: brings back the counts that heed_optimizer_counts() had, for a run that goes on. The moments must be restored, too.
HEED_API HEED_MUST_CHECK heed_status heed_optimizer_set_counts(heed_optimizer *optimizer, const int32_t counts[4]);

// What the last step left on the device, to be read when it suits, as by heed_read_start(). The tensors belong to the optimizer; NULL where
// it has none.
// norm: F32 [1], of all gradients, before clipping and without the loss scale. AdamW, or SGD with max_norm.
HEED_API const heed_tensor *heed_optimizer_norm(const heed_optimizer *optimizer);
// counts: I32 [4], AdamW: steps applied; steps tried; the first tried step whose norm was not finite, from 1 (0: none); finite steps in a
// row since the loss scale last changed. Written by a step.
HEED_API const heed_tensor *heed_optimizer_counts(const heed_optimizer *optimizer);
// The loss scale of the next step: F32 [1], AdamW with config.loss_scale. The gradients of a step must be those of loss_scale · loss: hand
// it to a loss's backward as dloss.
HEED_API heed_tensor *heed_optimizer_loss_scale(const heed_optimizer *optimizer);

// ---------------------------------------------------------------- sums over micro-batches

// Sums the gradients of a step's M micro-batches in a tree that M alone defines: M = 2^k m with m odd; a leaf is a run of m micro-batches,
// summed in order by the backward (`accumulate`); above the leaves, neighbours are added two by two. A process that has 2^j neighbouring
// leaves sums their branch, so processes that share the micro-batches, and meet as their branches do, get the bits of one that has them all.
// It takes memory for j sums beside the gradients themselves.
typedef struct heed_grad_tree heed_grad_tree;
// For the parameters of one module. own: how many of the micro-batches are summed here; M: all.
// Errors: INVALID_ARGUMENT when they are no whole branch; SHAPE when the gradients do not lie one after another; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_grad_tree_create(const heed_parameter *parameters, size_t count,
                                                           int64_t micro_batches, int64_t own, heed_grad_tree **out);
HEED_API void heed_grad_tree_destroy(heed_grad_tree *tree);
// Tells whether the next micro-batch's backward adds to the gradients.
HEED_API bool heed_grad_tree_accumulates(const heed_grad_tree *tree);
// After each micro-batch's backward. After the last of a step, the gradients are the sum of all; the next call begins another step.
HEED_API HEED_MUST_CHECK heed_status heed_grad_tree_add(heed_grad_tree *tree);
// The same after a step's last micro-batch, for elements [first, first + count) alone, whose gradients are final. The step ends when each
// element was part of a call.
HEED_API HEED_MUST_CHECK heed_status heed_grad_tree_add_part(heed_grad_tree *tree, int64_t first, int64_t count);
// The gradients of all parameters, [N]. The tensor belongs to the tree.
HEED_API heed_tensor *heed_grad_tree_grads(const heed_grad_tree *tree);
// The norm of the sum is taken by pieces, of which there are as many as leaves, 2^k: piece i of `count` elements begins at
// heed_grad_piece(count, pieces, i) and ends where the next begins; pieces may be empty.
HEED_API int64_t heed_grad_pieces(int64_t micro_batches);
HEED_API int64_t heed_grad_piece(int64_t count, int64_t pieces, int64_t piece);
// squares[i] = Σ g² of piece i, for `count` pieces from `first` on. squares: F32 [pieces]. Their sum, by heed_reduce_sum(), is for
// heed_optimizer_config.squares.
HEED_API HEED_MUST_CHECK heed_status heed_grad_tree_squares(const heed_grad_tree *tree, int64_t first, int64_t count,
                                                            heed_tensor *squares);

// ---------------------------------------------------------------- learning rates

typedef enum heed_schedule_kind {
  HEED_SCHEDULE_CONSTANT = 0,
  HEED_SCHEDULE_LINEAR = 1,
  HEED_SCHEDULE_COSINE = 2,
  HEED_SCHEDULE_WSD = 3  // warmup, stable, decay
} heed_schedule_kind;
HEED_API const char *heed_schedule_string(heed_schedule_kind kind);  // "cosine"; "" for no schedule

// Zero-initialise it; a constant learning rate needs lr alone.
typedef struct heed_schedule {
  heed_schedule_kind kind;
  double lr, min_lr;  // the highest rate; the one after decay_steps
  int64_t warmup;     // steps in which the rate rises to lr, in equal parts
  int64_t decay_steps;
} heed_schedule;
// The learning rate of step s, from 0. While s < warmup: lr (s + 1)/warmup. Then, with d = decay_steps and u = (s − warmup)/(d − warmup):
//   constant: lr
//   linear:   min_lr + (1 − u) (lr − min_lr), then min_lr
//   cosine:   min_lr + ½ (1 + cos πu) (lr − min_lr), then min_lr (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts)
//   wsd:      lr, and over the last fifth of d steps min_lr + (1 − √((s − 0.8 d)/(0.2 d))) (lr − min_lr), then min_lr
//             (Hägele et al. 2024, arXiv 2405.18392)
HEED_API double heed_schedule_rate(const heed_schedule *schedule, int64_t step);

#ifdef __cplusplus
}
#endif
#endif
