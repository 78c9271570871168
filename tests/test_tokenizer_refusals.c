// What heed has not got is refused by name, and files that are broken or hostile by a message: nothing is approximated, nothing crashes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_files.h"
#include "support_tokenizer.h"

static void assert_says(heed_status expected, heed_status status, const char *says) {
  if (status != expected) fail_msg("status %s: %s", heed_status_string(status), status ? heed_last_error() : says);
  if (!strstr(heed_last_error(), says)) fail_msg("'%s' does not say '%s'", heed_last_error(), says);
  if (strchr(heed_last_error(), '\n')) fail_msg("'%s' has several lines", heed_last_error());
}

typedef struct refusal {
  tokenizer_parts parts;
  const char *says;
} refusal;

static void refuse_all(const refusal *refusals, size_t count, heed_status expected) {
  for (size_t i = 0; i < count; i++) {
    heed_tokenizer *tokenizer = NULL;
    assert_says(expected, tokenizer_open(&refusals[i].parts, &tokenizer), refusals[i].says);
    assert_non_null(strstr(heed_last_error(), "tokenizer.json: "));
    assert_null(tokenizer);
  }
}
#define REFUSE(list, status) refuse_all(list, sizeof(list) / sizeof *(list), status)

#define SPLIT(regex)                                                                                     \
  "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex \
  "\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"

static void what_heed_has_not_got_is_named(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.normalizer = "{\"type\": \"NFKC\"}"}, "\"normalizer\" is a NFKC"},
      {{.normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Lowercase\"}]}"},
       "Lowercase"},
      {{.pre_tokenizer = "null"}, "\"pre_tokenizer\" has no ByteLevel"},
      {{.pre_tokenizer = "{\"type\": \"Metaspace\"}"}, "\"pre_tokenizer\" has a Metaspace"},
      {{.pre_tokenizer = "{\"type\": \"Digits\"}"}, "has no ByteLevel"},
      {{.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [" TOKENIZER_BYTES ", {\"type\": \"Digits\"}]}"},
       "something follows ByteLevel"},
      {{.pre_tokenizer = "{\"type\": \"ByteLevel\", \"trim\": 1}"}, "pre_tokenizer.trim"},
      {{.decoder = "{\"type\": \"WordPiece\"}"}, "\"decoder\" is a WordPiece"},
      {{.decoder = "{\"type\": \"Fuse\"}"}, "\"decoder\" has no ByteLevel"},
      {{.post_processor = "{\"type\": \"BertProcessing\"}"}, "\"post_processor\" has a BertProcessing"},
      {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\"}}, "
                          "{\"Sequence\": {\"id\": \"B\"}}]}"},
       "another text than one A"},
      {{.model = "\"dropout\": 0.1"}, "\"model.dropout\" is 0.1"},
      {{.model = "\"byte_fallback\": true"}, "\"model.byte_fallback\" is true"},
      {{.model = "\"continuing_subword_prefix\": \"##\""}, "\"model.continuing_subword_prefix\" is \"##\""},
      {{.model = "\"end_of_word_suffix\": \"</w>\""}, "\"model.end_of_word_suffix\""},
      {{.model = "\"max_length\": 3"}, "model.max_length"},
      {{.more = "\"truncated\": true"}, "tokenizer.truncated"},
      {{.added_tokens = "[{\"id\": 233, \"content\": \"\xC3\xA9\"}]"}, "stands for other bytes"},
  };
  REFUSE(refusals, HEED_ERROR_UNSUPPORTED);
}

