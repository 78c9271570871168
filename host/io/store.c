// A store: opens safetensors files, lists their tensors, and reads and converts each when it is asked for. shard.c opens one file, and
// shards.c those of an index.
#include "io/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/size.h"
#include "base/text.h"

#define CHUNK ((size_t)1 << 18)  // bytes that are converted at a time

// ---------------------------------------------------------------- opening

static heed_status open_file(heed_store *store, struct heed__shard *shard) {
  HEED__TRY(heed__shard_read_header(shard, store->about));
  const struct heed__header *header = &shard->header;
  store->places = calloc(header->count + 1, sizeof *store->places);
  HEED__REQUIRE(store->places, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its list", shard->path);
  for (size_t i = 0; i < header->count; ++i) heed__store_list(store, shard, &header->entries[i]);
  return HEED_OK;
}

// Whether the file is JSON and not a header's length, which has bytes that are 0.
static bool is_json(const struct heed__source *source) {
  return source->start_bytes >= 2 && source->start[0] == '{' &&
         !memchr(source->start, 0, source->start_bytes < 8 ? source->start_bytes : 8);
}

static heed_status open_index(heed_store *store, struct heed__source *source, const char *path) {
  HEED__REQUIRE(source->size <= HEED__SAFETENSORS_MAX_HEADER, HEED_ERROR_FORMAT,
                "%s: %" PRId64 " bytes are too many for an index", path, source->size);
  char *text = NULL;
  size_t bytes = (size_t)source->size, got = 0;
  if (source->size < 0) return heed__refuse(path, NULL, "an index must be a file, because its folder has the shards");
  HEED__TRY(heed__source_block(source, "the index", bytes, &text));
  char more;
  heed_status status = heed__source_next(source, &more, 1, &got);
  if (status == HEED_OK) status = heed__store_open_shards(store, path, text, bytes);
  free(text);
  return status;
}

// In a folder, the file to open; the caller frees *out.
static heed_status choose(const char *path, char **out) {
  static const char *const names[] = {"model.safetensors.index.json", "model.safetensors"};
  struct stat info;
  *out = strdup(path);
  if (*out && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))) return HEED_OK;
  for (size_t i = 0; *out && i < sizeof names / sizeof *names; ++i) {
    free(*out);
    if (asprintf(out, "%s/%s", path, names[i]) < 0) *out = NULL;
    if (*out && access(*out, F_OK) == 0) return heed__check_regular(*out);
  }
  HEED__REQUIRE(*out, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its name", path);
  return heed__fail(HEED_ERROR_IO, "%s: a directory without %s or %s; name the file itself", path, names[0], names[1]);
}

static int compare_names(const void *a, const void *b) {
  const struct heed__place *const *x = a, *const *y = b;
  return strcmp((*x)->stored.name, (*y)->stored.name);
}

