// An index, as Hugging Face's libraries write it beside the shards of a model: {"weight_map": {"name": "file", …}}.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "io/store.h"

// A file name that stays in its folder (it is not absolute, and no part of it goes up) and that a message may show.
static bool stays_inside(const char *name) {
  if (name[0] == '\0' || name[0] == '/' || strpbrk(name, "\\:")) return false;  // '\\' and ':' lead out on Windows
  for (const char *c = name; *c; ++c)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
  for (const char *part = name; part; part = strchr(part, '/')) {
    if (*part == '/') ++part;
    if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0')) return false;
  }
  return true;
}

static heed_status parse_index(const char *path, const char *text, size_t bytes, json_t **out) {
  json_error_t error;
  bool no_memory;
  *out = heed__json_load(text, bytes, &error, &no_memory);
  if (*out) return HEED_OK;
  HEED__REQUIRE(!no_memory, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory to read it", path);
  return heed__refuse(path, NULL, "not valid JSON at byte %d: %s", error.position, error.text);
}

// Collects the names of the shards: {"file": tensors in it}, in the order in which the index first names them.
static heed_status count_shards(const char *path, const json_t *map, json_t *shards) {
  const char *name;
  json_t *file;
  json_object_foreach((json_t *)map, name, file) {
    const char *text = json_string_value(file);
    if (!text) return heed__refuse(path, name, "its file is not a text");
    if (!stays_inside(text))
      return heed__refuse(path, name, "its file \"%.200s\" is not in the folder of the index", text);
    const json_int_t before = json_integer_value(json_object_get(shards, text));
    HEED__REQUIRE(json_object_set_new(shards, text, json_integer(before + 1)) == 0, HEED_ERROR_OUT_OF_MEMORY,
                  "%s: no memory for its shards", path);
  }
  return HEED_OK;
}

// The name of a shard; NULL without memory.
static char *beside(const char *path, const char *name) {
  const char *slash = strrchr(path, '/');
  char *out;
  const int folder = slash ? (int)(slash + 1 - path) : 0;
  return asprintf(&out, "%.*s%s", folder, path, name) < 0 ? NULL : out;
}

// Says which tensor is missing in the shard.
static heed_status missing(const char *path, const json_t *map, const struct heed__shard *shard, const char *file) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)map, name, value) {
    if (strcmp(json_string_value(value), file) == 0 && !json_object_get(shard->header.json, name))
      return heed__refuse(path, name, "it should be in %s, which does not have it", shard->path);
  }
  return heed__refuse(path, NULL, "%s does not have all of its tensors", shard->path);
}

// Opens one shard and lists those of its tensors that the index places there: `expected` of them.
static heed_status open_shard(heed_store *store, struct heed__shard *shard, const char *path, const json_t *map,
                              const char *file, json_int_t expected) {
  heed_safetensors *others = NULL, *about = store->about;
  shard->path = beside(path, file);
  HEED__REQUIRE(shard->path, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for a shard's name", path);
  if (shard != store->shards) {
    HEED__TRY(heed_safetensors_create(&others));
    about = others;
  }
  heed_status status = heed__check_regular(shard->path);
  if (status == HEED_OK) status = heed__shard_open(shard, about);
  heed_safetensors_destroy(others);
  if (status != HEED_OK) return heed__fail_prefix(status, "%s names a shard", path);
  json_int_t found = 0;
  for (size_t i = 0; i < shard->header.count; ++i) {
    const struct heed__entry *entry = &shard->header.entries[i];
    const char *place = json_string_value(json_object_get(map, entry->name));
    if (!place || strcmp(place, file) != 0) continue;
    heed__store_list(store, shard, entry);
    ++found;
  }
  return found == expected ? HEED_OK : missing(path, map, shard, file);
}

static heed_status open_shards(heed_store *store, const char *path, const json_t *map, json_t *shards) {
  const size_t count = json_object_size(shards);
  if (count == 0) return heed__refuse(path, NULL, "its \"weight_map\" names no tensor");
  struct heed__shard *room = reallocarray(store->shards, count, sizeof *room);
  if (room) store->shards = room;
  store->places = calloc(json_object_size(map), sizeof *store->places);
  HEED__REQUIRE(room && store->places, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its shards", path);
  store->shard_count = count;
  for (size_t i = 0; i < count; ++i) store->shards[i] = (struct heed__shard){.source.fd = -1};
  const char *file;
  json_t *expected;
  size_t next = 0;
  json_object_foreach(shards, file, expected)
      HEED__TRY(open_shard(store, &store->shards[next++], path, map, file, json_integer_value(expected)));
  return HEED_OK;
}

heed_status heed__store_open_shards(heed_store *store, const char *path, const char *text, size_t bytes) {
  json_t *json = NULL, *shards = json_object();
  heed_status status = shards ? parse_index(path, text, bytes, &json)
                              : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its shards", path);
  const json_t *map = json_object_get(json, "weight_map");
  if (status == HEED_OK && !json_is_object(map))
    status = heed__refuse(path, NULL, "JSON, not safetensors, and no index of shards: %s",
                          map ? "its \"weight_map\" is not an object" : "it has no \"weight_map\"");
  if (status == HEED_OK) status = count_shards(path, map, shards);
  if (status == HEED_OK) status = open_shards(store, path, map, shards);
  json_decref(json);
  json_decref(shards);
  return status;
}
