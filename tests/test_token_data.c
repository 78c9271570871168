// Token files: what is in them is read, across their borders and from the end to the beginning, and what is broken is refused by name.
#include <heed/lm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_tokens.h"

static void ids_of_both_widths_are_read(void **state) {
  (void)state;
  for (int width = 2; width <= 4; width += 2) {
    heed_token_data *data;
    const uint32_t first = width == 2 ? 65531 : 2147483643;
    const int32_t expected[] = {(int32_t)first, (int32_t)first + 1, (int32_t)first + 2, (int32_t)first + 3,
                                (int32_t)first + 4};
    ASSERT_OK(support_open_tokens(support_token_file("a.bin", width, 5, first), 0, &data));
    support_assert_ids(data, expected, 5);
    heed_token_data_close(data);
  }
}

static void after_the_last_token_follows_the_first(void **state) {
  (void)state;
  heed_token_data *data;
  int32_t ids[8];
  ASSERT_OK(support_open_tokens(support_token_file("a.bin", 2, 3, 10), 0, &data));
  ASSERT_OK(heed_token_data_read(data, 2, 8, ids));
  assert_memory_equal(ids, ((int32_t[]){12, 10, 11, 12, 10, 11, 12, 10}), sizeof ids);
  ASSERT_OK(heed_token_data_read(data, 3000000000004, 2, ids));
  assert_memory_equal(ids, ((int32_t[]){11, 12}), 2 * sizeof *ids);
  ASSERT_OK(heed_token_data_read(data, 1, 0, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "from token -1", heed_token_data_read(data, -1, 1, ids));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "-2 tokens", heed_token_data_read(data, 0, -2, ids));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_token_data_read(data, 0, 1, NULL));
  heed_token_data_close(data);
}

// Widths differ, and one file is empty.
static heed_status open_four(double validation, heed_token_data **training, heed_token_data **held) {
  const char *const paths[] = {support_token_file("a.bin", 2, 4, 0), support_token_file("b.bin", 4, 3, 4),
                               support_token_file("c.bin", 2, 0, 9), support_token_file("d.bin", 2, 3, 7)};
  const heed_token_data_options options = {.validation = validation};
  return heed_token_data_open(paths, 4, &options, training, held);
}

static void files_follow_one_another(void **state) {
  (void)state;
  heed_token_data *data;
  int32_t ids[12];
  ASSERT_OK(open_four(0, &data, NULL));
  assert_int_equal(heed_token_data_count(data), 10);
  for (int64_t first = 0; first < 10; ++first)
    for (int64_t count = 0; count <= 12; ++count) {
      ASSERT_OK(heed_token_data_read(data, first, count, ids));
      for (int64_t i = 0; i < count; ++i) assert_int_equal(ids[i], (first + i) % 10);
    }
  heed_token_data_close(data);
}

// ⌈f·n⌉ of n = 10, wherever the border lies.
static void the_end_is_for_validation(void **state) {
  (void)state;
  static const double parts[] = {1e-9, 0.1, 0.2, 0.25, 0.3, 0.31, 0.5, 0.6, 0.61, 0.9, 0.95};
  static const int32_t ids[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    heed_token_data *training, *validation;
    const int64_t held = (int64_t)ceil(parts[i] * 10);
    ASSERT_OK(open_four(parts[i], &training, &validation));
    support_assert_ids(training, ids, 10 - held);
    support_assert_ids(validation, ids + 10 - held, held);
    heed_token_data_close(training);
    heed_token_data_close(validation);
  }
}

static void nothing_for_validation_gives_null(void **state) {
  heed_token_data *training, *validation = (heed_token_data *)(void *)state;
  ASSERT_OK(open_four(0, &training, &validation));
  assert_null(validation);
  heed_token_data_close(training);
}

// The value is Python's zlib.crc32 of the ids as little-endian int32.
static void the_checksum_is_that_of_the_ids_alone(void **state) {
  (void)state;
  enum { COUNT = 10000 };
  static char file[SUPPORT_TOKENS_HEADER + 4 * COUNT];
  for (int width = 2; width <= 4; width += 2) {
    const uint32_t header[] = {width == 2 ? 20240520 : 20240801, width == 2 ? 1 : 7, COUNT};
    memcpy(file, header, sizeof header);
    for (uint32_t i = 0; i < COUNT; ++i) {
      const uint32_t id = i * 7 % 1000;
      memcpy(file + SUPPORT_TOKENS_HEADER + i * (uint32_t)width, &id, (size_t)width);
    }
    support_write_file(support_path("a.bin"), file, SUPPORT_TOKENS_HEADER + COUNT * (size_t)width);
    heed_token_data *data;
    uint32_t checksum = 0;
    ASSERT_OK(support_open_tokens(support_path("a.bin"), 0, &data));
    ASSERT_OK(heed_token_data_checksum(data, &checksum));
    assert_int_equal(checksum, 3480837475);
    heed_token_data_close(data);
  }
}

