// Tokenizers: GPT-2's ids, any bytes there and back, long texts, and the tokenizers of bytes and of characters.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support_files.h"
#include "support_tokenizer.h"

static const char *folder_of(const char *variable, const char *beside, char *path, size_t size) {
  const char *named = getenv(variable), *ci = getenv("CI");
  snprintf(path, size, "%s", named ? named : beside);
  if (access(path, R_OK) == 0) return path;
  if (ci && strcmp(ci, "true") == 0) fail_msg("there is no %s; %s names it", path, variable);
  print_message("skipped: there is no %s; %s names it\n", path, variable);
  skip();
  return NULL;
}

static heed_tokenizer *open_gpt2(void) {
  char data[1024], folder[1100];
  folder_of("HEED_SHARED_DATA", HEED_SOURCE_DIR "/../shared/data", data, sizeof data);
  snprintf(folder, sizeof folder, "%s/gpt2-bpe", data);
  heed_tokenizer *tokenizer = NULL;
  ASSERT_OK(heed_tokenizer_open(folder, &tokenizer));
  return tokenizer;
}

static size_t encode(const heed_tokenizer *tokenizer, const char *text, size_t bytes, int32_t **ids) {
  size_t count = 0;
  ASSERT_OK(heed_tokenizer_encode_all(tokenizer, text, bytes, NULL, ids, &count));
  return count;
}

static void assert_there_and_back(const heed_tokenizer *tokenizer, const char *text, size_t bytes) {
  int32_t *ids = NULL;
  char *back = NULL;
  size_t length = 0;
  const size_t count = encode(tokenizer, text, bytes, &ids);
  ASSERT_OK(heed_tokenizer_decode(tokenizer, ids, count, &back, &length));
  assert_int_equal(length, bytes);
  assert_memory_equal(back, text, bytes);
  assert_int_equal(back[length], 0);
  free(back);
  free(ids);
}

// ---------------------------------------------------------------- GPT-2

static void compare_ids(const heed_tokenizer *tokenizer, const json_t *one) {
  const json_t *text = json_object_get(one, "text"), *expected = json_object_get(one, "ids");
  int32_t *ids = NULL;
  const size_t count = encode(tokenizer, json_string_value(text), json_string_length(text), &ids);
  bool same = count == json_array_size(expected);
  for (size_t i = 0; same && i < count; i++) same = ids[i] == json_integer_value(json_array_get(expected, i));
  if (!same) fail_msg("other ids of: %s", json_string_value(text));
  assert_there_and_back(tokenizer, json_string_value(text), json_string_length(text));
  free(ids);
}

static void gpt2_gives_the_golden_ids(void **state) {
  (void)state;
  char folder[1024], path[1100];
  folder_of("HEED_GOLDEN_TRANSFORMER", HEED_SOURCE_DIR "/../shared/golden-transformer", folder, sizeof folder);
  snprintf(path, sizeof path, "%s/tokenizer_gpt2.json", folder);
  heed_tokenizer *opened = open_gpt2(), *saved = NULL;
  ASSERT_OK(heed_tokenizer_save(opened, support_path("gpt2")));
  ASSERT_OK(heed_tokenizer_open(support_path("gpt2"), &saved));  // now of a tokenizer.json
  json_t *cases = json_load_file(path, 0, NULL);
  assert_true(json_array_size(cases) > 10);
  for (size_t i = 0; i < json_array_size(cases); i++) {
    compare_ids(opened, json_array_get(cases, i));
    compare_ids(saved, json_array_get(cases, i));
  }
  json_decref(cases);
  assert_int_equal(heed_tokenizer_vocab(opened), 50257);
  assert_int_equal(heed_tokenizer_find(opened, "<|endoftext|>"), 50256);
  assert_true(heed_tokenizer_fingerprint(opened) == heed_tokenizer_fingerprint(saved));
  heed_tokenizer_destroy(opened);
  heed_tokenizer_destroy(saved);
}

