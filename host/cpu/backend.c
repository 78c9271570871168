// The host as a device: its backend table, memory, description and measured peak. Operators are one file each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "cpu/rows.h"

// ---------------------------------------------------------------- memory

// This header precedes each buffer's first byte. Windows has no aligned_alloc() whose memory free() takes.
enum { ALIGNMENT = 64 };
struct header {
  void *block;
  size_t bytes;
};
_Static_assert(sizeof(struct header) <= ALIGNMENT, "the header fits before the data");

// A buffer below this is not worth reading files of the kernel for.
#define LARGE ((size_t)32 << 20)

struct host_state {
  uint64_t memory;
};

static heed_status buffer_create(heed_context *ctx, size_t bytes, void **handle) {
  struct host_state *state = ctx->state;
  char wanted[32], used[32], memory[32];
  *handle = NULL;
  const bool fits = bytes <= state->memory && ctx->allocated <= state->memory - bytes;
  HEED__REQUIRE(fits, HEED_ERROR_OUT_OF_MEMORY, "a buffer of %s does not fit: this context holds %s of the host's %s",
                heed__bytes_text(bytes, wanted), heed__bytes_text(ctx->allocated, used),
                heed__bytes_text(state->memory, memory));
  const uint64_t available = bytes < LARGE ? bytes : heed__memory_read("").available;
  HEED__REQUIRE(bytes <= available, HEED_ERROR_OUT_OF_MEMORY,
                "a buffer of %s does not fit: this machine has %s left; this context holds %s",
                heed__bytes_text(bytes, wanted), heed__bytes_text(available, memory),
                heed__bytes_text(ctx->allocated, used));
  char *block = bytes <= SIZE_MAX - 2 * ALIGNMENT ? malloc(bytes + 2 * ALIGNMENT) : NULL;
  HEED__REQUIRE(block != NULL, HEED_ERROR_OUT_OF_MEMORY,
                "the system gives no buffer of %s; this context holds %s of the host's %s",
                heed__bytes_text(bytes, wanted), heed__bytes_text(ctx->allocated, used),
                heed__bytes_text(state->memory, memory));
  char *data = block + 2 * ALIGNMENT - (uintptr_t)block % ALIGNMENT;
  struct header *header = (struct header *)(void *)(data - ALIGNMENT);
  *header = (struct header){.block = block, .bytes = bytes};
  heed__context_took(ctx, bytes);
  *handle = data;
  return HEED_OK;
}

static void buffer_destroy(heed_context *ctx, void *handle) {
  if (!handle) return;
  struct header *header = (struct header *)(void *)((char *)handle - ALIGNMENT);
  heed__context_gave(ctx, header->bytes);
  free(header->block);
}

static heed_status upload(heed_context *ctx, void *handle, size_t offset, const void *data, size_t bytes) {
  (void)ctx;
  memcpy((char *)handle + offset, data, bytes);
  return HEED_OK;
}

static heed_status download(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes) {
  (void)ctx;
  memcpy(data, (const char *)handle + offset, bytes);
  return HEED_OK;
}

static heed_status read_start(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes, bool beside,
                              void **transfer) {
  (void)beside;
  *transfer = NULL;
  return download(ctx, handle, offset, data, bytes);
}

static heed_status read_end(heed_context *ctx, void *transfer, bool wait, bool *done) {
  (void)ctx;
  (void)transfer;  // every transfer has already ended
  (void)wait;
  *done = true;
  return HEED_OK;
}

static heed_status host_memory_create(heed_context *ctx, size_t bytes, void **data, void **handle) {
  (void)ctx;
  *handle = NULL;
  *data = malloc(bytes);
  return *data ? HEED_OK : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "host memory: no %zu bytes", bytes);
}

static void host_memory_destroy(heed_context *ctx, void *data, void *handle) {
  (void)ctx;
  (void)handle;
  free(data);
}

// ---------------------------------------------------------------- the table

static heed_status sync_host(heed_context *ctx) {
  (void)ctx;  // operators are done when they return
  return HEED_OK;
}

static heed_status profile(heed_context *ctx, const heed_profile_record **records, size_t *count) {
  (void)ctx;  // there are no launches
  *records = NULL;
  *count = 0;
  return HEED_OK;
}

static void destroy(heed_context *ctx) {
  free(ctx->state);
  ctx->state = NULL;
}

// ---------------------------------------------------------------- peak

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// The inner loop of every product in this backend, on rows that stay in the first-level cache.
enum { PEAK_TERMS = 16, PEAK_COLUMNS = 64, PEAK_REPEATS = 2000 };
static double peak_work(double seed) {
  double a[PEAK_TERMS], x[PEAK_TERMS][PEAK_COLUMNS], y[PEAK_COLUMNS], sum = 0;
  for (int k = 0; k < PEAK_TERMS; ++k) {
    a[k] = seed * (k % 2 ? 1 : -1);
    for (int j = 0; j < PEAK_COLUMNS; ++j) x[k][j] = seed + 0.001 * j;
  }
  memset(y, 0, sizeof y);
  for (int repeat = 0; repeat < PEAK_REPEATS; ++repeat)
    heed__cpu_accumulate(PEAK_COLUMNS, PEAK_TERMS, a, x[0], PEAK_COLUMNS, y);
  for (int j = 0; j < PEAK_COLUMNS; ++j) sum += y[j];
  return sum;
}

