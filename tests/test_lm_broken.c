// heed lm with folders that are broken or hostile: a message that names the file and what is wrong, exit status 1, and no more memory than
// the folder is worth.
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_lm.h"

static const char weights[] = "broken/model.safetensors", config[] = "broken/config.json",
                  tokenizer[] = "broken/tokenizer.json";

static int enter(void **state) {
  if (support_lm_on_host(state) != 0) return -1;
  support_lm_write_text("text", 700, 1);
#define SHAPE "--layers", "2", "--heads", "2", "--width", "16", "--context", "12", "--steps", "1", "-q", "--save"
  if (LM("train", "--data", "text", "--arch", "llama", SHAPE, "llama") != 0) return -1;
  return LM("train", "--data", "text", SHAPE, "gpt2");
}

static void restore_from(const char *model) {
  if (system("rm -rf broken") != 0) fail();
  support_copy_folder(model, "broken/");
}

// Every word that opens a model refuses it, and says both.
static void refused(const char *file, const char *part) {
  static const char *const words[][6] = {{"generate", "--model", "broken", "--ids", "1", NULL},
                                         {"eval", "--model", "broken", "--data", "text", NULL},
                                         {"train", "--data", "text", "--init", "broken", NULL}};
  for (size_t i = 0; i < 3; i++) {
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    const int status = support_lm(words[i]);
    getrusage(RUSAGE_SELF, &after);
    if (status != 1 || !strstr(support_said, file) || !strstr(support_said, part))
      fail_msg("%s: exit status %d, or no \"%s\" and \"%s\" in: %s", words[i][0], status, file, part, support_said);
    if (strchr(support_said, '\n') != support_said + strlen(support_said) - 1)
      fail_msg("a message of more than one line: %s", support_said);
    if (after.ru_maxrss - before.ru_maxrss > 100000) fail_msg("%s took %ld KB", words[i][0], after.ru_maxrss);
  }
}

// ---------------------------------------------------------------- config.json

static void numbers_that_are_too_large_are_refused_before_memory_is_taken(void **state) {
  (void)state;
  static const char *const gpt2[] = {"n_embd", "n_layer", "n_head", "n_positions", "n_inner", "vocab_size"};
  static const char *const llama[] = {"hidden_size",         "num_hidden_layers", "num_attention_heads",
                                      "num_key_value_heads", "head_dim",          "max_position_embeddings",
                                      "intermediate_size",   "vocab_size"};
  static const char *const values[] = {"2147483647", "2147483646", "1073741824", "4611686018427387904", "0", "-1",
                                       "1.5",        "\"16\"",     "1e400"};
  for (size_t k = 0; k < 14; k++) {
    const char *key = k < 6 ? gpt2[k] : llama[k - 6];
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
      char text[128], old[64], command[512];
      snprintf(text, sizeof text, "\"%s\": %s", key, values[v]);
      snprintf(old, sizeof old, "\"%s\": ", key);
      restore_from(k < 6 ? "gpt2" : "llama");
      snprintf(command, sizeof command, "sed -i -E 's/\"%s\": *[0-9a-z]+/\"%s\": %s/' %s", key, key, values[v], config);
      assert_int_equal(system(command), 0);
      support_replace_in_file(config, text, text);  // it is there
      // Positions of rotary models are no weights: they need memory only where there are as many.
      if (strcmp(key, "max_position_embeddings") == 0 && v < 3) {
        ASSERT_LM(0, "", "generate", "--model", "broken", "--ids", "1", "--tokens", "2");
        ASSERT_LM(0, "", "eval", "--model", "broken", "--data", "text", "--context", "12");
        ASSERT_LM(1, "one window needs", "eval", "--model", "broken", "--data", "text");
        ASSERT_LM(1, "", "train", "--data", "text", "--init", "broken", "-q");
        continue;
      }
      refused("broken", "");
    }
  }
}

static void a_configuration_that_asks_for_something_else_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *from, *to, *part;
  } cases[] = {{"\"llama\"", "\"bert\"", "bert"},
               {"\"silu\"", "\"gelu\"", "hidden_act"},
               {"{", "{\"mlp_bias\": true,", "mlp_bias"},
               {"{", "{\"attention_bias\": true,", "attention_bias"},
               {"{", "{\"quantization_config\": {},", "quantization_config"},
               {"{", "{\"rope_scaling\": {\"rope_type\": \"yarn\"},", "rope_type"},
               {"{", "{\"eos_token_id\": \"x\", \"x\": {", "JSON"},
               {"\"vocab_size\"", "\"vocab_sise\"", "vocab_size"},
               {"\"llama\"", "\"l\\u001b[31m\"", "model is a"},
               {"\"llama\"", "[\"llama\"]", "\"model_type\" is not a text"},
               {"\"model_type\"", "\"type\"", "\"model_type\" is missing"},
               {"{", "[", "JSON"},
               {"{", "", "JSON"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    restore_from("llama");
    support_replace_in_file(config, cases[i].from, cases[i].to);
    refused(config, cases[i].part);
    assert_null(strchr(support_said, '\x1b'));
  }
  restore_from("llama");
  assert_int_equal(unlink(config), 0);
  refused(config, "No such file");
  support_write_file(config, "", 0);
  refused(config, "JSON");
}

