// What the files of the transformer share: its parameters by their use, and the activations of one call. The vit computes with the same
// blocks: its encoder is a heed_transformer without embedding and head.
#ifndef HEED__TRANSFORMER_H
#define HEED__TRANSFORMER_H

#include "nn/module.h"

// ---------------------------------------------------------------- parameters

// A matrix or vector as operators use it: what they read and the gradient that they write. value NULL: the model has none.
struct heed__weight {
  heed_tensor *value, *grad;
};
struct heed__dense {
  struct heed__weight weight, bias;
};

// Each stands for one or more parameters of the list.
struct heed__block {
  struct heed__dense norm1, qkv, out, norm2;
  struct heed__dense up, down;  // GPT-2: c_fc and c_proj
  struct heed__dense gate;      // not GPT-2
};

// A list of parameters to be made, which grows by one a call. Whoever made it takes them in the same order.
struct heed__plan_list {
  struct heed__parameter_plan *plans;
  size_t count;
  int64_t layers;    // of the model
  double deviation;  // of matrices' initial values; 0: 1/√in, which fits narrow models too
};
enum heed__parameter_kind { HEED__NORM, HEED__BIAS, HEED__MATRIX, HEED__BACK };  // BACK: back into the residual stream
__attribute__((format(printf, 5, 6))) struct heed__parameter_plan *heed__plan_put(struct heed__plan_list *list,
                                                                                  enum heed__parameter_kind kind,
                                                                                  int64_t out, int64_t in,
                                                                                  const char *format, ...);
// The parameters of a block as GPT-2 has it: weight and bias of norm1, qkv, out, norm2, up and down, whose names begin with `at` and then
// these.
enum { HEED__BLOCK_PARTS = 6, HEED__BLOCK_PARAMETERS = 12 };
void heed__plan_gpt2_block(const heed_transformer_config *config, const char *at,
                           const char *const parts[HEED__BLOCK_PARTS], struct heed__plan_list *list);

// Goes through parameters in the order of the list.
struct heed__cursor {
  const heed_parameter *parameters;
  size_t next;
};
struct heed__weight heed__take(struct heed__cursor *cursor);
struct heed__dense heed__take_dense(struct heed__cursor *cursor, bool has_bias);
void heed__wire_gpt2_block(struct heed__cursor *cursor, struct heed__block *block);

// ---------------------------------------------------------------- activations

// X(name, what it is): N = B·L rows
#define HEED__BLOCK_ACTIVATIONS(X)                           \
  X(INPUT, "the block's input [N, width]")                   \
  X(H1, "norm1(x) [N, width]")                               \
  X(QKV, "queries, keys and values side by side [N, q+k+v]") \
  X(HEADS, "attention's output [N, heads·head_dim]")         \
  X(LSE, "its log of sums F32 [B, heads, L]")                \
  X(X2, "x + attention [N, width]")                          \
  X(H2, "norm2(x2) [N, width]")                              \
  X(UP, "GPT-2: before its gelu; others: W₂ h2 [N, ffn]")    \
  X(GATE, "not GPT-2: W₁ h2 [N, ffn]")                       \
  X(ACT, "what the last product reads [N, ffn]")
enum heed__block_activation {
#define HEED__ACTIVATION_ENUM(name, text) HEED__A_##name,
  HEED__BLOCK_ACTIVATIONS(HEED__ACTIVATION_ENUM)
#undef HEED__ACTIVATION_ENUM
      HEED__BLOCK_ACTIVATION_COUNT
};

// What all blocks share. D…: gradients.
#define HEED__SHARED_ACTIVATIONS(X)                                       \
  X(BRANCH, "what is added to x [N, width]")                              \
  X(LAST, "the last block's output [N, width]")                           \
  X(NORMED, "norm(last) [N, width]")                                      \
  X(LOGITS, "of a chunk of rows, then their gradient [rows, vocab]")      \
  X(LOSSES, "sums of the chunks F32 [chunks]")                            \
  X(SHARE, "F32 [1]: 1/rows that count")                                  \
  X(FACTOR, "F32 [1]: what gradients of row losses are multiplied by")    \
  X(DX, "of a block's output, then of its input [N, width]")              \
  X(DX2, "of x2 [N, width]")                                              \
  X(DH, "of h1 or h2 [N, width]")                                         \
  X(DSHARE, "not GPT-2: the part of dh that comes through up [N, width]") \
  X(DBRANCH, "with dropout: of branch [N, width]")                        \
  X(DQKV, "[N, q+k+v]")                                                   \
  X(DHEADS, "[N, heads·head_dim]")                                        \
  X(DUP, "[N, ffn]")                                                      \
  X(DGATE, "[N, ffn]")                                                    \
  X(DACT, "[N, ffn]")
