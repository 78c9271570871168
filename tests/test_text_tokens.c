// Texts as data to train on: their characters are divided, their tokens are made once and kept, and what is kept is checked.
#include <dirent.h>
#include <heed/lm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_tokens.h"

static heed_tokenizer *bytes;

// What was told of the tokenizing.
static struct told {
  int begins, ends, calls;
  double last;
  void (*do_this)(void);  // when it begins
} told;

static void hear(const char *path, double part, void *user) {
  struct told *t = user;
  assert_non_null(strstr(path, ".txt"));
  assert_true(part >= 0 && part <= 1 && (part == 0 || part > t->last));
  t->last = part;
  t->begins += part == 0;
  t->ends += part == 1;
  ++t->calls;
  if (part == 0 && t->do_this) t->do_this();
}

static heed_status open_texts(const char *const *paths, size_t count, double part, heed_token_data **training,
                              heed_token_data **validation) {
  const heed_token_data_options options = {.tokenizer = bytes, .validation = part, .progress = hear, .user = &told};
  told = (struct told){.do_this = told.do_this};
  return heed_token_data_open(paths, count, &options, training, validation);
}

static heed_status open_text(const char *path, heed_token_data **out) { return open_texts(&path, 1, 0, out, NULL); }

// Opens the text and compares its tokens; returns how often it was tokenized.
static int tokenized(const char *path, const char *text) {
  heed_token_data *data;
  ASSERT_OK(open_text(path, &data));
  support_assert_text(data, text);
  heed_token_data_close(data);
  assert_int_equal(told.begins, told.ends);
  return told.begins;
}

// The files in the cache, and the path of the last one.
static int entries(char *path, size_t size) {
  int count = 0;
  DIR *folder = opendir(support_path("cache/tokens"));
  for (struct dirent *item; folder && (item = readdir(folder));) {
    if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
    if (path) snprintf(path, size, "%s/%s", support_path("cache/tokens"), item->d_name);
    ++count;
  }
  if (folder) closedir(folder);
  return count;
}

// ---------------------------------------------------------------- characters

// All ways to divide a text of these characters, after which nothing follows.
static void assert_divided(const char *const *characters, int count) {
  char text[128] = "";
  for (int i = 0; i < count; ++i) strcat(text, characters[i]);
  const char *path = support_text("a.txt", text);
  size_t cut = strlen(text);
  for (int held = 1; held <= count; ++held) {
    heed_token_data *training, *validation;
    char before[128];
    cut -= strlen(characters[count - held]);
    snprintf(before, sizeof before, "%.*s", (int)cut, text);
    ASSERT_OK(open_texts(&path, 1, (held - 0.5) / count, &training, &validation));
    support_assert_text(training, before);
    support_assert_text(validation, text + cut);
    heed_token_data_close(training);
    heed_token_data_close(validation);
  }
}

static void a_text_is_divided_between_characters(void **state) {
  (void)state;
  static const char *const plain[] = {"a", "b", "c", "d", "e", "f",      "g", "h", "i", "j", "k", "l", "m",
                                      "n", "o", "p", "q", "r", "\u00e9", "s", "t", "u", "v", "w", "x", "y"};
  static const char *const wide[] = {"\u00e9",       "\u65e5", "\U0001F600", "\u07ff",     "\u0800",
                                     "\xed\x9f\xbf", "\ue000", "\uffff",     "\U00010000", "\U0010FFFF"};
  // Torn, too long, surrogates, too high: each byte is a character.
  static const char *const broken[] = {"\x80", "\xff", "\xe6", "\x97", "a",    "\xc0", "\xaf", "\xe0",
                                       "\x80", "\x80", "\xed", "\xa0", "\x80", "\xf4", "\x90", "\x80",
                                       "\x80", "\xf5", "\xf0", "\x9f", "\x98", "b",    "\xe2", "\x82"};
  assert_divided(plain, sizeof plain / sizeof *plain);
  assert_divided(wide, sizeof wide / sizeof *wide);
  assert_divided(broken, sizeof broken / sizeof *broken);
}

