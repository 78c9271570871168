// Accuracy and loss of a model on a test set.
#ifndef HEED_EVALUATE_H
#define HEED_EVALUATE_H

#include "train/classifier.h"
#include "train/feed.h"

typedef struct evaluation {
  double accuracy, loss;  // accuracy from 0 to 1; loss: mean cross-entropy
} evaluation;

// A test set on the device, and what an evaluation needs; made once, used after every epoch.
typedef struct evaluator {
  const char *command;
  const heed_mnist *part;  // borrowed
  feed images;
  int64_t batch, batches;
  heed_tensor *x, *logits;            // one batch
  bool keeps_logits;                  // logits are of all images
  heed_tensor *predictions, *losses;  // I32 [count]; F32 [batches], the sum of each
  int32_t *order;                     // [count]: 0, 1, 2, ...
  int32_t *predicted;
  float *sums;
} evaluator;

// dtype and classes: those of the model to be evaluated.
int evaluator_create(const char *command, heed_context *ctx, const heed_mnist *part, heed_dtype dtype, int64_t classes,
                     evaluator *out);
// From now on a run leaves the logits of all images, [count, classes].
int evaluator_keep_logits(evaluator *evaluator);
int evaluator_run(evaluator *evaluator, const classifier *model, evaluation *result);
void evaluator_destroy(evaluator *evaluator);

#endif
