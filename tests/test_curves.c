// The curves of training runs: which points they keep, what they read from logs, and that a picture has all of them.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "draw/curves.h"
#include "support_files.h"

static const char command[] = "heed test";
static char bytes[1 << 20];

static bool has_gnuplot(void) { return system("gnuplot --version >/dev/null 2>&1") == 0; }

static const tool_points *points_of(const tool_run *run, tool_curve which) { return &run->points[which]; }

static void assert_point(const tool_points *points, size_t i, int64_t step, double value) {
  assert_true(i < points->count);
  assert_int_equal(points->at[i].step, step);
  assert_true(points->at[i].value == value);
}

static int read_log(const char *lines, tool_run *run) {
  support_write_file(support_path("log"), lines, strlen(lines));
  return tool_run_read(command, support_path("log"), run);
}

// Reads the file into bytes, as a text, and returns its length.
static size_t read_back(const char *name) {
  const size_t count = support_read_file(support_path(name), bytes, sizeof bytes - 1);
  bytes[count] = '\0';
  return count;
}

static size_t occurrences(const char *part) {
  size_t count = 0;
  for (const char *at = bytes; (at = strstr(at, part)); at++) count++;
  return count;
}

// ---------------------------------------------------------------- points

static void values_that_are_not_finite_are_left_out(void **state) {
  (void)state;
  tool_run run = {0};
  assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, 0, NAN), TOOL_DONE);
  assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, 1, 2.5), TOOL_DONE);
  assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, 2, -INFINITY), TOOL_DONE);
  assert_int_equal(points_of(&run, TOOL_CURVE_LOSS)->count, 1);
  assert_point(points_of(&run, TOOL_CURVE_LOSS), 0, 1, 2.5);
  tool_run_release(&run);
}

static void a_step_that_comes_again_takes_the_place_of_what_followed(void **state) {
  (void)state;
  tool_run run = {0};
  for (int64_t step = 0; step < 1000; step++)
    assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, step, 1), TOOL_DONE);
  assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, 400, 7), TOOL_DONE);
  assert_int_equal(points_of(&run, TOOL_CURVE_LOSS)->count, 401);
  assert_point(points_of(&run, TOOL_CURVE_LOSS), 400, 400, 7);
  // What is not finite takes the place, too.
  assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, 10, NAN), TOOL_DONE);
  assert_int_equal(points_of(&run, TOOL_CURVE_LOSS)->count, 10);
  tool_run_release(&run);
}

// ---------------------------------------------------------------- logs

static void a_log_has_the_points_of_its_events(void **state) {
  (void)state;
  tool_run run = {0};
  assert_int_equal(read_log("{\"event\":\"start\",\"step\":0,\"lr\":9}\n"
                            "{\"event\":\"step\",\"step\":0,\"loss\":4.5,\"lr\":0.25}\n"
                            "\n"
                            "{\"event\":\"step\",\"step\":1,\"loss\":null,\"lr\":0.5}\n"
                            "{\"event\":\"eval\",\"step\":1,\"loss\":4}\n"
                            "{\"event\":\"sample\",\"step\":1,\"text\":\"loss\"}\n"
                            "{\"event\":\"epoch\",\"step\":2,\"loss\":1,\"test_loss\":3.5}\n"
                            "no JSON\n"
                            "{\"event\":\"end\",\"step\":3,\"loss\":1}\n"
                            "{\"event\":\"step\",\"step\":2,\"lo",
                            &run),
                   TOOL_DONE);
  assert_int_equal(points_of(&run, TOOL_CURVE_LOSS)->count, 1);
  assert_point(points_of(&run, TOOL_CURVE_LOSS), 0, 0, 4.5);
  assert_int_equal(points_of(&run, TOOL_CURVE_RATE)->count, 2);
  assert_point(points_of(&run, TOOL_CURVE_RATE), 1, 1, 0.5);
  assert_int_equal(points_of(&run, TOOL_CURVE_VALIDATION)->count, 2);
  assert_point(points_of(&run, TOOL_CURVE_VALIDATION), 0, 1, 4);
  assert_point(points_of(&run, TOOL_CURVE_VALIDATION), 1, 2, 3.5);
  tool_run_release(&run);
}

