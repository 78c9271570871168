// Windows to train on: where each begins, in order and at random. The tokens are numbers, so that a window tells where it begins.
#include <heed/lm.h>
#include <string.h>

#include "support_tokens.h"

enum { TOKENS = 60000, LENGTH = 16 };

static heed_token_data *data;  // 0, 1, 2, ...

static int open_data(void **state) {
  if (support_make_folder(state) != 0) return -1;
  ASSERT_OK(support_open_tokens(support_token_file("a.bin", 2, TOKENS, 0), 0, &data));
  return 0;
}

static int close_data(void **state) {
  heed_token_data_close(data);
  return support_remove_folder(state);
}

// Reads a micro-batch of at most 8 rows; first: where each begins.
static void read_windows(const heed_batches *batches, const heed_token_data *from, int64_t step, int64_t micro,
                         int64_t *first) {
  int32_t tokens[8 * LENGTH], targets[8 * LENGTH];
  assert_true(batches->batch <= 8 && batches->length <= LENGTH);
  ASSERT_OK(heed_batches_read(batches, from, step, micro, tokens, targets));
  const int64_t count = heed_token_data_count(from);
  for (int64_t i = 0; i < batches->batch * batches->length; ++i) {
    const int64_t row = i / batches->length;
    if (i % batches->length == 0) first[row] = tokens[i];
    assert_int_equal(tokens[i], (first[row] + i % batches->length) % count);
    assert_int_equal(targets[i], (tokens[i] + 1) % count);
  }
}

static void windows_in_order_follow_one_another_and_wrap(void **state) {
  (void)state;
  const heed_batches batches = {.batch = 3, .length = 7, .accumulate = 2, .sequential = true};
  heed_token_data *few;
  int64_t first[8], expected = 0;
  ASSERT_OK(support_open_tokens(support_token_file("few.bin", 2, 24, 0), 0, &few));
  for (int64_t step = 0; step < 5; ++step)
    for (int64_t micro = 0; micro < 2; ++micro) {
      read_windows(&batches, few, step, micro, first);
      for (int row = 0; row < 3; ++row, expected += 7) assert_int_equal(first[row], expected % 24);
    }
  // ((10^15·2 + 1)·3 + 2)·7 mod 24
  read_windows(&batches, few, INT64_C(1000000000000000), 1, first);
  assert_int_equal(first[2], (INT64_C(1000000000000000) % 24 * 42 + 21 + 14) % 24);
  heed_token_data_close(few);
}

static void a_window_crosses_the_border_of_files(void **state) {
  (void)state;
  const char *const paths[] = {support_token_file("left.bin", 2, 10, 0), support_token_file("right.bin", 4, 10, 10)};
  const heed_batches batches = {.batch = 1, .length = 8, .accumulate = 1, .sequential = true};
  heed_token_data *both;
  int64_t first[8];
  ASSERT_OK(heed_token_data_open(paths, 2, NULL, &both, NULL));
  read_windows(&batches, both, 1, 0, first);
  assert_int_equal(first[0], 8);
  heed_token_data_close(both);
}

// The values were computed by another Philox: the number of the window is word 0 and 1 of its counter, 2^63 + step word 2 and 3.
static void starts_have_stated_values(void **state) {
  (void)state;
  static const struct {
    int64_t step, micro, row, start, other;  // other: of another seed
  } known[] = {{0, 0, 0, 57455, 54295},
               {0, 0, 1, 926, 36555},
               {0, 1, 0, 47434, 43554},
               {1, 0, 0, 16817, 27129},
               {5000000000, 3, 2, 43359, 14528}};
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    int64_t first[8];
    heed_batches batches = {.batch = 3, .length = LENGTH, .accumulate = 4, .seed = 7};
    read_windows(&batches, data, known[i].step, known[i].micro, first);
    assert_int_equal(first[known[i].row], known[i].start);
    batches.seed = UINT64_C(1) << 40;
    read_windows(&batches, data, known[i].step, known[i].micro, first);
    assert_int_equal(first[known[i].row], known[i].other);
  }
}

