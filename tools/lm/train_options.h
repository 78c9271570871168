// The options that a run remembers in its state.
#ifndef HEED_LM_TRAIN_OPTIONS_H
#define HEED_LM_TRAIN_OPTIONS_H

#include "lm/train.h"

// Writes them to the metadata, in a fixed order.
int lm_train_options_remember(const trainer *t, heed_safetensors *state);
// Takes what the command line does not give; fails if it gives another value of what a run may not change.
int lm_train_options_recall(trainer *t, const heed_safetensors *state);

#endif
