// Measures what the device reaches with kernels like heed's: multiply-adds per second, and bytes copied per second. It uses the host's
// clock around launches that are long enough for the cost of a launch to vanish.
#include <stdlib.h>
#include <time.h>

#include "cl/runtime/runtime.h"

enum { SAMPLES = 7, FMAS_A_ROUND = 12 * 8 };
static const double launch_seconds = 0.03;  // per launch; watchdogs kill launches of several seconds

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// A slow device gets fewer samples.
struct samples {
  double elapsed[SAMPLES], sum;
  int count;
};

static bool enough(const struct samples *samples) {
  return samples->count == SAMPLES || (samples->count >= 3 && samples->sum > 0.5);
}

static void add(struct samples *samples, double elapsed) {
  samples->elapsed[samples->count++] = elapsed;
  samples->sum += elapsed;
}

static double median(struct samples *samples) {
  qsort(samples->elapsed, (size_t)samples->count, sizeof samples->elapsed[0], ascending);
  return samples->elapsed[samples->count / 2];
}

// Floats of a vector: GPUs that do several multiply-adds in one instruction take them from neighbours in a vector.
static int width_of(const struct heed__cl_traits *traits) { return traits->cpu_like ? traits->vector_width : 4; }

static void begin(struct heed__cl_kernel *k, heed_context *ctx, const char *kernel) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  heed__cl_begin(k, ctx, "peak.cl", kernel);
  heed__cl_define_int(k, "WIDTH", width_of(traits));
  heed__cl_define_int(k, "REQD", traits->cpu_like);
}

// Work-items of a group.
static size_t group_of(const struct heed__cl_traits *traits) {
  return traits->cpu_like ? 1 : traits->max_work_group < 256 ? traits->max_work_group : 256;
}

// At least `items` work-items, in whole groups.
static heed_status launch(struct heed__cl_kernel *k, size_t items) {
  const size_t group = group_of(&heed__cl_state(k->ctx)->traits), whole = (items + group - 1) / group * group;
  return heed__cl_launch(k, 1, &whole, &group);
}

// ---------------------------------------------------------------- multiply-adds

struct fma {
  heed_context *ctx;
  cl_mem out;
  size_t items;
};

static heed_status time_fma(const struct fma *fma, int64_t rounds, double *elapsed) {
  struct heed__cl_kernel k;
  begin(&k, fma->ctx, "peak_fma");
  heed__cl_buffer(&k, fma->out);
  heed__cl_long(&k, rounds);
  // See STEP in peak.cl.
  heed__cl_float(&k, heed__cl_state(fma->ctx)->traits.cpu_like ? 0.999 : 1e-20);
  heed__cl_float(&k, 0.001);
  const double start = seconds();
  HEED__TRY(launch(&k, fma->items));
  HEED__TRY(heed__cl_sync(fma->ctx));
  *elapsed = seconds() - start;
  return HEED_OK;
}

// Finds the number of rounds that fill launch_seconds: doubles it until the time is long enough to measure.
static heed_status fit_rounds(const struct fma *fma, int64_t *rounds) {
  double elapsed = 0;
  *rounds = 16;
  HEED__TRY(time_fma(fma, *rounds, &elapsed));  // builds it
  for (;;) {
    HEED__TRY(time_fma(fma, *rounds, &elapsed));
    if (elapsed > launch_seconds / 8 || *rounds >= INT32_MAX / 2) break;
    *rounds *= 2;
  }
  const double scaled = (double)*rounds * launch_seconds / elapsed;
  *rounds = scaled < 1 ? 1 : scaled > INT32_MAX ? INT32_MAX : (int64_t)scaled;
  return HEED_OK;
}

static heed_status measure_fma(heed_context *ctx, double *gflops) {
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  // On a CPU, a few work-items per core even out differences between cores; a GPU needs thousands per unit to hide latency.
  const size_t wanted = (size_t)traits->compute_units * (traits->cpu_like ? 4 : 2048), group = group_of(traits);
  struct fma fma = {ctx, NULL, (wanted + group - 1) / group * group};
  HEED__TRY(heed__cl_scratch_take(ctx, fma.items * sizeof(float), &fma.out));
  int64_t rounds = 0;
  struct samples samples = {0};
  heed_status status = fit_rounds(&fma, &rounds);
  while (status == HEED_OK && !enough(&samples)) {
    double elapsed = 0;
    status = time_fma(&fma, rounds, &elapsed);
    add(&samples, elapsed);
  }
  heed__cl_scratch_give(ctx, fma.out);
  HEED__TRY(status);
  const double flops = 2.0 * FMAS_A_ROUND * width_of(traits) * (double)rounds * (double)fma.items;
  *gflops = 1e-9 * flops / median(&samples);
  return HEED_OK;
}

