// Finds weights in a folder, and compares their sizes with its configuration before anything is made of either.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "base/text.h"
#include "lm/folder.h"

const char heed__lm_gpt2_prefix[] = "transformer.";

const heed_stored *heed__lm_find(const heed_model_folder *folder, const char *name) {
  const heed_stored *stored = heed_store_find(folder->weights, name);
  const size_t prefix = sizeof heed__lm_gpt2_prefix - 1;
  if (!stored && strncmp(name, heed__lm_gpt2_prefix, prefix) == 0)
    stored = heed_store_find(folder->weights, name + prefix);
  return stored;
}

heed_status heed__lm_check_dims(const heed_stored *stored, int rank, const int64_t *dims) {
  bool fits = stored->rank == rank;
  for (int axis = 0; fits && axis < rank; ++axis) fits = stored->dims[axis] == dims[axis];
  char found[96] = "";
  size_t used = 0;
  for (int axis = 0; axis < stored->rank && used < sizeof found; ++axis)
    used += (size_t)snprintf(found + used, sizeof found - used, "%s%" PRId64, axis ? ", " : "", stored->dims[axis]);
  if (rank == 1)
    HEED__REQUIRE(fits, HEED_ERROR_FORMAT, "%s: %s is [%s]; its configuration needs [%" PRId64 "]", stored->path,
                  heed__printable(stored->name).text, found, dims[0]);
  else
    HEED__REQUIRE(fits, HEED_ERROR_FORMAT, "%s: %s is [%s]; its configuration needs [%" PRId64 ", %" PRId64 "]",
                  stored->path, heed__printable(stored->name).text, found, dims[0], dims[1]);
  return HEED_OK;
}

static heed_status check_matrix(const heed_model_folder *folder, const char *name, int64_t rows, int64_t columns) {
  const heed_stored *stored = heed__lm_find(folder, name);
  HEED__REQUIRE(stored, HEED_ERROR_FORMAT, "%s: the weights have no tensor %s", folder->path, name);
  return heed__lm_check_dims(stored, 2, (const int64_t[]){rows, columns});
}

// Of block `layer`: its other matrices are of the sizes of these.
static heed_status check_block(const heed_model_folder *folder, int64_t layer) {
  const heed_transformer_config *c = &folder->config;
  char name[96];
  if (c->architecture == HEED_ARCHITECTURE_GPT2) {
    snprintf(name, sizeof name, "transformer.h.%" PRId64 ".attn.c_attn.weight", layer);
    HEED__TRY(check_matrix(folder, name, c->width, 3 * c->width));
    snprintf(name, sizeof name, "transformer.h.%" PRId64 ".mlp.c_fc.weight", layer);
    return check_matrix(folder, name, c->width, c->ffn);
  }
  snprintf(name, sizeof name, "model.layers.%" PRId64 ".mlp.up_proj.weight", layer);
  HEED__TRY(check_matrix(folder, name, c->ffn, c->width));
  snprintf(name, sizeof name, "model.layers.%" PRId64 ".self_attn.q_proj.weight", layer);
  HEED__TRY(check_matrix(folder, name, c->heads * c->head_dim, c->width));
  snprintf(name, sizeof name, "model.layers.%" PRId64 ".self_attn.k_proj.weight", layer);
  return check_matrix(folder, name, c->kv_heads * c->head_dim, c->width);
}

heed_status heed__lm_check_sizes(const heed_model_folder *folder) {
  const heed_transformer_config *c = &folder->config;
  if (c->architecture == HEED_ARCHITECTURE_GPT2) {
    HEED__TRY(check_matrix(folder, "transformer.wte.weight", c->vocab, c->width));
    HEED__TRY(check_matrix(folder, "transformer.wpe.weight", c->context, c->width));
  } else {
    HEED__TRY(check_matrix(folder, "model.embed_tokens.weight", c->vocab, c->width));
  }
  for (int64_t layer = 0; layer < c->layers; ++layer)
    HEED__TRY(check_block(folder, layer));  // ends where one is missing
  return HEED_OK;
}
