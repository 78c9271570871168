// A transformer's loss and backward: head and loss (transformer_loss.c), the blocks from the last to the first, then the embeddings.
#include "nn/transformer.h"

// ---------------------------------------------------------------- parts

// dx = gradient of a norm at x, plus what comes past the norm.
static heed_status norm_bwd(const heed_transformer *t, const struct heed__dense *norm, const heed_tensor *x,
                            const heed_tensor *dy, const heed_tensor *past, heed_tensor *dx, bool accumulate) {
  const heed_transformer_config *c = &t->config;
  return heed__is_gpt2(c)
             ? heed_layer_norm_bwd(x, norm->weight.value, dy, past, c->norm_eps, dx, norm->weight.grad, norm->bias.grad,
                                   accumulate)
             : heed_rms_norm_bwd(x, norm->weight.value, dy, past, c->norm_eps, dx, norm->weight.grad, accumulate);
}

static heed_status dense_bwd(const heed_tensor *x, const struct heed__dense *dense, const heed_tensor *dy,
                             heed_tensor *dx, bool accumulate) {
  return heed_linear_bwd(x, dense->weight.value, dy, dx, dense->weight.grad, dense->bias.grad, accumulate);
}

heed_status heed__undrop(heed_transformer *t, const struct heed__pass *pass, int64_t layer, int site,
                         const heed_tensor *dy, const heed_tensor **out) {
  *out = dy;
  if (!pass->drops || t->config.dropout == 0) return HEED_OK;
  heed_tensor *kept = t->shared[HEED__S_DBRANCH].tensor;
  const heed_dropout_options options = {.p = t->config.dropout, .seed = heed__drop_seed(pass->seed, layer, site)};
  *out = kept;
  return heed_dropout_bwd(dy, &options, kept);
}

// ---------------------------------------------------------------- a block

static heed_status mlp_bwd(heed_transformer *t, int64_t layer, const struct heed__block_tensors *tensors,
                           const heed_tensor *dy, bool accumulate) {
  const struct heed__block *block = &t->blocks[layer];
  const heed_tensor *h2 = tensors->tensor[HEED__A_H2].tensor, *up = tensors->tensor[HEED__A_UP].tensor;
  heed_tensor *dact = t->shared[HEED__S_DACT].tensor, *dh = t->shared[HEED__S_DH].tensor;
  const heed_tensor *act = tensors->tensor[HEED__A_ACT].tensor;
  if (heed__is_gpt2(&t->config)) {
    const struct heed__dense *down = &block->down;
    HEED__TRY(heed_gelu_linear_bwd(up, act, down->weight.value, dy, HEED_GELU_TANH, dact, down->weight.grad,
                                   down->bias.grad, accumulate));
    return dense_bwd(h2, &block->up, dact, dh, accumulate);
  }
  HEED__TRY(dense_bwd(act, &block->down, dy, dact, accumulate));
  heed_tensor *dup = t->shared[HEED__S_DUP].tensor, *dgate = t->shared[HEED__S_DGATE].tensor;
  heed_tensor *share = t->shared[HEED__S_DSHARE].tensor;
  HEED__TRY(heed_swiglu_bwd(tensors->tensor[HEED__A_GATE].tensor, up, dact, dgate, dup));
  HEED__TRY(dense_bwd(h2, &block->gate, dgate, dh, accumulate));
  HEED__TRY(dense_bwd(h2, &block->up, dup, share, accumulate));
  return heed_add(1, dh, 1, share, dh);
}

