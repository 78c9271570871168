// The header of a safetensors file: an 8-byte length, then JSON, then the tensors' bytes without holes.
// It trusts nothing that the file does not prove: it checks sizes against the file, or as the data arrive.
#include "io/safetensors_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "base/text.h"
#include "io/foreign.h"

#define REFUSE(source, ...) return heed__refuse((source)->path, NULL, __VA_ARGS__)

// ---------------------------------------------------------------- entries

// Fills dims and count; *bytes is what the shape takes in the file.
static heed_status parse_shape(const char *path, const json_t *shape, struct heed__entry *entry, int64_t *bytes) {
  if (!json_is_array(shape)) return heed__refuse(path, entry->name, "\"shape\" is not a list");
  const size_t rank = json_array_size(shape);
  if (rank > HEED_MAX_STORED_RANK)
    return heed__refuse(path, entry->name, "rank %zu; heed reads up to rank %d", rank, HEED_MAX_STORED_RANK);
  entry->rank = (int)rank;
  entry->count = 1;
  int64_t bits = entry->dtype->bits;
  for (size_t i = 0; i < rank; ++i) {
    const json_t *dim = json_array_get(shape, i);
    if (!json_is_integer(dim)) return heed__refuse(path, entry->name, "dimension %zu is not an integer", i);
    const int64_t value = json_integer_value(dim);
    if (value < 0) return heed__refuse(path, entry->name, "dimension %zu is negative (%" PRId64 ")", i, value);
    if (!heed__mul(entry->count, value, &entry->count))
      return heed__refuse(path, entry->name, "its size does not fit 64 bits");
    entry->dims[i] = value;
  }
  // Whole bytes are counted in bytes, as bits might not fit where bytes do.
  const bool whole = bits % 8 == 0;
  if (whole) bits /= 8;
  if (!heed__mul(entry->count, bits, bytes)) return heed__refuse(path, entry->name, "its size does not fit 64 bits");
  if (!whole && *bytes % 8 != 0)
    return heed__refuse(path, entry->name, "%" PRId64 " elements of %s end inside a byte", entry->count,
                        entry->dtype->name);
  if (!whole) *bytes /= 8;
  return HEED_OK;
}

static heed_status parse_entry(const char *path, const json_t *json, struct heed__entry *entry) {
  if (!json_is_object(json)) return heed__refuse(path, entry->name, "its header entry is not a JSON object");
  const char *dtype = json_string_value(json_object_get(json, "dtype"));
  if (!dtype) return heed__refuse(path, entry->name, "no \"dtype\"");
  entry->dtype = heed__stored_dtype(dtype);
  if (!entry->dtype) return heed__refuse(path, entry->name, "dtype %.32s, which safetensors does not have", dtype);
  int64_t bytes = 0;
  HEED__TRY(parse_shape(path, json_object_get(json, "shape"), entry, &bytes));

  const json_t *offsets = json_object_get(json, "data_offsets");
  const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
    return heed__refuse(path, entry->name, "\"data_offsets\" is not a list of two integers");
  entry->begin = json_integer_value(begin);
  entry->end = json_integer_value(end);
  if (entry->begin < 0 || entry->end < entry->begin)
    return heed__refuse(path, entry->name, "data_offsets %" PRId64 " to %" PRId64 " are not a range", entry->begin,
                        entry->end);
  if (entry->end - entry->begin != bytes)
    return heed__refuse(path, entry->name, "data_offsets span %" PRId64 " bytes, but its shape takes %" PRId64,
                        entry->end - entry->begin, bytes);
  return HEED_OK;
}

static heed_status parse_metadata(const char *path, const json_t *json, heed_safetensors *file) {
  if (!json_is_object(json)) return heed__refuse(path, NULL, HEED__SAFETENSORS_METADATA " is not a JSON object");
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)json, key, value) {
    if (!json_is_string(value)) return heed__refuse(path, NULL, "metadata \"%.64s\" is not a string", key);
    HEED__TRY(heed__safetensors_append_metadata(file, key, json_string_value(value)));
  }
  return HEED_OK;
}

