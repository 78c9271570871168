// Devices as OpenCL shows them, and what a context on one promises: ids, reasons, the caller's own objects, memory limits,
// scratch, profiling. How a spec picks a device is test_spec's.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <heed/opencl.h>

#include "base/memory.h"
#include "cl/runtime/runtime.h"
#include "cl/runtime/icd.h"
#include "support_devices.h"

// ---------------------------------------------------------------- drivers

struct folder {
  char path[64];
};

static void folder_make(struct folder *folder) {
  strcpy(folder->path, "/tmp/heed-test-XXXXXX");
  assert_non_null(mkdtemp(folder->path));
}

static void folder_write(const struct folder *folder, const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder->path, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

static void folder_remove(const struct folder *folder, const char *const *names) {
  for (; *names; ++names) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder->path, *names);
    unlink(path);
  }
  assert_int_equal(rmdir(folder->path), 0);
}

// A child without any driver; runs first, since a loader looks for drivers once.
static void no_platform_leaves_the_host(void **state) {
  (void)state;
  struct folder folder;
  folder_make(&folder);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    setenv("OCL_ICD_VENDORS", folder.path, 1);
    unsetenv("OCL_ICD_FILENAMES");
    heed_device_list *list = NULL;
    const heed_status status = heed_device_list_create(&list);
    if (status != HEED_OK) _exit(1);
    const bool host_only = heed_device_list_count(list) == 1 && heed_device_list_get(list, 0)->type == HEED_DEVICE_HOST;
    const bool replaced = heed_device_list_platforms(list) > 0;
    heed_device_list_destroy(list);
    _exit(replaced ? 77 : host_only ? 0 : 1);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  folder_remove(&folder, (const char *const[]){NULL});
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) skip();  // Oclgrind needs no driver
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_driver_that_does_not_load_is_named_with_the_reason(void **state) {
  (void)state;
  struct folder folder;
  heed_platform_info found[4];
  folder_make(&folder);
  folder_write(&folder, "a.icd", "libheed-no-such-driver.so.1\n");
  folder_write(&folder, "b.icd", " \n");
  folder_write(&folder, "c.txt", "libheed-no-such-driver.so.1\n");
  char gone[128];
  snprintf(gone, sizeof gone, "%s/d.icd", folder.path);
  assert_int_equal(symlink("/no/such/driver.icd", gone), 0);
  setenv("OCL_ICD_VENDORS", folder.path, 1);
  assert_int_equal(heed__cl_icd_failures(found, 4, true), 3);
  assert_string_equal(found[0].name, "a.icd");
  assert_non_null(strstr(found[0].reason, "libheed-no-such-driver.so.1"));
  assert_string_equal(found[1].name, "b.icd");
  assert_non_null(strstr(found[1].reason, "names no library"));
  assert_string_equal(found[2].name, "d.icd");
  assert_non_null(strstr(found[2].reason, "cannot be read: No such file"));
  assert_int_equal(heed__cl_icd_failures(found, 1, true), 1);
  // Where no driver of the folder is loaded and there are platforms, something else provides OpenCL.
  assert_int_equal(heed__cl_icd_failures(found, 4, false), 0);
  char file[128];
  snprintf(file, sizeof file, "%s/a.icd", folder.path);
  setenv("OCL_ICD_VENDORS", file, 1);
  assert_int_equal(heed__cl_icd_failures(found, 4, true), 1);
  setenv("OCL_ICD_VENDORS", "/no/such/folder", 1);
  assert_int_equal(heed__cl_icd_failures(found, 4, true), 0);
  unsetenv("OCL_ICD_VENDORS");
  folder_remove(&folder, (const char *const[]){"a.icd", "b.icd", "c.txt", "d.icd", NULL});
}

static void every_device_has_a_name_and_an_id_of_its_own(void **state) {
  (void)state;
  heed_device_list *list = NULL, *again = NULL;
  ASSERT_OK(heed_device_list_create(&list));
  ASSERT_OK(heed_device_list_create(&again));
  const size_t count = heed_device_list_count(list);
  assert_int_equal(heed_device_list_count(again), count);
  for (size_t i = 0; i < count; ++i) {
    const heed_device_info *device = heed_device_list_get(list, i);
    assert_true(device->name[0] != 0 && device->id[0] != 0);
    assert_string_equal(device->id, heed_device_list_get(again, i)->id);
    for (size_t j = 0; j < i; ++j) assert_string_not_equal(device->id, heed_device_list_get(list, j)->id);
    if (device->type == HEED_DEVICE_HOST) continue;
    assert_true(strncmp(device->id, "pci:", 4) == 0 || strncmp(device->id, "uuid:", 5) == 0 ||
                strncmp(device->id, "hash:", 5) == 0);
    assert_true(device->platform_index >= 0 && device->device_index >= 0);
    assert_true(device->memory > 0 && device->max_allocation > 0 && device->compute_units > 0);
  }
  heed_device_list_destroy(list);
  heed_device_list_destroy(again);
}

