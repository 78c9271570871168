// The search of `heed tune`, and the program: every choice it may try gives the same results, what computes wrong is never picked, and
// commands that fail leave the table as it was.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl/tuning/tuning.h"
#include "support_files.h"
#include "support_listen.h"
#include "tune/search.h"

// ---------------------------------------------------------------- contexts

static heed_context *open_with(void **state, const char *tuning, const char *kernels) {
  char spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  const heed_open_options options = {.device = spec, .tuning = tuning, .kernel_dir = kernels, .validate = -1};
  ASSERT_OK(heed_open_with(&options, &ctx));
  return ctx;
}

static heed_context *open_host(void) {
  heed_context *host;
  ASSERT_OK(heed_open("host", &host));
  return host;
}

// Small enough to be quick, and of a shape whose own choice on CPUs has three vectors a panel.
static const tune_class small = {HEED_TUNE_GEMM, .first = {96, 192, 128, 1}, .second = {70, 240, 100, 1}};

// ---------------------------------------------------------------- results

static void assert_neighbours_agree(void **state, heed_context *ctx, heed_context *host, const tune_class *class) {
  (void)state;
  heed_tune_choice list[32];
  size_t count;
  const heed_tune_problem problem = tune_problem(class, class->first);
  tune_bench bench;
  char why[TUNE_WHY];
  ASSERT_OK(tune_bench_open(&bench, ctx, class, class->first));
  ASSERT_OK(heed_tune_neighbours(ctx, &problem, "default", list, 32, &count));
  assert_true(count > 0);
  for (size_t i = 0; i < count; ++i) {
    tune_check(&bench, host, list[i].text, why);
    if (why[0]) fail_msg("%s: %s", list[i].text, why);
  }
  tune_bench_close(&bench);
}

static void every_choice_of_a_product_gives_its_result(void **state) {
  heed_context *ctx = open_with(state, "off", NULL), *host = open_host();
  for (int form = 0; form < 4; ++form) {
    tune_class class = small;
    class.ta = form & 1;
    class.tb = form & 2;
    assert_neighbours_agree(state, ctx, host, &class);
  }
  heed_context_destroy(host);
  heed_context_destroy(ctx);
}

