// Reads config.json: the keys that heed uses, and those that ask for something that heed has not. All other keys say nothing about
// the computation.
#include "lm/config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/status.h"
#include "base/text.h"

enum { MOST_BYTES = 16 << 20 };
static const double LEAST = 1e-300;  // of numbers over 0

// The file and its content, for messages.
struct source {
  const char *path;
  const json_t *json;
  heed_architecture architecture;
};

// ---------------------------------------------------------------- keys

// A key that is missing and one that is null are the same.
static const json_t *value_of(const struct source *source, const char *key) {
  const json_t *value = json_object_get(source->json, key);
  return json_is_null(value) ? NULL : value;
}

static heed_status read_size(const struct source *source, const char *key, bool needed, int64_t *out) {
  const json_t *value = value_of(source, key);
  if (!value && !needed) return HEED_OK;
  HEED__REQUIRE(value, HEED_ERROR_FORMAT, "%s: \"%s\" is missing; a %s has it", source->path, key,
                heed_architecture_string(source->architecture));
  HEED__REQUIRE(json_is_integer(value) && json_integer_value(value) >= 1 && json_integer_value(value) <= INT32_MAX,
                HEED_ERROR_FORMAT, "%s: \"%s\" is not an integer from 1 to %d", source->path, key, INT32_MAX);
  *out = json_integer_value(value);
  return HEED_OK;
}

static heed_status read_number(const struct source *source, const json_t *value, const char *key, double least,
                               double *out) {
  if (!value) return HEED_OK;
  const double number = json_is_number(value) ? json_number_value(value) : NAN;
  HEED__REQUIRE(isfinite(number) && number >= least, HEED_ERROR_FORMAT, "%s: \"%s\" is not a number of at least %g",
                source->path, key, least);
  *out = number;
  return HEED_OK;
}

static heed_status read_flag(const struct source *source, const char *key, bool missing, bool *out) {
  const json_t *value = value_of(source, key);
  HEED__REQUIRE(!value || json_is_boolean(value), HEED_ERROR_FORMAT, "%s: \"%s\" is neither true nor false",
                source->path, key);
  *out = value ? json_is_true(value) : missing;
  return HEED_OK;
}

__attribute__((format(printf, 2, 3))) static heed_status has_not(const struct source *source, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return heed__fail(HEED_ERROR_UNSUPPORTED, "%s: %s; heed does not have this", source->path, text);
}

// Fails if the key has another value than the only one that heed knows.
static heed_status must_be(const struct source *source, const char *key, bool only) {
  bool value = only;
  HEED__TRY(read_flag(source, key, only, &value));
  return value == only ? HEED_OK : has_not(source, "\"%s\" is %s", key, value ? "true" : "false");
}

static heed_status must_read(const struct source *source, const json_t *value, const char *key, const char *only) {
  if (!value) return HEED_OK;
  const char *text = json_string_value(value);
  HEED__REQUIRE(text, HEED_ERROR_FORMAT, "%s: \"%s\" is not a text", source->path, key);
  if (strcmp(text, only) == 0) return HEED_OK;
  return has_not(source, "\"%s\" is \"%s\", not \"%s\"", key, heed__printable(text).text, only);
}

// ---------------------------------------------------------------- architectures

static heed_status read_gpt2(const struct source *source, heed_transformer_config *c) {
  HEED__TRY(read_size(source, "n_layer", true, &c->layers));
  HEED__TRY(read_size(source, "n_embd", true, &c->width));
  HEED__TRY(read_size(source, "n_head", true, &c->heads));
  HEED__TRY(read_size(source, "n_positions", true, &c->context));
  HEED__TRY(read_size(source, "n_inner", false, &c->ffn));
  HEED__TRY(read_number(source, value_of(source, "layer_norm_epsilon"), "layer_norm_epsilon", LEAST, &c->norm_eps));
  HEED__TRY(read_number(source, value_of(source, "resid_pdrop"), "resid_pdrop", 0, &c->dropout));
  HEED__TRY(must_read(source, value_of(source, "activation_function"), "activation_function", "gelu_new"));
  HEED__TRY(must_be(source, "scale_attn_weights", true));
  HEED__TRY(must_be(source, "scale_attn_by_inverse_layer_idx", false));
  HEED__TRY(must_be(source, "reorder_and_upcast_attn", false));
  return must_be(source, "add_cross_attention", false);
}

