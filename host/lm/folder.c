// A model folder: its configuration and its weights, which it loads into a transformer. save.c writes one.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "base/text.h"
#include "lm/folder.h"

static heed_status open_config(const char *path, heed_model_folder *folder) {
  char *config = NULL;
  folder->path = strdup(path);
  if (asprintf(&config, "%s/config.json", path) < 0) config = NULL;
  HEED__REQUIRE(folder->path && config, HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", path);
  const heed_status status = heed__lm_config_read(config, &folder->config, &folder->json);
  free(config);
  return status;
}

static bool has_weights(const char *path) {
  static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
  bool found = false;
  for (int i = 0; i < 2 && !found; ++i) {
    char *file = NULL;
    if (asprintf(&file, "%s/%s", path, names[i]) < 0) return true;  // the message stays
    found = access(file, F_OK) == 0;
    free(file);
  }
  return found;
}

static heed_status open_parts(const char *path, heed_model_folder *folder) {
  heed_status status = open_config(path, folder);
  if (status == HEED_OK) status = heed_store_open(path, &folder->weights);
  if (status == HEED_ERROR_IO) {
    HEED__TRY(heed__lm_refuse_foreign(path));  // else the message is that of the missing file
    HEED__REQUIRE(!folder->json || has_weights(path), HEED_ERROR_IO,
                  "%s: there are no weights: neither model.safetensors nor model.safetensors.index.json", path);
  }
  return status == HEED_OK ? heed__lm_check_sizes(folder) : status;
}

static heed_status open_by(const char *call, heed_status (*read_parts)(const char *path, heed_model_folder *folder),
                           const char *path, heed_model_folder **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "%s: out is NULL", call);
  *out = NULL;
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "%s: the path is NULL", call);
  heed_model_folder *folder = calloc(1, sizeof *folder);
  HEED__REQUIRE(folder, HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", path);
  const heed_status status = read_parts(path, folder);
  if (status != HEED_OK) {
    heed_model_folder_close(folder);
    return status;
  }
  *out = folder;
  return HEED_OK;
}

heed_status heed_model_folder_open(const char *path, heed_model_folder **out) {
  return open_by("heed_model_folder_open", open_parts, path, out);
}

heed_status heed_model_folder_open_config(const char *path, heed_model_folder **out) {
  return open_by("heed_model_folder_open_config", open_config, path, out);
}

static heed_status check_has_weights(const heed_model_folder *folder) {
  HEED__REQUIRE(folder->weights, HEED_ERROR_INVALID_ARGUMENT, "%s was opened without its weights", folder->path);
  return HEED_OK;
}

void heed_model_folder_close(heed_model_folder *folder) {
  if (!folder) return;
  heed_store_destroy(folder->weights);
  json_decref(folder->json);
  free(folder->path);
  free(folder);
}

const heed_transformer_config *heed_model_folder_config(const heed_model_folder *folder) {
  return folder ? &folder->config : NULL;
}

bool heed_model_folder_is_end(const heed_model_folder *folder, int64_t id) {
  return folder && heed__lm_config_is_end(folder->json, id);
}

// ---------------------------------------------------------------- names

static bool ends_with(const char *name, const char *end) {
  const size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

bool heed_model_is_transposed(heed_architecture architecture, const char *name) {
  return architecture == HEED_ARCHITECTURE_GPT2 && name && strstr(name, ".h.") &&
         (ends_with(name, ".c_attn.weight") || ends_with(name, ".c_proj.weight") || ends_with(name, ".c_fc.weight"));
}

// What files carry beside the weights.
static bool holds_no_weight(const heed_transformer_config *c, const char *name) {
  return ends_with(name, ".attn.bias") || ends_with(name, ".attn.masked_bias") ||
         ends_with(name, ".rotary_emb.inv_freq") || (c->tied > 0 && strcmp(name, "lm_head.weight") == 0);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const heed_parameter *)a)->name, ((const heed_parameter *)b)->name);
}

// The model's parameters, sorted by name, to look up the file's.
struct known {
  heed_parameter *sorted;
  size_t count;
};

static bool knows(const struct known *known, const char *name) {
  char full[160];
  const heed_parameter plain = {.name = name}, prefixed = {.name = full};
  if (bsearch(&plain, known->sorted, known->count, sizeof plain, by_name)) return true;
  if (snprintf(full, sizeof full, "%s%s", heed__lm_gpt2_prefix, name) >= (int)sizeof full) return false;
  return bsearch(&prefixed, known->sorted, known->count, sizeof prefixed, by_name) != NULL;
}

// GPT-2's with and without the prefix: which of the two would it be?
static bool has_both_names(const heed_model_folder *folder, const char *name) {
  char full[160];
  return folder->config.architecture == HEED_ARCHITECTURE_GPT2 &&
         snprintf(full, sizeof full, "%s%s", heed__lm_gpt2_prefix, name) < (int)sizeof full &&
         heed_store_find(folder->weights, full);
}

