// The attention weights of a transformer's layers against softmax(q kᵀ/√head_dim + mask) of a forward that is written out here in double
// precision, for the four architectures. To see them changes nothing that a forward computes.
#include <heed/nn.h>
#include <stdio.h>

#include "support_values.h"

enum { L = 11, VOCAB = 37, LAYERS = 2, WIDTH = 24, HEADS = 4, FFN = 40 };

static heed_transformer_config small(heed_architecture architecture) {
  heed_transformer_config config = {.architecture = architecture,
                                    .layers = LAYERS,
                                    .width = WIDTH,
                                    .heads = HEADS,
                                    .vocab = VOCAB,
                                    .context = 16,
                                    .ffn = FFN};
  if (architecture != HEED_ARCHITECTURE_GPT2) {
    config.kv_heads = 2;
    config.head_dim = 8;
  }
  if (architecture == HEED_ARCHITECTURE_MISTRAL) config.window = 5;
  return config;
}

// Weights that are large enough that a head chooses, and biases that are not 0.
static heed_transformer *make(heed_context *ctx, const heed_transformer_config *config) {
  heed_transformer *transformer = NULL;
  const heed_parameter *parameters;
  ASSERT_OK(heed_transformer_create(ctx, config, 3, &transformer));
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  for (size_t i = 0; i < count; ++i) {
    const int64_t n = heed_tensor_count(parameters[i].value);
    float *values = support_get(parameters[i].value);
    for (int64_t j = 0; j < n; ++j)
      values[j] = 12 * values[j] / (heed_tensor_rank(parameters[i].value) == 1 ? 12 : 1) +
                  0.1F * (float)heed_random_uniform(5, i, (uint64_t)j);
    ASSERT_OK(heed_tensor_upload(parameters[i].value, values, (size_t)n * sizeof *values));
  }
  return transformer;
}

static heed_tensor *put_tokens(heed_context *ctx, int64_t batch, int32_t *ids) {
  for (int64_t i = 0; i < batch * L; ++i) ids[i] = (int32_t)heed_random_below(9, 7, (uint64_t)i, VOCAB);
  return support_put(ctx, HEED_I32, SHAPE(batch, L), ids);
}

// ---------------------------------------------------------------- the forward, written out

typedef struct reference {
  const heed_transformer *transformer;
  const heed_transformer_config *config;
  double x[L][WIDTH];
  double weights[LAYERS][HEADS][L][L];
} reference;

// A parameter of a layer (−1: of the model); NULL: there is none.
static const float *parameter(const reference *r, int layer, const char *name) {
  char whole[96];
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(r->transformer, &parameters);
  const bool is_gpt2 = r->config->architecture == HEED_ARCHITECTURE_GPT2;
  if (layer < 0)
    snprintf(whole, sizeof whole, "%s.%s", is_gpt2 ? "transformer" : "model", name);
  else
    snprintf(whole, sizeof whole, "%s.%d.%s", is_gpt2 ? "transformer.h" : "model.layers", layer, name);
  for (size_t i = 0; i < count; ++i)
    if (strcmp(parameters[i].name, whole) == 0) return support_get(parameters[i].value);
  return NULL;
}

static void norm(const reference *r, const double *x, const float *weight, const float *bias, double *y) {
  double mean = 0, squares = 0;
  for (int i = 0; i < WIDTH && bias; ++i) mean += x[i] / WIDTH;
  for (int i = 0; i < WIDTH; ++i) squares += (x[i] - mean) * (x[i] - mean) / WIDTH;
  for (int i = 0; i < WIDTH; ++i)
    y[i] = (x[i] - mean) / sqrt(squares + r->config->norm_eps) * (double)weight[i] + (bias ? (double)bias[i] : 0);
}

// y += weight x + bias
static void add_dense(const float *weight, const float *bias, const double *x, int in, int out, double *y) {
  for (int o = 0; o < out; ++o) {
    if (bias) y[o] += (double)bias[o];
    for (int i = 0; i < in; ++i) y[o] += (double)weight[o * in + i] * x[i];
  }
}

