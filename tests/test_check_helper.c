// The second process of `heed check`: what it tells arrives whole and in order, and its end is told by how it came.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "check/helper.h"
#include "support_values.h"

static void tell(int to, size_t task) {
  check_outcome outcome = {.task = task, .seconds = (double)task / 4, .result = {.passed = task % 2}};
  snprintf(outcome.result.message, sizeof outcome.result.message, "said of %zu", task);
  check_helper_tell(to, &outcome);
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

static void everything_told_arrives_in_order(void **state) {
  (void)state;
  size_t count = 200;
  check_helper helper;
  check_helper_start(&helper, tell_two_hundred, &count);
  assert_true(helper.pid > 0);
  for (size_t i = 0; i < count; ++i) {
    check_outcome outcome;
    char message[64];
    assert_true(check_helper_next(&helper, true, &outcome));
    assert_int_equal(outcome.task, i);
    assert_true(outcome.seconds == (double)i / 4);
    assert_int_equal(outcome.result.passed, i % 2);
    snprintf(message, sizeof message, "said of %zu", i);
    assert_string_equal(outcome.result.message, message);
  }
  check_outcome outcome;
  char reason[160];
  assert_false(check_helper_next(&helper, true, &outcome));
  assert_true(check_helper_end(&helper, reason, sizeof reason));
  assert_false(check_helper_next(&helper, true, &outcome));
}

static void a_crash_is_told_with_its_signal(void **state) {
  (void)state;
  check_helper helper;
  check_outcome outcome;
  char reason[160] = "";
  check_helper_start(&helper, crash_at_the_second, NULL);
  assert_true(check_helper_next(&helper, true, &outcome));
  assert_false(check_helper_next(&helper, true, &outcome));
  assert_false(check_helper_end(&helper, reason, sizeof reason));
  assert_non_null(strstr(reason, "signal 11"));
}

static void a_status_is_told(void **state) {
  (void)state;
  check_helper helper;
  char reason[160] = "";
  check_helper_start(&helper, end_in_failure, NULL);
  assert_false(check_helper_end(&helper, reason, sizeof reason));
  assert_non_null(strstr(reason, "status 3"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everything_told_arrives_in_order),
      cmocka_unit_test(a_crash_is_told_with_its_signal),
      cmocka_unit_test(a_status_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
