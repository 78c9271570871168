// What heed makes of drivers that this machine need not have: the OpenCL functions defined here answer in place of the loader's.
// Ids of devices, why a platform shows none, and the traits that kernels are chosen by.
#include <stdlib.h>
#include <string.h>

#include <heed/opencl.h>

#include "cl/runtime/runtime.h"
#include "support_devices.h"

// ---------------------------------------------------------------- a made-up OpenCL

struct answer {
  cl_device_info what;
  size_t size;
  const void *value;
};

enum { MOST_ANSWERS = 4, MOST_DEVICES = 4, MOST_PLATFORMS = 2 };
struct device {
  cl_device_type type;
  const char *extensions;
  struct answer answers[MOST_ANSWERS];  // to what only some drivers know
  const struct platform *platform;
};

static struct platform {
  const char *name;
  cl_int error;  // of clGetDeviceIDs()
  cl_uint count;
  struct device devices[MOST_DEVICES];
} platforms[MOST_PLATFORMS];
static cl_uint platform_count;
static cl_int loader_error;
static int held;  // objects that heed has not released

static void no_drivers(void) {
  memset(platforms, 0, sizeof platforms);
  platform_count = 0;
  loader_error = CL_SUCCESS;
}

static struct platform *add_platform(const char *name) {
  struct platform *platform = &platforms[platform_count++];
  platform->name = name;
  return platform;
}

static struct device *add_device(struct platform *platform, cl_device_type type, const char *extensions) {
  struct device *device = &platform->devices[platform->count++];
  *device = (struct device){.type = type, .extensions = extensions, .platform = platform};
  return device;
}

static void add_answer(struct device *device, cl_device_info what, const void *value, size_t size) {
  int i = 0;
  while (device->answers[i].size) ++i;
  device->answers[i] = (struct answer){what, size, value};
}

static cl_int give(const void *value, size_t bytes, size_t size, void *out, size_t *size_ret) {
  if (out && size < bytes) return CL_INVALID_VALUE;
  if (out) memcpy(out, value, bytes);
  if (size_ret) *size_ret = bytes;
  return CL_SUCCESS;
}
#define GIVE(value) give(&(value), sizeof(value), size, out, size_ret)
#define GIVE_TEXT(text) give((text), strlen(text) + 1, size, out, size_ret)

cl_int clGetPlatformIDs(cl_uint entries, cl_platform_id *ids, cl_uint *count) {
  if (loader_error != CL_SUCCESS) return loader_error;
  for (cl_uint i = 0; i < entries && i < platform_count; ++i) ids[i] = (cl_platform_id)&platforms[i];
  if (count) *count = platform_count;
  return CL_SUCCESS;
}

cl_int clGetPlatformInfo(cl_platform_id id, cl_platform_info what, size_t size, void *out, size_t *size_ret) {
  return what == CL_PLATFORM_NAME ? GIVE_TEXT(((const struct platform *)id)->name) : GIVE_TEXT("OpenCL 1.2");
}

cl_int clGetDeviceIDs(cl_platform_id id, cl_device_type type, cl_uint entries, cl_device_id *ids, cl_uint *count) {
  (void)type;
  struct platform *platform = (struct platform *)id;
  if (platform->count == 0) return platform->error;
  for (cl_uint i = 0; i < entries && i < platform->count; ++i) ids[i] = (cl_device_id)&platform->devices[i];
  if (count) *count = platform->count;
  return CL_SUCCESS;
}

cl_int clGetDeviceInfo(cl_device_id id, cl_device_info what, size_t size, void *out, size_t *size_ret) {
  const struct device *device = (const struct device *)id;
  static const cl_ulong memory = 1 << 30, local_memory = 49152;
  static const size_t work_group = 1024;
  static const cl_uint units = 8, bits = 64, width = 1;
  static const cl_bool yes = CL_TRUE;
  for (int i = 0; i < MOST_ANSWERS; ++i)
    if (device->answers[i].size && device->answers[i].what == what)
      return give(device->answers[i].value, device->answers[i].size, size, out, size_ret);
  switch (what) {
    case CL_DEVICE_NAME:
    case CL_DEVICE_VENDOR:
    case CL_DRIVER_VERSION:
    case CL_DEVICE_VERSION:
      return GIVE_TEXT("made up");
    case CL_DEVICE_EXTENSIONS:
      return GIVE_TEXT(device->extensions);
    case CL_DEVICE_TYPE:
      return GIVE(device->type);
    case CL_DEVICE_PLATFORM:
      return GIVE(device->platform);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
    case CL_DEVICE_GLOBAL_MEM_CACHE_SIZE:
      return GIVE(memory);
    case CL_DEVICE_LOCAL_MEM_SIZE:
      return GIVE(local_memory);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
      return GIVE(units);
    case CL_DEVICE_ADDRESS_BITS:
      return GIVE(bits);
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
      return GIVE(width);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
      return GIVE(work_group);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
      return GIVE(yes);
    default:
      return CL_INVALID_VALUE;
  }
}

