// The self-test: a device that computes wrong, by way of a kernel with a defect, is passed over by "auto" and refused by name; the
// verdict is remembered for these kernels; one switch opens the device all the same.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "support_files.h"
#include "support_values.h"

static char spec[96];   // the device that the tests run on
static bool is_auto;    // what "auto" picks is this device
static char place[24];  // its two numbers, as a spec: what a device is called changes its id
static bool is_cpu;
static char root[64], cache[96], kernels[96];  // a cache and a kernel folder for each test

static int open_all(void **state) {
  void *opened = NULL;
  *state = NULL;
  setenv("HEED_SELF_TEST", "off", 1);
  const int failed = support_open_device(&opened);
  unsetenv("HEED_SELF_TEST");
  if (failed) return -1;
  if (!opened) return 0;
  const heed_device_info *device = heed_context_device(opened);
  snprintf(spec, sizeof spec, "id:%s", device->id);
  is_auto = device->is_auto;
  snprintf(place, sizeof place, "%d:%d", device->platform_index, device->device_index);
  is_cpu = device->type == HEED_DEVICE_CPU;
  support_close(&opened);
  *state = spec;
  return 0;
}

static int end(void **state) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  const bool failed = support_release(state) != 0 || (root[0] && system(command) != 0);
  root[0] = 0;
  return failed ? -1 : 0;
}

// A fresh cache, and a softmax that is off by 1 % in one sum.
static void begin(void **state) {
  if (!*state) skip();
  strcpy(root, "/tmp/heed-test-XXXXXX");
  assert_non_null(mkdtemp(root));
  snprintf(cache, sizeof cache, "%s/cache", root);
  snprintf(kernels, sizeof kernels, "%s/kernels", root);
  assert_int_equal(mkdir(kernels, 0700), 0);
  enum { ROOM = 1 << 16 };
  char path[600], *text = support_memory(2 * ROOM);
  const size_t length = support_read_file(HEED_SOURCE_DIR "/kernels_cl/ops/softmax.cl", text, ROOM - 1);
  text[length] = 0;
  static const char right[] = "GET_KEPT(i) * factor", wrong[] = "1.01f * GET_KEPT(i) * factor";
  char *at = strstr(text, right);
  assert_non_null(at);
  memmove(at + sizeof wrong - 1, at + sizeof right - 1, strlen(at + sizeof right - 1) + 1);
  memcpy(at, wrong, sizeof wrong - 1);
  snprintf(path, sizeof path, "%s/ops/softmax.cl", kernels);
  support_write_file(path, text, strlen(text));
}

static heed_status try_open(const char *device, const char *kernel_dir, int self_test, heed_context **ctx) {
  return heed_open_with(
      &(heed_open_options){.device = device, .cache_dir = cache, .kernel_dir = kernel_dir, .self_test = self_test},
      ctx);
}

static void a_right_device_is_opened_and_its_verdict_remembered(void **state) {
  begin(state);
  heed_context *ctx = NULL;
  ASSERT_OK(try_open(spec, NULL, 0, &ctx));
  assert_int_equal(heed_context_device(ctx)->self_test, HEED_SELF_TEST_OK);
  assert_string_equal(heed_context_notice(ctx), "");
  heed_context_destroy(ctx);
  // The list has it from the cache.
  setenv("HEED_CACHE", cache, 1);
  heed_device_list *list = NULL;
  const heed_status status = heed_device_list_create(&list);
  unsetenv("HEED_CACHE");
  ASSERT_OK(status);
  for (size_t i = 0; i < heed_device_list_count(list); ++i) {
    const heed_device_info *device = heed_device_list_get(list, i);
    const bool same = strcmp(device->id, spec + 3) == 0;
    assert_int_equal(device->self_test, same ? HEED_SELF_TEST_OK : HEED_SELF_TEST_UNTESTED);
  }
  heed_device_list_destroy(list);
}

static void a_wrong_device_is_refused_by_name_and_passed_over_by_auto(void **state) {
  begin(state);
  heed_context *ctx = NULL;
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "failed heed's self-test: softmax_fwd", try_open(spec, kernels, 0, &ctx));
  assert_non_null(strstr(heed_last_error(), "the host"));
  assert_non_null(strstr(heed_last_error(), "HEED_SELF_TEST=off"));
  assert_null(ctx);
  // Remembered: a second time there is nothing to compute.
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "softmax_fwd", try_open(spec, kernels, 0, &ctx));
  if (is_auto) {
    ASSERT_OK(try_open("auto", kernels, 0, &ctx));
    assert_string_not_equal(heed_context_device(ctx)->id, spec + 3);
    assert_non_null(strstr(heed_context_notice(ctx), "failed heed's self-test"));
    heed_context_destroy(ctx);
  }
  setenv("HEED_CACHE", cache, 1);
  setenv("HEED_KERNELS", kernels, 1);
  heed_device_list *list = NULL;
  const heed_status status = heed_device_list_create(&list);
  unsetenv("HEED_CACHE");
  unsetenv("HEED_KERNELS");
  ASSERT_OK(status);
  for (size_t i = 0; i < heed_device_list_count(list); ++i) {
    const heed_device_info *device = heed_device_list_get(list, i);
    if (strcmp(device->id, spec + 3) != 0) continue;
    assert_int_equal(device->self_test, HEED_SELF_TEST_FAILED);
    assert_non_null(strstr(device->self_test_reason, "softmax_fwd"));
    assert_false(device->is_auto);
  }
  heed_device_list_destroy(list);
}

