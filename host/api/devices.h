// What a heed_device_list is inside, for open.c.
#ifndef HEED__DEVICES_H
#define HEED__DEVICES_H

#include "api/drivers.h"

struct heed_device_list {
  struct heed__found *found;  // of all drivers, in their order
  size_t count;
  heed_platform_info *platforms;
  size_t platform_count;
  const heed_device_info **infos;  // of found
};

// heed_device_list_create() without verdicts: all devices are untested.
heed_status heed__device_list_create(heed_device_list **out);
void heed__device_list_mark_auto(heed_device_list *list);

#endif