enum heed__shared_activation {
#define HEED__ACTIVATION_ENUM(name, text) HEED__S_##name,
  HEED__SHARED_ACTIVATIONS(HEED__ACTIVATION_ENUM)
#undef HEED__ACTIVATION_ENUM
      HEED__SHARED_ACTIVATION_COUNT
};

// q, k, v and attention's output as [B, heads, L, head_dim], by strides alone.
struct heed__heads {
  heed_tensor *q, *k, *v, *out;
};
struct heed__block_tensors {
  struct heed__scratch tensor[HEED__BLOCK_ACTIVATION_COUNT];
  struct heed__heads heads;
};

// How a call goes over its tokens.
struct heed__pass {
  const heed_tensor *tokens;  // [B, L]; NULL: the caller has written the first block's input
  int64_t batch, length, rows;
  bool train;                                 // keeps what a backward needs
  bool drops;                                 // in training alone
  uint64_t seed;                              // of the dropout
  int64_t position;                           // of the first token
  heed_kv_cache *cache;                       // NULL: keys and values are those of the call alone
  bool is_full;                               // each token attends all others: attention is not causal
  const heed_transformer_loss_options *told;  // of a loss: whom it tells which gradients are final; NULL: nobody
  heed_tensor *const *weights;                // [layers] where attention weights go; NULL, or NULL for a layer: nowhere
};

struct heed_transformer {
  heed_context *ctx;
  heed_transformer_config config;  // complete
  heed_parameter *parameters;
  size_t count;
  heed_tensor **owned;  // views of parameters that blocks point to
  size_t owned_count;
  struct heed__block *blocks;
  struct heed__weight embedding, positions, head;
  struct heed__dense norm;
  heed_tensor *rope;  // F32 [context, head_dim]; NULL: GPT-2

  struct heed__scratch *inputs;        // [layers] each block's x, for training
  struct heed__block_tensors *kept;    // [layers], for training without recompute
  struct heed__block_tensors working;  // of the block being computed otherwise
  struct heed__scratch shared[HEED__SHARED_ACTIVATION_COUNT];
  struct heed__heads dheads;  // of DQKV and DHEADS
};

struct heed_kv_cache {
  heed_transformer *transformer;
  int64_t layers, batch, capacity, length;
  heed_tensor **keys, **values;  // [layers] of [B, kv_heads, capacity, head_dim]
  heed_tensor *lengths;          // I32 [B]
  struct heed__scratch last;     // NORMED of each text's last token [B, width]
};

// ---------------------------------------------------------------- sizes

// Sizes that follow from a complete configuration.
static inline int64_t heed__qkv_width(const heed_transformer_config *c) {
  return (c->heads + 2 * c->kv_heads) * c->head_dim;
}
static inline bool heed__is_gpt2(const heed_transformer_config *c) { return c->architecture == HEED_ARCHITECTURE_GPT2; }
// Whether there is a head that gives logits of tokens; an encoder has none, and its vocab is 0.
static inline bool heed__has_head(const heed_transformer_config *c) { return c->vocab > 0; }
// How many rows of logits are computed at a time: it depends on the problem alone, so that the bits do.
int64_t heed__logit_rows(const heed_transformer_config *config, int64_t rows);
// The dtype and shape of an activation in a pass over [batch, length] tokens; rank 0: the architecture or the pass has none.
struct heed__shape {
  heed_dtype dtype;
  int rank;
  int64_t dims[3];
};
struct heed__shape heed__block_shape(const heed_transformer_config *config, enum heed__block_activation which,
                                     int64_t batch, int64_t length, bool train);
struct heed__shape heed__shared_shape(const heed_transformer_config *config, enum heed__shared_activation which,
                                      int64_t batch, int64_t length, bool train);

// ---------------------------------------------------------------- passes

