// The safetensors object: named arrays and metadata in host memory, and conversions from and to tensors.
// safetensors_header.c and safetensors_write.c know the file format; store.c reads.
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/text.h"

#define ALIGNMENT 16

void *heed__array_allocate(size_t bytes) {
  void *data = NULL;
  return posix_memalign(&data, ALIGNMENT, bytes > 0 ? bytes : ALIGNMENT) == 0 ? data : NULL;
}

// Makes room for one more element; this may move the array at *items.
static heed_status reserve(void **items, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) return HEED_OK;
  const size_t grown = *capacity > 0 ? *capacity * 2 : 16;
  void *moved = reallocarray(*items, grown, size);
  HEED__REQUIRE(moved, HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu safetensors entries", grown);
  *items = moved;
  *capacity = grown;
  return HEED_OK;
}

heed_status heed__safetensors_append(heed_safetensors *file, const char *name, heed_dtype dtype, int rank,
                                     const int64_t *dims, void *data, size_t bytes) {
  void *arrays = file->arrays;
  heed_status status = reserve(&arrays, file->count, &file->capacity, sizeof *file->arrays);
  file->arrays = arrays;
  char *copy = status == HEED_OK ? strdup(name) : NULL;
  int64_t *own_dims = status == HEED_OK ? calloc((size_t)rank + 1, sizeof *own_dims) : NULL;
  if (status == HEED_OK && (!copy || !own_dims))
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a tensor's name and shape");
  if (status != HEED_OK) {
    free(copy);
    free(own_dims);
    free(data);
    return status;
  }
  if (rank > 0) memcpy(own_dims, dims, (size_t)rank * sizeof *dims);
  heed_array *array = &file->arrays[file->count++];
  *array = (heed_array){.name = copy, .dtype = dtype, .rank = rank, .dims = own_dims, .data = data, .bytes = bytes};
  return HEED_OK;
}

heed_status heed__safetensors_append_metadata(heed_safetensors *file, const char *key, const char *value) {
  void *metadata = file->metadata;
  const heed_status status = reserve(&metadata, file->metadata_count, &file->metadata_capacity, sizeof *file->metadata);
  file->metadata = metadata;
  HEED__TRY(status);
  struct heed__metadata entry = {.key = strdup(key), .value = strdup(value)};
  if (!entry.key || !entry.value) {
    free(entry.key);
    free(entry.value);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for the metadata");
  }
  file->metadata[file->metadata_count++] = entry;
  return HEED_OK;
}

heed_status heed_safetensors_create(heed_safetensors **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_create: out is NULL");
  *out = calloc(1, sizeof **out);
  HEED__REQUIRE(*out, HEED_ERROR_OUT_OF_MEMORY, "no memory for a safetensors object");
  return HEED_OK;
}

void heed_safetensors_destroy(heed_safetensors *file) {
  if (!file) return;
  for (size_t i = 0; i < file->count; ++i) {
    free((char *)file->arrays[i].name);
    free((int64_t *)file->arrays[i].dims);
    free(file->arrays[i].data);
  }
  for (size_t i = 0; i < file->metadata_count; ++i) {
    free(file->metadata[i].key);
    free(file->metadata[i].value);
  }
  free(file->arrays);
  free(file->metadata);
  free(file);
}

size_t heed_safetensors_count(const heed_safetensors *file) { return file ? file->count : 0; }

const heed_array *heed_safetensors_get(const heed_safetensors *file, size_t index) {
  return file && index < file->count ? &file->arrays[index] : NULL;
}

const heed_array *heed_safetensors_find(const heed_safetensors *file, const char *name) {
  for (size_t i = 0; file && name && i < file->count; ++i) {
    if (strcmp(file->arrays[i].name, name) == 0) return &file->arrays[i];
  }
  return NULL;
}

static struct heed__metadata *find_metadata(const heed_safetensors *file, const char *key) {
  for (size_t i = 0; file && key && i < file->metadata_count; ++i) {
    if (strcmp(file->metadata[i].key, key) == 0) return &file->metadata[i];
  }
  return NULL;
}

const char *heed_safetensors_metadata(const heed_safetensors *file, const char *key) {
  const struct heed__metadata *entry = find_metadata(file, key);
  return entry ? entry->value : NULL;
}

size_t heed_safetensors_metadata_count(const heed_safetensors *file) { return file ? file->metadata_count : 0; }

const char *heed_safetensors_metadata_key(const heed_safetensors *file, size_t index) {
  return file && index < file->metadata_count ? file->metadata[index].key : NULL;
}

// RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. (json_string() would not tell bad text from no memory.)
static bool is_utf8(const char *text) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  for (const unsigned char *c = (const unsigned char *)text; *c;) {
    const int more = *c < 0x80 ? 0 : *c >> 5 == 6 ? 1 : *c >> 4 == 14 ? 2 : *c >> 3 == 30 ? 3 : -1;
    if (more < 0) return false;
    uint32_t point = more == 0 ? *c : *c & (0x3fu >> more);
    ++c;
    for (int i = 0; i < more; ++i, ++c) {
      if (*c >> 6 != 2) return false;
      point = point << 6 | (*c & 0x3fu);
    }
    if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
  }
  return true;
}