static void one_switch_opens_it_all_the_same(void **state) {
  begin(state);
  heed_context *ctx = NULL;
  ASSERT_OK(try_open(spec, kernels, -1, &ctx));
  assert_int_equal(heed_context_device(ctx)->self_test, HEED_SELF_TEST_UNTESTED);
  heed_context_destroy(ctx);
  setenv("HEED_SELF_TEST", "off", 1);
  const heed_status status = try_open(spec, kernels, 0, &ctx);
  setenv("HEED_SELF_TEST", "maybe", 1);
  heed_context *refused = NULL;
  const heed_status second = try_open(spec, kernels, 0, &refused);
  unsetenv("HEED_SELF_TEST");
  ASSERT_OK(status);
  assert_int_equal(second, HEED_ERROR_INVALID_ARGUMENT);
  heed_context_destroy(ctx);
}

static heed_status open_for(unsigned uses, heed_context **ctx) {
  return heed_open_with(&(heed_open_options){.device = spec, .cache_dir = cache, .kernel_dir = kernels, .uses = uses},
                        ctx);
}

static void only_what_is_used_is_tested_but_a_failure_counts_for_all(void **state) {
  begin(state);
  heed_context *ctx = NULL;
  for (int time = 0; time < 2; ++time) {
    ASSERT_OK(open_for(HEED_USES_PRODUCTS, &ctx));
    assert_int_equal(heed_context_device(ctx)->self_test, HEED_SELF_TEST_OK);
    heed_context_destroy(ctx);
  }
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "softmax_fwd", open_for(HEED_USES_PRODUCTS | HEED_USES_ROWS, &ctx));
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "softmax_fwd", open_for(HEED_USES_PRODUCTS, &ctx));
}

static void without_a_cache_only_who_asks_is_answered(void **state) {
  begin(state);
  snprintf(cache, sizeof cache, "off");
  heed_context *ctx = NULL;
  ASSERT_OK(try_open(spec, kernels, 0, &ctx));
  heed_context_destroy(ctx);
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "softmax_fwd", try_open(spec, kernels, 1, &ctx));
}

// The platform's name that heed is told; NULL: its own.
static const char *platform;

// In the place of the loader's, for heed.
cl_int clGetPlatformInfo(cl_platform_id id, cl_platform_info what, size_t size, void *value, size_t *size_ret) {
  static cl_int (*real)(cl_platform_id, cl_platform_info, size_t, void *, size_t *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clGetPlatformInfo");
  if (!platform || what != CL_PLATFORM_NAME) return real(id, what, size, value, size_ret);
  const size_t needed = strlen(platform) + 1;
  if (value) snprintf(value, size, "%s", platform);
  if (size_ret) *size_ret = needed;
  return value && size < needed ? CL_INVALID_VALUE : CL_SUCCESS;
}

static void a_kernel_that_does_not_build_is_told_with_the_compilers_word(void **state) {
  begin(state);
  static const char broken[] = "#error no such processor\n";
  char path[600];
  snprintf(path, sizeof path, "%s/ops/softmax.cl", kernels);
  support_write_file(path, broken, sizeof broken - 1);
  heed_context *ctx = NULL;
  ASSERT_FAILS(HEED_ERROR_MISMATCH, "no such processor", try_open(spec, kernels, 0, &ctx));
}

static void runtimes_of_intel_are_told_to_take_an_older_processor(void **state) {
  static const char *const names[] = {NULL, "Intel(R) OpenCL"};
  for (int i = 0; i < 2; ++i) {
    begin(state);
    heed_context *ctx = NULL;
    platform = names[i];
    const heed_status status = try_open(place, kernels, 1, &ctx);
    platform = NULL;
    ASSERT_FAILS(HEED_ERROR_MISMATCH, "softmax_fwd", status);
    const bool told = strstr(heed_last_error(), "CL_CONFIG_CPU_TARGET_ARCH=core-avx2") != NULL;
    assert_int_equal(told, i == 1 && is_cpu);
    assert_int_equal(end(state), 0);
  }
}

#define IN_FOLDER(test) cmocka_unit_test_teardown(test, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(a_right_device_is_opened_and_its_verdict_remembered),
      IN_FOLDER(a_wrong_device_is_refused_by_name_and_passed_over_by_auto),
      IN_FOLDER(one_switch_opens_it_all_the_same),
      IN_FOLDER(only_what_is_used_is_tested_but_a_failure_counts_for_all),
      IN_FOLDER(a_kernel_that_does_not_build_is_told_with_the_compilers_word),
      IN_FOLDER(runtimes_of_intel_are_told_to_take_an_older_processor),
      IN_FOLDER(without_a_cache_only_who_asks_is_answered),
  };
  return cmocka_run_group_tests_name("self-test", tests, open_all, NULL);
}
