// The parameters of a transformer: their names, shapes and initial values by architecture, and which part of a block reads which.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/transformer.h"

// ---------------------------------------------------------------- the list

// A list that grows by one parameter a call. Its order is that in which `wire` below takes them.
struct list {
  struct heed__parameter_plan *plans;
  size_t count;
};

enum kind { NORM, BIAS, MATRIX, BACK };  // BACK: a projection back into the residual stream

__attribute__((format(printf, 6, 7))) static struct heed__parameter_plan *put(struct list *list, int64_t layers,
                                                                              enum kind kind, int64_t out, int64_t in,
                                                                              const char *format, ...) {
  struct heed__parameter_plan *plan = &list->plans[list->count];
  *plan = (struct heed__parameter_plan){.rank = kind == MATRIX || kind == BACK ? 2 : 1, .dims = {out, in}};
  plan->stream = list->count++;
  plan->constant = kind == NORM ? 1 : 0;
  plan->deviation = kind == MATRIX ? 0.02 : kind == BACK ? 0.02 / sqrt(2 * (double)layers) : 0;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(plan->name, sizeof plan->name, format, arguments);
  va_end(arguments);
  return plan;
}

static void plan_gpt2_block(const heed_transformer_config *c, int64_t layer, struct list *list) {
  const int64_t n = c->layers, width = c->width;
  char at[48];
  snprintf(at, sizeof at, "transformer.h.%" PRId64, layer);
  put(list, n, NORM, width, 0, "%s.ln_1.weight", at);
  put(list, n, BIAS, width, 0, "%s.ln_1.bias", at);
  put(list, n, MATRIX, 3 * width, width, "%s.attn.c_attn.weight", at);
  put(list, n, BIAS, 3 * width, 0, "%s.attn.c_attn.bias", at);
  put(list, n, BACK, width, width, "%s.attn.c_proj.weight", at);
  put(list, n, BIAS, width, 0, "%s.attn.c_proj.bias", at);
  put(list, n, NORM, width, 0, "%s.ln_2.weight", at);
  put(list, n, BIAS, width, 0, "%s.ln_2.bias", at);
  put(list, n, MATRIX, c->ffn, width, "%s.mlp.c_fc.weight", at);
  put(list, n, BIAS, c->ffn, 0, "%s.mlp.c_fc.bias", at);
  put(list, n, BACK, width, c->ffn, "%s.mlp.c_proj.weight", at);
  put(list, n, BIAS, width, 0, "%s.mlp.c_proj.bias", at);
}

// The three projections follow one another, so that one product computes them.
static void plan_llama_attention(const heed_transformer_config *c, const char *at, struct list *list) {
  static const char *const names[] = {"q", "k", "v"};
  const int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
  for (int i = 0; i < 3; ++i)
    put(list, c->layers, MATRIX, i == 0 ? q : kv, c->width, "%s.self_attn.%s_proj.weight", at, names[i])
        ->with_previous = i > 0;
  for (int i = 0; i < 3 && c->architecture == HEED_ARCHITECTURE_QWEN2; ++i)
    put(list, c->layers, BIAS, i == 0 ? q : kv, 0, "%s.self_attn.%s_proj.bias", at, names[i])->with_previous = i > 0;
  put(list, c->layers, BACK, c->width, q, "%s.self_attn.o_proj.weight", at);
}

static void plan_llama_block(const heed_transformer_config *c, int64_t layer, struct list *list) {
  const int64_t n = c->layers, width = c->width;
  char at[48];
  snprintf(at, sizeof at, "model.layers.%" PRId64, layer);
  plan_llama_attention(c, at, list);
  put(list, n, MATRIX, c->ffn, width, "%s.mlp.gate_proj.weight", at);
  put(list, n, MATRIX, c->ffn, width, "%s.mlp.up_proj.weight", at);
  put(list, n, BACK, width, c->ffn, "%s.mlp.down_proj.weight", at);
  put(list, n, NORM, width, 0, "%s.input_layernorm.weight", at);
  put(list, n, NORM, width, 0, "%s.post_attention_layernorm.weight", at);
}

