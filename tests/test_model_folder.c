// Model folders: what was written is read, and what heed has not, or what is broken, is refused by name.
#include <heed/lm.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_files.h"
#include "support_values.h"

static const char gpt2[] =
    "{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_embd\": 8, \"n_head\": 2, \"n_positions\": 6, \"vocab_size\": 5%s}";
static const char llama[] =
    "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 8, \"num_attention_heads\": 2, "
    "\"intermediate_size\": 12, \"max_position_embeddings\": 6, \"vocab_size\": 5%s}";

static void write_config(const char *format, const char *more) {
  char text[2048];
  const int length = snprintf(text, sizeof text, format, more);
  assert_true(length > 0 && length < (int)sizeof text);
  support_write_file(support_path("model/config.json"), text, (size_t)length);
}

// Writes the weights of a new model, under names that begin with `prefix` in place of "transformer.", without one of them, and with one
// more.
static void write_weights(heed_context *ctx, heed_architecture architecture, const char *prefix, const char *without,
                          const char *more) {
  const heed_transformer_config config = {.architecture = architecture,
                                          .layers = 1,
                                          .width = 8,
                                          .heads = 2,
                                          .vocab = 5,
                                          .context = 6,
                                          .ffn = architecture == HEED_ARCHITECTURE_GPT2 ? 0 : 12};
  heed_transformer *transformer = NULL;
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_transformer_create(ctx, &config, 9, &transformer));
  ASSERT_OK(heed_safetensors_create(&file));
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  for (size_t i = 0; i < count; ++i) {
    const char *name = parameters[i].name;
    char written[160];
    if (strcmp(name, without) == 0) continue;
    const bool prefixed = strncmp(name, "transformer.", 12) == 0;
    snprintf(written, sizeof written, "%s%s", prefixed ? prefix : "", prefixed ? name + 12 : name);
    ASSERT_OK(heed_model_add(file, written, heed_model_is_transposed(architecture, name), parameters[i].value));
  }
  if (*more) ASSERT_OK(heed_safetensors_add(file, more, HEED_F32, 1, (int64_t[]){1}, &(float){1}));
  ASSERT_OK(heed_safetensors_write(file, support_path("model/model.safetensors")));
  heed_safetensors_destroy(file);
  heed_transformer_destroy(transformer);
}

static heed_status load(heed_context *ctx) {
  heed_model_folder *folder = NULL;
  heed_transformer *loaded = NULL, *expected = NULL;
  heed_status status = heed_model_folder_open(support_path("model"), &folder);
  if (status != HEED_OK) {
    assert_null(folder);
    return status;
  }
  ASSERT_OK(heed_transformer_create(ctx, heed_model_folder_config(folder), 1, &loaded));
  ASSERT_OK(heed_transformer_create(ctx, heed_model_folder_config(folder), 9, &expected));
  status = heed_model_folder_load(folder, loaded);
  if (status == HEED_OK) {
    const heed_parameter *a, *e;
    const size_t count = heed_transformer_parameters(loaded, &a);
    heed_transformer_parameters(expected, &e);
    for (size_t i = 0; i < count; ++i) ASSERT_SAME_BITS(a[i].value, e[i].value);
  }
  heed_transformer_destroy(loaded);
  heed_transformer_destroy(expected);
  heed_model_folder_close(folder);
  return status;
}

static heed_context *host(void) {
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open("host", &ctx));
  return ctx;
}

static void what_was_written_is_read(void **state) {
  (void)state;
  heed_context *ctx = host();
  write_config(gpt2, "");
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "transformer.", "", "");
  ASSERT_OK(load(ctx));
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "", "", "transformer.h.0.attn.bias");
  ASSERT_OK(load(ctx));
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "transformer.", "", "lm_head.weight");
  ASSERT_OK(load(ctx));
  write_config(llama, "");
  write_weights(ctx, HEED_ARCHITECTURE_LLAMA, "", "", "model.layers.0.self_attn.rotary_emb.inv_freq");
  ASSERT_OK(load(ctx));
  heed_context_destroy(ctx);
}

static void the_configuration_is_read(void **state) {
  (void)state;
  heed_context *ctx = host();
  heed_model_folder *folder = NULL;
  write_weights(ctx, HEED_ARCHITECTURE_LLAMA, "", "", "");
  static const char *const thetas[] = {", \"rope_theta\": 5e5", ", \"rope_parameters\": {\"rope_theta\": 5e5}",
                                       ", \"rope_theta\": 5e5, \"rope_scaling\": null"};
  for (size_t i = 0; i < sizeof thetas / sizeof *thetas; ++i) {
    write_config(llama, thetas[i]);
    ASSERT_OK(heed_model_folder_open(support_path("model"), &folder));
    assert_true(heed_model_folder_config(folder)->rope_theta == 5e5);
    assert_int_equal(heed_model_folder_config(folder)->kv_heads, 2);
    assert_int_equal(heed_model_folder_config(folder)->head_dim, 4);
    assert_int_equal(heed_model_folder_config(folder)->tied, -1);
    heed_model_folder_close(folder);
  }
  heed_context_destroy(ctx);
}

