// Checks and times one choice: it must be correct before it can be fast.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tune/tune.h"

enum { ROUNDS_MAX = 31, ROUNDS_LEAST = 3 };
// A sample of this length hides the clock and the queue; a choice that is this much slower need not be timed to the end.
#define SAMPLE_MS 8.0
#define GIVE_UP 1.08

static heed_status force(const tune_bench *bench, const char *choice) {
  return heed_tune_force(bench->ctx, bench->class->op, choice);
}

// ---------------------------------------------------------------- the call

static heed_status run_whole(tune_bench *bench) {
  TRY(case_poison(&bench->env));
  TRY(bench->whole.family->run(&bench->env, &bench->whole));
  return heed_sync(bench->ctx);
}

static heed_status time_runs(tune_bench *bench, const char *choice, double *ms) {
  TRY(force(bench, choice));
  const double start = tool_seconds();
  for (int64_t i = 0; i < bench->inner; ++i) TRY(bench->timed.family->run(&bench->env, &bench->timed));
  TRY(heed_sync(bench->ctx));
  *ms = (tool_seconds() - start) * 1e3 / (double)bench->inner;
  return HEED_OK;
}

static heed_status keep_results(tune_bench *bench) {
  for (int i = 0; i < bench->env.count; ++i) {
    const heed_tensor *t = bench->env.tensors[i].tensor;
    if (!bench->env.tensors[i].output) continue;
    TRY(heed_tensor_create(bench->ctx, heed_tensor_dtype(t), heed_tensor_rank(t), heed_tensor_dims(t),
                           &bench->expected[i]));
    TRY(heed_copy(t, bench->expected[i]));
  }
  return heed_sync(bench->ctx);
}

static heed_status open_bench(tune_bench *bench) {
  double ms;
  TRY(bench->whole.family->setup(&bench->env, &bench->whole));
  TRY(force(bench, "default"));
  TRY(run_whole(bench));
  TRY(keep_results(bench));
  bench->inner = 1;
  TRY(time_runs(bench, "default", &ms));
  bench->inner = ms > SAMPLE_MS ? 1 : (int64_t)(SAMPLE_MS / fmax(ms, 1e-3)) + 1;
  return HEED_OK;
}

heed_status tune_bench_open(tune_bench *bench, heed_context *ctx, const tune_class *class, const int64_t *sizes) {
  *bench = (tune_bench){.ctx = ctx, .class = class, .timed = tune_case(class, sizes)};
  bench->whole = bench->timed;
  if (bench->whole.phase == CASE_BACKWARD) bench->whole.phase = CASE_BOTH;
  bench->env = (case_env){.ctx = ctx, .of = &bench->whole, .seed = 1, .timing = true};
  const heed_status status = open_bench(bench);
  if (status != HEED_OK) tune_bench_close(bench);
  return status;
}

void tune_bench_close(tune_bench *bench) {
  for (int i = 0; i < CASE_MAX_TENSORS; ++i) heed_tensor_destroy(bench->expected[i]);
  case_free(&bench->env);
  *bench = (tune_bench){0};
}

// ---------------------------------------------------------------- right

static heed_status compare_results(const tune_bench *bench, char why[TUNE_WHY]) {
  for (int i = 0; i < bench->env.count; ++i) {
    const case_tensor *t = &bench->env.tensors[i];
    if (!t->output) continue;
    heed_difference d;
    TRY(heed_tensor_compare(t->tensor, bench->expected[i], &d));
    // Both may differ by the tolerance, in opposite directions.
    if (heed_difference_within(&d, 2 * t->tolerance)) continue;
    snprintf(why, TUNE_WHY, "%s differs from the default's by %.2e, tolerated %.0e%s", t->name, d.relative,
             2 * t->tolerance, d.non_finite_mismatch ? " (one side is not finite)" : "");
    return HEED_OK;
  }
  return HEED_OK;
}

static heed_status check(tune_bench *bench, heed_context *host, const char *choice, char why[TUNE_WHY]) {
  const heed_tune_problem problem = tune_problem(bench->class, bench->class->first);
  const heed_case small = tune_small_case(bench->class);
  heed_tune_choice used;
  case_result result;
  TRY(force(bench, choice));
  TRY(case_compare(&small, bench->ctx, host, &result));
  if (!result.passed) {
    snprintf(why, TUNE_WHY, "%.300s", result.message);
    return HEED_OK;
  }
  TRY(run_whole(bench));
  TRY(compare_results(bench, why));
  TRY(heed_tune_get(bench->ctx, &problem, &used));
  if (!why[0] && strcmp(used.text, choice) != 0)
    snprintf(why, TUNE_WHY, "computed a wrong result when heed tried the product before its first use");
  return HEED_OK;
}

void tune_check(tune_bench *bench, heed_context *host, const char *choice, char why[TUNE_WHY]) {
  why[0] = 0;
  const heed_status status = check(bench, host, choice, why);
  if (status == HEED_OK) return;
  const char *message = heed_last_error();
  snprintf(why, TUNE_WHY, "%.300s", *message ? message : heed_status_string(status));
}

// ---------------------------------------------------------------- fast

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(const double *values, int count) {
  double sorted[ROUNDS_MAX];
  memcpy(sorted, values, (size_t)count * sizeof *values);
  qsort(sorted, (size_t)count, sizeof *sorted, by_value);
  return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

heed_status tune_time(tune_bench *bench, const char *reference, const char *choice, int rounds, double deadline,
                      tune_timing *timing) {
  double ratios[ROUNDS_MAX], ours[ROUNDS_MAX], theirs[ROUNDS_MAX], ignored;
  // A choice that has not run yet first fills its pools.
  TRY(time_runs(bench, choice, &ignored));
  int done = 0, faster = 0;
  while (done < rounds && done < ROUNDS_MAX) {
    // They take turns to go first, so that neither always has the warmer caches.
    const bool first = done % 2;
    if (first) TRY(time_runs(bench, choice, &ours[done]));
    TRY(time_runs(bench, reference, &theirs[done]));
    if (!first) TRY(time_runs(bench, choice, &ours[done]));
    ratios[done] = ours[done] / theirs[done];
    faster += ratios[done] < 1;
    if (++done >= ROUNDS_LEAST && (median(ratios, done) > GIVE_UP || tool_seconds() > deadline)) break;
  }
  *timing = (tune_timing){.ratio = median(ratios, done),
                          .reference_ms = median(theirs, done),
                          .ms = median(ours, done),
                          .sure = faster * 4 >= done * 3 || faster * 4 <= done};
  return HEED_OK;
}
