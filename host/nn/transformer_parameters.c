// The parameters of a transformer: their names, shapes and initial values by architecture, and which part of a block reads which.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/transformer.h"

// ---------------------------------------------------------------- the list

struct heed__parameter_plan *heed__plan_put(struct heed__plan_list *list, enum heed__parameter_kind kind, int64_t out,
                                            int64_t in, const char *format, ...) {
  struct heed__parameter_plan *plan = &list->plans[list->count];
  const bool is_matrix = kind == HEED__MATRIX || kind == HEED__BACK;
  *plan = (struct heed__parameter_plan){.rank = is_matrix ? 2 : 1, .dims = {out, in}};
  plan->stream = list->count++;
  plan->constant = kind == HEED__NORM ? 1 : 0;
  if (is_matrix) plan->deviation = list->deviation != 0 ? list->deviation : 1 / sqrt((double)in);
  if (kind == HEED__BACK) plan->deviation /= sqrt(2 * (double)list->layers);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(plan->name, sizeof plan->name, format, arguments);
  va_end(arguments);
  return plan;
}

void heed__plan_gpt2_block(const heed_transformer_config *c, const char *at, const char *const parts[HEED__BLOCK_PARTS],
                           struct heed__plan_list *list) {
  const int64_t width = c->width;
  const struct {
    enum heed__parameter_kind kind;
    int64_t out, in;
  } shapes[HEED__BLOCK_PARTS] = {{HEED__NORM, width, 0}, {HEED__MATRIX, 3 * width, width}, {HEED__BACK, width, width},
                                 {HEED__NORM, width, 0}, {HEED__MATRIX, c->ffn, width},    {HEED__BACK, width, c->ffn}};
  for (int i = 0; i < HEED__BLOCK_PARTS; ++i) {
    heed__plan_put(list, shapes[i].kind, shapes[i].out, shapes[i].in, "%s.%sweight", at, parts[i]);
    heed__plan_put(list, HEED__BIAS, shapes[i].out, 0, "%s.%sbias", at, parts[i]);
  }
}

static const char *const gpt2_parts[HEED__BLOCK_PARTS] = {"ln_1.", "attn.c_attn.", "attn.c_proj.",
                                                          "ln_2.", "mlp.c_fc.",    "mlp.c_proj."};

// The three projections follow one another, so that one product computes them.
static void plan_llama_attention(const heed_transformer_config *c, const char *at, struct heed__plan_list *list) {
  static const char *const names[] = {"q", "k", "v"};
  const int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
  for (int i = 0; i < 3; ++i)
    heed__plan_put(list, HEED__MATRIX, i == 0 ? q : kv, c->width, "%s.self_attn.%s_proj.weight", at, names[i])
        ->with_previous = i > 0;
  for (int i = 0; i < 3 && c->architecture == HEED_ARCHITECTURE_QWEN2; ++i)
    heed__plan_put(list, HEED__BIAS, i == 0 ? q : kv, 0, "%s.self_attn.%s_proj.bias", at, names[i])->with_previous =
        i > 0;
  heed__plan_put(list, HEED__BACK, c->width, q, "%s.self_attn.o_proj.weight", at);
}

static void plan_llama_block(const heed_transformer_config *c, int64_t layer, struct heed__plan_list *list) {
  const int64_t width = c->width;
  char at[48];
  snprintf(at, sizeof at, "model.layers.%" PRId64, layer);
  plan_llama_attention(c, at, list);
  heed__plan_put(list, HEED__MATRIX, c->ffn, width, "%s.mlp.gate_proj.weight", at);
  heed__plan_put(list, HEED__MATRIX, c->ffn, width, "%s.mlp.up_proj.weight", at);
  heed__plan_put(list, HEED__BACK, width, c->ffn, "%s.mlp.down_proj.weight", at);
  heed__plan_put(list, HEED__NORM, width, 0, "%s.input_layernorm.weight", at);
  heed__plan_put(list, HEED__NORM, width, 0, "%s.post_attention_layernorm.weight", at);
}

