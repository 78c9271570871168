// Driver files that the OpenCL loader skips silently.
#ifndef HEED__ICD_H
#define HEED__ICD_H

#include <heed/heed.h>

#define HEED__ICD_MAX 32
// Whether there is a loader to ask. Where heed is linked to it, there is one.
bool heed__cl_has_loader(void);
// Writes an entry for each .icd file whose library does not load: its name, and the reason. Returns how many, at most `room`.
// no_platform: the loader offers no platform at all.
size_t heed__cl_icd_failures(heed_platform_info *platforms, size_t room, bool no_platform);

#endif