// Nine characters and ⌈f·9⌉ of them, whichever file they are in.
static void texts_are_divided_as_one(void **state) {
  (void)state;
  const char *const paths[] = {support_text("a.txt", "\u00e9\u00e8\u00ea"), support_text("b.txt", ""),
                               support_text("c.txt", "defg"), support_text("d.txt", "\u65e5z")};
  static const struct {
    double part;
    const char *before, *after;
  } known[] = {{0.01, "\u00e9\u00e8\u00eadefg\u65e5", "z"}, {0.12, "\u00e9\u00e8\u00eadefg", "\u65e5z"},
               {0.23, "\u00e9\u00e8\u00eadef", "g\u65e5z"}, {0.6, "\u00e9\u00e8\u00ea", "defg\u65e5z"},
               {0.67, "\u00e9\u00e8", "\u00eadefg\u65e5z"}, {0.9, "", "\u00e9\u00e8\u00eadefg\u65e5z"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    heed_token_data *training, *validation;
    ASSERT_OK(open_texts(paths, 4, known[i].part, &training, &validation));
    support_assert_text(training, known[i].before);
    support_assert_text(validation, known[i].after);
    heed_token_data_close(training);
    heed_token_data_close(validation);
  }
}

static void a_text_without_a_byte_has_no_tokens(void **state) {
  (void)state;
  heed_token_data *training, *validation;
  const char *path = support_text("a.txt", "");
  assert_int_equal(tokenized(path, ""), 1);
  ASSERT_OK(open_texts(&path, 1, 0.5, &training, &validation));
  assert_int_equal(heed_token_data_count(training), 0);
  assert_int_equal(heed_token_data_count(validation), 0);
  heed_token_data_close(training);
  heed_token_data_close(validation);
}

// ---------------------------------------------------------------- tokenizers

static void what_a_tokenizer_refuses_is_told_with_file_and_place(void **state) {
  (void)state;
  const char *known = support_text("known.txt", "abc\u65e5"), *path = support_text("a.txt", "aabxc");
  heed_token_data_options options = {0};
  heed_tokenizer *chars;
  heed_token_data *training, *validation;
  ASSERT_OK(heed_tokenizer_create_chars(&known, 1, &chars));
  options.tokenizer = chars;
  ASSERT_OK(heed_token_data_open(&known, 1, &options, &training, NULL));
  support_assert_ids(training, (const int32_t[]){0, 1, 2, 3}, 4);
  heed_token_data_close(training);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "a.txt: the tokenizer has no character U+0078, which is at offset 3",
               heed_token_data_open(&path, 1, &options, &training, NULL));
  options.validation = 0.5;
  ASSERT_FAILS(HEED_ERROR_FORMAT, "a.txt: from byte 2 on: the tokenizer has no character U+0078, which is at offset 1",
               heed_token_data_open(&path, 1, &options, &training, &validation));
  assert_null(training);
  assert_null(validation);
  heed_tokenizer_destroy(chars);
}

static void a_token_beyond_the_vocabulary_is_refused(void **state) {
  (void)state;
  const char *path = support_text("a.txt", "abz");
  heed_token_data *data;
  // From the cache, too.
  for (int i = 0; i < 2; ++i)
    ASSERT_FAILS(
        HEED_ERROR_FORMAT, "a.txt: token 2 is 122, but the vocabulary has 122",
        heed_token_data_open(&path, 1, &(heed_token_data_options){.tokenizer = bytes, .vocab = 122}, &data, NULL));
}

static void progress_is_told_from_none_to_all(void **state) {
  (void)state;
  enum { BYTES = 100000 };
  char *text = malloc(BYTES);
  heed_token_data *data;
  int32_t id;
  assert_non_null(text);
  memset(text, 'x', BYTES);
  text[BYTES - 1] = 'y';
  support_write_file(support_path("a.txt"), text, BYTES);
  free(text);
  ASSERT_OK(open_text(support_path("a.txt"), &data));
  assert_int_equal(heed_token_data_count(data), BYTES);
  ASSERT_OK(heed_token_data_read(data, BYTES - 1, 1, &id));
  assert_int_equal(id, 'y');
  assert_int_equal(told.begins, 1);
  assert_int_equal(told.ends, 1);
  assert_in_range(told.calls, 10, 1002);
  heed_token_data_close(data);
}

// ---------------------------------------------------------------- the cache

