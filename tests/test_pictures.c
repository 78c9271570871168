// The pictures of heed train, eval, run attention and plot: they are whole, name what they show, and what cannot be drawn is said before
// any work. Without gnuplot only the refusals are tested.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <heed/io.h>

#include "support_files.h"
#include "support_listen.h"
#include "cli/tool.h"

enum { TEXT_ROOM = 1 << 20 };
static char picture[TEXT_ROOM];

static bool has_gnuplot(void) { return system("gnuplot --version >/dev/null 2>&1") == 0; }

// ---------------------------------------------------------------- calling it

#define TRAIN(...) \
  COMMAND(cmd_train, "train", "--device", "host", "--data", "synthetic", "--hidden", "8", "--batch", "200", __VA_ARGS__)
#define EVAL(...) COMMAND(cmd_eval, "eval", "--device", "host", "--data", "synthetic", "--model", "model", __VA_ARGS__)
#define ATTENTION(...) COMMAND(cmd_run, "run", "attention", "--device", "host", "-i", "in", "-o", "out", __VA_ARGS__)

static void assert_said(const char *part) {
  if (!strstr(support_said, part)) fail_msg("\"%s\" is not in \"%s\"", part, support_said);
}

static size_t occurrences(const char *part) {
  size_t count = 0;
  for (const char *at = picture; (at = strstr(at, part)); at++) count++;
  return count;
}

static void assert_svg(const char *path, const char *const *parts) {
  picture[support_read_file(path, picture, sizeof picture - 1)] = '\0';
  assert_non_null(strstr(picture, "<svg"));
  assert_non_null(strstr(picture, "</svg>"));
  support_assert_texts_inside(picture);
  assert_int_equal(occurrences("<image "),
                   occurrences("<image image-rendering='optimizeSpeed' style='image-rendering:pixelated' "));
  for (; *parts; parts++)
    if (!strstr(picture, *parts)) fail_msg("%s does not show \"%s\"", path, *parts);
}
#define ASSERT_SVG(path, ...) assert_svg(path, (const char *const[]){__VA_ARGS__, NULL})

static void assert_png(const char *path) {
  const size_t count = support_read_file(path, picture, sizeof picture);
  assert_true(count > 100 && count < sizeof picture);
  assert_memory_equal(picture, "\x89PNG\r\n\x1a\n", 8);
  assert_memory_equal(picture + count - 8, "IEND", 4);
}

static bool is_there(const char *path) { return access(path, F_OK) == 0; }

static void write_text(const char *path, const char *text) { support_write_file(path, text, strlen(text)); }

static int enter_folder(void **state) {
  return support_make_folder(state) == 0 && chdir(support_folder()) == 0 ? 0 : -1;
}
static int leave_folder(void **state) { return chdir("/") == 0 ? support_remove_folder(state) : -1; }

// Sets PATH to a folder in which `script` stands for gnuplot (NULL: nothing does); returns the old PATH.
static char *stand_in(const char *script) {
  char *old = strdup(getenv("PATH"));
  mkdir("bin", 0700);
  unlink("bin/gnuplot");
  if (script) {
    write_text("bin/gnuplot", script);
    assert_int_equal(chmod("bin/gnuplot", 0700), 0);
  }
  setenv("PATH", support_path("bin"), 1);
  return old;
}

static void stand_aside(char *old) {
  setenv("PATH", old, 1);
  free(old);
}

// ---------------------------------------------------------------- heed train

static void a_training_draws_its_curves(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  assert_int_equal(TRAIN("--epochs", "2", "--plot", "train.svg", "--log", "log", "--save", "model"), TOOL_DONE);
  ASSERT_SVG("train.svg", "784-8-10 on synthetic digits", "smoothed", "validation loss", "at step 120",
             "learning rate");
  assert_null(strstr(support_printed, "svg"));
  // One that goes on shows what was before it.
  assert_int_equal(TRAIN("--epochs", "3", "--resume", "model", "--plot", "more.svg", "--log", "log"), TOOL_DONE);
  ASSERT_SVG("more.svg", "at step 180", "smoothed");
  assert_int_equal(TRAIN("--epochs", "3", "--resume", "model", "--plot", "train.PNG"), TOOL_DONE);
  assert_png("train.PNG");
}

