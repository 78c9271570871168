// What a safetensors object is inside: arrays and metadata in host memory. Other files read and write it.
#ifndef HEED__SAFETENSORS_H
#define HEED__SAFETENSORS_H

#include <heed/io.h>

#include "base/status.h"

#define HEED__SAFETENSORS_MAX_HEADER 100000000  // the limit of the format's own library
#define HEED__SAFETENSORS_METADATA "__metadata__"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors holds little-endian data, copied as they are");

struct heed__metadata {
  char *key, *value;
};

struct heed_safetensors {
  heed_array *arrays;
  size_t count, capacity;
  struct heed__metadata *metadata;
  size_t metadata_count, metadata_capacity;
};

// Memory for array data: aligned to 16 bytes, never NULL for 0 bytes; free() releases it.
void *heed__array_allocate(size_t bytes);
// Appends without searching for the name (the caller knows it is new). It takes ownership of `data`, on failure, too.
heed_status heed__safetensors_append(heed_safetensors *file, const char *name, heed_dtype dtype, int rank,
                                     const int64_t *dims, void *data, size_t bytes);
heed_status heed__safetensors_append_metadata(heed_safetensors *file, const char *key, const char *value);

#endif