static void a_megabyte_takes_less_than_a_second(void **state) {
  (void)state;
  heed_tokenizer *tokenizer = open_gpt2();
  char data[1024], path[1100];
  folder_of("HEED_SHARED_DATA", HEED_SOURCE_DIR "/../shared/data", data, sizeof data);
  snprintf(path, sizeof path, "%s/tinyshakespeare.txt", data);
  char *text = malloc(2 << 20);
  assert_non_null(text);
  const size_t bytes = support_read_file(path, text, 2 << 20);
  int32_t *ids = NULL;
  const clock_t start = clock();
  encode(tokenizer, text, bytes, &ids);
  const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
  print_message("%.1f MB/s of one core\n", (double)bytes / seconds / 1e6);
#if !defined(__SANITIZE_ADDRESS__) && defined(NDEBUG)
  assert_true((double)bytes / seconds >= 1e6);
#endif
  free(ids);
  free(text);
  heed_tokenizer_destroy(tokenizer);
}

// ---------------------------------------------------------------- any bytes

static uint32_t draw(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

// Bytes of all kinds: any, those of UTF-8's edges, blanks and letters.
static size_t draw_text(uint32_t *seed, char *text, size_t most) {
  static const char *const edges[] = {"\xF0\x90\x80", "\xED\xA0\x80",
                                      "\xC0\x80",     "\xF4\x90\x80\x80",
                                      "\xE2\x80\xA8", "\xF0\x9F\x98\x80",
                                      "\xC3\xA9",     "e\xCC\x81",
                                      "<|end|>",      "  \n",
                                      "hello",        "\r\n"};
  const size_t bytes = draw(seed) % most;
  const uint32_t kind = draw(seed) % 3;
  for (size_t i = 0; i < bytes;) {
    const char *edge = edges[draw(seed) % (sizeof edges / sizeof *edges)];
    const size_t length = kind == 0 ? 1 : strlen(edge);
    for (size_t j = 0; j < length && i < bytes; j++, i++)
      text[i] = (char)(kind == 0 || (kind == 1 && draw(seed) % 4 == 0) ? (int)(draw(seed) & 0xFF) : edge[j]);
  }
  return bytes;
}

static const char llama3[] =
    "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, \"behavior\": "
    "\"Isolated\", "
    "\"invert\": false}, " TOKENIZER_BYTES "]}";
static const char end_token[] = "[{\"id\": 270, \"content\": \"<|end|>\", \"special\": true}]";

static void any_bytes_come_back(void **state) {
  (void)state;
  const tokenizer_parts kinds[] = {{.added_tokens = end_token},
                                   {.pre_tokenizer = llama3, .added_tokens = end_token},
                                   {.pre_tokenizer = TOKENIZER_BYTES}};
  static char text[600];
  uint32_t seed = 1;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    heed_tokenizer *tokenizer = NULL;
    ASSERT_OK(tokenizer_open(&kinds[k], &tokenizer));
    for (int i = 0; i < 1500; i++) assert_there_and_back(tokenizer, text, draw_text(&seed, text, sizeof text));
    assert_there_and_back(tokenizer, "a\0b\0\0", 5);
    heed_tokenizer_destroy(tokenizer);
  }
}

// ---------------------------------------------------------------- long texts

typedef struct parts {
  size_t calls, count, largest;
  int32_t *ids;
  size_t stop_after;
} parts;

static heed_status collect(const int32_t *ids, size_t count, void *user) {
  parts *all = user;
  all->calls++;
  if (count > all->largest) all->largest = count;
  if (all->ids) memcpy(all->ids + all->count, ids, count * sizeof *ids);
  all->count += count;
  return all->stop_after > 0 && all->calls == all->stop_after ? HEED_ERROR_MISMATCH : HEED_OK;
}

static char *repeated(const char *text, size_t bytes) {
  char *all = malloc(bytes);
  assert_non_null(all);
  for (size_t i = 0; i < bytes; i++) all[i] = text[i % strlen(text)];
  return all;
}