static cl_int hold(int change) {
  held += change;
  return CL_SUCCESS;
}
cl_int clRetainDevice(cl_device_id id) { return id ? hold(1) : CL_INVALID_DEVICE; }
cl_int clReleaseDevice(cl_device_id id) { return id ? hold(-1) : CL_INVALID_DEVICE; }
cl_int clReleaseContext(cl_context it) { return it ? hold(-1) : CL_INVALID_CONTEXT; }
cl_int clReleaseCommandQueue(cl_command_queue it) { return it ? hold(-1) : CL_INVALID_COMMAND_QUEUE; }
cl_int clFinish(cl_command_queue it) { return it ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE; }

cl_context clCreateContext(const cl_context_properties *properties, cl_uint count, const cl_device_id *ids,
                           void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *data,
                           cl_int *error) {
  (void)properties, (void)count, (void)notify, (void)data;
  *error = hold(1);
  return (cl_context)ids[0];
}

cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id id, cl_command_queue_properties properties,
                                      cl_int *error) {
  (void)context, (void)properties;
  *error = hold(1);
  return (cl_command_queue)id;
}

// A driver that checks what it is given.
cl_int clGetCommandQueueInfo(cl_command_queue it, cl_command_queue_info what, size_t size, void *out,
                             size_t *size_ret) {
  (void)it, (void)what, (void)size, (void)out, (void)size_ret;
  return CL_INVALID_COMMAND_QUEUE;
}

// ---------------------------------------------------------------- ids

static heed_device_list *list_devices(void) {
  heed_device_list *list = NULL;
  ASSERT_OK(heed_device_list_create(&list));
  return list;
}

static void assert_id(size_t index, const char *expected) {
  heed_device_list *list = list_devices();
  const char *id = heed_device_list_get(list, index)->id;
  if (strncmp(id, expected, strlen(expected)) != 0) fail_msg("device %zu is '%s' instead of '%s'", index, id, expected);
  heed_device_list_destroy(list);
}

enum { PCI_KHR = 0x410F, UUID_KHR = 0x106A, BUS_NV = 0x4008, SLOT_NV, DOMAIN_NV, TOPOLOGY_AMD = 0x4037 };

static void the_place_on_the_bus_is_an_id(void **state) {
  (void)state;
  no_drivers();
  struct platform *platform = add_platform("Bus");
  static const cl_uint khr[] = {1, 0x3b, 2, 3}, bus = 0xaf, slot = 4 << 3 | 1, domain = 0x10000;
  add_answer(add_device(platform, CL_DEVICE_TYPE_GPU, "cl_khr_icd cl_khr_pci_bus_info"), PCI_KHR, khr, sizeof khr);
  struct device *nvidia = add_device(platform, CL_DEVICE_TYPE_GPU, "cl_nv_device_attribute_query");
  add_answer(nvidia, BUS_NV, &bus, sizeof bus);
  add_answer(nvidia, SLOT_NV, &slot, sizeof slot);
  const unsigned char topology[24] = {1, [21] = 0xc3, [22] = 5, [23] = 1};
  add_answer(add_device(platform, CL_DEVICE_TYPE_GPU, "cl_amd_device_attribute_query"), TOPOLOGY_AMD, topology,
             sizeof topology);
  assert_id(0, "pci:0001:3b:02.3");
  assert_id(1, "pci:0000:af:04.1");
  assert_id(2, "pci:0000:c3:05.1");
  add_answer(nvidia, DOMAIN_NV, &domain, sizeof domain);
  assert_id(1, "pci:10000:af:04.1");
}