static void a_run_that_goes_on_forgets_what_an_earlier_one_did_beyond(void **state) {
  (void)state;
  tool_run run = {0};
  static const char lines[] =
      "{\"event\":\"step\",\"step\":5,\"loss\":1}\n"
      "{\"event\":\"eval\",\"step\":5,\"loss\":1}\n"
      "{\"event\":\"eval\",\"step\":9,\"loss\":1}\n"
      "{\"event\":\"start\",\"step\":%d}\n";
  char text[256];
  snprintf(text, sizeof text, lines, 5);
  assert_int_equal(read_log(text, &run), TOOL_DONE);
  assert_int_equal(points_of(&run, TOOL_CURVE_LOSS)->count, 1);
  assert_int_equal(points_of(&run, TOOL_CURVE_VALIDATION)->count, 1);
  snprintf(text, sizeof text, lines, 0);
  assert_int_equal(read_log(text, &run), TOOL_DONE);
  assert_int_equal(points_of(&run, TOOL_CURVE_LOSS)->count, 0);
  assert_int_equal(points_of(&run, TOOL_CURVE_VALIDATION)->count, 0);
  tool_run_release(&run);
}

static void a_log_that_is_missing_or_a_folder_is_named(void **state) {
  (void)state;
  tool_run run = {0};
  assert_int_equal(tool_run_read(command, support_path("missing"), &run), TOOL_FAILED);
  assert_non_null(strstr(tool_last_failure(), "missing: cannot read: No such file"));
  assert_int_equal(tool_run_read(command, support_folder(), &run), TOOL_FAILED);
  assert_non_null(strstr(tool_last_failure(), "cannot read: Is a directory"));
}

// ---------------------------------------------------------------- the picture

static tool_curves *open_curves(const char *name) {
  tool_curves *curves = NULL;
  assert_int_equal(tool_curves_open(command, support_path(name), "it's a title", &curves), TOOL_DONE);
  assert_non_null(curves);
  return curves;
}

static void add(tool_curves *curves, tool_curve which, int64_t step, double value) {
  assert_int_equal(tool_curves_add(curves, which, step, value), TOOL_DONE);
}

static void without_a_path_nothing_is_done(void **state) {
  (void)state;
  tool_curves *curves = (void *)&curves;
  assert_int_equal(tool_curves_open(command, NULL, "", &curves), TOOL_DONE);
  assert_null(curves);
  assert_int_equal(tool_curves_add(NULL, TOOL_CURVE_LOSS, 0, 1), TOOL_DONE);
  assert_int_equal(tool_curves_read_log(NULL, "/missing"), TOOL_DONE);
  assert_int_equal(tool_curves_draw(NULL), TOOL_DONE);
  assert_int_equal(tool_curves_refresh(NULL), TOOL_DONE);
  tool_curves_close(NULL);
}

static void what_cannot_be_drawn_is_refused_beforehand(void **state) {
  (void)state;
  tool_curves *curves = NULL;
  assert_int_equal(tool_curves_open(command, support_path("curves.pdf"), "", &curves), TOOL_USAGE);
  assert_non_null(strstr(tool_last_failure(), "must end in .svg or .png"));
  assert_int_equal(tool_curves_open(command, "svg:-", "", &curves), TOOL_USAGE);
  assert_non_null(strstr(tool_last_failure(), "name a file"));
  assert_int_equal(tool_curves_open(command, support_path("missing/curves.svg"), "", &curves), TOOL_FAILED);
  assert_non_null(strstr(tool_last_failure(), "--plot"));
  char *path = strdup(getenv("PATH"));
  setenv("PATH", support_folder(), 1);
  assert_int_equal(tool_curves_open(command, support_path("curves.svg"), "", &curves), TOOL_FAILED);
  setenv("PATH", path, 1);
  free(path);
  assert_non_null(strstr(tool_last_failure(), "gnuplot-nox"));
  assert_null(curves);
}

