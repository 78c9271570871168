// An index of shards: any bytes are refused by name and reason, or list tensors that the shards beside it have, and these can be read.
#include <heed/io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

// Tensors "a" and "b" in a.safetensors, "c" in c.safetensors.
static void write_shard(const char *name, const char *first, const char *second) {
  char path[600];
  heed_safetensors *file = NULL;
  const float data[] = {1, 2, 3};
  const int64_t dims[] = {3};
  FUZZ_REQUIRE(heed_safetensors_create(&file) == HEED_OK);
  FUZZ_REQUIRE(heed_safetensors_add(file, first, HEED_F32, 1, dims, data) == HEED_OK);
  if (second) FUZZ_REQUIRE(heed_safetensors_add(file, second, HEED_F32, 1, dims, data) == HEED_OK);
  snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
  FUZZ_REQUIRE(heed_safetensors_write(file, path) == HEED_OK);
  heed_safetensors_destroy(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char path[600];
  if (!path[0]) {
    write_shard("a.safetensors", "a", "b");
    write_shard("c.safetensors", "c", NULL);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", fuzz_folder());
  }
  FILE *index = fopen(path, "wb");
  FUZZ_REQUIRE(index && fwrite(data, 1, size, index) == size && fclose(index) == 0);
  heed_store *store = NULL;
  const heed_status status = heed_store_open(fuzz_folder(), &store);
  FUZZ_REQUIRE((status == HEED_OK) == (store != NULL));
  FUZZ_REQUIRE(status == HEED_OK || status == HEED_ERROR_FORMAT || status == HEED_ERROR_IO);
  if (status != HEED_OK) fuzz_require_message(path);
  for (size_t i = 0; i < heed_store_count(store); ++i) {
    const heed_stored *stored = heed_store_get(store, i);
    float values[3];
    FUZZ_REQUIRE(strlen(stored->name) == 1 && strncmp(stored->path, fuzz_folder(), strlen(fuzz_folder())) == 0);
    FUZZ_REQUIRE(heed_store_read(store, stored, HEED_F32, values, sizeof values) == HEED_OK && values[2] == 3);
  }
  heed_store_destroy(store);
  return 0;
}