static void rotate(const reference *r, double *head, int position) {
  const int64_t half = r->config->head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double angle = position * pow(r->config->rope_theta, -(double)i / (double)half);
    const double a = head[i], b = head[i + half];
    head[i] = a * cos(angle) - b * sin(angle);
    head[i + half] = b * cos(angle) + a * sin(angle);
  }
}

enum { MOST_QKV = 3 * HEADS * 8 };

// Queries, keys and values of the layer, side by side for each position.
static void project(const reference *r, int layer, double qkv[L][MOST_QKV]) {
  const heed_transformer_config *c = r->config;
  const bool is_gpt2 = c->architecture == HEED_ARCHITECTURE_GPT2;
  const int q = (int)(c->heads * c->head_dim), kv = (int)(c->kv_heads * c->head_dim);
  const float *weight = parameter(r, layer, is_gpt2 ? "ln_1.weight" : "input_layernorm.weight");
  static const char *const names[][2] = {{"self_attn.q_proj.weight", "self_attn.q_proj.bias"},
                                         {"self_attn.k_proj.weight", "self_attn.k_proj.bias"},
                                         {"self_attn.v_proj.weight", "self_attn.v_proj.bias"}};
  for (int i = 0; i < L; ++i) {
    double h[WIDTH];
    memset(qkv[i], 0, sizeof qkv[i]);
    norm(r, r->x[i], weight, parameter(r, layer, "ln_1.bias"), h);
    if (is_gpt2)
      add_dense(parameter(r, layer, "attn.c_attn.weight"), parameter(r, layer, "attn.c_attn.bias"), h, WIDTH, 3 * q,
                qkv[i]);
    for (int part = 0, at = 0; part < 3 && !is_gpt2; at += part++ == 0 ? q : kv)
      add_dense(parameter(r, layer, names[part][0]), parameter(r, layer, names[part][1]), h, WIDTH, part == 0 ? q : kv,
                qkv[i] + at);
    for (int64_t head = 0; head < c->heads + c->kv_heads && !is_gpt2; ++head) rotate(r, qkv[i] + head * c->head_dim, i);
  }
}

// weights[i][j] = softmax over the keys j that query i may attend, of q·k/√dim.
static void attend(const reference *r, const double qkv[L][MOST_QKV], int head, double weights[L][L]) {
  const heed_transformer_config *c = r->config;
  const int dim = (int)c->head_dim, key = (int)(c->heads + head / (c->heads / c->kv_heads)) * dim;
  for (int i = 0; i < L; ++i) {
    double sum = 0;
    for (int j = 0; j < L; ++j) {
      double score = 0;
      for (int d = 0; d < dim; ++d) score += qkv[i][head * dim + d] * qkv[j][key + d];
      const bool reached = j <= i && (c->window == 0 || j > i - c->window);
      weights[i][j] = reached ? exp(score / sqrt((double)dim)) : 0;
      sum += weights[i][j];
    }
    for (int j = 0; j < L; ++j) weights[i][j] /= sum;
  }
}

static void add_attention(reference *r, int layer) {
  const heed_transformer_config *c = r->config;
  const bool is_gpt2 = c->architecture == HEED_ARCHITECTURE_GPT2;
  const int dim = (int)c->head_dim, values = (int)(c->heads + c->kv_heads) * dim;
  static double qkv[L][MOST_QKV];
  project(r, layer, qkv);
  double out[L][HEADS * 8] = {{0}};
  for (int head = 0; head < HEADS; ++head) {
    attend(r, (const double(*)[MOST_QKV])qkv, head, r->weights[layer][head]);
    const int value = values + head / (int)(c->heads / c->kv_heads) * dim;
    for (int i = 0; i < L; ++i)
      for (int j = 0; j < L; ++j)
        for (int d = 0; d < dim; ++d) out[i][head * dim + d] += r->weights[layer][head][i][j] * qkv[j][value + d];
  }
  const float *weight = parameter(r, layer, is_gpt2 ? "attn.c_proj.weight" : "self_attn.o_proj.weight");
  for (int i = 0; i < L; ++i)
    add_dense(weight, parameter(r, layer, "attn.c_proj.bias"), out[i], HEADS * dim, WIDTH, r->x[i]);
}

