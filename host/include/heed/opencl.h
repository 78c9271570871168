// heed's OpenCL handles, for programs that have OpenCL code of their own beside heed.
#ifndef HEED_OPENCL_H
#define HEED_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// Opens a context on the caller's OpenCL objects; heed retains them and uses this queue, which must be in-order.
// Errors: INVALID_ARGUMENT when they do not belong together or the queue is out-of-order.
HEED_API HEED_MUST_CHECK heed_status heed_open_opencl(cl_context context, cl_device_id device, cl_command_queue queue,
                                                      const heed_open_options *options, heed_context **out);

// The context's handles, still owned by heed: UNSUPPORTED on the host backend. Any out pointer may be NULL.
HEED_API HEED_MUST_CHECK heed_status heed_opencl_handles(heed_context *ctx, cl_context *context, cl_device_id *device,
                                                         cl_command_queue *queue);

// The buffer of a tensor, still owned by it; the tensor's first element is `offset` elements into it.
HEED_API HEED_MUST_CHECK heed_status heed_opencl_buffer(const heed_tensor *tensor, cl_mem *buffer, int64_t *offset);

// A tensor over a caller's buffer, densely packed from its start; heed retains the buffer. Errors: SHAPE when it is too small.
HEED_API HEED_MUST_CHECK heed_status heed_opencl_tensor(heed_context *ctx, cl_mem buffer, heed_dtype dtype, int rank,
                                                        const int64_t *dims, heed_tensor **out);

#ifdef __cplusplus
}
#endif
#endif
