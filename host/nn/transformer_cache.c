// A cache of keys and values, which lie there in full length from the start. New ones are written into their place.
#include <inttypes.h>
#include <stdlib.h>

#include "nn/transformer.h"

static heed_status create_tensors(heed_kv_cache *cache) {
  const heed_transformer *t = cache->transformer;
  const heed_transformer_config *c = &t->config;
  const int64_t dims[] = {cache->batch, c->kv_heads, cache->capacity, c->head_dim};
  cache->keys = calloc((size_t)c->layers, sizeof *cache->keys);
  cache->values = calloc((size_t)c->layers, sizeof *cache->values);
  HEED__REQUIRE(cache->keys && cache->values, HEED_ERROR_OUT_OF_MEMORY, "no memory for a cache of %" PRId64 " layers",
                c->layers);
  for (int64_t layer = 0; layer < c->layers; ++layer) {
    HEED__TRY(heed_tensor_create(t->ctx, c->dtype, 4, dims, &cache->keys[layer]));
    HEED__TRY(heed_tensor_create(t->ctx, c->dtype, 4, dims, &cache->values[layer]));
  }
  return heed_tensor_create(t->ctx, HEED_I32, 1, &cache->batch, &cache->lengths);
}

heed_status heed_kv_cache_create(heed_transformer *transformer, int64_t batch, int64_t capacity, heed_kv_cache **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_kv_cache_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(transformer, HEED_ERROR_INVALID_ARGUMENT, "heed_kv_cache_create: the transformer is NULL");
  HEED__REQUIRE(batch >= 1 && capacity >= 1 && capacity <= transformer->config.context, HEED_ERROR_INVALID_ARGUMENT,
                "cache: %" PRId64 " texts of %" PRId64 " tokens; at least 1 text, of 1 to %" PRId64
                " tokens (the context), is needed",
                batch, capacity, transformer->config.context);
  heed_kv_cache *cache = calloc(1, sizeof *cache);
  HEED__REQUIRE(cache, HEED_ERROR_OUT_OF_MEMORY, "no memory for a cache");
  cache->transformer = transformer;
  cache->layers = transformer->config.layers;
  cache->batch = batch;
  cache->capacity = capacity;
  const heed_status status = create_tensors(cache);
  if (status != HEED_OK) {
    heed_kv_cache_destroy(cache);
    return heed__fail_prefix(status, "cache");
  }
  *out = cache;
  return HEED_OK;
}

void heed_kv_cache_destroy(heed_kv_cache *cache) {
  if (!cache) return;
  for (int64_t layer = 0; layer < cache->layers; ++layer) {
    if (cache->keys) heed_tensor_destroy(cache->keys[layer]);
    if (cache->values) heed_tensor_destroy(cache->values[layer]);
  }
  heed_tensor_destroy(cache->lengths);
  heed__scratch_destroy(&cache->last);
  free(cache->keys);
  free(cache->values);
  free(cache);
}

int64_t heed_kv_cache_length(const heed_kv_cache *cache) { return cache ? cache->length : 0; }

heed_status heed_kv_cache_truncate(heed_kv_cache *cache, int64_t length) {
  HEED__REQUIRE(cache && length >= 0 && length <= cache->length, HEED_ERROR_INVALID_ARGUMENT,
                "cache: it cannot be cut to %" PRId64 " tokens; it has %" PRId64, length, heed_kv_cache_length(cache));
  cache->length = length;
  return HEED_OK;
}

static heed_status append(const heed_kv_cache *cache, const heed_tensor *fresh, const heed_tensor *all) {
  heed_tensor *place = NULL;
  HEED__TRY(heed_tensor_slice(all, 2, cache->length, heed_tensor_dim(fresh, 2), &place));
  const heed_status status = heed_copy(fresh, place);
  heed_tensor_destroy(place);
  return status;
}

heed_status heed__cache_append(heed_kv_cache *cache, int64_t layer, const struct heed__heads *heads,
                               heed_attention_inputs *inputs) {
  HEED__TRY(append(cache, heads->k, cache->keys[layer]));
  HEED__TRY(append(cache, heads->v, cache->values[layer]));
  inputs->k = cache->keys[layer];
  inputs->v = cache->values[layer];
  inputs->kv_lengths = cache->lengths;
  return HEED_OK;
}
