// A transformer's creation and end. transformer_config.c has its configuration, transformer_parameters.c the parameters, transformer_fwd.c,
// _bwd.c, _loss.c and _decode.c what is computed with them, transformer_shapes.c the activations.
#include "nn/transformer.h"

#include <stdlib.h>

// ---------------------------------------------------------------- creation

static heed_status create_parameters(heed_transformer *t, uint64_t seed) {
  struct heed__parameter_plan *plans = NULL;
  size_t count = 0;
  heed_status status = heed__transformer_plan(&t->config, &plans, &count);
  if (status == HEED_OK) {
    t->parameters = calloc(count, sizeof *t->parameters);
    if (!t->parameters) status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu parameters", count);
  }
  if (status == HEED_OK) {
    t->count = count;
    status =
        heed__parameters_create(t->ctx, t->config.dtype, NULL, plans, count, seed, !t->config.frozen, t->parameters);
  }
  free(plans);
  return status;
}

heed_status heed__transformer_layers_create(heed_transformer *t) {
  const size_t layers = (size_t)t->config.layers;
  t->blocks = calloc(layers, sizeof *t->blocks);
  t->inputs = calloc(layers, sizeof *t->inputs);
  t->kept = calloc(layers, sizeof *t->kept);
  HEED__REQUIRE(t->blocks && t->inputs && t->kept, HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu layers", layers);
  return HEED_OK;
}

void heed__transformer_layers_destroy(heed_transformer *t) {
  heed__transformer_release(t);
  free(t->inputs);
  free(t->kept);
  free(t->blocks);
}

static heed_status create_state(heed_transformer *t, uint64_t seed) {
  const heed_transformer_config *c = &t->config;
  HEED__TRY(create_parameters(t, seed));
  HEED__TRY(heed__transformer_layers_create(t));
  HEED__TRY(heed__transformer_wire(t));
  if (heed__is_gpt2(c)) return HEED_OK;
  HEED__TRY(heed_tensor_create(t->ctx, HEED_F32, 2, (int64_t[]){c->context, c->head_dim}, &t->rope));
  return heed_rope_table(c->rope_theta, 0, t->rope);
}

heed_status heed_transformer_create(heed_context *ctx, const heed_transformer_config *config, uint64_t seed,
                                    heed_transformer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_transformer_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && config, HEED_ERROR_INVALID_ARGUMENT, "heed_transformer_create: an argument is NULL");
  heed_transformer_config complete = *config;
  HEED__TRY(heed_transformer_complete(&complete));
  heed_transformer *t = calloc(1, sizeof *t);
  HEED__REQUIRE(t, HEED_ERROR_OUT_OF_MEMORY, "no memory for a transformer");
  t->ctx = ctx;
  t->config = complete;
  const heed_status status = create_state(t, seed);
  if (status != HEED_OK) {
    heed_transformer_destroy(t);
    return heed__fail_prefix(status, "transformer");
  }
  *out = t;
  return HEED_OK;
}

void heed_transformer_destroy(heed_transformer *t) {
  if (!t) return;
  heed__transformer_layers_destroy(t);
  for (size_t i = 0; i < t->owned_count; ++i) heed_tensor_destroy(t->owned[i]);
  for (size_t i = 0; i < t->count; ++i) heed__parameter_destroy(&t->parameters[i]);
  heed_tensor_destroy(t->rope);
  free(t->owned);
  free(t->parameters);
  free(t);
}

size_t heed_transformer_parameters(const heed_transformer *t, const heed_parameter **parameters) {
  if (parameters) *parameters = t ? t->parameters : NULL;
  return t ? t->count : 0;
}

const heed_transformer_config *heed_transformer_configuration(const heed_transformer *t) {
  return t ? &t->config : NULL;
}
