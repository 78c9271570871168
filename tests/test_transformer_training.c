// Ten steps of AdamW are those of PyTorch in float64, for a model of each architecture, and then the same tokens follow a prompt.
// HEED_GOLDEN_TRANSFORMER names the folder: models/NAME holds config.json and model.safetensors, tokens.bin, what ten steps give and
// what follows.
#include <dirent.h>
#include <heed/lm.h>
#include <jansson.h>
#include <stdlib.h>

#include "support_values.h"

enum { BATCH = 2, LENGTH = 29, STEPS = 10, HEADER = 256 * 4 };

static const char *const models[] = {"gpt2", "llama", "mistral", "qwen2"};

static const char *path_of(const char *model, const char *file) {
  static char path[2048];
  const char *named = getenv("HEED_GOLDEN_TRANSFORMER");
  snprintf(path, sizeof path, "%s/models/%s/%s",
           named && *named ? named : HEED_SOURCE_DIR "/../shared/golden-transformer", model, file);
  return path;
}

static void need_folder(void) {
  const char *ci = getenv("CI");
  DIR *found = opendir(path_of(models[0], ""));
  if (found) {
    closedir(found);
    return;
  }
  if (ci && *ci) fail_msg("%s is missing; name its folder in HEED_GOLDEN_TRANSFORMER", path_of(models[0], ""));
  skip();
}

static heed_transformer *load(heed_context *ctx, const char *model) {
  heed_model_folder *folder = NULL;
  heed_transformer *transformer = NULL;
  ASSERT_OK(heed_model_folder_open(path_of(model, ""), &folder));
  heed_transformer_config config = *heed_model_folder_config(folder);
  config.empty = true;
  ASSERT_OK(heed_transformer_create(ctx, &config, 0, &transformer));
  ASSERT_OK(heed_model_folder_load(folder, transformer));
  heed_model_folder_close(folder);
  return transformer;
}

// The tokens of llm.c's file: 256 int32 of header, then uint16.
static void read_tokens(const char *model, int32_t tokens[STEPS * BATCH * LENGTH + 1]) {
  FILE *file = fopen(path_of(model, "tokens.bin"), "rb");
  assert_non_null(file);
  assert_int_equal(fseek(file, HEADER, SEEK_SET), 0);
  for (int i = 0; i <= STEPS * BATCH * LENGTH; ++i) {
    uint16_t token = 0;
    assert_int_equal(fread(&token, sizeof token, 1, file), 1);
    tokens[i] = token;
  }
  fclose(file);
}

static heed_optimizer *make_optimizer(heed_transformer *transformer) {
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  const heed_optimizer_config config = {
      .kind = HEED_OPTIMIZER_ADAMW,
      .adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1},
      .decay_matrices = true,
      .max_norm = 1};
  heed_optimizer *optimizer = NULL;
  ASSERT_OK(heed_optimizer_create(parameters, count, &config, &optimizer));
  return optimizer;
}

// One element of an array of float64, which the reader gives as F32.
static double number(const heed_safetensors *file, const char *name, int index) {
  const heed_array *array = heed_safetensors_find(file, name);
  assert_non_null(array);
  return (double)((const float *)array->data)[index];
}

// The gradient of a bias on all keys is zero but for rounding, which AdamW scales up.
static double tolerance_of(const char *name) {
  return strstr(name, "c_attn.bias") || strstr(name, "k_proj.bias") ? 1e-3 : 2e-5;
}

static void assert_parameters(const heed_transformer *transformer, const heed_safetensors *expected) {
  const heed_architecture architecture = heed_transformer_configuration(transformer)->architecture;
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  heed_safetensors *actual = NULL;
  ASSERT_OK(heed_safetensors_create(&actual));
  for (size_t i = 0; i < count; ++i) {
    const char *name = parameters[i].name;
    ASSERT_OK(heed_model_add(actual, name, heed_model_is_transposed(architecture, name), parameters[i].value));
    const heed_array *a = heed_safetensors_find(actual, name), *e = heed_safetensors_find(expected, name);
    if (!e || a->bytes != e->bytes) fail_msg("%s is missing or of another shape", name);
    const float *x = a->data, *r = e->data;
    double difference = 0, norm = 0;
    for (size_t j = 0; j < a->bytes / sizeof *x; ++j) {
      difference += ((double)x[j] - (double)r[j]) * ((double)x[j] - (double)r[j]);
      norm += (double)r[j] * (double)r[j];
    }
    const double error = sqrt(difference / norm);
    if (!(error <= tolerance_of(name))) fail_msg("%s: relative error %g after %d steps", name, error, STEPS);
  }
  heed_safetensors_destroy(actual);
}

