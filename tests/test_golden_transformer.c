// The golden cases of transformers: what PyTorch computed in float64 with autograd, `heed run` computes too. A case is a safetensors file with
// inputs, expected.NAME for each output, and the operator and options in its metadata. Cases of operators that `heed run` does not know are
// left out. HEED_GOLDEN_TRANSFORMER names their folder; HEED_GOLDEN_TEST one of the tests below, as for a device that interprets.
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <heed/io.h>

#include "run/run.h"

#ifndef HEED_SOURCE_DIR
#define HEED_SOURCE_DIR ".."
#endif

// ‖x − r‖ against max(‖r‖, smallest √n): F32 sums of up to a thousand terms of one size lose about 1e-6 in the worst order; a gradient
// goes through two or three such sums. A result that is zero in exact arithmetic has no norm to be measured by.
static const double forward_tolerance = 5e-6, gradient_tolerance = 2e-5, smallest = 1e-6;

enum { MOST_CASES = 256, MOST_WORDS = 32, MOST_OPS = 32 };

static char folder[1024], output[64];
static char *cases[MOST_CASES];
static size_t case_count;

static bool is_known(const char *op) {
#define KNOWN(name) \
  if (strcmp(op, #name) == 0) return true;
  RUN_OPS(KNOWN)
#undef KNOWN
  return false;
}

// The worst error of each operator, forward and backward, in one pass over the cases.
typedef struct worst {
  char op[32];
  double forward, gradient;
} worst;
static worst worsts[MOST_OPS];

static worst *worst_of(const char *op) {
  size_t i = 0;
  while (i + 1 < MOST_OPS && *worsts[i].op && strcmp(worsts[i].op, op) != 0) i++;
  snprintf(worsts[i].op, sizeof worsts[i].op, "%s", op);
  return &worsts[i];
}

// ---------------------------------------------------------------- one case

static bool same_kind(float a, float b) { return isfinite(a) ? isfinite(b) : isnan(a) ? isnan(b) : a == b; }

// NaN where one is not finite and the other is not the same.
static double error_of(const heed_array *actual, const heed_array *expected) {
  const float *a = actual->data, *e = expected->data;
  const size_t count = expected->bytes / sizeof *e;
  double difference = 0, squares = 0;
  for (size_t i = 0; i < count; i++) {
    if (!same_kind(a[i], e[i])) return NAN;
    if (!isfinite(e[i])) continue;
    difference += ((double)a[i] - (double)e[i]) * ((double)a[i] - (double)e[i]);
    squares += (double)e[i] * (double)e[i];
  }
  const double scale = fmax(sqrt(squares), smallest * sqrt((double)count));
  return scale > 0 ? sqrt(difference) / scale : 0;
}

static bool same_shape(const heed_array *a, const heed_array *b) {
  return a->dtype == HEED_F32 && b->dtype == HEED_F32 && a->rank == b->rank &&
         memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

static size_t compare(const char *name, const char *op, const heed_safetensors *file, const heed_safetensors *result) {
  size_t failures = 0, compared = 0;
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const heed_array *expected = heed_safetensors_get(file, i);
    if (strncmp(expected->name, "expected.", 9) != 0) continue;
    const char *output_name = expected->name + 9;
    const heed_array *actual = heed_safetensors_find(result, output_name);
    compared++;
    if (!actual || !same_shape(actual, expected)) {
      print_error("%s: %s is missing or of another shape\n", name, output_name);
      failures++;
      continue;
    }
    const bool gradient = strncmp(output_name, "grad.", 5) == 0;
    const double error = error_of(actual, expected);
    double *most = gradient ? &worst_of(op)->gradient : &worst_of(op)->forward;
    if (!(error <= *most)) *most = error;
    if (error <= (gradient ? gradient_tolerance : forward_tolerance)) continue;
    print_error("%s: %s differs by %g\n", name, output_name, error);
    failures++;
  }
  return failures + (compared == 0);
}

// Calls heed run as the file's metadata says, on `device`, or where heed runs by default; with the folder of the model that it names.
static bool run(const char *path, const char *op, const char *given, const char *model, const char *device) {
  char options[512], model_folder[2048];
  const char *words[MOST_WORDS] = {"run", op, "-i", path, "-o", output};
  int count = 6;
  if (device) words[count++] = "--device", words[count++] = device;
  if (model) {
    snprintf(model_folder, sizeof model_folder, "%s/models/%s", folder, model);
    words[count++] = "--model", words[count++] = model_folder;
  }
  snprintf(options, sizeof options, "%s", given);
  char *rest = NULL;
  for (char *word = strtok_r(options, " ", &rest); word && count + 1 < MOST_WORDS; word = strtok_r(NULL, " ", &rest))
    words[count++] = word;
  return cmd_run(count, words) == TOOL_DONE;
}

// *known counts the cases that were run.
static size_t run_case(const char *name, const char *device, size_t *known) {
  char path[2048];
  snprintf(path, sizeof path, "%s/%s", folder, name);
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
      failures = compare(name, op, file, result);
    else
      print_error("%s: heed run failed\n", name);
  }
  heed_safetensors_destroy(file);
  heed_safetensors_destroy(result);
  return failures;
}

static void run_cases(const char *device) {
  memset(worsts, 0, sizeof worsts);
  size_t failed = 0, known = 0;
  for (size_t i = 0; i < case_count; i++) failed += run_case(cases[i], device, &known) > 0;
  for (size_t i = 0; i < MOST_OPS && *worsts[i].op; i++)
    print_message("  %-14s worst error: forward %.1e, gradients %.1e\n", worsts[i].op, worsts[i].forward,
                  worsts[i].gradient);
  print_message("  %zu of %zu cases are of operators that heed run knows\n", known, case_count);
  if (failed > 0) fail_msg("%zu of %zu cases are wrong", failed, known);
  assert_true(known > 0);
}

// ---------------------------------------------------------------- the tests

static void host_agrees_with_float64(void **state) {
  (void)state;
  run_cases("host");
}

// Skips where heed would open the host.
static void device_agrees_with_float64(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  if (heed_open(NULL, &ctx) != HEED_OK) fail_msg("%s", heed_last_error());
  const bool is_host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  heed_context_destroy(ctx);
  const char *required = getenv("HEED_REQUIRE_DEVICE");
  if (is_host && required && strcmp(required, "1") == 0) fail_msg("there is no OpenCL device, and one is required");
  if (is_host) skip();
  run_cases(NULL);
}

// ---------------------------------------------------------------- finding the cases

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// Of the folder's files, those of its operators: "tokenizer_gpt2.json" and the folder of models are not.
static void find_cases(void) {
  const char *named = getenv("HEED_GOLDEN_TRANSFORMER");
  snprintf(folder, sizeof folder, "%s", named && *named ? named : HEED_SOURCE_DIR "/../shared/golden-transformer");
  DIR *dir = opendir(folder);
  if (!dir) return;
  for (const struct dirent *entry; (entry = readdir(dir)) && case_count < MOST_CASES;) {
    const size_t length = strlen(entry->d_name);
    if (length > 12 && strcmp(entry->d_name + length - 12, ".safetensors") == 0)
      cases[case_count++] = strdup(entry->d_name);
  }
  closedir(dir);
  qsort(cases, case_count, sizeof *cases, by_name);
}

int main(void) {
  find_cases();
  if (case_count == 0) {
    const char *ci = getenv("CI");
    fprintf(stderr, "no golden cases in %s; name their folder in HEED_GOLDEN_TRANSFORMER\n", folder);
    return ci && strcmp(ci, "true") == 0 ? 1 : 77;
  }
  snprintf(output, sizeof output, "/tmp/heed-golden-transformer-%ld.safetensors", (long)getpid());
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(host_agrees_with_float64),
      cmocka_unit_test(device_agrees_with_float64),
  };
  print_message("%zu cases in %s\n", case_count, folder);
  if (getenv("HEED_GOLDEN_TEST")) cmocka_set_test_filter(getenv("HEED_GOLDEN_TEST"));
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(output);
  for (size_t i = 0; i < case_count; i++) free(cases[i]);
  return failed;
}