static void a_tuned_attention_gives_its_result(void **state) {
  heed_context *ctx = open_with(state, "off", NULL), *host = open_host();
  const tune_class class = {HEED_TUNE_ATTENTION_FWD, .causal = true, .first = {8, 200, 200, 2}};
  tune_bench bench;
  char why[TUNE_WHY];
  const bool cpu = heed__cl_state(ctx)->traits.cpu_like;
  ASSERT_OK(tune_bench_open(&bench, ctx, &class, class.first));
  tune_check(&bench, host, cpu ? "fused-cpu: key_block=64 query_block=24" : "fused-gpu: items=64", why);
  assert_string_equal(why, "");
  tune_bench_close(&bench);
  heed_context_destroy(host);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- a planted wrong choice

// The library's kernels, with `piece` of gemm/cpu.cl replaced; the folder's name.
static const char *plant(const char *piece, const char *other) {
  static char text[1 << 16], folder[128];
  char line[512];
  snprintf(folder, sizeof folder, "%s", support_path("kernels"));
  snprintf(line, sizeof line, "rm -rf %s && cp -r %s/kernels_cl %s", folder, HEED_SOURCE_DIR, folder);
  assert_int_equal(system(line), 0);
  snprintf(line, sizeof line, "%s/gemm/cpu.cl", folder);
  text[support_read_file(line, text, sizeof text - 1)] = 0;
  const char *at = strstr(text, piece);
  assert_non_null(at);
  FILE *file = fopen(line, "w");
  assert_non_null(file);
  fprintf(file, "%.*s%s%s", (int)(at - text), text, other, at + strlen(piece));
  assert_int_equal(fclose(file), 0);
  return folder;
}

static int remove_kernels(void **state) {
  (void)state;
  char line[160];
  unsetenv("HEED_GEMM_PROBE");
  snprintf(line, sizeof line, "rm -rf %s", support_path("kernels"));
  return system(line);
}

static const char planted[] = "cpu: vectors=2";
static const volatile sig_atomic_t not_interrupted;

static tune_outcome search(heed_context *ctx, heed_context *host) {
  tool_progress progress;
  tool_progress_start(&progress, 0);
  progress.terminal = false;
  const double end = tool_seconds() + 60;
  const tune_search_env env = {.command = "test",
                               .ctx = ctx,
                               .host = host,
                               .progress = &progress,
                               .deadline = end,
                               .last = end,
                               .end = end,
                               .interrupted = &not_interrupted};
  tune_outcome outcome;
  ASSERT_OK(tune_search(&env, &small, &outcome));
  return outcome;
}

// The planted choice is refused with this reason, the search ends without it, and so does the table.
static void assert_not_picked(void **state, const char *folder, const char *reason) {
  heed_context *ctx = open_with(state, "off", folder), *host = open_host();
  if (!heed__cl_state(ctx)->traits.cpu_like) {
    heed_context_destroy(ctx);
    heed_context_destroy(host);
    skip();
  }
  tune_bench bench;
  char why[TUNE_WHY], *table;
  ASSERT_OK(tune_bench_open(&bench, ctx, &small, small.first));
  tune_check(&bench, host, planted, why);
  if (!strstr(why, reason)) fail_msg("'%s' is not in '%s'", reason, why);
  tune_bench_close(&bench);
  const tune_outcome outcome = search(ctx, host);
  assert_true(outcome.discarded >= 1);
  assert_false(outcome.broken);
  assert_null(strstr(outcome.after.text, "vectors=2"));
  ASSERT_OK(heed_tune_json(ctx, &table));
  assert_null(strstr(table, "vectors=2"));
  free(table);
  heed_context_destroy(host);
  heed_context_destroy(ctx);
}

static void a_fast_choice_that_gives_nan_is_never_picked(void **state) {
  const char *folder = plant("  for (uint p = k0; p == k0 || p < k_end; p += depth) {\n",
                             "  if (TILE_VECTORS == 2) {\n    c[0] = NAN;\n    return;\n  }\n"
                             "  for (uint p = k0; p == k0 || p < k_end; p += depth) {\n");
  setenv("HEED_GEMM_PROBE", "off", 1);
  assert_not_picked(state, folder, "not finite");
}

static const char sum_end[] = "k_end = min(k, k0 + share);",
                  short_sum[] = "k_end = min(k, k0 + share) - (TILE_VECTORS == 2);";

static void a_choice_that_leaves_out_a_term_is_never_picked(void **state) {
  const char *folder = plant(sum_end, short_sum);
  setenv("HEED_GEMM_PROBE", "off", 1);
  assert_not_picked(state, folder, "relative error");
}

static void heeds_own_check_of_products_finds_it_too(void **state) {
  heed_context *ctx = open_with(state, "off", plant(sum_end, short_sum)), *host = open_host();
  if (!heed__cl_state(ctx)->traits.cpu_like) {
    heed_context_destroy(ctx);
    heed_context_destroy(host);
    skip();
  }
  const heed_tune_problem problem = tune_problem(&small, small.first);
  const heed_case c = tune_case(&small, small.first);
  heed_tune_choice used;
  case_result result;
  ASSERT_OK(heed_tune_set(ctx, &problem, planted, 0));
  ASSERT_OK(case_compare(&c, ctx, host, &result));
  assert_true(result.passed);
  ASSERT_OK(heed_tune_get(ctx, &problem, &used));
  assert_string_equal(used.text, "default");
  assert_non_null(strstr(heed_context_notice(ctx), planted));
  heed_context_destroy(host);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- searching

static void a_second_search_starts_from_what_the_first_found(void **state) {
  heed_context *ctx = open_with(state, "off", NULL), *host = open_host();
  const heed_tune_problem problem = tune_problem(&small, small.first);
  const tune_outcome first = search(ctx, host);
  assert_int_equal(first.discarded, 0);
  assert_true(first.tried > 0);
  assert_true(first.ratio <= 1);
  heed_tune_choice now;
  ASSERT_OK(heed_tune_get(ctx, &problem, &now));
  assert_string_equal(now.text, first.after.text);
  const tune_outcome second = search(ctx, host);
  assert_string_equal(second.before.text, first.after.text);
  assert_true(second.ratio <= 1 || strcmp(second.after.text, "default") == 0);
  heed_context_destroy(host);
  heed_context_destroy(ctx);
}

// Steps of one along k, many times slower than any other: the search comes away from it.
static void a_poor_choice_does_not_stay(void **state) {
  heed_context *ctx = open_with(state, "off", NULL), *host = open_host();
  if (!heed__cl_state(ctx)->traits.cpu_like) {
    heed_context_destroy(ctx);
    heed_context_destroy(host);
    skip();
  }
  const heed_tune_problem problem = tune_problem(&small, small.first);
  static const char poor[] = "cpu: depth=1";
  ASSERT_OK(heed_tune_set(ctx, &problem, poor, 0));
  const tune_outcome outcome = search(ctx, host);
  assert_string_equal(outcome.before.text, poor);
  assert_string_not_equal(outcome.after.text, poor);
  assert_true(outcome.ratio < 1);
  heed_context_destroy(host);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- the program

enum { TEXT_ROOM = 1 << 14 };

// `heed tune` with these words, up to NULL.
static int tune(const char *const *words) {
  const char *all[16] = {"tune"};
  int count = 1;
  for (; *words && count < 15; words++) all[count++] = *words;
  assert_null(*words);
  return support_command(cmd_tune, all);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void the_program_imports_what_fits_and_resets(void **state) {
  static char text[TEXT_ROOM], place[256], good[256], bad[256];
  const heed_tune_problem problem = tune_problem(&small, small.first);
  heed_context *ctx = open_with(state, "off", NULL);
  snprintf(place, sizeof place, "%s", support_path("place.json"));
  snprintf(good, sizeof good, "%s", support_path("good.json"));
  snprintf(bad, sizeof bad, "%s", support_path("bad.json"));
  ASSERT_OK(heed_tune_set(ctx, &problem, planted, 0));
  ASSERT_OK(heed_tune_save(ctx, good));
  heed_context_destroy(ctx);
  support_write_file(bad, "{}", 2);
  setenv("HEED_TUNE", place, 1);
  assert_int_equal(tune(WORDS("--import", good)), TOOL_DONE);
  assert_non_null(strstr(support_said, "saved in "));
  ctx = open_with(state, place, NULL);
  assert_string_equal(heed_context_notice(ctx), "");
  heed_context_destroy(ctx);
  assert_int_equal(tune(WORDS("--import", bad)), TOOL_FAILED);
  assert_non_null(strstr(support_said, "bad.json"));
  assert_int_equal(tune(WORDS("--import", good, "--json")), TOOL_DONE);
  assert_non_null(strstr(support_printed, planted));
  text[support_read_file(place, text, sizeof text - 1)] = 0;
  assert_non_null(strstr(text, planted));
  assert_int_equal(tune(WORDS("--reset")), TOOL_DONE);
  assert_int_not_equal(access(place, F_OK), 0);
  assert_int_equal(tune(WORDS("--reset")), TOOL_DONE);
  setenv("HEED_TUNE", "off", 1);
}

// A second is not enough for the list, and what there was time for is saved.
static void a_time_budget_ends_it_and_the_table_is_saved(void **state) {
  static char place[256];
  (void)support_context(state);
  snprintf(place, sizeof place, "%s", support_path("short.json"));
  setenv("HEED_TUNE", place, 1);
  assert_int_equal(tune(WORDS("--op", "gemm", "--time-budget", "1")), TOOL_DONE);
  assert_non_null(strstr(support_said, "the time is up after"));
  assert_non_null(strstr(support_printed, "gemm 4096x512x512 NT"));
  assert_int_equal(access(place, F_OK), 0);
  setenv("HEED_TUNE", "off", 1);
}

#define PLANTED(test) cmocka_unit_test_teardown(test, remove_kernels)
int main(void) {
  setenv("HEED_TUNE", "off", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_choice_of_a_product_gives_its_result),
      cmocka_unit_test(a_tuned_attention_gives_its_result),
      PLANTED(a_fast_choice_that_gives_nan_is_never_picked),
      PLANTED(a_choice_that_leaves_out_a_term_is_never_picked),
      PLANTED(heeds_own_check_of_products_finds_it_too),
      cmocka_unit_test(a_second_search_starts_from_what_the_first_found),
      cmocka_unit_test(a_poor_choice_does_not_stay),
      cmocka_unit_test(the_program_imports_what_fits_and_resets),
      cmocka_unit_test(a_time_budget_ends_it_and_the_table_is_saved),
  };
  void *nothing = NULL;
  if (support_make_folder(&nothing) != 0) return 1;
  const int failed = cmocka_run_group_tests(tests, support_open_device, support_close);
  return support_remove_folder(&nothing) + failed;
}
