// Inside of heed_device_list, for open.c.
#ifndef HEED__DEVICES_H
#define HEED__DEVICES_H

#include "cl/runtime/runtime.h"

struct heed_device_list {
  struct heed__cl_found *found;
  size_t found_count;
  heed_platform_info *platforms;
  size_t platform_count;
  heed_device_info host;
  heed_device_info **devices;  // found_count + 1; the host is last
};

// heed_device_list_create() without verdicts: all devices are untested.
heed_status heed__device_list_create(heed_device_list **out);
void heed__device_list_mark_auto(heed_device_list *list);

#endif