static void a_training_that_cannot_draw_does_not_begin(void **state) {
  (void)state;
  assert_int_equal(TRAIN("--epochs", "1", "--plot", "train.pdf", "--save", "never"), TOOL_USAGE);
  assert_said("--plot train.pdf: the name must end in .svg or .png");
  assert_int_equal(TRAIN("--epochs", "1", "--plot", "svg:-", "--save", "never"), TOOL_USAGE);
  assert_said("name a file");
  assert_int_equal(TRAIN("--epochs", "1", "--plot", "missing/train.svg", "--save", "never"), TOOL_FAILED);
  assert_said("cannot write into its folder");
  char *path = stand_in(NULL);
  assert_int_equal(TRAIN("--epochs", "1", "--plot", "train.svg", "--save", "never"), TOOL_FAILED);
  stand_aside(path);
  assert_said("gnuplot-nox");
  assert_string_equal(support_printed, "");
  assert_false(is_there("never"));
}

static void a_training_outlives_a_gnuplot_that_fails(void **state) {
  (void)state;
  write_text("old.svg", "old");
  // It passes the check, whose script names the terminal alone, and fails on all others.
  char *path = stand_in("#!/bin/sh\nwhile read -r line; do case $line in plot*) exit 3;; esac; done\n");
  assert_int_equal(TRAIN("--epochs", "2", "--plot", "old.svg", "--save", "saved"), TOOL_FAILED);
  stand_aside(path);
  assert_said("exit status 3");
  assert_null(strstr(strstr(support_said, "exit status 3") + 1, "exit status 3"));
  assert_non_null(strstr(support_printed, "epoch 2/2"));
  assert_true(is_there("saved"));
  assert_int_equal(support_read_file("old.svg", picture, sizeof picture), 3);
}

// ---------------------------------------------------------------- heed eval

static void an_evaluation_draws_its_errors(void **state) {
  (void)state;
  assert_int_equal(TRAIN("--max-steps", "20", "--save", "model"), TOOL_DONE);
  if (!has_gnuplot()) skip();
  assert_int_equal(EVAL("--plot", "eval.svg"), TOOL_DONE);
  char accuracy[64];
  snprintf(accuracy, sizeof accuracy, "%.*s", (int)strcspn(support_printed, ","), support_printed);
  ASSERT_SVG("eval.svg", accuracy, "of 2000 digits, synthetic", "taken for", "true class", ">image ");
  assert_int_equal(occurrences(">image "), 12);
  assert_int_equal(occurrences(">is "), 12);
  assert_int_equal(occurrences(">said "), 12);
  assert_int_equal(EVAL("--plot", "eval.png"), TOOL_DONE);
  assert_png("eval.png");
  assert_int_equal(EVAL("--plot", "svg:-"), TOOL_DONE);
  assert_non_null(strstr(support_printed, "</svg>"));
  assert_null(strstr(support_printed, "loss"));
}

static void the_counts_of_the_matrix_are_those_of_the_test_set(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  assert_int_equal(EVAL("--plot", "eval.svg"), TOOL_DONE);
  double accuracy;
  assert_int_equal(sscanf(support_printed, "test accuracy %lf", &accuracy), 1);
  // The matrix's numbers stand in the middle of their cells; those at axes do not.
  const size_t count = support_read_file("eval.svg", picture, sizeof picture - 1);
  picture[count] = '\0';
  long sum = 0;
  for (const char *at = picture; (at = strstr(at, "text-anchor=\"middle\"")); at++) {
    const char *end = strstr(at, "</text>");
    const char *begin = end;
    while (begin > at && begin[-1] != '>') begin--;
    // "<tspan ...>13</tspan></text>", or without the span
    if (begin == end && end - at > 8 && strncmp(end - 8, "</tspan>", 8) == 0) {
      end -= 8;
      for (begin = end; begin > at && begin[-1] != '>';) begin--;
    }
    char *rest;
    const long number = strtol(begin, &rest, 10);
    if (rest == end && rest > begin) sum += number;
  }
  // Tics 0 to 9 along the lower axis are centred, too.
  assert_int_equal(sum, 2000 + 45);
  assert_true(accuracy > 0 && accuracy < 100);
}

static void an_evaluation_that_cannot_draw_does_not_begin(void **state) {
  (void)state;
  assert_int_equal(EVAL("--plot", "eval"), TOOL_USAGE);
  assert_int_equal(EVAL("--plot", "svg:-", "--json"), TOOL_USAGE);
  assert_said("--plot svg:- and --json both write to standard output");
  char *path = stand_in(NULL);
  assert_int_equal(EVAL("--plot", "none.svg"), TOOL_FAILED);
  stand_aside(path);
  assert_said("gnuplot-nox");
  assert_string_equal(support_printed, "");
  path = stand_in("#!/bin/sh\nexit 3\n");
  assert_int_equal(EVAL("--plot", "none.svg"), TOOL_FAILED);
  stand_aside(path);
  assert_said("exit status 3");
  assert_false(is_there("none.svg"));
}

// ---------------------------------------------------------------- heed run attention

