// Writes the programs that heed builds on GPUs, for tools/dev/check-gpus to give them to the vendors' compilers: runs products and
// attention on a context that takes its device for a GPU. Programs are written instead of built, and launches do nothing.
// Usage: gpu_programs FOLDER [GPU]     leaves FOLDER/GPU/NUMBER.cl, NUMBER.options and, of each kernel's first launch, NUMBER.KERNEL.launch
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <heed/tune.h>

#include "bench/bench.h"
#include "cl/runtime/runtime.h"

// ---------------------------------------------------------------- in the place of the loader's

static const char *folder;
static int written;

struct program {
  char *text;
  int number;  // of its files
};
#define MOST_ARGUMENTS 64
struct kernel {
  int number;
  bool is_launched;
  char name[64];
  struct argument {
    size_t size;
    unsigned char value[1024];
  } arguments[MOST_ARGUMENTS];
  cl_uint count;
};

static FILE *begin_file(int number, const char *end) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%03d.%s", folder, number, end);
  FILE *file = fopen(path, "w");
  if (file) return file;
  perror(path);
  exit(1);
}

static void end_file(FILE *file) {
  if (!ferror(file) && fclose(file) == 0) return;
  perror("gpu_programs");
  exit(1);
}

static void write_text(int number, const char *end, const char *text) {
  FILE *file = begin_file(number, end);
  fputs(text, file);
  end_file(file);
}

static void *fresh(size_t size) {
  void *memory = calloc(1, size);
  if (!memory) abort();
  return memory;
}

// A program is its text, and a kernel its arguments.
cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts, const size_t *lengths,
                                     cl_int *error) {
  (void)context, (void)count;
  struct program *program = fresh(sizeof *program);
  program->text = fresh(lengths[0] + 1);
  memcpy(program->text, texts[0], lengths[0]);
  *error = CL_SUCCESS;
  return (cl_program)(void *)program;
}

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void(CL_CALLBACK *notify)(cl_program, void *), void *data) {
  (void)count, (void)devices, (void)notify, (void)data;
  struct program *p = (struct program *)(void *)program;
  p->number = written++;
  write_text(p->number, "cl", p->text);
  write_text(p->number, "options", options);
  return CL_SUCCESS;
}

cl_int clReleaseProgram(cl_program program) {
  free(((struct program *)(void *)program)->text);
  free(program);
  return CL_SUCCESS;
}

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *error) {
  struct kernel *kernel = fresh(sizeof *kernel);
  kernel->number = ((struct program *)(void *)program)->number;
  snprintf(kernel->name, sizeof kernel->name, "%s", name);
  *error = CL_SUCCESS;
  return (cl_kernel)(void *)kernel;
}

cl_int clReleaseKernel(cl_kernel kernel) {
  free(kernel);
  return CL_SUCCESS;
}

cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info what, size_t size,
                                void *value, size_t *size_ret) {
  (void)kernel, (void)device, (void)what, (void)size_ret;
  if (size == sizeof(size_t)) *(size_t *)value = 1024;
  return CL_SUCCESS;
}

cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value) {
  struct kernel *k = (struct kernel *)(void *)kernel;
  if (index >= MOST_ARGUMENTS || size > sizeof k->arguments[index].value || !value) abort();
  k->arguments[index].size = size;
  memcpy(k->arguments[index].value, value, size);
  if (k->count <= index) k->count = index + 1;
  return CL_SUCCESS;
}

// NUMBER.KERNEL.launch: work-items, those of a work-group, and a line for each argument, its bytes.
static void write_launch(const struct kernel *k, cl_uint dims, const size_t *global, const size_t *local) {
  char end[128];
  snprintf(end, sizeof end, "%s.launch", k->name);
  FILE *file = begin_file(k->number, end);
  for (cl_uint d = 0; d < 3; ++d) fprintf(file, "%zu ", d < dims ? global[d] : 1);
  for (cl_uint d = 0; d < 3; ++d) fprintf(file, d < 2 ? "%zu " : "%zu\n", d < dims ? local[d] : 1);
  for (cl_uint i = 0; i < k->count; ++i) {
    const struct argument *a = &k->arguments[i];
    for (size_t byte = 0; byte < a->size; ++byte) fprintf(file, "%02x", a->value[byte]);
    fputc('\n', file);
  }
  end_file(file);
}

