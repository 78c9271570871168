// A driver that tells more than it should, or less: long build logs, no binary for the cache, kernels that it runs with fewer
// work-items than others, and commands that fail after they were queued.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/runtime/runtime.h"
#include "support_attention.h"
#include "support_files.h"

// A context on the group's device with kernels of the test's folder.
static heed_context *open_test(void **state, const char *cache) {
  char spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  const heed_open_options options = {
      .device = spec, .cache_dir = cache, .kernel_dir = support_folder(), .self_test = -1, .validate = -1};
  ASSERT_OK(heed_open_with(&options, &ctx));
  return ctx;
}

static heed_status launch(heed_context *ctx, const char *file) {
  struct heed__cl_kernel k;
  const size_t global = 1;
  heed__cl_begin(&k, ctx, file, "nothing");
  return heed__cl_launch(&k, 1, &global, NULL);
}

static void write_kernel(const char *name, const char *text) {
  support_write_file(support_path(name), text, strlen(text));
}

// What the driver says in the place of its build log, and what it does not tell of a program; NULL and 0: nothing else.
static const char *build_log;
static cl_program_info untold;
static int binaries_told;

static void real_function(const char *name, void *function) {
  void *found = dlsym(RTLD_NEXT, name);
  assert_non_null(found);
  memcpy(function, &found, sizeof found);
}

// In the place of the loader's, for heed.
cl_int clGetProgramBuildInfo(cl_program program, cl_device_id id, cl_program_build_info what, size_t size, void *value,
                             size_t *size_ret) {
  cl_int (*real)(cl_program, cl_device_id, cl_program_build_info, size_t, void *, size_t *);
  real_function("clGetProgramBuildInfo", &real);
  if (!build_log || what != CL_PROGRAM_BUILD_LOG) return real(program, id, what, size, value, size_ret);
  if (value) memcpy(value, build_log, size);
  if (size_ret) *size_ret = strlen(build_log) + 1;
  return CL_SUCCESS;
}

cl_int clGetProgramInfo(cl_program program, cl_program_info what, size_t size, void *value, size_t *size_ret) {
  cl_int (*real)(cl_program, cl_program_info, size_t, void *, size_t *);
  real_function("clGetProgramInfo", &real);
  binaries_told += what == CL_PROGRAM_BINARIES;
  return what == untold ? CL_OUT_OF_HOST_MEMORY : real(program, what, size, value, size_ret);
}

// How many kernels it does not find in a program that it took.
static int kernels_lost;

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *error) {
  cl_kernel (*real)(cl_program, const char *, cl_int *);
  real_function("clCreateKernel", &real);
  if (kernels_lost == 0) return real(program, name, error);
  --kernels_lost;
  *error = CL_INVALID_PROGRAM_EXECUTABLE;
  return NULL;
}

// How commands ended, if not as they did.
static cl_int ended;

cl_int clGetEventInfo(cl_event event, cl_event_info what, size_t size, void *value, size_t *size_ret) {
  cl_int (*real)(cl_event, cl_event_info, size_t, void *, size_t *);
  real_function("clGetEventInfo", &real);
  const cl_int error = real(event, what, size, value, size_ret);
  if (error == CL_SUCCESS && ended && what == CL_EVENT_COMMAND_EXECUTION_STATUS) memcpy(value, &ended, sizeof ended);
  return error;
}

// What clBuildProgram() answers, if it is not to build.
static cl_int build_answer;

cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void(CL_CALLBACK *notify)(cl_program, void *), void *data) {
  cl_int (*real)(cl_program, cl_uint, const cl_device_id *, const char *, void(CL_CALLBACK *)(cl_program, void *),
                 void *);
  real_function("clBuildProgram", &real);
  return build_answer ? build_answer : real(program, count, devices, options, notify, data);
}

static void a_log_is_told_from_its_first_error_on(void **state) {
  write_kernel("broken.cl", "#error\n");
  heed_context *ctx = open_test(state, "off");
  build_log = "warning: 1\nnote: 2\nbroken.cl:3: error: 3\n4\n5\n6\n7\n8\n9\n10\n11\nline 12 \n\nline 14\n";
  const heed_status status = launch(ctx, "broken.cl");
  build_log = NULL;
  ASSERT_FAILS(HEED_ERROR_BUILD, "\nbroken.cl:3: error: 3\n4\n", status);
  // For whoever shows the first line alone, it says why.
  assert_non_null(strstr(heed_last_error(), "(-11): broken.cl:3: error: 3; options "));
  const char *end = "11\nline 12", *said = heed_last_error();
  assert_string_equal(said + strlen(said) - strlen(end), end);
  assert_null(strstr(said, "warning: 1"));
  assert_null(strstr(said, "note: 2"));
  heed_context_destroy(ctx);
}