static void a_picture_names_its_curves_and_axes(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  tool_curves *curves = open_curves("curves.svg");
  assert_int_equal(tool_curves_draw(curves), TOOL_DONE);  // no point yet
  assert_int_equal(access(support_path("curves.svg"), F_OK), -1);
  add(curves, TOOL_CURVE_LOSS, 0, 2);
  assert_int_equal(tool_curves_draw(curves), TOOL_DONE);
  read_back("curves.svg");
  assert_non_null(strstr(bytes, "</svg>"));
  assert_non_null(strstr(bytes, "loss 2 at step 0"));
  assert_null(strstr(bytes, "learning rate"));
  assert_null(strstr(bytes, "validation"));
  support_assert_texts_inside(bytes);
  for (int64_t step = 1; step < 200; step++) add(curves, TOOL_CURVE_LOSS, step, 2 - 0.001 * (double)step);
  add(curves, TOOL_CURVE_VALIDATION, 100, 1.75);
  add(curves, TOOL_CURVE_VALIDATION, 150, 1.875);
  add(curves, TOOL_CURVE_RATE, 150, 0.25);
  assert_int_equal(tool_curves_draw(curves), TOOL_DONE);
  read_back("curves.svg");
  static const char *const parts[] = {
      "</svg>",     "it&apos;s a title", "loss 1.801 at step 199; lowest validation loss 1.75 at step 100",
      "smoothed",   "loss of a step",    "validation loss",
      "loss (nats", "learning rate",     ">step<"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr(bytes, parts[i]) && !(i == 1 && strstr(bytes, "it's a title"))) fail_msg("no \"%s\"", parts[i]);
  support_assert_texts_inside(bytes);
  tool_curves_close(curves);
  support_empty_folder();
}

static void many_points_are_thinned_out_and_their_extremes_stay(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  tool_run run = {0};
  for (int64_t step = 0; step < 100000; step++)
    assert_int_equal(tool_run_add(command, &run, TOOL_CURVE_LOSS, step, step == 54321 ? 9000 : 1 + (double)(step % 7)),
                     TOOL_DONE);
  assert_int_equal(tool_runs_draw(command, "--plot", support_path("many.svg"), "many", &run, 1), TOOL_DONE);
  const size_t count = read_back("many.svg");
  assert_true(count < 100000);
  assert_non_null(strstr(bytes, ">1000<"));  // the axis is logarithmic and reaches the one high point
  tool_run_release(&run);
  support_empty_folder();
}

static void runs_side_by_side_have_styles_of_their_own(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  tool_run runs[TOOL_MOST_RUNS] = {0};
  char labels[TOOL_MOST_RUNS][64];
  for (int i = 0; i < TOOL_MOST_RUNS; i++) {
    snprintf(labels[i], sizeof labels[i], "run %d of a name that does not fit into the legend", i);
    runs[i].label = labels[i];
    for (int64_t step = 0; step < 5; step++)
      assert_int_equal(tool_run_add(command, &runs[i], TOOL_CURVE_LOSS, step, i + (double)step), TOOL_DONE);
    assert_int_equal(tool_run_add(command, &runs[i], TOOL_CURVE_VALIDATION, 3, i), TOOL_DONE);
  }
  assert_int_equal(tool_runs_draw(command, "-o", support_path("runs.svg"), "runs", runs, TOOL_MOST_RUNS), TOOL_DONE);
  read_back("runs.svg");
  support_assert_texts_inside(bytes);
  assert_int_equal(occurrences("...: loss<"), TOOL_MOST_RUNS);
  assert_int_equal(occurrences("...: validation loss<"), TOOL_MOST_RUNS);
  assert_true(occurrences("stroke-dasharray") > TOOL_MOST_RUNS);
  for (int i = 0; i < TOOL_MOST_RUNS; i++) tool_run_release(&runs[i]);
  support_empty_folder();
}

