// Writes safetensors: the header made from the arrays, then their bytes, through an atomic file.
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/size.h"
#include "io/safetensors.h"

#define DATA_ALIGNMENT 8

// Wide elements first, so that every array starts at a multiple of its element size, as readers that map the file need.
static const heed_array **in_file_order(const heed_safetensors *file) {
  const heed_array **order = calloc(file->count + 1, sizeof *order);
  if (!order) return NULL;
  size_t placed = 0;
  for (size_t size = 8; size > 0; size /= 2) {
    for (size_t i = 0; i < file->count; ++i) {
      if (heed_dtype_size(file->arrays[i].dtype) == size) order[placed++] = &file->arrays[i];
    }
  }
  return order;
}

static json_t *describe(const heed_array *array, int64_t begin) {
  json_t *shape = json_array();
  for (int i = 0; i < array->rank; ++i) {
    if (json_array_append_new(shape, json_integer(array->dims[i])) != 0) {
      json_decref(shape);
      return NULL;
    }
  }
  const json_int_t end = begin + (int64_t)array->bytes;
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", heed_dtype_string(array->dtype), "shape", shape, "data_offsets",
                   (json_int_t)begin, end);
}

static json_t *describe_all(const heed_safetensors *file, const heed_array **order) {
  json_t *header = json_object();
  bool ok = header != NULL;
  if (file->metadata_count > 0) {
    json_t *metadata = ok ? json_object() : NULL;
    ok = ok && json_object_set_new(header, HEED__SAFETENSORS_METADATA, metadata) == 0;
    for (size_t i = 0; ok && i < file->metadata_count; ++i)
      ok = json_object_set_new(metadata, file->metadata[i].key, json_string(file->metadata[i].value)) == 0;
  }
  int64_t offset = 0;
  for (size_t i = 0; ok && i < file->count; ++i) {
    ok = json_object_set_new(header, order[i]->name, describe(order[i], offset)) == 0;
    offset += (int64_t)order[i]->bytes;
  }
  if (ok) return header;
  json_decref(header);
  return NULL;
}

// Makes one block of the length, the JSON and the spaces that align the data after them; the caller frees it.
static heed_status make_header(const heed_safetensors *file, const heed_array **order, const char *path, char **out,
                               size_t *bytes) {
  json_t *json = describe_all(file, order);
  errno = 0;  // without memory, jansson silently leaves out a part of a name
  char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
  const bool whole = text && errno != ENOMEM;
  json_decref(json);
  if (!whole) free(text);
  HEED__REQUIRE(whole, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for the header", path);
  const size_t used = strlen(text);
  const size_t length = (size_t)heed__round_up((int64_t)used, DATA_ALIGNMENT);
  char *block = length <= HEED__SAFETENSORS_MAX_HEADER ? malloc(8 + length) : NULL;
  if (block) {
    for (int i = 0; i < 8; ++i) block[i] = (char)((uint64_t)length >> (8 * i) & 0xff);
    memcpy(block + 8, text, used);
    memset(block + 8 + used, ' ', length - used);
  }
  free(text);
  HEED__REQUIRE(length <= HEED__SAFETENSORS_MAX_HEADER, HEED_ERROR_OVERFLOW,
                "%s: a header of %zu bytes is over the format's limit of %d", path, length,
                HEED__SAFETENSORS_MAX_HEADER);
  HEED__REQUIRE(block, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for the header", path);
  *out = block;
  *bytes = 8 + length;
  return HEED_OK;
}

static heed_status write_all(struct heed__atomic_file *out, const char *header, size_t header_bytes,
                             const heed_array **order, size_t count) {
  HEED__TRY(heed__atomic_write(out, header, header_bytes));
  for (size_t i = 0; i < count; ++i) HEED__TRY(heed__atomic_write(out, order[i]->data, order[i]->bytes));
  return HEED_OK;
}

// Writes into an open file, or into the file at out->path, which is then replaced.
static heed_status write_file(const heed_safetensors *file, struct heed__atomic_file *out, bool is_open) {
  const heed_array **order = in_file_order(file);
  HEED__REQUIRE(order, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for the header", out->path);
  char *header = NULL;
  size_t header_bytes = 0;
  heed_status status = make_header(file, order, out->path, &header, &header_bytes);
  if (status == HEED_OK && !is_open) status = heed__atomic_open(out, out->path);
  if (status == HEED_OK) {
    status = write_all(out, header, header_bytes, order, file->count);
    if (status == HEED_OK && !is_open) status = heed__atomic_commit(out);
    if (!is_open) heed__atomic_close(out);
  }
  free(header);
  free((void *)order);
  return status;
}

heed_status heed_safetensors_write(const heed_safetensors *file, const char *path) {
  HEED__REQUIRE(file && path, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_write: an argument is NULL");
  return write_file(file, &(struct heed__atomic_file){.path = path}, false);
}

heed_status heed_safetensors_write_fd(const heed_safetensors *file, int fd, const char *name) {
  HEED__REQUIRE(file && name, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_write_fd: an argument is NULL");
  return write_file(file, &(struct heed__atomic_file){.path = name, .fd = fd}, true);
}
