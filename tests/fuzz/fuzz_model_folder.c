// A model's folder: config.json up to the first 0, then model.safetensors. It is refused by name and reason, or it is a model that needs no
// more memory than its files are worth, and that is the same after it was saved.
#include <heed/lm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { MOST_BYTES = 1 << 22 };

static char config[600], weights[600], copy[600];

static heed_context *host(void) {
  static heed_context *ctx;
  if (ctx) return ctx;
  FUZZ_REQUIRE(heed_open("host", &ctx) == HEED_OK);
  snprintf(config, sizeof config, "%s/config.json", fuzz_folder());
  snprintf(weights, sizeof weights, "%s/model.safetensors", fuzz_folder());
  snprintf(copy, sizeof copy, "%s/copy", fuzz_folder());
  return ctx;
}

static void write_file(const char *path, const uint8_t *data, size_t size) {
  FILE *file = fopen(path, "wb");
  FUZZ_REQUIRE(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static bool same_configuration(const heed_transformer_config *a, const heed_transformer_config *b) {
  return a->architecture == b->architecture && a->layers == b->layers && a->width == b->width && a->heads == b->heads &&
         a->vocab == b->vocab && a->context == b->context && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
         a->ffn == b->ffn && a->window == b->window && a->norm_eps == b->norm_eps && a->rope_theta == b->rope_theta &&
         a->tied == b->tied && a->dropout == b->dropout;
}

static void save_and_open(const heed_model_folder *folder, const heed_transformer *transformer) {
  heed_model_folder *again = NULL;
  const heed_model_save_options options = {.like = folder};
  FUZZ_REQUIRE(heed_model_folder_save(copy, transformer, &options) == HEED_OK);
  FUZZ_REQUIRE(heed_model_folder_open(copy, &again) == HEED_OK);
  FUZZ_REQUIRE(same_configuration(heed_model_folder_config(folder), heed_model_folder_config(again)));
  for (int64_t id = 0; id < 100; ++id)
    FUZZ_REQUIRE(heed_model_folder_is_end(folder, id) == heed_model_folder_is_end(again, id));
  heed_model_folder_close(again);
}

static void load(const heed_model_folder *folder, size_t size) {
  heed_transformer_config c = *heed_model_folder_config(folder);
  heed_transformer_memory memory;
  heed_transformer *transformer = NULL;
  c.frozen = c.empty = true;
  // Angles of positions are no weights.
  if (c.architecture != HEED_ARCHITECTURE_GPT2) c.context = 1;
  FUZZ_REQUIRE(heed_transformer_reckon(&c, 0, 1, 1, &memory) == HEED_OK);
  FUZZ_REQUIRE(memory.parameters <= 32 * size);  // a byte of F8 is four of F32, and a matrix stands for up to two more
  if (memory.parameters > MOST_BYTES || heed_model_folder_config(folder)->context > MOST_BYTES) return;
  c.context = heed_model_folder_config(folder)->context;
  FUZZ_REQUIRE(heed_transformer_create(host(), &c, 1, &transformer) == HEED_OK);
  const heed_status status = heed_model_folder_load(folder, transformer);
  FUZZ_REQUIRE(status == HEED_OK || status == HEED_ERROR_FORMAT || status == HEED_ERROR_DTYPE);
  if (status != HEED_OK) fuzz_require_message(fuzz_folder());
  if (status == HEED_OK) save_and_open(folder, transformer);
  heed_transformer_destroy(transformer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  (void)host();
  const uint8_t *end = memchr(data, 0, size);
  const size_t first = end ? (size_t)(end - data) : size, rest = end ? size - first - 1 : 0;
  write_file(config, data, first);
  write_file(weights, end ? end + 1 : data, rest);
  heed_model_folder *folder = NULL;
  const heed_status status = heed_model_folder_open(fuzz_folder(), &folder);
  FUZZ_REQUIRE((status == HEED_OK) == (folder != NULL));
  FUZZ_REQUIRE(status != HEED_ERROR_OUT_OF_MEMORY);
  if (status != HEED_OK)
    fuzz_require_message(fuzz_folder());
  else
    load(folder, size);
  heed_model_folder_close(folder);
  return 0;
}