static heed_status attend_bwd(heed_transformer *t, const struct heed__pass *pass, int64_t layer,
                              const struct heed__block_tensors *tensors, const heed_tensor *dy, bool accumulate) {
  const struct heed__block *block = &t->blocks[layer];
  const struct heed__heads *heads = &tensors->heads, *dheads = &t->dheads;
  HEED__TRY(
      dense_bwd(tensors->tensor[HEED__A_HEADS].tensor, &block->out, dy, t->shared[HEED__S_DHEADS].tensor, accumulate));
  const heed_attention_inputs inputs = {.q = heads->q, .k = heads->k, .v = heads->v};
  const heed_attention_options options = heed__attention_options(t, pass, layer);
  const heed_attention_grads grads = {.dq = dheads->q, .dk = dheads->k, .dv = dheads->v};
  HEED__TRY(
      heed_attention_bwd(&inputs, &options, heads->out, tensors->tensor[HEED__A_LSE].tensor, dheads->out, &grads));
  HEED__TRY(heed__rotate(t, pass, dheads, true));
  return dense_bwd(tensors->tensor[HEED__A_H1].tensor, &block->qkv, t->shared[HEED__S_DQKV].tensor,
                   t->shared[HEED__S_DH].tensor, accumulate);
}

// Turns DX from the gradient of the block's output to that of its input.
static heed_status block_bwd(heed_transformer *t, const struct heed__pass *pass, int64_t layer, bool accumulate) {
  const struct heed__block *block = &t->blocks[layer];
  struct heed__block_tensors *tensors = heed__block_tensors_of(t, pass, layer);
  const heed_tensor *x = heed__block_input(t, pass, layer);
  heed_tensor *dx = t->shared[HEED__S_DX].tensor, *dx2 = t->shared[HEED__S_DX2].tensor;
  const heed_tensor *dh = t->shared[HEED__S_DH].tensor, *dbranch = NULL;
  if (t->config.recompute && layer + 1 < t->config.layers) {  // the last block's are still there
    HEED__TRY(heed__norm_fwd(t, &block->norm1, x, tensors->tensor[HEED__A_H1].tensor));
    HEED__TRY(heed__block_fwd(t, pass, layer, tensors, x));
  }
  HEED__TRY(heed__undrop(t, pass, layer, HEED__DROP_SECOND, dx, &dbranch));
  HEED__TRY(mlp_bwd(t, layer, tensors, dbranch, accumulate));
  HEED__TRY(norm_bwd(t, &block->norm2, tensors->tensor[HEED__A_X2].tensor, dh, dx, dx2, accumulate));
  HEED__TRY(heed__undrop(t, pass, layer, HEED__DROP_FIRST, dx2, &dbranch));
  HEED__TRY(attend_bwd(t, pass, layer, tensors, dbranch, accumulate));
  return norm_bwd(t, &block->norm1, x, dh, dx2, dx, accumulate);
}

static heed_status tell(const struct heed__pass *pass, size_t first, size_t count) {
  return pass->told->final ? pass->told->final(first, count, pass->told->user) : HEED_OK;
}

// The list has the embeddings, the blocks, the last norm, and a head of its own. An encoder's list is its owner's, whom nobody asks.
static size_t before_blocks(const heed_transformer *t) { return t->positions.value ? 2 : 1; }
static size_t behind_blocks(const heed_transformer *t) {
  return (heed__is_gpt2(&t->config) ? 2 : 1) + (size_t)(t->config.tied < 0);
}
static heed_status tell_last(const heed_transformer *t, const struct heed__pass *pass) {
  return tell(pass, t->count - behind_blocks(t), behind_blocks(t));
}
static heed_status tell_block(const heed_transformer *t, const struct heed__pass *pass, int64_t layer) {
  const size_t before = before_blocks(t), all = t->count - before - behind_blocks(t);
  const size_t each = all / (size_t)t->config.layers;
  return tell(pass, before + (size_t)layer * each, each);
}

