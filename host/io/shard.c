// One file of a store: its header, its tensors in the store's list, and their bytes. convert.c knows what the bytes mean.
#include <stdlib.h>
#include <string.h>

#include "io/store.h"

// Keeps a pipe's data: nobody can read them later.
static heed_status hold(struct heed__shard *shard) {
  const struct heed__header *header = &shard->header;
  const int64_t bytes = header->count > 0 ? header->entries[header->count - 1].end : 0;
  HEED__REQUIRE((uint64_t)bytes <= SIZE_MAX, HEED_ERROR_OUT_OF_MEMORY, "%s: its data are too large", shard->path);
  HEED__TRY(heed__source_block(&shard->source, "its data", (size_t)bytes, &shard->held));
  char more;
  size_t got;
  HEED__TRY(heed__source_next(&shard->source, &more, 1, &got));
  if (got > 0) return heed__refuse(shard->path, NULL, "bytes after the last tensor belong to none");
  return HEED_OK;
}

heed_status heed__shard_read_header(struct heed__shard *shard, heed_safetensors *about) {
  HEED__TRY(heed__header_read(&shard->source, &shard->header, about));
  return shard->source.size < 0 ? hold(shard) : HEED_OK;
}

heed_status heed__shard_open(struct heed__shard *shard, heed_safetensors *about) {
  HEED__TRY(heed__source_open(&shard->source, shard->path));
  return heed__shard_read_header(shard, about);
}

void heed__store_list(heed_store *store, const struct heed__shard *shard, const struct heed__entry *entry) {
  const struct heed__stored_dtype *dtype = entry->dtype;
  store->places[store->count++] = (struct heed__place){
      .stored = {.name = entry->name,
                 .dtype = dtype->name,
                 .is_own = dtype->own || strcmp(dtype->name, "F64") == 0,
                 .is_convertible = dtype->kind != HEED__OPAQUE,
                 .natural = dtype->natural,
                 .rank = entry->rank,
                 .dims = entry->dims,
                 .count = entry->count,
                 .bytes = entry->end - entry->begin,
                 .path = shard->path},
      .shard = shard,
      .entry = entry,
  };
}

void heed__shard_close(struct heed__shard *shard) {
  heed__source_close(&shard->source);
  heed__header_free(&shard->header);
  free(shard->held);
  free(shard->path);
}

heed_status heed__place_fetch(const struct heed__place *place, int64_t offset, char *data, size_t bytes) {
  const struct heed__shard *shard = place->shard;
  const int64_t begin = place->entry->begin + offset;
  if (shard->held) {
    if (bytes > 0) memcpy(data, shard->held + begin, bytes);
    return HEED_OK;
  }
  size_t got;
  HEED__TRY(heed__source_at(&shard->source, shard->header.data + begin, data, bytes, &got));
  if (got < bytes)
    return heed__refuse(shard->path, place->stored.name,
                        "truncated: the file became shorter since it was opened; read it again");
  return HEED_OK;
}