// Every launch says how large its work-groups are: a driver left to choose takes groups of 1 where sizes are prime.
cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint waits, const cl_event *list,
                              cl_event *event) {
  (void)offset, (void)waits, (void)list;
  struct kernel *k = (struct kernel *)(void *)kernel;
  if (!local) {
    fprintf(stderr, "gpu_programs: %s is launched without a size of its work-groups\n", k->name);
    exit(1);
  }
  if (!k->is_launched) write_launch(k, dims, global, local);
  k->is_launched = true;
  return event ? clEnqueueMarkerWithWaitList(queue, 0, NULL, event) : CL_SUCCESS;
}

// ---------------------------------------------------------------- what runs

static const struct gpu {
  const char *name;
  uint64_t local_memory;
  size_t max_work_group;
  int scores_an_item, sums_an_item, floats_an_item, subgroup;
  bool tensor_cores, tf32;
  enum heed__cl_shuffle shuffle;
} gpus[] = {
    {"nvidia", 48 << 10, 1024, 32, 64, 128, 0, false, false, HEED__SHUFFLE_PTX},
    {"nvidia-tensor", 48 << 10, 1024, 32, 64, 128, 0, true, false, HEED__SHUFFLE_PTX},
    {"nvidia-tf32", 48 << 10, 1024, 32, 64, 128, 0, true, true, HEED__SHUFFLE_PTX},
    {"amd", 64 << 10, 256, 32, 64, 128, 0, false, false, HEED__SHUFFLE_NONE},
    {"intel", 64 << 10, 256, 16, 32, 56, 0, false, false, HEED__SHUFFLE_NONE},
    {"intel-max", 128 << 10, 1024, 16, 32, 56, 16, false, false, HEED__SHUFFLE_NONE},
};

static void pose(heed_context *ctx, const struct gpu *gpu) {
  struct heed__cl *cl = heed__cl_state(ctx);
  struct heed__cl_traits *traits = &cl->traits;
  ctx->device.type = HEED_DEVICE_GPU;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->max_work_group = gpu->max_work_group;
  traits->local_memory = gpu->local_memory;
  traits->compute_units = 32;
  traits->shuffle = cl->shuffle_tried = gpu->shuffle;
  cl->shuffle_right = true;
  cl->exp2 = HEED__EXP2_NATIVE;
  traits->short_loops = false;
  traits->scores_an_item = gpu->scores_an_item;
  traits->sums_an_item = gpu->sums_an_item;
  traits->floats_an_item = gpu->floats_an_item;
  traits->subgroup = gpu->subgroup;
  traits->spare_registers = gpu->shuffle == HEED__SHUFFLE_PTX;
  traits->nvidia = traits->tensor_cores = gpu->tensor_cores;
}

static const struct {
  const char *op;
  bench_settings settings;
  const char *backward;  // the choice for attention's backward; NULL: heed's own
} works[] = {
    {"gemm", {.m = 1024, .n = 1024, .k = 512}, NULL},
    {"gemm", {.m = 1024, .n = 1024, .k = 512, .dtype = 1}, NULL},
    {"gemm", {.m = 64, .n = 512, .k = 784}, NULL},
    {"attention", {.dim = 64}, NULL},
    {"attention", {.dim = 80}, NULL},
    {"attention", {.dim = 128}, NULL},
    {"attention", {.dim = 64, .dtype = 1}, NULL},
    {"attention", {.dim = 80, .dtype = 1}, NULL},
    {"attention", {.dim = 128, .dtype = 1}, NULL},
    {"attention", {.dim = 128, .dtype = 2}, NULL},
    {"attention", {.dim = 64}, "fused-gpu: products=5"},
    {"attention", {.dim = 128}, "fused-gpu: products=5"},
    {"attention", {.seq = 1, .kv_seq = 2048, .kv_heads = 2, .dim = 128}, NULL},
    {"softmax", {.rows = 64, .cols = 1024}, NULL},
    {"transformer", {.layers = 1, .batch = 2, .context = 64}, NULL},
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
    status = heed_tune_force(ctx, HEED_TUNE_ATTENTION_BWD, works[i].backward);
    if (status == HEED_OK) status = run_work(ctx, &cases[0]);
  }
  ctx->device.type = own;
  heed_context_destroy(ctx);
  return status;
}

int main(int argc, char **argv) {
  if (argc != 2 && argc != 3) return fputs("usage: gpu_programs FOLDER [GPU]\n", stderr), 2;
  for (size_t i = 0; i < sizeof gpus / sizeof *gpus; ++i) {
    if (argc == 3 && strcmp(argv[2], gpus[i].name) != 0) continue;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argv[1], gpus[i].name);
    if (mkdir(path, 0777) != 0) return perror(path), 1;
    folder = path;
    written = 0;
    if (run_gpu(&gpus[i]) != HEED_OK) return fprintf(stderr, "gpu_programs: %s\n", heed_last_error()), 1;
  }
  return 0;
}