static void a_driver_that_gives_no_binary_leaves_the_cache_empty(void **state) {
  static const cl_program_info infos[] = {CL_PROGRAM_NUM_DEVICES, CL_PROGRAM_DEVICES, CL_PROGRAM_BINARY_SIZES,
                                          CL_PROGRAM_BINARIES};
  write_kernel("test.cl", "__kernel void nothing(void) {}\n");
  const size_t files = support_files_in_folder();
  for (size_t i = 0; i < sizeof infos / sizeof *infos; ++i) {
    heed_context *ctx = open_test(state, support_folder());
    untold = infos[i];
    ASSERT_OK(launch(ctx, "test.cl"));
    const heed_status status = heed_sync(ctx);
    heed_context_destroy(ctx);
    untold = 0;
    ASSERT_OK(status);
    assert_int_equal(support_files_in_folder(), files);
  }
  heed_context *ctx = open_test(state, support_folder());
  ASSERT_OK(launch(ctx, "test.cl"));
  ASSERT_OK(heed_sync(ctx));
  heed_context_destroy(ctx);
  assert_int_equal(support_files_in_folder(), files + 1);
}

// The most work-items that the driver runs a kernel with; 0: as it likes.
static size_t kernel_limit;

// In the place of the loader's, for heed.
cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id id, cl_kernel_work_group_info what, size_t size,
                                void *value, size_t *size_ret) {
  cl_int (*real)(cl_kernel, cl_device_id, cl_kernel_work_group_info, size_t, void *, size_t *);
  real_function("clGetKernelWorkGroupInfo", &real);
  const cl_int error = real(kernel, id, what, size, value, size_ret);
  if (error == CL_SUCCESS && value && kernel_limit && what == CL_KERNEL_WORK_GROUP_SIZE)
    memcpy(value, &kernel_limit, sizeof kernel_limit);
  return error;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint count, const cl_event *waits,
                              cl_event *event) {
  cl_int (*real)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,
                 const cl_event *, cl_event *);
  real_function("clEnqueueNDRangeKernel", &real);
  if (kernel_limit && local && local[0] > kernel_limit) return CL_INVALID_WORK_GROUP_SIZE;
  return real(queue, kernel, dims, offset, global, local, count, waits, event);
}

// Registers may leave a kernel fewer work-items than the device has: it is built again for as many.
static void a_kernel_that_runs_with_fewer_work_items_has_smaller_tiles(void **state) {
  heed_context *ctx = support_context(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const struct heed__cl_traits real = *traits;
  struct attention actual = attention_make(ctx, 1, 1, 1, 70, 90, 12),
                   expected = attention_make(support_other(), 1, 1, 1, 70, 90, 12);
  actual.options.path = HEED_PATH_FUSED;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->shuffle = HEED__SHUFFLE_NONE;
  kernel_limit = 64;
  const heed_status status = heed_attention_fwd(&actual.in, &actual.options, actual.out, actual.lse, NULL);
  kernel_limit = 0;
  *traits = real;
  ASSERT_OK(status);
  attention_forward(&expected);
  ASSERT_AGREE(actual.out, expected.out, 5e-6);
  ASSERT_AGREE(actual.lse, expected.lse, 5e-6);
}

static void a_download_tells_of_the_upload_that_failed_before_it(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x, *other;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){2}, &x));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){2}, &other));
  ASSERT_OK(heed_fill(x, 1));
  ASSERT_OK(heed_sync(ctx));
  float values[] = {1, 2};
  ASSERT_OK(heed_tensor_upload(other, values, sizeof values));
  ended = CL_OUT_OF_RESOURCES;
  const heed_status status = heed_tensor_download(x, values, sizeof values);
  ended = 0;
  ASSERT_FAILS(HEED_ERROR_DEVICE, "an upload: CL_OUT_OF_RESOURCES", status);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "an upload: CL_OUT_OF_RESOURCES", heed_tensor_download(x, values, sizeof values));
  ASSERT_FAILS(HEED_ERROR_DEVICE, "an upload: CL_OUT_OF_RESOURCES", heed_sync(ctx));
  ASSERT_OK(heed_tensor_download(x, values, sizeof values));
  heed_tensor_destroy(x);
  heed_tensor_destroy(other);
}

// How many reads fail from now on.
static int reads_lost;

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size,
                           void *data, cl_uint count, const cl_event *waits, cl_event *event) {
  cl_int (*real)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *);
  real_function("clEnqueueReadBuffer", &real);
  if (reads_lost == 0) return real(queue, buffer, blocking, offset, size, data, count, waits, event);
  --reads_lost;
  return CL_OUT_OF_RESOURCES;
}