static void long_texts_arrive_in_parts(void **state) {
  (void)state;
  const size_t bytes = 1 << 20;
  char *text = repeated("hello 12 e\xCC\x81<|end|>\n", bytes);
  const char *const prefixed = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}";
  const tokenizer_parts kinds[] = {{.added_tokens = end_token},
                                   {.pre_tokenizer = prefixed},
                                   {.pre_tokenizer = llama3, .normalizer = "{\"type\": \"NFC\"}"}};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    heed_tokenizer *tokenizer = NULL;
    ASSERT_OK(tokenizer_open(&kinds[k], &tokenizer));
    int32_t *ids = NULL;
    const size_t count = encode(tokenizer, text, bytes, &ids);
    parts all = {.ids = malloc(bytes * sizeof *ids)};
    ASSERT_OK(heed_tokenizer_encode(tokenizer, text, bytes, NULL, collect, &all));
    assert_true(all.calls > 10 && all.largest <= 4096);
    assert_int_equal(all.count, count);
    assert_memory_equal(all.ids, ids, count * sizeof *ids);
    free(all.ids);
    free(ids);
    all = (parts){.stop_after = 3};
    assert_int_equal(heed_tokenizer_encode(tokenizer, text, bytes, NULL, collect, &all), HEED_ERROR_MISMATCH);
    assert_int_equal(all.calls, 3);
    heed_tokenizer_destroy(tokenizer);
  }
  free(text);
}

// The blank before a text that is found in a copy of its front is the one of the whole text.
static void a_blank_before_a_long_text_changes_nothing_else(void **state) {
  (void)state;
  static const char *const fronts[] = {"hello hello 12\n", "a", "\n", "12"};
  heed_tokenizer *plain = NULL, *prefixed = NULL;
  ASSERT_OK(tokenizer_open(&(tokenizer_parts){0}, &plain));
  ASSERT_OK(tokenizer_open(&(tokenizer_parts){.pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}"},
                           &prefixed));
  for (size_t i = 0; i < 4; i++)
    for (size_t bytes = 4080; bytes < 20000; bytes += bytes < 4110 ? 1 : 4999) {
      char *text = repeated(fronts[i], bytes + 1);
      memmove(text + 1, text, bytes);
      text[0] = ' ';
      int32_t *expected = NULL, *ids = NULL;
      const size_t count = encode(plain, text, bytes + 1, &expected);
      assert_int_equal(encode(prefixed, text + 1, bytes, &ids), count);
      assert_memory_equal(ids, expected, count * sizeof *ids);
      free(expected);
      free(ids);
      free(text);
    }
  heed_tokenizer_destroy(plain);
  heed_tokenizer_destroy(prefixed);
}

static void long_words_take_no_quadratic_time(void **state) {
  (void)state;
  static const char *const words[] = {"a", " ", "hell", "\xC3\xA9", "\n"};
  heed_tokenizer *tokenizer = NULL;
  ASSERT_OK(tokenizer_open(&(tokenizer_parts){.pre_tokenizer = llama3}, &tokenizer));
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    char *text = repeated(words[i], 1 << 20);
    assert_there_and_back(tokenizer, text, 1 << 20);
    free(text);
  }
  int32_t *ids = NULL;
  char *text = repeated("a", 1 << 20);
  assert_int_equal(encode(tokenizer, text, 1 << 20, &ids), 1 << 18);  // aaaa
  for (size_t i = 0; i < 1 << 18; i++) assert_int_equal(ids[i], 268);
  free(ids);
  free(text);
  heed_tokenizer_destroy(tokenizer);
}

// ---------------------------------------------------------------- bytes and characters