// Only what is named as an extension is asked for, and only a whole answer counts.
static void half_an_answer_is_no_id(void **state) {
  (void)state;
  no_drivers();
  struct platform *platform = add_platform("Half");
  static const cl_uint khr[] = {1, 2, 3, 4};
  static const unsigned char zero[16], not_pcie[24] = {2, [21] = 0xc3};
  add_answer(add_device(platform, CL_DEVICE_TYPE_GPU, "cl_khr_pci_bus_info"), PCI_KHR, khr, sizeof khr / 2);
  add_answer(add_device(platform, CL_DEVICE_TYPE_GPU, "cl_khr_pci_bus_info2"), PCI_KHR, khr, sizeof khr);
  add_answer(add_device(platform, CL_DEVICE_TYPE_GPU, "cl_khr_device_uuid"), UUID_KHR, zero, sizeof zero);
  add_answer(add_device(platform, CL_DEVICE_TYPE_GPU, "cl_amd_device_attribute_query"), TOPOLOGY_AMD, not_pcie,
             sizeof not_pcie);
  for (size_t i = 0; i < 4; ++i) assert_id(i, "hash:");
}

// Two drivers may show one GPU, and slices of a GPU share its place.
static void an_id_that_is_taken_gives_way_to_the_next_best(void **state) {
  (void)state;
  no_drivers();
  static const cl_uint khr[] = {0, 0x3b, 0, 0};
  static const unsigned char uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8};
  struct platform *platform = add_platform("Slices");
  for (int i = 0; i < 3; ++i) {
    struct device *slice = add_device(platform, CL_DEVICE_TYPE_GPU, "cl_khr_pci_bus_info cl_khr_device_uuid");
    add_answer(slice, PCI_KHR, khr, sizeof khr);
    add_answer(slice, UUID_KHR, uuid, sizeof uuid);
  }
  assert_id(0, "pci:0000:3b:00.0");
  assert_id(1, "uuid:12345678-9abc-def0-0102-030405060708");
  assert_id(2, "hash:");
}

// ---------------------------------------------------------------- platforms without a device

static void assert_reason(const char *name, const char *part) {
  heed_device_list *list = list_devices();
  assert_int_equal(heed_device_list_platforms(list), 1);
  const heed_platform_info *platform = heed_device_list_platform(list, 0);
  assert_string_equal(platform->name, name);
  assert_int_equal(platform->devices, 0);
  if (!strstr(platform->reason, part)) fail_msg("%s: '%s' is not in '%s'", name, part, platform->reason);
  heed_device_list_destroy(list);
}

static void a_platform_without_a_device_says_what_to_do(void **state) {
  (void)state;
  static const struct {
    const char *name, *variable, *value, *part;
    cl_int error;
  } cases[] = {
      {"rusticl", "RUSTICL_ENABLE", NULL, "set RUSTICL_ENABLE=llvmpipe", CL_DEVICE_NOT_FOUND},
      {"rusticl", "RUSTICL_ENABLE", "iris", "RUSTICL_ENABLE=iris enables no driver", CL_DEVICE_NOT_FOUND},
      {"Clover", "RUSTICL_ENABLE", NULL, "RUSTICL_ENABLE=radeonsi", CL_DEVICE_NOT_FOUND},
      {"NVIDIA CUDA", "POCL_DEVICES", NULL, "nvidia-smi", CL_DEVICE_NOT_FOUND},
      {"AMD Accelerated Parallel Processing", "POCL_DEVICES", NULL, "/dev/kfd", CL_DEVICE_NOT_FOUND},
      {"Intel(R) OpenCL Graphics", "POCL_DEVICES", NULL, "/dev/dri/renderD*", CL_DEVICE_NOT_FOUND},
      {"Portable Computing Language", "POCL_DEVICES", "cuda", "POCL_DEVICES=cuda enables none", CL_DEVICE_NOT_FOUND},
      {"Portable Computing Language", "POCL_DEVICES", NULL, "POCL_CACHE_DIR", CL_DEVICE_NOT_FOUND},
      {"Another", "POCL_DEVICES", NULL, "finds none of its devices", CL_SUCCESS},
      {"NVIDIA CUDA", "POCL_DEVICES", NULL, "CL_OUT_OF_HOST_MEMORY (-6)", CL_OUT_OF_HOST_MEMORY},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    no_drivers();
    add_platform(cases[i].name)->error = cases[i].error;
    unsetenv(cases[i].variable);
    if (cases[i].value) setenv(cases[i].variable, cases[i].value, 1);
    assert_reason(cases[i].name, cases[i].part);
    unsetenv(cases[i].variable);
  }
  // Who asks for a device reads the reason as well.
  heed_context *ctx = NULL;
  ASSERT_FAILS(HEED_ERROR_NO_DEVICE, "NVIDIA CUDA has no device: asked for its devices", heed_open("gpu", &ctx));
}

