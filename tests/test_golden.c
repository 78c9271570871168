// The golden cases: what PyTorch computed in float64 with autograd, `heed run` computes too. tests/golden has some, and the program that
// makes them. HEED_GOLDEN names a folder of others, to read instead, and under CI, where it must be there, besides; HEED_GOLDEN_TEST one
// of the tests below, as for a device that interprets.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/tool.h"
#include "support_golden.h"

#ifndef HEED_SOURCE_DIR
#define HEED_SOURCE_DIR ".."
#endif

static char output[64];
static golden_cases cases;

// ---------------------------------------------------------------- one case

// A gradient that is zero in exact arithmetic (that of a bias on all keys: softmax does not feel it) is in the file as
// float64's rounding, and no F32 result is near that by its own norm. Such a one, below 1e-12 of the file's largest
// gradient, is measured against the largest.
static double scale_of(const heed_safetensors *file, const heed_array *expected, bool gradient) {
  const double norm = golden_norm(expected);
  double largest = 0;
  for (size_t i = 0; gradient && i < heed_safetensors_count(file); i++) {
    const heed_array *other = heed_safetensors_get(file, i);
    if (strncmp(other->name, "expected.grad.", 14) == 0) largest = fmax(largest, golden_norm(other));
  }
  return norm < 1e-12 * largest ? largest : norm;
}

// Calls heed run as the file's metadata says, with `device` and `more` added. The fused path refuses to give weights, so that it is
// not asked for them.
static size_t run_case(const char *path, const char *device, const char *more) {
  const char *name = strrchr(path, '/') + 1;
  char options[512];
  heed_safetensors *file = NULL, *result = NULL;
  if (heed_safetensors_read(path, &file) != HEED_OK) {
    print_error("%s\n", heed_last_error());
    return 1;
  }
  const char *op = heed_safetensors_metadata(file, "op"), *given = heed_safetensors_metadata(file, "options");
  size_t failures = 1;
  if (op && given && (!*more || strcmp(op, "attention") == 0)) {
    const char *words[GOLDEN_MOST_WORDS] = {"run", op, "-i", path, "-o", output};
    int count = 6;
    if (device) words[count++] = "--device", words[count++] = device;
    snprintf(options, sizeof options, "%s %s", given, more);
    const bool fused = strstr(more, "fused") != NULL;
    char *rest = NULL;
    for (char *word = strtok_r(options, " ", &rest); word && count + 1 < GOLDEN_MOST_WORDS;
         word = strtok_r(NULL, " ", &rest))
      if (!fused || strcmp(word, "--weights") != 0) words[count++] = word;
    if (cmd_run(count, words) == TOOL_DONE && heed_safetensors_read(output, &result) == HEED_OK)
      failures = golden_compare(name, op, fused ? "weights" : NULL, scale_of, file, result);
    else
      print_error("%s: heed run failed\n", name);
  } else if (op && given) {
    failures = 0;
  }
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(result);
  return failures;
}

static void run_cases(const char *device, const char *more) {
  golden_forget();
  size_t failed = 0;
  for (size_t i = 0; i < cases.count; i++) failed += run_case(cases.paths[i], device, more) > 0;
  golden_report();
  if (failed > 0) fail_msg("%zu of %zu cases are wrong", failed, cases.count);
}

// ---------------------------------------------------------------- the tests

static void host_agrees_with_float64(void **state) {
  (void)state;
  run_cases("host", "");
}

static void host_agrees_with_float64_staged(void **state) {
  (void)state;
  run_cases("host", "--path staged");
}

static void device_agrees_with_float64(void **state) {
  (void)state;
  golden_need_device();
  run_cases(NULL, "");
}

static void device_agrees_with_float64_staged(void **state) {
  (void)state;
  golden_need_device();
  run_cases(NULL, "--path staged");
}

static void device_agrees_with_float64_fused(void **state) {
  (void)state;
  golden_need_device();
  run_cases(NULL, "--path fused");
}

int main(void) {
  const char *named = getenv("HEED_GOLDEN"), *ci = getenv("CI"), *own = HEED_SOURCE_DIR "/tests/golden";
  const bool all = ci && strcmp(ci, "true") == 0, other = named && *named;
  const char *more = other ? named : HEED_SOURCE_DIR "/../shared/golden";
  if (((other || all) && !golden_find(&cases, more)) || ((!other || all) && !golden_find(&cases, own))) {
    fprintf(stderr, "no golden cases in %s; HEED_GOLDEN names their folder\n",
            cases.count > 0 || !(other || all) ? own : more);
    return 1;
  }
  snprintf(output, sizeof output, "/tmp/heed-golden-%ld.safetensors", (long)getpid());
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(host_agrees_with_float64),         cmocka_unit_test(host_agrees_with_float64_staged),
      cmocka_unit_test(device_agrees_with_float64),       cmocka_unit_test(device_agrees_with_float64_staged),
      cmocka_unit_test(device_agrees_with_float64_fused),
  };
  if (getenv("HEED_GOLDEN_TEST")) cmocka_set_test_filter(getenv("HEED_GOLDEN_TEST"));
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(output);
  golden_free(&cases);
  return failed;
}