static heed_status sort_names(heed_store *store, const char *path) {
  store->by_name = calloc(store->count + 1, sizeof *store->by_name);
  HEED__REQUIRE(store->by_name, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its list", path);
  for (size_t i = 0; i < store->count; ++i) store->by_name[i] = &store->places[i];
  if (store->count > 0) qsort(store->by_name, store->count, sizeof *store->by_name, compare_names);
  return HEED_OK;
}

// fd < 0: opens the file at path; else path is a name for messages.
static heed_status open_path(heed_store *store, const char *path, int fd) {
  struct heed__shard *first = store->shards = calloc(1, sizeof *first);
  HEED__REQUIRE(first, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its description", path);
  store->shard_count = 1;
  first->source.fd = -1;
  if (fd < 0)
    HEED__TRY(choose(path, &first->path));
  else
    first->path = strdup(path);
  HEED__REQUIRE(first->path, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its name", path);
  HEED__TRY(heed_safetensors_create(&store->about));
  HEED__TRY(fd < 0 ? heed__source_open(&first->source, first->path)
                   : heed__source_adopt(&first->source, first->path, fd));
  if (!is_json(&first->source)) return open_file(store, first);
  struct heed__source index = first->source;
  char *name = first->path;
  *first = (struct heed__shard){.source.fd = -1};
  const heed_status status = open_index(store, &index, name);
  heed__source_close(&index);
  free(name);
  return status;
}

static heed_status open_store(const char *path, int fd, heed_store **out) {
  heed_store *store = calloc(1, sizeof *store);
  HEED__REQUIRE(store, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its description", path);
  heed_status status = open_path(store, path, fd);
  if (status == HEED_OK) status = sort_names(store, path);
  if (status == HEED_OK)
    *out = store;
  else
    heed_store_destroy(store);
  return status;
}

heed_status heed_store_open(const char *path, heed_store **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_store_open: out is NULL");
  *out = NULL;
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "heed_store_open: the path is NULL");
  return open_store(path, -1, out);
}

heed_status heed_store_open_fd(int fd, const char *name, heed_store **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_store_open_fd: out is NULL");
  *out = NULL;
  HEED__REQUIRE(name && fd >= 0, HEED_ERROR_INVALID_ARGUMENT, "heed_store_open_fd: the name is NULL, or fd below 0");
  return open_store(name, fd, out);
}

void heed_store_destroy(heed_store *store) {
  if (!store) return;
  for (size_t i = 0; i < store->shard_count; ++i) heed__shard_close(&store->shards[i]);
  heed_safetensors_destroy(store->about);
  free(store->shards);
  free(store->places);
  free((void *)store->by_name);
  free(store);
}

// ---------------------------------------------------------------- listing

size_t heed_store_count(const heed_store *store) { return store ? store->count : 0; }

const heed_stored *heed_store_get(const heed_store *store, size_t index) {
  return store && index < store->count ? &store->places[index].stored : NULL;
}

const heed_stored *heed_store_find(const heed_store *store, const char *name) {
  const struct heed__place key = {.stored.name = name}, *wanted = &key;
  if (!store || !name || store->count == 0) return NULL;
  const struct heed__place **found =
      bsearch(&wanted, store->by_name, store->count, sizeof *store->by_name, compare_names);
  return found ? &(*found)->stored : NULL;
}

const char *heed_store_metadata(const heed_store *store, const char *key) {
  return store ? heed_safetensors_metadata(store->about, key) : NULL;
}

size_t heed_store_metadata_count(const heed_store *store) {
  return store ? heed_safetensors_metadata_count(store->about) : 0;
}

const char *heed_store_metadata_key(const heed_store *store, size_t index) {
  return store ? heed_safetensors_metadata_key(store->about, index) : NULL;
}

// ---------------------------------------------------------------- reading

static heed_status does_not_fit(const struct heed__place *place, int64_t index, const char *value, heed_dtype dtype) {
  const char *path = place->shard->path;
  if (place->entry->dtype->kind == HEED__TRUTH)
    return heed__refuse(path, place->stored.name, "element %" PRId64 " of a BOOL is %s, neither 0 nor 1", index, value);
  return heed__fail(HEED_ERROR_OVERFLOW, "%s: tensor \"%s\": element %" PRId64 " is %s, which %s cannot hold", path,
                    heed__printable(place->stored.name).text, index, value, heed_dtype_string(dtype));
}

// Converts through a buffer; what needs no conversion is read where it belongs.
static heed_status read_converted(const struct heed__place *place, heed_dtype dtype, char *data, char *buffer) {
  const struct heed__stored_dtype *from = place->entry->dtype;
  const int64_t width = from->bits / 8, most = (int64_t)CHUNK / width, room = (int64_t)heed_dtype_size(dtype);
  for (int64_t done = 0, next; done < place->stored.count; done += next) {
    next = heed__min(place->stored.count - done, most);
    char value[32];
    HEED__TRY(heed__place_fetch(place, done * width, buffer, (size_t)(next * width)));
    const size_t converted = heed__convert(from, buffer, (size_t)next, dtype, data + done * room, value);
    if (converted < (size_t)next) return does_not_fit(place, done + (int64_t)converted, value, dtype);
  }
  return HEED_OK;
}

static heed_status check_read(const struct heed__place *place, heed_dtype dtype, int64_t *bytes) {
  const heed_stored *stored = &place->stored;
  const struct heed__name name = heed__printable(stored->name);
  HEED__REQUIRE(heed_dtype_size(dtype) > 0, HEED_ERROR_DTYPE, "tensor \"%s\": %d is not a dtype", name.text,
                (int)dtype);
  HEED__REQUIRE(stored->is_convertible, HEED_ERROR_DTYPE, "%s: tensor \"%s\" is %s, which heed cannot convert",
                stored->path, name.text, stored->dtype);
  HEED__REQUIRE(heed__converts(place->entry->dtype, dtype), HEED_ERROR_DTYPE,
                "%s: tensor \"%s\" is %s, which heed does not convert to %s", stored->path, name.text, stored->dtype,
                heed_dtype_string(dtype));
  HEED__REQUIRE(heed__mul(stored->count, (int64_t)heed_dtype_size(dtype), bytes) && (uint64_t)*bytes <= SIZE_MAX,
                HEED_ERROR_OVERFLOW, "%s: tensor \"%s\": its size as %s does not fit in memory", stored->path,
                name.text, heed_dtype_string(dtype));
  return HEED_OK;
}

static heed_status read_into(const struct heed__place *place, heed_dtype dtype, void *data) {
  const struct heed__stored_dtype *from = place->entry->dtype;
  if (from->own && from->natural == dtype && from->kind != HEED__TRUTH)
    return heed__place_fetch(place, 0, data, (size_t)place->stored.bytes);
  char *buffer = heed__array_allocate(CHUNK);
  HEED__REQUIRE(buffer, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory to convert tensor \"%s\"", place->shard->path,
                heed__printable(place->stored.name).text);
  const heed_status status = read_converted(place, dtype, data, buffer);
  free(buffer);
  return status;
}

// The place that `stored` is the first part of.
static const struct heed__place *place_of(const heed_stored *stored) { return (const struct heed__place *)stored; }

heed_status heed_store_read(const heed_store *store, const heed_stored *stored, heed_dtype dtype, void *data,
                            size_t bytes) {
  HEED__REQUIRE(store && stored && (data || bytes == 0), HEED_ERROR_INVALID_ARGUMENT,
                "heed_store_read: an argument is NULL");
  int64_t needed = 0;
  HEED__TRY(check_read(place_of(stored), dtype, &needed));
  HEED__REQUIRE(bytes == (size_t)needed, HEED_ERROR_SHAPE,
                "heed_store_read: tensor \"%s\" takes %" PRId64 " bytes as %s, not %zu",
                heed__printable(stored->name).text, needed, heed_dtype_string(dtype), bytes);
  return read_into(place_of(stored), dtype, data);
}

// Reads into new memory, which free() releases.
static heed_status read_new(const heed_stored *stored, heed_dtype dtype, void **out, size_t *bytes) {
  int64_t needed = 0;
  HEED__TRY(check_read(place_of(stored), dtype, &needed));
  void *data = heed__array_allocate((size_t)needed);
  HEED__REQUIRE(data, HEED_ERROR_OUT_OF_MEMORY, "%s: tensor \"%s\": no memory for %" PRId64 " bytes", stored->path,
                heed__printable(stored->name).text, needed);
  const heed_status status = read_into(place_of(stored), dtype, data);
  *bytes = (size_t)needed;
  *out = data;
  if (status != HEED_OK) free(data);
  return status;
}

heed_status heed_store_load(const heed_store *store, const heed_stored *stored, heed_dtype dtype, heed_context *ctx,
                            heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_store_load: out is NULL");
  *out = NULL;
  HEED__REQUIRE(store && stored && ctx, HEED_ERROR_INVALID_ARGUMENT, "heed_store_load: an argument is NULL");
  void *data = NULL;
  size_t bytes = 0;
  HEED__REQUIRE(stored->rank <= HEED_MAX_RANK, HEED_ERROR_SHAPE, "%s: tensor \"%s\" has rank %d; a tensor has up to %d",
                stored->path, heed__printable(stored->name).text, stored->rank, HEED_MAX_RANK);
  HEED__TRY(read_new(stored, dtype, &data, &bytes));
  const heed_status status = heed_tensor_create_from(ctx, dtype, stored->rank, stored->dims, data, out);
  free(data);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "tensor \"%s\"", heed__printable(stored->name).text);
}

// Appends without searching for the name in `file`.
static heed_status append(const heed_stored *stored, heed_safetensors *file) {
  void *data = NULL;
  size_t bytes = 0;
  HEED__TRY(read_new(stored, stored->natural, &data, &bytes));
  return heed__safetensors_append(file, stored->name, stored->natural, stored->rank, stored->dims, data, bytes);
}

heed_status heed_safetensors_add_stored(heed_safetensors *file, const heed_store *store, const heed_stored *stored) {
  HEED__REQUIRE(file && store && stored, HEED_ERROR_INVALID_ARGUMENT,
                "heed_safetensors_add_stored: an argument is NULL");
  HEED__REQUIRE(!heed_safetensors_find(file, stored->name), HEED_ERROR_INVALID_ARGUMENT,
                "tensor \"%s\" is there already", heed__printable(stored->name).text);
  return append(stored, file);
}

// Reads every tensor of heed's own dtypes, and closes the store.
static heed_status take_all(heed_store *store, heed_safetensors **out) {
  heed_status status = HEED_OK;
  for (size_t i = 0; status == HEED_OK && i < store->count; ++i)
    if (store->places[i].stored.is_own) status = append(&store->places[i].stored, store->about);
  if (status == HEED_OK) {
    *out = store->about;
    store->about = NULL;
  }
  heed_store_destroy(store);
  return status;
}

heed_status heed_safetensors_read(const char *path, heed_safetensors **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read: out is NULL");
  *out = NULL;
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read: the path is NULL");
  heed_store *store = NULL;
  HEED__TRY(heed_store_open(path, &store));
  return take_all(store, out);
}

heed_status heed_safetensors_read_fd(int fd, const char *name, heed_safetensors **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read_fd: out is NULL");
  *out = NULL;
  HEED__REQUIRE(name, HEED_ERROR_INVALID_ARGUMENT, "heed_safetensors_read_fd: the name is NULL");
  heed_store *store = NULL;
  HEED__TRY(heed_store_open_fd(fd, name, &store));
  return take_all(store, out);
}