static void add_mlp(reference *r, int layer) {
  const bool is_gpt2 = r->config->architecture == HEED_ARCHITECTURE_GPT2;
  for (int i = 0; i < L; ++i) {
    double h[WIDTH], up[FFN] = {0}, gate[FFN] = {0};
    norm(r, r->x[i], parameter(r, layer, is_gpt2 ? "ln_2.weight" : "post_attention_layernorm.weight"),
         parameter(r, layer, "ln_2.bias"), h);
    add_dense(parameter(r, layer, is_gpt2 ? "mlp.c_fc.weight" : "mlp.up_proj.weight"),
              parameter(r, layer, "mlp.c_fc.bias"), h, WIDTH, FFN, up);
    if (!is_gpt2) add_dense(parameter(r, layer, "mlp.gate_proj.weight"), NULL, h, WIDTH, FFN, gate);
    for (int f = 0; f < FFN; ++f)
      up[f] = is_gpt2 ? 0.5 * up[f] * (1 + tanh(sqrt(2 / acos(-1.0)) * (up[f] + 0.044715 * up[f] * up[f] * up[f])))
                      : gate[f] / (1 + exp(-gate[f])) * up[f];
    add_dense(parameter(r, layer, is_gpt2 ? "mlp.c_proj.weight" : "mlp.down_proj.weight"),
              parameter(r, layer, "mlp.c_proj.bias"), up, FFN, WIDTH, r->x[i]);
  }
}

static void compute(reference *r, const int32_t *ids) {
  const bool is_gpt2 = r->config->architecture == HEED_ARCHITECTURE_GPT2;
  const float *table = parameter(r, -1, is_gpt2 ? "wte.weight" : "embed_tokens.weight");
  const float *places = parameter(r, -1, "wpe.weight");
  for (int i = 0; i < L; ++i)
    for (int d = 0; d < WIDTH; ++d)
      r->x[i][d] = (double)table[ids[i] * WIDTH + d] + (places ? (double)places[i * WIDTH + d] : 0);
  for (int layer = 0; layer < LAYERS; ++layer) {
    add_attention(r, layer);
    add_mlp(r, layer);
  }
}

// ---------------------------------------------------------------- tests

static void assert_weights(const heed_tensor *tensor, const reference *r, int64_t text, int layer) {
  const float *actual = support_get(tensor) + text * HEADS * L * L;
  const double error = support_relative(actual, &r->weights[layer][0][0][0], HEADS * L * L);
  if (!(error <= 5e-6)) fail_msg("layer %d: relative error %g", layer, error);
  for (int i = 0; i < HEADS * L; ++i)
    for (int j = i % L + 1; j < L; ++j) assert_true(actual[i * L + j] == 0);
}

static void weights_are_the_softmax_of_the_layers_queries_and_keys(void **state) {
  heed_context *ctx = support_context(state);
  static reference r;
  for (int a = 0; a < 8; ++a) {
    heed_transformer_config config = small((heed_architecture)(a / 2));
    config.frozen = a % 2;
    heed_transformer *transformer = make(ctx, &config);
    int32_t ids[2 * L];
    heed_tensor *tokens = put_tokens(ctx, 2, ids);
    heed_tensor *weights[LAYERS];
    for (int layer = 0; layer < LAYERS; ++layer) weights[layer] = support_new(ctx, HEED_F32, SHAPE(2, HEADS, L, L));
    ASSERT_OK(heed_transformer_attention(transformer, tokens, weights));
    for (int text = 0; text < 2; ++text) {
      r = (reference){.transformer = transformer, .config = heed_transformer_configuration(transformer)};
      compute(&r, ids + text * L);
      for (int layer = 0; layer < LAYERS; ++layer) assert_weights(weights[layer], &r, text, layer);
    }
    heed_transformer_destroy(transformer);
  }
}

