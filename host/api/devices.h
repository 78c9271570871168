// Inside of heed_device_list, for open.c.
#ifndef HEED__DEVICES_H
#define HEED__DEVICES_H

#include "cl/cl.h"

struct heed_device_list {
  struct heed__cl_found *found;
  size_t found_count;
  heed_platform_info *platforms;
  size_t platform_count;
  heed_device_info host;
  heed_device_info **devices;  // found_count + 1; the host is last
};

#endif
