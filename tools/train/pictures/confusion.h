// What a model takes for what, as a picture.
#ifndef HEED_TRAIN_CONFUSION_H
#define HEED_TRAIN_CONFUSION_H

#include "train/evaluate.h"

// Draws the confusion matrix of a test set, and the images whose true class the model gave the lowest probability, into `path`. The
// evaluator has run since evaluator_keep_logits(). title: the line above. Returns TOOL_DONE, or says what is wrong.
int confusion_draw(const char *path, const char *title, const evaluator *e);

#endif
