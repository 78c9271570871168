// What of a device decides whether something kept on disk still holds for it, as the text of a key.
#ifndef HEED__DEVICE_KEY_H
#define HEED__DEVICE_KEY_H

#include <heed/heed.h>

// What a compiled program fits: heed's version, platform and driver with their versions, vendor and name. Equal devices share it, and the
// program's own source is its own matter. free() it; NULL: no host memory.
char *heed__cl_device_model(const heed_device_info *device);
// What a verdict on results holds for: the model, this very device by its id, and a hash of all kernels, those in the folder
// kernel_dir where it is not NULL and has them, else the embedded ones. Two builds of one version differ in nothing else. free() it;
// NULL: no host memory, or kernels that cannot be read.
char *heed__cl_device_key(const heed_device_info *device, const char *kernel_dir);

#endif
