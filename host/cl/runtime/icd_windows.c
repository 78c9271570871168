// Whether Windows has an OpenCL loader: OpenCL.dll comes with a graphics driver. heed is linked so that it is loaded at the first call,
// which must not be made where there is none. Which drivers the loader skips, and why, is not looked for on Windows.
#include <windows.h>

#include "cl/runtime/icd.h"

bool heed__cl_has_loader(void) {
  return LoadLibraryA("OpenCL.dll") != NULL;  // and stays, as drivers do
}

size_t heed__cl_icd_failures(heed_platform_info *platforms, size_t room, bool no_platform) {
  const bool told = room > 0 && no_platform && !heed__cl_has_loader();
  if (room > 0) platforms[told] = (heed_platform_info){0};
  if (!told) return 0;
  platforms[0] = (heed_platform_info){.name = "OpenCL.dll", .reason = "it is not there; a graphics driver installs it"};
  return 1;
}