// Oniguruma, whose syntax tokenizer.json has, and PCRE2 mean different things by these.
static void expressions_of_another_meaning_are_named(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.pre_tokenizer = SPLIT("\\\\h+")}, "has \\h at offset 0"},
      {{.pre_tokenizer = SPLIT("a\\\\R")}, "has \\R at offset 1"},
      {{.pre_tokenizer = SPLIT("^a")}, "an anchor"},
      {{.pre_tokenizer = SPLIT("a$")}, "an anchor"},
      {{.pre_tokenizer = SPLIT("\\\\ba")}, "\\b"},
      {{.pre_tokenizer = SPLIT("(?i)a")}, "a group of a kind"},
      {{.pre_tokenizer = SPLIT("(?s:.)")}, "a group of a kind"},
      {{.pre_tokenizer = SPLIT("(*F)")}, "a group of a kind"},
      {{.pre_tokenizer = SPLIT("[a[b]]")}, "a class in a class"},
      {{.pre_tokenizer = SPLIT("[a&&b]")}, "an intersection of classes"},
      {{.pre_tokenizer = SPLIT("[[:alpha:]]")}, "a class in a class"},
      {{.pre_tokenizer = SPLIT("[]a]")}, "an empty class"},
      {{.pre_tokenizer = SPLIT("[\\\\W]")}, "\\W in a class"},
      {{.pre_tokenizer = SPLIT("a{2}+")}, "a repetition of a repetition"},
      {{.pre_tokenizer = SPLIT("a{,2}")}, "a { that repeats nothing"},
      {{.pre_tokenizer = SPLIT("(?i:\\\\p{Lu})")}, "letters of one case"},
      {{.pre_tokenizer = SPLIT("(?i:stra\xc3\x9f"
                               "e)")},
       "letters that one character stands for"},
      {{.pre_tokenizer = SPLIT("(?i:pass)")}, "letters that one character stands for"},
      {{.pre_tokenizer = SPLIT("(?i:oFFen)")}, "letters that one character stands for"},
      {{.pre_tokenizer = SPLIT("(?i:[\xc3\x9f])")}, "a character beyond ASCII"},
      {{.pre_tokenizer = SPLIT("(?i:\\\\x{df})")}, "a character beyond ASCII"},
      {{.pre_tokenizer = SPLIT("\\\\p{IsGreek!}")}, "a property"},
      {{.pre_tokenizer = SPLIT("\\\\p{Klingon}")}, "PCRE2 does not take"},
      {{.pre_tokenizer = SPLIT("\\\\xE9")}, "a byte that is no character"},
      {{.pre_tokenizer = SPLIT("(a")}, "a ( without its )"},
      {{.pre_tokenizer = SPLIT("a)")}, "a ) without its ("},
      {{.pre_tokenizer = SPLIT("[a")}, "a class without an end"},
      {{.pre_tokenizer = SPLIT("a\\\\")}, "a \\ without a character"},
      {{.pre_tokenizer = SPLIT("+a")}, "PCRE2 does not take"},
  };
  REFUSE(refusals, HEED_ERROR_UNSUPPORTED);
}

static void files_that_are_broken_are_named(void **state) {
  (void)state;
  static const refusal refusals[] = {
      {{.normalizer = "3"}, "\"normalizer\" is no object"},
      {{.normalizer = "{}"}, "\"normalizer.type\" is missing"},
      {{.pre_tokenizer = "{\"type\": 4}"}, "\"pre_tokenizer.type\" is no text"},
      {{.pre_tokenizer = "{\"type\": \"Sequence\"}"}, "\"pre_tokenizer.pretokenizers\" is missing"},
      {{.pre_tokenizer = "{\"type\": \"ByteLevel\", \"use_regex\": \"yes\"}"},
       "\"pre_tokenizer.use_regex\" is no boolean"},
      {{.pre_tokenizer = "{\"type\": \"Split\", \"behavior\": \"Isolated\"}"}, "neither \"Regex\" nor \"String\""},
      {{.pre_tokenizer = "{\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}}"},
       "\"pre_tokenizer.behavior\" is missing"},
      {{.added_tokens = "{}"}, "\"added_tokens\" is no list"},
      {{.added_tokens = "[3]"}, "\"added_tokens\" is no object"},
      {{.added_tokens = "[{\"id\": 270}]"}, "has no \"content\""},
      {{.added_tokens = "[{\"id\": 270, \"content\": \"\"}]"}, "has no \"content\""},
      {{.added_tokens = "[{\"id\": 271, \"content\": \"<s>\"}]"}, "the next one is 270"},
      {{.added_tokens = "[{\"id\": 4000000000, \"content\": \"<s>\"}]"}, "is no integer from 0 to 4194303"},
      {{.added_tokens = "[{\"id\": 270, \"content\": \"<s>\"}, {\"id\": 271, \"content\": \"<s>\"}]"},
       "the added token \"<s>\" is there twice"},
      {{.added_tokens = "[{\"id\": 270, \"content\": \"hello\"}]"}, "and 259 in \"model.vocab\""},
      {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": []}"}, "no place for the text"},
      {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}]}"},
       "has no \"<s>\""},
      {{.post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}], "
                          "\"special_tokens\": {\"<s>\": {\"ids\": [270]}}}"},
       "an id that the tokenizer does not have"},
      {{.model = "\"ignore_merges\": 1"}, "\"model.ignore_merges\" is no boolean"},
  };
  REFUSE(refusals, HEED_ERROR_FORMAT);
}

