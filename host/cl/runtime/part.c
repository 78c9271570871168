// Parts of a CPU, for several processes that share it.
#include <stdlib.h>

#include "cl/runtime/runtime.h"

// Divides a device into `most` parts of `each` units and keeps one of them.
static heed_status take(cl_device_id device, cl_uint each, cl_uint most, cl_uint index, cl_device_id *out) {
  const cl_device_partition_property equally[] = {CL_DEVICE_PARTITION_EQUALLY, (cl_device_partition_property)each, 0};
  cl_device_id *all = calloc(most, sizeof *all);
  HEED__REQUIRE(all, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for %u parts of a device", most);
  cl_uint made = 0;
  const cl_int error = clCreateSubDevices(device, equally, most, all, &made);
  for (cl_uint i = 0; error == CL_SUCCESS && i < made; ++i) {
    if (i == index % made)
      *out = all[i];
    else
      clReleaseDevice(all[i]);
  }
  free(all);
  HEED__REQUIRE(error == CL_SUCCESS && made > 0, HEED_ERROR_UNSUPPORTED,
                "open: the driver does not divide the device into parts of %u compute units: %s (%d)", each,
                heed__cl_error_name(error), (int)error);
  return HEED_OK;
}

heed_status heed__cl_part(cl_device_id device, int parts, int part, cl_device_id *out) {
  struct heed__cl_asked asked = {.device = device};
  cl_device_type type = 0;
  cl_uint units = 0, most = 0;
  HEED__CL_ASK(&asked, CL_DEVICE_TYPE, &type);
  HEED__CL_ASK(&asked, CL_DEVICE_MAX_COMPUTE_UNITS, &units);
  HEED__CL_ASK(&asked, CL_DEVICE_PARTITION_MAX_SUB_DEVICES, &most);
  HEED__TRY(heed__cl_asked_status(&asked));
  *out = NULL;
  HEED__REQUIRE((type & CL_DEVICE_TYPE_CPU) && !(type & CL_DEVICE_TYPE_GPU), HEED_ERROR_UNSUPPORTED,
                "open: only a CPU can be divided; give each process a device of its own");
  if (units < 2) {  // all take turns on its one unit
    const cl_int error = clRetainDevice(device);
    HEED__REQUIRE(error == CL_SUCCESS, HEED_ERROR_DEVICE, "open: retaining the device: %s (%d)",
                  heed__cl_error_name(error), (int)error);
    *out = device;
    return HEED_OK;
  }
  // Some drivers do not survive being asked to divide what they cannot.
  HEED__REQUIRE(most >= 2, HEED_ERROR_UNSUPPORTED, "open: the driver does not divide this CPU; use another one");
  const cl_uint each = units > (cl_uint)parts ? units / (cl_uint)parts : 1;
  return take(device, each, units / each, (cl_uint)part, out);
}
