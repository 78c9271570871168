// Programs of a context: built, found, loaded from the disk cache and rebuilt; and the launches of their kernels.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"
#include "support_cache.h"

static const char times_three[] =
    "#ifndef FACTOR\n#define FACTOR 3\n#endif\n"
    "__kernel void scale(__global float *x, const long offset, const long n) {\n"
    "  const idx i = get_global_id(0);\n"
    "  if (i < n) x[offset + i] *= FACTOR;\n"
    "}\n"
    "__kernel void idx_bytes(__global float *x, const long offset, const long n) { x[offset] = sizeof(idx); }\n";

static void write_kernel(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", support_cache.kernels, name);
  support_write_file(path, text, strlen(text));
}

// A context like the group's, with the test's folders; skips where there is no device.
static heed_context *open_test_storing(void **state, const char *cache, int store_programs) {
  char spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  const heed_open_options options = {.device = spec,
                                     .cache_dir = cache,
                                     .store_programs = store_programs,
                                     .kernel_dir = support_cache.kernels,
                                     .validate = -1};
  ASSERT_OK(heed_open_with(&options, &ctx));
  return ctx;
}

static heed_context *open_test(void **state, const char *cache) { return open_test_storing(state, cache, 0); }

// x = {2, 2, 2} through `kernel` of test.cl.
static heed_status try_kernel(heed_context *ctx, const char *file, const char *kernel, const char *factor, int64_t n,
                              float *result) {
  const float two[3] = {2, 2, 2};
  float got[3] = {0};
  heed_tensor *x = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, (const int64_t[]){3}, two, &x));
  struct heed__cl_kernel k;
  const size_t global = 3;
  heed__cl_begin(&k, ctx, file, kernel);
  if (factor) heed__cl_define(&k, "FACTOR", factor);
  heed__cl_tensor(&k, x);
  heed__cl_long(&k, n);
  const heed_status status = heed__cl_launch(&k, 1, &global, NULL);
  ASSERT_OK(heed_tensor_download(x, got, sizeof got));
  heed_tensor_destroy(x);
  *result = got[0];
  return status;
}

static float run_kernel(heed_context *ctx, const char *kernel, const char *factor, int64_t n) {
  float result = 0;
  ASSERT_OK(try_kernel(ctx, "test.cl", kernel, factor, n, &result));
  return result;
}

static float run_once(void **state, const char *cache) {
  heed_context *ctx = open_test(state, cache);
  const float result = run_kernel(ctx, "scale", NULL, 3);
  heed_context_destroy(ctx);
  return result;
}

static void a_second_context_loads_what_the_first_built(void **state) {
  char path[512];
  struct stat before, after;
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, support_cache.cache) == 6);
  if (support_cache_entries(path, sizeof path) == 0) skip();  // the driver gives no binaries
  assert_int_equal(support_cache_entries(path, sizeof path), 1);
  support_set_time(path, 1000000, 0);
  assert_int_equal(stat(path, &before), 0);
  assert_true(run_once(state, support_cache.cache) == 6);
  assert_int_equal(stat(path, &after), 0);
  assert_int_equal(before.st_ino, after.st_ino);  // not written again,
  assert_true(after.st_mtime > 1000000);          // but read
}

static void a_context_that_stores_none_loads_and_compiles_nothing_twice(void **state) {
  char path[512];
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test_storing(state, support_cache.cache, -1);
  const bool late = heed__cl_state(ctx)->traits.compiles_late;
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  ASSERT_OK(heed_sync(ctx));
  heed_context_destroy(ctx);
  if (late) assert_int_equal(support_cache_entries(path, sizeof path), 0);
  assert_true(run_once(state, support_cache.cache) == 6);
  const int stored = support_cache_entries(path, sizeof path);
  if (stored == 0) skip();
  support_set_time(path, 1000000, 0);
  ctx = open_test_storing(state, support_cache.cache, -1);
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  heed_context_destroy(ctx);
  struct stat loaded;
  assert_int_equal(stat(path, &loaded), 0);
  assert_true(loaded.st_mtime > 1000000);  // read
}

// Where a binary means to compile once more, that waits for the end of the context.
static void a_sync_compiles_nothing(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, support_cache.cache);
  const bool late = heed__cl_state(ctx)->traits.compiles_late;
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  ASSERT_OK(heed_sync(ctx));
  const int after_sync = support_cache_entries(NULL, 0);
  heed_context_destroy(ctx);
  assert_int_equal(after_sync, late ? 0 : support_cache_entries(NULL, 0));
  if (late) assert_int_equal(support_cache_entries(NULL, 0), 1);
}

static void a_changed_source_is_built_anew(void **state) {
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, support_cache.cache) == 6);
  write_kernel("test.cl",
               "__kernel void scale(__global float *x, const long offset, const long n) {\n"
               "  if (get_global_id(0) < n) x[offset + get_global_id(0)] *= 5;\n}\n");
  assert_true(run_once(state, support_cache.cache) == 10);
}