static void assert_text_refused(heed_status expected, const char *json, const char *says) {
  heed_tokenizer *tokenizer = NULL;
  assert_says(expected, tokenizer_open_text(json, &tokenizer), says);
  assert_null(tokenizer);
}

static void texts_that_are_broken_are_named(void **state) {
  (void)state;
  assert_text_refused(HEED_ERROR_FORMAT, "", "it is no JSON");
  assert_text_refused(HEED_ERROR_FORMAT, "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
                      "a git-lfs pointer");
  assert_text_refused(HEED_ERROR_FORMAT, "<!DOCTYPE html>\n<html>", "a web page");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {}", "it is no JSON");
  assert_text_refused(HEED_ERROR_FORMAT, "[]", "it is not a JSON object");
  assert_text_refused(HEED_ERROR_FORMAT, "{}", "\"model\" is missing");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": 3}", "\"model\" is no object");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {}}", "\"model.type\" is missing");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {\"type\": \"BPE\"}}", "\"model.vocab\" is no object");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {\"type\": \"BPE\", \"vocab\": {}}}",
                      "\"model.merges\" is missing");
  assert_text_refused(HEED_ERROR_FORMAT,
                      "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1, \"b\": 1}, \"merges\": []}}",
                      "\"a\" and \"b\" in \"model.vocab\" have the same id, 1");
  assert_text_refused(HEED_ERROR_FORMAT,
                      "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1, \"a\": 2}, \"merges\": []}}",
                      "it is no JSON");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}",
                      "the id of \"a\" in \"model.vocab\" is no integer from 0");
  assert_text_refused(HEED_ERROR_FORMAT,
                      "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 9000000000}, \"merges\": []}}",
                      "is no integer from 0 to 4194303");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1e3}, \"merges\": []}}",
                      "is no integer");
  assert_text_refused(HEED_ERROR_FORMAT, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"\xC3\": 1}, \"merges\": []}}",
                      "it is no JSON");
  static const char *const merges[][2] = {{"\"a c\"", "merge 0 needs the token \"c\""},
                                          {"\"a b\"", "merge 0 needs the token \"ab\""},
                                          {"[\"a\", \"b\", \"c\"]", "merge 0 is neither"},
                                          {"\"a b c\"", "merge 0 is neither"},
                                          {"7", "merge 0 is neither"}};
  for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
    char json[256];
    snprintf(json, sizeof json, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [%s]}}",
             merges[i][0]);
    assert_text_refused(HEED_ERROR_FORMAT, json, merges[i][1]);
  }
}

static void other_models_are_named(void **state) {
  (void)state;
  static const char level[] =
      "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"%s\", \"vocab\": {\"%s\": 0, \"b\": 1}}, \"decoder\": "
      "{\"type\": \"%s\"}, \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"%s\"}, \"behavior\": "
      "\"Isolated\"}}";
  static const char *const cases[][5] = {
      {"<unk>", "ab", "Fuse", "[\\\\s\\\\S]", "token 0 is not one character"},
      {"b", "a", "Fuse", "[\\\\s\\\\S]", "the vocabulary has \"model.unk_token\", \"b\""},
      {"<unk>", "a", "ByteLevel", "[\\\\s\\\\S]", "\"decoder\" is not Fuse"},
      {"<unk>", "a", "Fuse", ".", "is not a Split by"}};
  for (size_t i = 0; i < 4; i++) {
    char json[512];
    snprintf(json, sizeof json, level, cases[i][0], cases[i][1], cases[i][2], cases[i][3]);
    assert_text_refused(HEED_ERROR_UNSUPPORTED, json, cases[i][4]);
  }
  assert_text_refused(HEED_ERROR_UNSUPPORTED, "{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}",
                      "the model is a Unigram");
  assert_text_refused(HEED_ERROR_UNSUPPORTED, "{\"model\": {\"type\": \"BPE\"}, \"truncation\": {\"max_length\": 3}}",
                      "\"truncation\" is not null");
  assert_text_refused(HEED_ERROR_UNSUPPORTED, "{\"model\": {\"type\": \"BPE\"}, \"padding\": {}}",
                      "\"padding\" is not null");
  assert_text_refused(
      HEED_ERROR_UNSUPPORTED,
      "{\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
      "\"model.unk_token\" is \"<unk>\", and the byte 00 has no token");
}

