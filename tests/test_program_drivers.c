// Programs of a driver that tells more than it should, or less: long build logs, and no binary for the cache.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "cl/cl.h"
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
  return what == untold ? CL_OUT_OF_HOST_MEMORY : real(program, what, size, value, size_ret);
}

static void a_log_is_told_from_its_first_error_on(void **state) {
  write_kernel("broken.cl", "#error\n");
  heed_context *ctx = open_test(state, "off");
  build_log = "warning: 1\nnote: 2\nbroken.cl:3: error: 3\n4\n5\n6\n7\n8\n9\n10\n11\nline 12 \n\nline 14\n";
  const heed_status status = launch(ctx, "broken.cl");
  build_log = NULL;
  ASSERT_FAILS(HEED_BUILD, "\nbroken.cl:3: error: 3\n4\n", status);
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
    untold = 0;
    ASSERT_OK(status);
    heed_context_destroy(ctx);
    assert_int_equal(support_files_in_folder(), files);
  }
  heed_context *ctx = open_test(state, support_folder());
  ASSERT_OK(launch(ctx, "test.cl"));
  ASSERT_OK(heed_sync(ctx));
  heed_context_destroy(ctx);
  assert_int_equal(support_files_in_folder(), files + 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_log_is_told_from_its_first_error_on),
      cmocka_unit_test(a_driver_that_gives_no_binary_leaves_the_cache_empty),
  };
  void *nothing = NULL;
  if (support_make_folder(&nothing) != 0) return 1;
  const int failed = cmocka_run_group_tests(tests, support_open_device, support_close);
  return support_remove_folder(&nothing) + failed;
}