static void a_damaged_entry_is_built_anew_and_replaced(void **state) {
  char path[512];
  static unsigned char whole[1 << 20];
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, support_cache.cache) == 6);
  if (support_cache_entries(path, sizeof path) == 0) skip();
  const size_t bytes = support_read_file(path, whole, sizeof whole);
  whole[bytes / 2] ^= 1;
  support_write_file(path, whole, bytes);
  assert_true(run_once(state, support_cache.cache) == 6);
  assert_int_equal(support_cache_entries(path, sizeof path), 1);
  static unsigned char again[1 << 20];
  assert_int_equal(support_read_file(path, again, sizeof again), bytes);
  whole[bytes / 2] ^= 1;
  assert_memory_equal(whole, again, bytes / 2);
}

// The entry is whole, but what it holds is no program for this driver.
static void a_binary_that_the_driver_refuses_is_built_from_source(void **state) {
  char path[512];
  static unsigned char whole[1 << 20];
  // rusticl aborts the process on a binary that it does not know.
  if (strcmp(heed_context_device(support_context(state))->platform, "rusticl") == 0) skip();
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, support_cache.cache) == 6);
  if (support_cache_entries(path, sizeof path) == 0) skip();
  const size_t bytes = support_read_file(path, whole, sizeof whole);
  unsigned char *key = NULL;
  for (size_t i = 0; i + 5 < bytes && !key; ++i)
    if (memcmp(whole + i, "heed ", 5) == 0) key = whole + i;
  assert_non_null(key);
  uint64_t key_bytes = 0;
  memcpy(&key_bytes, whole + 8, sizeof key_bytes);
  char *text = strndup((char *)key, (size_t)key_bytes);
  heed__cl_cache_store(support_cache.cache, text, support_cache_binary, sizeof support_cache_binary);
  assert_true(support_cache_loads(text));
  assert_true(run_once(state, support_cache.cache) == 6);
  assert_int_equal(support_cache_entries(NULL, 0), 1);
  unsigned char *got = NULL;
  size_t size = 0;
  assert_true(heed__cl_cache_load(support_cache.cache, text, &got, &size));
  assert_true(size > sizeof support_cache_binary);
  free(got);
  free(text);
}

static void a_context_works_without_a_cache(void **state) {
  write_kernel("test.cl", times_three);
  assert_true(run_once(state, "off") == 6);
  heed_context *ctx = open_test(state, "off");
  assert_string_equal(heed_context_notice(ctx), "");
  heed_context_destroy(ctx);
}

static void options_tell_programs_apart(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, "off");
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  assert_true(run_kernel(ctx, "scale", "4", 3) == 8);
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  char factor[16];
  for (int i = 0; i < 12; ++i) {  // more than the table's first room
    snprintf(factor, sizeof factor, "%d", i);
    assert_true(run_kernel(ctx, "scale", factor, 3) == (float)(2 * i));
  }
  heed_context_destroy(ctx);
}

// A tensor of `count` elements, with memory for only one of them, through the kernel that writes how wide an index is.
static float idx_bytes_of(heed_context *ctx, const heed_tensor *one, int64_t count) {
  const struct heed_tensor many = {
      .ctx = ctx, .buffer = one->buffer, .dtype = HEED_F32, .rank = 1, .dims = {count}, .strides = {1}, .count = count};
  struct heed__cl_kernel k;
  const size_t global = 1;
  float bytes = 0;
  heed__cl_begin(&k, ctx, "test.cl", "idx_bytes");
  heed__cl_tensor(&k, &many);
  heed__cl_long(&k, 1);
  ASSERT_OK(heed__cl_launch(&k, 1, &global, NULL));
  ASSERT_OK(heed_tensor_download(one, &bytes, sizeof bytes));
  return bytes;
}

// A loop that goes on by `step` from the last index before `end` must not wrap: row kernels step by 2^22 rows.
static void indices_are_64_bit_where_a_step_past_the_end_would_wrap(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, "off");
  const int64_t step = 1 << 22, most = INT32_MAX - step;
  assert_true(run_kernel(ctx, "idx_bytes", NULL, most) == 4);
  assert_true(run_kernel(ctx, "idx_bytes", NULL, most + 1) == 8);
  assert_true(run_kernel(ctx, "idx_bytes", NULL, INT32_MAX) == 8);
  assert_true(run_kernel(ctx, "idx_bytes", NULL, (int64_t)INT32_MAX + 1) == 8);
  assert_true(run_kernel(ctx, "idx_bytes", NULL, -1) == 4);
  heed_tensor *one = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (const int64_t[]){1}, &one));
  assert_true(idx_bytes_of(ctx, one, most) == 4);
  assert_true(idx_bytes_of(ctx, one, most + 1) == 8);
  assert_true(idx_bytes_of(ctx, one, INT32_MAX) == 8);
  heed_tensor_destroy(one);
  heed_context_destroy(ctx);
}