static void bytes_are_their_own_ids(void **state) {
  (void)state;
  heed_tokenizer *made = NULL, *opened = NULL;
  ASSERT_OK(heed_tokenizer_create_bytes(&made));
  ASSERT_OK(heed_tokenizer_save(made, support_path("bytes")));
  ASSERT_OK(heed_tokenizer_open(support_path("bytes"), &opened));
  char all[512];
  for (int i = 0; i < 512; i++) all[i] = (char)i;
  const heed_tokenizer *const both[] = {made, opened};
  for (int k = 0; k < 2; k++) {
    int32_t *ids = NULL;
    assert_int_equal(encode(both[k], all, sizeof all, &ids), sizeof all);
    for (int i = 0; i < 512; i++) assert_int_equal(ids[i], i & 0xFF);
    free(ids);
    assert_there_and_back(both[k], all, sizeof all);
    assert_int_equal(heed_tokenizer_vocab(both[k]), 256);
    assert_int_equal(heed_tokenizer_unit(both[k]), 1);
  }
  assert_true(heed_tokenizer_fingerprint(made) == heed_tokenizer_fingerprint(opened));
  size_t bytes = 0;
  assert_memory_equal(heed_tokenizer_token(made, 0xE9, &bytes), "\xE9", 1);
  assert_int_equal(bytes, 1);
  heed_tokenizer_destroy(made);
  heed_tokenizer_destroy(opened);
}

static heed_status create_chars(const char *text, size_t bytes, heed_tokenizer **out) {
  const char *const paths[] = {support_path("chars.txt"), support_path("more.txt")};
  support_write_file(paths[0], text, bytes);
  support_write_file(paths[1], "\"\\z", 3);
  return heed_tokenizer_create_chars(paths, 2, out);
}

static void characters_are_numbered_by_code_point(void **state) {
  (void)state;
  static const char text[] = "b\xF0\x9F\x98\x80\na\x7F\xE6\xBC\xA2\xC3\xA9\xC2\x80 ba";
  static const int32_t expected[] = {5, 11, 0, 4, 7, 10, 9, 8, 1, 5, 4};
  heed_tokenizer *made = NULL, *opened = NULL;
  ASSERT_OK(create_chars(text, strlen(text), &made));
  ASSERT_OK(heed_tokenizer_save(made, support_path("chars")));
  ASSERT_OK(heed_tokenizer_open(support_path("chars"), &opened));
  const heed_tokenizer *const both[] = {made, opened};
  for (int k = 0; k < 2; k++) {
    int32_t *ids = NULL;
    assert_int_equal(encode(both[k], text, strlen(text), &ids), sizeof expected / sizeof *expected);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    assert_there_and_back(both[k], text, strlen(text));
    assert_int_equal(heed_tokenizer_vocab(both[k]), 12);
    assert_int_equal(heed_tokenizer_unit(both[k]), 2);
    assert_int_equal(heed_tokenizer_find(both[k], "\\"), 3);
  }
  assert_true(heed_tokenizer_fingerprint(made) == heed_tokenizer_fingerprint(opened));
  heed_tokenizer_destroy(made);
  heed_tokenizer_destroy(opened);
}

static void the_character_0_is_one(void **state) {
  (void)state;
  static const char text[] = "b\0a\0\xEF\xB7\x90";  // U+FDD0, which nobody has
  heed_tokenizer *made = NULL, *opened = NULL;
  ASSERT_OK(create_chars(text, sizeof text - 1, &made));
  ASSERT_OK(heed_tokenizer_save(made, support_path("zero")));
  ASSERT_OK(heed_tokenizer_open(support_path("zero"), &opened));
  assert_there_and_back(opened, text, sizeof text - 1);
  size_t bytes = 0;
  assert_memory_equal(heed_tokenizer_token(opened, 0, &bytes), "", 1);
  assert_int_equal(bytes, 1);
  assert_true(heed_tokenizer_fingerprint(made) == heed_tokenizer_fingerprint(opened));
  heed_tokenizer_destroy(made);
  heed_tokenizer_destroy(opened);
}

// Characters across the pieces by which files are read.
static void characters_are_read_whole(void **state) {
  (void)state;
  for (size_t before = (1 << 16) - 4; before <= 1 << 16; before++) {
    char *text = repeated("a", before + 5);
    memcpy(text + before,
           "\xF0\x9F\x98\x80"
           "b",
           5);
    heed_tokenizer *tokenizer = NULL;
    ASSERT_OK(create_chars(text, before + 5, &tokenizer));
    assert_int_equal(heed_tokenizer_vocab(tokenizer), 6);
    assert_int_equal(heed_tokenizer_find(tokenizer, "\xF0\x9F\x98\x80"), 5);
    heed_tokenizer_destroy(tokenizer);
    free(text);
  }
}

