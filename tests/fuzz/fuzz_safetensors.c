// Safetensors: any bytes are refused by name and reason, or read into arrays that are what they say; of a pipe as of a file; and
// what was read comes back from what is written of it.
#include <fcntl.h>
#include <heed/io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

enum { PIPE_ROOM = 60000 };  // a pipe takes this much before someone has to read it

static void check_array(const heed_safetensors *file, size_t index) {
  const heed_array *array = heed_safetensors_get(file, index);
  FUZZ_REQUIRE(array && array->data && array->rank >= 0 && array->rank <= HEED_MAX_STORED_RANK);
  uint64_t bytes = heed_dtype_size(array->dtype);
  for (int i = 0; i < array->rank; ++i) bytes *= (uint64_t)array->dims[i];
  FUZZ_REQUIRE(bytes == array->bytes);
  FUZZ_REQUIRE(heed_safetensors_find(file, array->name) == array);
  const uint8_t *data = array->data;
  for (size_t i = 0; array->dtype == HEED_BOOL && i < array->bytes; ++i) FUZZ_REQUIRE(data[i] <= 1);
}

// Every tensor that is listed can be read as every dtype that it says it can, and no byte beyond its own is written.
static void check_stored(const heed_store *store, const heed_stored *stored) {
  FUZZ_REQUIRE(heed_store_find(store, stored->name) == stored && stored->rank <= HEED_MAX_STORED_RANK);
  for (int dtype = 0; heed_dtype_size((heed_dtype)dtype) > 0; ++dtype) {
    const size_t bytes = (size_t)stored->count * heed_dtype_size((heed_dtype)dtype);
    uint8_t *data = malloc(bytes + 1);
    FUZZ_REQUIRE(data);
    data[bytes] = 0x5a;
    const heed_status status = heed_store_read(store, stored, (heed_dtype)dtype, data, bytes);
    FUZZ_REQUIRE(status == HEED_OK || status == HEED_ERROR_DTYPE || status == HEED_ERROR_OVERFLOW ||
                 status == HEED_ERROR_FORMAT);
    FUZZ_REQUIRE(data[bytes] == 0x5a && (stored->is_convertible || status == HEED_ERROR_DTYPE));
    free(data);
  }
}

static void check_store(const char *path, heed_status expected) {
  heed_store *store = NULL;
  const heed_status status = heed_store_open(path, &store);
  // A BOOL of 2 is found when it is read, not when it is listed.
  FUZZ_REQUIRE((status == HEED_OK) == (store != NULL) && (status == HEED_OK || status == expected));
  for (size_t i = 0; i < heed_store_count(store); ++i) check_stored(store, heed_store_get(store, i));
  heed_store_destroy(store);
}

static void require_same(const heed_safetensors *a, const heed_safetensors *b) {
  FUZZ_REQUIRE(heed_safetensors_count(a) == heed_safetensors_count(b));
  for (size_t i = 0; i < heed_safetensors_count(a); ++i) {
    const heed_array *x = heed_safetensors_get(a, i), *y = heed_safetensors_find(b, x->name);
    FUZZ_REQUIRE(y && x->dtype == y->dtype && x->rank == y->rank && x->bytes == y->bytes);
    FUZZ_REQUIRE(memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0);
    FUZZ_REQUIRE(memcmp(x->data, y->data, x->bytes) == 0);
  }
  FUZZ_REQUIRE(heed_safetensors_metadata_count(a) == heed_safetensors_metadata_count(b));
  for (size_t i = 0; i < heed_safetensors_metadata_count(a); ++i) {
    const char *key = heed_safetensors_metadata_key(a, i);
    const char *value = heed_safetensors_metadata(b, key);
    FUZZ_REQUIRE(value && strcmp(value, heed_safetensors_metadata(a, key)) == 0);
  }
}

// The same bytes through a pipe, whose size nobody knows beforehand.
static void read_as_pipe(const uint8_t *data, size_t size, heed_status expected, const heed_safetensors *file) {
  int ends[2];
  char path[32];
  heed_safetensors *other = NULL;
  FUZZ_REQUIRE(pipe(ends) == 0);
  FUZZ_REQUIRE(write(ends[1], data, size) == (ssize_t)size);
  close(ends[1]);
  snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
  FUZZ_REQUIRE(heed_safetensors_read(path, &other) == expected);
  if (expected == HEED_OK)
    require_same(file, other);
  else
    fuzz_require_message(path);
  heed_safetensors_destroy(other);
  close(ends[0]);
}

// Written into a pipe, taken from there, and read again.
static void write_and_read(const heed_safetensors *file) {
  static uint8_t bytes[PIPE_ROOM];
  int ends[2];
  char path[32];
  heed_safetensors *other = NULL;
  FUZZ_REQUIRE(pipe(ends) == 0);
  snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
  FUZZ_REQUIRE(heed_safetensors_write(file, path) == HEED_OK);
  close(ends[1]);
  size_t size = 0;
  for (ssize_t got; (got = read(ends[0], bytes + size, sizeof bytes - size)) > 0;) size += (size_t)got;
  close(ends[0]);
  FUZZ_REQUIRE(heed_safetensors_read(fuzz_file(bytes, size), &other) == HEED_OK);
  require_same(file, other);
  heed_safetensors_destroy(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *path = fuzz_file(data, size);
  heed_safetensors *file = NULL;
  const heed_status status = heed_safetensors_read(path, &file);
  FUZZ_REQUIRE((status == HEED_OK) == (file != NULL));
  // An index may name files that are not there.
  FUZZ_REQUIRE(status == HEED_OK || status == HEED_ERROR_FORMAT || (data[0] == '{' && status == HEED_ERROR_IO));
  if (status != HEED_OK) fuzz_require_message(path);
  for (size_t i = 0; file && i < heed_safetensors_count(file); ++i) check_array(file, i);
  check_store(path, status);
  if (size > 0 && data[0] == '{' && status != HEED_ERROR_FORMAT) {  // an index, which a pipe cannot be
    heed_safetensors_destroy(file);
    return 0;
  }
  if (size <= PIPE_ROOM) read_as_pipe(data, size, status, file);
  // JSON in its shortest form may still be longer than what was read: an unusual character is written as an escape.
  if (file && size <= PIPE_ROOM / 6) write_and_read(file);
  heed_safetensors_destroy(file);
  return 0;
}
