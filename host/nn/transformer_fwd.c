// A transformer's forward. The residual stream is added where the next norm reads it: norm(a + b) keeps the sum.
#include <inttypes.h>
#include <string.h>

#include "nn/transformer.h"

// ---------------------------------------------------------------- parts

heed_status heed__norm_fwd(const heed_transformer *t, const struct heed__dense *norm, const heed_tensor *x,
                           heed_tensor *y) {
  const heed_transformer_config *c = &t->config;
  return heed__is_gpt2(c) ? heed_layer_norm_fwd(x, norm->weight.value, norm->bias.value, c->norm_eps, y)
                          : heed_rms_norm_fwd(x, norm->weight.value, c->norm_eps, y);
}

// sum = a + b, y = norm(sum), with the bits of the two in turn.
static heed_status add_norm_fwd(const heed_transformer *t, const struct heed__dense *norm, const heed_tensor *a,
                                const heed_tensor *b, heed_tensor *sum, heed_tensor *y) {
  const heed_transformer_config *c = &t->config;
  return heed__is_gpt2(c) ? heed_add_layer_norm_fwd(a, b, norm->weight.value, norm->bias.value, c->norm_eps, sum, y)
                          : heed_add_rms_norm_fwd(a, b, norm->weight.value, c->norm_eps, sum, y);
}

static heed_status dense_fwd(const heed_tensor *x, const struct heed__dense *dense, heed_tensor *y) {
  return heed_linear_fwd(x, dense->weight.value, dense->bias.value, y);
}

uint64_t heed__drop_seed(uint64_t seed, int64_t layer, int site) {
  uint32_t random[4];
  heed_philox(seed, (uint32_t[]){(uint32_t)layer, (uint32_t)site, 0x64726f70, 0}, random);
  return (uint64_t)random[1] << 32 | random[0];
}

heed_status heed__drop(const struct heed__pass *pass, const heed_transformer *t, int64_t layer, int site,
                       heed_tensor *x) {
  if (!pass->drops || t->config.dropout == 0) return HEED_OK;
  const heed_dropout_options options = {.p = t->config.dropout, .seed = heed__drop_seed(pass->seed, layer, site)};
  return heed_dropout_fwd(x, &options, x);
}

heed_attention_options heed__attention_options(const heed_transformer *t, const struct heed__pass *pass,
                                               int64_t layer) {
  const heed_transformer_config *c = &t->config;
  heed_attention_options options = {.causal = pass->is_full ? HEED_CAUSAL_NONE : HEED_CAUSAL_TOP_LEFT};
  if (c->window > 0) {
    options.has_window = true;
    options.window_left = c->window - 1;
    options.window_right = -1;
  }
  if (pass->drops && c->dropout > 0) {
    options.dropout = c->dropout;
    options.seed = heed__drop_seed(pass->seed, layer, HEED__DROP_ATTENTION);
  }
  return options;
}

heed_status heed__rotate(const heed_transformer *t, const struct heed__pass *pass, const struct heed__heads *heads,
                         bool back) {
  if (!t->rope) return HEED_OK;
  heed_tensor *angles = NULL;
  HEED__TRY(heed_tensor_slice(t->rope, 0, pass->position, pass->length, &angles));
  heed_tensor *const rotated[] = {heads->q, heads->k};
  heed_status status = HEED_OK;
  for (int i = 0; i < 2 && status == HEED_OK; ++i)
    status = back ? heed_rope_bwd(rotated[i], angles, HEED_ROPE_HALF, rotated[i])
                  : heed_rope_fwd(rotated[i], angles, HEED_ROPE_HALF, rotated[i]);
  heed_tensor_destroy(angles);
  return status;
}

struct heed__block_tensors *heed__block_tensors_of(heed_transformer *t, const struct heed__pass *pass, int64_t layer) {
  return pass->train && !t->config.recompute ? &t->kept[layer] : &t->working;
}

heed_tensor *heed__block_input(heed_transformer *t, const struct heed__pass *pass, int64_t layer) {
  return pass->train ? t->inputs[layer].tensor : t->working.tensor[HEED__A_INPUT].tensor;
}

// ---------------------------------------------------------------- a block

