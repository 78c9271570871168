// A transformer's head and loss, by chunks of rows: logits and then their gradient take the same memory, which does not grow with the text.
#include <inttypes.h>

#include "base/size.h"
#include "nn/transformer.h"

// The tensors of one chunk of rows, views of the whole. Without gradients dnormed is NULL.
struct chunk {
  heed_tensor *normed, *dnormed, *targets, *logits, *dlogits, *loss;
};

static void chunk_destroy(struct chunk *chunk) {
  heed_tensor_destroy(chunk->normed);
  heed_tensor_destroy(chunk->dnormed);
  heed_tensor_destroy(chunk->targets);
  heed_tensor_destroy(chunk->logits);
  heed_tensor_destroy(chunk->dlogits);
  heed_tensor_destroy(chunk->loss);
}

// targets: [N]
static heed_status chunk_create(heed_transformer *t, int64_t first, int64_t rows, int64_t index,
                                const heed_tensor *targets, const struct heed__loss_gradients *gradients,
                                struct chunk *chunk) {
  HEED__TRY(heed_tensor_slice(t->shared[HEED__S_NORMED].tensor, 0, first, rows, &chunk->normed));
  HEED__TRY(heed_tensor_slice(targets, 0, first, rows, &chunk->targets));
  HEED__TRY(heed_tensor_slice(t->shared[HEED__S_LOGITS].tensor, 0, 0, rows, &chunk->dlogits));
  if (gradients) HEED__TRY(heed_tensor_slice(t->shared[HEED__S_DH].tensor, 0, first, rows, &chunk->dnormed));
  if (gradients && gradients->logits) HEED__TRY(heed_tensor_slice(gradients->logits, 0, first, rows, &chunk->logits));
  return heed_tensor_slice(t->shared[HEED__S_LOSSES].tensor, 0, index, 1, &chunk->loss);
}

// The gradient of a chunk's logits takes their place, unless the caller keeps them.
static heed_status chunk_loss(heed_transformer *t, const struct chunk *chunk, bool accumulate) {
  const heed_cross_entropy_options options = {.reduction = HEED_REDUCTION_SUM};
  heed_tensor *logits = chunk->logits ? chunk->logits : chunk->dlogits;
  HEED__TRY(heed_linear_fwd(chunk->normed, t->head.value, NULL, logits));
  if (!chunk->dnormed) return heed_cross_entropy_fwd(logits, chunk->targets, &options, chunk->loss);
  HEED__TRY(heed_cross_entropy_fwd_bwd(logits, chunk->targets, &options, t->shared[HEED__S_FACTOR].tensor, chunk->loss,
                                       chunk->dlogits));
  return heed_linear_bwd(chunk->normed, t->head.value, chunk->dlogits, chunk->dnormed, t->head.grad, NULL, accumulate);
}

// FACTOR = what the gradient of a row's loss is multiplied by: its share of the mean, the loss' weight and the scale of 16-bit gradients.
static heed_status row_factor(heed_transformer *t, const heed_transformer_loss_options *options) {
  const heed_tensor *share = t->shared[HEED__S_SHARE].tensor;
  heed_tensor *factor = t->shared[HEED__S_FACTOR].tensor;
  HEED__TRY(heed_add(options->weight != 0 ? options->weight : 1, share, 0, share, factor));
  return options->scale ? heed_mul(factor, options->scale, factor) : HEED_OK;
}

heed_status heed__transformer_head_loss(heed_transformer *t, const struct heed__pass *pass, const heed_tensor *targets,
                                        const struct heed__loss_gradients *gradients, heed_tensor *loss) {
  heed_tensor *share = t->shared[HEED__S_SHARE].tensor;
  HEED__TRY(heed_cross_entropy_share(targets, NULL, share));
  if (gradients) HEED__TRY(row_factor(t, gradients->options));
  const int64_t chunk_rows = heed__logit_rows(&t->config, pass->rows);
  for (int64_t first = 0, index = 0; first < pass->rows; first += chunk_rows, ++index) {
    const int64_t rows = heed__min(pass->rows - first, chunk_rows);
    struct chunk chunk = {0};
    heed_status status = chunk_create(t, first, rows, index, targets, gradients, &chunk);
    if (status == HEED_OK) status = chunk_loss(t, &chunk, index > 0 || (gradients && gradients->options->accumulate));
    chunk_destroy(&chunk);
    HEED__TRY(status);
  }
  HEED__TRY(heed_reduce_sum(t->shared[HEED__S_LOSSES].tensor, loss, false));
  return heed_mul(loss, share, loss);
}

heed_status heed__transformer_check_loss(const heed_transformer *t, const heed_tensor *tokens,
                                         const heed_tensor *targets, const heed_tensor *logits,
                                         const heed_tensor *loss) {
  HEED__TRY(heed__transformer_check_tokens(t, "tokens", tokens));
  const int64_t dims[] = {heed_tensor_dim(tokens, 0), heed_tensor_dim(tokens, 1), t->config.vocab};
  HEED__REQUIRE(heed__has_shape(targets, 2, dims), HEED_ERROR_SHAPE,
                "transformer: targets is %s; [%" PRId64 ", %" PRId64 "] is needed, as tokens have it",
                heed_tensor_describe(targets), dims[0], dims[1]);
  HEED__REQUIRE(!logits || heed__has_shape(logits, 3, dims), HEED_ERROR_SHAPE,
                "transformer: logits is %s; [%" PRId64 ", %" PRId64 ", %" PRId64 "] is needed",
                heed_tensor_describe(logits), dims[0], dims[1], dims[2]);
  HEED__REQUIRE(heed__has_shape(loss, 1, (int64_t[]){1}) && heed_tensor_dtype(loss) == HEED_F32, HEED_ERROR_SHAPE,
                "transformer: loss is %s; F32[1] is needed", heed_tensor_describe(loss));
  const struct heed__named outputs[] = {{"logits", logits}, {"loss", loss}};
  const struct heed__named inputs[] = {{"tokens", tokens}, {"targets", targets}};
  return heed__check_apart("transformer", outputs, 2, inputs, 2, t->parameters, t->count);
}