static void a_token_beyond_the_vocabulary_is_refused(void **state) {
  (void)state;
  heed_token_data *data, *validation;
  for (int width = 2; width <= 4; width += 2) {
    const char *path = support_token_file("a.bin", width, 10000, 100);
    ASSERT_FAILS(HEED_ERROR_FORMAT, "a.bin: token 9899 is 9999, but the vocabulary has 9999",
                 support_open_tokens(path, 9999, &data));
    assert_null(data);
    ASSERT_OK(support_open_tokens(path, 10100, &data));
    heed_token_data_close(data);
    // The index is that of the file, also in what is for validation.
    ASSERT_FAILS(HEED_ERROR_FORMAT, "a.bin: token 9999 is 10099, but",
                 heed_token_data_open(&path, 1, &(heed_token_data_options){.vocab = 10099, .validation = 0.1}, &data,
                                      &validation));
    assert_null(data);
    assert_null(validation);
  }
  ASSERT_FAILS(HEED_ERROR_FORMAT, "token 1 is 2147483648, which is no token id",
               support_open_tokens(support_token_file("a.bin", 4, 3, 2147483647), 0, &data));
}

static heed_status open_bytes(const void *bytes, size_t count) {
  heed_token_data *data;
  support_write_file(support_path("a.bin"), bytes, count);
  const heed_status status = support_open_tokens(support_path("a.bin"), 0, &data);
  heed_token_data_close(data);
  return status;
}

static void a_broken_file_is_refused(void **state) {
  (void)state;
  struct {
    uint32_t words[256];
    uint16_t ids[4];
  } file = {{20240520, 1, 4}, {1, 2, 3, 4}};
  ASSERT_OK(open_bytes(&file, sizeof file));
  for (size_t bytes = 4; bytes < sizeof file; ++bytes)
    ASSERT_FAILS(HEED_ERROR_FORMAT, "a.bin: truncated", open_bytes(&file, bytes));
  file.words[2] = 3;
  ASSERT_FAILS(HEED_ERROR_FORMAT, "says 3 tokens of 2 bytes, and it has 8 bytes", open_bytes(&file, sizeof file));
  file.words[2] = UINT32_MAX;
  ASSERT_FAILS(HEED_ERROR_FORMAT, "truncated or too long", open_bytes(&file, sizeof file));
  file.words[2] = 4;
  file.words[3] = UINT32_C(1) << 31;  // the count's high half, and 2^63 tokens
  ASSERT_FAILS(HEED_ERROR_FORMAT, "truncated or too long", open_bytes(&file, sizeof file));
  file.words[3] = 0;
  file.words[1] = 7;
  ASSERT_FAILS(HEED_ERROR_FORMAT, "a.bin: a token file of version 7; heed reads version 1",
               open_bytes(&file, sizeof file));
  file.words[0] = 20240519;
  ASSERT_FAILS(HEED_ERROR_FORMAT,
               "a.bin: neither a token file nor a text: a token file begins with the number 20240520 or 20240801, this "
               "one with 20240519",
               open_bytes(&file, sizeof file));
  ASSERT_FAILS(HEED_ERROR_FORMAT, "a.bin: is no token file; a text needs a tokenizer", open_bytes("a text", 6));
}

// Those of nanoGPT have no header: read as texts, each of their bytes would be a token.
static void a_file_of_numbers_that_is_called_bin_is_no_text(void **state) {
  (void)state;
  const uint16_t ids[] = {464, 3290, 318, 257, 922, 3290, 13, 198};
  heed_tokenizer *bytes = NULL;
  heed_token_data *data = NULL;
  ASSERT_OK(heed_tokenizer_create_bytes(&bytes));
  const heed_token_data_options options = {.tokenizer = bytes};
  for (int i = 0; i < 2; ++i) {
    const char *path = support_path(i ? "train.bytes" : "train.bin");
    support_write_file(path, ids, sizeof ids);
    if (i)
      ASSERT_OK(heed_token_data_open(&path, 1, &options, &data, NULL));
    else
      ASSERT_FAILS(HEED_ERROR_FORMAT, "train.bin: neither a token file nor a text",
                   heed_token_data_open(&path, 1, &options, &data, NULL));
  }
  assert_int_equal(heed_token_data_count(data), sizeof ids);
  heed_token_data_close(data);
  heed_tokenizer_destroy(bytes);
}