static void a_spec_finds_its_device_in_the_list(void **state) {
  (void)state;
  heed_device_list *list = NULL;
  ASSERT_OK(heed_device_list_create(&list));
  const size_t count = heed_device_list_count(list);
  size_t found = count;
  for (size_t i = 0; i < count; ++i) {
    const heed_device_info *device = heed_device_list_get(list, i);
    char spec[96];
    snprintf(spec, sizeof spec, "id:%s", device->id);
    if (i + 1 == count) strcpy(spec, "host");
    ASSERT_OK(heed_device_list_find(list, spec, &found));
    assert_int_equal(found, i);
    if (i + 1 < count) ASSERT_OK(heed_device_list_find(list, device->id, &found));
    assert_int_equal(found, i);
    if (!device->is_auto) continue;
    ASSERT_OK(heed_device_list_find(list, "auto", &found));
    assert_int_equal(found, i);
  }
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "no such device", heed_device_list_find(list, "no such device", &found));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_device_list_find(list, "auto", NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_device_list_find(NULL, "auto", &found));
  heed_device_list_destroy(list);
}

static void a_platform_has_devices_or_a_reason(void **state) {
  (void)state;
  heed_device_list *list = NULL;
  ASSERT_OK(heed_device_list_create(&list));
  for (size_t i = 0; i < heed_device_list_platforms(list); ++i) {
    const heed_platform_info *platform = heed_device_list_platform(list, i);
    assert_true(platform->name[0] != 0);
    assert_int_equal(platform->devices == 0, platform->reason[0] != 0);
  }
  heed_device_list_destroy(list);
}

static void errors_have_names(void **state) {
  (void)state;
  assert_string_equal(heed__cl_error_name(CL_SUCCESS), "CL_SUCCESS");
  assert_string_equal(heed__cl_error_name(CL_OUT_OF_RESOURCES), "CL_OUT_OF_RESOURCES");
  assert_string_equal(heed__cl_error_name(CL_INVALID_GLOBAL_WORK_SIZE), "CL_INVALID_GLOBAL_WORK_SIZE");
  assert_non_null(heed__cl_error_name(-123456));
}

// ---------------------------------------------------------------- the caller's objects

// Some work, so that a queue that remembers its last command remembers one of this context.
static void work_on(heed_context *ctx) {
  heed_tensor *x = NULL;
  float got[3];
  cl_mem scratch = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (const int64_t[]){3}, &x));
  ASSERT_OK(heed__cl_scratch_take(ctx, 100, &scratch));
  heed__cl_scratch_give(ctx, scratch);
  ASSERT_OK(heed_fill(x, 4));
  ASSERT_OK(heed_tensor_download(x, got, sizeof got));
  for (int i = 0; i < 3; ++i) assert_true(got[i] == 4);
  heed_tensor_destroy(x);
}

static cl_uint references(cl_context context) {
  cl_uint count = 0;
  assert_int_equal(clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof count, &count, NULL), CL_SUCCESS);
  return count;
}

// Programs, kernels and buffers hold references to the context too, so that its count tells whether any is left.
static void gives_back_all_it_took_of_the_callers_objects(void **state) {
  heed_context *ctx = support_context(state), *other = NULL;
  cl_context context;
  cl_device_id device;
  cl_command_queue queue;
  ASSERT_OK(heed_opencl_handles(ctx, &context, &device, &queue));
  work_on(ctx);
  const cl_uint before = references(context);
  ASSERT_OK(heed_open_opencl(context, device, queue, NULL, &other));
  assert_string_equal(heed_context_device(other)->id, heed_context_device(ctx)->id);
  work_on(other);
  heed_context_destroy(other);
  work_on(ctx);
  assert_int_equal(references(context), before);
}

