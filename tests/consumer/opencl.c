// A program that uses heed/opencl.h calls OpenCL itself, too. The host has no OpenCL context, which is what is expected here.
#include <heed/opencl.h>
#include <stdio.h>

int main(void) {
  cl_uint platforms = 0;
  cl_context handle = NULL;
  heed_context *ctx = NULL;
  (void)clGetPlatformIDs(0, NULL, &platforms);
  if (heed_open("host", &ctx)) return 1;
  const heed_status status = heed_opencl_handles(ctx, &handle, NULL, NULL);
  heed_context_destroy(ctx);
  return status != HEED_ERROR_UNSUPPORTED;
}