static void a_loader_that_fails_stands_in_the_list(void **state) {
  (void)state;
  no_drivers();
  loader_error = CL_OUT_OF_HOST_MEMORY;
  assert_reason("OpenCL loader", "CL_OUT_OF_HOST_MEMORY");
  loader_error = -1001;  // CL_PLATFORM_NOT_FOUND_KHR: there is no driver, which is no failure
  heed_device_list *list = list_devices();
  assert_int_equal(heed_device_list_platforms(list), 0);
  heed_device_list_destroy(list);
}

// ---------------------------------------------------------------- traits

static void types_have_names(void **state) {
  (void)state;
  no_drivers();
  struct platform *platform = add_platform("Types");
  static const cl_device_type types[] = {CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_CPU, CL_DEVICE_TYPE_CPU,
                                         CL_DEVICE_TYPE_ACCELERATOR, CL_DEVICE_TYPE_CUSTOM};
  static const char *const names[] = {"gpu", "cpu", "accelerator", "accelerator", "host"};
  for (int i = 0; i < MOST_DEVICES; ++i) add_device(platform, types[i], "");
  heed_device_list *list = list_devices();
  assert_int_equal(heed_device_list_count(list), 5);
  for (size_t i = 0; i < 5; ++i)
    assert_string_equal(heed_device_type_string(heed_device_list_get(list, i)->type), names[i]);
  heed_device_list_destroy(list);
  assert_string_equal(heed_device_type_string((heed_device_type)99), "unknown");
}

static bool has_tensor_cores(struct device *device) {
  heed_context *ctx = NULL;
  const heed_open_options options = {.device = "0:0", .self_test = -1, .tuning = "off", .cache_dir = "off"};
  device->platform = &platforms[0];
  ASSERT_OK(heed_open_with(&options, &ctx));
  const bool has = heed__cl_state(ctx)->traits.tensor_cores;
  heed_context_destroy(ctx);
  assert_int_equal(held, 0);
  return has;
}

// warp.cl's instructions are those of compute capability 8, and only NVIDIA's drivers take them.
static void tensor_cores_are_used_from_capability_8_on(void **state) {
  (void)state;
  enum { CAPABILITY = 0x4000 };
  static const cl_uint capabilities[] = {7, 8, 9};
  for (int i = 0; i < 3; ++i)
    for (int nvidia = 0; nvidia < 2; ++nvidia) {
      no_drivers();
      struct device *device =
          add_device(add_platform("GPUs"), CL_DEVICE_TYPE_GPU, nvidia ? "cl_nv_device_attribute_query" : "");
      assert_false(has_tensor_cores(device));  // a driver that does not say
      add_answer(device, CAPABILITY, &capabilities[i], sizeof capabilities[i]);
      assert_int_equal(has_tensor_cores(device), nvidia && capabilities[i] >= 8);
    }
}

static void what_is_no_queue_is_refused(void **state) {
  (void)state;
  no_drivers();
  cl_device_id device = (cl_device_id)add_device(add_platform("Queues"), CL_DEVICE_TYPE_GPU, "");
  heed_context *ctx = NULL;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "the given queue is not a command queue",
               heed_open_opencl((cl_context)device, device, (cl_command_queue)device, NULL, &ctx));
  assert_null(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_place_on_the_bus_is_an_id),
      cmocka_unit_test(half_an_answer_is_no_id),
      cmocka_unit_test(an_id_that_is_taken_gives_way_to_the_next_best),
      cmocka_unit_test(a_platform_without_a_device_says_what_to_do),
      cmocka_unit_test(a_loader_that_fails_stands_in_the_list),
      cmocka_unit_test(types_have_names),
      cmocka_unit_test(tensor_cores_are_used_from_capability_8_on),
      cmocka_unit_test(what_is_no_queue_is_refused),
  };
  setenv("OCL_ICD_VENDORS", "/no/such/folder", 1);  // what is installed here is not asked about
  unsetenv("HEED_DEVICE");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
