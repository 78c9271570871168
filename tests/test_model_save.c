// Model folders that heed writes: they are read again, to the same values, and keep what other programs wrote into config.json.
#include <heed/lm.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_files.h"
#include "support_values.h"

static heed_transformer_config small(heed_architecture architecture) {
  heed_transformer_config config = {
      .architecture = architecture, .layers = 2, .width = 16, .heads = 4, .vocab = 11, .context = 8, .ffn = 24};
  if (architecture != HEED_ARCHITECTURE_GPT2) {
    config.kv_heads = 2;
    config.head_dim = 6;
    config.rope_theta = 12345.5;
  }
  if (architecture == HEED_ARCHITECTURE_MISTRAL) config.window = 5;
  if (architecture == HEED_ARCHITECTURE_QWEN2) config.tied = 1;
  config.norm_eps = 3e-5;
  return config;
}

static heed_transformer *make(heed_context *ctx, const heed_transformer_config *config) {
  heed_transformer *transformer = NULL;
  ASSERT_OK(heed_transformer_create(ctx, config, 3, &transformer));
  return transformer;
}

static heed_model_folder *open_folder(const char *name) {
  heed_model_folder *folder = NULL;
  ASSERT_OK(heed_model_folder_open(support_path(name), &folder));
  return folder;
}

static heed_transformer *load(heed_context *ctx, const heed_model_folder *folder) {
  heed_transformer_config config = *heed_model_folder_config(folder);
  config.empty = true;
  heed_transformer *transformer = make(ctx, &config);
  ASSERT_OK(heed_model_folder_load(folder, transformer));
  return transformer;
}

static void assert_same_values(const heed_transformer *actual, const heed_transformer *expected) {
  const heed_parameter *a, *e;
  const size_t count = heed_transformer_parameters(expected, &e);
  assert_int_equal(heed_transformer_parameters(actual, &a), count);
  for (size_t i = 0; i < count; ++i) ASSERT_SAME_BITS(a[i].value, e[i].value);
}

static json_t *read_config(const char *name) {
  json_error_t error;
  json_t *json = json_load_file(support_path(name), 0, &error);
  if (!json) fail_msg("%s: %s", name, error.text);
  return json;
}

static void what_is_saved_is_loaded_to_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  for (int a = 0; a < 4; ++a) {
    const heed_transformer_config config = small((heed_architecture)a);
    heed_transformer *saved = make(ctx, &config);
    ASSERT_OK(heed_model_folder_save(support_path("model"), saved, NULL));
    heed_model_folder *folder = open_folder("model");
    const heed_transformer_config *c = heed_model_folder_config(folder), *e = heed_transformer_configuration(saved);
    assert_int_equal(c->architecture, a);
    assert_int_equal(c->kv_heads, e->kv_heads);
    assert_int_equal(c->head_dim, e->head_dim);
    assert_int_equal(c->ffn, e->ffn);
    assert_int_equal(c->window, e->window);
    assert_int_equal(c->tied, e->tied);
    assert_true(c->norm_eps == e->norm_eps);
    assert_true(c->rope_theta == e->rope_theta);
    heed_transformer *loaded = load(ctx, folder);
    assert_same_values(loaded, saved);
    heed_transformer_destroy(loaded);
    heed_transformer_destroy(saved);
    heed_model_folder_close(folder);
  }
}

static void a_tied_head_is_not_written(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_QWEN2);
  heed_transformer *saved = make(ctx, &config);
  ASSERT_OK(heed_model_folder_save(support_path("model"), saved, NULL));
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(support_path("model/model.safetensors"), &file));
  assert_null(heed_safetensors_find(file, "lm_head.weight"));
  assert_string_equal(heed_safetensors_metadata(file, "format"), "pt");
  heed_safetensors_destroy(file);
  heed_transformer_destroy(saved);
}

static void weights_are_rounded_to_16_bits_if_asked_for(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *saved = make(ctx, &config);
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  static const char *const names[] = {"float16", "bfloat16"};
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(heed_model_folder_save(support_path("model"), saved, &(heed_model_save_options){.dtype = dtypes[i]}));
    heed_transformer_config half = config;
    half.dtype = dtypes[i];
    heed_transformer *rounded = make(ctx, &half);
    heed_model_folder *folder = open_folder("model");
    heed_transformer *loaded = load(ctx, folder);
    const heed_parameter *a, *e;
    const size_t count = heed_transformer_parameters(rounded, &e);
    heed_transformer_parameters(loaded, &a);
    for (size_t p = 0; p < count; ++p) {
      const float *actual = support_get(a[p].value), *expected = support_get(e[p].value);
      for (int64_t j = 0; j < heed_tensor_count(a[p].value); ++j) assert_true(actual[j] == expected[j]);
    }
    json_t *json = read_config("model/config.json");
    assert_string_equal(json_string_value(json_object_get(json, "torch_dtype")), names[i]);
    json_decref(json);
    heed_transformer_destroy(loaded);
    heed_transformer_destroy(rounded);
    heed_model_folder_close(folder);
  }
  heed_transformer_destroy(saved);
}