static int compare_entries(const void *a, const void *b) {
  const struct heed__entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

// Sorts the entries in the order of their data and checks that they cover it, each byte once. data_size < 0: not known.
static heed_status check_layout(const char *path, struct heed__header *header, int64_t data_size) {
  if (header->count > 0) qsort(header->entries, header->count, sizeof *header->entries, compare_entries);
  int64_t covered = 0;
  for (size_t i = 0; i < header->count; ++i) {
    const struct heed__entry *entry = &header->entries[i];
    if (data_size >= 0 && entry->end > data_size)
      return heed__refuse(path, entry->name,
                          "truncated: its data end at byte %" PRId64 ", and the file has %" PRId64 " bytes of data",
                          entry->end, data_size);
    if (entry->begin < covered)
      return heed__refuse(path, entry->name,
                          "its data (from byte %" PRId64 ") overlap those of \"%s\" (up to %" PRId64 ")", entry->begin,
                          heed__printable(header->entries[i - 1].name).text, covered);
    if (entry->begin > covered)
      return heed__refuse(path, entry->name, "bytes %" PRId64 " to %" PRId64 " before its data belong to no tensor",
                          covered, entry->begin);
    covered = entry->end;
  }
  if (data_size > covered)
    return heed__refuse(path, NULL, "%" PRId64 " bytes after the last tensor belong to none", data_size - covered);
  return HEED_OK;
}

static heed_status parse_header(const char *path, const char *text, size_t bytes, int64_t data_size,
                                struct heed__header *header, heed_safetensors *file) {
  json_error_t error;
  bool no_memory;
  header->json = heed__json_load(text, bytes, &error, &no_memory);
  if (!header->json) {
    HEED__REQUIRE(!no_memory, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its header", path);
    if (json_error_code(&error) == json_error_invalid_utf8)
      return heed__refuse(path, NULL, "the header is not UTF-8 at byte %d", error.position);
    return heed__refuse(path, NULL, "the header is not valid JSON at byte %d: %s", error.position, error.text);
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
    struct heed__entry *entry = &header->entries[header->count];
    entry->name = name;
    entry->order = header->count++;
    HEED__TRY(parse_entry(path, value, entry));
  }
  return check_layout(path, header, data_size);
}

// ---------------------------------------------------------------- the whole header

// Finds the header's length, and what the file is if it is no safetensors at all.
static heed_status read_length(struct heed__source *source, uint64_t *length) {
  const char *start = source->start;
  const size_t known = source->start_bytes;
  if (known == 0) REFUSE(source, "is empty: truncated, or never written; copy it again");
  const char *foreign = known > 8 && start[8] == '{' ? NULL : heed__foreign(start, known);
  HEED__REQUIRE(!foreign, HEED_ERROR_FORMAT, "%s: %s", source->path, foreign);
  if (known < 8) REFUSE(source, "truncated: %zu bytes are too few for a safetensors file", known);
  *length = 0;
  for (int i = 0; i < 8; ++i) *length |= (uint64_t)(unsigned char)start[i] << (8 * i);
  if (*length > HEED__SAFETENSORS_MAX_HEADER)
    REFUSE(source, "its header of %" PRIu64 " bytes is over the format's limit of %d; is this safetensors?", *length,
           HEED__SAFETENSORS_MAX_HEADER);
  if (source->size >= 0 && source->size - 8 < (int64_t)*length)
    REFUSE(source, "truncated: the header takes %" PRIu64 " bytes, and the file has %" PRId64, *length,
           source->size - 8);
  if (*length == 0 || (known > 8 && start[8] != '{'))
    REFUSE(source, "the header is not a JSON object; is this safetensors?");
  return HEED_OK;
}

heed_status heed__header_read(struct heed__source *source, struct heed__header *header, heed_safetensors *file) {
  char prefix[8], *text = NULL;
  size_t got;
  uint64_t length = 0;
  *header = (struct heed__header){0};
  HEED__TRY(read_length(source, &length));
  HEED__TRY(heed__source_next(source, prefix, sizeof prefix, &got));
  HEED__TRY(heed__source_block(source, "the header", (size_t)length, &text));
  header->data = 8 + (int64_t)length;
  const int64_t data_size = source->size >= 0 ? source->size - header->data : -1;
  const heed_status status = parse_header(source->path, text, (size_t)length, data_size, header, file);
  free(text);
  return status;
}

void heed__header_free(struct heed__header *header) {
  json_decref(header->json);
  free(header->entries);
  *header = (struct heed__header){0};
}
