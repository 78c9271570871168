// Tuned choices: what a table may say, where it lies, and what is refused. test_tune_steps.c has what a choice changes, and
// test_tune_search.c how `heed tune` finds one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/operators.h"
#include "cl/tuning/tuning.h"
#include "support_devices.h"
#include <heed/tune.h>

static char root[64];

static int make_root(void **state) {
  (void)state;
  strcpy(root, "/tmp/heed-tune-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
  (void)state;
  char line[128];
  snprintf(line, sizeof line, "rm -rf %s", root);
  return system(line);
}

static const char *in_root(const char *name) {
  static char ring[4][160];
  static unsigned next;
  char *path = ring[next++ % 4];
  snprintf(path, sizeof ring[0], "%s/%s", root, name);
  return path;
}

static void write_text(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static char *read_text(const char *path) {
  static char text[1 << 16];
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  return text;
}

// Opens the group's device.
static heed_status try_open(void **state, const heed_open_options *given, heed_context **out) {
  char spec[96];
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  heed_open_options options = *given;
  options.device = spec;
  options.validate = -1;
  return heed_open_with(&options, out);
}

// A context on the group's device with this table.
static heed_context *open_with(void **state, const char *tuning, const char *kernels) {
  heed_context *ctx = NULL;
  ASSERT_OK(try_open(state, &(heed_open_options){.tuning = tuning, .kernel_dir = kernels}, &ctx));
  return ctx;
}

// A table that was named and cannot serve: the message has the file, what is wrong with it, and what to do.
static void assert_refused(void **state, const char *path, heed_status status, const char *part) {
  heed_context *ctx = NULL;
  ASSERT_FAILS(status, part, try_open(state, &(heed_open_options){.tuning = path}, &ctx));
  assert_null(ctx);
  assert_non_null(strstr(heed_last_error(), path));
  assert_non_null(strstr(heed_last_error(), "(HEED_TUNE)"));
  assert_non_null(strstr(heed_last_error(), "or off for none"));
}

// "cpu: vectors=2" is a choice anywhere, whether the device takes it or not.
static const char a_choice[] = "cpu: vectors=2 rows=128";
static const heed_tune_problem a_problem = {
    .op = HEED_TUNE_GEMM, .dtype = HEED_F32, .trans_b = true, .sizes = {100, 512, 784, 1}};
static const heed_tune_problem an_attention = {
    .op = HEED_TUNE_ATTENTION_BWD, .dtype = HEED_F16, .causal = true, .sizes = {64, 1024, 1024, 32}};

static void assert_choice(heed_context *ctx, const heed_tune_problem *problem, const char *expected) {
  heed_tune_choice choice;
  ASSERT_OK(heed_tune_get(ctx, problem, &choice));
  assert_string_equal(choice.text, expected);
}

// The context was opened in spite of its table, and says what is wrong with it and what to do.
static void assert_ignored(heed_context *ctx, const char *path, const char *part) {
  const char *const parts[] = {part, path, "heed tune --reset"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i)
    if (!strstr(heed_context_notice(ctx), parts[i]))
      fail_msg("'%s' is not in the notice '%s'", parts[i], heed_context_notice(ctx));
  assert_choice(ctx, &a_problem, "default");
  heed_context_destroy(ctx);
}

static heed_tune_problem with_size(heed_tune_problem problem, int i, int64_t size) {
  problem.sizes[i] = size;
  return problem;
}

// ---------------------------------------------------------------- the table

static void a_choice_holds_for_its_class_alone(void **state) {
  heed_context *ctx = open_with(state, "off", NULL);
  assert_choice(ctx, &a_problem, "default");
  ASSERT_OK(heed_tune_set(ctx, &a_problem, a_choice, 1.5));
  assert_choice(ctx, &a_problem, a_choice);
  heed_tune_problem other = with_size(a_problem, 0, 64);
  assert_choice(ctx, &other, a_choice);
  const int64_t outside[][2] = {{0, 63}, {0, 256}, {1, 1024}, {2, 255}, {3, 2}};
  for (size_t i = 0; i < sizeof outside / sizeof *outside; ++i) {
    other = with_size(a_problem, (int)outside[i][0], outside[i][1]);
    assert_choice(ctx, &other, "default");
  }
  other = a_problem;
  other.trans_a = true;
  assert_choice(ctx, &other, "default");
  other = a_problem;
  other.dtype = HEED_F16;
  assert_choice(ctx, &other, "default");
  ASSERT_OK(heed_tune_set(ctx, &a_problem, "default", 0));
  assert_choice(ctx, &a_problem, "default");
  heed_context_destroy(ctx);
}

static void a_forced_choice_goes_before_the_table(void **state) {
  heed_context *ctx = open_with(state, "off", NULL);
  ASSERT_OK(heed_tune_set(ctx, &a_problem, a_choice, 0));
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, "cpu: vectors=3"));
  assert_choice(ctx, &a_problem, "cpu: vectors=3");
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, "default"));
  assert_choice(ctx, &a_problem, "default");
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, NULL));
  assert_choice(ctx, &a_problem, a_choice);
  heed_context_destroy(ctx);
}

