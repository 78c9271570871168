// Reading safetensors: an 8-byte header length, a JSON header, then the tensors' bytes without holes.
// It trusts nothing that the file does not prove: it checks sizes against the file, or as the data arrive.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "io/safetensors.h"

#define FIRST_GROWTH ((size_t)1 << 20)
#define MAX_READ ((size_t)1 << 30)  // Linux reads a little less than 2 GiB a call

struct source {
  const char *path;
  int fd;
  int64_t size;  // -1: a pipe or a device, whose end only reading can find
};

// One tensor as the header describes it.
struct entry {
  const char *name;  // owned by the parsed header
  size_t order;      // in the header
  heed_dtype dtype;
  bool from_f64;
  int rank;
  int64_t dims[HEED_MAX_RANK];
  int64_t begin, end;  // bytes, from the end of the header
};

struct header {
  json_t *json;
  struct entry *entries;
  size_t count;
};

#define REFUSE(source, ...) return refuse((source)->path, NULL, __VA_ARGS__)

// "path: tensor "name": reason".
__attribute__((format(printf, 3, 4))) static heed_status refuse(const char *path, const char *name, const char *format,
                                                                ...) {
  char reason[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  for (char *c = reason; *c; ++c) {
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';  // the message may quote text from the file
  }
  if (!name) return heed__fail(HEED_ERROR_FORMAT, "%s: %s", path, reason);
  return heed__fail(HEED_ERROR_FORMAT, "%s: tensor \"%s\": %s", path, heed__printable(name).text, reason);
}

// ---------------------------------------------------------------- bytes

// Fills `data`; *got is the number of bytes before the end of the file.
static heed_status read_some(const struct source *source, char *data, size_t bytes, size_t *got) {
  *got = 0;
  while (*got < bytes) {
    const size_t left = bytes - *got;
    const ssize_t n = read(source->fd, data + *got, left < MAX_READ ? left : MAX_READ);
    if (n == 0) return HEED_OK;
    if (n < 0 && errno == EINTR) continue;
    HEED__REQUIRE(n > 0, HEED_ERROR_IO, "%s: cannot read: %s", source->path, strerror(errno));
    *got += (size_t)n;
  }
  return HEED_OK;
}

// Moves `used` bytes of *data into new memory of `bytes`.
static heed_status resize(const struct source *source, char **data, size_t used, size_t bytes) {
  char *moved = heed__array_allocate(bytes);
  HEED__REQUIRE(moved, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for %zu bytes", source->path, bytes);
  if (used > 0) memcpy(moved, *data, used);
  free(*data);
  *data = moved;
  return HEED_OK;
}

// Reads exactly `bytes` into new memory. For a pipe the memory grows with the data that arrive, so that a header with a false size costs
// nothing.
static heed_status read_block(const struct source *source, const char *what, size_t bytes, char **out) {
  char *data = NULL;
  size_t have = 0, room = 0;
  heed_status status;
  do {
    size_t next = source->size >= 0 ? bytes : room > 0 ? room * 2 : FIRST_GROWTH;
    if (next > bytes) next = bytes;
    HEED__TRY_TO(failed, status, resize(source, &data, have, next));
    room = next;
    size_t got;
    HEED__TRY_TO(failed, status, read_some(source, data + have, room - have, &got));
    have += got;
    if (have < room) {
      status = refuse(source->path, NULL, "truncated: %s takes %zu bytes, and the file ends after %zu of them", what,
                      bytes, have);
      goto failed;
    }
  } while (have < bytes);
  *out = data;
  return HEED_OK;
failed:
  free(data);
  return status;
}

// ---------------------------------------------------------------- header

static bool parse_dtype(const char *text, struct entry *entry) {
  entry->from_f64 = strcmp(text, "F64") == 0;
  entry->dtype = HEED_F32;
  if (entry->from_f64) return true;
  for (int dtype = 0; heed_dtype_size((heed_dtype)dtype) > 0; ++dtype) {
    if (strcmp(text, heed_dtype_string((heed_dtype)dtype)) == 0) {
      entry->dtype = (heed_dtype)dtype;
      return true;
    }
  }
  return false;
}

static heed_status parse_shape(const char *path, const json_t *shape, struct entry *entry, int64_t *bytes) {
  if (!json_is_array(shape)) return refuse(path, entry->name, "\"shape\" is not a list");
  const size_t rank = json_array_size(shape);
  if (rank > HEED_MAX_RANK) return refuse(path, entry->name, "rank %zu; heed reads up to rank %d", rank, HEED_MAX_RANK);
  entry->rank = (int)rank;
  *bytes = entry->from_f64 ? 8 : (int64_t)heed_dtype_size(entry->dtype);
  for (size_t i = 0; i < rank; ++i) {
    const json_t *dim = json_array_get(shape, i);
    if (!json_is_integer(dim)) return refuse(path, entry->name, "dimension %zu is not an integer", i);
    const int64_t value = json_integer_value(dim);
    if (value < 0) return refuse(path, entry->name, "dimension %zu is negative (%" PRId64 ")", i, value);
    if (!heed__mul(*bytes, value, bytes)) return refuse(path, entry->name, "its size does not fit 64 bits");
    entry->dims[i] = value;
  }
  return HEED_OK;
}

static heed_status parse_entry(const char *path, const json_t *json, struct entry *entry) {
  if (!json_is_object(json)) return refuse(path, entry->name, "its header entry is not a JSON object");
  const char *dtype = json_string_value(json_object_get(json, "dtype"));
  if (!dtype) return refuse(path, entry->name, "no \"dtype\"");
  if (!parse_dtype(dtype, entry))
    return refuse(path, entry->name, "dtype %.32s; heed reads F64 F32 F16 BF16 I64 I32 U8 BOOL", dtype);
  int64_t bytes = 0;
  HEED__TRY(parse_shape(path, json_object_get(json, "shape"), entry, &bytes));

  const json_t *offsets = json_object_get(json, "data_offsets");
  const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
    return refuse(path, entry->name, "\"data_offsets\" is not a list of two integers");
  entry->begin = json_integer_value(begin);
  entry->end = json_integer_value(end);
  if (entry->begin < 0 || entry->end < entry->begin)
    return refuse(path, entry->name, "data_offsets %" PRId64 " to %" PRId64 " are not a range", entry->begin,
                  entry->end);
  if (entry->end - entry->begin != bytes)
    return refuse(path, entry->name, "data_offsets span %" PRId64 " bytes, but its shape takes %" PRId64,
                  entry->end - entry->begin, bytes);
  return HEED_OK;
}

static heed_status parse_metadata(const char *path, const json_t *json, heed_safetensors *file) {
  if (!json_is_object(json)) return refuse(path, NULL, HEED__SAFETENSORS_METADATA " is not a JSON object");
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)json, key, value) {
    if (!json_is_string(value)) return refuse(path, NULL, "metadata \"%.64s\" is not a string", key);
    HEED__TRY(heed__safetensors_append_metadata(file, key, json_string_value(value)));
  }
  return HEED_OK;
}