// heed_transformer_complete() of all but the vocabulary, which an encoder does not have.
heed_status heed__transformer_complete_blocks(heed_transformer_config *config);
// The list of parameters of a complete configuration, in the order of the files of `transformers`. *plans: to be freed.
heed_status heed__transformer_plan(const heed_transformer_config *config, struct heed__parameter_plan **plans,
                                   size_t *count);
// Makes room for a complete configuration's blocks and their activations; heed__transformer_layers_destroy() releases it, with the
// activations.
heed_status heed__transformer_layers_create(heed_transformer *t);
void heed__transformer_layers_destroy(heed_transformer *t);
// Points the blocks to the parameters.
heed_status heed__transformer_wire(heed_transformer *t);

// Gives the activations of a pass their shapes; allocates nothing if they are those of the last pass.
heed_status heed__transformer_shape(heed_transformer *t, const struct heed__pass *pass);
// Gives what a loss needs its shapes, in a pass that does not train.
heed_status heed__transformer_shape_loss(heed_transformer *t, const struct heed__pass *pass);
void heed__transformer_release(heed_transformer *t);
heed_status heed__transformer_check_tokens(const heed_transformer *t, const char *name, const heed_tensor *tokens);
struct heed__pass heed__pass_over(const heed_tensor *tokens);
// Fails unless targets and loss have the shapes that tokens [B, L] ask for; logits may be NULL.
heed_status heed__transformer_check_loss(const heed_transformer *t, const heed_tensor *tokens,
                                         const heed_tensor *targets, const heed_tensor *logits,
                                         const heed_tensor *loss);
// What a loss that leaves gradients needs more. logits: [N, vocab], kept for the caller; NULL: they are not kept.
struct heed__loss_gradients {
  const heed_transformer_loss_options *options;
  heed_tensor *logits;
};
// From NORMED: loss F32 [1] = the mean over the rows that count; targets [N]. With gradients: DH, the gradient of NORMED, and the head's.
heed_status heed__transformer_head_loss(heed_transformer *t, const struct heed__pass *pass, const heed_tensor *targets,
                                        const struct heed__loss_gradients *gradients, heed_tensor *loss);
// Computes up to NORMED.
heed_status heed__transformer_body(heed_transformer *t, const struct heed__pass *pass);
// Its backward: from DH, the gradient of NORMED, to DX, that of the first block's input.
heed_status heed__transformer_body_bwd(heed_transformer *t, const struct heed__pass *pass, bool accumulate);
// One block from its H1 on, up to BRANCH, which the next norm adds to X2.
heed_status heed__block_fwd(heed_transformer *t, const struct heed__pass *pass, int64_t layer,
                            struct heed__block_tensors *tensors, const heed_tensor *x);
// y = norm(x) by a layer norm or an rms norm.
heed_status heed__norm_fwd(const heed_transformer *t, const struct heed__dense *norm, const heed_tensor *x,
                           heed_tensor *y);
heed_status heed__drop(const struct heed__pass *pass, const heed_transformer *t, int64_t layer, int site,
                       heed_tensor *x);
// Points *out to the gradient of what was dropped: dy itself, unless there is dropout.
heed_status heed__undrop(heed_transformer *t, const struct heed__pass *pass, int64_t layer, int site,
                         const heed_tensor *dy, const heed_tensor **out);
enum { HEED__DROP_ATTENTION, HEED__DROP_FIRST, HEED__DROP_SECOND, HEED__DROP_EMBEDDING };
uint64_t heed__drop_seed(uint64_t seed, int64_t layer, int site);
heed_attention_options heed__attention_options(const heed_transformer *t, const struct heed__pass *pass, int64_t layer);
// The block's tensors in this pass, and its input.
struct heed__block_tensors *heed__block_tensors_of(heed_transformer *t, const struct heed__pass *pass, int64_t layer);
heed_tensor *heed__block_input(heed_transformer *t, const struct heed__pass *pass, int64_t layer);
// Rotates q and k, or their gradients back.
heed_status heed__rotate(const heed_transformer *t, const struct heed__pass *pass, const struct heed__heads *heads,
                         bool back);
// Keys and values of the cache for one layer, after it got the call's.
heed_status heed__cache_append(heed_kv_cache *cache, int64_t layer, const struct heed__heads *heads,
                               heed_attention_inputs *inputs);

#endif