// While a choice is measured heed_tune_get() is how one learns that it has been given up.
static void a_forced_choice_that_computes_wrong_is_given_up(void **state) {
  heed_context *ctx = open_with(state, "off", NULL);
  ASSERT_OK(heed_tune_set(ctx, &a_problem, "cpu: vectors=3", 0));
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, a_choice));
  heed__cl_tuning_distrust(ctx, &a_problem, "computes wrong");
  assert_choice(ctx, &a_problem, "default");
  assert_string_equal(heed_context_notice(ctx), "");
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, NULL));
  assert_choice(ctx, &a_problem, "cpu: vectors=3");
  heed_context_destroy(ctx);
}

static void what_is_no_choice_is_refused(void **state) {
  heed_context *ctx = open_with(state, "off", NULL);
  static const char *const wrong[] = {"",
                                      "cpu2",
                                      "fused",
                                      "cpu: vectors",
                                      "cpu: vectors=",
                                      "cpu: vectors=4",
                                      "cpu: vectors=2.0",
                                      "cpu: vectors=0",
                                      "cpu: rows=99999999999999999999",
                                      "cpu: rows=-1",
                                      "cpu: speed=9",
                                      "panels: key_block=64",
                                      "gpu: tile_queries=16 items=64",
                                      "cpu: items=64",
                                      "cpu vectors=2"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i)
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "tune: ", heed_tune_set(ctx, &a_problem, wrong[i], 0));
  char long_text[300];
  memset(long_text, 'x', sizeof long_text - 1);
  long_text[sizeof long_text - 1] = 0;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "too long", heed_tune_set(ctx, &a_problem, long_text, 0));
  const heed_tune_problem empty = with_size(a_problem, 2, 0);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "size 2", heed_tune_set(ctx, &empty, a_choice, 0));
  assert_choice(ctx, &a_problem, "default");
  heed_context_destroy(ctx);
}

// Files name variants by keys. Names for people may be worded anew, keys may not.
static void variants_have_keys_beside_their_names(void **state) {
  (void)state;
  for (int op = HEED_TUNE_GEMM; op <= HEED_TUNE_ATTENTION_BWD; ++op) {
    const struct heed__cl_tuning_variant *variant;
    for (size_t i = 0; (variant = heed__cl_tuned_operators[op]->variant(i)) != NULL; ++i)
      assert_int_equal(strspn(variant->key, "abcdefghijklmnopqrstuvwxyz-"), strlen(variant->key));
  }
}

static void the_host_has_nothing_to_tune(void **state) {
  (void)state;
  heed_context *ctx;
  heed_tune_choice choice;
  ASSERT_OK(heed_open("host", &ctx));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "host", heed_tune_get(ctx, &a_problem, &choice));
  assert_string_equal(heed_tune_path(ctx), "");
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- the file