// Layers with angles of their own have objects there: {"full_attention": {"rope_type": …}, …}.
static heed_status check_flat(const struct source *source, const char *name, const json_t *group) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)group, key, value) if (json_is_object(value) || json_is_array(value)) return has_not(
      source, "\"%s\" has \"%s\"", name, heed__printable(key).text);
  return HEED_OK;
}

// Angles are rope_theta's alone: "rope_parameters" is how new versions spell it, "rope_scaling" how old ones stretch it.
static heed_status read_rope(const struct source *source, heed_transformer_config *c) {
  HEED__TRY(read_number(source, value_of(source, "rope_theta"), "rope_theta", LEAST, &c->rope_theta));
  static const char *const groups[] = {"rope_parameters", "rope_scaling"};
  for (int i = 0; i < 2; ++i) {
    const json_t *group = value_of(source, groups[i]);
    HEED__REQUIRE(!group || json_is_object(group), HEED_ERROR_FORMAT, "%s: \"%s\" is not an object", source->path,
                  groups[i]);
    if (!group) continue;
    const json_t *type = json_object_get(group, "rope_type");
    HEED__TRY(must_read(source, type ? type : json_object_get(group, "type"), "rope_type", "default"));
    HEED__TRY(check_flat(source, groups[i], group));
    const json_t *theta = json_object_get(group, "rope_theta");
    if (!json_is_null(theta)) HEED__TRY(read_number(source, theta, "rope_theta", LEAST, &c->rope_theta));
    if (i == 1 && !type && !json_object_get(group, "type")) return has_not(source, "\"rope_scaling\" scales");
  }
  double part = 1;
  HEED__TRY(read_number(source, value_of(source, "partial_rotary_factor"), "partial_rotary_factor", 0, &part));
  return part == 1 ? HEED_OK : has_not(source, "\"partial_rotary_factor\" is %g", part);
}

static heed_status check_layer_types(const struct source *source) {
  const json_t *types = value_of(source, "layer_types");
  HEED__REQUIRE(!types || json_is_array(types), HEED_ERROR_FORMAT, "%s: \"layer_types\" is not a list", source->path);
  for (size_t i = 0; i < json_array_size(types); ++i)
    HEED__TRY(must_read(source, json_array_get(types, i), "layer_types", "full_attention"));
  return HEED_OK;
}

static heed_status read_window(const struct source *source, heed_transformer_config *c) {
  if (c->architecture == HEED_ARCHITECTURE_QWEN2) return must_be(source, "use_sliding_window", false);
  if (c->architecture != HEED_ARCHITECTURE_MISTRAL) return HEED_OK;
  if (!json_object_get(source->json, "sliding_window")) c->window = 4096;  // as transformers has it; null: none
  return read_size(source, "sliding_window", false, &c->window);
}

static heed_status read_llama(const struct source *source, heed_transformer_config *c) {
  HEED__TRY(read_size(source, "num_hidden_layers", true, &c->layers));
  HEED__TRY(read_size(source, "hidden_size", true, &c->width));
  HEED__TRY(read_size(source, "intermediate_size", true, &c->ffn));
  HEED__TRY(read_size(source, "num_attention_heads", true, &c->heads));
  HEED__TRY(read_size(source, "num_key_value_heads", false, &c->kv_heads));
  HEED__TRY(read_size(source, "head_dim", false, &c->head_dim));
  HEED__TRY(read_size(source, "max_position_embeddings", true, &c->context));
  HEED__TRY(read_number(source, value_of(source, "rms_norm_eps"), "rms_norm_eps", LEAST, &c->norm_eps));
  HEED__TRY(must_read(source, value_of(source, "hidden_act"), "hidden_act", "silu"));
  HEED__TRY(must_be(source, "mlp_bias", false));
  if (c->architecture != HEED_ARCHITECTURE_QWEN2) HEED__TRY(must_be(source, "attention_bias", false));
  HEED__TRY(read_rope(source, c));
  HEED__TRY(check_layer_types(source));
  return read_window(source, c);
}

