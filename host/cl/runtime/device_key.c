// Keys of what heed keeps on disk. program_cache.c reads and writes the entries; callers add to the key what else tells entries apart.
#include "cl/runtime/device_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cl/runtime/sources.h"

char *heed__cl_device_model(const heed_device_info *device) {
  char *text = NULL;
  const int length =
      asprintf(&text, "heed %s\nplatform %s\n%s\ndevice %s\n%s\ndriver %s\n%s\n", heed_version(), device->platform,
               device->platform_version, device->vendor, device->name, device->driver, device->version);
  return length < 0 ? NULL : text;
}

// Hashes all kernels as the device would get them. It includes each name, so that text that moves from one file to another changes the
// hash.
static bool kernels_hash(const char *dir, uint64_t *hash) {
  *hash = HEED__HASH_START;
  for (const struct heed__cl_kernel_source *source = heed__cl_kernel_sources; source->name; ++source) {
    char *joined = NULL;
    size_t length = source->length;
    if (dir && heed__cl_source_join(dir, source->name, &joined, &length) != HEED_OK) return false;
    *hash = heed__hash(*hash, source->name, strlen(source->name) + 1);
    *hash = heed__hash(*hash, joined ? joined : source->text, length);
    free(joined);
  }
  return true;
}

char *heed__cl_device_key(const heed_device_info *device, const char *kernel_dir) {
  uint64_t hash;
  char *model = kernels_hash(kernel_dir, &hash) ? heed__cl_device_model(device) : NULL, *text = NULL;
  if (!model) return NULL;
  const int length = asprintf(&text, "%sid %s\nkernels %016llx\n", model, device->id, (unsigned long long)hash);
  free(model);
  return length < 0 ? NULL : text;
}
