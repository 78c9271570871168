// A training step of a transformer as a case: logits, loss, gradients and, timed, the update. And a step of decoding.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

typedef struct model {
  heed_transformer *transformer;
  heed_optimizer *optimizer;
  heed_tensor *gradients;  // of all parameters, seen as one
  heed_kv_cache *cache;
} model;

static void free_model(void *module) {
  model *m = module;
  heed_kv_cache_destroy(m->cache);
  heed_tensor_destroy(m->gradients);
  heed_optimizer_destroy(m->optimizer);
  heed_transformer_destroy(m->transformer);
  free(m);
}

static heed_status add_ids(case_env *env, const char *name, int64_t batch, int64_t length, int64_t vocab,
                           uint64_t stream) {
  int32_t *ids = malloc((size_t)(batch * length) * sizeof *ids + 1);
  if (!ids) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < batch * length; ++i)
    ids[i] = (int32_t)(case_random(env, stream + (uint64_t)i) * (double)vocab);
  const heed_status status = case_input_data(env, name, HEED_I32, 2, DIMS(batch, length), ids);
  free(ids);
  return status;
}

static heed_status make_model(case_env *env, const heed_case *c) {
  heed_transformer_config config = c->u.transformer.config;
  config.dtype = c->dtype;
  model *m = calloc(1, sizeof *m);
  if (!m) return HEED_ERROR_OUT_OF_MEMORY;
  env->module = m;
  env->module_free = free_model;
  return heed_transformer_create(env->ctx, &config, 11, &m->transformer);
}

static size_t transformer_parameters(const case_env *env, const heed_parameter **parameters) {
  return heed_transformer_parameters(((const model *)env->module)->transformer, parameters);
}

// ---------------------------------------------------------------- a training step

static heed_status make_optimizer(case_env *env) {
  model *m = env->module;
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(m->transformer, &parameters);
  const heed_optimizer_config config = {
      .kind = HEED_OPTIMIZER_ADAMW,
      .adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
      .max_norm = 1};
  return heed_optimizer_create(parameters, count, &config, &m->optimizer);
}

static heed_status transformer_setup(case_env *env, const heed_case *c) {
  const transformer_shape *s = &c->u.transformer;
  const int64_t vocab = s->config.vocab;
  TRY(make_model(env, c));
  model *m = env->module;
  TRY(add_ids(env, "tokens", s->batch, s->length, vocab, 0));
  TRY(add_ids(env, "targets", s->batch, s->length, vocab, 1 << 20));
  TRY(case_output(env, "loss", HEED_F32, 1, DIMS(1), heed_tolerance(c->dtype, false)));
  if (env->timing) return make_optimizer(env);
  TRY(case_output(env, "logits", c->dtype, 3, DIMS(s->batch, s->length, vocab), heed_tolerance(c->dtype, false)));
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(m->transformer, &parameters);
  return case_join_grads(env, c, parameters, count, &m->gradients);
}

// If it is timed, a case is a complete training step. If it is compared, it stops before the update, so that a second run repeats the
// first.
static heed_status transformer_run(case_env *env, const heed_case *c) {
  (void)c;
  model *m = env->module;
  TRY(heed_transformer_loss(m->transformer, case_get(env, "tokens"), case_get(env, "targets"), NULL,
                            case_get(env, "logits"), case_get(env, "loss")));
  return m->optimizer ? heed_optimizer_step(m->optimizer) : heed_copy(m->gradients, case_get(env, "gradients"));
}

// Elements of a block's matrices.
static double block_weights(const heed_transformer_config *c) {
  const double width = (double)c->width, heads = (double)c->heads * (double)c->head_dim;
  const double kv = (double)c->kv_heads * (double)c->head_dim;
  const double mlp = c->architecture == HEED_ARCHITECTURE_GPT2 ? 2 : 3;
  return width * (2 * heads + 2 * kv + mlp * (double)c->ffn);
}

// The products: three for each weight matrix and row, and attention's over what the causal mask leaves.
static double transformer_flops(const heed_case *c) {
  const transformer_shape *s = &c->u.transformer;
  heed_transformer_config config = s->config;
  if (heed_transformer_complete(&config) != HEED_OK) return 0;
  const double layers = (double)config.layers, rows = (double)s->batch * (double)s->length;
  const double weights = layers * block_weights(&config) + (double)config.vocab * (double)config.width;
  const double attention = layers * rows * (double)s->length * (double)config.heads * (double)config.head_dim;
  return 6 * (rows * weights + attention);
}

// The least: each weight is read forward and backward, its gradient written, and AdamW moves seven numbers for it; each product reads its
// input and writes its output, and backward reads and writes as much twice.
static double transformer_bytes(const heed_case *c) {
  const transformer_shape *s = &c->u.transformer;
  heed_transformer_config config = s->config;
  if (heed_transformer_complete(&config) != HEED_OK) return 0;
  const double layers = (double)config.layers, rows = (double)s->batch * (double)s->length;
  const double width = (double)config.width, heads = (double)config.heads * (double)config.head_dim;
  const double kv = (double)config.kv_heads * (double)config.head_dim, ffn = (double)config.ffn;
  const double mlp = config.architecture == HEED_ARCHITECTURE_GPT2 ? 2 : 3;
  const double of_block = (width + heads + 2 * kv) + (heads + width) + mlp * (width + ffn);
  const double weights = layers * block_weights(&config) + (double)config.vocab * width;
  const double activations = rows * (layers * of_block + width + (double)config.vocab);
  return (10 * weights + 3 * activations) * (double)heed_dtype_size(c->dtype);
}

