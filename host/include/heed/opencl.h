// heed's OpenCL handles, for programs that use both heed and their own OpenCL code.
#ifndef HEED_OPENCL_H
#define HEED_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#ifdef __APPLE__
#include <OpenCL/cl.h>
#else
#include <CL/cl.h>
#endif
#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// Opens a context on the caller's OpenCL objects. heed retains them and works on this queue, which must be in-order. options.device is
// not read. Errors: INVALID_ARGUMENT when the objects do not belong together or the queue is out-of-order.
HEED_API HEED_MUST_CHECK heed_status heed_open_opencl(cl_context context, cl_device_id device, cl_command_queue queue,
                                                      const heed_open_options *options, heed_context **out);

// Gives the context's handles, which still belong to heed. Each out pointer may be NULL. Errors: UNSUPPORTED on the host backend.
HEED_API HEED_MUST_CHECK heed_status heed_opencl_handles(heed_context *ctx, cl_context *context, cl_device_id *device,
                                                         cl_command_queue *queue);

// Gives the buffer of a tensor, which still belongs to the tensor. The tensor's first element is `offset` elements from its start.
// Errors: UNSUPPORTED on the host backend.
HEED_API HEED_MUST_CHECK heed_status heed_opencl_buffer(const heed_tensor *tensor, cl_mem *buffer, int64_t *offset);

// Makes a tensor over a caller's buffer, densely packed from the buffer's start. heed retains the buffer.
// Errors: SHAPE when the buffer is too small; INVALID_ARGUMENT when it belongs to another OpenCL context; UNSUPPORTED on the host.
HEED_API HEED_MUST_CHECK heed_status heed_opencl_tensor(heed_context *ctx, cl_mem buffer, heed_dtype dtype, int rank,
                                                        const int64_t *dims, heed_tensor **out);

#ifdef __cplusplus
}
#endif
#endif