static void a_configuration_of_17_megabytes_is_not_read(void **state) {
  (void)state;
  restore_from("gpt2");
  FILE *file = fopen(config, "r+");
  assert_non_null(file);
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  for (int i = 0; i < 17 << 20; i++) fputc(' ', file);
  assert_int_equal(fclose(file), 0);
  refused(config, "16 MiB");
}

static void a_deep_configuration_is_refused(void **state) {
  (void)state;
  restore_from("gpt2");
  FILE *file = fopen(config, "w");
  assert_non_null(file);
  for (int i = 0; i < 100000; i++) fputs("{\"a\":", file);
  assert_int_equal(fclose(file), 0);
  refused(config, "JSON");
}

// ---------------------------------------------------------------- weights

static void weights_that_do_not_fit_are_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *from, *to, *part;
  } cases[] = {{"\"model.norm.weight\"", "\"model.norm.wEight\"", "model.norm.w"},
               {"\"model.layers.1.mlp.up_proj.weight\"", "\"model.layers.7.mlp.up_proj.weight\"", "mlp.up_proj"},
               {"[256,16]", "[16,256]", "embed_tokens"},
               {"[256,16]", "[-56,16]", "embed_tokens"},
               {"\"F32\",\"shape\":[256,16]", "\"F3\",\"shape\":[256,16]", ""},
               {"\"data_offsets\":[0,", "\"data_offsets\":[4,", ""},
               {"{", "[", ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    restore_from("llama");
    support_replace_in_file(weights, cases[i].from, cases[i].to);
    refused("broken", cases[i].part);
  }
}

// By the names of GPT-2's first files and by those of later ones.
static void weights_that_are_there_twice_are_refused(void **state) {
  (void)state;
  heed_safetensors *file = NULL;
  const float values[16] = {0};
  restore_from("gpt2");
  ASSERT_OK(heed_safetensors_read(weights, &file));
  ASSERT_OK(heed_safetensors_add(file, "ln_f.bias", HEED_F32, 1, (const int64_t[]){16}, values));
  ASSERT_OK(heed_safetensors_write(file, weights));
  heed_safetensors_destroy(file);
  refused(weights, "it has both ln_f.bias and transformer.ln_f.bias");
}

static void set_bytes(long at, int from, const void *bytes, size_t count) {
  FILE *file = fopen(weights, "r+b");
  assert_non_null(file);
  assert_int_equal(fseek(file, at, from), 0);
  assert_int_equal(fwrite(bytes, 1, count, file), count);
  assert_int_equal(fclose(file), 0);
}

static void torn_weights_are_refused(void **state) {
  (void)state;
  static const long lengths[] = {0, 7, 8, 100, 3000, 20000};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    restore_from("llama");
    assert_int_equal(truncate(weights, lengths[i]), 0);
    refused(weights, "");
  }
  restore_from("llama");
  set_bytes(0, SEEK_SET, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  refused(weights, "");
  restore_from("llama");
  assert_int_equal(unlink(weights), 0);
  refused("model.safetensors", "");
}

static void weights_that_are_no_numbers_are_refused(void **state) {
  (void)state;
  static const float bad[] = {NAN, INFINITY};
  for (int i = 0; i < 2; i++) {
    restore_from("llama");
    set_bytes(-4, SEEK_END, &bad[i], 4);
    ASSERT_LM(1, "broken", "eval", "--model", "broken", "--data", "text");
    ASSERT_LM(1, "weights", "generate", "--model", "broken", "--prompt", "a");
    ASSERT_LM(1, "in step 0", "train", "--data", "text", "--init", "broken", "--steps", "3", "-q");
  }
}

