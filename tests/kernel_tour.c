// Runs the tiny cases of every family, for interpreters of OpenCL such as Oclgrind: once as a device with work-groups, once as
// a CPU with vectors. Prints the names of the kernels that ran. Buffers are written whole by the host at their creation:
// Oclgrind takes for undefined what a write of a part leaves alone, and all that only kernels write. Usage: kernel_tour
#include <dlfcn.h>
#include <heed/tune.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/gemm/gemm.h"
#include "cases/case.h"
#include "cli/tool.h"

enum { MOST_KERNELS = 256 };

// ---------------------------------------------------------------- buffers

// In the place of the loader's, for the whole program: NaNs from end to end.
cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error) {
  cl_mem (*create)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
  void *found = dlsym(RTLD_NEXT, "clCreateBuffer");
  memcpy(&create, &found, sizeof create);
  cl_device_id device;
  cl_int ignored;
  cl_mem buffer = create(context, flags, size, host, error);
  if (!buffer || clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof device, &device, NULL) != CL_SUCCESS)
    return buffer;
  void *poison = malloc(size);
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &ignored);
  if (poison && queue) {
    memset(poison, 0xff, size);
    clEnqueueWriteBuffer(queue, buffer, CL_TRUE, 0, size, poison, 0, NULL, NULL);
  }
  if (queue) clReleaseCommandQueue(queue);
  free(poison);
  return buffer;
}

// ---------------------------------------------------------------- the tour

static heed_status visit(heed_context *ctx, const heed_case *c, const char *how) {
  case_env env;
  heed_status status = case_start(&env, c, ctx);
  if (status == HEED_OK) status = case_run(&env, c);
  case_free(&env);
  fprintf(stderr, "%6.1f s: %s%s\n", tool_seconds(), c->name, how);
  return status;
}

// What tuning may ask for: a sum in parts, and the form that any device can run.
static heed_status visit_gemm_variants(heed_context *ctx) {
  const char *in_parts = heed__cl_state(ctx)->traits.cpu_like ? "cpu: splits=2" : "gpu: splits=2";
  heed_case c = {.family = &gemm_family, .name = "gemm", .u.gemm = {1, 5, 7, 40, .alpha = 0.5}};
  for (int form = 0; form < 4; ++form) {
    c.u.gemm.ta = form & 1;
    c.u.gemm.tb = form & 2;
    TRY(heed_tune_force(ctx, HEED_TUNE_GEMM, in_parts));
    TRY(visit(ctx, &c, " in parts"));
    TRY(heed_tune_force(ctx, HEED_TUNE_GEMM, "panels-small"));
    TRY(visit(ctx, &c, " by panels"));
  }
  return heed_tune_force(ctx, HEED_TUNE_GEMM, NULL);
}

static heed_status tour(heed_context *ctx) {
  heed_case *cases;
  size_t count;
  TRY(case_tiny_table(&cases, &count));
  heed_status status = HEED_OK;
  for (size_t i = 0; i < count && status == HEED_OK; ++i) status = visit(ctx, &cases[i], "");
  free(cases);
  TRY(status);
  TRY(visit_gemm_variants(ctx));
  // Keys enough for two work-groups to share a row, which an interpreter takes long over.
  static const heed_case split = {.family = &attention_family,
                                  .name = "attention in parts",
                                  .phase = CASE_FORWARD,
                                  .u.attention = {1, 2, 1, 1, 512, 4, 4, .options = {.path = HEED_PATH_FUSED}}};
  static const heed_case five = {.family = &attention_family,
                                 .name = "attention in five products",
                                 .phase = CASE_BACKWARD,
                                 .u.attention = {1, 2, 1, 9, 9, 4, 4, .options = {.path = HEED_PATH_FUSED}}};
  if (heed__cl_state(ctx)->traits.cpu_like) return HEED_OK;
  TRY(visit(ctx, &split, ""));
  TRY(heed_tune_force(ctx, HEED_TUNE_ATTENTION_BWD, "fused-gpu: items=16 products=5"));
  TRY(visit(ctx, &five, ""));
  return heed_tune_force(ctx, HEED_TUNE_ATTENTION_BWD, NULL);
}

static const char *names[MOST_KERNELS];
static int name_count;

static heed_status note_kernels(heed_context *ctx) {
  const heed_profile_record *records;
  size_t count;
  TRY(heed_profile_records(ctx, &records, &count));
  for (size_t i = 0; i < count; ++i) {
    int at = 0;
    while (at < name_count && strcmp(names[at], records[i].kernel) != 0) ++at;
    if (at < name_count || name_count == MOST_KERNELS) continue;
    names[name_count++] = strdup(records[i].kernel);
    printf("%s\n", records[i].kernel);
  }
  return HEED_OK;
}

int main(void) {
  heed_status status = HEED_OK;
  for (int as_cpu = 0; as_cpu < 2 && status == HEED_OK; ++as_cpu) {
    heed_context *ctx = NULL;
    status = heed_open_with(&(heed_open_options){.profile = 1}, &ctx);
    if (status == HEED_OK && heed_context_device(ctx)->type == HEED_DEVICE_HOST) return 77;
    if (status == HEED_OK) {
      heed__cl_gemm_state(ctx)->provider = HEED__GEMM_NATIVE;
      heed__cl_state(ctx)->traits.cpu_like = as_cpu;
      heed__cl_state(ctx)->traits.vector_width = 4;
      status = tour(ctx);
    }
    if (status == HEED_OK) status = note_kernels(ctx);
    if (status != HEED_OK) fprintf(stderr, "kernel_tour: %s\n", heed_last_error());
    heed_context_destroy(ctx);
  }
  for (int i = 0; i < name_count; ++i) free((char *)names[i]);
  return status == HEED_OK ? 0 : 1;
}
