// The attention weights of a transformer's layers: a forward like heed_transformer_evaluate()'s, in which layers also write theirs.
#include <inttypes.h>
#include <stdlib.h>

#include "nn/transformer.h"

// Fails unless the tensors that are wanted have the shape and dtype of weights and lie apart. named: room for a tensor of each layer.
static heed_status check_weights(const heed_transformer *t, const heed_tensor *tokens, heed_tensor *const *weights,
                                 struct heed__named *named) {
  const heed_transformer_config *c = &t->config;
  const int64_t length = heed_tensor_dim(tokens, 1);
  const int64_t dims[] = {heed_tensor_dim(tokens, 0), c->heads, length, length};
  size_t count = 0;
  for (int64_t layer = 0; layer < c->layers; ++layer) {
    if (!weights[layer]) continue;
    HEED__REQUIRE(heed__has_shape(weights[layer], 4, dims), HEED_ERROR_SHAPE,
                  "transformer: the weights of layer %" PRId64 " are %s; [%" PRId64 ", %" PRId64 ", %" PRId64
                  ", %" PRId64 "] is needed",
                  layer, heed_tensor_describe(weights[layer]), dims[0], dims[1], dims[2], dims[3]);
    HEED__REQUIRE(heed_tensor_dtype(weights[layer]) == c->dtype, HEED_ERROR_DTYPE,
                  "transformer: the weights of layer %" PRId64 " are %s; the model computes in %s", layer,
                  heed_tensor_describe(weights[layer]), heed_dtype_string(c->dtype));
    named[count++] = (struct heed__named){"weights", weights[layer]};
  }
  HEED__REQUIRE(count > 0, HEED_ERROR_INVALID_ARGUMENT,
                "heed_transformer_attention: no layer has a tensor for its weights");
  return heed__check_apart("transformer", named, count, &(struct heed__named){"tokens", tokens}, 1, t->parameters,
                           t->count);
}

heed_status heed_transformer_attention(heed_transformer *t, const heed_tensor *tokens, heed_tensor *const *weights) {
  HEED__REQUIRE(t && tokens && weights, HEED_ERROR_INVALID_ARGUMENT, "heed_transformer_attention: an argument is NULL");
  HEED__TRY(heed__transformer_check_tokens(t, "tokens", tokens));
  struct heed__named *named = calloc((size_t)t->config.layers, sizeof *named);
  HEED__REQUIRE(named, HEED_ERROR_OUT_OF_MEMORY, "no memory for a list of %" PRId64 " layers", t->config.layers);
  const heed_status checked = check_weights(t, tokens, weights, named);
  free(named);
  HEED__TRY(checked);
  struct heed__pass pass = heed__pass_over(tokens);
  pass.train = !t->config.frozen;  // a model that trains has its memory, and needs no other
  pass.weights = weights;
  HEED__TRY(heed__transformer_shape(t, &pass));
  return heed__transformer_body(t, &pass);
}