static void a_start_does_not_depend_on_the_other_windows(void **state) {
  (void)state;
  const heed_batches small = {.batch = 2, .length = LENGTH, .accumulate = 2, .seed = 3},
                     large = {.batch = 8, .length = LENGTH, .accumulate = 9, .seed = 3};
  int64_t a[8], b[8];
  for (int64_t step = 0; step < 20; ++step)
    for (int64_t micro = 0; micro < 2; ++micro) {
      read_windows(&small, data, step, micro, a);
      read_windows(&large, data, step, micro, b);
      assert_memory_equal(a, b, 2 * sizeof *a);
    }
}

// Each of the n - L starts, both ends among them, as often as the others: the sum of squares has four degrees of freedom, and is above 23.5
// once in 10^4 seeds.
static void starts_are_uniform_from_end_to_end(void **state) {
  (void)state;
  enum { STARTS = 5, DRAWS = 8000 };
  const heed_batches batches = {.batch = 8, .length = LENGTH, .accumulate = 4, .seed = 11};
  heed_token_data *few;
  int counts[STARTS] = {0};
  ASSERT_OK(support_open_tokens(support_token_file("few.bin", 2, LENGTH + STARTS, 0), 0, &few));
  for (int64_t i = 0; i < DRAWS / 8; ++i) {
    int64_t first[8];
    read_windows(&batches, few, i / 4, i % 4, first);
    for (int row = 0; row < 8; ++row) {
      assert_in_range(first[row], 0, STARTS - 1);
      ++counts[first[row]];
    }
  }
  double sum = 0;
  for (int i = 0; i < STARTS; ++i) {
    const double difference = counts[i] - (double)DRAWS / STARTS;
    sum += difference * difference / ((double)DRAWS / STARTS);
  }
  assert_true(sum < 23.5);
  heed_token_data_close(few);
}

static void one_window_is_enough(void **state) {
  (void)state;
  heed_token_data *few;
  int64_t first[8];
  ASSERT_OK(support_open_tokens(support_token_file("few.bin", 2, LENGTH + 1, 0), 0, &few));
  const heed_batches batches = {.batch = 4, .length = LENGTH, .accumulate = 1};
  read_windows(&batches, few, 3, 0, first);
  for (int row = 0; row < 4; ++row) assert_int_equal(first[row], 0);
  heed_token_data_close(few);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  heed_token_data *few;
  int32_t ids[LENGTH];
  const heed_batches good = {.batch = 1, .length = LENGTH, .accumulate = 2};
  ASSERT_OK(support_open_tokens(support_token_file("few.bin", 2, LENGTH, 0), 0, &few));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "there are 16 tokens; windows of 16 need one more",
               heed_batches_read(&good, few, 0, 0, ids, ids));
  heed_token_data_close(few);
  heed_batches bad = good;
  bad.length = 0;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "0 tokens", heed_batches_read(&bad, data, 0, 0, ids, ids));
  bad = good;
  bad.batch = -1;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "-1 rows", heed_batches_read(&bad, data, 0, 0, ids, ids));
  bad = good;
  bad.accumulate = 0;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "0 micro-batches", heed_batches_read(&bad, data, 0, 0, ids, ids));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "micro-batch 2", heed_batches_read(&good, data, 0, 2, ids, ids));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "step -1", heed_batches_read(&good, data, -1, 0, ids, ids));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "too far", heed_batches_read(&good, data, INT64_MAX, 0, ids, ids));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_batches_read(&good, data, 0, 0, ids, NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(windows_in_order_follow_one_another_and_wrap),
      cmocka_unit_test(a_window_crosses_the_border_of_files),
      cmocka_unit_test(starts_have_stated_values),
      cmocka_unit_test(a_start_does_not_depend_on_the_other_windows),
      cmocka_unit_test(starts_are_uniform_from_end_to_end),
      cmocka_unit_test(one_window_is_enough),
      cmocka_unit_test(what_does_not_fit_is_refused),
  };
  return cmocka_run_group_tests(tests, open_data, close_data);
}