static heed_status read_architecture(struct source *source) {
  const json_t *named = value_of(source, "model_type");
  const char *type = json_string_value(named);
  HEED__REQUIRE(type, HEED_ERROR_FORMAT, "%s: \"model_type\" %s", source->path, named ? "is not a text" : "is missing");
  for (int i = 0; heed_architecture_string((heed_architecture)i)[0]; ++i) {
    source->architecture = (heed_architecture)i;
    if (strcmp(type, heed_architecture_string(source->architecture)) == 0) return HEED_OK;
  }
  return heed__fail(HEED_ERROR_UNSUPPORTED, "%s: the model is a %s; heed has gpt2, llama, mistral and qwen2",
                    source->path, heed__printable(type).text);
}

static heed_status check_ends(const struct source *source) {
  const json_t *ends = value_of(source, "eos_token_id"), *end;
  size_t i;
  HEED__REQUIRE(!ends || json_is_integer(ends) || json_is_array(ends), HEED_ERROR_FORMAT,
                "%s: \"eos_token_id\" is neither a number nor a list of numbers", source->path);
  json_array_foreach(ends, i, end)
      HEED__REQUIRE(json_is_integer(end), HEED_ERROR_FORMAT,
                    "%s: \"eos_token_id\" is neither a number nor a list of numbers", source->path);
  return HEED_OK;
}

bool heed__lm_config_is_end(const json_t *json, int64_t id) {
  const json_t *ends = json_object_get(json, "eos_token_id"), *end;
  size_t i;
  json_array_foreach(ends, i, end) if (json_integer_value(end) == id) return true;
  return json_is_integer(ends) && json_integer_value(ends) == id;
}

static heed_status parse(struct source *source, heed_transformer_config *c) {
  HEED__REQUIRE(json_is_object(source->json), HEED_ERROR_FORMAT, "%s: it is not a JSON object", source->path);
  HEED__TRY(read_architecture(source));
  *c = (heed_transformer_config){.architecture = source->architecture};
  const bool gpt2 = c->architecture == HEED_ARCHITECTURE_GPT2;
  HEED__TRY(read_size(source, "vocab_size", true, &c->vocab));
  if (value_of(source, "quantization_config"))
    return has_not(source, "\"quantization_config\" asks for quantized weights");
  HEED__TRY(gpt2 ? read_gpt2(source, c) : read_llama(source, c));
  HEED__TRY(check_ends(source));
  bool tied = gpt2;
  HEED__TRY(read_flag(source, "tie_word_embeddings", gpt2, &tied));
  c->tied = tied ? 1 : -1;
  const heed_status status = heed_transformer_complete(c);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "%s", source->path);
}

// ---------------------------------------------------------------- the file

heed_status heed__lm_config_read(const char *path, heed_transformer_config *out, json_t **kept) {
  *kept = NULL;
  char *text = NULL;
  size_t bytes = 0;
  HEED__TRY(heed__whole_file(path, MOST_BYTES, "a configuration is not", &text, &bytes));
  json_error_t error;
  bool no_memory = false;
  const char *instead = heed__not_downloaded(text, bytes);
  json_t *json = instead ? NULL : heed__json_load(text, bytes, &error, &no_memory);
  free(text);
  HEED__REQUIRE(!instead, HEED_ERROR_FORMAT, "%s: %s", path, instead);
  HEED__REQUIRE(!no_memory, HEED_ERROR_OUT_OF_MEMORY, "no memory to read %s", path);
  HEED__REQUIRE(json, HEED_ERROR_FORMAT, "%s: it is no JSON: line %d: %s", path, error.line,
                heed__printable(error.text).text);
  struct source source = {.path = path, .json = json};
  const heed_status parsed = parse(&source, out);
  if (parsed == HEED_OK)
    *kept = json;
  else
    json_decref(json);
  return parsed;
}