// ---------------------------------------------------------------- decoding

static heed_status fill_cache(case_env *env, const transformer_shape *s) {
  model *m = env->module;
  heed_tensor *tokens = NULL, *logits = NULL;
  heed_status status = heed_tensor_create(env->ctx, HEED_I32, 2, DIMS(s->batch, s->past), &tokens);
  if (status == HEED_OK) status = heed_fill(tokens, 1);
  if (status == HEED_OK)
    status = heed_tensor_create(env->ctx, env->of->dtype, 2, DIMS(s->batch, s->config.vocab), &logits);
  if (status == HEED_OK) status = heed_transformer_decode(m->transformer, m->cache, tokens, logits);
  heed_tensor_destroy(tokens);
  heed_tensor_destroy(logits);
  return status;
}

static heed_status decode_setup(case_env *env, const heed_case *c) {
  const transformer_shape *s = &c->u.transformer;
  TRY(make_model(env, c));
  model *m = env->module;
  TRY(heed_kv_cache_create(m->transformer, s->batch, s->past + 1, &m->cache));
  if (s->past > 0) TRY(fill_cache(env, s));
  TRY(add_ids(env, "tokens", s->batch, 1, s->config.vocab, 0));
  return case_output(env, "logits", c->dtype, 2, DIMS(s->batch, s->config.vocab), heed_tolerance(c->dtype, false));
}

static heed_status decode_run(case_env *env, const heed_case *c) {
  model *m = env->module;
  TRY(heed_kv_cache_truncate(m->cache, c->u.transformer.past));
  return heed_transformer_decode(m->transformer, m->cache, case_get(env, "tokens"), case_get(env, "logits"));
}

// The weights are read once a token, and so are the keys and values of the cache.
static double decode_bytes(const heed_case *c) {
  const transformer_shape *s = &c->u.transformer;
  heed_transformer_config config = s->config;
  if (heed_transformer_complete(&config) != HEED_OK) return 0;
  const double layers = (double)config.layers;
  const double weights = layers * block_weights(&config) + (double)config.vocab * (double)config.width;
  const double cache =
      2 * layers * (double)s->batch * (double)(s->past + 1) * (double)config.kv_heads * (double)config.head_dim;
  return (weights + cache) * (double)heed_dtype_size(c->dtype);
}

// ---------------------------------------------------------------- shapes

static transformer_shape small(heed_architecture architecture) {
  transformer_shape s = {.batch = 2, .length = 13, .past = 9};
  s.config = (heed_transformer_config){
      .architecture = architecture, .layers = 2, .width = 24, .heads = 4, .vocab = 37, .context = 16, .ffn = 40};
  if (architecture != HEED_ARCHITECTURE_GPT2) s.config.kv_heads = 2;
  if (architecture == HEED_ARCHITECTURE_MISTRAL) s.config.window = 5;
  return s;
}

static void add_transformer(case_list *list, const case_family *family, const transformer_shape *s, int dtype,
                            int level) {
  heed_case *c = case_append(list, family, case_floats[dtype], level);
  if (!c) return;
  c->u.transformer = *s;
  CASE_NAME(c, "%s_%s%s%s", family->op, heed_architecture_string(s->config.architecture),
            s->config.recompute ? "_recompute" : "", case_suffixes[dtype]);
}

static void transformer_cases(case_list *list) {
  for (int a = 0; a < 4; ++a)
    for (int dtype = 0; dtype < 3; ++dtype) {
      transformer_shape s = small((heed_architecture)a);
      add_transformer(list, &transformer_family, &s, dtype, dtype || a % 2 ? 1 : 0);
      s.config.recompute = true;
      if (dtype == 0) add_transformer(list, &transformer_family, &s, dtype, 1);
    }
}

static void decode_cases(case_list *list) {
  for (int a = 0; a < 4; ++a)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const transformer_shape s = small((heed_architecture)a);
      add_transformer(list, &decode_family, &s, dtype, dtype || a % 2 ? 1 : 0);
    }
}

static transformer_shape tiny(void) {
  transformer_shape s = {.batch = 1, .length = 3, .past = 2};
  s.config = (heed_transformer_config){
      .architecture = HEED_ARCHITECTURE_LLAMA, .layers = 1, .width = 4, .heads = 2, .vocab = 5, .context = 4, .ffn = 6};
  return s;
}
static void transformer_tiny(case_list *list) {
  const transformer_shape s = tiny();
  add_transformer(list, &transformer_family, &s, 0, 0);
}
static void decode_tiny(case_list *list) {
  const transformer_shape s = tiny();
  add_transformer(list, &decode_family, &s, 0, 0);
}

const case_family transformer_family = {
    .op = "transformer",
    .setup = transformer_setup,
    .run = transformer_run,
    .flops = transformer_flops,
    .bytes = transformer_bytes,
    .cases = transformer_cases,
    .tiny = transformer_tiny,
    .parameters = transformer_parameters,
};
const case_family decode_family = {
    .op = "decode",
    .setup = decode_setup,
    .run = decode_run,
    .bytes = decode_bytes,
    .cases = decode_cases,
    .tiny = decode_tiny,
};
