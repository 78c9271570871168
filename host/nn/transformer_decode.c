// Decoding: attention reads the keys and values of earlier tokens in the cache, as they lie there, up to a length that the device holds.
#include <inttypes.h>

#include "nn/transformer.h"

static heed_status check_decode(const heed_transformer *t, const heed_kv_cache *cache, const heed_tensor *tokens,
                                const heed_tensor *logits) {
  HEED__TRY(heed__transformer_check_tokens(t, "tokens", tokens));
  HEED__REQUIRE(cache->transformer == t, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: the cache belongs to another transformer");
  HEED__REQUIRE(heed_tensor_dim(tokens, 0) == cache->batch, HEED_ERROR_SHAPE,
                "transformer: tokens is %s, but the cache has %" PRId64 " texts", heed_tensor_describe(tokens),
                cache->batch);
  HEED__REQUIRE(heed_tensor_dim(tokens, 1) <= cache->capacity - cache->length, HEED_ERROR_INVALID_ARGUMENT,
                "transformer: %" PRId64 " tokens more than the %" PRId64
                " in the cache are over its capacity of %" PRId64,
                heed_tensor_dim(tokens, 1), cache->length, cache->capacity);
  const int64_t dims[] = {cache->batch, t->config.vocab};
  HEED__REQUIRE(heed__has_shape(logits, 2, dims), HEED_ERROR_SHAPE,
                "transformer: logits is %s; [%" PRId64 ", %" PRId64 "] is needed", heed_tensor_describe(logits),
                dims[0], dims[1]);
  return heed__check_apart("transformer", &(struct heed__named){"logits", logits}, 1,
                           &(struct heed__named){"tokens", tokens}, 1, t->parameters, t->count);
}

// The head reads the last token of each text alone.
static heed_status last_logits(heed_transformer *t, heed_kv_cache *cache, const struct heed__pass *pass,
                               heed_tensor *logits) {
  const int64_t width = t->config.width, dims[] = {pass->batch, width};
  heed_tensor *rows = NULL;
  HEED__TRY(heed__scratch_shape(&cache->last, t->ctx, t->config.dtype, 2, dims));
  HEED__TRY(heed_tensor_view(t->shared[HEED__S_NORMED].tensor, 2, dims, (int64_t[]){pass->length * width, 1},
                             (pass->length - 1) * width, &rows));
  heed_status status = heed_copy(rows, cache->last.tensor);
  heed_tensor_destroy(rows);
  return status == HEED_OK ? heed_linear_fwd(cache->last.tensor, t->head.value, NULL, logits) : status;
}

heed_status heed_transformer_decode(heed_transformer *t, heed_kv_cache *cache, const heed_tensor *tokens,
                                    heed_tensor *logits) {
  HEED__REQUIRE(t && cache && tokens && logits, HEED_ERROR_INVALID_ARGUMENT,
                "heed_transformer_decode: an argument is NULL");
  HEED__TRY(check_decode(t, cache, tokens, logits));
  struct heed__pass pass = heed__pass_over(tokens);
  pass.position = cache->length;
  pass.cache = cache;
  HEED__TRY(heed__transformer_shape(t, &pass));
  HEED__TRY(heed_fill(cache->lengths, (double)(cache->length + pass.length)));
  HEED__TRY(heed__transformer_body(t, &pass));
  HEED__TRY(last_logits(t, cache, &pass, logits));
  cache->length += pass.length;
  return HEED_OK;
}
