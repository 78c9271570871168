// Makes the text of a key from those properties of a device that decide whether something kept on disk still fits it.
#ifndef HEED__DEVICE_KEY_H
#define HEED__DEVICE_KEY_H

#include <heed/heed.h>

// The key of a compiled program: heed's version, platform and driver with their versions, vendor and name. Equal devices share it. It does
// not contain the program's source. free() it; NULL: no host memory.
char *heed__cl_device_model(const heed_device_info *device);
// The key of a verdict on results: the model, this very device by its id, and a hash of all kernels, because two builds of one version may
// differ in nothing else. The kernels come from the folder kernel_dir if it is not NULL and has them, else from the embedded ones. free()
// the key; NULL: no host memory, or kernels that cannot be read.
char *heed__cl_device_key(const heed_device_info *device, const char *kernel_dir);

#endif