static void assert_refuses(heed_status expected, heed_status status, const char *says) {
  assert_int_equal(status, expected);
  if (!strstr(heed_last_error(), says)) fail_msg("'%s' does not say '%s'", heed_last_error(), says);
}

static void what_is_no_character_is_refused(void **state) {
  (void)state;
  heed_tokenizer *tokenizer = NULL;
  int32_t *ids = NULL;
  size_t count = 0;
  assert_refuses(HEED_ERROR_FORMAT, create_chars("ab\xC3", 3, &tokenizer), "chars.txt: the byte c3 at offset 2");
  assert_refuses(HEED_ERROR_FORMAT, create_chars("\xED\xA0\x80", 3, &tokenizer), "the byte ed at offset 0");
  assert_null(tokenizer);
  char *late = repeated("a", 100000);
  late[70000] = '\xFF';
  assert_refuses(HEED_ERROR_FORMAT, create_chars(late, 100000, &tokenizer), "the byte ff at offset 70000");
  free(late);
  const char *const missing[] = {support_path("missing.txt")};
  assert_refuses(HEED_ERROR_IO, heed_tokenizer_create_chars(missing, 1, &tokenizer), "missing.txt: No such file");
  ASSERT_OK(create_chars("ab", 2, &tokenizer));
  assert_refuses(HEED_ERROR_FORMAT, heed_tokenizer_encode_all(tokenizer, "abc", 3, NULL, &ids, &count),
                 "U+0063, which is at offset 2");
  assert_refuses(HEED_ERROR_FORMAT, heed_tokenizer_encode_all(tokenizer, "a\xFF", 2, NULL, &ids, &count),
                 "the byte ff at offset 1");
  assert_null(ids);
  heed_tokenizer_destroy(tokenizer);
}

static void ids_that_are_none_are_refused(void **state) {
  (void)state;
  heed_tokenizer *tokenizer = NULL;
  char *text = NULL;
  size_t bytes = 0;
  ASSERT_OK(heed_tokenizer_create_bytes(&tokenizer));
  assert_refuses(HEED_ERROR_INVALID_ARGUMENT,
                 heed_tokenizer_decode(tokenizer, (const int32_t[]){1, 2, 256}, 3, &text, &bytes), "id 2 is 256");
  assert_refuses(HEED_ERROR_INVALID_ARGUMENT, heed_tokenizer_decode(tokenizer, (const int32_t[]){-1}, 1, &text, &bytes),
                 "id 0 is -1");
  assert_null(text);
  ASSERT_OK(heed_tokenizer_decode(tokenizer, NULL, 0, &text, &bytes));
  assert_int_equal(bytes, 0);
  assert_string_equal(text, "");
  free(text);
  assert_null(heed_tokenizer_token(tokenizer, 256, &bytes));
  assert_int_equal(heed_tokenizer_find(tokenizer, "ab"), -1);
  heed_tokenizer_destroy(tokenizer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gpt2_gives_the_golden_ids),
      cmocka_unit_test(a_megabyte_takes_less_than_a_second),
      cmocka_unit_test(any_bytes_come_back),
      cmocka_unit_test(long_texts_arrive_in_parts),
      cmocka_unit_test(a_blank_before_a_long_text_changes_nothing_else),
      cmocka_unit_test(long_words_take_no_quadratic_time),
      cmocka_unit_test(bytes_are_their_own_ids),
      cmocka_unit_test(characters_are_numbered_by_code_point),
      cmocka_unit_test(the_character_0_is_one),
      cmocka_unit_test(characters_are_read_whole),
      cmocka_unit_test(what_is_no_character_is_refused),
      cmocka_unit_test(ids_that_are_none_are_refused),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