static heed_status measure_fma(double seconds, double *gflops) {
  const int threads = heed__cpu_threads();
  double *sums, elapsed = 0, best = 0;
  HEED__TRY(heed__cpu_scratch(threads, 1, 1, &sums));
  for (const double start = seconds_now(); seconds_now() - start < seconds;) {
    const double begin = seconds_now();
    HEED__CPU_PARALLEL_FOR(HEED__CPU_PARALLEL_MIN + 1)
    for (int t = 0; t < threads; ++t) sums[t] = peak_work(1e-3 * (t + 1));
    elapsed = seconds_now() - begin;
    const double rate = 2.0 * PEAK_TERMS * PEAK_COLUMNS * PEAK_REPEATS * threads / elapsed;
    if (rate > best) best = rate;
  }
  volatile double keep = sums[0];  // uses the sums, so that the compiler cannot drop the loop above
  (void)keep;
  free(sums);
  *gflops = best * 1e-9;
  return HEED_OK;
}

static heed_status measure_copy(double seconds, size_t bytes, double *gbytes) {
  enum { PIECE = 1 << 20 };
  char *from = malloc(bytes), *to = malloc(bytes);
  double best = 0;
  if (from && to) {
    memset(from, 1, bytes);
    memset(to, 2, bytes);
    const int64_t pieces = heed__ceil_div((int64_t)bytes, PIECE);
    for (const double start = seconds_now(); seconds_now() - start < seconds;) {
      const double begin = seconds_now();
      HEED__CPU_PARALLEL_FOR(bytes)
      for (int64_t piece = 0; piece < pieces; ++piece) {
        const size_t offset = (size_t)piece * PIECE, left = bytes - offset;
        memcpy(to + offset, from + offset, left < PIECE ? left : PIECE);
      }
      const double rate = 2.0 * (double)bytes / (seconds_now() - begin);
      if (rate > best) best = rate;
    }
  }
  const bool had_memory = from && to;
  free(from);
  free(to);
  char text[32];
  HEED__REQUIRE(had_memory, HEED_ERROR_OUT_OF_MEMORY, "the host cannot allocate twice %s to measure its copy rate",
                heed__bytes_text(bytes, text));
  *gbytes = best * 1e-9;
  return HEED_OK;
}

static heed_status measure_peak(heed_context *ctx, size_t bytes, double *fma_gflops, double *copy_gbytes) {
  (void)ctx;
  HEED__TRY(measure_fma(0.4, fma_gflops));
  return measure_copy(0.4, bytes > 0 ? bytes : 1, copy_gbytes);
}

// ---------------------------------------------------------------- description and opening

// Reads the value of a "key : value" line of /proc/cpuinfo; if there is none, text stays unchanged.
static void cpuinfo_value(const char *key, char *text, size_t size) {
  FILE *file = fopen("/proc/cpuinfo", "r");
  if (!file) return;
  char line[512];
  while (fgets(line, sizeof line, file)) {
    const char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
    colon += 1 + strspn(colon + 1, " \t");
    snprintf(text, size, "%.*s", (int)strcspn(colon, "\n"), colon);
    break;
  }
  fclose(file);
}

void heed__cpu_device_info(heed_device_info *info) {
  char model[128];
  const char *windows = getenv("PROCESSOR_IDENTIFIER");
  snprintf(model, sizeof model, "%s", windows && *windows ? windows : "unknown processor");
  memset(info, 0, sizeof *info);
  cpuinfo_value("model name", model, sizeof model);
  info->platform_index = info->device_index = -1;
  info->type = HEED_DEVICE_HOST;
  snprintf(info->name, sizeof info->name, "host: %s", model);
  cpuinfo_value("vendor_id", info->vendor, sizeof info->vendor);
  snprintf(info->platform, sizeof info->platform, "host");
  snprintf(info->platform_version, sizeof info->platform_version, "heed %s", HEED_VERSION_STRING);
  snprintf(info->driver, sizeof info->driver, "heed %s", HEED_VERSION_STRING);
  snprintf(info->version, sizeof info->version, "no OpenCL");
  snprintf(info->id, sizeof info->id, "host");
  info->memory = info->max_allocation = heed__memory_read("").total;
  const long processors = sysconf(_SC_NPROCESSORS_ONLN);
  info->compute_units = processors > 0 ? (uint32_t)processors : 1;
  info->has_compiler = true;  // it needs none
}

heed_status heed__cpu_open(heed_context *ctx, int parts) {
  struct host_state *state = calloc(1, sizeof *state);
  HEED__REQUIRE(state != NULL, HEED_ERROR_OUT_OF_MEMORY, "no memory for the host backend");
  heed__cpu_device_info(&ctx->device);
  if (parts > 1) {
    ctx->device.memory /= (uint64_t)parts;
    ctx->device.max_allocation = ctx->device.memory;
    heed__cpu_take_part(parts);
  }
  state->memory = ctx->device.memory;
  ctx->state = state;
  ctx->backend = ctx->device_backend = &heed__cpu_backend;
  return HEED_OK;
}

const struct heed__backend heed__cpu_backend = {
    .name = "host",
    .destroy = destroy,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .upload = upload,
    .download = download,
    .read_start = read_start,
    .read_end = read_end,
    .host_memory_create = host_memory_create,
    .host_memory_destroy = host_memory_destroy,
    .sync = sync_host,
    .profile = profile,
    .measure_peak = measure_peak,
    .ops =
        {
#define HEED__CPU_ENTRY(name, ...) [HEED__OP_##name] = heed__cpu_##name,
            HEED__OPERATORS(HEED__CPU_ENTRY)
#undef HEED__CPU_ENTRY
        },
    .terms =
        {
#define HEED__OWN_TERMS(name) [HEED__OP_##name] = heed__cpu_terms_##name,
#define HEED__CPU_TERMS(name, tolerance, in, out, ...) HEED__IF_OWN_TERMS(name, ##__VA_ARGS__)
            HEED__OPERATORS(HEED__CPU_TERMS)
#undef HEED__CPU_TERMS
#undef HEED__OWN_TERMS
        },
};
