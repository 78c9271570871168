// heed lm generate: what ends a text, how it comes out, how it is chosen, and where the context ends. The model says what a table says.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lm/lm.h"
#include "support_lm.h"

enum { BYTES = 256, CONTEXT = 32 };

// ---------------------------------------------------------------- a model that follows a table

// After byte b comes follows[b]: "a" and then these bytes, over and over.
static const char says[] = "b\xc3\xa9 <END>\xe2\x82\xac\xf0\x9f\x98\x80z";

static void fill_table(int follows[BYTES]) {
  for (int b = 0; b < BYTES; b++) follows[b] = 'a';
  int last = 'a';
  for (const char *at = says; *at; at++) {
    follows[last] = (unsigned char)*at;
    last = (unsigned char)*at;
  }
}

static void set(const heed_parameter *parameter, const float *values) {
  ASSERT_OK(heed_tensor_upload_f32(parameter->value, values, heed_tensor_count(parameter->value)));
}

// Each token is a unit vector, which blocks of zeros leave alone; the head's row of a token points to those that it follows.
static void write_model(const char *path, heed_architecture architecture, int64_t window, bool tokenizer) {
  static float values[BYTES * BYTES];
  int follows[BYTES];
  const heed_transformer_config config = {.architecture = architecture,
                                          .layers = 1,
                                          .width = BYTES,
                                          .heads = 2,
                                          .ffn = 32,
                                          .vocab = BYTES,
                                          .context = CONTEXT,
                                          .window = window,
                                          .empty = true};
  heed_context *ctx = NULL;
  heed_transformer *transformer = NULL;
  heed_tokenizer *bytes = NULL;
  ASSERT_OK(heed_open("host", &ctx));
  ASSERT_OK(heed_transformer_create(ctx, &config, 1, &transformer));
  fill_table(follows);
  const heed_parameter *parameters;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  for (size_t i = 0; i < count; i++) {
    memset(values, 0, sizeof values);
    for (int b = 0; b < BYTES; b++) {
      if (strstr(parameters[i].name, "embed_tokens")) values[b * BYTES + b] = 1;
      if (strcmp(parameters[i].name, "lm_head.weight") == 0) values[follows[b] * BYTES + b] = 1;
      if (strcmp(parameters[i].name, "model.norm.weight") == 0) values[b] = 1;
    }
    set(&parameters[i], values);
  }
  ASSERT_OK(heed_tokenizer_create_bytes(&bytes));
  ASSERT_OK(
      heed_model_folder_save(path, transformer, &(heed_model_save_options){.tokenizer = tokenizer ? bytes : NULL}));
  heed_tokenizer_destroy(bytes);
  heed_transformer_destroy(transformer);
  heed_context_destroy(ctx);
}

static int enter(void **state) {
  if (support_lm_on_host(state) != 0) return -1;
  write_model("model", HEED_ARCHITECTURE_LLAMA, 0, true);
  write_model("numbers", HEED_ARCHITECTURE_LLAMA, 0, false);
  write_model("window", HEED_ARCHITECTURE_MISTRAL, 8, true);
  return 0;
}

// What follows "a", greedily.
#define SAYS(...) LM("generate", "--model", "model", "--prompt", "a", "--temperature", "0", __VA_ARGS__)
#define ASSERT_SAYS(text, ...)                         \
  do {                                                 \
    assert_int_equal(SAYS(__VA_ARGS__), 0);            \
    assert_string_equal(support_printed, (text "\n")); \
  } while (0)

// ---------------------------------------------------------------- the end of a text

static void a_text_has_as_many_tokens_as_asked_for(void **state) {
  (void)state;
  ASSERT_SAYS("b", "--tokens", "1");
  ASSERT_SAYS("b\xc3\xa9 <END>\xe2\x82\xac\xf0\x9f\x98\x80zab\xc3", "--tokens", "20");
  ASSERT_SAYS("b\xc3\xa9 <", "--tokens", "5", "--top-k", "3", "--top-p", "0.5");
  ASSERT_SAYS("b\xc3\xa9\n98,195,169", "--tokens", "3", "--show-ids");
}

static void a_text_ends_before_the_one_that_stops_it(void **state) {
  (void)state;
  ASSERT_SAYS("b\xc3\xa9 ", "--tokens", "20", "--stop", "<END>");  // five tokens
  ASSERT_SAYS("b\xc3\xa9 <EN", "--tokens", "20", "--stop", "D>");
  ASSERT_SAYS("", "--tokens", "20", "--stop", "b\xc3\xa9");
  ASSERT_SAYS("b\xc3\xa9 <END>", "--tokens", "20", "--stop", "\xe2\x82\xac");
  ASSERT_SAYS("b\xc3\xa9 <", "--tokens", "5", "--stop", "<EXIT>");  // which may have begun
  ASSERT_SAYS("b\xc3\xa9 <END", "--tokens", "8", "--stop", "<END>?");
  assert_int_equal(SAYS("--tokens", "20", "--stop", "<END>", "--json"), 0);
  json_t *printed = support_lm_json();
  assert_string_equal(json_string_value(json_object_get(printed, "text")), "b\xc3\xa9 ");
  json_decref(printed);
  ASSERT_LM(2, "--stop", "generate", "--model", "model", "--prompt", "a", "--stop", "");
  ASSERT_LM(1, "numbers has no tokenizer", "generate", "--model", "numbers", "--ids", "97", "--stop", "x");
}

