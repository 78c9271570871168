// The shim's OpenCL: each call that heed makes, with the errors that a driver may give for it; the rest passes to the driver.
#include <string.h>

#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>

#include "fault_shim_inside.h"

// ---------------------------------------------------------------- OpenCL: errors

#define E(name) \
  { name, #name }
#define RESOURCES E(CL_OUT_OF_RESOURCES), E(CL_OUT_OF_HOST_MEMORY)
#define PLATFORM_NOT_FOUND \
  { -1001, "CL_PLATFORM_NOT_FOUND_KHR" }
static const struct error resources[] = {RESOURCES};
static const struct error platform_errors[] = {E(CL_OUT_OF_HOST_MEMORY), PLATFORM_NOT_FOUND};
static const struct error device_errors[] = {E(CL_DEVICE_NOT_FOUND), RESOURCES};
static const struct error info_errors[] = {E(CL_INVALID_VALUE), RESOURCES};
static const struct error context_errors[] = {E(CL_DEVICE_NOT_AVAILABLE), E(CL_INVALID_DEVICE), RESOURCES};
static const struct error queue_errors[] = {E(CL_INVALID_QUEUE_PROPERTIES), RESOURCES};
static const struct error buffer_errors[] = {E(CL_MEM_OBJECT_ALLOCATION_FAILURE), E(CL_INVALID_BUFFER_SIZE), RESOURCES};
static const struct error binary_errors[] = {E(CL_INVALID_BINARY), RESOURCES};
static const struct error build_errors[] = {E(CL_BUILD_PROGRAM_FAILURE), E(CL_COMPILER_NOT_AVAILABLE),
                                            E(CL_INVALID_BUILD_OPTIONS), E(CL_INVALID_BINARY), RESOURCES};
static const struct error kernel_errors[] = {E(CL_INVALID_PROGRAM_EXECUTABLE), E(CL_INVALID_KERNEL_NAME),
                                             E(CL_INVALID_KERNEL_DEFINITION), RESOURCES};
static const struct error arg_errors[] = {E(CL_INVALID_ARG_SIZE), E(CL_INVALID_MEM_OBJECT), RESOURCES};
static const struct error launch_errors[] = {E(CL_MEM_OBJECT_ALLOCATION_FAILURE), E(CL_INVALID_WORK_GROUP_SIZE),
                                             RESOURCES};
static const struct error transfer_errors[] = {E(CL_MEM_OBJECT_ALLOCATION_FAILURE),
                                               E(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST), RESOURCES};
static const struct error wait_errors[] = {E(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST), RESOURCES};
static const struct error profiling_errors[] = {E(CL_PROFILING_INFO_NOT_AVAILABLE), RESOURCES};

// ---------------------------------------------------------------- OpenCL: calls

// Functions that return their error and make nothing.
#define PLAIN(name, errors, parameters, arguments)        \
  EXPORT cl_int name parameters {                         \
    const struct error *error = INJECT(FAULT_CL, errors); \
    return error ? error->code : REAL(name) arguments;    \
  }
// Functions that return an object, and their error through the last parameter.
#define CREATES(type, name, object, errors, parameters, arguments) \
  EXPORT type name parameters {                                    \
    const struct error *error = INJECT(FAULT_CL, errors);          \
    if (error) {                                                   \
      if (errcode) *errcode = error->code;                         \
      return NULL;                                                 \
    }                                                              \
    const type made = REAL(name) arguments;                        \
    fault_hold(object, made);                                      \
    return made;                                                   \
  }
// Commands: they may make an event.
#define COMMAND(name, errors, parameters, arguments)                \
  EXPORT cl_int name parameters {                                   \
    const struct error *error = INJECT(FAULT_CL, errors);           \
    const cl_int code = error ? error->code : REAL(name) arguments; \
    if (code == CL_SUCCESS && event) fault_hold(EVENT, *event);     \
    return code;                                                    \
  }
// A release cannot be undone by its caller, so it always happens.
#define COUNTED(type, Name, object)                          \
  EXPORT cl_int clRetain##Name(type it) {                    \
    const struct error *error = INJECT(FAULT_CL, resources); \
    if (error) return error->code;                           \
    const cl_int code = REAL(clRetain##Name)(it);            \
    if (code == CL_SUCCESS) fault_hold(object, it);          \
    return code;                                             \
  }                                                          \
  EXPORT cl_int clRelease##Name(type it) {                   \
    fault_let_go(object, it);                                \
    const cl_int code = REAL(clRelease##Name)(it);           \
    const struct error *error = INJECT(FAULT_CL, resources); \
    return error ? error->code : code;                       \
  }

#define INFO_PARAMETERS size_t size, void *value, size_t *size_ret
#define INFO_ARGUMENTS size, value, size_ret
#define WAIT_PARAMETERS cl_uint count, const cl_event *waits, cl_event *event
#define WAIT_ARGUMENTS count, waits, event

COUNTED(cl_context, Context, CONTEXT)
COUNTED(cl_command_queue, CommandQueue, QUEUE)
COUNTED(cl_mem, MemObject, BUFFER)
COUNTED(cl_program, Program, PROGRAM)
COUNTED(cl_kernel, Kernel, KERNEL)
COUNTED(cl_event, Event, EVENT)
COUNTED(cl_device_id, Device, DEVICE)

PLAIN(clGetPlatformIDs, platform_errors, (cl_uint entries, cl_platform_id *ids, cl_uint *count), (entries, ids, count))
PLAIN(clGetPlatformInfo, info_errors, (cl_platform_id it, cl_platform_info what, INFO_PARAMETERS),
      (it, what, INFO_ARGUMENTS))
PLAIN(clGetDeviceIDs, device_errors,
      (cl_platform_id it, cl_device_type type, cl_uint entries, cl_device_id *ids, cl_uint *count),
      (it, type, entries, ids, count))
PLAIN(clGetDeviceInfo, info_errors, (cl_device_id it, cl_device_info what, INFO_PARAMETERS), (it, what, INFO_ARGUMENTS))
PLAIN(clGetContextInfo, resources, (cl_context it, cl_context_info what, INFO_PARAMETERS), (it, what, INFO_ARGUMENTS))
PLAIN(clGetCommandQueueInfo, resources, (cl_command_queue it, cl_command_queue_info what, INFO_PARAMETERS),
      (it, what, INFO_ARGUMENTS))
PLAIN(clGetMemObjectInfo, resources, (cl_mem it, cl_mem_info what, INFO_PARAMETERS), (it, what, INFO_ARGUMENTS))
PLAIN(clGetProgramInfo, resources, (cl_program it, cl_program_info what, INFO_PARAMETERS), (it, what, INFO_ARGUMENTS))
PLAIN(clGetProgramBuildInfo, resources,
      (cl_program it, cl_device_id device, cl_program_build_info what, INFO_PARAMETERS),
      (it, device, what, INFO_ARGUMENTS))
PLAIN(clGetKernelInfo, resources, (cl_kernel it, cl_kernel_info what, INFO_PARAMETERS), (it, what, INFO_ARGUMENTS))
PLAIN(clGetKernelWorkGroupInfo, info_errors,
      (cl_kernel it, cl_device_id device, cl_kernel_work_group_info what, INFO_PARAMETERS),
      (it, device, what, INFO_ARGUMENTS))
PLAIN(clGetEventProfilingInfo, profiling_errors, (cl_event it, cl_profiling_info what, INFO_PARAMETERS),
      (it, what, INFO_ARGUMENTS))
PLAIN(clBuildProgram, build_errors,
      (cl_program it, cl_uint count, const cl_device_id *devices, const char *options,
       void(CL_CALLBACK *notify)(cl_program, void *), void *data),
      (it, count, devices, options, notify, data))
PLAIN(clSetKernelArg, arg_errors, (cl_kernel it, cl_uint index, size_t size, const void *value),
      (it, index, size, value))
PLAIN(clFlush, resources, (cl_command_queue it), (it))
// Both wait before they fail: commands of a queue that failed have ended, so the caller may free what they write to.
EXPORT cl_int clFinish(cl_command_queue it) {
  const cl_int code = REAL(clFinish)(it);
  const struct error *error = INJECT(FAULT_CL, wait_errors);
  return error ? error->code : code;
}
EXPORT cl_int clWaitForEvents(cl_uint count, const cl_event *events) {
  const cl_int code = REAL(clWaitForEvents)(count, events);
  const struct error *error = INJECT(FAULT_CL, wait_errors);
  return error ? error->code : code;
}

CREATES(cl_context, clCreateContext, CONTEXT, context_errors,
        (const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
         void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *data, cl_int *errcode),
        (properties, count, devices, notify, data, errcode))
CREATES(cl_command_queue, clCreateCommandQueue, QUEUE, queue_errors,
        (cl_context it, cl_device_id device, cl_command_queue_properties properties, cl_int *errcode),
        (it, device, properties, errcode))
CREATES(cl_mem, clCreateBuffer, BUFFER, buffer_errors,
        (cl_context it, cl_mem_flags flags, size_t size, void *host, cl_int *errcode), (it, flags, size, host, errcode))
CREATES(cl_program, clCreateProgramWithSource, PROGRAM, resources,
        (cl_context it, cl_uint count, const char **strings, const size_t *lengths, cl_int *errcode),
        (it, count, strings, lengths, errcode))
CREATES(cl_program, clCreateProgramWithBinary, PROGRAM, binary_errors,
        (cl_context it, cl_uint count, const cl_device_id *devices, const size_t *lengths,
         const unsigned char **binaries, cl_int *status, cl_int *errcode),
        (it, count, devices, lengths, binaries, status, errcode))
CREATES(cl_kernel, clCreateKernel, KERNEL, kernel_errors, (cl_program it, const char *name, cl_int *errcode),
        (it, name, errcode))

// A driver may crash in one kernel alone.
static cl_int launch(cl_command_queue it, cl_kernel kernel, cl_uint dims, const size_t *offset, const size_t *global,
                     const size_t *local, WAIT_PARAMETERS) {
  char name[64] = "";
  if (REAL(clGetKernelInfo)(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL) == CL_SUCCESS) fault_crash(name);
  return REAL(clEnqueueNDRangeKernel)(it, kernel, dims, offset, global, local, WAIT_ARGUMENTS);
}
EXPORT cl_int clEnqueueNDRangeKernel(cl_command_queue it, cl_kernel kernel, cl_uint dims, const size_t *offset,
                                     const size_t *global, const size_t *local, WAIT_PARAMETERS) {
  const struct error *error = INJECT(FAULT_CL, launch_errors);
  const cl_int code = error ? error->code : launch(it, kernel, dims, offset, global, local, WAIT_ARGUMENTS);
  if (code == CL_SUCCESS && event) fault_hold(EVENT, *event);
  return code;
}
COMMAND(clEnqueueReadBuffer, transfer_errors,
        (cl_command_queue it, cl_mem buffer, cl_bool block, size_t offset, size_t size, void *data, WAIT_PARAMETERS),
        (it, buffer, block, offset, size, data, WAIT_ARGUMENTS))
COMMAND(clEnqueueWriteBuffer, transfer_errors,
        (cl_command_queue it, cl_mem buffer, cl_bool block, size_t offset, size_t size, const void *data,
         WAIT_PARAMETERS),
        (it, buffer, block, offset, size, data, WAIT_ARGUMENTS))
COMMAND(clEnqueueCopyBuffer, transfer_errors,
        (cl_command_queue it, cl_mem from, cl_mem to, size_t from_offset, size_t to_offset, size_t size,
         WAIT_PARAMETERS),
        (it, from, to, from_offset, to_offset, size, WAIT_ARGUMENTS))
COMMAND(clEnqueueFillBuffer, transfer_errors,
        (cl_command_queue it, cl_mem buffer, const void *pattern, size_t pattern_size, size_t offset, size_t size,
         WAIT_PARAMETERS),
        (it, buffer, pattern, pattern_size, offset, size, WAIT_ARGUMENTS))

COMMAND(clEnqueueMarkerWithWaitList, resources, (cl_command_queue it, WAIT_PARAMETERS), (it, WAIT_ARGUMENTS))
// Nor can this be undone.
EXPORT cl_int clEnqueueUnmapMemObject(cl_command_queue it, cl_mem buffer, void *data, WAIT_PARAMETERS) {
  const cl_int code = REAL(clEnqueueUnmapMemObject)(it, buffer, data, WAIT_ARGUMENTS);
  const struct error *error = INJECT(FAULT_CL, resources);
  return error ? error->code : code;
}
EXPORT void *clEnqueueMapBuffer(cl_command_queue it, cl_mem buffer, cl_bool block, cl_map_flags flags, size_t offset,
                                size_t size, WAIT_PARAMETERS, cl_int *errcode) {
  const struct error *error = INJECT(FAULT_CL, buffer_errors);
  if (!error) return REAL(clEnqueueMapBuffer)(it, buffer, block, flags, offset, size, WAIT_ARGUMENTS, errcode);
  if (errcode) *errcode = error->code;
  return NULL;
}

// Beside its own errors it can tell of a command that failed while it ran.
EXPORT cl_int clGetEventInfo(cl_event it, cl_event_info what, INFO_PARAMETERS) {
  static const struct error errors[] = {
      RESOURCES, {1, "CL_OUT_OF_RESOURCES"}, {2, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"}};
  const struct error *error = INJECT(FAULT_CL, errors);
  if (!error) return REAL(clGetEventInfo)(it, what, INFO_ARGUMENTS);
  if (error->code < 0) return error->code;
  const cl_int status = error->code == 1 ? CL_OUT_OF_RESOURCES : CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
  if (what != CL_EVENT_COMMAND_EXECUTION_STATUS || !value) return CL_OUT_OF_RESOURCES;
  REAL(clWaitForEvents)(1, &it);  // a command that failed has ended
  memcpy(value, &status, sizeof status);
  return CL_SUCCESS;
}