static void assert_training(heed_context *ctx, const char *model, heed_transformer *transformer) {
  heed_safetensors *expected = NULL;
  ASSERT_OK(heed_safetensors_read(path_of(model, "after_10_steps.safetensors"), &expected));
  heed_optimizer *optimizer = make_optimizer(transformer);
  int32_t tokens[STEPS * BATCH * LENGTH + 1];
  read_tokens(model, tokens);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1));
  for (int step = 0; step < STEPS; ++step) {
    const int32_t *first = tokens + step * BATCH * LENGTH;
    heed_tensor *x = support_put(ctx, HEED_I32, SHAPE(BATCH, LENGTH), first);
    heed_tensor *y = support_put(ctx, HEED_I32, SHAPE(BATCH, LENGTH), first + 1);
    ASSERT_OK(heed_transformer_loss(transformer, x, y, NULL, NULL, loss));
    ASSERT_OK(heed_optimizer_step(optimizer));
    ASSERT_CLOSE(support_get(loss)[0], number(expected, "losses", step), 1e-6 * number(expected, "losses", step));
    ASSERT_CLOSE(support_get(heed_optimizer_norm(optimizer))[0], number(expected, "norms", step),
                 2e-5 * number(expected, "norms", step));
  }
  assert_parameters(transformer, expected);
  heed_optimizer_destroy(optimizer);
  heed_safetensors_destroy(expected);
}

static int32_t largest(const heed_tensor *logits, int64_t row) {
  const int64_t vocab = heed_tensor_dim(logits, 1);
  const float *values = support_get(logits) + row * vocab;
  int64_t best = 0;
  for (int64_t i = 1; i < vocab; ++i)
    if (values[i] > values[best]) best = i;
  return (int32_t)best;
}

static void assert_greedy(heed_context *ctx, const char *model, heed_transformer *transformer) {
  json_error_t error;
  json_t *json = json_load_file(path_of(model, "greedy.json"), 0, &error);
  assert_non_null(json);
  const json_t *prompts = json_object_get(json, "prompt"), *continued = json_object_get(json, "continued");
  for (size_t p = 0; p < json_array_size(prompts); ++p) {
    const json_t *prompt = json_array_get(prompts, p), *expected = json_array_get(continued, p);
    int32_t ids[64];
    const int64_t length = (int64_t)json_array_size(prompt), more = (int64_t)json_array_size(expected);
    assert_true(length <= 64 && more > 0);
    for (int64_t i = 0; i < length; ++i) ids[i] = (int32_t)json_integer_value(json_array_get(prompt, (size_t)i));
    heed_kv_cache *cache = NULL;
    ASSERT_OK(heed_kv_cache_create(transformer, 1, length + more, &cache));
    heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(1, heed_transformer_configuration(transformer)->vocab));
    heed_tensor *tokens = support_put(ctx, HEED_I32, SHAPE(1, length), ids);
    for (int64_t i = 0; i < more; ++i) {
      ASSERT_OK(heed_transformer_decode(transformer, cache, tokens, logits));
      const int32_t next = largest(logits, 0);
      assert_int_equal(next, json_integer_value(json_array_get(expected, (size_t)i)));
      tokens = support_put(ctx, HEED_I32, SHAPE(1, 1), &next);
    }
    heed_kv_cache_destroy(cache);
  }
  json_decref(json);
}

static void ten_steps_are_those_of_pytorch(void **state) {
  heed_context *ctx = support_context(state);
  need_folder();
  for (size_t i = 0; i < sizeof models / sizeof *models; ++i) {
    heed_transformer *transformer = load(ctx, models[i]);
    print_message("%s\n", models[i]);
    assert_training(ctx, models[i], transformer);
    assert_greedy(ctx, models[i], transformer);
    heed_transformer_destroy(transformer);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(ten_steps_are_those_of_pytorch)};
  return RUN_ON_BOTH("training a transformer", tests);
}