static void refuses_objects_that_do_not_fit(void **state) {
  heed_context *ctx = support_context(state), *other = NULL;
  cl_context context, second;
  cl_device_id device;
  cl_command_queue queue;
  cl_int error = CL_SUCCESS;
  ASSERT_OK(heed_opencl_handles(ctx, &context, &device, &queue));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_open_opencl(context, device, NULL, NULL, &other));
  assert_null(other);
  second = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "another OpenCL context",
               heed_open_opencl(second, device, queue, NULL, &other));
  clReleaseContext(second);
  const heed_open_options profile = {.profile = 1};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "PROFILING", heed_open_opencl(context, device, queue, &profile, &other));
  cl_command_queue unordered = clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &error);
  if (error != CL_SUCCESS) return;  // the device has no such queues
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out-of-order", heed_open_opencl(context, device, unordered, NULL, &other));
  clReleaseCommandQueue(unordered);
}

static void a_sub_device_outside_the_list_works(void **state) {
  heed_context *ctx = support_context(state), *part = NULL;
  cl_device_id device, sub = NULL;
  cl_int error = CL_SUCCESS;
  cl_uint made = 0, most = 0;
  ASSERT_OK(heed_opencl_handles(ctx, NULL, &device, NULL));
  const cl_device_partition_property one[] = {CL_DEVICE_PARTITION_BY_COUNTS, 1, CL_DEVICE_PARTITION_BY_COUNTS_LIST_END,
                                              0};
  // Some drivers do not survive the call where they cannot divide.
  clGetDeviceInfo(device, CL_DEVICE_PARTITION_MAX_SUB_DEVICES, sizeof most, &most, NULL);
  if (most < 1 || clCreateSubDevices(device, one, 1, &sub, &made) != CL_SUCCESS) skip();
  cl_context context = clCreateContext(NULL, 1, &sub, NULL, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  cl_command_queue queue = clCreateCommandQueue(context, sub, 0, &error);
  assert_int_equal(error, CL_SUCCESS);
  ASSERT_OK(heed_open_opencl(context, sub, queue, NULL, &part));
  clReleaseCommandQueue(queue);
  clReleaseContext(context);
  clReleaseDevice(sub);
  assert_int_equal(heed_context_device(part)->device_index, -1);
  assert_true(heed_context_device(part)->name[0] != 0);
  work_on(part);
  heed_context_destroy(part);
}

// ---------------------------------------------------------------- memory

static void a_tensor_past_the_devices_memory_is_refused_with_figures(void **state) {
  heed_context *ctx = support_context(state);
  const struct heed__cl *cl = heed__cl_state(ctx);
  heed_tensor *x = NULL;
  const int64_t dims[] = {(int64_t)cl->traits.max_allocation + 1};
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "bytes", heed_tensor_create(ctx, HEED_U8, 1, dims, &x));
  assert_non_null(strstr(heed_last_error(), heed_context_device(ctx)->name));
  assert_null(x);
}

static void tensors_together_cannot_pass_the_devices_memory(void **state) {
  heed_context *ctx = support_context(state);
  struct heed__cl *cl = heed__cl_state(ctx);
  const uint64_t memory = cl->traits.memory, before = ctx->allocated;
  heed_tensor *x = NULL, *y = NULL;
  heed__cl_scratch_trim(ctx, 0);
  cl->traits.memory = ctx->allocated + 6000;
  ASSERT_OK(heed_tensor_create(ctx, HEED_U8, 1, (const int64_t[]){4000}, &x));
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "heed holds",
               heed_tensor_create(ctx, HEED_U8, 1, (const int64_t[]){4000}, &y));
  // Idle scratch makes way for a tensor.
  cl_mem scratch = NULL;
  ASSERT_OK(heed__cl_scratch_take(ctx, 1024, &scratch));
  heed__cl_scratch_give(ctx, scratch);
  ASSERT_OK(heed_tensor_create(ctx, HEED_U8, 1, (const int64_t[]){2000}, &y));
  heed_tensor_destroy(y);
  heed_tensor_destroy(x);
  cl->traits.memory = memory;
  assert_true(ctx->allocated <= before);
}