static void the_masters_of_16_bit_parameters_are_saved(void **state) {
  heed_context *ctx = support_context(state);
  heed_transformer_config config = small(HEED_ARCHITECTURE_LLAMA);
  config.dtype = HEED_BF16;
  heed_transformer *trained = make(ctx, &config);
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(trained, &parameters);
  heed_optimizer *optimizer = NULL;
  const heed_optimizer_config adamw = {.kind = HEED_OPTIMIZER_ADAMW,
                                       .adamw = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}};
  ASSERT_OK(heed_optimizer_create(parameters, count, &adamw, &optimizer));
  for (size_t i = 0; i < count; ++i) ASSERT_OK(heed_fill(parameters[i].grad, 1));
  ASSERT_OK(heed_optimizer_step(optimizer));
  ASSERT_OK(heed_model_folder_save(support_path("model"), trained, &(heed_model_save_options){.optimizer = optimizer}));
  heed_model_folder *folder = open_folder("model");
  heed_transformer *loaded = load(ctx, folder);
  const heed_parameter *a;
  heed_transformer_parameters(loaded, &a);
  for (size_t i = 0; i < count; ++i) ASSERT_SAME_BITS(a[i].value, heed_optimizer_state(optimizer, "master", i));
  heed_optimizer_destroy(optimizer);
  heed_transformer_destroy(loaded);
  heed_transformer_destroy(trained);
  heed_model_folder_close(folder);
}

static void keys_that_heed_does_not_know_are_kept(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *saved = make(ctx, &config);
  ASSERT_OK(heed_model_folder_save(support_path("model"), saved, NULL));
  json_t *json = read_config("model/config.json");
  json_object_set_new(json, "dtype", json_string("float16"));
  json_object_del(json, "torch_dtype");
  json_object_set_new(json, "task_specific_params", json_pack("{s:{s:i}}", "text-generation", "max_length", 50));
  json_object_set_new(json, "eos_token_id", json_pack("[i,i]", 3, 7));
  assert_int_equal(json_dump_file(json, support_path("model/config.json"), 0), 0);
  heed_model_folder *folder = open_folder("model");
  for (int id = -1; id < 11; ++id) assert_int_equal(heed_model_folder_is_end(folder, id), id == 3 || id == 7);
  ASSERT_OK(heed_model_folder_save(support_path("copy"), saved, &(heed_model_save_options){.like = folder}));
  json_object_set_new(json, "dtype", json_string("float32"));
  json_t *copy = read_config("copy/config.json");
  assert_true(json_equal(copy, json));
  json_decref(copy);
  json_decref(json);
  heed_model_folder_close(folder);
  heed_transformer_destroy(saved);
}

static void the_index_of_older_shards_does_not_stay(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *saved = make(ctx, &config);
  static const char index[] = "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}";
  support_write_file(support_path("model/model.safetensors.index.json"), index, sizeof index - 1);
  support_write_file(support_path("model/notes.txt"), "mine", 4);
  ASSERT_OK(heed_model_folder_save(support_path("model"), saved, NULL));
  heed_model_folder *folder = open_folder("model");
  heed_transformer_destroy(load(ctx, folder));
  heed_model_folder_close(folder);
  char kept[8] = "";
  assert_int_equal(support_read_file(support_path("model/notes.txt"), kept, sizeof kept), 4);
  heed_transformer_destroy(saved);
}

static void a_folder_that_cannot_be_written_is_named(void **state) {
  heed_context *ctx = support_context(state);
  const heed_transformer_config config = small(HEED_ARCHITECTURE_GPT2);
  heed_transformer *saved = make(ctx, &config);
  support_write_file(support_path("file"), "x", 1);
  ASSERT_FAILS(HEED_ERROR_IO, "is no folder", heed_model_folder_save(support_path("file"), saved, NULL));
  ASSERT_FAILS(HEED_ERROR_IO, "No such file", heed_model_folder_save(support_path("not/there"), saved, NULL));
  ASSERT_FAILS(HEED_ERROR_DTYPE, "I32",
               heed_model_folder_save(support_path("model"), saved, &(heed_model_save_options){.dtype = HEED_I32}));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_model_folder_save(NULL, saved, NULL));
  heed_transformer_destroy(saved);
}

static void other_forms_are_refused_with_the_command_that_converts_them(void **state) {
  (void)state;
  heed_model_folder *folder = NULL;
  support_write_file(support_path("other/model-q8_0.gguf"), "GGUF", 4);
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "gguf_file=f", heed_model_folder_open(support_path("other"), &folder));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "gguf_file=f",
               heed_model_folder_open(support_path("other/model-q8_0.gguf"), &folder));
  support_empty_folder();
  support_write_file(support_path("other/pytorch_model.bin"), "PK", 2);
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "save_pretrained", heed_model_folder_open(support_path("other"), &folder));
  ASSERT_FAILS(HEED_ERROR_IO, "config.json", heed_model_folder_open(support_path("nowhere"), &folder));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_is_saved_is_loaded_to_the_same_bits),
      TEST(a_tied_head_is_not_written),
      TEST(weights_are_rounded_to_16_bits_if_asked_for),
      TEST(the_masters_of_16_bit_parameters_are_saved),
      TEST(keys_that_heed_does_not_know_are_kept),
      TEST(the_index_of_older_shards_does_not_stay),
      TEST(a_folder_that_cannot_be_written_is_named),
      TEST(other_forms_are_refused_with_the_command_that_converts_them),
  };
  support_make_folder(NULL);
  const int failures = RUN_ON_BOTH("model folders that heed writes", tests);
  support_remove_folder(NULL);
  return failures;
}