heed_status heed__transformer_body_bwd(heed_transformer *t, const struct heed__pass *pass, bool accumulate) {
  HEED__TRY(norm_bwd(t, &t->norm, t->shared[HEED__S_LAST].tensor, t->shared[HEED__S_DH].tensor, NULL,
                     t->shared[HEED__S_DX].tensor, accumulate));
  if (pass->told) HEED__TRY(tell_last(t, pass));
  for (int64_t layer = t->config.layers - 1; layer >= 0; --layer) {
    HEED__TRY(block_bwd(t, pass, layer, accumulate));
    if (pass->told) HEED__TRY(tell_block(t, pass, layer));
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- embeddings

static heed_status positions_bwd(heed_transformer *t, const struct heed__pass *pass, const heed_tensor *dx,
                                 bool accumulate) {
  const int64_t context = t->config.context;
  heed_tensor *used = NULL, *unused = NULL;
  heed_status status = heed_tensor_slice(t->positions.grad, 0, 0, pass->length, &used);
  if (status == HEED_OK) status = heed_reduce_sum(dx, used, accumulate);
  if (status == HEED_OK && !accumulate && pass->length < context) {
    status = heed_tensor_slice(t->positions.grad, 0, pass->length, context - pass->length, &unused);
    if (status == HEED_OK) status = heed_fill(unused, 0);
  }
  heed_tensor_destroy(used);
  heed_tensor_destroy(unused);
  return status;
}

// A tied head has written the embedding's gradient already.
static heed_status embed_bwd(heed_transformer *t, const struct heed__pass *pass, bool accumulate) {
  const int64_t dims[] = {pass->batch, pass->length, t->config.width};
  const heed_tensor *dx = NULL;
  heed_tensor *apart = NULL;
  HEED__TRY(heed__undrop(t, pass, 0, HEED__DROP_EMBEDDING, t->shared[HEED__S_DX].tensor, &dx));
  HEED__TRY(heed_tensor_reshape(dx, 3, dims, &apart));
  heed_status status = HEED_OK;
  if (t->positions.value) status = positions_bwd(t, pass, apart, accumulate);
  if (status == HEED_OK)
    status = heed_embedding_bwd(pass->tokens, apart, t->embedding.grad, accumulate || t->config.tied > 0);
  heed_tensor_destroy(apart);
  return status;
}

// ---------------------------------------------------------------- loss

heed_status heed_transformer_loss(heed_transformer *t, const heed_tensor *tokens, const heed_tensor *targets,
                                  const heed_transformer_loss_options *options, heed_tensor *logits,
                                  heed_tensor *loss) {
  HEED__REQUIRE(t && tokens && targets && loss, HEED_ERROR_INVALID_ARGUMENT,
                "heed_transformer_loss: an argument is NULL");
  const heed_transformer_loss_options none = {0};
  if (!options) options = &none;
  HEED__REQUIRE(!t->config.frozen, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: it is frozen and has no gradients; heed_transformer_evaluate() needs none");
  HEED__TRY(heed__transformer_check_loss(t, tokens, targets, logits, loss));
  struct heed__pass pass = heed__pass_over(tokens);
  pass.train = pass.drops = true;
  pass.seed = options->seed;
  pass.told = options;
  HEED__TRY(heed__transformer_shape(t, &pass));
  HEED__TRY(heed__transformer_body(t, &pass));
  heed_tensor *flat_targets = NULL, *flat_logits = NULL;
  heed_status status = heed_tensor_reshape(targets, 1, &pass.rows, &flat_targets);
  if (status == HEED_OK && logits)
    status = heed_tensor_reshape(logits, 2, (int64_t[]){pass.rows, t->config.vocab}, &flat_logits);
  const struct heed__loss_gradients gradients = {.options = options, .logits = flat_logits};
  if (status == HEED_OK) status = heed__transformer_head_loss(t, &pass, flat_targets, &gradients, loss);
  heed_tensor_destroy(flat_targets);
  heed_tensor_destroy(flat_logits);
  HEED__TRY(status);
  HEED__TRY(heed__transformer_body_bwd(t, &pass, options->accumulate));
  HEED__TRY(embed_bwd(t, &pass, options->accumulate));
  return tell(&pass, 0, before_blocks(t));
}