// A folder may come from an archive, which can hold pipes and links to devices. Nobody waits for the one, or reads the other to its end.
static void pipes_and_devices_are_no_files_of_a_model(void **state) {
  (void)state;
  static const char *const files[] = {"broken/config.json", "broken/model.safetensors", "broken/tokenizer.json",
                                      "broken/model.safetensors.index.json", "broken/shard.safetensors"};
  for (size_t i = 0; i < 2 * (sizeof files / sizeof *files); i++) {
    const char *file = files[i / 2];
    restore_from("gpt2");
    if (strstr(file, "shard")) {
      static const char index[] = "{\"weight_map\": {\"transformer.wte.weight\": \"shard.safetensors\"}}";
      support_write_file("broken/model.safetensors.index.json", index, sizeof index - 1);
    }
    unlink(file);
    assert_int_equal(i % 2 ? symlink("/dev/zero", file) : mkfifo(file, 0600), 0);
    refused(file, "is no file, but a pipe or a device");
  }
}

static void models_of_other_programs_are_refused_with_what_converts_them(void **state) {
  (void)state;
  static const char *const files[] = {"pytorch_model.bin", "model.gguf"};
  for (int i = 0; i < 2; i++) {
    restore_from("llama");
    assert_int_equal(unlink(weights), 0);
    char path[64];
    snprintf(path, sizeof path, "broken/%s", files[i]);
    support_write_file(path, "GGUF", 4);
    refused(files[i], "convert");
  }
}

// What stands where one looks for weights, and what is called like those of PyTorch and is none.
static void a_folder_without_weights_is_refused(void **state) {
  (void)state;
  restore_from("llama");
  assert_int_equal(unlink(weights), 0);
  support_write_file("broken/tokens.bin", "x", 1);
  refused("broken", "there are no weights: neither model.safetensors nor model.safetensors.index.json");
}

static void angles_of_each_kind_of_layer_are_refused(void **state) {
  (void)state;
  restore_from("llama");
  support_replace_in_file(config, "\"model_type\": ",
                          "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"yarn\"}}, \"model_type\": ");
  refused("config.json", "\"rope_parameters\" has \"full_attention\"; heed does not have this");
}

static void what_nobody_sees_in_a_configuration_is_named(void **state) {
  (void)state;
  static const struct {
    const char *text, *part;
  } cases[] = {{"", "it is empty"},
               {"\xef\xbb\xbf{\"model_type\": \"gpt2\"}", "a byte order mark"},
               {"{\"model_type\": \"gpt2\", \"x\": \"\\u0000\"}", "the character U+0000"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    restore_from("gpt2");
    support_write_file(config, cases[i].text, strlen(cases[i].text));
    refused("config.json", cases[i].part);
  }
}

// ---------------------------------------------------------------- tokenizers

static void a_hostile_tokenizer_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *part;
  } cases[] = {{"", "JSON"},
               {"{}", "model"},
               {"{\"model\": {\"type\": \"Unigram\"}}", "Unigram"},
               {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", ""},
               {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 2147483647}, \"merges\": []}}", ""},
               {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 99999999999999}, \"merges\": []}}", ""},
               {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"b c\"]}}", ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    restore_from("gpt2");
    support_write_file(tokenizer, cases[i].text, strlen(cases[i].text));
    refused("broken", cases[i].part);
    ASSERT_LM(1, "broken", "tokenize", "--model", "broken", "text");
    ASSERT_LM(1, "broken", "info", "--model", "broken");
  }
}

static void a_tokenizer_of_a_larger_vocabulary_is_refused(void **state) {
  (void)state;
  restore_from("gpt2");
  support_replace_in_file(config, "\"vocab_size\": 256", "\"vocab_size\": 255");
  refused("broken", "256");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_that_are_too_large_are_refused_before_memory_is_taken),
      cmocka_unit_test(a_configuration_that_asks_for_something_else_is_refused),
      cmocka_unit_test(a_configuration_of_17_megabytes_is_not_read),
      cmocka_unit_test(a_deep_configuration_is_refused),
      cmocka_unit_test(weights_that_do_not_fit_are_refused_by_name),
      cmocka_unit_test(weights_that_are_there_twice_are_refused),
      cmocka_unit_test(torn_weights_are_refused),
      cmocka_unit_test(weights_that_are_no_numbers_are_refused),
      cmocka_unit_test(pipes_and_devices_are_no_files_of_a_model),
      cmocka_unit_test(models_of_other_programs_are_refused_with_what_converts_them),
      cmocka_unit_test(a_folder_without_weights_is_refused),
      cmocka_unit_test(angles_of_each_kind_of_layer_are_refused),
      cmocka_unit_test(what_nobody_sees_in_a_configuration_is_named),
      cmocka_unit_test(a_hostile_tokenizer_is_refused),
      cmocka_unit_test(a_tokenizer_of_a_larger_vocabulary_is_refused),
  };
  return cmocka_run_group_tests(tests, enter, support_lm_leave);
}
