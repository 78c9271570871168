// Times one case: the first run by itself, then samples with enough runs each to hide the clock and the queue.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t count, double at) {
  const double place = at * (double)(count - 1);
  const int64_t low = (int64_t)place;
  const int64_t high = low + 1 < count ? low + 1 : low;
  return sorted[low] + (place - (double)low) * (sorted[high] - sorted[low]);
}

static heed_status time_runs(case_env *env, const heed_case *c, int64_t runs, double *ms) {
  const double start = tool_seconds();
  for (int64_t i = 0; i < runs; ++i) TRY(c->family->run(env, c));
  TRY(heed_sync(env->ctx));
  *ms = (tool_seconds() - start) * 1e3 / (double)runs;
  return HEED_OK;
}

// The kernel time of everything since the last look, in milliseconds.
static heed_status device_time(heed_context *ctx, double *ms) {
  const heed_profile_record *records;
  size_t count;
  *ms = 0;
  TRY(heed_profile_records(ctx, &records, &count));
  for (size_t i = 0; i < count; ++i) *ms += (double)(records[i].end_ns - records[i].start_ns) * 1e-6;
  return HEED_OK;
}

static heed_status sample(case_env *env, const heed_case *c, int64_t runs, const bench_watch *watch, bench_record *r) {
  // The first run compiles kernels and fills pools; a backward needs its forward's results before it.
  heed_case whole = *c;
  if (c->family == &attention_family && c->phase == CASE_BACKWARD) {
    whole.phase = CASE_FORWARD;
    TRY(whole.family->run(env, &whole));
    TRY(heed_sync(env->ctx));
  }
  double warm;
  TRY(time_runs(env, c, 1, &r->first_ms));
  tool_progress_again(watch->progress);
  TRY(time_runs(env, c, 1, &warm));
  const int64_t inner = warm > 5 ? 1 : (int64_t)(5 / (warm > 1e-3 ? warm : 1e-3)) + 1;
  const int64_t samples = runs ? runs : warm * (double)inner > 200 ? 5 : (int64_t)(1000 / (warm * (double)inner)) + 5;
  double *times = malloc((size_t)samples * sizeof *times), ignored;
  double *device = malloc((size_t)samples * sizeof *device);
  heed_status status = times && device ? device_time(env->ctx, &ignored) : HEED_ERROR_OUT_OF_MEMORY;
  int64_t done = 0;
  for (int64_t i = 0; status == HEED_OK && i < samples && !*watch->interrupted; done = ++i) {
    status = time_runs(env, c, inner, &times[i]);
    if (status == HEED_OK) status = device_time(env->ctx, &device[i]);
    device[i] /= (double)inner;
  }
  if (status == HEED_OK && done == samples) {
    qsort(times, (size_t)samples, sizeof *times, by_value);
    qsort(device, (size_t)samples, sizeof *device, by_value);
    r->runs = samples * inner;
    r->median_ms = quantile(times, samples, 0.5);
    r->p10_ms = quantile(times, samples, 0.1);
    r->p90_ms = quantile(times, samples, 0.9);
    r->device_ms = quantile(device, samples, 0.5);
  }
  free(times);
  free(device);
  return status;
}

// Decode reads every key once for a handful of products, so it counts as memory work.
static bool is_memory_work(const heed_case *c) {
  return !c->family->flops || (c->family == &attention_family && c->u.attention.lq <= 4);
}

// Those without a count of their own: one for each element that moves.
static double operations(const heed_case *c) {
  if (c->family->flops) return c->family->flops(c);
  if (c->family->operations) return c->family->operations(c);
  return c->family->bytes ? c->family->bytes(c) / (double)heed_dtype_size(c->dtype) : 0;
}

heed_status bench_run(const heed_case *c, heed_context *ctx, int64_t runs, const bench_watch *watch,
                      bench_record *record) {
  *record = (bench_record){0};
  bench_describe(c, record);
  heed_case with_forward = *c;
  if (c->family == &attention_family && c->phase == CASE_BACKWARD) with_forward.phase = CASE_BOTH;
  snprintf(with_forward.name, sizeof with_forward.name, "bench");
  case_env env = {.ctx = ctx, .of = c, .seed = 1, .timing = true};
  heed_status status = with_forward.family->setup(&env, &with_forward);
  if (status == HEED_OK) status = case_poison(&env);
  if (status == HEED_OK) status = sample(&env, c, runs, watch, record);
  case_free(&env);
  if (status != HEED_OK || record->runs == 0) return status;
  const double seconds = record->median_ms * 1e-3;
  record->flops = operations(c);
  record->bytes = c->family->bytes ? c->family->bytes(c) : 0;
  if (c->family->flops) record->gflops = c->family->flops(c) / seconds * 1e-9;
  if (c->family->bytes) record->gbytes_s = c->family->bytes(c) / seconds * 1e-9;
  record->is_memory_work = is_memory_work(c);
  return HEED_OK;
}

void bench_set_fraction(bench_record *record, bench_peak peak) {
  record->peak_fraction = record->is_memory_work ? record->gbytes_s / peak.gbytes_s : record->gflops / peak.gflops;
}

// Times one run, after poisoning the outputs, in milliseconds.
static heed_status one_run(case_env *env, const heed_case *c, double *ms) {
  TRY(case_poison(env));
  return time_runs(env, c, 1, ms);
}

static heed_status start(case_env *env, const heed_case *c, heed_context *ctx) {
  *env = (case_env){.ctx = ctx, .of = c, .seed = 1};
  return c->family->setup(env, c);
}

static heed_status compare_outputs(const case_env *actual, const case_env *expected, bench_comparison *r) {
  for (int i = 0; i < actual->count; ++i) {
    const case_tensor *t = &actual->tensors[i];
    if (!t->output) continue;
    heed_difference d;
    TRY(heed_tensor_compare(t->tensor, expected->tensors[i].tensor, &d));
    snprintf(r->outputs[r->count].name, sizeof r->outputs->name, "%s", t->name);
    r->outputs[r->count].relative = d.relative;
    r->outputs[r->count].tolerance = t->tolerance;
    r->outputs[r->count++].passed = heed_difference_within(&d, t->tolerance);
  }
  return HEED_OK;
}

heed_status bench_compare(const heed_case *c, heed_context *device, heed_context *host, bench_comparison *comparison) {
  bench_record described = {0};
  bench_describe(c, &described);
  *comparison = (bench_comparison){.op = described.op, .dtype = described.dtype};
  snprintf(comparison->shape_json, sizeof comparison->shape_json, "%s", described.shape_json);
  snprintf(comparison->shape_text, sizeof comparison->shape_text, "%s", described.shape_text);
  // Compare a backward together with the forward that it needs.
  heed_case whole = *c;
  if (whole.phase == CASE_BACKWARD) whole.phase = CASE_BOTH;
  case_env actual = {0}, expected = {0};
  double warm_up;
  heed_status status = start(&actual, &whole, device);
  if (status == HEED_OK) status = start(&expected, &whole, host);
  if (status == HEED_OK) status = one_run(&actual, &whole, &warm_up);
  if (status == HEED_OK) status = one_run(&actual, &whole, &comparison->device_ms);
  if (status == HEED_OK) status = one_run(&expected, &whole, &comparison->host_ms);
  if (status == HEED_OK) status = compare_outputs(&actual, &expected, comparison);
  case_free(&actual);
  case_free(&expected);
  return status;
}