static heed_status attend(heed_transformer *t, const struct heed__pass *pass, int64_t layer,
                          struct heed__block_tensors *tensors) {
  const struct heed__block *block = &t->blocks[layer];
  const struct heed__heads *heads = &tensors->heads;
  HEED__TRY(dense_fwd(tensors->tensor[HEED__A_H1].tensor, &block->qkv, tensors->tensor[HEED__A_QKV].tensor));
  HEED__TRY(heed__rotate(t, pass, heads, false));
  heed_attention_inputs inputs = {.q = heads->q, .k = heads->k, .v = heads->v};
  if (pass->cache) HEED__TRY(heed__cache_append(pass->cache, layer, heads, &inputs));
  const heed_attention_options options = heed__attention_options(t, pass, layer);
  heed_tensor *lse = pass->train ? tensors->tensor[HEED__A_LSE].tensor : NULL;
  // A call of its own: those that write weights compute by other kernels, and the forward is to have the bits that it has without.
  if (pass->weights && pass->weights[layer])
    HEED__TRY(heed_attention_fwd(&inputs, &options, heads->out, NULL, pass->weights[layer]));
  HEED__TRY(heed_attention_fwd(&inputs, &options, heads->out, lse, NULL));
  heed_tensor *branch = t->shared[HEED__S_BRANCH].tensor;
  HEED__TRY(dense_fwd(tensors->tensor[HEED__A_HEADS].tensor, &block->out, branch));
  return heed__drop(pass, t, layer, HEED__DROP_FIRST, branch);
}

static heed_status mlp(const heed_transformer *t, int64_t layer, struct heed__block_tensors *tensors) {
  const struct heed__block *block = &t->blocks[layer];
  const heed_tensor *h2 = tensors->tensor[HEED__A_H2].tensor;
  heed_tensor *up = tensors->tensor[HEED__A_UP].tensor, *act = tensors->tensor[HEED__A_ACT].tensor;
  if (heed__is_gpt2(&t->config))
    return heed_linear_gelu_fwd(h2, block->up.weight.value, block->up.bias.value, HEED_GELU_TANH, up, act);
  HEED__TRY(dense_fwd(h2, &block->up, up));
  heed_tensor *gate = tensors->tensor[HEED__A_GATE].tensor;
  HEED__TRY(dense_fwd(h2, &block->gate, gate));
  return heed_swiglu_fwd(gate, up, act);
}

heed_status heed__block_fwd(heed_transformer *t, const struct heed__pass *pass, int64_t layer,
                            struct heed__block_tensors *tensors, const heed_tensor *x) {
  heed_tensor *branch = t->shared[HEED__S_BRANCH].tensor;
  HEED__TRY(attend(t, pass, layer, tensors));
  HEED__TRY(add_norm_fwd(t, &t->blocks[layer].norm2, x, branch, tensors->tensor[HEED__A_X2].tensor,
                         tensors->tensor[HEED__A_H2].tensor));
  return mlp(t, layer, tensors);
}

// From the mlp's hidden units back to the width of x.
static heed_status finish_block(heed_transformer *t, const struct heed__pass *pass, int64_t layer,
                                const struct heed__block_tensors *tensors) {
  heed_tensor *branch = t->shared[HEED__S_BRANCH].tensor;
  HEED__TRY(dense_fwd(tensors->tensor[HEED__A_ACT].tensor, &t->blocks[layer].down, branch));
  return heed__drop(pass, t, layer, HEED__DROP_SECOND, branch);
}

// ---------------------------------------------------------------- the whole

static heed_status embed(heed_transformer *t, const struct heed__pass *pass, heed_tensor *x) {
  const int64_t dims[] = {pass->batch, pass->length, t->config.width};
  heed_tensor *apart = NULL, *places = NULL;  // x as [B, L, width]; the rows of the positions' table
  HEED__TRY(heed_tensor_reshape(x, 3, dims, &apart));
  heed_status status = heed_embedding_fwd(t->embedding.value, pass->tokens, apart);
  if (status == HEED_OK && t->positions.value) {
    status = heed_tensor_slice(t->positions.value, 0, pass->position, pass->length, &places);
    if (status == HEED_OK) status = heed_add(1, apart, 1, places, apart);
  }
  heed_tensor_destroy(places);
  heed_tensor_destroy(apart);
  return status == HEED_OK ? heed__drop(pass, t, 0, HEED__DROP_EMBEDDING, x) : status;
}