// ---------------------------------------------------------------- copy

struct copy {
  heed_context *ctx;
  cl_mem x, y;
  int64_t count, chunk;  // vectors in all, and per work-item
  size_t items;
};

static heed_status time_copy(const struct copy *copy, int64_t repeats, double *elapsed) {
  const double start = seconds();
  for (int64_t i = 0; i < repeats; ++i) {
    struct heed__cl_kernel k;
    begin(&k, copy->ctx, "peak_copy");
    heed__cl_buffer(&k, copy->x);
    heed__cl_buffer(&k, copy->y);
    heed__cl_long(&k, copy->count);
    heed__cl_long(&k, copy->chunk);
    HEED__TRY(launch(&k, copy->items));
  }
  HEED__TRY(heed__cl_sync(copy->ctx));
  *elapsed = seconds() - start;
  return HEED_OK;
}

// Memory that was never written may have no physical pages, and then reads come from the cache.
static heed_status touch(heed_context *ctx, cl_mem buffer, size_t bytes) {
  const cl_uint pattern = 0x3f800000;
  const cl_int error =
      clEnqueueFillBuffer(heed__cl_state(ctx)->queue, buffer, &pattern, sizeof pattern, 0, bytes, 0, NULL, NULL);
  return error == CL_SUCCESS ? HEED_OK : heed__cl_fail(ctx, error, "measure_peak: filling a buffer");
}

static void shape_copy(struct copy *copy) {
  const struct heed__cl_traits *traits = &heed__cl_state(copy->ctx)->traits;
  const int64_t wanted = (int64_t)traits->compute_units * (traits->cpu_like ? 16 : 2048);
  copy->chunk = heed__max(heed__ceil_div(copy->count, wanted), 1);
  copy->items = (size_t)heed__ceil_div(copy->count, copy->chunk);
}

static heed_status time_samples(const struct copy *copy, struct samples *samples, int64_t *repeats) {
  double elapsed = 0;
  HEED__TRY(time_copy(copy, 1, &elapsed));  // builds it
  for (*repeats = 1;; *repeats *= 2) {
    HEED__TRY(time_copy(copy, *repeats, &elapsed));
    if (elapsed > launch_seconds / 2 || *repeats > 1 << 16) break;
  }
  while (!enough(samples)) {
    HEED__TRY(time_copy(copy, *repeats, &elapsed));
    add(samples, elapsed);
  }
  return HEED_OK;
}

static heed_status measure_copy(heed_context *ctx, size_t bytes, double *gbytes) {
  const size_t vector = sizeof(float) * (size_t)width_of(&heed__cl_state(ctx)->traits);
  struct copy copy = {.ctx = ctx, .count = (int64_t)(bytes / vector)};
  if (copy.count == 0) copy.count = 1;
  bytes = (size_t)copy.count * vector;
  shape_copy(&copy);
  struct samples samples = {0};
  int64_t repeats = 1;
  heed_status status = heed__cl_scratch_take(ctx, bytes, &copy.x);
  if (status == HEED_OK) status = heed__cl_scratch_take(ctx, bytes, &copy.y);
  if (status == HEED_OK) status = touch(ctx, copy.x, bytes);
  if (status == HEED_OK) status = touch(ctx, copy.y, bytes);
  if (status == HEED_OK) status = time_samples(&copy, &samples, &repeats);
  heed__cl_scratch_give(ctx, copy.x);
  heed__cl_scratch_give(ctx, copy.y);
  HEED__TRY(status);
  *gbytes = 1e-9 * 2.0 * (double)bytes * (double)repeats / median(&samples);
  return HEED_OK;
}

heed_status heed__cl_measure_peak(heed_context *ctx, size_t bytes, double *fma_gflops, double *copy_gbytes) {
  HEED__TRY(measure_fma(ctx, fma_gflops));
  return measure_copy(ctx, bytes, copy_gbytes);
}