static void write_attention(int64_t heads, int64_t length) {
  heed_safetensors *file = NULL;
  const int64_t dims[] = {1, heads, length, 4};
  const size_t count = (size_t)(heads * length * 4);
  float *values = malloc(count * sizeof *values);
  assert_non_null(values);
  assert_int_equal(heed_safetensors_create(&file), HEED_OK);
  static const char *const names[] = {"q", "k", "v"};
  for (int i = 0; i < 3; i++) {
    for (size_t at = 0; at < count; at++) values[at] = (float)heed_random_below(7, (uint64_t)i, at, 200) / 100 - 1;
    assert_int_equal(heed_safetensors_add(file, names[i], HEED_F32, 4, dims, values), HEED_OK);
  }
  assert_int_equal(heed_safetensors_write(file, "in"), HEED_OK);
  heed_safetensors_destroy(file);
  free(values);
}

static bool has_tensor(const char *path, const char *name) {
  heed_safetensors *file = NULL;
  assert_int_equal(heed_safetensors_read(path, &file), HEED_OK);
  const bool found = heed_safetensors_find(file, name) != NULL;
  heed_safetensors_destroy(file);
  return found;
}

static void attention_draws_a_panel_for_each_head(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  write_attention(5, 7);
  assert_int_equal(ATTENTION("--causal", "--plot", "heads.svg"), TOOL_DONE);
  ASSERT_SVG("heads.svg", "attention: softmax of the scores", "first batch<", "head 0<", "head 4<", ">key<", ">query<");
  assert_null(strstr(picture, "head 5"));
  assert_false(has_tensor("out", "weights"));
  assert_int_equal(ATTENTION("--weights=masked", "--causal", "--plot", "heads.png"), TOOL_DONE);
  assert_png("heads.png");
  assert_true(has_tensor("out", "weights"));
  assert_int_equal(ATTENTION("--plot", "svg:-"), TOOL_DONE);
  assert_non_null(strstr(support_printed, "</svg>"));
}

static void many_heads_and_keys_are_drawn_in_part(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  write_attention(40, 4);
  assert_int_equal(ATTENTION("--plot", "heads.svg"), TOOL_DONE);
  ASSERT_SVG("heads.svg", "first batch, 36 of 40 heads", "head 35<");
  assert_null(strstr(picture, "head 36<"));
  write_attention(1, 600);
  assert_int_equal(ATTENTION("--plot", "heads.svg"), TOOL_DONE);
  ASSERT_SVG("heads.svg", "first batch, largest of each 3 x 3");
}

static void attention_that_cannot_draw_does_not_begin(void **state) {
  (void)state;
  unlink("out");
  assert_int_equal(ATTENTION("--plot", "heads.gif"), TOOL_USAGE);
  assert_int_equal(ATTENTION("--plot", "svg:-", "--json"), TOOL_USAGE);
  assert_int_equal(COMMAND(cmd_run, "run", "attention", "-i", "in", "-o", "-", "--plot", "svg:-"), TOOL_USAGE);
  assert_said("--plot svg:- and -o - both write to standard output");
  char *path = stand_in(NULL);
  assert_int_equal(ATTENTION("--plot", "heads.svg"), TOOL_FAILED);
  stand_aside(path);
  assert_said("gnuplot-nox");
  assert_false(is_there("out"));
}

// ---------------------------------------------------------------- heed plot

#define STEP(step, loss) "{\"event\":\"step\",\"step\":" #step ",\"loss\":" #loss ",\"lr\":0.1}\n"
#define BENCH(op, rows, part)                                      \
  "{\"op\":\"" op "\",\"shape\":{\"rows\":" #rows                  \
  ",\"backward\":true},\"dtype\":\"F32\",\"device\":\"a device\"," \
  "\"peak_fraction\":" #part "}\n"

static void runs_are_drawn_side_by_side(void **state) {
  (void)state;
  mkdir("one", 0700);
  mkdir("two", 0700);
  write_text("one/log", STEP(0, 3) STEP(1, 2));
  write_text("two/log", STEP(0, 3) STEP(1, 1) "{\"event\":\"eval\",\"step\":1,\"loss\":2}\n");
  if (!has_gnuplot()) skip();
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "one/log", "two/log", "-o", "runs.svg"), TOOL_DONE);
  ASSERT_SVG("runs.svg", "one/log: loss<", "two/log: loss<", "two/log: validation loss<", "learning rate");
  assert_null(strstr(picture, "one/log: validation"));
  assert_int_equal(
      COMMAND(cmd_plot, "plot", "runs", "one/log", "two/log", "-o", "runs.svg", "--labels", "it's,b", "--json"),
      TOOL_DONE);
  ASSERT_SVG("runs.svg", "b: loss<");
  assert_null(strstr(picture, "one/log"));
  assert_non_null(strstr(support_printed, "\"output\": \"runs.svg\""));
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "one/log", "two/log", "-o", "runs.svg", "--labels", "''tis,'"),
                   TOOL_DONE);
  ASSERT_SVG("runs.svg", ">''tis: loss<", ">': loss<");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "two/log", "-o", "run.png"), TOOL_DONE);
  assert_png("run.png");
}