// Whichever layers are looked at, a layer has the same bits, and so have the logits.
static void looking_changes_nothing(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_MISTRAL);
  heed_transformer *transformer = make(ctx, &config);
  int32_t ids[L];
  heed_tensor *tokens = put_tokens(ctx, 1, ids), *both[LAYERS], *second[LAYERS] = {NULL};
  heed_tensor *before = support_new(ctx, HEED_F32, SHAPE(1, L, VOCAB)), *after = support_like(before);
  for (int layer = 0; layer < LAYERS; ++layer) both[layer] = support_new(ctx, HEED_F32, SHAPE(1, HEADS, L, L));
  second[1] = support_like(both[1]);
  ASSERT_OK(heed_transformer_fwd(transformer, tokens, before));
  ASSERT_OK(heed_transformer_attention(transformer, tokens, both));
  ASSERT_OK(heed_transformer_attention(transformer, tokens, second));
  ASSERT_OK(heed_transformer_fwd(transformer, tokens, after));
  ASSERT_SAME_BITS(second[1], both[1]);
  ASSERT_SAME_BITS(after, before);
  heed_transformer_destroy(transformer);
}

// In training, dropout drops weights; what is looked at are those of a forward without.
static void nothing_drops(void **state) {
  heed_context *ctx = support_context(state);
  heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *plain = make(ctx, &config);
  config.dropout = 0.5;
  heed_transformer *drops = make(ctx, &config);
  int32_t ids[L];
  heed_tensor *tokens = put_tokens(ctx, 1, ids), *a[LAYERS] = {NULL}, *b[LAYERS] = {NULL};
  a[1] = support_new(ctx, HEED_F32, SHAPE(1, HEADS, L, L));
  b[1] = support_like(a[1]);
  ASSERT_OK(heed_transformer_attention(plain, tokens, a));
  ASSERT_OK(heed_transformer_attention(drops, tokens, b));
  ASSERT_SAME_BITS(a[1], b[1]);
  heed_transformer_destroy(plain);
  heed_transformer_destroy(drops);
}

static void what_does_not_fit_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_LLAMA);
  heed_transformer *transformer = make(ctx, &config);
  int32_t ids[L];
  heed_tensor *tokens = put_tokens(ctx, 1, ids), *none[LAYERS] = {NULL};
  heed_tensor *right = support_new(ctx, HEED_F32, SHAPE(1, HEADS, L, L));
  heed_tensor *wide = support_new(ctx, HEED_F32, SHAPE(1, HEADS, L, L + 1));
  heed_tensor *half = support_new(ctx, HEED_F16, SHAPE(1, HEADS, L, L));
#define REFUSED(status, part, ...) \
  ASSERT_FAILS(status, part, heed_transformer_attention(transformer, tokens, (heed_tensor *[]){__VA_ARGS__}))
  REFUSED(HEED_ERROR_SHAPE, "layer 1", right, wide);
  REFUSED(HEED_ERROR_DTYPE, "layer 0", half, right);
  REFUSED(HEED_ERROR_INVALID_ARGUMENT, "overlap", right, right);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no layer", heed_transformer_attention(transformer, tokens, none));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_transformer_attention(transformer, tokens, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_transformer_attention(NULL, tokens, none));
  heed_tensor *longer = support_new(ctx, HEED_I32, SHAPE(1, 17));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "longer than the context",
               heed_transformer_attention(transformer, longer, (heed_tensor *[]){right, NULL}));
  heed_transformer_destroy(transformer);
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(weights_are_the_softmax_of_the_layers_queries_and_keys),
                                     TEST(looking_changes_nothing), TEST(nothing_drops),
                                     TEST(what_does_not_fit_is_refused)};
  return RUN_ON_BOTH("transformer attention", tests);
}