heed_status heed__transformer_plan(const heed_transformer_config *c, struct heed__parameter_plan **plans,
                                   size_t *count) {
  struct list list = {.plans = calloc((size_t)c->layers * 12 + 6, sizeof *list.plans)};
  *plans = list.plans;
  HEED__REQUIRE(list.plans, HEED_ERROR_OUT_OF_MEMORY, "no memory for a transformer of %" PRId64 " layers", c->layers);
  if (heed__is_gpt2(c)) {
    put(&list, c->layers, MATRIX, c->vocab, c->width, "transformer.wte.weight");
    put(&list, c->layers, MATRIX, c->context, c->width, "transformer.wpe.weight");
    for (int64_t layer = 0; layer < c->layers; ++layer) plan_gpt2_block(c, layer, &list);
    put(&list, c->layers, NORM, c->width, 0, "transformer.ln_f.weight");
    put(&list, c->layers, BIAS, c->width, 0, "transformer.ln_f.bias");
  } else {
    put(&list, c->layers, MATRIX, c->vocab, c->width, "model.embed_tokens.weight");
    for (int64_t layer = 0; layer < c->layers; ++layer) plan_llama_block(c, layer, &list);
    put(&list, c->layers, NORM, c->width, 0, "model.norm.weight");
  }
  if (c->tied < 0) put(&list, c->layers, MATRIX, c->vocab, c->width, "lm_head.weight");
  if (c->empty)
    for (size_t i = 0; i < list.count; ++i) list.plans[i].constant = list.plans[i].deviation = 0;
  *count = list.count;
  return HEED_OK;
}

// ---------------------------------------------------------------- who reads which

// Goes through the parameters in the order of the list.
struct cursor {
  heed_transformer *t;
  size_t next;
};

static struct heed__weight take(struct cursor *cursor) {
  const heed_parameter *parameter = &cursor->t->parameters[cursor->next++];
  return (struct heed__weight){parameter->value, parameter->grad};
}

static struct heed__dense take_dense(struct cursor *cursor, bool has_bias) {
  struct heed__dense dense = {.weight = take(cursor)};
  if (has_bias) dense.bias = take(cursor);
  return dense;
}

// Sees tensors that follow one another in memory as one, whose first dimension is the sum of theirs.
static heed_status stack(heed_transformer *t, heed_tensor *const *parts, size_t count, heed_tensor **out) {
  int64_t dims[2] = {0, heed_tensor_dim(parts[0], 1)};
  for (size_t i = 0; i < count; ++i) dims[0] += heed_tensor_dim(parts[i], 0);
  heed_tensor *flat = NULL;
  HEED__TRY(heed_tensor_join((const heed_tensor *const *)parts, count, &flat));
  const heed_status status = heed_tensor_reshape(flat, heed_tensor_rank(parts[0]), dims, out);
  heed_tensor_destroy(flat);
  if (status == HEED_OK) t->owned[t->owned_count++] = *out;
  return status;
}

static heed_status take_stack(struct cursor *cursor, size_t count, struct heed__weight *out) {
  heed_tensor *values[3], *grads[3];
  for (size_t i = 0; i < count; ++i) {
    const struct heed__weight part = take(cursor);
    values[i] = part.value;
    grads[i] = part.grad;
  }
  HEED__TRY(stack(cursor->t, values, count, &out->value));
  return grads[0] ? stack(cursor->t, grads, count, &out->grad) : HEED_OK;
}

static void wire_gpt2_block(struct cursor *cursor, struct heed__block *block) {
  block->norm1 = take_dense(cursor, true);
  block->qkv = take_dense(cursor, true);
  block->out = take_dense(cursor, true);
  block->norm2 = take_dense(cursor, true);
  block->up = take_dense(cursor, true);
  block->down = take_dense(cursor, true);
}

static heed_status wire_llama_block(struct cursor *cursor, struct heed__block *block) {
  HEED__TRY(take_stack(cursor, 3, &block->qkv.weight));
  if (cursor->t->config.architecture == HEED_ARCHITECTURE_QWEN2) HEED__TRY(take_stack(cursor, 3, &block->qkv.bias));
  block->out = take_dense(cursor, false);
  block->gate = take_dense(cursor, false);
  block->up = take_dense(cursor, false);
  block->down = take_dense(cursor, false);
  block->norm1 = take_dense(cursor, false);
  block->norm2 = take_dense(cursor, false);
  return HEED_OK;
}

heed_status heed__transformer_wire(heed_transformer *t) {
  const heed_transformer_config *c = &t->config;
  t->blocks = calloc((size_t)c->layers, sizeof *t->blocks);
  t->owned = calloc((size_t)c->layers * 4, sizeof *t->owned);
  HEED__REQUIRE(t->blocks && t->owned, HEED_ERROR_OUT_OF_MEMORY, "no memory for a transformer of %" PRId64 " layers",
                c->layers);
  struct cursor cursor = {.t = t};
  t->embedding = take(&cursor);
  if (heed__is_gpt2(c)) t->positions = take(&cursor);
  for (int64_t layer = 0; layer < c->layers; ++layer) {
    if (heed__is_gpt2(c))
      wire_gpt2_block(&cursor, &t->blocks[layer]);
    else
      HEED__TRY(wire_llama_block(&cursor, &t->blocks[layer]));
  }
  t->norm = take_dense(&cursor, heed__is_gpt2(c));
  t->head = c->tied > 0 ? t->embedding : take(&cursor);
  return HEED_OK;
}
