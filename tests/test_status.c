// Status codes and messages: every code has a text, the last message belongs to its thread, prefixes stand before it.
#include <pthread.h>
#include <stdlib.h>

#include "base/size.h"
#include "base/status.h"
#include "support_values.h"

static const heed_status all[] = {
#define CODE(name, text) name,
    HEED_STATUS_LIST(CODE)
#undef CODE
};
enum { COUNT = sizeof all / sizeof *all };

static void every_code_has_a_text_of_its_own(void **state) {
  (void)state;
  for (int i = 0; i < COUNT; ++i) {
    assert_true(heed_status_string(all[i])[0] != 0);
    assert_int_equal(all[i], i);
    for (int j = 0; j < i; ++j) assert_string_not_equal(heed_status_string(all[i]), heed_status_string(all[j]));
  }
  assert_int_equal(HEED_OK, 0);
}

static void values_outside_the_list_have_a_text_too(void **state) {
  (void)state;
  assert_string_equal(heed_status_string((heed_status)COUNT), "unknown status");
  assert_string_equal(heed_status_string((heed_status)-1), "unknown status");
  assert_string_equal(heed_status_string((heed_status)100000), "unknown status");
}

static void a_failure_leaves_its_sentence(void **state) {
  (void)state;
  assert_int_equal(heed__fail(HEED_ERROR_IO, "%s: %d", "file", 7), HEED_ERROR_IO);
  assert_string_equal(heed_last_error(), "file: 7");
  assert_int_equal(heed__fail_prefix(HEED_ERROR_FORMAT, "reading %d", 2), HEED_ERROR_FORMAT);
  assert_string_equal(heed_last_error(), "reading 2: file: 7");
}

static void a_message_may_quote_the_one_before_it(void **state) {
  (void)state;
  assert_int_equal(heed__fail(HEED_ERROR_IO, "inner"), HEED_ERROR_IO);
  assert_int_equal(heed__fail(HEED_ERROR_IO, "outer (%s)", heed_last_error()), HEED_ERROR_IO);
  assert_string_equal(heed_last_error(), "outer (inner)");
}

static void a_message_that_is_too_long_is_cut(void **state) {
  (void)state;
  enum { LONG = 10000 };
  char *text = support_memory(LONG);
  memset(text, 'x', LONG);
  assert_int_equal(heed__fail(HEED_ERROR_BUILD, "%s", text), HEED_ERROR_BUILD);
  const size_t most = strlen(heed_last_error());
  assert_true(most > 1000 && most < LONG);
  assert_int_equal(heed__fail_prefix(HEED_ERROR_BUILD, "prefix"), HEED_ERROR_BUILD);
  assert_int_equal(strlen(heed_last_error()), most);
  assert_int_equal(strncmp(heed_last_error(), "prefix: xxx", 11), 0);
  assert_int_equal(heed__fail_prefix(HEED_ERROR_BUILD, "%s", text), HEED_ERROR_BUILD);
  assert_int_equal(strlen(heed_last_error()), most);
}

static void *other_thread(void *arg) {
  bool *good = arg;
  const bool empty = heed_last_error()[0] == 0;
  const heed_status status = heed__fail(HEED_ERROR_IO, "theirs");
  *good = empty && status == HEED_ERROR_IO && strcmp(heed_last_error(), "theirs") == 0;
  return NULL;
}

static void a_message_belongs_to_its_thread(void **state) {
  (void)state;
  assert_int_equal(heed__fail(HEED_ERROR_IO, "ours"), HEED_ERROR_IO);
  bool good = false;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, other_thread, &good), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_true(good);
  assert_string_equal(heed_last_error(), "ours");
}

static void the_version_is_the_headers(void **state) {
  (void)state;
  assert_string_equal(heed_version(), HEED_VERSION_STRING);
}

static void sizes_do_not_wrap(void **state) {
  (void)state;
  int64_t out = 0;
  char text[32];
  assert_true(heed__mul(INT64_C(1) << 31, INT64_C(1) << 31, &out));
  assert_true(out == INT64_C(1) << 62);
  assert_false(heed__mul(INT64_C(1) << 32, INT64_C(1) << 31, &out));
  assert_true(heed__sum(INT64_MAX - 1, 1, &out));
  assert_false(heed__sum(INT64_MAX, 1, &out));
  assert_true(heed__round_up(17, 16) == 32 && heed__ceil_div(32, 16) == 2);
  assert_string_equal(heed__bytes_text(1023, text), "1023 bytes");
  assert_string_equal(heed__bytes_text(1536, text), "1.5 KiB");
  assert_string_equal(heed__bytes_text(UINT64_MAX, text), "16.0 EiB");
}

static void no_context_is_refused(void **state) {
  (void)state;
  const heed_profile_record *records;
  size_t count;
  double gflops, gbytes;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_sync(NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_profile_records(NULL, &records, &count));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_measure_peak(NULL, 1, &gflops, &gbytes));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", heed_open("host", NULL));
  heed_context_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(every_code_has_a_text_of_its_own),
      TEST(values_outside_the_list_have_a_text_too),
      TEST(a_failure_leaves_its_sentence),
      TEST(a_message_may_quote_the_one_before_it),
      TEST(a_message_that_is_too_long_is_cut),
      TEST(a_message_belongs_to_its_thread),
      TEST(the_version_is_the_headers),
      TEST(sizes_do_not_wrap),
      TEST(no_context_is_refused),
  };
  return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