static void a_table_comes_back_from_its_file(void **state) {
  const char *path = in_root("a/b/table.json");
  char *before, *after;
  heed_context *ctx = NULL;
  assert_refused(state, path, HEED_ERROR_IO, "No such file");  // it was named, so it should be there
  ASSERT_OK(try_open(state, &(heed_open_options){.tuning = path, .mends_tuning = 1}, &ctx));
  assert_string_equal(heed_context_notice(ctx), "");
  assert_string_equal(heed_tune_path(ctx), path);
  ASSERT_OK(heed_tune_set(ctx, &a_problem, a_choice, 1.25));
  ASSERT_OK(heed_tune_set(ctx, &an_attention, "fused-cpu: key_block=192", 0));
  ASSERT_OK(heed_tune_save(ctx, NULL));
  ASSERT_OK(heed_tune_json(ctx, &before));
  heed_context_destroy(ctx);
  ctx = open_with(state, path, NULL);
  assert_string_equal(heed_context_notice(ctx), "");
  assert_choice(ctx, &a_problem, a_choice);
  assert_choice(ctx, &an_attention, "fused-cpu: key_block=192");
  ASSERT_OK(heed_tune_json(ctx, &after));
  assert_string_equal(before, after);
  assert_string_equal(before, read_text(path));
  free(before);
  free(after);
  heed_context_destroy(ctx);
}

static void the_usual_place_is_the_users_alone_and_may_be_empty(void **state) {
  char *config = getenv("XDG_CONFIG_HOME"), *kept = config ? strdup(config) : NULL, path[256];
  setenv("XDG_CONFIG_HOME", in_root("config"), 1);
  unsetenv("HEED_TUNE");
  heed_context *ctx = open_with(state, NULL, NULL);
  assert_string_equal(heed_context_notice(ctx), "");
  snprintf(path, sizeof path, "%s", heed_tune_path(ctx));
  assert_non_null(strstr(path, in_root("config/heed/tune/")));
  assert_non_null(strstr(path, heed_context_device(ctx)->id));
  ASSERT_OK(heed_tune_set(ctx, &a_problem, a_choice, 0));
  ASSERT_OK(heed_tune_save(ctx, NULL));
  heed_context_destroy(ctx);
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  assert_int_equal(stat(in_root("config/heed/tune"), &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  ctx = open_with(state, NULL, NULL);
  assert_choice(ctx, &a_problem, a_choice);
  heed_context_destroy(ctx);
  ctx = open_with(state, "off", NULL);  // as HEED_TUNE=off
  assert_choice(ctx, &a_problem, "default");
  heed_context_destroy(ctx);
  write_text(path, "not a table");  // nobody named it, so work goes on without it
  assert_ignored(open_with(state, NULL, NULL), path, "line 1: not JSON");
  setenv("HEED_TUNE", path, 1);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "line 1: not JSON", try_open(state, &(heed_open_options){0}, &ctx));
  unsetenv("HEED_TUNE");
  assert_int_equal(unlink(path), 0);  // deleting it restores the defaults
  ctx = open_with(state, NULL, NULL);
  assert_string_equal(heed_context_notice(ctx), "");
  assert_choice(ctx, &a_problem, "default");
  heed_context_destroy(ctx);
  unsetenv("XDG_CONFIG_HOME");
  if (kept) setenv("XDG_CONFIG_HOME", kept, 1);
  setenv("HEED_TUNE", "off", 1);
  free(kept);
}

// A table for the group's device, with one piece of its text replaced.
static void write_table(void **state, const char *path, const char *piece, const char *other) {
  heed_context *ctx = open_with(state, "off", NULL);
  char *text;
  ASSERT_OK(heed_tune_set(ctx, &a_problem, a_choice, 1.25));
  ASSERT_OK(heed_tune_json(ctx, &text));
  char *at = strstr(text, piece);
  assert_non_null(at);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "%.*s%s%s", (int)(at - text), text, other, at + strlen(piece));
  assert_int_equal(fclose(file), 0);
  free(text);
  heed_context_destroy(ctx);
}

