// The header of a safetensors file: what tensors it holds, and where.
#ifndef HEED__SAFETENSORS_HEADER_H
#define HEED__SAFETENSORS_HEADER_H

#include <jansson.h>

#include "io/convert.h"
#include "io/safetensors.h"
#include "io/source.h"

// One tensor as the header describes it.
struct heed__entry {
  const char *name;  // owned by the parsed header
  size_t order;      // in the header
  const struct heed__stored_dtype *dtype;
  int rank;
  int64_t dims[HEED_MAX_STORED_RANK];
  int64_t count;
  int64_t begin, end;  // bytes, from the end of the header
};

struct heed__header {
  json_t *json;
  struct heed__entry *entries;  // in the order of their data
  size_t count;
  int64_t data;  // where the data begin in the file
};

// Reads and checks it, up to the first byte of data. Metadata go to `file`. On failure, too, the caller frees the header.
heed_status heed__header_read(struct heed__source *source, struct heed__header *header, heed_safetensors *file);
void heed__header_free(struct heed__header *header);

#endif