// An operator that reads on the way passes the runtime, which keeps the error for heed_sync(): it may be an earlier command's.
static void a_sync_tells_of_a_read_that_failed_in_an_operator(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *a, *x0, *x;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){3}, &a));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){3}, &x0));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (int64_t[]){3}, &x));
  ASSERT_OK(heed_fill(a, 2));
  ASSERT_OK(heed_fill(x0, 1));
  ASSERT_OK(heed_sync(ctx));
  reads_lost = 1;
  const heed_status status =
      heed_sqrt_sgd(&(heed_sqrt_options){.lr = 1e-9, .epochs = 1 << 24, .tolerance = 0}, a, x0, x);
  reads_lost = 0;
  ASSERT_FAILS(HEED_ERROR_DEVICE, "CL_OUT_OF_RESOURCES", status);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "CL_OUT_OF_RESOURCES", heed_sync(ctx));
  ASSERT_OK(heed_sync(ctx));
  heed_tensor_destroy(a);
  heed_tensor_destroy(x0);
  heed_tensor_destroy(x);
}

// Two contexts, or processes, have built the same: the first one that waits, or ends, stores it.
static void a_binary_that_another_has_stored_is_not_asked_for(void **state) {
  write_kernel("shared.cl", "__kernel void nothing(void) {}\n");
  heed_context *first = open_test(state, support_folder()), *second = open_test(state, support_folder());
  ASSERT_OK(launch(first, "shared.cl"));
  ASSERT_OK(launch(second, "shared.cl"));
  binaries_told = 0;
  ASSERT_OK(heed_sync(first));
  heed_context_destroy(first);
  assert_int_equal(binaries_told, 1);
  ASSERT_OK(heed_sync(second));
  heed_context_destroy(second);
  assert_int_equal(binaries_told, 1);
}

static void a_binary_without_its_kernels_is_built_again_and_replaced(void **state) {
  write_kernel("hollow.cl", "__kernel void nothing(void) {}\n");
  heed_context *ctx = open_test(state, support_folder());
  ASSERT_OK(launch(ctx, "hollow.cl"));
  heed_context_destroy(ctx);
  ctx = open_test(state, support_folder());
  kernels_lost = 1;
  ASSERT_OK(launch(ctx, "hollow.cl"));
  binaries_told = 0;
  kernels_lost = 2;  // in what is built from source, too
  ASSERT_OK(launch(ctx, "hollow.cl"));
  ASSERT_OK(heed_sync(ctx));
  heed_context_destroy(ctx);
  assert_int_equal(binaries_told, 1);
  ctx = open_test(state, support_folder());
  ASSERT_FAILS(HEED_ERROR_DEVICE, "making kernel nothing of hollow.cl: CL_INVALID_PROGRAM_EXECUTABLE",
               launch(ctx, "hollow.cl"));
  assert_int_equal(kernels_lost, 0);
  heed_context_destroy(ctx);
}

// Opens the device for softmax, with the self-test and the folder's cache, by a driver that answers its builds so.
static heed_status open_tested(void **state, cl_int answer) {
  char spec[96];
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  const heed_open_options options = {
      .device = spec, .cache_dir = support_folder(), .validate = -1, .uses = HEED_USES_ROWS};
  heed_context *ctx = NULL;
  build_answer = answer;
  const heed_status status = heed_open_with(&options, &ctx);
  build_answer = CL_SUCCESS;
  heed_context_destroy(ctx);
  return status;
}

// A self-test whose kernels do not build for want of resources says nothing about another day; one that cannot be built does.
static void a_build_without_resources_is_no_verdict_on_the_device(void **state) {
  support_context(state);
  const char *given = getenv("HEED_SELF_TEST");
  char before[16] = "";
  if (given) snprintf(before, sizeof before, "%s", given);
  unsetenv("HEED_SELF_TEST");
  const heed_status without = open_tested(state, CL_OUT_OF_RESOURCES),
                    failing = open_tested(state, CL_BUILD_PROGRAM_FAILURE), later = open_tested(state, CL_SUCCESS);
  if (given) setenv("HEED_SELF_TEST", before, 1);
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "", without);
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "", failing);
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "CL_BUILD_PROGRAM_FAILURE", later);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_log_is_told_from_its_first_error_on),
      cmocka_unit_test(a_driver_that_gives_no_binary_leaves_the_cache_empty),
      TEST(a_binary_that_another_has_stored_is_not_asked_for),
      TEST(a_binary_without_its_kernels_is_built_again_and_replaced),
      TEST(a_kernel_that_runs_with_fewer_work_items_has_smaller_tiles),
      TEST(a_build_without_resources_is_no_verdict_on_the_device),
      TEST(a_download_tells_of_the_upload_that_failed_before_it),
      cmocka_unit_test(a_sync_tells_of_a_read_that_failed_in_an_operator),
  };
  void *nothing = NULL;
  if (support_make_folder(&nothing) != 0) return 1;
  const int failed = cmocka_run_group_tests(tests, support_open_device, support_close);
  return support_remove_folder(&nothing) + failed;
}
