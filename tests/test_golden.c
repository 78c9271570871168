// The golden cases: what PyTorch computed in float64 with autograd, `heed run` computes too. A case is a safetensors file with
// inputs, expected.NAME for each output, and the operator and options in its metadata. tests/golden has some, and the program that makes
// them. HEED_GOLDEN names a folder of others, to read instead, and under CI, where it must be there, besides; HEED_GOLDEN_TEST one of
// the tests below, as for a device that interprets.
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

#include "cli/tool.h"

#ifndef HEED_SOURCE_DIR
#define HEED_SOURCE_DIR ".."
#endif

// Relative to float64 by ‖x − r‖/‖r‖. F32 sums of up to a thousand terms of one size lose about 1e-6 in the worst order;
// a gradient goes through two or three such sums.
static const double forward_tolerance = 5e-6, gradient_tolerance = 2e-5;

enum { MOST_CASES = 256, MOST_WORDS = 32, MOST_OPS = 32 };

static char output[64];
static char *cases[MOST_CASES];  // paths
static size_t case_count;

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

static double norm_of(const heed_array *array) {
  const float *values = array->data;
  double sum = 0;
  for (size_t i = 0; i < array->bytes / sizeof *values; i++)
    if (isfinite(values[i])) sum += (double)values[i] * (double)values[i];
  return sqrt(sum);
}

// A gradient that is zero in exact arithmetic (that of a bias on all keys: softmax does not feel it) is in the file as
// float64's rounding, and no F32 result is near that by its own norm. Such a one, below 1e-12 of the file's largest
// gradient, is measured against the largest.
static double gradient_scale(const heed_safetensors *file, const heed_array *expected) {
  const double norm = norm_of(expected);
  double largest = 0;
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const heed_array *other = heed_safetensors_get(file, i);
    if (strncmp(other->name, "expected.grad.", 14) == 0) largest = fmax(largest, norm_of(other));
  }
  return norm < 1e-12 * largest ? largest : norm;
}

// NaN where one is non-finite and the other is not the same.
static double relative_error(const heed_array *actual, const heed_array *expected, double norm) {
  const float *a = actual->data, *e = expected->data;
  double difference = 0;
  for (size_t i = 0; i < expected->bytes / sizeof *e; i++) {
    if (!same_kind(a[i], e[i])) return NAN;
    if (!isfinite(e[i])) continue;
    difference += ((double)a[i] - (double)e[i]) * ((double)a[i] - (double)e[i]);
  }
  return norm > 0 ? sqrt(difference) / norm : sqrt(difference);
}

static bool same_shape(const heed_array *a, const heed_array *b) {
  return a->dtype == HEED_F32 && b->dtype == HEED_F32 && a->rank == b->rank &&
         memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

// weights: whether the call was asked for them.
static size_t compare(const char *name, const char *op, bool weights, const heed_safetensors *file,
                      const heed_safetensors *result) {
  size_t failures = 0, compared = 0;
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const heed_array *expected = heed_safetensors_get(file, i);
    if (strncmp(expected->name, "expected.", 9) != 0) continue;
    const char *output_name = expected->name + 9;
    if (!weights && strcmp(output_name, "weights") == 0) continue;
    const heed_array *actual = heed_safetensors_find(result, output_name);
    compared++;
    if (!actual || !same_shape(actual, expected)) {
      print_error("%s: %s is missing or of another shape\n", name, output_name);
      failures++;
      continue;
    }
    const bool gradient = strncmp(output_name, "grad.", 5) == 0;
    const double scale = gradient ? gradient_scale(file, expected) : norm_of(expected);
    const double error = relative_error(actual, expected, scale);
    double *most = gradient ? &worst_of(op)->gradient : &worst_of(op)->forward;
    if (!(error <= *most)) *most = error;
    if (error <= (gradient ? gradient_tolerance : forward_tolerance)) continue;
    print_error("%s: %s differs by %g\n", name, output_name, error);
    failures++;
  }
  return failures + (compared == 0);
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
    const char *words[MOST_WORDS] = {"run", op, "-i", path, "-o", output};
    int count = 6;
    if (device) words[count++] = "--device", words[count++] = device;
    snprintf(options, sizeof options, "%s %s", given, more);
    const bool fused = strstr(more, "fused") != NULL;
    char *rest = NULL;
    for (char *word = strtok_r(options, " ", &rest); word && count + 1 < MOST_WORDS; word = strtok_r(NULL, " ", &rest))
      if (!fused || strcmp(word, "--weights") != 0) words[count++] = word;
    if (cmd_run(count, words) == TOOL_DONE && heed_safetensors_read(output, &result) == HEED_OK)
      failures = compare(name, op, !fused, file, result);
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
  memset(worsts, 0, sizeof worsts);
  size_t failed = 0;
  for (size_t i = 0; i < case_count; i++) failed += run_case(cases[i], device, more) > 0;
  for (size_t i = 0; i < MOST_OPS && *worsts[i].op; i++)
    print_message("  %-14s worst error: forward %.1e, gradients %.1e\n", worsts[i].op, worsts[i].forward,
                  worsts[i].gradient);
  if (failed > 0) fail_msg("%zu of %zu cases are wrong", failed, case_count);
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

// Skips the test where heed would open the host.
static void need_device(void) {
  heed_context *ctx = NULL;
  if (heed_open(NULL, &ctx) != HEED_OK) fail_msg("%s", heed_last_error());
  const bool is_host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  heed_context_destroy(ctx);
  const char *required = getenv("HEED_REQUIRE_DEVICE");
  if (is_host && required && strcmp(required, "1") == 0) fail_msg("there is no OpenCL device, and one is required");
  if (is_host) skip();
}

static void device_agrees_with_float64(void **state) {
  (void)state;
  need_device();
  run_cases(NULL, "");
}

static void device_agrees_with_float64_staged(void **state) {
  (void)state;
  need_device();
  run_cases(NULL, "--path staged");
}

static void device_agrees_with_float64_fused(void **state) {
  (void)state;
  need_device();
  run_cases(NULL, "--path fused");
}

// ---------------------------------------------------------------- finding the cases

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// Returns whether the folder has any.
static bool find_cases(const char *folder) {
  const size_t before = case_count;
  DIR *dir = opendir(folder);
  if (!dir) return false;
  for (const struct dirent *entry; (entry = readdir(dir)) && case_count < MOST_CASES;) {
    const size_t length = strlen(entry->d_name), size = strlen(folder) + length + 2;
    if (length <= 12 || strcmp(entry->d_name + length - 12, ".safetensors") != 0) continue;
    char *path = cases[case_count++] = malloc(size);
    if (!path) abort();
    snprintf(path, size, "%s/%s", folder, entry->d_name);
  }
  closedir(dir);
  qsort(cases + before, case_count - before, sizeof *cases, by_name);
  if (case_count > before) print_message("%zu cases in %s\n", case_count - before, folder);
  return case_count > before;
}

int main(void) {
  const char *named = getenv("HEED_GOLDEN"), *ci = getenv("CI"), *own = HEED_SOURCE_DIR "/tests/golden";
  const bool all = ci && strcmp(ci, "true") == 0, other = named && *named;
  const char *more = other ? named : HEED_SOURCE_DIR "/../shared/golden";
  if (((other || all) && !find_cases(more)) || ((!other || all) && !find_cases(own))) {
    fprintf(stderr, "no golden cases in %s; HEED_GOLDEN names their folder\n",
            case_count > 0 || !(other || all) ? own : more);
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
  for (size_t i = 0; i < case_count; i++) free(cases[i]);
  return failed;
}
