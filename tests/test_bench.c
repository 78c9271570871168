// heed bench: what it prints for a machine, and the roofline plot. Times are never judged, only how they relate: a
// percentile is not below a smaller one.
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench.h"
#include "support_files.h"
#include "support_listen.h"
#include "cli/tool.h"

// ---------------------------------------------------------------- calling it

// `heed bench` with these words, up to NULL; returns its exit status.
static int bench(const char *const *words) {
  const char *all[32] = {"bench"};
  int count = 1;
  for (; *words && count < 31; words++) all[count++] = *words;
  assert_null(*words);
  return support_command(cmd_bench, all);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

// ---------------------------------------------------------------- one object a case

typedef struct example {
  const char *words[20];
  const char *op, *dtype, *shape;
} example;

// Their arithmetic is not counted.
static bool is_memory_work(const char *op) {
  static const char *const ops[] = {"softmax",   "cross_entropy", "layer_norm", "rms_norm",
                                    "embedding", "rope",          "swiglu",     "adamw"};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    if (strcmp(op, ops[i]) == 0) return true;
  return false;
}

static const example examples[] = {
    {{"gemm", "--m=5", "--n=6", "--k=7", "--ta"},
     "gemm",
     "F32",
     "{\"batch\":1,\"m\":5,\"n\":6,\"k\":7,\"ta\":true,\"tb\":false}"},
    {{"gemm", "--batch=2", "--m=5", "--n=6", "--k=7", "--tb", "--dtype=f16"},
     "gemm",
     "F16",
     "{\"batch\":2,\"m\":5,\"n\":6,\"k\":7,\"ta\":false,\"tb\":true}"},
    {{"attention", "--batch=2", "--heads=4", "--kv-heads=2", "--seq=5", "--kv-seq=9", "--dim=8",
      "--causal=bottom-right", "--mask=keys"},
     "attention",
     "F32",
     "{\"batch\":2,\"heads\":4,\"kv_heads\":2,\"seq\":5,\"kv_seq\":9,\"dim\":8,\"causal\":2,\"mask\":\"keys\","
     "\"backward\":false,\"path\":\"auto\"}"},
    {{"attention", "--batch=1", "--heads=2", "--seq=5", "--dim=8", "--backward", "--path=staged"},
     "attention",
     "F32",
     "{\"batch\":1,\"heads\":2,\"kv_heads\":2,\"seq\":5,\"kv_seq\":5,\"dim\":8,\"causal\":0,\"mask\":\"none\","
     "\"backward\":true,\"path\":\"staged\"}"},
    {{"mha", "--batch=1", "--heads=4", "--kv-heads=2", "--seq=6", "--dim=4", "--causal", "--backward"},
     "mha",
     "F32",
     "{\"batch\":1,\"seq\":6,\"kv_seq\":6,\"model\":16,\"heads\":4,\"kv_heads\":2,\"causal\":1,\"backward\":true}"},
    {{"layer_norm", "--rows=5", "--width=9", "--backward"},
     "layer_norm",
     "F32",
     "{\"rows\":5,\"width\":9,\"backward\":true}"},
    {{"rms_norm", "--rows=5", "--width=9", "--dtype=bf16"},
     "rms_norm",
     "BF16",
     "{\"rows\":5,\"width\":9,\"backward\":false}"},
    {{"adamw", "--rows=5", "--width=9"}, "adamw", "F32", "{\"parameters\":45}"},
    {{"softmax", "--rows=3", "--cols=11"}, "softmax", "F32", "{\"rows\":3,\"cols\":11,\"backward\":false}"},
    {{"cross_entropy", "--rows=3", "--vocab=70", "--backward"},
     "cross_entropy",
     "F32",
     "{\"rows\":3,\"vocab\":70,\"backward\":true}"},
    {{"mlp", "--batch=3", "--sizes=6,5,4,3"}, "mlp", "F32", "{\"batch\":3,\"sizes\":[6,5,4,3]}"},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

static json_t *parse_line(void) {
  const size_t length = strlen(support_printed);
  assert_true(length > 0 && strchr(support_printed, '\n') == support_printed + length - 1);
  json_error_t error;
  json_t *object = json_loads(support_printed, JSON_REJECT_DUPLICATES, &error);
  if (!object) fail_msg("%s: %s", error.text, support_printed);
  return object;
}

static double number(const json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  if (!json_is_real(value)) fail_msg("%s is not a real number", name);
  return json_real_value(value);
}

static void assert_text(const json_t *object, const char *name, const char *expected) {
  const char *text = json_string_value(json_object_get(object, name));
  assert_non_null(text);
  if (expected) assert_string_equal(text, expected);
}

static void assert_shape(const json_t *object, const char *expected) {
  json_error_t error;
  json_t *shape = json_loads(expected, 0, &error);
  assert_non_null(shape);
  if (!json_equal(json_object_get(object, "shape"), shape)) fail_msg("not the shape %s: %s", expected, support_printed);
  json_decref(shape);
}

static void assert_times(const json_t *object) {
  const double p10 = number(object, "p10_ms"), median = number(object, "median_ms"), p90 = number(object, "p90_ms");
  assert_true(p10 > 0 && p10 <= median && median <= p90);
  assert_true(number(object, "first_ms") > 0);
  assert_true(number(object, "device_ms") >= 0);
  assert_true(json_is_integer(json_object_get(object, "runs")));
  assert_true(json_integer_value(json_object_get(object, "runs")) >= 2);
}

static void check_example(const example *e, const char *device, const heed_device_info *expected) {
  const char *words[24];
  int count = 0;
  while (e->words[count]) words[count] = e->words[count], count++;
  words[count++] = "--json";
  words[count++] = "--runs=2";
  if (device) words[count++] = "--device", words[count++] = device;
  words[count] = NULL;
  if (bench(words) != TOOL_DONE) fail_msg("%s %s fails: %s", e->op, e->shape, support_said);
  json_t *object = parse_line();
  assert_int_equal(json_object_size(object), 20);
  assert_text(object, "command", "heed bench");
  char id[TOOL_ID_TEXT];
  assert_text(object, "id", tool_id_text(expected, id));
  assert_true(json_is_true(json_object_get(object, "ok")));
  assert_true(number(object, "seconds") > 0);
  assert_text(object, "op", e->op);
  assert_text(object, "dtype", e->dtype);
  assert_text(object, "device", expected->name);
  assert_text(object, "driver", expected->driver);
  assert_text(object, "version", heed_version());
  assert_shape(object, e->shape);
  assert_times(object);
  assert_true(number(object, "gbytes_s") > 0);
  assert_true(number(object, "peak_fraction") > 0);
  if (is_memory_work(e->op))
    assert_true(number(object, "gflops") == 0);
  else
    assert_true(number(object, "gflops") > 0);
  json_decref(object);
}

static void every_case_is_one_object_with_its_shape(void **state) {
  const heed_device_info *device = heed_context_device(*state);
  for (int i = 0; i < EXAMPLES; i++) check_example(&examples[i], "host", device);
}

static void the_default_device_prints_the_same_fields(void **state) {
  const heed_device_info *device = heed_context_device(support_context(state));
  for (int i = 0; i < EXAMPLES; i += 3) check_example(&examples[i], NULL, device);
}

static void peak_is_one_object_with_both_rates(void **state) {
  (void)state;
  assert_int_equal(bench(WORDS("peak", "--json", "--device", "host")), TOOL_DONE);
  json_t *object = parse_line();
  assert_text(object, "op", "peak");
  assert_true(json_is_object(json_object_get(object, "shape")));
  assert_text(object, "dtype", "F32");
  assert_text(object, "device", NULL);
  assert_text(object, "driver", NULL);
  assert_text(object, "version", heed_version());
  assert_true(number(object, "gflops") > 0);
  assert_true(number(object, "gbytes_s") > 0);
  json_decref(object);
}

static void a_comparison_is_one_object_with_every_output(void **state) {
  (void)state;
  assert_int_equal(bench(WORDS("softmax", "--rows=3", "--cols=5", "--compare", "--json", "--device", "host")),
                   TOOL_DONE);
  json_t *object = parse_line();
  assert_text(object, "op", "softmax");
  assert_shape(object, "{\"rows\":3,\"cols\":5,\"backward\":false}");
  const json_t *output = json_array_get(json_object_get(object, "outputs"), 0);
  assert_text(output, "name", "y");
  assert_true(number(output, "relative_error") == 0);
  assert_true(json_is_true(json_object_get(output, "ok")));
  json_decref(object);
}

// ---------------------------------------------------------------- which cases

static void the_usual_table_counts_work_and_bytes_of_every_case(void **state) {
  (void)state;
  static heed_case cases[BENCH_MAX_CASES];
  size_t count = 0;
  const bench_settings none = {0};
  assert_null(bench_select(NULL, &none, cases, &count));
  assert_true(count > 10 && count <= BENCH_MAX_CASES);
  for (size_t i = 0; i < count; i++) {
    const case_family *family = cases[i].family;
    assert_non_null(family->bytes);
    assert_true(family->bytes(&cases[i]) > 0);
    assert_true(!family->flops || family->flops(&cases[i]) > 0);
  }
}

static void what_makes_no_sense_is_a_usage_error(void **state) {
  (void)state;
  assert_int_equal(bench(WORDS("gem")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("attention", "--heads=6", "--kv-heads=4")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("mlp", "--sizes=784")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("gemm", "--m=0")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("--compare")), TOOL_USAGE);
  assert_string_equal(support_printed, "");
}

static void an_option_that_the_operand_does_not_take_is_refused(void **state) {
  (void)state;
  assert_int_equal(bench(WORDS("gemm", "--rows=5")), TOOL_USAGE);
  assert_non_null(strstr(support_said, "gemm takes no --rows; it takes --runs"));
  assert_int_equal(bench(WORDS("softmax", "--provider=native")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("mha", "--mask=keys")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("mlp", "--seq=5")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("attention", "--sizes=2,3")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("peak", "--runs=2")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("--batch=2")), TOOL_USAGE);
  assert_non_null(strstr(support_said, "the table of the usual cases takes no --batch"));
  assert_int_equal(bench(WORDS("gemm", "--compare", "--runs=2")), TOOL_USAGE);
  assert_string_equal(support_printed, "");
}

// ---------------------------------------------------------------- the plot

static int plot(const char *name) {
  char path[384];  // support_path() has few buffers
  snprintf(path, sizeof path, "%s", support_path(name));
  return bench(WORDS("gemm", "--m=5", "--n=6", "--k=7", "--runs=1", "--device", "host", "--plot", path));
}

static void assert_said(const char *part) {
  if (!strstr(support_said, part)) fail_msg("\"%s\" is not in \"%s\"", part, support_said);
  assert_string_equal(support_printed, "");  // nothing was measured first
}

static void a_plot_needs_a_known_ending(void **state) {
  (void)state;
  static const char *const names[] = {"plot", "plot.pdf", "plot.svg.gz", ".svg/plot"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    assert_int_equal(plot(names[i]), TOOL_USAGE);
    assert_said("must end in .svg or .png");
  }
  assert_int_equal(plot("../-"), TOOL_USAGE);
  assert_int_equal(bench(WORDS("gemm", "--plot=-")), TOOL_USAGE);
  assert_said("use svg:- or png:-");
  assert_int_equal(bench(WORDS("gemm", "--plot=svg:-", "--json")), TOOL_USAGE);
  assert_int_equal(bench(WORDS("gemm", "--compare", "--plot=a.svg")), TOOL_USAGE);
  assert_int_equal(support_files_in_folder(), 0);
}

static void a_plot_needs_a_place(void **state) {
  (void)state;
  assert_int_equal(plot("missing/plot.svg"), TOOL_FAILED);
  assert_said("cannot write into its folder: No such file");
  assert_int_equal(mkdir(support_path("folder.png"), 0700), 0);
  assert_int_equal(plot("folder.png"), TOOL_FAILED);
  assert_said("is a folder");
  assert_int_equal(rmdir(support_path("folder.png")), 0);
  assert_int_equal(support_files_in_folder(), 0);
}

// Runs with PATH set to the test's folder alone, where `script` stands for gnuplot (NULL: nothing does).
static int plot_with(const char *script, const char *name) {
  char *old = strdup(getenv("PATH"));
  if (script) {
    support_write_file(support_path("gnuplot"), script, strlen(script));
    assert_int_equal(chmod(support_path("gnuplot"), 0700), 0);
  }
  setenv("PATH", support_folder(), 1);
  const int status = plot(name);
  setenv("PATH", old, 1);
  free(old);
  if (script) unlink(support_path("gnuplot"));
  return status;
}

static void a_missing_gnuplot_is_named_before_anything_is_measured(void **state) {
  (void)state;
  assert_int_equal(plot_with(NULL, "plot.svg"), TOOL_FAILED);
  assert_said("gnuplot-nox");
  assert_int_equal(support_files_in_folder(), 0);
}

static void a_failing_gnuplot_leaves_the_old_plot(void **state) {
  (void)state;
  support_write_file(support_path("plot.svg"), "old", 3);
  assert_int_equal(plot_with("#!/bin/sh\nexit 3\n", "plot.svg"), TOOL_FAILED);
  assert_said("exit status 3");
  // One that draws nothing, as when it is fed a script without a plot.
  assert_int_equal(plot_with("#!/bin/sh\nexit 0\n", "plot.svg"), TOOL_FAILED);
  assert_non_null(strstr(support_said, "drew nothing"));
  char bytes[8];
  assert_int_equal(support_read_file(support_path("plot.svg"), bytes, sizeof bytes), 3);
  assert_int_equal(support_files_in_folder(), 1);
  support_empty_folder();
}

static void a_plot_is_a_whole_svg_or_png(void **state) {
  (void)state;
  if (system("gnuplot --version >/dev/null 2>&1") != 0) skip();
  static char bytes[1 << 20];
  if (plot("it's.svg") != TOOL_DONE) fail_msg("%s", support_said);
  size_t count = support_read_file(support_path("it's.svg"), bytes, sizeof bytes - 1);
  bytes[count] = '\0';
  assert_non_null(strstr(bytes, "<svg"));
  assert_non_null(strstr(bytes, "</svg>"));
  assert_non_null(strstr(bytes, "gemm 5x6x7 NN"));
  if (plot("plot.PNG") != TOOL_DONE) fail_msg("%s", support_said);
  count = support_read_file(support_path("plot.PNG"), bytes, sizeof bytes);
  assert_true(count > 100 && count < sizeof bytes);
  assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
  assert_memory_equal(bytes + count - 8, "IEND", 4);
  assert_int_equal(support_files_in_folder(), 2);
  support_empty_folder();
  const char *const words[] = {"gemm", "--m=5", "--n=6", "--k=7", "--runs=1", "--device", "host", "--plot=svg:-", NULL};
  assert_int_equal(bench(words), TOOL_DONE);
  assert_non_null(strstr(support_printed, "<svg"));
  assert_null(strstr(support_printed, "GFLOP/s)"));
}

int main(void) {
  const struct CMUnitTest host_tests[] = {
      cmocka_unit_test(every_case_is_one_object_with_its_shape),
      cmocka_unit_test(peak_is_one_object_with_both_rates),
      cmocka_unit_test(a_comparison_is_one_object_with_every_output),
      cmocka_unit_test(the_usual_table_counts_work_and_bytes_of_every_case),
      cmocka_unit_test(what_makes_no_sense_is_a_usage_error),
      cmocka_unit_test(an_option_that_the_operand_does_not_take_is_refused),
      cmocka_unit_test(a_plot_needs_a_known_ending),
      cmocka_unit_test(a_plot_needs_a_place),
      cmocka_unit_test(a_missing_gnuplot_is_named_before_anything_is_measured),
      cmocka_unit_test(a_failing_gnuplot_leaves_the_old_plot),
      cmocka_unit_test(a_plot_is_a_whole_svg_or_png),
  };
  const struct CMUnitTest device_tests[] = {
      cmocka_unit_test(the_default_device_prints_the_same_fields),
  };
  void *folder = NULL;
  if (support_make_folder(&folder) != 0) return 1;
  int failed = cmocka_run_group_tests_name("bench on the host", host_tests, support_open_host, support_close);
  failed += cmocka_run_group_tests_name("bench on the device", device_tests, support_open_device, support_close);
  return failed + (support_remove_folder(&folder) != 0);
}