static void a_failure_is_said_once_and_leaves_the_old_picture(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  tool_curves *curves = open_curves("curves.png");
  add(curves, TOOL_CURVE_LOSS, 3, 2);
  assert_int_equal(tool_curves_draw(curves), TOOL_DONE);
  const size_t count = read_back("curves.png");
  assert_true(count > 100);
  char *path = strdup(getenv("PATH"));
  setenv("PATH", support_folder(), 1);
  assert_int_equal(tool_curves_draw(curves), TOOL_FAILED);
  setenv("PATH", path, 1);
  free(path);
  assert_non_null(strstr(tool_last_failure(), "gnuplot"));
  tool_fail(command, "another failure");
  assert_int_equal(tool_curves_draw(curves), TOOL_FAILED);
  assert_int_equal(tool_curves_refresh(curves), TOOL_FAILED);
  assert_non_null(strstr(tool_last_failure(), "another failure"));
  assert_int_equal(read_back("curves.png"), count);
  tool_curves_close(curves);
  support_empty_folder();
}

static void refreshing_costs_a_fiftieth_of_the_time(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  tool_curves *curves = open_curves("curves.svg");
  add(curves, TOOL_CURVE_LOSS, 3, 2);
  assert_int_equal(tool_curves_draw(curves), TOOL_DONE);
  assert_int_equal(unlink(support_path("curves.svg")), 0);
  assert_int_equal(tool_curves_refresh(curves), TOOL_DONE);  // right after it
  assert_int_equal(access(support_path("curves.svg"), F_OK), -1);
  const double started = tool_seconds();
  while (access(support_path("curves.svg"), F_OK) != 0 && tool_seconds() - started < 60) {
    assert_int_equal(tool_curves_refresh(curves), TOOL_DONE);
    usleep(10000);
  }
  assert_true(tool_seconds() - started < 60);
  tool_curves_close(curves);
  support_empty_folder();
}

static void a_log_that_will_be_begun_has_no_points(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  tool_curves *curves = open_curves("curves.svg");
  assert_int_equal(tool_curves_read_log(curves, support_path("missing")), TOOL_DONE);
  static const char line[] = "{\"event\":\"step\",\"step\":4,\"loss\":0.625}\n";
  support_write_file(support_path("log"), line, strlen(line));
  assert_int_equal(tool_curves_read_log(curves, support_path("log")), TOOL_DONE);
  assert_int_equal(tool_curves_draw(curves), TOOL_DONE);
  read_back("curves.svg");
  assert_non_null(strstr(bytes, "loss 0.625 at step 4"));
  tool_curves_close(curves);
  support_empty_folder();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_that_are_not_finite_are_left_out),
      cmocka_unit_test(a_step_that_comes_again_takes_the_place_of_what_followed),
      cmocka_unit_test(a_log_has_the_points_of_its_events),
      cmocka_unit_test(a_run_that_goes_on_forgets_what_an_earlier_one_did_beyond),
      cmocka_unit_test(a_log_that_is_missing_or_a_folder_is_named),
      cmocka_unit_test(without_a_path_nothing_is_done),
      cmocka_unit_test(what_cannot_be_drawn_is_refused_beforehand),
      cmocka_unit_test(a_picture_names_its_curves_and_axes),
      cmocka_unit_test(many_points_are_thinned_out_and_their_extremes_stay),
      cmocka_unit_test(runs_side_by_side_have_styles_of_their_own),
      cmocka_unit_test(a_failure_is_said_once_and_leaves_the_old_picture),
      cmocka_unit_test(refreshing_costs_a_fiftieth_of_the_time),
      cmocka_unit_test(a_log_that_will_be_begun_has_no_points),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