static void what_cannot_be_mapped_is_refused(void **state) {
  (void)state;
  heed_token_data *data;
  ASSERT_FAILS(HEED_ERROR_IO, "absent: cannot open: No such file", support_open_tokens("absent", 0, &data));
  ASSERT_FAILS(HEED_ERROR_IO, "Is a directory", support_open_tokens(support_folder(), 0, &data));
  ASSERT_FAILS(HEED_ERROR_IO, "/dev/null: is a pipe or a device", support_open_tokens("/dev/null", 0, &data));
  assert_int_equal(mkfifo(support_path("pipe"), 0600), 0);
  ASSERT_FAILS(HEED_ERROR_IO, "is a pipe or a device", support_open_tokens(support_path("pipe"), 0, &data));
}

static void files_are_of_one_kind(void **state) {
  (void)state;
  heed_token_data *data;
  const char *const paths[] = {support_token_file("a.bin", 2, 4, 0), support_text("b.txt", "text")};
  ASSERT_FAILS(HEED_ERROR_FORMAT, "b.txt is a text", heed_token_data_open(paths, 2, NULL, &data, NULL));
}

static void arguments_are_checked(void **state) {
  (void)state;
  heed_token_data *data, *validation;
  const char *path = support_token_file("a.bin", 2, 4, 0);
  static const double parts[] = {-0.1, 1, 2, NAN};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i)
    ASSERT_FAILS(
        HEED_ERROR_INVALID_ARGUMENT, "the part for validation",
        heed_token_data_open(&path, 1, &(heed_token_data_options){.validation = parts[i]}, &data, &validation));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "validation is NULL",
               heed_token_data_open(&path, 1, &(heed_token_data_options){.validation = 0.5}, &data, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "none", heed_token_data_open(&path, 0, NULL, &data, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "vocab is -1", support_open_tokens(path, -1, &data));
}

static void no_tokens_are_no_error_until_they_are_read(void **state) {
  (void)state;
  heed_token_data *data;
  int32_t id;
  ASSERT_OK(support_open_tokens(support_token_file("a.bin", 2, 0, 0), 0, &data));
  assert_int_equal(heed_token_data_count(data), 0);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no tokens", heed_token_data_read(data, 0, 1, &id));
  heed_token_data_close(data);
}

// To read behind the end of a mapped file would end the process.
static void a_file_that_becomes_shorter_is_an_error(void **state) {
  (void)state;
  heed_token_data *data;
  int32_t id;
  ASSERT_OK(support_open_tokens(support_token_file("a.bin", 2, 10000, 0), 0, &data));
  assert_int_equal(truncate(support_path("a.bin"), 2000), 0);
  ASSERT_FAILS(HEED_ERROR_IO, "a.bin: became shorter", heed_token_data_read(data, 9999, 1, &id));
  assert_int_equal(unlink(support_path("a.bin")), 0);
  heed_token_data_close(data);
  // One that is deleted is still there.
  ASSERT_OK(support_open_tokens(support_token_file("a.bin", 2, 10000, 0), 0, &data));
  assert_int_equal(unlink(support_path("a.bin")), 0);
  ASSERT_OK(heed_token_data_read(data, 9999, 1, &id));
  assert_int_equal(id, 9999);
  heed_token_data_close(data);
}

static int empty(void **state) {
  (void)state;
  support_empty_folder();
  return 0;
}

#define IN_FOLDER(test) cmocka_unit_test_setup(test, empty)
int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(ids_of_both_widths_are_read),
      IN_FOLDER(after_the_last_token_follows_the_first),
      IN_FOLDER(files_follow_one_another),
      IN_FOLDER(the_end_is_for_validation),
      IN_FOLDER(nothing_for_validation_gives_null),
      IN_FOLDER(the_checksum_is_that_of_the_ids_alone),
      IN_FOLDER(a_token_beyond_the_vocabulary_is_refused),
      IN_FOLDER(a_broken_file_is_refused),
      IN_FOLDER(a_file_of_numbers_that_is_called_bin_is_no_text),
      IN_FOLDER(what_cannot_be_mapped_is_refused),
      IN_FOLDER(files_are_of_one_kind),
      IN_FOLDER(arguments_are_checked),
      IN_FOLDER(no_tokens_are_no_error_until_they_are_read),
      IN_FOLDER(a_file_that_becomes_shorter_is_an_error),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
