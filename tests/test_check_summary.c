// The summary of `heed check`: a line for every operator, however many there are, and the worst case of each.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "check/summary.h"

static void add(check_summary *summary, const char *op, const char *name, bool passed, double relative) {
  const case_result result = {.passed = passed, .relative = relative, .tolerance = 1e-6, .output = "y"};
  assert_true(check_summary_add(summary, op, name, &result));
}

static void every_operator_has_a_line_of_its_own(void **state) {
  (void)state;
  enum { MANY = 100 };
  check_summary summary = {0};
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < MANY; ++i) {
      char op[16];
      snprintf(op, sizeof op, "op%d", i);
      add(&summary, op, "case", i != 40, 1e-7);
    }
  assert_int_equal(summary.count, MANY);
  for (int i = 0; i < MANY; ++i) {
    assert_int_equal(summary.operators[i].cases, 2);
    assert_int_equal(summary.operators[i].failed, i == 40 ? 2 : 0);
  }
  check_summary_free(&summary);
}

static void the_worst_case_is_the_one_nearest_to_its_tolerance(void **state) {
  (void)state;
  check_summary summary = {0};
  add(&summary, "op", "first", true, 1e-8);
  add(&summary, "op", "second", true, 3e-7);
  add(&summary, "op", "third", true, 2e-7);
  assert_string_equal(summary.operators[0].worst, "second (y)");
  assert_true(summary.operators[0].relative == 3e-7);
  const case_result exact = {.passed = false, .relative = 1e-30, .tolerance = 0, .output = "x"};
  assert_true(check_summary_add(&summary, "op", "fourth", &exact));
  assert_string_equal(summary.operators[0].worst, "fourth (x)");
  check_summary_free(&summary);
}

static void a_case_without_a_result_is_worse_than_any_error(void **state) {
  (void)state;
  check_summary summary = {0};
  add(&summary, "op", "first", true, 1e-8);
  assert_false(summary.operators[0].is_unmeasured);
  assert_true(check_summary_add(&summary, "op", "second", &(case_result){.message = "signal 11"}));
  add(&summary, "op", "third", false, 1e30);
  assert_string_equal(summary.operators[0].worst, "second");
  assert_true(summary.operators[0].is_unmeasured);
  check_summary_free(&summary);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_operator_has_a_line_of_its_own),
      cmocka_unit_test(the_worst_case_is_the_one_nearest_to_its_tolerance),
      cmocka_unit_test(a_case_without_a_result_is_worse_than_any_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