static void a_build_failure_names_file_device_and_log(void **state) {
  float result = 0;
  write_kernel("broken.cl", "__kernel void scale(__global float *x) {\n  x[0] = no_such_name;\n}\n");
  heed_context *ctx = open_test(state, support_cache.cache);
  for (int again = 0; again < 2; ++again) {
    ASSERT_FAILS(HEED_ERROR_BUILD, "broken.cl", try_kernel(ctx, "broken.cl", "scale", NULL, 3, &result));
    assert_non_null(strstr(heed_last_error(), heed_context_device(ctx)->name));
    assert_non_null(strstr(heed_last_error(), "no_such_name"));
  }
  write_kernel("test.cl", times_three);
  ASSERT_FAILS(HEED_ERROR_BUILD, "no kernel nothing", try_kernel(ctx, "test.cl", "nothing", NULL, 3, &result));
  ASSERT_FAILS(HEED_ERROR_BUILD, "missing.cl", try_kernel(ctx, "missing.cl", "scale", NULL, 3, &result));
  assert_true(run_kernel(ctx, "scale", NULL, 3) == 6);
  heed_context_destroy(ctx);
}

static void a_kernel_file_that_is_none_is_refused(void **state) {
  char path[256];
  float result = 0;
  snprintf(path, sizeof path, "%s/folder.cl", support_cache.kernels);
  assert_int_equal(mkdir(path, 0700), 0);
  write_kernel("long.cl", "");
  snprintf(path, sizeof path, "%s/long.cl", support_cache.kernels);
  assert_int_equal(truncate(path, 64 << 20), 0);
  heed_context *ctx = open_test(state, "off");
  ASSERT_FAILS(HEED_ERROR_IO, "folder.cl: cannot", try_kernel(ctx, "folder.cl", "scale", NULL, 3, &result));
  ASSERT_FAILS(HEED_ERROR_IO, "long.cl: it is longer than", try_kernel(ctx, "long.cl", "scale", NULL, 3, &result));
  heed_context_destroy(ctx);
}

static void launches_that_cannot_be_are_refused(void **state) {
  write_kernel("test.cl", times_three);
  heed_context *ctx = open_test(state, "off");
  struct heed__cl_kernel k;
  const size_t none = 0, ten = 10, three = 3, huge = heed__cl_state(ctx)->traits.max_work_group + 1;
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  ASSERT_OK(heed__cl_launch(&k, 1, &none, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "multiple", heed__cl_launch(&k, 1, &ten, &three));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "work-group", heed__cl_launch(&k, 1, &huge, &huge));
  ASSERT_FAILS(HEED_ERROR_DEVICE, "CL_INVALID_KERNEL_ARGS", heed__cl_launch(&k, 1, &ten, NULL));
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  heed__cl_local(&k, (size_t)heed__cl_state(ctx)->traits.local_memory + 1);
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "local memory", heed__cl_launch(&k, 1, &ten, NULL));
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  for (int i = 0; i <= HEED__CL_MAX_ARGS; ++i) heed__cl_uint(&k, 0);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "arguments", heed__cl_launch(&k, 1, &ten, NULL));
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  for (int i = 0; i < 200; ++i) heed__cl_define_int(&k, "AN_OPTION", i);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "options", heed__cl_launch(&k, 1, &ten, NULL));
  size_t limit = 0;
  heed__cl_begin(&k, ctx, "test.cl", "scale");
  ASSERT_OK(heed__cl_work_group_limit(&k, &limit));
  assert_true(limit >= 1);
  heed_context_destroy(ctx);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, support_cache_make, support_cache_remove)
// Where a test has a folder of its own, *state still is the group's context.
int main(void) {
  if (setenv("HEED_SELF_TEST", "off", 1) != 0) return 1;  // its verdict would be an entry among those counted here
  const struct CMUnitTest programs[] = {
      IN_FOLDER(a_second_context_loads_what_the_first_built),
      IN_FOLDER(a_context_that_stores_none_loads_and_compiles_nothing_twice),
      IN_FOLDER(a_sync_compiles_nothing),
      IN_FOLDER(a_changed_source_is_built_anew),
      IN_FOLDER(a_damaged_entry_is_built_anew_and_replaced),
      IN_FOLDER(a_binary_that_the_driver_refuses_is_built_from_source),
      IN_FOLDER(a_context_works_without_a_cache),
      IN_FOLDER(options_tell_programs_apart),
      IN_FOLDER(indices_are_64_bit_where_a_step_past_the_end_would_wrap),
      IN_FOLDER(a_build_failure_names_file_device_and_log),
      IN_FOLDER(a_kernel_file_that_is_none_is_refused),
      IN_FOLDER(launches_that_cannot_be_are_refused),
  };
  return cmocka_run_group_tests_name("programs", programs, support_open_device, support_close);
}
