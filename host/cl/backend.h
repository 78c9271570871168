// What host/api calls to open the OpenCL backend.
#ifndef HEED__CL_BACKEND_H
#define HEED__CL_BACKEND_H

#include "cl/gemm/gemm.h"
#include "cl/runtime/device_key.h"
#include "cl/tuning/calls.h"

// The choices of an open.
struct heed__cl_backend_config {
  struct heed__cl_config runtime;
  struct heed__cl_gemm_config gemm;
};

extern const struct heed__backend heed__cl_backend;
// Makes context and queue on a device (or retains the caller's), fills ctx->device, attaches the backend.
// Errors: those of heed_open_with() and heed_open_opencl(); the caller must destroy the context then, too.
heed_status heed__cl_backend_open(heed_context *ctx, cl_device_id device, const struct heed__cl_backend_config *config);
heed_status heed__cl_backend_open_with(heed_context *ctx, cl_context context, cl_device_id device,
                                       cl_command_queue queue, const struct heed__cl_backend_config *config);
// Reads the table of tuned choices; see heed__cl_tuning_open.
heed_status heed__cl_backend_tune(heed_context *ctx, const char *folder, const char *file, bool off, bool mends);
uint64_t heed__cl_backend_verdicts(const heed_context *ctx);  // heed_tune_verdicts()

// Check a folder that the caller named, for compiled kernels or with kernel files. Errors: INVALID_ARGUMENT with the reason.
heed_status heed__cl_backend_check_cache(const char *dir);
heed_status heed__cl_backend_check_kernels(const char *dir);

#endif