// Ranges in a file may be wider than classes: the default is kept where it stands before such a range, and dropped where nothing is.
static void a_default_goes_before_a_wider_range(void **state) {
  const char *path = in_root("wide.json");
  char *text;
  write_table(state, path, "\"m\": [64, 255]", "\"m\": [1, 1023]");
  heed_context *ctx = open_with(state, path, NULL);
  const heed_tune_problem below = with_size(a_problem, 0, 20), beyond = with_size(a_problem, 0, 2000);
  assert_choice(ctx, &a_problem, a_choice);
  ASSERT_OK(heed_tune_set(ctx, &a_problem, "default", 0));
  ASSERT_OK(heed_tune_set(ctx, &beyond, "default", 0));
  ASSERT_OK(heed_tune_set(ctx, &an_attention, "default", 0));
  assert_choice(ctx, &a_problem, "default");
  assert_choice(ctx, &below, a_choice);
  ASSERT_OK(heed_tune_json(ctx, &text));
  assert_non_null(strstr(text, "\"m\": [64, 255]"));
  assert_null(strstr(text, "\"m\": [1024"));
  assert_null(strstr(text, "attention"));
  free(text);
  heed_context_destroy(ctx);
}

// Whoever names the table gets an error; for a program that mends it, opening says why it is ignored.
static void assert_useless(void **state, const char *path, heed_status status, const char *part) {
  heed_context *ctx = NULL;
  assert_refused(state, path, status, part);
  ASSERT_OK(try_open(state, &(heed_open_options){.tuning = path, .mends_tuning = 1}, &ctx));
  assert_ignored(ctx, path, part);
}

static void a_broken_file_is_refused(void **state) {
  static const struct {
    const char *piece, *other, *part;
  } edits[] = {
      {"}", "", "not JSON"},
      {"\"heed\": ", "\"heed\": 1, \"x\": ", "\"heed\" must be a text"},
      {"\"compute_units\": ", "\"compute_units\": null, \"x\": ", "compute_units"},
      {"\"choices\": [", "\"choices\": [7, ", "choice 1: not an object"},
      {"\"choices\": [", "\"choice\": [", "\"choices\" must be a list"},
      {"\"op\": \"gemm\"", "\"op\": \"gem\"", "\"op\" must be"},
      {"\"op\": \"gemm\"", "\"op\": \"attention_fwd\"", "\"causal\" must be"},
      {"\"F32\"", "\"I32\"", "\"dtype\" must be"},
      {"\"NT\"", "\"NX\"", "\"form\" must be"},
      {"\"m\": [64, 255]", "\"m\": 64", "\"m\" must be a range"},
      {"\"m\": [64, 255]", "\"m\": [64, 63]", "\"m\" is an empty range"},
      {"\"m\": [64, 255]", "\"m\": [-4, 63]", "\"m\" is an empty range"},
      {"\"k\": ", "\"l\": ", "\"k\" must be a range"},
      {"vectors=2", "vectors=7", "vectors=7"},
      {"vectors=2", "victors=2", "victors=2"},
      {"\"cpu:", "\"cpv:", "no variant"},
      {"vectors=2", "\\u001b[2J", "control character"},
      {"\"choice\": ", "\"chioce\": ", "\"choice\" must be a text"},
      {"\"k\": ", "\"m\": [1], \"k\": ", "duplicate"},
  };
  const char *path = in_root("broken.json");
  for (size_t i = 0; i < sizeof edits / sizeof *edits; ++i) {
    write_table(state, path, edits[i].piece, edits[i].other);
    assert_useless(state, path, HEED_ERROR_FORMAT, edits[i].part);
  }
  write_table(state, path, "\"heed\"", "\"heed\"");
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  for (off_t size = 0; size + 2 < info.st_size; size += 37) {  // cut off anywhere
    write_table(state, path, "\"heed\"", "\"heed\"");
    assert_int_equal(truncate(path, size), 0);
    assert_useless(state, path, HEED_ERROR_FORMAT, "not JSON");
  }
  assert_int_equal(truncate(path, 2 << 20), 0);
  assert_useless(state, path, HEED_ERROR_FORMAT, "too many");
}

