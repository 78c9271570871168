// Makes a device pose as another one: preloaded, it answers for the driver where a program asks for the traits that heed chooses kernels,
// tiles and launches by. tools/dev/compatibility runs `heed check` so, on llvmpipe. The kernels run as they would anyhow, within the limits
// that this file tells. The device's name tells what it poses as.
// Environment: TRAITS="gpu local=BYTES group=ITEMS units=COUNT vector=FLOATS allocation=BYTES", each of which may be left out.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

// heed is built with hidden symbols, and the loader binds no call to one of those.
#define EXPORT __attribute__((visibility("default")))

// The number behind NAME=; 0 if it is not told.
static unsigned long long told(const char *name) {
  const char *traits = getenv("TRAITS");
  const size_t length = strlen(name);
  for (const char *at = traits; at && *at; at += strspn(at, " ")) {
    if (strncmp(at, name, length) == 0 && at[length] == '=') return strtoull(at + length + 1, NULL, 10);
    if (strncmp(at, name, length) == 0 && (at[length] == ' ' || !at[length])) return 1;
    at += strcspn(at, " ");
  }
  return 0;
}

// Sets *value to what is told, but to no more than it is, as the device must keep the word.
static void lower(unsigned long long limit, unsigned long long *value) {
  if (limit && limit < *value) *value = limit;
}

static void alter(cl_device_info name, size_t size, void *value) {
  unsigned long long number = 0;
  if (size == sizeof(cl_ulong) || size == sizeof(cl_uint)) memcpy(&number, value, size);
  if (name == CL_DEVICE_TYPE && told("gpu")) number = CL_DEVICE_TYPE_GPU;
  if (name == CL_DEVICE_LOCAL_MEM_SIZE) lower(told("local"), &number);
  if (name == CL_DEVICE_LOCAL_MEM_TYPE && told("local")) number = CL_LOCAL;
  if (name == CL_DEVICE_MAX_WORK_GROUP_SIZE) lower(told("group"), &number);
  if (name == CL_DEVICE_MAX_MEM_ALLOC_SIZE) lower(told("allocation"), &number);
  if (name == CL_DEVICE_MAX_COMPUTE_UNITS && told("units")) number = told("units");
  if ((name == CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT || name == CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT) && told("vector"))
    number = told("vector");
  if (size == sizeof(cl_ulong) || size == sizeof(cl_uint)) memcpy(value, &number, size);
  size_t *items = value;
  for (size_t i = 0; name == CL_DEVICE_MAX_WORK_ITEM_SIZES && told("group") && i < size / sizeof *items; ++i)
    if (items[i] > told("group")) items[i] = (size_t)told("group");
}

typedef cl_int get_device_info(cl_device_id, cl_device_info, size_t, void *, size_t *);

// So that a result tells by itself what gave it, and heed keeps nothing of one for the other: it makes the device's id of the name.
static cl_int rename_device(get_device_info *next, cl_device_id device, size_t size, char *value, size_t *given) {
  char own[128], name[256];
  const cl_int error = next(device, CL_DEVICE_NAME, sizeof own, own, NULL);
  if (error != CL_SUCCESS) return error;
  const size_t bytes = (size_t)snprintf(name, sizeof name, "%s, posing as %.100s", own, getenv("TRAITS")) + 1;
  if (given) *given = bytes;
  if (value && size < bytes) return CL_INVALID_VALUE;
  if (value) memcpy(value, name, bytes);
  return CL_SUCCESS;
}

EXPORT cl_int clGetDeviceInfo(cl_device_id device, cl_device_info name, size_t size, void *value, size_t *given) {
  get_device_info *next;
  *(void **)&next = dlsym(RTLD_NEXT, "clGetDeviceInfo");
  if (name == CL_DEVICE_NAME && getenv("TRAITS")) return rename_device(next, device, size, value, given);
  size_t written = 0;
  const cl_int error = next(device, name, size, value, &written);
  if (error == CL_SUCCESS && value) alter(name, written, value);
  if (given) *given = written;
  return error;
}

// The driver compiled for more items than are told.
EXPORT cl_int clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info name,
                                       size_t size, void *value, size_t *given) {
  cl_int (*next)(cl_kernel, cl_device_id, cl_kernel_work_group_info, size_t, void *, size_t *);
  *(void **)&next = dlsym(RTLD_NEXT, "clGetKernelWorkGroupInfo");
  const cl_int error = next(kernel, device, name, size, value, given);
  const unsigned long long group = told("group");
  if (error == CL_SUCCESS && value && name == CL_KERNEL_WORK_GROUP_SIZE && group && *(size_t *)value > group)
    *(size_t *)value = (size_t)group;
  return error;
}