static heed_status check_new_array(const heed_safetensors *file, const char *name, heed_dtype dtype, int rank,
                                   const int64_t *dims, int64_t *bytes) {
  HEED__REQUIRE(file && name, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_add: the file or the name is NULL");
  const struct heed__name shown = heed__printable(name);
  HEED__REQUIRE(is_utf8(name), HEED_ERROR_INVALID_ARGUMENT, "tensor \"%s\": the name is not UTF-8", shown.text);
  HEED__REQUIRE(strcmp(name, HEED__SAFETENSORS_METADATA) != 0, HEED_ERROR_INVALID_ARGUMENT,
                "a tensor cannot be called " HEED__SAFETENSORS_METADATA ": safetensors keeps that name for itself");
  HEED__REQUIRE(!heed_safetensors_find(file, name), HEED_ERROR_INVALID_ARGUMENT, "tensor \"%s\" is there already",
                shown.text);
  HEED__REQUIRE(heed_dtype_size(dtype) > 0, HEED_ERROR_DTYPE, "tensor \"%s\": %d is not a dtype", shown.text,
                (int)dtype);
  HEED__REQUIRE(rank >= 0 && rank <= HEED_MAX_STORED_RANK, HEED_ERROR_SHAPE, "tensor \"%s\": rank %d is not 0 to %d",
                shown.text, rank, HEED_MAX_STORED_RANK);
  *bytes = (int64_t)heed_dtype_size(dtype);
  for (int i = 0; i < rank; ++i) {
    HEED__REQUIRE(dims[i] >= 0, HEED_ERROR_SHAPE, "tensor \"%s\": dimension %d is negative", shown.text, i);
    HEED__REQUIRE(heed__mul(*bytes, dims[i], bytes), HEED_ERROR_OVERFLOW,
                  "tensor \"%s\": its size does not fit 64 bits", shown.text);
  }
  return HEED_OK;
}

// Every byte that is true in C becomes 1, the format's byte for true.
static void normalise_bool(uint8_t *data, size_t count) {
  for (size_t i = 0; i < count; ++i) data[i] = data[i] != 0;
}

heed_status heed_safetensors_add(heed_safetensors *file, const char *name, heed_dtype dtype, int rank,
                                 const int64_t *dims, const void *data) {
  int64_t bytes;
  HEED__TRY(check_new_array(file, name, dtype, rank, dims, &bytes));
  HEED__REQUIRE(data || bytes == 0, HEED_ERROR_INVALID_ARGUMENT, "tensor \"%s\": data is NULL",
                heed__printable(name).text);
  void *copy = heed__array_allocate((size_t)bytes);
  HEED__REQUIRE(copy, HEED_ERROR_OUT_OF_MEMORY, "tensor \"%s\": no memory for %lld bytes", heed__printable(name).text,
                (long long)bytes);
  if (bytes > 0) memcpy(copy, data, (size_t)bytes);
  if (dtype == HEED_BOOL) normalise_bool(copy, (size_t)bytes);
  return heed__safetensors_append(file, name, dtype, rank, dims, copy, (size_t)bytes);
}

heed_status heed_safetensors_add_tensor(heed_safetensors *file, const char *name, const heed_tensor *tensor) {
  HEED__REQUIRE(tensor, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_add_tensor: the tensor is NULL");
  const heed_dtype dtype = heed_tensor_dtype(tensor);
  const int rank = heed_tensor_rank(tensor);
  const int64_t *dims = heed_tensor_dims(tensor);
  int64_t bytes;
  HEED__TRY(check_new_array(file, name, dtype, rank, dims, &bytes));
  void *copy = heed__array_allocate((size_t)bytes);
  HEED__REQUIRE(copy, HEED_ERROR_OUT_OF_MEMORY, "tensor \"%s\": no memory for %lld bytes", heed__printable(name).text,
                (long long)bytes);
  const heed_status status = heed_tensor_download(tensor, copy, (size_t)bytes);
  if (status != HEED_OK) {
    free(copy);
    return status;
  }
  if (dtype == HEED_BOOL) normalise_bool(copy, (size_t)bytes);
  return heed__safetensors_append(file, name, dtype, rank, dims, copy, (size_t)bytes);
}

heed_status heed_safetensors_set_metadata(heed_safetensors *file, const char *key, const char *value) {
  HEED__REQUIRE(file && key && value, HEED_ERROR_INVALID_ARGUMENT,
                "heed_safetensors_set_metadata: an argument is NULL");
  HEED__REQUIRE(is_utf8(key) && is_utf8(value), HEED_ERROR_INVALID_ARGUMENT, "metadata \"%s\" is not UTF-8",
                heed__printable(key).text);
  struct heed__metadata *entry = find_metadata(file, key);
  if (!entry) return heed__safetensors_append_metadata(file, key, value);
  char *copy = strdup(value);
  HEED__REQUIRE(copy, HEED_ERROR_OUT_OF_MEMORY, "no memory for the metadata");
  free(entry->value);
  entry->value = copy;
  return HEED_OK;
}

heed_status heed_array_to_tensor(const heed_array *array, heed_context *ctx, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_array_to_tensor: out is NULL");
  *out = NULL;
  HEED__REQUIRE(array && ctx, HEED_ERROR_INVALID_ARGUMENT, "heed_array_to_tensor: an argument is NULL");
  const heed_status status = heed_tensor_create_from(ctx, array->dtype, array->rank, array->dims, array->data, out);
  if (status == HEED_OK) return HEED_OK;
  return heed__fail_prefix(status, "tensor \"%s\"", heed__printable(array->name).text);
}
