// Writes the programs that heed builds on GPUs, for tools/dev/check-gpus to give them to the vendors' compilers: runs products and
// attention on a context that takes its device for a GPU. Programs are written instead of built, and launches do nothing.
// Usage: gpu_programs FOLDER     leaves FOLDER/GPU/NUMBER.cl and NUMBER.options
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/bench.h"
#include "cl/runtime/runtime.h"

// ---------------------------------------------------------------- in the place of the loader's

static const char *folder;
static int written;

static void write_text(const char *end, const char *text, size_t length) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%03d.%s", folder, written, end);
  FILE *file = fopen(path, "w");
  if (!file || fwrite(text, 1, length, file) != length || fclose(file) != 0) {
    perror(path);
    exit(1);
  }
}

// A program is its text, and a kernel is nothing.
cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts, const size_t *lengths,
                                     cl_int *error) {
  (void)context, (void)count;
  char *text = malloc(lengths[0] + 1);
  *error = text ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;
  if (!text) return NULL;
  memcpy(text, texts[0], lengths[0]);
  text[lengths[0]] = 0;
  return (cl_program)(void *)text;
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void(CL_CALLBACK *notify)(cl_program, void *), void *data) {
  (void)count, (void)devices, (void)notify, (void)data;
  const char *text = (const char *)program;
  write_text("cl", text, strlen(text));
  write_text("options", options, strlen(options));
  ++written;
  return CL_SUCCESS;
}

cl_int clReleaseProgram(cl_program program) {
  free(program);
  return CL_SUCCESS;
}

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *error) {
  static char kernel;
  (void)program, (void)name;
  *error = CL_SUCCESS;
  return (cl_kernel)(void *)&kernel;
}

cl_int clReleaseKernel(cl_kernel kernel) { return (void)kernel, CL_SUCCESS; }

cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info what, size_t size,
                                void *value, size_t *size_ret) {
  (void)kernel, (void)device, (void)what, (void)size_ret;
  if (size == sizeof(size_t)) *(size_t *)value = 1024;
  return CL_SUCCESS;
}

cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value) {
  (void)kernel, (void)index, (void)size, (void)value;
  return CL_SUCCESS;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint waits, const cl_event *list,
                              cl_event *event) {
  (void)kernel, (void)dims, (void)offset, (void)global, (void)local, (void)waits, (void)list;
  return event ? clEnqueueMarkerWithWaitList(queue, 0, NULL, event) : CL_SUCCESS;
}

// ---------------------------------------------------------------- what runs

static const struct gpu {
  const char *name;
  uint64_t local_memory;
  size_t max_work_group;
  int scores_an_item, sums_an_item, floats_an_item, subgroup;
  bool tensor_cores, tf32;
} gpus[] = {
    {"nvidia", 48 << 10, 1024, 32, 64, 128, 0, false, false},
    {"nvidia-tensor", 48 << 10, 1024, 32, 64, 128, 0, true, false},
    {"nvidia-tf32", 48 << 10, 1024, 32, 64, 128, 0, true, true},
    {"amd", 64 << 10, 256, 32, 64, 128, 0, false, false},
    {"intel", 64 << 10, 256, 16, 32, 56, 0, false, false},
    {"intel-max", 128 << 10, 1024, 16, 32, 56, 16, false, false},
};

static void pose(heed_context *ctx, const struct gpu *gpu) {
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  ctx->device.type = HEED_DEVICE_GPU;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->max_work_group = gpu->max_work_group;
  traits->local_memory = gpu->local_memory;
  traits->compute_units = 32;
  traits->shuffle = HEED__SHUFFLE_NONE;
  traits->short_loops = false;
  traits->scores_an_item = gpu->scores_an_item;
  traits->sums_an_item = gpu->sums_an_item;
  traits->floats_an_item = gpu->floats_an_item;
  traits->subgroup = gpu->subgroup;
  traits->nvidia = traits->tensor_cores = gpu->tensor_cores;
}

static const struct {
  const char *op;
  bench_settings settings;
} works[] = {
    {"gemm", {.m = 1024, .n = 1024, .k = 512}},
    {"gemm", {.m = 1024, .n = 1024, .k = 512, .dtype = 1}},
    {"gemm", {.m = 64, .n = 512, .k = 784}},
    {"attention", {.dim = 64}},
    {"attention", {.dim = 80}},
    {"attention", {.dim = 128}},
    {"attention", {.dim = 64, .dtype = 1}},
    {"attention", {.dim = 128, .dtype = 1}},
    {"attention", {.dim = 128, .dtype = 2}},
    {"attention", {.seq = 1, .kv_seq = 2048, .kv_heads = 2, .dim = 128}},
};

static heed_status run_work(heed_context *ctx, const heed_case *c) {
  heed_case whole = *c;
  whole.phase = CASE_BOTH;
  case_env env = {.ctx = ctx, .of = &whole, .seed = 1, .timing = true};
  heed_status status = whole.family->setup(&env, &whole);
  if (status == HEED_OK) status = whole.family->run(&env, &whole);
  if (status == HEED_OK) status = heed_sync(ctx);
  case_free(&env);
  return status;
}

static heed_status run_gpu(const struct gpu *gpu) {
  const heed_open_options options = {.cache_dir = "off",
                                     .self_test = -1,
                                     .gemm = "native",
                                     .gemm_probe = -1,
                                     .tf32 = gpu->tf32 ? 1 : -1,
                                     .validate = -1};
  heed_context *ctx;
  TRY(heed_open_with(&options, &ctx));
  heed_status status = HEED_OK;
  if (heed_context_device(ctx)->type == HEED_DEVICE_HOST) {
    heed_context_destroy(ctx);
    fputs("gpu_programs: there is no OpenCL device\n", stderr);
    exit(77);
  }
  const heed_device_type own = ctx->device.type;
  pose(ctx, gpu);
  for (size_t i = 0; status == HEED_OK && i < sizeof works / sizeof *works; ++i) {
    bench_settings settings = works[i].settings;
    heed_case cases[BENCH_MAX_CASES];
    size_t count = 0;
    if (bench_select(works[i].op, &settings, cases, &count)) abort();
    status = run_work(ctx, &cases[0]);
  }
  ctx->device.type = own;
  heed_context_destroy(ctx);
  return status;
}

int main(int argc, char **argv) {
  if (argc != 2) return fputs("usage: gpu_programs FOLDER\n", stderr), 2;
  for (size_t i = 0; i < sizeof gpus / sizeof *gpus; ++i) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argv[1], gpus[i].name);
    if (mkdir(path, 0777) != 0) return perror(path), 1;
    folder = path;
    written = 0;
    if (run_gpu(&gpus[i]) != HEED_OK) return fprintf(stderr, "gpu_programs: %s\n", heed_last_error()), 1;
  }
  return 0;
}