static void a_text_is_tokenized_once(void **state) {
  (void)state;
  const char *path = support_text("a.txt", "some text");
  assert_int_equal(tokenized(path, "some text"), 1);
  assert_int_equal(tokenized(path, "some text"), 0);
  // The content counts, not the name; and each part for itself.
  assert_int_equal(tokenized(support_text("b.txt", "some text"), "some text"), 0);
  assert_int_equal(tokenized(support_text("a.txt", "some tezt"), "some tezt"), 1);
  assert_int_equal(entries(NULL, 0), 2);
  heed_token_data *training, *validation;
  path = support_text("c.txt", "some texts");
  ASSERT_OK(open_texts(&path, 1, 0.1, &training, &validation));
  assert_int_equal(told.begins, 1);
  heed_token_data_close(training);
  heed_token_data_close(validation);
}

static void another_tokenizer_has_other_entries(void **state) {
  (void)state;
  const char *path = support_text("a.txt", "ab");
  heed_tokenizer *chars, *kept = bytes;
  heed_token_data *data;
  assert_int_equal(tokenized(path, "ab"), 1);
  ASSERT_OK(heed_tokenizer_create_chars(&path, 1, &chars));
  bytes = chars;
  ASSERT_OK(open_text(path, &data));
  bytes = kept;
  support_assert_ids(data, (const int32_t[]){0, 1}, 2);
  heed_token_data_close(data);
  heed_tokenizer_destroy(chars);
  assert_int_equal(entries(NULL, 0), 2);
}

// The template is part of what an entry is found by.
static void a_template_is_put_around_a_text_if_asked_for(void **state) {
  (void)state;
  static const char json[] =
      "{\"added_tokens\": [{\"id\": 2, \"content\": \"<s>\", \"special\": true}], \"normalizer\": null, "
      "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
      "\"use_regex\": false}, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
      "{\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [{\"Sequence\": "
      "{\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], \"special_tokens\": "
      "{\"<s>\": "
      "{\"id\": \"<s>\", \"ids\": [2], \"tokens\": [\"<s>\"]}}}, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": "
      "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}";
  support_write_file(support_path("templated/tokenizer.json"), json, sizeof json - 1);
  const char *path = support_text("a.txt", "abba");
  heed_token_data_options options = {0};
  heed_tokenizer *tokenizer;
  ASSERT_OK(heed_tokenizer_open(support_path("templated"), &tokenizer));
  options.tokenizer = tokenizer;
  for (int i = 0; i < 4; ++i) {
    heed_token_data *data;
    int32_t ids[5] = {0};
    options.template_tokens = i % 2;
    ASSERT_OK(heed_token_data_open(&path, 1, &options, &data, NULL));
    const int64_t count = heed_token_data_count(data);
    assert_int_equal(count, options.template_tokens ? 5 : 4);
    ASSERT_OK(heed_token_data_read(data, 0, count, ids));
    assert_memory_equal(ids, options.template_tokens ? ((int32_t[]){2, 0, 1, 1, 0}) : ((int32_t[]){0, 1, 1, 0, 0}),
                        sizeof ids);
    heed_token_data_close(data);
  }
  heed_tokenizer_destroy(tokenizer);
}