// A CPU's memory is what the operating system tells: the driver tells what was free at some moment, and gives more.
static void a_cpu_has_the_machines_memory(void **state) {
  heed_context *ctx = support_context(state);
  const heed_device_info *device = heed_context_device(ctx);
  struct heed__cl *cl = heed__cl_state(ctx);
  cl_ulong told = 0;
  assert_int_equal(clGetDeviceInfo(cl->device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof told, &told, NULL), CL_SUCCESS);
  if (!cl->traits.shares_host) {
    assert_int_equal(device->memory, told);
    skip();
  }
  const struct heed__memory memory = heed__memory_read("");
  assert_int_equal(device->memory, memory.total);
  assert_true(memory.available > 0 && device->max_allocation > 0);
  // What the machine has no more is refused with the figure, where the device's own size would allow it.
  const uint64_t room = cl->traits.max_allocation, whole = cl->traits.memory;
  heed_tensor *x = NULL;
  cl->traits.max_allocation = cl->traits.memory = UINT64_MAX / 2;
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "this machine, whose memory",
               heed_tensor_create(ctx, HEED_U8, 1, (const int64_t[]){INT64_C(1) << 60}, &x));
  cl->traits.max_allocation = room;
  cl->traits.memory = whole;
}

// How many of the next buffers the driver has no room for.
static int buffers_refused;

// In the place of the loader's, for heed.
cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error) {
  cl_mem (*real)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
  void *found = dlsym(RTLD_NEXT, "clCreateBuffer");
  assert_non_null(found);
  memcpy(&real, &found, sizeof real);
  if (buffers_refused == 0) return real(context, flags, size, host, error);
  --buffers_refused;
  *error = CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return NULL;
}

// Other programs take memory as well: a driver may have no room where heed's own count has.
static void scratch_makes_way_where_the_driver_has_no_room(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = NULL;
  cl_mem scratch = NULL;
  ASSERT_OK(heed__cl_scratch_take(ctx, 1024, &scratch));
  heed__cl_scratch_give(ctx, scratch);
  buffers_refused = 1;
  ASSERT_OK(heed_tensor_create(ctx, HEED_U8, 1, (const int64_t[]){2000}, &x));
  assert_int_equal(buffers_refused, 0);
  assert_int_equal(heed__cl_scratch_trim(ctx, 0), 0);  // it has been given back already
  heed_tensor_destroy(x);
  buffers_refused = 2;
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "making a buffer of 2.0 KiB: CL_MEM_OBJECT_ALLOCATION_FAILURE",
               heed_tensor_create(ctx, HEED_U8, 1, (const int64_t[]){2000}, &x));
  buffers_refused = 0;
}

static void scratch_is_used_again_and_counted(void **state) {
  heed_context *ctx = support_context(state);
  heed__cl_scratch_trim(ctx, 0);
  const uint64_t before = ctx->allocated;
  cl_mem a = NULL, b = NULL, c = NULL;
  ASSERT_OK(heed__cl_scratch_take(ctx, 10, &a));
  ASSERT_OK(heed__cl_scratch_take(ctx, 100000, &b));
  assert_ptr_not_equal(a, b);
  heed__cl_scratch_give(ctx, b);
  heed__cl_scratch_give(ctx, NULL);
  ASSERT_OK(heed__cl_scratch_take(ctx, 99000, &c));
  assert_ptr_equal(b, c);
  heed__cl_scratch_give(ctx, c);
  // A small request does not hold a large buffer.
  ASSERT_OK(heed__cl_scratch_take(ctx, 12, &c));
  assert_ptr_not_equal(b, c);
  assert_ptr_not_equal(a, c);
  heed__cl_scratch_give(ctx, c);
  heed__cl_scratch_give(ctx, a);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_OK(heed__cl_scratch_take(ctx, 10, &a));
    heed__cl_scratch_give(ctx, a);
  }
  assert_true(ctx->allocated - before < 200000);
  assert_true(heed__cl_scratch_trim(ctx, 0) > 0);
  assert_true(ctx->allocated == before);
}

// Uploads of every size leave the caller's memory free to be overwritten at once.
static void uploads_have_read_their_source_when_they_return(void **state) {
  heed_context *ctx = support_context(state);
  enum { MANY = 200, WIDTH = 1000, LARGE = 200000 };
  heed_tensor *rows[MANY], *large = NULL;
  float row[WIDTH];
  for (int i = 0; i < MANY; ++i) {
    for (int j = 0; j < WIDTH; ++j) row[j] = (float)(i * WIDTH + j);
    ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, (const int64_t[]){WIDTH}, row, &rows[i]));
  }
  float *data = malloc(LARGE * sizeof *data);
  assert_non_null(data);
  for (int i = 0; i < LARGE; ++i) data[i] = (float)i;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, (const int64_t[]){LARGE}, data, &large));
  memset(data, 0xff, LARGE * sizeof *data);
  ASSERT_OK(heed_tensor_download(large, data, LARGE * sizeof *data));
  for (int i = 0; i < LARGE; ++i) assert_true(data[i] == (float)i);
  for (int i = 0; i < MANY; ++i) {
    ASSERT_OK(heed_tensor_download(rows[i], row, sizeof row));
    for (int j = 0; j < WIDTH; ++j) assert_true(row[j] == (float)(i * WIDTH + j));
    heed_tensor_destroy(rows[i]);
  }
  heed_tensor_destroy(large);
  free(data);
  ASSERT_OK(heed_sync(ctx));
}

