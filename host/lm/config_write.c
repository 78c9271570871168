// Writes config.json: a new one, or one that was read, changed where the weights beside it differ.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/status.h"
#include "lm/config.h"

// A dictionary that is being filled: one failure spoils it.
struct filling {
  json_t *json;
  bool failed;
};

static void set(struct filling *f, const char *key, json_t *value) {
  if (json_object_set_new(f->json, key, value) != 0) f->failed = true;
}
static void set_size(struct filling *f, const char *key, int64_t value) { set(f, key, json_integer(value)); }

static void fill_gpt2(struct filling *f, const heed_transformer_config *c) {
  set_size(f, "n_layer", c->layers);
  set_size(f, "n_embd", c->width);
  set_size(f, "n_head", c->heads);
  set_size(f, "n_positions", c->context);
  set(f, "n_inner", c->ffn == 4 * c->width ? json_null() : json_integer(c->ffn));
  set(f, "layer_norm_epsilon", json_real(c->norm_eps));
  set(f, "activation_function", json_string("gelu_new"));
  static const char *const dropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop"};
  for (int i = 0; i < 3; ++i) set(f, dropouts[i], json_real(c->dropout));
}

static void fill_llama(struct filling *f, const heed_transformer_config *c) {
  set_size(f, "num_hidden_layers", c->layers);
  set_size(f, "hidden_size", c->width);
  set_size(f, "intermediate_size", c->ffn);
  set_size(f, "num_attention_heads", c->heads);
  set_size(f, "num_key_value_heads", c->kv_heads);
  set_size(f, "head_dim", c->head_dim);
  set_size(f, "max_position_embeddings", c->context);
  set(f, "rms_norm_eps", json_real(c->norm_eps));
  set(f, "hidden_act", json_string("silu"));
  set(f, "rope_theta", json_real(c->rope_theta));
  if (c->architecture == HEED_ARCHITECTURE_MISTRAL)
    set(f, "sliding_window", c->window ? json_integer(c->window) : json_null());
  if (c->architecture == HEED_ARCHITECTURE_QWEN2) set(f, "use_sliding_window", json_false());
  if (c->architecture == HEED_ARCHITECTURE_LLAMA) {
    set(f, "attention_bias", json_false());
    set(f, "mlp_bias", json_false());
  }
}

static const char *class_of(heed_architecture architecture) {
  switch (architecture) {
    case HEED_ARCHITECTURE_GPT2:
      return "GPT2LMHeadModel";
    case HEED_ARCHITECTURE_LLAMA:
      return "LlamaForCausalLM";
    case HEED_ARCHITECTURE_MISTRAL:
      return "MistralForCausalLM";
    case HEED_ARCHITECTURE_QWEN2:
      return "Qwen2ForCausalLM";
  }
  return "";
}

static const char *torch_name(heed_dtype dtype) {
  return dtype == HEED_F16 ? "float16" : dtype == HEED_BF16 ? "bfloat16" : "float32";
}

static void fill_new(struct filling *f, const heed_transformer_config *c, int64_t end) {
  json_t *architectures = json_array();
  if (json_array_append_new(architectures, json_string(class_of(c->architecture))) != 0) f->failed = true;
  set(f, "architectures", architectures);
  set(f, "model_type", json_string(heed_architecture_string(c->architecture)));
  set_size(f, "vocab_size", c->vocab);
  if (c->architecture == HEED_ARCHITECTURE_GPT2)
    fill_gpt2(f, c);
  else
    fill_llama(f, c);
  set(f, "tie_word_embeddings", json_boolean(c->tied > 0));
  // Their defaults in transformers are ids of the first models' vocabularies.
  set(f, "bos_token_id", end >= 0 ? json_integer(end) : json_null());
  set(f, "eos_token_id", end >= 0 ? json_integer(end) : json_null());
}

static heed_status write_text(const char *path, const json_t *json) {
  char *text = json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
  HEED__REQUIRE(text, HEED_ERROR_OUT_OF_MEMORY, "no memory to write %s", path);
  struct heed__atomic_file file;
  heed_status status = heed__atomic_open(&file, path);
  if (status == HEED_OK) status = heed__atomic_write(&file, text, strlen(text));
  if (status == HEED_OK) status = heed__atomic_write(&file, "\n", 1);
  if (status == HEED_OK) status = heed__atomic_commit(&file);
  heed__atomic_close(&file);
  free(text);
  return status;
}

heed_status heed__lm_config_write(const char *path, const heed_transformer_config *c, const json_t *like, int64_t end,
                                  heed_dtype dtype) {
  struct filling f = {.json = like ? json_deep_copy(like) : json_object()};
  HEED__REQUIRE(f.json, HEED_ERROR_OUT_OF_MEMORY, "no memory to write %s", path);
  if (!like) fill_new(&f, c, end);
  // Newer versions of transformers write "dtype", and all read "torch_dtype".
  set(&f, json_object_get(f.json, "dtype") ? "dtype" : "torch_dtype", json_string(torch_name(dtype)));
  const heed_status status =
      f.failed ? heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to write %s", path) : write_text(path, f.json);
  json_decref(f.json);
  return status;
}