static void deep_and_long_files_are_refused(void **state) {
  (void)state;
  enum { DEPTH = 100000, BYTES = (64 << 20) + 1 };
  char *text = malloc(BYTES + 1);
  assert_non_null(text);
  memset(text, '[', DEPTH);
  text[DEPTH] = '\0';
  assert_text_refused(HEED_ERROR_FORMAT, text, "it is no JSON");
  memset(text, ' ', BYTES);
  text[BYTES] = '\0';
  assert_text_refused(HEED_ERROR_FORMAT, text, "it is over 64 MiB");
  free(text);
  unlink(support_path("model/tokenizer.json"));
  // Sequences in each other, as deep as JSON may be.
  char nested[64000] = "";
  size_t used = 0;
  for (int i = 0; i < 900; i++)
    used += (size_t)snprintf(nested + used, sizeof nested - used, "{\"type\": \"Sequence\", \"pretokenizers\": [");
  for (int i = 0; i < 900; i++) used += (size_t)snprintf(nested + used, sizeof nested - used, "]}");
  heed_tokenizer *tokenizer = NULL;
  assert_says(HEED_ERROR_UNSUPPORTED, tokenizer_open(&(tokenizer_parts){.pre_tokenizer = nested}, &tokenizer),
              "has no ByteLevel");
  used = (size_t)snprintf(nested, sizeof nested, "{\"type\": \"Sequence\", \"pretokenizers\": [");
  for (int i = 0; i < 40; i++)
    used += (size_t)snprintf(nested + used, sizeof nested - used, "{\"type\": \"Digits\"}, ");
  snprintf(nested + used, sizeof nested - used, TOKENIZER_BYTES "]}");
  assert_says(HEED_ERROR_UNSUPPORTED, tokenizer_open(&(tokenizer_parts){.pre_tokenizer = nested}, &tokenizer),
              "over 16 pre-tokenizers");
}

// An expression that backtracks without end stops at a limit.
static void hostile_expressions_end(void **state) {
  (void)state;
  static const char *const expressions[] = {SPLIT("(?:a+)+[bc]"), SPLIT("(?:a|a|aa)+[bc]"), SPLIT("(?:a*)*[bc]")};
  static char text[5000];
  memset(text, 'a', sizeof text);
  for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
    heed_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    ASSERT_OK(tokenizer_open(&(tokenizer_parts){.pre_tokenizer = expressions[i]}, &tokenizer));
    assert_says(HEED_ERROR_FORMAT, heed_tokenizer_encode_all(tokenizer, text, sizeof text, NULL, &ids, &count),
                "takes over 20000000 steps or 256 MiB");
    assert_null(ids);
    heed_tokenizer_destroy(tokenizer);
  }
}

static void a_byte_without_a_token_is_named(void **state) {
  (void)state;
  heed_tokenizer *tokenizer = NULL;
  int32_t *ids = NULL;
  size_t count = 0;
  ASSERT_OK(
      tokenizer_open_text("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 7}, \"merges\": "
                          "[[\"a\", \"b\"]]}, \"pre_tokenizer\": " TOKENIZER_BYTE_LEVEL "}",
                          &tokenizer));
  ASSERT_OK(heed_tokenizer_encode_all(tokenizer, "abab", 4, NULL, &ids, &count));
  assert_int_equal(count, 2);
  assert_int_equal(ids[1], 7);
  free(ids);
  assert_int_equal(heed_tokenizer_vocab(tokenizer), 8);
  assert_null(heed_tokenizer_token(tokenizer, 3, NULL));
  assert_says(HEED_ERROR_FORMAT, heed_tokenizer_encode_all(tokenizer, "ab ba", 5, NULL, &ids, &count),
              "no token for the byte 20, which is at offset 2");
  heed_tokenizer_destroy(tokenizer);
}