// ---------------------------------------------------------------- profiling and peak

static void profiling_records_each_launch_in_order(void **state) {
  heed_context *ctx = support_context(state), *profiled = NULL;
  const heed_device_info *device = heed_context_device(ctx);
  char spec[96];
  snprintf(spec, sizeof spec, "id:%s", device->id);
  const heed_open_options options = {.device = spec, .profile = 1, .validate = -1};
  ASSERT_OK(heed_open_with(&options, &profiled));
  heed_tensor *x = NULL;
  const heed_profile_record *records = NULL;
  size_t count = 0;
  ASSERT_OK(heed_tensor_create(profiled, HEED_F32, 1, (const int64_t[]){64}, &x));
  enum { LAUNCHES = 1500 };  // more than the events that may wait
  for (int i = 0; i < LAUNCHES; ++i) ASSERT_OK(heed_fill(x, i));
  ASSERT_OK(heed_profile_records(profiled, &records, &count));
  assert_int_equal(count, LAUNCHES);
  for (size_t i = 0; i < count; ++i) {
    assert_true(records[i].kernel[0] != 0);
    assert_true(records[i].start_ns <= records[i].end_ns);
    if (i > 0) assert_true(records[i - 1].start_ns <= records[i].start_ns);
  }
  ASSERT_OK(heed_profile_records(profiled, &records, &count));
  assert_int_equal(count, 0);
  ASSERT_OK(heed_fill(x, 0));  // an event that nobody asks for
  heed_tensor_destroy(x);
  heed_context_destroy(profiled);
  ASSERT_OK(heed_profile_records(ctx, &records, &count));
  assert_int_equal(count, 0);
}

static void peak_is_measured(void **state) {
  heed_context *ctx = support_context(state);
  double gflops = 0, gbytes = 0;
  ASSERT_OK(heed_measure_peak(ctx, 1 << 20, &gflops, &gbytes));
  assert_true(gflops > 0 && gflops < 1e7);
  assert_true(gbytes > 0 && gbytes < 1e6);
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "needed",
               heed_measure_peak(ctx, (size_t)heed__cl_state(ctx)->traits.max_allocation + 4096, &gflops, &gbytes));
}

int main(void) {
  const struct CMUnitTest drivers[] = {
      cmocka_unit_test(no_platform_leaves_the_host),
      cmocka_unit_test(a_driver_that_does_not_load_is_named_with_the_reason),
      cmocka_unit_test(every_device_has_a_name_and_an_id_of_its_own),
      cmocka_unit_test(a_spec_finds_its_device_in_the_list),
      cmocka_unit_test(a_platform_has_devices_or_a_reason),
      cmocka_unit_test(errors_have_names),
  };
  const struct CMUnitTest contexts[] = {
      cmocka_unit_test(gives_back_all_it_took_of_the_callers_objects),
      cmocka_unit_test(refuses_objects_that_do_not_fit),
      cmocka_unit_test(a_sub_device_outside_the_list_works),
      cmocka_unit_test(a_tensor_past_the_devices_memory_is_refused_with_figures),
      cmocka_unit_test(tensors_together_cannot_pass_the_devices_memory),
      cmocka_unit_test(a_cpu_has_the_machines_memory),
      cmocka_unit_test(scratch_makes_way_where_the_driver_has_no_room),
      cmocka_unit_test(scratch_is_used_again_and_counted),
      cmocka_unit_test(uploads_have_read_their_source_when_they_return),
      cmocka_unit_test(profiling_records_each_launch_in_order),
      cmocka_unit_test(peak_is_measured),
  };
  const int failed = cmocka_run_group_tests_name("devices", drivers, NULL, NULL);
  return failed + cmocka_run_group_tests_name("contexts on a device", contexts, support_open_device, support_close);
}