static int compare_entries(const void *a, const void *b) {
  const struct entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

// Sorts the entries in the order of their data and checks that they cover it, each byte once. data_size < 0: not known.
static heed_status check_layout(const char *path, struct header *header, int64_t data_size) {
  if (header->count > 0) qsort(header->entries, header->count, sizeof *header->entries, compare_entries);
  int64_t covered = 0;
  for (size_t i = 0; i < header->count; ++i) {
    const struct entry *entry = &header->entries[i];
    if (data_size >= 0 && entry->end > data_size)
      return refuse(path, entry->name,
                    "truncated: its data end at byte %" PRId64 ", and the file has %" PRId64 " bytes of data",
                    entry->end, data_size);
    if (entry->begin < covered)
      return refuse(path, entry->name, "its data (from byte %" PRId64 ") overlap those of \"%s\" (up to %" PRId64 ")",
                    entry->begin, heed__printable(header->entries[i - 1].name).text, covered);
    if (entry->begin > covered)
      return refuse(path, entry->name, "bytes %" PRId64 " to %" PRId64 " before its data belong to no tensor", covered,
                    entry->begin);
    covered = entry->end;
  }
  if (data_size > covered)
    return refuse(path, NULL, "%" PRId64 " bytes after the last tensor belong to none", data_size - covered);
  return HEED_OK;
}

static heed_status parse_header(const char *path, const char *text, size_t bytes, int64_t data_size,
                                struct header *header, heed_safetensors *file) {
  if (bytes == 0 || text[0] != '{') return refuse(path, NULL, "the header is not a JSON object; is this safetensors?");
  json_error_t error;
  bool no_memory;
  header->json = heed__json_load(text, bytes, &error, &no_memory);
  if (!header->json) {
    HEED__REQUIRE(!no_memory, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its header", path);
    if (json_error_code(&error) == json_error_invalid_utf8)
      return refuse(path, NULL, "the header is not UTF-8 at byte %d", error.position);
    return refuse(path, NULL, "the header is not valid JSON at byte %d: %s", error.position, error.text);
  }
  header->entries = calloc(json_object_size(header->json) + 1, sizeof *header->entries);
  HEED__REQUIRE(header->entries, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its header", path);
  const char *name;
  json_t *value;
  json_object_foreach(header->json, name, value) {
    if (strcmp(name, HEED__SAFETENSORS_METADATA) == 0) {
      HEED__TRY(parse_metadata(path, value, file));
      continue;
    }
    struct entry *entry = &header->entries[header->count];
    entry->name = name;
    entry->order = header->count++;
    HEED__TRY(parse_entry(path, value, entry));
  }
  return check_layout(path, header, data_size);
}

static heed_status read_header(const struct source *source, struct header *header, heed_safetensors *file) {
  uint8_t prefix[8];
  size_t got;
  HEED__TRY(read_some(source, (char *)prefix, sizeof prefix, &got));
  if (got < sizeof prefix) REFUSE(source, "truncated: %zu bytes are too few for a safetensors file", got);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
  if (length > HEED__SAFETENSORS_MAX_HEADER)
    REFUSE(source, "a header of %" PRIu64 " bytes is over the format's limit of %d; is this safetensors?", length,
           HEED__SAFETENSORS_MAX_HEADER);
  const int64_t after = source->size - 8 - (int64_t)length;
  if (source->size >= 0 && after < 0)
    REFUSE(source, "truncated: the header takes %" PRIu64 " bytes, and the file has %" PRId64, length,
           source->size - 8);
  char *text = NULL;
  HEED__TRY(read_block(source, "the header", (size_t)length, &text));
  const heed_status status =
      parse_header(source->path, text, (size_t)length, source->size >= 0 ? after : -1, header, file);
  free(text);
  return status;
}

// ---------------------------------------------------------------- tensors

// Converts F64 to F32 in place (writing never overtakes reading), then moves the result into memory of the right size.
static heed_status narrow(const struct source *source, char **data, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    double wide;
    memcpy(&wide, *data + i * sizeof wide, sizeof wide);
    const float rounded = (float)wide;
    memcpy(*data + i * sizeof rounded, &rounded, sizeof rounded);
  }
  return resize(source, data, count * sizeof(float), count * sizeof(float));
}

static heed_status read_tensor(const struct source *source, const struct entry *entry, heed_safetensors *file) {
  size_t bytes = (size_t)(entry->end - entry->begin);
  HEED__REQUIRE((uint64_t)(entry->end - entry->begin) <= SIZE_MAX, HEED_ERROR_OUT_OF_MEMORY,
                "%s: tensor \"%s\": too large", source->path, heed__printable(entry->name).text);
  char *data = NULL;
  HEED__TRY(read_block(source, heed__printable(entry->name).text, bytes, &data));
  if (entry->from_f64) {
    const heed_status status = narrow(source, &data, bytes / 8);
    if (status != HEED_OK) {
      free(data);
      return status;
    }
    bytes /= 2;
  }
  for (size_t i = 0; entry->dtype == HEED_BOOL && i < bytes; ++i) {
    const unsigned char value = (unsigned char)data[i];
    if (value <= 1) continue;
    free(data);
    return refuse(source->path, entry->name, "element %zu of a BOOL is %d, neither 0 nor 1", i, value);
  }
  return heed__safetensors_append(file, entry->name, entry->dtype, entry->rank, entry->dims, data, bytes);
}

static heed_status read_all(const struct source *source, heed_safetensors *file) {
  struct header header = {0};
  heed_status status = read_header(source, &header, file);
  for (size_t i = 0; status == HEED_OK && i < header.count; ++i) status = read_tensor(source, &header.entries[i], file);
  json_decref(header.json);
  free(header.entries);
  HEED__TRY(status);
  char more;
  size_t got;
  HEED__TRY(read_some(source, &more, 1, &got));
  if (got > 0) REFUSE(source, "bytes after the last tensor belong to none");
  return HEED_OK;
}

// Tells how long the source is, if that is known.
static heed_status measure(struct source *source) {
  struct stat info;
  HEED__REQUIRE(fstat(source->fd, &info) == 0, HEED_ERROR_IO, "%s: cannot read: %s", source->path, strerror(errno));
  HEED__REQUIRE(!S_ISDIR(info.st_mode), HEED_ERROR_IO, "%s: cannot read: %s", source->path, strerror(EISDIR));
  // A file in /proc is a regular file and reports size 0. One that is open may have been read up to some place.
  const off_t at = S_ISREG(info.st_mode) && info.st_size > 0 ? lseek(source->fd, 0, SEEK_CUR) : -1;
  source->size = at >= 0 && at <= info.st_size ? (int64_t)(info.st_size - at) : -1;
  return HEED_OK;
}

static heed_status read_source(struct source *source, heed_safetensors **out) {
  HEED__TRY(heed_safetensors_create(out));
  heed_status status = measure(source);
  if (status == HEED_OK) status = read_all(source, *out);
  if (status != HEED_OK) {
    heed_safetensors_destroy(*out);
    *out = NULL;
  }
  return status;
}

heed_status heed_safetensors_read(const char *path, heed_safetensors **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read: out is NULL");
  *out = NULL;
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read: the path is NULL");
  struct source source = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
  HEED__REQUIRE(source.fd >= 0, HEED_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  const heed_status status = read_source(&source, out);
  close(source.fd);
  return status;
}

heed_status heed_safetensors_read_fd(int fd, const char *name, heed_safetensors **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read_fd: out is NULL");
  *out = NULL;
  HEED__REQUIRE(name, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read_fd: the name is NULL");
  return read_source(&(struct source){.path = name, .fd = fd}, out);
}
