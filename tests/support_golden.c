#include "support_golden.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_devices.h"

// Relative to float64. F32 sums of up to a thousand terms of one size lose about 1e-6 in the worst order; a gradient goes through two or
// three such sums.
static const double forward_tolerance = 5e-6, gradient_tolerance = 2e-5;

// ---------------------------------------------------------------- finding the cases

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

bool golden_find(golden_cases *cases, const char *folder) {
  const size_t before = cases->count;
  DIR *dir = opendir(folder);
  if (!dir) return false;
  for (const struct dirent *entry; (entry = readdir(dir)) && cases->count < GOLDEN_MOST_CASES;) {
    const size_t length = strlen(entry->d_name), size = strlen(folder) + length + 2;
    if (length <= 12 || strcmp(entry->d_name + length - 12, ".safetensors") != 0) continue;
    char *path = cases->paths[cases->count++] = malloc(size);
    if (!path) abort();
    snprintf(path, size, "%s/%s", folder, entry->d_name);
  }
  closedir(dir);
  qsort(cases->paths + before, cases->count - before, sizeof *cases->paths, by_name);
  if (cases->count > before) print_message("%zu cases in %s\n", cases->count - before, folder);
  return cases->count > before;
}

void golden_free(golden_cases *cases) {
  while (cases->count > 0) free(cases->paths[--cases->count]);
}

// ---------------------------------------------------------------- the worst errors

enum { MOST_OPS = 32 };

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

void golden_forget(void) { memset(worsts, 0, sizeof worsts); }

void golden_report(void) {
  for (size_t i = 0; i < MOST_OPS && *worsts[i].op; i++)
    print_message("  %-14s worst error: forward %.1e, gradients %.1e\n", worsts[i].op, worsts[i].forward,
                  worsts[i].gradient);
}

// ---------------------------------------------------------------- one case

static bool same_kind(float a, float b) { return isfinite(a) ? isfinite(b) : isnan(a) ? isnan(b) : a == b; }

double golden_norm(const heed_array *array) {
  const float *values = array->data;
  double sum = 0;
  for (size_t i = 0; i < array->bytes / sizeof *values; i++)
    if (isfinite(values[i])) sum += (double)values[i] * (double)values[i];
  return sqrt(sum);
}

// ‖actual − expected‖ over the finite values; NaN where one is not finite and the other is not the same.
static double difference_of(const heed_array *actual, const heed_array *expected) {
  const float *a = actual->data, *e = expected->data;
  double sum = 0;
  for (size_t i = 0; i < expected->bytes / sizeof *e; i++) {
    if (!same_kind(a[i], e[i])) return NAN;
    if (!isfinite(e[i])) continue;
    sum += ((double)a[i] - (double)e[i]) * ((double)a[i] - (double)e[i]);
  }
  return sqrt(sum);
}

static bool same_shape(const heed_array *a, const heed_array *b) {
  return a->dtype == HEED_F32 && b->dtype == HEED_F32 && a->rank == b->rank &&
         memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

size_t golden_compare(const char *name, const char *op, const char *without, golden_scale scale,
                      const heed_safetensors *file, const heed_safetensors *result) {
  size_t failures = 0, compared = 0;
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const heed_array *expected = heed_safetensors_get(file, i);
    if (strncmp(expected->name, "expected.", 9) != 0) continue;
    const char *output = expected->name + 9;
    if (without && strcmp(output, without) == 0) continue;
    const heed_array *actual = heed_safetensors_find(result, output);
    compared++;
    if (!actual || !same_shape(actual, expected)) {
      print_error("%s: %s is missing or of another shape\n", name, output);
      failures++;
      continue;
    }
    const bool gradient = strncmp(output, "grad.", 5) == 0;
    const double by = scale(file, expected, gradient), difference = difference_of(actual, expected);
    const double error = by > 0 ? difference / by : difference;
    double *most = gradient ? &worst_of(op)->gradient : &worst_of(op)->forward;
    if (!(error <= *most)) *most = error;
    if (error <= (gradient ? gradient_tolerance : forward_tolerance)) continue;
    print_error("%s: %s differs by %g\n", name, output, error);
    failures++;
  }
  return failures + (compared == 0);
}

void golden_need_device(void) {
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open(NULL, &ctx));
  const bool is_host = heed_context_device(ctx)->type == HEED_DEVICE_HOST;
  heed_context_destroy(ctx);
  const char *required = getenv("HEED_REQUIRE_DEVICE");
  if (is_host && required && strcmp(required, "1") == 0) fail_msg("there is no OpenCL device, and one is required");
  if (is_host) skip();
}
