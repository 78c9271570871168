// A transformer's loss without gradients, by the chunks of rows that training takes.
#include "nn/transformer.h"

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
  if (status == HEED_OK) status = heed__transformer_head_loss(t, &pass, flat, NULL, loss);
  heed_tensor_destroy(flat);
  return status;
}
