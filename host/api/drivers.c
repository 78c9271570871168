// The table of drivers, and the host's functions for it; opencl.c has OpenCL's. No other file names a backend.
#include "api/drivers.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#ifdef HEED__OPENCL
#include "api/opencl.h"
#include "cl/backend.h"
#endif

// ---------------------------------------------------------------- host

static heed_status host_discover(struct heed__findings *out) {
  out->found = calloc(1, sizeof *out->found);
  HEED__REQUIRE(out->found, HEED_ERROR_OUT_OF_MEMORY, "devices: no host memory for the list");
  out->count = 1;
  heed__cpu_device_info(&out->found->info);
  return HEED_OK;
}

heed_status heed__driver_open_reference(heed_context *ctx, const heed_open_options *options) {
  return heed__cpu_open(ctx, options->parts);
}

static heed_status host_open(heed_context *ctx, void *handle, const heed_open_options *options) {
  (void)handle;
  return heed__driver_open_reference(ctx, options);
}

bool heed__driver_is_reference(const heed_context *ctx) { return ctx->device_backend == &heed__cpu_backend; }

heed_status heed__driver_create_reference(heed_context **out) {
  HEED__TRY(heed__context_create(out));
  const heed_status status = heed__cpu_open(*out, 0);
  if (status == HEED_OK) return HEED_OK;
  heed_context_destroy(*out);
  *out = NULL;
  return status;
}

// ---------------------------------------------------------------- the table

const struct heed__driver heed__drivers[] = {
#ifdef HEED__OPENCL
    {"opencl", &heed__cl_backend, heed__opencl_check, heed__opencl_discover, heed__opencl_open, &heed__opencl_verdicts,
     &heed__opencl_tuning, &heed__opencl_handles},
#endif
    {"host", &heed__cpu_backend, NULL, host_discover, host_open, NULL, NULL, NULL},
    {0},
};

const struct heed__driver *heed__driver_of(const heed_context *ctx) {
  const struct heed__driver *driver = heed__drivers;
  while (driver->name && driver->backend != ctx->device_backend) ++driver;
  return driver;
}

const struct heed__driver *heed__driver_with_handles(void) {
  const struct heed__driver *driver = heed__drivers;
  while (driver->name && !driver->handles) ++driver;
  return driver;
}