static void an_entry_is_a_token_file_of_the_user_alone(void **state) {
  (void)state;
  char entry[512];
  struct stat info;
  heed_token_data *data;
  tokenized(support_text("a.txt", "some text"), "some text");
  assert_int_equal(entries(entry, sizeof entry), 1);
  ASSERT_OK(support_open_tokens(entry, 256, &data));
  support_assert_text(data, "some text");
  heed_token_data_close(data);
  assert_int_equal(stat(entry, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  assert_int_equal(info.st_size, SUPPORT_TOKENS_HEADER + 2 * 9);
  assert_int_equal(stat(support_path("cache/tokens"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
}

// Every length of a torn entry, and every damaged byte that counts.
static void a_damaged_entry_is_made_anew(void **state) {
  (void)state;
  enum { TEXT_BYTES = 9, WORDS = 14, WHOLE = SUPPORT_TOKENS_HEADER + 2 * TEXT_BYTES };
  char entry[512];
  unsigned char whole[WHOLE + 1], now[WHOLE + 1];
  const char *path = support_text("a.txt", "some text");
  tokenized(path, "some text");
  assert_int_equal(entries(entry, sizeof entry), 1);
  assert_int_equal(support_read_file(entry, whole, sizeof whole), WHOLE);
  for (size_t length = 0; length <= WHOLE + 1; length += length < 1020 ? 51 : 1) {
    support_write_file(entry, whole, length);
    assert_int_equal(tokenized(path, "some text"), length != WHOLE);
    assert_int_equal(support_read_file(entry, now, sizeof now), WHOLE);
    assert_memory_equal(now, whole, WHOLE);
  }
  for (size_t i = 0; i < WHOLE; i = i + 1 == WORDS * 4 ? SUPPORT_TOKENS_HEADER : i + 1) {
    memcpy(now, whole, WHOLE);
    now[i] ^= 0x10;
    support_write_file(entry, now, WHOLE);
    assert_int_equal(tokenized(path, "some text"), 1);
  }
  assert_int_equal(tokenized(path, "some text"), 0);
}

static void an_entry_of_another_text_is_made_anew(void **state) {
  (void)state;
  char entry[512];
  unsigned char other[2048];
  tokenized(support_text("b.txt", "what else"), "what else");
  assert_int_equal(entries(entry, sizeof entry), 1);
  const size_t count = support_read_file(entry, other, sizeof other);
  assert_int_equal(unlink(entry), 0);
  const char *path = support_text("a.txt", "some text");
  tokenized(path, "some text");
  assert_int_equal(entries(entry, sizeof entry), 1);
  support_write_file(entry, other, count);
  assert_int_equal(tokenized(path, "some text"), 1);
  // Nor is a link followed, or what others could have written read.
  assert_int_equal(chmod(entry, 0666), 0);
  assert_int_equal(tokenized(path, "some text"), 1);
  assert_int_equal(rename(entry, support_path("moved")), 0);
  assert_int_equal(symlink(support_path("moved"), entry), 0);
  assert_int_equal(tokenized(path, "some text"), 1);
  assert_int_equal(tokenized(path, "some text"), 0);
}

static void reading_an_entry_makes_it_young(void **state) {
  (void)state;
  char entry[512];
  struct stat info;
  const char *path = support_text("a.txt", "some text");
  tokenized(path, "some text");
  assert_int_equal(entries(entry, sizeof entry), 1);
  const struct timespec old[2] = {{1000, 0}, {1000, 0}};
  assert_int_equal(utimensat(-1, entry, old, 0), 0);
  assert_int_equal(tokenized(path, "some text"), 0);
  assert_int_equal(stat(entry, &info), 0);
  assert_true(info.st_mtime > 1000000);
}

static void a_folder_that_others_may_write_to_is_not_used(void **state) {
  (void)state;
  static const char *const folders[] = {"cache", "cache/tokens"};
  const char *path = support_text("a.txt", "some text");
  tokenized(path, "some text");
  for (int i = 0; i < 2; ++i) {
    assert_int_equal(chmod(support_path(folders[i]), 0722), 0);
    assert_int_equal(tokenized(path, "some text"), 1);
    assert_int_equal(tokenized(support_text("b.txt", "more"), "more"), 1);
    assert_int_equal(chmod(support_path(folders[i]), 0700), 0);
  }
  assert_int_equal(entries(NULL, 0), 1);
}

static void without_a_cache_no_file_is_left(void **state) {
  (void)state;
  const char *path = support_text("a.txt", "some text");
  setenv("HEED_CACHE", "off", 1);
  assert_int_equal(tokenized(path, "some text"), 1);
  assert_int_equal(tokenized(path, "some text"), 1);
  assert_int_equal(support_files_in_folder(), 1);
  setenv("TMPDIR", support_path("absent"), 1);
  heed_token_data *data;
  ASSERT_FAILS(HEED_ERROR_IO, "absent: cannot make a file there: No such file", open_text(path, &data));
  ASSERT_FAILS(HEED_ERROR_IO, "a.txt: its tokens have no place", open_text(path, &data));
}

// ---------------------------------------------------------------- what happens meanwhile

static struct rlimit unlimited;

static void limit_files(rlim_t most) {
  const struct rlimit limit = {most, unlimited.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static const char *large_text(void) {
  enum { BYTES = 200000 };
  char *text = malloc(BYTES);
  assert_non_null(text);
  memset(text, 'x', BYTES);
  support_write_file(support_path("a.txt"), text, BYTES);
  free(text);
  return support_path("a.txt");
}

static void a_git_lfs_pointer_is_no_text(void **state) {
  (void)state;
  static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
  heed_token_data *data;
  support_write_file(support_path("a.txt"), pointer, sizeof pointer - 1);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "a.txt: a git-lfs pointer", open_text(support_path("a.txt"), &data));
}

static void a_full_disk_is_told_and_leaves_nothing(void **state) {
  (void)state;
  const char *path = large_text();
  heed_token_data *data;
  limit_files(100000);
  const heed_status status = open_text(path, &data);
  limit_files(unlimited.rlim_cur);
  ASSERT_FAILS(HEED_ERROR_IO, "a.txt: its tokens have no place in heed's cache (HEED_CACHE) or among temporary files",
               status);
  assert_non_null(strstr(heed_last_error(), "File too large"));
  assert_null(data);
  assert_int_equal(support_files_in_folder(), 1);
}

// The limit falls when the second attempt begins.
static void lift_at_second(void) {
  if (told.begins == 2) limit_files(unlimited.rlim_cur);
}

static void a_cache_without_room_gives_way_to_a_temporary_file(void **state) {
  (void)state;
  const char *path = large_text();
  heed_token_data *data;
  told.do_this = lift_at_second;
  limit_files(100000);
  const heed_status status = open_text(path, &data);
  limit_files(unlimited.rlim_cur);
  ASSERT_OK(status);
  assert_int_equal(told.begins, 2);
  assert_int_equal(heed_token_data_count(data), 200000);
  assert_int_equal(support_files_in_folder(), 1);
  heed_token_data_close(data);
}

static void change_text(void) { support_text("a.txt", "some tezt"); }

static void a_text_that_changes_is_not_kept(void **state) {
  (void)state;
  const char *path = support_text("a.txt", "some text");
  const struct timespec old[2] = {{1000, 0}, {1000, 0}};
  heed_token_data *data;
  assert_int_equal(utimensat(-1, path, old, 0), 0);
  told.do_this = change_text;
  ASSERT_FAILS(HEED_ERROR_IO, "a.txt: changed while it was read", open_text(path, &data));
  assert_int_equal(entries(NULL, 0), 0);
}

// ----------------------------------------------------------------

static int descriptors(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/fd");
  while (folder && readdir(folder)) ++count;
  if (folder) closedir(folder);
  return count;
}
static int descriptors_before;

static int begin(void **state) {
  (void)state;
  support_empty_folder();
  told.do_this = NULL;
  setenv("HEED_CACHE", support_path("cache"), 1);
  setenv("TMPDIR", support_folder(), 1);
  return 0;
}

static int make(void **state) {
  descriptors_before = descriptors();
  return support_make_folder(state) == 0 && getrlimit(RLIMIT_FSIZE, &unlimited) == 0 &&
                 heed_tokenizer_create_bytes(&bytes) == HEED_OK
             ? 0
             : -1;
}

static int remove_all(void **state) {
  heed_tokenizer_destroy(bytes);
  return descriptors() == descriptors_before ? support_remove_folder(state) : -1;
}

#define IN_FOLDER(test) cmocka_unit_test_setup(test, begin)
int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(a_text_is_divided_between_characters),
      IN_FOLDER(texts_are_divided_as_one),
      IN_FOLDER(a_text_without_a_byte_has_no_tokens),
      IN_FOLDER(what_a_tokenizer_refuses_is_told_with_file_and_place),
      IN_FOLDER(a_token_beyond_the_vocabulary_is_refused),
      IN_FOLDER(progress_is_told_from_none_to_all),
      IN_FOLDER(a_text_is_tokenized_once),
      IN_FOLDER(another_tokenizer_has_other_entries),
      IN_FOLDER(a_template_is_put_around_a_text_if_asked_for),
      IN_FOLDER(an_entry_is_a_token_file_of_the_user_alone),
      IN_FOLDER(a_damaged_entry_is_made_anew),
      IN_FOLDER(an_entry_of_another_text_is_made_anew),
      IN_FOLDER(reading_an_entry_makes_it_young),
      IN_FOLDER(a_folder_that_others_may_write_to_is_not_used),
      IN_FOLDER(without_a_cache_no_file_is_left),
      IN_FOLDER(a_git_lfs_pointer_is_no_text),
      IN_FOLDER(a_full_disk_is_told_and_leaves_nothing),
      IN_FOLDER(a_cache_without_room_gives_way_to_a_temporary_file),
      IN_FOLDER(a_text_that_changes_is_not_kept),
  };
  return cmocka_run_group_tests(tests, make, remove_all);
}