static void set_end(const char *from, const char *to) { support_replace_in_file("model/config.json", from, to); }

static void a_text_ends_before_an_end_of_text_id(void **state) {
  (void)state;
  static const char none[] = "\"eos_token_id\": null", number[] = "\"eos_token_id\": 60",
                    list[] = "\"eos_token_id\": [7, 169]";
  set_end(none, number);
  ASSERT_SAYS("b\xc3\xa9 ", "--tokens", "20");
  ASSERT_SAYS("b\xc3\xa9 <END", "--tokens", "8", "--stop", ">", "--ignore-eos");
  set_end(number, list);
  assert_int_equal(SAYS("--tokens", "20", "--json"), 0);
  json_t *printed = support_lm_json();
  const json_t *ids = json_object_get(printed, "ids");
  assert_int_equal(json_array_size(ids), 2);
  assert_int_equal(json_integer_value(json_array_get(ids, 1)), 195);
  assert_string_equal(json_string_value(json_object_get(printed, "text")), "b\xef\xbf\xbd");  // half a character
  json_decref(printed);
  ASSERT_SAYS("b\xc3\xa9 <", "--tokens", "5", "--ignore-eos");
  set_end(list, none);
}

// ---------------------------------------------------------------- how it comes out

static void only_whole_characters_are_shown(void **state) {
  (void)state;
  char *shown = NULL;
  size_t bytes = 0;
  heed_tokenizer *tokenizer = NULL;
  ASSERT_OK(heed_tokenizer_create_bytes(&tokenizer));
  lm_stream stream = {.tokenizer = tokenizer, .to = open_memstream(&shown, &bytes)};
  static const struct {
    unsigned char byte;
    const char *shown;
  } steps[] = {{'b', "b"},
               {0xc3, "b"},
               {0xa9, "b\xc3\xa9"},
               {0xf0, "b\xc3\xa9"},
               {0x9f, "b\xc3\xa9"},
               {0x98, "b\xc3\xa9"},
               {0x80, "b\xc3\xa9\xf0\x9f\x98\x80"},
               {0xe2, "b\xc3\xa9\xf0\x9f\x98\x80"},
               {'x', "b\xc3\xa9\xf0\x9f\x98\x80\xe2x"},  // it was none
               {0xff, "b\xc3\xa9\xf0\x9f\x98\x80\xe2x\xff"},
               {0xe2, "b\xc3\xa9\xf0\x9f\x98\x80\xe2x\xff"}};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    bool stop = false;
    assert_int_equal(lm_stream_token(steps[i].byte, &stop, &stream), 0);
    fflush(stream.to);
    assert_false(stop);
    assert_string_equal(shown, steps[i].shown);
  }
  lm_stream_end(&stream);  // nothing is kept back for ever
  fflush(stream.to);
  assert_string_equal(shown, "b\xc3\xa9\xf0\x9f\x98\x80\xe2x\xff\xe2");
  fclose(stream.to);
  free(shown);
  lm_stream_free(&stream);
  heed_tokenizer_destroy(tokenizer);
}

// ---------------------------------------------------------------- prompts

static void prompts_come_from_words_files_and_numbers(void **state) {
  (void)state;
  support_write_file("prompt", "xya", 3);
  assert_int_equal(LM("generate", "--model", "model", "--prompt-file", "prompt", "--temperature", "0", "--tokens", "3"),
                   0);
  assert_string_equal(support_printed, "b\xc3\xa9\n");
  assert_int_equal(LM("generate", "--model", "numbers", "--ids", "120,97", "--temperature", "0", "--tokens", "3"), 0);
  assert_string_equal(support_printed, "98,195,169\n");
  assert_int_equal(LM("generate", "--model", "numbers", "--ids", "97", "--tokens", "2", "--temperature", "0", "--json"),
                   0);
  json_t *printed = support_lm_json();
  assert_int_equal(json_array_size(json_object_get(printed, "ids")), 2);
  assert_null(json_object_get(printed, "text"));
  json_decref(printed);
}