static heed_status open_pair(const char *vocab, const char *merges, heed_tokenizer **out) {
  support_empty_folder();
  if (vocab) support_write_file(support_path("pair/vocab.json"), vocab, strlen(vocab));
  if (merges) support_write_file(support_path("pair/merges.txt"), merges, strlen(merges));
  return heed_tokenizer_open(support_path("pair"), out);
}

static void pairs_of_files_are_read_or_named(void **state) {
  (void)state;
  static const char vocab[] = "{\"a\": 0, \"b\": 1, \"ab\": 2}";
  heed_tokenizer *tokenizer = NULL;
  ASSERT_OK(open_pair(vocab, "#version: 0.2\r\na b\r\n\n", &tokenizer));
  int32_t *ids = NULL;
  size_t count = 0;
  ASSERT_OK(heed_tokenizer_encode_all(tokenizer, "aba", 3, NULL, &ids, &count));
  assert_int_equal(count, 2);
  assert_int_equal(ids[0], 2);
  free(ids);
  heed_tokenizer_destroy(tokenizer);
  assert_says(HEED_ERROR_IO, open_pair(vocab, NULL, &tokenizer), "merges.txt: No such file");
  assert_says(HEED_ERROR_IO, open_pair(NULL, "", &tokenizer), "vocab.json: No such file");
  assert_says(HEED_ERROR_FORMAT, open_pair("[1]", "", &tokenizer), "\"vocabulary\" is no object");
  assert_says(HEED_ERROR_FORMAT, open_pair(vocab, "a b\nab\n", &tokenizer), "line 2 is not two tokens");
  assert_says(HEED_ERROR_FORMAT, open_pair(vocab, "#version: 0.2\na a\n", &tokenizer), "line 2 needs the token \"aa\"");
  assert_says(HEED_ERROR_IO, heed_tokenizer_open(support_path("missing"), &tokenizer), "missing: No such file");
  support_empty_folder();
  assert_says(HEED_ERROR_IO, heed_tokenizer_open(support_folder(), &tokenizer), "there is no tokenizer");
  assert_null(tokenizer);
}

// What a folder says beside its tokenizer stays as it is.
static void other_files_are_kept(void **state) {
  (void)state;
  static const char config[] = "{\"eos_token\":   \"<|end|>\"}", special[] = "{ }";
  heed_tokenizer *tokenizer = NULL;
  support_write_file(support_path("model/tokenizer_config.json"), config, sizeof config - 1);
  support_write_file(support_path("model/special_tokens_map.json"), special, sizeof special - 1);
  ASSERT_OK(tokenizer_open(&(tokenizer_parts){0}, &tokenizer));
  ASSERT_OK(heed_tokenizer_save(tokenizer, support_path("saved")));
  char text[64];
  assert_int_equal(support_read_file(support_path("saved/tokenizer_config.json"), text, sizeof text),
                   sizeof config - 1);
  assert_memory_equal(text, config, sizeof config - 1);
  assert_int_equal(support_read_file(support_path("saved/special_tokens_map.json"), text, sizeof text), 3);
  assert_says(HEED_ERROR_IO, heed_tokenizer_save(tokenizer, support_path("no/such")), "No such file");
  heed_tokenizer_destroy(tokenizer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_heed_has_not_got_is_named),   cmocka_unit_test(expressions_of_another_meaning_are_named),
      cmocka_unit_test(files_that_are_broken_are_named),  cmocka_unit_test(texts_that_are_broken_are_named),
      cmocka_unit_test(other_models_are_named),           cmocka_unit_test(deep_and_long_files_are_refused),
      cmocka_unit_test(hostile_expressions_end),          cmocka_unit_test(a_byte_without_a_token_is_named),
      cmocka_unit_test(pairs_of_files_are_read_or_named), cmocka_unit_test(other_files_are_kept),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