static void benches_are_drawn_side_by_side(void **state) {
  (void)state;
  write_text("a.json", "{\"op\":\"peak\",\"gflops\":1}\n" BENCH("softmax", 3, 0.25) BENCH("rope", 3, 0.5));
  write_text("b.json", BENCH("softmax", 3, 0.75) BENCH("softmax", 4, 1.25));
  if (!has_gnuplot()) skip();
  assert_int_equal(COMMAND(cmd_plot, "plot", "bench", "a.json", "b.json", "-o", "bench.svg"), TOOL_DONE);
  ASSERT_SVG("bench.svg", "a.json: a device<", "b.json: a device<", "softmax F32 rows 3 backward<",
             "softmax F32 rows 4 backward<", "rope F32 rows 3 backward<", ">0.25<", ">0.50<", ">0.75<", ">1.25<");
  assert_int_equal(occurrences("softmax F32 rows 3 backward<"), 1);
  assert_int_equal(COMMAND(cmd_plot, "plot", "bench", "a.json", "-o", "svg:-"), TOOL_DONE);
  assert_non_null(strstr(support_printed, "</svg>"));
}

static void what_makes_no_picture_is_refused(void **state) {
  (void)state;
  if (!has_gnuplot()) skip();
  write_text("empty", "");
  write_text("text", "no JSON\n");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "empty", "-o", "no.svg"), TOOL_FAILED);
  assert_said("empty holds no loss");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "nothing", "-o", "no.svg"), TOOL_FAILED);
  assert_said("nothing: cannot read: No such file");
  assert_int_equal(COMMAND(cmd_plot, "plot", "bench", "text", "-o", "no.svg"), TOOL_FAILED);
  assert_said("text: object 1 is no JSON");
  assert_int_equal(COMMAND(cmd_plot, "plot", "bench", "empty", "-o", "no.svg"), TOOL_FAILED);
  assert_said("empty holds no case");
  assert_false(is_there("no.svg"));
}

static void a_plot_that_makes_no_sense_is_a_usage_error(void **state) {
  (void)state;
  assert_int_equal(COMMAND(cmd_plot, "plot"), TOOL_USAGE);
  assert_int_equal(COMMAND(cmd_plot, "plot", "run", "a", "-o", "a.svg"), TOOL_USAGE);
  assert_said("did you mean 'runs'?");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "-o", "a.svg"), TOOL_USAGE);
  assert_said("runs takes 1 to 12 files, not 0");
  assert_int_equal(COMMAND(cmd_plot, "plot", "bench", "1", "2", "3", "4", "5", "-o", "a.svg"), TOOL_USAGE);
  assert_said("bench takes 1 to 4 files, not 5");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "a"), TOOL_USAGE);
  assert_said("name the picture with -o");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "a", "b", "-o", "a.svg", "--labels", "a"), TOOL_USAGE);
  assert_said("--labels names 1, but there are 2 files");
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "-", "-", "-o", "a.svg"), TOOL_USAGE);
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "a", "-o", "a.jpg"), TOOL_USAGE);
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "a", "-o", "png:-", "--json"), TOOL_USAGE);
  char *path = stand_in(NULL);
  assert_int_equal(COMMAND(cmd_plot, "plot", "runs", "a", "-o", "a.svg"), TOOL_FAILED);
  stand_aside(path);
  assert_said("gnuplot-nox");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_training_that_cannot_draw_does_not_begin),
      cmocka_unit_test(a_training_draws_its_curves),
      cmocka_unit_test(a_training_outlives_a_gnuplot_that_fails),
      cmocka_unit_test(an_evaluation_draws_its_errors),
      cmocka_unit_test(the_counts_of_the_matrix_are_those_of_the_test_set),
      cmocka_unit_test(an_evaluation_that_cannot_draw_does_not_begin),
      cmocka_unit_test(attention_draws_a_panel_for_each_head),
      cmocka_unit_test(many_heads_and_keys_are_drawn_in_part),
      cmocka_unit_test(attention_that_cannot_draw_does_not_begin),
      cmocka_unit_test(runs_are_drawn_side_by_side),
      cmocka_unit_test(benches_are_drawn_side_by_side),
      cmocka_unit_test(what_makes_no_picture_is_refused),
      cmocka_unit_test(a_plot_that_makes_no_sense_is_a_usage_error),
  };
  return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
