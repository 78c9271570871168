// Training: what the command, the loop, checkpoints and the log share.
#ifndef HEED_TRAIN_H
#define HEED_TRAIN_H

#include <heed/nn.h>

#include "cli/log.h"
#include "ranks/share.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/feed.h"
#include "train/pictures/picture.h"
#include "train/settings.h"
#include "train/warmup.h"

typedef struct trainer {
  tool_args *args;
  const char *command;
  tool_ranks *ranks;  // NULL: one process alone
  train_settings settings;
  classifier_shape shape;
  dataset data;
  uint32_t data_checksum;  // of the training images, if a checkpoint is read or written
  train_warmup warmup;
  heed_context *ctx;
  classifier model;
  tool_share share;
  heed_optimizer *optimizer;  // of share.own
  heed_schedule schedule;
  feed images;
  evaluator tester;
  heed_tensor *x, *logits;  // of a micro-batch
  heed_tensor *losses;      // F32 [steps_per_epoch · accumulate], the loss of each micro-batch of the epoch
  heed_tensor *shares;      // F32 [batches], the part of its step's images that each one has; NULL: all of them
  int32_t *order;           // [count]: this epoch's order of the images
  float *losses_host;
  int64_t batches, steps_per_epoch;  // of an epoch; a batch here is a micro-batch
  int64_t epoch, step;               // epochs complete; steps into the next one
  int64_t applied;      // AdamW's steps up to the checkpoint that was resumed, without those that it skipped
  int64_t saved_steps;  // steps in the last checkpoint; -1: none was written
  tool_log log;
  FILE *results;  // where the line after each epoch goes: stdout, unless a machine reads that; NULL: nowhere
  bool save_failed;
  train_picture picture;
  const volatile sig_atomic_t *interrupted;
} trainer;

static inline int64_t train_steps(const trainer *t) { return t->epoch * t->steps_per_epoch + t->step; }
// How many micro-batches of an epoch come before one of its steps.
static inline int64_t train_batches_before(const trainer *t, int64_t step) {
  const int64_t batches = step * t->settings.accumulate;
  return batches < t->batches ? batches : t->batches;
}

// ---------------------------------------------------------------- loop

// Trains up to the requested epochs and steps. It writes a checkpoint after every epoch, on stdout only at the end.
int train_loop(trainer *t);

// ---------------------------------------------------------------- checkpoints
// A checkpoint holds the weights under their own names, what the optimizer remembers (momentum.NAME, or exp_avg.NAME and exp_avg_sq.NAME),
// and the losses of the current epoch. Its metadata say how far
// training is and how it was set up. It lies in FILE.state, and its weights in FILE, too. Up to 0.1.0 it lay in FILE alone.

// Opens settings.resume and, where there is one, its state; fails if the two do not belong together.
int checkpoint_open(const trainer *t, heed_safetensors **out);
// Fails if a file lacks what the optimizer remembered; `state` names the file that should have it.
int checkpoint_check_whole(const trainer *t, const heed_safetensors *file, const char *state);
// Makes the checkpoint of now: all of it, or the weights and metadata; on rank 0, to which the others give what they have of it.
int checkpoint_build(const trainer *t, bool whole, heed_safetensors **out);
// Takes from a checkpoint's metadata what the command line does not give, and how far training is.
int checkpoint_read_settings(trainer *t, const heed_safetensors *file);
// Fails if the training set is not the checkpoint's; needs t->data.
int checkpoint_check_data(const trainer *t, const heed_safetensors *file);
// Restores what the optimizer remembers, and losses; classifier_load() restores the weights.
int checkpoint_restore(trainer *t, const heed_safetensors *file);
// Writes settings.save and its state if it is given. It reports and remembers a failure, which leaves files that belong together.
int checkpoint_save(trainer *t);

// ---------------------------------------------------------------- log
// Writes one JSON object per line, to --log's file and with --json or --log - to stdout, and flushes it. It reports a failing disk once, and training continues without the log.

int train_log_open(trainer *t);
bool train_log_wanted(const trainer *t);
void train_log_start(trainer *t);
void train_log_step(trainer *t, double loss);
void train_log_epoch(trainer *t, double loss, const evaluation *result, double seconds, double images_per_second);
void train_log_end(trainer *t, const char *outcome, double seconds);

#endif
