// The table of drivers, and functions that adapt them to it. No other file names a backend.
#include "api/drivers.h"

#include <stdlib.h>
#include <string.h>

#include "api/config.h"
#include "cl/backend.h"
#include "cpu/cpu.h"

// ---------------------------------------------------------------- OpenCL

enum { PATH_ROOM = 4096 };

static heed_status opencl_check(const heed_open_options *options) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  return heed__config_opencl(options, &config, path, sizeof path);
}

static heed_status opencl_discover(struct heed__findings *out) {
  struct heed__cl_found *devices = NULL;
  HEED__TRY(heed__cl_discover(&devices, &out->count, &out->platforms, &out->platform_count));
  out->found = calloc(out->count + 1, sizeof *out->found);
  for (size_t i = 0; out->found && i < out->count; ++i) {
    out->found[i].info = devices[i].info;
    out->found[i].handle = devices[i].device;
  }
  free(devices);
  if (out->found) return HEED_OK;
  free(out->platforms);
  return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
}

static heed_status opencl_open(heed_context *ctx, void *handle, const heed_open_options *options) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  HEED__TRY(heed__config_opencl(options, &config, path, sizeof path));
  return heed__cl_backend_open(ctx, handle, &config);
}

static heed_status opencl_open_given(heed_context *ctx, cl_context context, cl_device_id device, cl_command_queue queue,
                                     const heed_open_options *options) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  HEED__TRY(heed__config_opencl(options, &config, path, sizeof path));
  return heed__cl_backend_open_with(ctx, context, device, queue, &config);
}

static char *opencl_key(const heed_open_options *options, const heed_device_info *device, char *folder, size_t size) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  if (heed__config_opencl(options, &config, path, sizeof path) != HEED_OK) return NULL;
  const char *cache = config.runtime.cache_dir;
  if (!cache || strlen(cache) >= size) return NULL;
  memcpy(folder, cache, strlen(cache) + 1);
  return heed__cl_device_key(device, config.runtime.kernel_dir);
}

static bool opencl_build_may_work_later(const heed_context *ctx) { return heed__cl_state(ctx)->build_may_work_later; }

// PoCL takes a second to load its library of built-in functions for the first context of a process, and unloads it with the last.
static void *opencl_keep(heed_context *ctx) {
  cl_context context = heed__cl_state(ctx)->context;
  return clRetainContext(context) == CL_SUCCESS ? context : NULL;
}
static void opencl_let_go(void *kept) { clReleaseContext(kept); }

static void opencl_handles(const heed_context *ctx, cl_context *context, cl_device_id *device,
                           cl_command_queue *queue) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  if (context) *context = cl->context;
  if (device) *device = cl->device;
  if (queue) *queue = cl->queue;
}

static const struct heed__driver_verdicts opencl_verdicts = {
    .key = opencl_key,
    .load = heed__cl_cache_load,
    .store = heed__cl_cache_store,
    .build_may_work_later = opencl_build_may_work_later,
    .keep = opencl_keep,
    .let_go = opencl_let_go,
};
static const struct heed__driver_tuning opencl_tuning = {
    .open = heed__cl_backend_tune,
    .get = heed__cl_tuning_get,
    .set = heed__cl_tuning_enter,
    .force = heed__cl_tuning_force,
    .neighbours = heed__cl_tuning_neighbours,
    .path = heed__cl_tuning_path,
    .load = heed__cl_tuning_load,
    .save = heed__cl_tuning_write,
    .json = heed__cl_tuning_json,
};
static const struct heed__driver_handles opencl_given = {
    .open = opencl_open_given,
    .get = opencl_handles,
    .measure = heed__cl_buffer_measure,
    .adopt = heed__cl_buffer_adopt,
};

// ---------------------------------------------------------------- host

static heed_status host_discover(struct heed__findings *out) {
  out->found = calloc(1, sizeof *out->found);
  HEED__REQUIRE(out->found, HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  out->count = 1;
  heed__cpu_device_info(&out->found->info);
  return HEED_OK;
}

static heed_status host_open(heed_context *ctx, void *handle, const heed_open_options *options) {
  (void)handle;
  (void)options;
  return heed__cpu_open(ctx);
}

heed_status heed__driver_open_reference(heed_context *ctx) { return heed__cpu_open(ctx); }
bool heed__driver_is_reference(const heed_context *ctx) { return ctx->device_backend == &heed__cpu_backend; }

heed_status heed__driver_create_reference(heed_context **out) {
  HEED__TRY(heed__context_create(out));
  const heed_status status = heed__cpu_open(*out);
  if (status == HEED_OK) return HEED_OK;
  heed_context_destroy(*out);
  *out = NULL;
  return status;
}

// ---------------------------------------------------------------- the table

const struct heed__driver heed__drivers[] = {
    {"opencl", &heed__cl_backend, opencl_check, opencl_discover, opencl_open, &opencl_verdicts, &opencl_tuning,
     &opencl_given},
    {"host", &heed__cpu_backend, NULL, host_discover, host_open, NULL, NULL, NULL},
    {0},
};

const struct heed__driver *heed__driver_of(const heed_context *ctx) {
  const struct heed__driver *driver = heed__drivers;
  while (driver->name && driver->backend != ctx->device_backend) ++driver;
  return driver;
}

const struct heed__driver *heed__driver_with_handles(void) {
  const struct heed__driver *driver = heed__drivers;
  while (driver->name && !driver->handles) ++driver;
  return driver;
}
