// The golden cases of transformers: what PyTorch computed in float64 with autograd, `heed run` computes too. Cases of operators that
// `heed run` does not know are left out. HEED_GOLDEN_TRANSFORMER names their folder; HEED_GOLDEN_TEST one of the tests below, as for a
// device that interprets.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/run.h"
#include "support_golden.h"

#ifndef HEED_SOURCE_DIR
#define HEED_SOURCE_DIR ".."
#endif

static char folder[1024], output[64];
static golden_cases cases;

static bool is_known(const char *op) {
#define KNOWN(name) \
  if (strcmp(op, #name) == 0) return true;
  RUN_OPS(KNOWN)
#undef KNOWN
  return false;
}

// ---------------------------------------------------------------- one case

// A result that is zero in exact arithmetic has no norm to be measured by: a millionth for each value is the least.
static double scale_of(const heed_safetensors *file, const heed_array *expected, bool gradient) {
  (void)file, (void)gradient;
  return fmax(golden_norm(expected), 1e-6 * sqrt((double)(expected->bytes / sizeof(float))));
}

// Calls heed run as the file's metadata says, on `device`, or where heed runs by default; with the folder of the model that it names.
static bool run(const char *path, const char *op, const char *given, const char *model, const char *device) {
  char options[512], model_folder[2048];
  const char *words[GOLDEN_MOST_WORDS] = {"run", op, "-i", path, "-o", output};
  int count = 6;
  if (device) words[count++] = "--device", words[count++] = device;
  if (model) {
    snprintf(model_folder, sizeof model_folder, "%s/models/%s", folder, model);
    words[count++] = "--model", words[count++] = model_folder;
  }
  snprintf(options, sizeof options, "%s", given);
  char *rest = NULL;
  for (char *word = strtok_r(options, " ", &rest); word && count + 1 < GOLDEN_MOST_WORDS;
       word = strtok_r(NULL, " ", &rest))
    words[count++] = word;
  return cmd_run(count, words) == TOOL_DONE;
}

// *known counts the cases that were run.
static size_t run_case(const char *path, const char *device, size_t *known) {
  const char *name = strrchr(path, '/') + 1;
  heed_safetensors *file = NULL, *result = NULL;
  if (heed_safetensors_read(path, &file) != HEED_OK) {
    print_error("%s\n", heed_last_error());
    return 1;
  }
  const char *op = heed_safetensors_metadata(file, "op"), *given = heed_safetensors_metadata(file, "options");
  size_t failures = op && given ? 0 : 1;
  if (op && given && is_known(op)) {
    ++*known;
    failures = 1;
    if (run(path, op, given, heed_safetensors_metadata(file, "model"), device) &&
        heed_safetensors_read(output, &result) == HEED_OK)
      failures = golden_compare(name, op, NULL, scale_of, file, result);
    else
      print_error("%s: heed run failed\n", name);
  }
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(result);
  return failures;
}

static void run_cases(const char *device) {
  golden_forget();
  size_t failed = 0, known = 0;
  for (size_t i = 0; i < cases.count; i++) failed += run_case(cases.paths[i], device, &known) > 0;
  golden_report();
  print_message("  %zu of %zu cases are of operators that heed run knows\n", known, cases.count);
  if (failed > 0) fail_msg("%zu of %zu cases are wrong", failed, known);
  assert_true(known > 0);
}

// ---------------------------------------------------------------- the tests

static void host_agrees_with_float64(void **state) {
  (void)state;
  run_cases("host");
}

static void device_agrees_with_float64(void **state) {
  (void)state;
  golden_need_device();
  run_cases(NULL);
}

int main(void) {
  const char *named = getenv("HEED_GOLDEN_TRANSFORMER");
  snprintf(folder, sizeof folder, "%s", named && *named ? named : HEED_SOURCE_DIR "/../shared/golden-transformer");
  if (!golden_find(&cases, folder)) {
    const char *ci = getenv("CI");
    fprintf(stderr, "no golden cases in %s; name their folder in HEED_GOLDEN_TRANSFORMER\n", folder);
    return ci && strcmp(ci, "true") == 0 ? 1 : 77;
  }
  snprintf(output, sizeof output, "/tmp/heed-golden-transformer-%ld.safetensors", (long)getpid());
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(host_agrees_with_float64),
      cmocka_unit_test(device_agrees_with_float64),
  };
  if (getenv("HEED_GOLDEN_TEST")) cmocka_set_test_filter(getenv("HEED_GOLDEN_TEST"));
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(output);
  golden_free(&cases);
  return failed;
}
