// Sparklines: how values went, in a line of a terminal.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tool.h"
#include "support_values.h"

enum { ROOM = 256 };

static void set_locale(const char *all, const char *ctype, const char *lang) {
  setenv("LC_ALL", all, 1);
  setenv("LC_CTYPE", ctype, 1);
  setenv("LANG", lang, 1);
}

static void assert_line(const double *values, size_t count, int width, size_t size, const char *expected) {
  char text[ROOM];
  assert_true(size <= sizeof text);
  memset(text, 'x', sizeof text);
  assert_ptr_equal(tool_sparkline(values, count, width, text, size), text);
  assert_string_equal(text, expected);
}

static void the_lowest_is_low_and_the_highest_high(void **state) {
  (void)state;
  static const double values[] = {-1, 0, 1, 2, 3, 4, 5, 6};
  set_locale("C.UTF-8", "", "");
  assert_line(values, 8, 80, ROOM, "▁▂▃▄▅▆▇█");
  assert_line(values, 8, 8, ROOM, "▁▂▃▄▅▆▇█");
  set_locale("C", "", "");
  assert_line(values, 8, 80, ROOM, "_.-~=+*#");
}

static void a_narrow_line_shows_means(void **state) {
  (void)state;
  static const double values[] = {0, 4, 6, 2, 10, 6, 16, 16};
  set_locale("", "", "en_US.utf8");
  assert_line(values, 8, 4, ROOM, "▁▂▄█");
  assert_line(values, 8, 1, ROOM, "▁");
}

static void the_first_variable_that_is_set_decides(void **state) {
  (void)state;
  static const double values[] = {0, 1};
  set_locale("", "de_DE.UTF-8", "C");
  assert_line(values, 2, 9, ROOM, "▁█");
  set_locale("POSIX", "de_DE.UTF-8", "de_DE.UTF-8");
  assert_line(values, 2, 9, ROOM, "_#");
  set_locale("", "ISO-8859-1", "de_DE.UTF-8");
  assert_line(values, 2, 9, ROOM, "_#");
  unsetenv("LC_ALL");
  unsetenv("LC_CTYPE");
  unsetenv("LANG");
  assert_line(values, 2, 9, ROOM, "_#");
}

static void what_is_not_finite_leaves_no_mark(void **state) {
  (void)state;
  static const double values[] = {0, NAN, INFINITY, 7, 1, NAN};
  set_locale("C", "", "");
  assert_line(values, 6, 9, ROOM, "_  #. ");
  assert_line(values, 6, 3, ROOM, "_#.");
  assert_line(values + 1, 2, 9, ROOM, "");
  assert_line(values, 0, 9, ROOM, "");
  assert_line(values, 6, 0, ROOM, "");
  static const double same[] = {3, 3, 3};
  assert_line(same, 3, 9, ROOM, "___");
}

static void a_text_that_does_not_fit_ends_between_characters(void **state) {
  (void)state;
  static const double values[] = {0, 7, 0, 7};
  set_locale("C.UTF-8", "", "");
  assert_line(values, 4, 9, 13, "▁█▁█");
  assert_line(values, 4, 9, 12, "▁█▁");
  assert_line(values, 4, 9, 3, "");
  assert_line(values, 4, 9, 1, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_lowest_is_low_and_the_highest_high),
      cmocka_unit_test(a_narrow_line_shows_means),
      cmocka_unit_test(the_first_variable_that_is_set_decides),
      cmocka_unit_test(what_is_not_finite_leaves_no_mark),
      cmocka_unit_test(a_text_that_does_not_fit_ends_between_characters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
