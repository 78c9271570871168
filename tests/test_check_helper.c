// The second process of `heed check`: what it tells arrives whole and in order, and its end is told by how it came.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "check/helper.h"
#include "support_values.h"

static void tell(int to, size_t task) {
  check_message message = {.topic = CHECK_ENDED};
  message.of.outcome = (check_outcome){.task = task, .seconds = (double)task / 4, .result = {.passed = task % 2}};
  snprintf(message.of.outcome.result.message, sizeof message.of.outcome.result.message, "said of %zu", task);
  check_helper_tell(to, &message);
}

static int tell_two_hundred(void *state, int to) {
  for (size_t i = 0; i < *(const size_t *)state; ++i) tell(to, i);  // more than a pipe holds
  return 0;
}

static int crash_at_the_second(void *state, int to) {
  (void)state;
  tell(to, 0);
  signal(SIGSEGV, SIG_DFL);
  return raise(SIGSEGV);
}

static int end_in_failure(void *state, int to) {
  (void)state, (void)to;
  return 3;
}

// Tells whether the helper says anything more.
static bool next(check_helper *helper, check_message *message) {
  bool ended;
  assert_ptr_equal(check_helper_next(helper, 1, message, &ended), helper);
  return !ended;
}

static void everything_told_arrives_in_order(void **state) {
  (void)state;
  size_t count = 200;
  check_helper helper;
  check_message message;
  check_helper_start(&helper, true, tell_two_hundred, &count);
  assert_true(helper.pid > 0);
  for (size_t i = 0; i < count; ++i) {
    const check_outcome *outcome = &message.of.outcome;
    char text[64];
    assert_true(next(&helper, &message));
    assert_int_equal(message.topic, CHECK_ENDED);
    assert_int_equal(outcome->task, i);
    assert_true(outcome->seconds == (double)i / 4);
    assert_int_equal(outcome->result.passed, i % 2);
    snprintf(text, sizeof text, "said of %zu", i);
    assert_string_equal(outcome->result.message, text);
  }
  char reason[160];
  bool ended;
  assert_false(next(&helper, &message));
  assert_true(check_helper_end(&helper, reason, sizeof reason));
  assert_null(check_helper_next(&helper, 1, &message, &ended));
}

static void two_are_listened_to_at_once(void **state) {
  (void)state;
  size_t counts[2] = {3, 5}, told[2] = {0};
  check_helper helpers[2];
  check_message message;
  for (int i = 0; i < 2; ++i) check_helper_start(&helpers[i], true, tell_two_hundred, &counts[i]);
  for (;;) {
    bool ended;
    check_helper *from = check_helper_next(helpers, 2, &message, &ended);
    char reason[160];
    if (!from) break;
    if (ended)
      assert_true(check_helper_end(from, reason, sizeof reason));
    else
      ++told[from - helpers];
  }
  assert_int_equal(told[0], 3);
  assert_int_equal(told[1], 5);
}

static void a_crash_is_told_with_its_signal(void **state) {
  (void)state;
  check_helper helper;
  check_message message;
  char reason[160] = "";
  check_helper_start(&helper, true, crash_at_the_second, NULL);
  assert_true(next(&helper, &message));
  assert_false(next(&helper, &message));
  assert_false(check_helper_end(&helper, reason, sizeof reason));
  assert_non_null(strstr(reason, "signal 11"));
}

static void a_status_is_told(void **state) {
  (void)state;
  check_helper helper;
  char reason[160] = "";
  check_helper_start(&helper, true, end_in_failure, NULL);
  assert_false(check_helper_end(&helper, reason, sizeof reason));
  assert_non_null(strstr(reason, "status 3"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_told_arrives_in_order),
      cmocka_unit_test(two_are_listened_to_at_once),
      cmocka_unit_test(a_crash_is_told_with_its_signal),
      cmocka_unit_test(a_status_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