static heed_status check_unknown(const heed_model_folder *folder, const heed_parameter *parameters, size_t count) {
  struct known known = {malloc((count + 1) * sizeof *parameters), count};
  HEED__REQUIRE(known.sorted, HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu names", count);
  memcpy(known.sorted, parameters, count * sizeof *parameters);
  qsort(known.sorted, count, sizeof *known.sorted, by_name);
  const heed_stored *unknown = NULL, *twice = NULL;
  for (size_t i = 0; i < heed_store_count(folder->weights) && !unknown; ++i) {
    const heed_stored *stored = heed_store_get(folder->weights, i);
    if (!holds_no_weight(&folder->config, stored->name) && !knows(&known, stored->name)) unknown = stored;
    if (has_both_names(folder, stored->name)) twice = stored;
  }
  free(known.sorted);
  HEED__REQUIRE(!twice, HEED_ERROR_FORMAT, "%s: it has both %s and %s%s", twice ? twice->path : "",
                twice ? heed__printable(twice->name).text : "", heed__lm_gpt2_prefix,
                twice ? heed__printable(twice->name).text : "");
  HEED__REQUIRE(!unknown, HEED_ERROR_FORMAT, "%s: a %s of this configuration has no tensor %s",
                unknown ? unknown->path : "", heed_architecture_string(folder->config.architecture),
                unknown ? heed__printable(unknown->name).text : "");
  return HEED_OK;
}

// ---------------------------------------------------------------- weights

static heed_status check_shape(const heed_stored *stored, const heed_tensor *value, bool transposed) {
  const int rank = heed_tensor_rank(value);
  const int64_t turned[] = {heed_tensor_dim(value, 1), heed_tensor_dim(value, 0)};
  return heed__lm_check_dims(stored, rank, transposed ? turned : heed_tensor_dims(value));
}

// to[c, r] = from[r, c], by blocks that a cache holds.
void heed__transpose(const float *from, int64_t rows, int64_t columns, float *to) {
  enum { BLOCK = 32 };
  for (int64_t r0 = 0; r0 < rows; r0 += BLOCK)
    for (int64_t c0 = 0; c0 < columns; c0 += BLOCK)
      for (int64_t r = r0; r < rows && r < r0 + BLOCK; ++r)
        for (int64_t c = c0; c < columns && c < c0 + BLOCK; ++c) to[c * rows + r] = from[r * columns + c];
}

static heed_status load_one(const heed_model_folder *folder, const heed_stored *stored, bool transposed,
                            heed_tensor *value) {
  const int64_t count = heed_tensor_count(value);
  HEED__TRY(check_shape(stored, value, transposed));
  float *data = malloc((size_t)count * sizeof *data + 1);
  float *turned = transposed ? malloc((size_t)count * sizeof *turned + 1) : NULL;
  heed_status status = data && (turned || !transposed)
                           ? heed_store_read(folder->weights, stored, HEED_F32, data, (size_t)count * sizeof *data)
                           : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to read %s", stored->name);
  if (status == HEED_OK && turned) heed__transpose(data, stored->dims[0], stored->dims[1], turned);
  if (status == HEED_OK) status = heed_tensor_upload_f32(value, turned ? turned : data, count);
  free(data);
  free(turned);
  return status;
}

heed_status heed_model_folder_load(const heed_model_folder *folder, heed_transformer *transformer) {
  HEED__REQUIRE(folder && transformer, HEED_ERROR_INVALID_ARGUMENT, "heed_model_folder_load: an argument is NULL");
  HEED__TRY(check_has_weights(folder));
  const heed_parameter *parameters = NULL;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  for (size_t i = 0; i < count; ++i)
    HEED__REQUIRE(heed__lm_find(folder, parameters[i].name), HEED_ERROR_FORMAT, "%s: the weights have no tensor %s",
                  folder->path, parameters[i].name);
  HEED__TRY(check_unknown(folder, parameters, count));
  for (size_t i = 0; i < count; ++i) {
    const bool transposed = heed_model_is_transposed(folder->config.architecture, parameters[i].name);
    HEED__TRY(load_one(folder, heed__lm_find(folder, parameters[i].name), transposed, parameters[i].value));
  }
  return HEED_OK;
}

heed_status heed_model_folder_load_masters(const heed_model_folder *folder, const heed_transformer *transformer,
                                           const heed_optimizer *optimizer) {
  HEED__REQUIRE(folder && transformer && optimizer, HEED_ERROR_INVALID_ARGUMENT,
                "heed_model_folder_load_masters: an argument is NULL");
  HEED__TRY(check_has_weights(folder));
  const heed_parameter *parameters = NULL;
  const size_t count = heed_transformer_parameters(transformer, &parameters);
  for (size_t i = 0; i < count; ++i) {
    heed_tensor *master = heed_optimizer_state(optimizer, "master", i);
    const heed_stored *stored = heed__lm_find(folder, parameters[i].name);
    HEED__REQUIRE(stored, HEED_ERROR_FORMAT, "%s: the weights have no tensor %s", folder->path, parameters[i].name);
    const bool transposed = heed_model_is_transposed(folder->config.architecture, parameters[i].name);
    if (master) HEED__TRY(load_one(folder, stored, transposed, master));
  }
  return HEED_OK;
}
