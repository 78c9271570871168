// The OpenCL backend's row in the table of drivers.c, and its OpenCL handles.
#ifndef HEED__API_OPENCL_H
#define HEED__API_OPENCL_H

#include <heed/opencl.h>

#include "api/drivers.h"

heed_status heed__opencl_check(const heed_open_options *options);
heed_status heed__opencl_discover(struct heed__findings *out);
heed_status heed__opencl_open(heed_context *ctx, void *handle, const heed_open_options *options);
extern const struct heed__driver_verdicts heed__opencl_verdicts;
extern const struct heed__driver_tuning heed__opencl_tuning;
extern const struct heed__driver_handles heed__opencl_handles;

// heed/opencl.h on a context of a driver that has OpenCL handles.
struct heed__driver_handles {
  heed_status (*open)(heed_context *ctx, cl_context context, cl_device_id device, cl_command_queue queue,
                      const heed_open_options *options);
  void (*get)(const heed_context *ctx, cl_context *context, cl_device_id *device, cl_command_queue *queue);
  heed_status (*measure)(const heed_context *ctx, cl_mem buffer, size_t *bytes);  // refuses a buffer of another context
  heed_status (*adopt)(heed_context *ctx, cl_mem buffer);
};

#endif