static void a_foreign_file_is_refused(void **state) {
  const char *path = in_root("foreign.json");
  static const char *const names[] = {"heed", "device", "name", "driver"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    char piece[32], other[48];
    snprintf(piece, sizeof piece, "\"%s\": \"", names[i]);
    snprintf(other, sizeof other, "\"%s\": \"another ", names[i]);
    write_table(state, path, piece, other);
    assert_useless(state, path, HEED_ERROR_UNSUPPORTED, "another ");
  }
  write_table(state, path, "\"compute_units\": ", "\"compute_units\": 9");
  assert_useless(state, path, HEED_ERROR_UNSUPPORTED, "compute units");
}

static void a_file_that_others_could_have_made_is_not_trusted(void **state) {
  const char *path = in_root("mine.json"), *link = in_root("link.json"), *other = in_root("other.json");
  write_table(state, path, "\"heed\"", "\"heed\"");
  assert_int_equal(symlink(path, link), 0);
  assert_useless(state, link, HEED_ERROR_IO, "symbolic link");
  assert_int_equal(chmod(path, 0622), 0);
  assert_useless(state, path, HEED_ERROR_IO, "others may write");
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(mkfifo(other, 0600), 0);
  assert_useless(state, other, HEED_ERROR_IO, "not a file");  // and nobody waits for a writer
  assert_useless(state, root, HEED_ERROR_IO, "not a file");
  if (geteuid() != 0) return;
  assert_int_equal(chown(path, 65534, 65534), 0);
  assert_useless(state, path, HEED_ERROR_IO, "another user");
}

static void what_cannot_be_loaded_or_saved_changes_nothing(void **state) {
  const char *path = in_root("kept.json"), *broken = in_root("half.json");
  write_table(state, path, "\"heed\"", "\"heed\"");
  write_text(broken, "{");
  heed_context *ctx = open_with(state, path, NULL);
  ASSERT_FAILS(HEED_ERROR_FORMAT, "half.json", heed_tune_load(ctx, broken));
  ASSERT_FAILS(HEED_ERROR_IO, "none.json", heed_tune_load(ctx, in_root("none.json")));
  assert_choice(ctx, &a_problem, a_choice);
  ASSERT_FAILS(HEED_ERROR_IO, "cannot write", heed_tune_save(ctx, in_root("half.json/table.json")));
  ASSERT_FAILS(HEED_ERROR_IO, "directory", heed_tune_save(ctx, root));
  // A disk that is full after some bytes.
  const struct rlimit little = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
  struct rlimit before;
  char old[1 << 12];
  snprintf(old, sizeof old, "%s", read_text(path));
  ASSERT_OK(heed_tune_set(ctx, &an_attention, "staged", 0));
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
  const heed_status status = heed_tune_save(ctx, NULL);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(status, HEED_ERROR_IO);
  assert_string_equal(read_text(path), old);
  char line[160];
  snprintf(line, sizeof line, "ls -A %s | grep -q '^.heed-'", root);
  assert_int_not_equal(system(line), 0);  // no temporary file is left
  heed_context_destroy(ctx);
}

int main(void) {
  setenv("HEED_TUNE", "off", 1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_choice_holds_for_its_class_alone),
      cmocka_unit_test(a_forced_choice_goes_before_the_table),
      cmocka_unit_test(a_forced_choice_that_computes_wrong_is_given_up),
      cmocka_unit_test(what_is_no_choice_is_refused),
      cmocka_unit_test(variants_have_keys_beside_their_names),
      cmocka_unit_test(the_host_has_nothing_to_tune),
      cmocka_unit_test(a_table_comes_back_from_its_file),
      cmocka_unit_test(the_usual_place_is_the_users_alone_and_may_be_empty),
      cmocka_unit_test(a_default_goes_before_a_wider_range),
      cmocka_unit_test(a_broken_file_is_refused),
      cmocka_unit_test(a_foreign_file_is_refused),
      cmocka_unit_test(a_file_that_others_could_have_made_is_not_trusted),
      cmocka_unit_test(what_cannot_be_loaded_or_saved_changes_nothing),
  };
  void *nothing = NULL;
  if (make_root(&nothing) != 0) return 1;
  const int failed = cmocka_run_group_tests(tests, support_open_device, support_close);
  return remove_root(&nothing) + failed;
}
