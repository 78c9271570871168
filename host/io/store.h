// What an open store is inside: shard.c has one file of it, shards.c makes a store of several, and store.c is what callers see.
#ifndef HEED__STORE_H
#define HEED__STORE_H

#include "io/safetensors_header.h"

struct heed__shard {
  char *path;
  struct heed__source source;
  struct heed__header header;
  char *held;  // a pipe's data; NULL: in the file
};

struct heed__place {
  heed_stored stored;
  const struct heed__shard *shard;
  const struct heed__entry *entry;
};

struct heed_store {
  struct heed__shard *shards;
  size_t shard_count;
  struct heed__place *places;
  size_t count;
  const struct heed__place **by_name;  // sorted
  heed_safetensors *about;             // metadata, and no arrays
};

// Opens shard->path (which the shard owns) and reads its header; metadata go to `about`. heed__shard_read_header() is the second half.
heed_status heed__shard_open(struct heed__shard *shard, heed_safetensors *about);
heed_status heed__shard_read_header(struct heed__shard *shard, heed_safetensors *about);
void heed__shard_close(struct heed__shard *shard);
// Adds one tensor to the list, which has room for it.
void heed__store_list(heed_store *store, const struct heed__shard *shard, const struct heed__entry *entry);
// Copies the bytes of a tensor from `offset` on.
heed_status heed__place_fetch(const struct heed__place *place, int64_t offset, char *data, size_t bytes);
// Opens the files that the index in `text` names, in the folder of `path`, and lists those of their tensors that it names.
heed_status heed__store_open_shards(heed_store *store, const char *path, const char *text, size_t bytes);

#endif