static void a_file_is_no_folder(void **state) {
  (void)state;
  heed_model_folder *folder;
  support_write_file(support_path("weights"), "x", 1);
  ASSERT_FAILS(HEED_ERROR_IO, "weights: a file; name the folder",
               heed_model_folder_open(support_path("weights"), &folder));
}

static void what_heed_has_not_is_refused_by_name(void **state) {
  (void)state;
  heed_context *ctx = host();
  static const struct {
    const char *format, *more, *part;
    heed_status status;
  } wrong[] = {
      {"{\"model_type\": \"bert\"%s}", "", "bert", HEED_ERROR_UNSUPPORTED},
      {"{%s}", "", "model_type", HEED_ERROR_FORMAT},
      {"[1%s]", "", "not a JSON object", HEED_ERROR_FORMAT},
      {"{\"model_type\": %s", "", "no JSON", HEED_ERROR_FORMAT},
      {"version https://git-lfs.github.com/spec/v1\n%s", "", "a git-lfs pointer", HEED_ERROR_FORMAT},
      {"\n<html>%s", "", "a web page", HEED_ERROR_FORMAT},
      {gpt2, ", \"activation_function\": \"relu\"", "activation_function", HEED_ERROR_UNSUPPORTED},
      {gpt2, ", \"scale_attn_by_inverse_layer_idx\": true", "scale_attn_by_inverse_layer_idx", HEED_ERROR_UNSUPPORTED},
      {gpt2, ", \"reorder_and_upcast_attn\": true", "reorder_and_upcast_attn", HEED_ERROR_UNSUPPORTED},
      {gpt2, ", \"n_inner\": -4", "n_inner", HEED_ERROR_FORMAT},
      {gpt2, ", \"n_inner\": 1e9", "n_inner", HEED_ERROR_FORMAT},
      {gpt2, ", \"n_inner\": 99999999999", "n_inner", HEED_ERROR_FORMAT},
      {gpt2, ", \"layer_norm_epsilon\": \"small\"", "layer_norm_epsilon", HEED_ERROR_FORMAT},
      {gpt2, ", \"tie_word_embeddings\": 1", "tie_word_embeddings", HEED_ERROR_FORMAT},
      {gpt2, ", \"quantization_config\": {}", "quantization_config", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"mlp_bias\": true", "mlp_bias", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"attention_bias\": true", "attention_bias", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"hidden_act\": \"gelu\"", "hidden_act", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"rope_scaling\": {\"rope_type\": \"llama3\"}", "llama3", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}", "linear", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"rope_scaling\": {\"factor\": 2}", "rope_scaling", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"layer_types\": [\"sliding_attention\"]", "sliding_attention", HEED_ERROR_UNSUPPORTED},
      {llama, ", \"num_key_value_heads\": 3", "kv_heads", HEED_ERROR_INVALID_ARGUMENT},
      {llama, ", \"head_dim\": 3", "head_dim", HEED_ERROR_INVALID_ARGUMENT},
  };
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "transformer.", "", "");
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    write_config(wrong[i].format, wrong[i].more);
    ASSERT_FAILS(wrong[i].status, wrong[i].part, load(ctx));
    ASSERT_FAILS(wrong[i].status, "config.json", load(ctx));
  }
  heed_context_destroy(ctx);
}

static void wrong_weights_are_named(void **state) {
  (void)state;
  heed_context *ctx = host();
  write_config(gpt2, "");
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "transformer.", "transformer.h.0.mlp.c_fc.bias", "");
  ASSERT_FAILS(HEED_ERROR_FORMAT, "transformer.h.0.mlp.c_fc.bias", load(ctx));
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "transformer.", "", "transformer.h.1.ln_1.weight");
  ASSERT_FAILS(HEED_ERROR_FORMAT, "transformer.h.1.ln_1.weight", load(ctx));
  write_config(gpt2, ", \"n_inner\": 16");
  write_weights(ctx, HEED_ARCHITECTURE_GPT2, "transformer.", "", "");
  ASSERT_FAILS(HEED_ERROR_FORMAT, "c_fc.weight is [8, 32]; its configuration needs [8, 16]", load(ctx));
  support_empty_folder();
  ASSERT_FAILS(HEED_ERROR_IO, "config.json", load(ctx));
  write_config(gpt2, "");
  assert_int_not_equal(load(ctx), HEED_OK);
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_was_written_is_read), TEST(the_configuration_is_read),
      TEST(a_file_is_no_folder),      TEST(what_heed_has_not_is_refused_by_name),
      TEST(wrong_weights_are_named),
  };
  return cmocka_run_group_tests_name("model folders", tests, support_make_folder, support_remove_folder);
}