static void prompts_that_make_no_sense_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"", "1,", ",1", "1,,2", "x", "1 2", "99999999999999999999999"};
#define WITH(...) "generate", "--model", "model", __VA_ARGS__
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ASSERT_LM(2, "--ids", WITH("--ids", bad[i]));
  ASSERT_LM(1, "id 1 is -3", WITH("--ids", "1,-3"));
  ASSERT_LM(1, "id 0 is 256", WITH("--ids", "256"));
  ASSERT_LM(2, "--prompt", WITH("--prompt", ""));
  support_write_file("nothing", "", 0);
  ASSERT_LM(1, "no tokens", WITH("--prompt-file", "nothing"));
  ASSERT_LM(1, "absent", WITH("--prompt-file", "absent"));
  ASSERT_LM(2, "--prompt", WITH("--tokens", "3"));
  ASSERT_LM(2, "--prompt", WITH("--prompt", "a", "--ids", "1"));
  ASSERT_LM(2, "--model", "generate", "--prompt", "a");
  ASSERT_LM(1, "--ids", "generate", "--model", "numbers", "--prompt", "a");
  ASSERT_LM(2, "--top-p", WITH("--prompt", "a", "--top-p", "1.5"));
  ASSERT_LM(2, "--temperature", WITH("--prompt", "a", "--temperature", "-1"));
}

// ---------------------------------------------------------------- choices

static void choices_follow_from_the_seed(void **state) {
  (void)state;
  char first[256];
#define DRAWN(...) \
  LM("generate", "--model", "model", "--prompt", "a", "--tokens", "25", "--temperature", "9", __VA_ARGS__)
  assert_int_equal(DRAWN("--seed", "7", "--show-ids"), 0);
  snprintf(first, sizeof first, "%.255s", support_printed);
  assert_int_equal(DRAWN("--seed", "7", "--show-ids"), 0);
  assert_int_equal(strncmp(first, support_printed, 255), 0);
  assert_int_equal(DRAWN("--seed", "8", "--show-ids"), 0);
  assert_int_not_equal(strncmp(first, support_printed, 255), 0);
  assert_int_equal(DRAWN("--seed", "7", "--top-k", "1"), 0);
  assert_int_equal(strncmp(support_printed, "b\xc3\xa9 <END>", 8), 0);
  assert_int_equal(DRAWN("--seed", "7", "--top-p", "0.001"), 0);
  assert_int_equal(strncmp(support_printed, "b\xc3\xa9 <END>", 8), 0);
}

// ---------------------------------------------------------------- the context

static void a_text_that_does_not_fit_is_refused_or_slides(void **state) {
  (void)state;
  static const char forty[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  ASSERT_LM(1, "40 tokens", WITH("--prompt", forty, "--tokens", "1"));
  ASSERT_LM(1, "--tokens 32 fits", WITH("--prompt", "a", "--tokens", "33"));
  ASSERT_LM(0, "", WITH("--prompt", "a", "--tokens", "32", "--temperature", "0"));
  ASSERT_LM(0, "", WITH("--prompt", "a", "--temperature", "0", "--json"));  // as many as fit
  json_t *printed = support_lm_json();
  assert_int_equal(json_array_size(json_object_get(printed, "ids")), CONTEXT);
  json_decref(printed);
  ASSERT_LM(0, "", WITH("--prompt", "a", "--temperature", "0", "--tokens", "100", "--slide", "--json"));
  printed = support_lm_json();
  assert_int_equal(json_array_size(json_object_get(printed, "ids")), 100);
  json_decref(printed);
  ASSERT_LM(1, "40 tokens", WITH("--prompt", forty, "--tokens", "1", "--slide"));
  // With an end in sight, no number of tokens is too large.
  ASSERT_LM(0, "", WITH("--prompt", "a", "--temperature", "0", "--tokens", "2147483647", "--slide", "--stop", "z"));
}

static void a_window_goes_on_beyond_the_context(void **state) {
  (void)state;
  static const char forty[] = "xaxaxaxaxaxaxaxaxaxaxaxaxaxaxaxaxaxaxaxa";
  ASSERT_LM(0, "", "generate", "--model", "window", "--prompt", forty, "--tokens", "60", "--temperature", "0",
            "--json");
  json_t *printed = support_lm_json();
  const json_t *ids = json_object_get(printed, "ids");
  int follows[BYTES], last = 'a';
  fill_table(follows);
  assert_int_equal(json_array_size(ids), 60);
  for (size_t i = 0; i < 60; i++, last = follows[last])
    assert_int_equal(json_integer_value(json_array_get(ids, i)), follows[last]);
  json_decref(printed);
  ASSERT_LM(1, "tokens", "generate", "--model", "window", "--prompt", "a", "--tokens", "2147483647");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_text_has_as_many_tokens_as_asked_for),
      cmocka_unit_test(a_text_ends_before_the_one_that_stops_it),
      cmocka_unit_test(a_text_ends_before_an_end_of_text_id),
      cmocka_unit_test(only_whole_characters_are_shown),
      cmocka_unit_test(prompts_come_from_words_files_and_numbers),
      cmocka_unit_test(prompts_that_make_no_sense_are_refused),
      cmocka_unit_test(choices_follow_from_the_seed),
      cmocka_unit_test(a_text_that_does_not_fit_is_refused_or_slides),
      cmocka_unit_test(a_window_goes_on_beyond_the_context),
  };
  return cmocka_run_group_tests(tests, enter, support_lm_leave);
}