heed_status heed__transformer_body(heed_transformer *t, const struct heed__pass *pass) {
  heed_tensor *branch = t->shared[HEED__S_BRANCH].tensor;
  for (int64_t layer = 0; layer < t->config.layers; ++layer) {
    heed_tensor *x = heed__block_input(t, pass, layer);
    struct heed__block_tensors *tensors = heed__block_tensors_of(t, pass, layer);
    heed_tensor *h1 = tensors->tensor[HEED__A_H1].tensor;
    if (layer == 0) {
      if (pass->tokens) HEED__TRY(embed(t, pass, x));
      HEED__TRY(heed__norm_fwd(t, &t->blocks[0].norm1, x, h1));
    } else {
      const struct heed__block_tensors *before = heed__block_tensors_of(t, pass, layer - 1);
      HEED__TRY(add_norm_fwd(t, &t->blocks[layer].norm1, before->tensor[HEED__A_X2].tensor, branch, x, h1));
    }
    HEED__TRY(heed__block_fwd(t, pass, layer, tensors, x));
    HEED__TRY(finish_block(t, pass, layer, tensors));
  }
  const struct heed__block_tensors *last = heed__block_tensors_of(t, pass, t->config.layers - 1);
  return add_norm_fwd(t, &t->norm, last->tensor[HEED__A_X2].tensor, branch, t->shared[HEED__S_LAST].tensor,
                      t->shared[HEED__S_NORMED].tensor);
}

heed_status heed__transformer_check_tokens(const heed_transformer *t, const char *name, const heed_tensor *tokens) {
  HEED__REQUIRE(heed_tensor_rank(tokens) == 2 && heed_tensor_count(tokens) > 0, HEED_ERROR_SHAPE,
                "transformer: %s is %s; [B, L] is needed", name, heed_tensor_describe(tokens));
  HEED__REQUIRE(heed_tensor_dim(tokens, 1) <= t->config.context, HEED_ERROR_SHAPE,
                "transformer: %s is %s, longer than the context of %" PRId64 " tokens", name,
                heed_tensor_describe(tokens), t->config.context);
  return HEED_OK;
}

struct heed__pass heed__pass_over(const heed_tensor *tokens) {
  struct heed__pass pass = {
      .tokens = tokens, .batch = heed_tensor_dim(tokens, 0), .length = heed_tensor_dim(tokens, 1)};
  pass.rows = pass.batch * pass.length;
  return pass;
}

heed_status heed_transformer_fwd(heed_transformer *t, const heed_tensor *tokens, heed_tensor *logits) {
  HEED__REQUIRE(t && tokens && logits, HEED_ERROR_INVALID_ARGUMENT, "heed_transformer_fwd: an argument is NULL");
  HEED__TRY(heed__transformer_check_tokens(t, "tokens", tokens));
  const struct heed__pass pass = heed__pass_over(tokens);
  const int64_t dims[] = {pass.batch, pass.length, t->config.vocab};
  HEED__REQUIRE(heed__has_shape(logits, 3, dims), HEED_ERROR_SHAPE,
                "transformer: logits is %s; [%" PRId64 ", %" PRId64 ", %" PRId64 "] is needed",
                heed_tensor_describe(logits), dims[0], dims[1], dims[2]);
  HEED__TRY(heed__check_apart("transformer", &(struct heed__named){"logits", logits}, 1,
                              &(struct heed__named){"tokens", tokens}, 1, t->parameters, t->count));
  HEED__TRY(heed__transformer_shape(t, &pass));
  HEED__TRY(heed__transformer_body(t, &pass));
  heed_tensor *flat = NULL;
  HEED__TRY(heed_tensor_reshape(logits, 2, (int64_t[]){pass.rows, dims[2]}, &flat));
  const heed_status status = heed_linear_fwd(t->shared[HEED__S_NORMED].tensor, t->head.value, NULL, flat);
  heed_tensor_destroy(flat);
  return status;
}
