// The OpenCL backend as a driver. Builds without OpenCL leave this file and interop.c out.
#include "api/opencl.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/config.h"
#include "cl/backend.h"

enum { PATH_ROOM = 4096 };

static heed_status parse_gemm(const char *text, enum heed__cl_gemm_provider *out) {
  *out = HEED__GEMM_AUTO;
  if (!text || strcasecmp(text, "auto") == 0) return HEED_OK;
  *out = strcasecmp(text, "native") == 0 ? HEED__GEMM_NATIVE : HEED__GEMM_CLBLAST;
  HEED__REQUIRE(*out == HEED__GEMM_NATIVE || strcasecmp(text, "clblast") == 0, HEED_ERROR_INVALID_ARGUMENT,
                "open: gemm provider '%s' (HEED_GEMM) is none of auto, native, clblast", text);
  return HEED_OK;
}

static heed_status read_bf16_dots(const heed_open_options *options, enum heed__cl_gemm_bf16_dots *out) {
  bool on;
  HEED__TRY(heed__config_switch(options->bf16_dots, "HEED_BF16_DOTS", false, &on));
  const bool asked = options->bf16_dots != 0 || heed__config_text(NULL, "HEED_BF16_DOTS");
  *out = !asked ? HEED__GEMM_DOTS_AUTO : on ? HEED__GEMM_DOTS_ON : HEED__GEMM_DOTS_OFF;
  return HEED_OK;
}

// The choices of an open that OpenCL needs; path, of `size` bytes, stores the text that config points to.
static heed_status read_choices(const heed_open_options *options, struct heed__cl_backend_config *config, char *path,
                                size_t size) {
  *config = (struct heed__cl_backend_config){
      .runtime = {.profiling = options->profile > 0,
                  .load_only = options->store_programs < 0,
                  .parts = options->parts,
                  .part = options->part,
                  .kernel_dir = heed__config_text(options->kernel_dir, "HEED_KERNELS")}};
  HEED__TRY(parse_gemm(heed__config_text(options->gemm, "HEED_GEMM"), &config->gemm.provider));
  bool probe;
  HEED__TRY(heed__config_switch(options->gemm_probe, "HEED_GEMM_PROBE", true, &probe));
  config->gemm.probe_off = !probe;
  HEED__TRY(read_bf16_dots(options, &config->gemm.bf16_dots));
  HEED__TRY(heed__config_switch(options->tf32, "HEED_TF32", false, &config->runtime.tf32));
  config->runtime.cache_dir = heed__config_cache(options->cache_dir, path, size);
  return HEED_OK;
}

// The same, with the folders that the caller named checked.
static heed_status read_config(const heed_open_options *options, struct heed__cl_backend_config *config, char *path,
                               size_t size) {
  HEED__TRY(read_choices(options, config, path, size));
  const char *cache = config->runtime.cache_dir, *kernels = config->runtime.kernel_dir;
  if (cache && cache != path) HEED__TRY(heed__cl_backend_check_cache(cache));
  return kernels ? heed__cl_backend_check_kernels(kernels) : HEED_OK;
}

heed_status heed__opencl_check(const heed_open_options *options) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  return read_config(options, &config, path, sizeof path);
}

heed_status heed__opencl_discover(struct heed__findings *out) {
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

heed_status heed__opencl_open(heed_context *ctx, void *handle, const heed_open_options *options) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  HEED__TRY(read_config(options, &config, path, sizeof path));
  return heed__cl_backend_open(ctx, handle, &config);
}

static heed_status open_given(heed_context *ctx, cl_context context, cl_device_id device, cl_command_queue queue,
                              const heed_open_options *options) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  HEED__TRY(read_config(options, &config, path, sizeof path));
  return heed__cl_backend_open_with(ctx, context, device, queue, &config);
}

static char *opencl_key(const heed_open_options *options, const heed_device_info *device, char *folder, size_t size) {
  struct heed__cl_backend_config config;
  char path[PATH_ROOM];
  if (read_config(options, &config, path, sizeof path) != HEED_OK) return NULL;
  const char *cache = config.runtime.cache_dir;
  if (!cache || strlen(cache) >= size) return NULL;
  memcpy(folder, cache, strlen(cache) + 1);
  return heed__cl_device_key(device, config.runtime.kernel_dir);
}

static const char *opencl_folder(const heed_context *ctx) { return heed__cl_state(ctx)->cache_dir; }
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

const struct heed__driver_verdicts heed__opencl_verdicts = {
    .key = opencl_key,
    .load = heed__cl_cache_load,
    .store = heed__cl_cache_store,
    .build_may_work_later = opencl_build_may_work_later,
    .folder = opencl_folder,
    .keep = opencl_keep,
    .let_go = opencl_let_go,
};
const struct heed__driver_tuning heed__opencl_tuning = {
    .open = heed__cl_backend_tune,
    .get = heed__cl_tuning_get,
    .set = heed__cl_tuning_enter,
    .force = heed__cl_tuning_force,
    .neighbours = heed__cl_tuning_neighbours,
    .path = heed__cl_tuning_path,
    .load = heed__cl_tuning_load,
    .save = heed__cl_tuning_write,
    .json = heed__cl_tuning_json,
    .verdicts = heed__cl_backend_verdicts,
};
const struct heed__driver_handles heed__opencl_handles = {
    .open = open_given,
    .get = opencl_handles,
    .measure = heed__cl_buffer_measure,
    .adopt = heed__cl_buffer_adopt,
};
