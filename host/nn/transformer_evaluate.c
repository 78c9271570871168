// A transformer's loss without gradients, by the chunks of rows that training takes.
#include "nn/transformer.h"

static heed_status chunk_loss(heed_transformer *t, int64_t first, int64_t rows, int64_t index,
                              const heed_tensor *targets) {
  const heed_cross_entropy_options options = {.reduction = HEED_REDUCTION_SUM};
  heed_tensor *normed = NULL, *part = NULL, *logits = NULL, *loss = NULL;
  heed_status status = heed_tensor_slice(t->shared[HEED__S_NORMED].tensor, 0, first, rows, &normed);
  if (status == HEED_OK) status = heed_tensor_slice(targets, 0, first, rows, &part);
  if (status == HEED_OK) status = heed_tensor_slice(t->shared[HEED__S_LOGITS].tensor, 0, 0, rows, &logits);
  if (status == HEED_OK) status = heed_tensor_slice(t->shared[HEED__S_LOSSES].tensor, 0, index, 1, &loss);
  if (status == HEED_OK) status = heed_linear_fwd(normed, t->head.value, NULL, logits);
  if (status == HEED_OK) status = heed_cross_entropy_fwd(logits, part, &options, loss);
  heed_tensor_destroy(normed);
  heed_tensor_destroy(part);
  heed_tensor_destroy(logits);
  heed_tensor_destroy(loss);
  return status;
}

// targets: [N]
static heed_status mean_loss(heed_transformer *t, const struct heed__pass *pass, const heed_tensor *targets,
                             heed_tensor *loss) {
  heed_tensor *share = t->shared[HEED__S_SHARE].tensor;
  const int64_t chunk = heed__logit_rows(&t->config, pass->rows);
  HEED__TRY(heed_cross_entropy_share(targets, NULL, share));
  for (int64_t first = 0, index = 0; first < pass->rows; first += chunk, ++index)
    HEED__TRY(chunk_loss(t, first, pass->rows - first < chunk ? pass->rows - first : chunk, index, targets));
  HEED__TRY(heed_reduce_sum(t->shared[HEED__S_LOSSES].tensor, loss, false));
  return heed_mul(loss, share, loss);
}

heed_status heed_transformer_evaluate(heed_transformer *t, const heed_tensor *tokens, const heed_tensor *targets,
                                      heed_tensor *loss) {
  HEED__REQUIRE(t && tokens && targets && loss, HEED_ERROR_INVALID_ARGUMENT,
                "heed_transformer_evaluate: an argument is NULL");
  HEED__TRY(heed__transformer_check_loss(t, tokens, targets, NULL, loss));
  struct heed__pass pass = heed__pass_over(tokens);
  pass.train = !t->config.frozen;  // a model that trains has its memory, and needs no other
  HEED__TRY(heed__transformer_shape(t, &pass));
  HEED__TRY(heed__transformer_shape_loss(t, &pass));
  HEED__TRY(heed__transformer_body(t, &pass));
  heed_tensor *flat = NULL;
  heed_status status = heed_tensor_reshape(targets, 1, &pass.rows, &flat);
  if (status == HEED_OK) status = mean_loss(t, &pass, flat, loss);
  heed_tensor_destroy(flat);
  return status;
}