heed_status heed__transformer_plan(const heed_transformer_config *c, struct heed__parameter_plan **plans,
                                   size_t *count) {
  struct heed__plan_list list = {.layers = c->layers,
                                 .deviation = 0.02,
                                 .plans = calloc((size_t)c->layers * HEED__BLOCK_PARAMETERS + 6, sizeof *list.plans)};
  *plans = list.plans;
  HEED__REQUIRE(list.plans, HEED_ERROR_OUT_OF_MEMORY, "no memory for a transformer of %" PRId64 " layers", c->layers);
  if (heed__is_gpt2(c)) {
    heed__plan_put(&list, HEED__MATRIX, c->vocab, c->width, "transformer.wte.weight");
    heed__plan_put(&list, HEED__MATRIX, c->context, c->width, "transformer.wpe.weight");
    for (int64_t layer = 0; layer < c->layers; ++layer) {
      char at[48];
      snprintf(at, sizeof at, "transformer.h.%" PRId64, layer);
      heed__plan_gpt2_block(c, at, gpt2_parts, &list);
    }
    heed__plan_put(&list, HEED__NORM, c->width, 0, "transformer.ln_f.weight");
    heed__plan_put(&list, HEED__BIAS, c->width, 0, "transformer.ln_f.bias");
  } else {
    heed__plan_put(&list, HEED__MATRIX, c->vocab, c->width, "model.embed_tokens.weight");
    for (int64_t layer = 0; layer < c->layers; ++layer) plan_llama_block(c, layer, &list);
    heed__plan_put(&list, HEED__NORM, c->width, 0, "model.norm.weight");
  }
  if (c->tied < 0) heed__plan_put(&list, HEED__MATRIX, c->vocab, c->width, "lm_head.weight");
  if (c->empty)
    for (size_t i = 0; i < list.count; ++i) list.plans[i].constant = list.plans[i].deviation = 0;
  *count = list.count;
  return HEED_OK;
}

// ---------------------------------------------------------------- who reads which

struct heed__weight heed__take(struct heed__cursor *cursor) {
  const heed_parameter *parameter = &cursor->parameters[cursor->next++];
  return (struct heed__weight){parameter->value, parameter->grad};
}

struct heed__dense heed__take_dense(struct heed__cursor *cursor, bool has_bias) {
  struct heed__dense dense = {.weight = heed__take(cursor)};
  if (has_bias) dense.bias = heed__take(cursor);
  return dense;
}

void heed__wire_gpt2_block(struct heed__cursor *cursor, struct heed__block *block) {
  block->norm1 = heed__take_dense(cursor, true);
  block->qkv = heed__take_dense(cursor, true);
  block->out = heed__take_dense(cursor, true);
  block->norm2 = heed__take_dense(cursor, true);
  block->up = heed__take_dense(cursor, true);
  block->down = heed__take_dense(cursor, true);
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

static heed_status take_stack(heed_transformer *t, struct heed__cursor *cursor, size_t count,
                              struct heed__weight *out) {
  heed_tensor *values[3], *grads[3];
  for (size_t i = 0; i < count; ++i) {
    const struct heed__weight part = heed__take(cursor);
    values[i] = part.value;
    grads[i] = part.grad;
  }
  HEED__TRY(stack(t, values, count, &out->value));
  return grads[0] ? stack(t, grads, count, &out->grad) : HEED_OK;
}

static heed_status wire_llama_block(heed_transformer *t, struct heed__cursor *cursor, struct heed__block *block) {
  HEED__TRY(take_stack(t, cursor, 3, &block->qkv.weight));
  if (t->config.architecture == HEED_ARCHITECTURE_QWEN2) HEED__TRY(take_stack(t, cursor, 3, &block->qkv.bias));
  block->out = heed__take_dense(cursor, false);
  block->gate = heed__take_dense(cursor, false);
  block->up = heed__take_dense(cursor, false);
  block->down = heed__take_dense(cursor, false);
  block->norm1 = heed__take_dense(cursor, false);
  block->norm2 = heed__take_dense(cursor, false);
  return HEED_OK;
}

heed_status heed__transformer_wire(heed_transformer *t) {
  const heed_transformer_config *c = &t->config;
  t->owned = calloc((size_t)c->layers * 4, sizeof *t->owned);
  HEED__REQUIRE(t->owned, HEED_ERROR_OUT_OF_MEMORY, "no memory for a transformer of %" PRId64 " layers", c->layers);
  struct heed__cursor cursor = {.parameters = t->parameters};
  t->embedding = heed__take(&cursor);
  if (heed__is_gpt2(c)) t->positions = heed__take(&cursor);
  for (int64_t layer = 0; layer < c->layers; ++layer) {
    if (heed__is_gpt2(c))
      heed__wire_gpt2_block(&cursor, &t->blocks[layer]);
    else
      HEED__TRY(wire_llama_block(t, &cursor, &t->blocks[layer]));
  }
  t->norm = heed__take_dense(&cursor, heed__is_gpt2(c));
  t->head = c->tied > 0 ? t->embedding : heed__take(&cursor);
  return HEED_OK;
}
