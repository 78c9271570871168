// Device specs: the one parser for --device and HEED_DEVICE, over a list of devices.
#ifndef HEED__SPEC_H
#define HEED__SPEC_H

#include "base/status.h"

// Finds the index in `devices` of the device that spec names. One of them is the host. *notice (of `notice_size` bytes) gets what the user
// should know. Errors: NO_DEVICE with the devices listed.
heed_status heed__spec_resolve(const char *spec, const heed_device_info *const *devices, size_t count, size_t *index,
                               char *notice, size_t notice_size);
// spec, else HEED_DEVICE, else "auto".
const char *heed__spec_or_default(const char *spec);
// The device that "auto" picks: the best GPU, else an accelerator, else an OpenCL CPU, else the host; none that failed its self-test.
size_t heed__spec_auto(const heed_device_info *const *devices, size_t count);
bool heed__spec_is_auto(const char *spec);
// Tells whether "auto" would prefer `device` to `other` if it had not failed its self-test.
bool heed__spec_comes_before(const heed_device_info *device, const heed_device_info *other);

#endif
