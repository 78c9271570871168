// The settings of a training run: the options of heed train, their defaults, which depend on the model and the optimizer, and their form in
// checkpoints and logs.
#ifndef HEED_TRAIN_SETTINGS_H
#define HEED_TRAIN_SETTINGS_H

#include <heed/io.h>
#include <heed/nn.h>

#include "cli/json.h"
#include "cli/tool.h"
#include "train/classifier.h"

typedef struct train_settings {
  const char *data, *hidden, *init, *save, *resume, *log, *plot;
  int arch, optimizer, schedule;  // classifier_arch, heed_optimizer_kind, heed_schedule_kind
  int64_t layers, heads, width, patch;
  int64_t batch, accumulate;           // images a micro-batch, micro-batches a step
  int64_t epochs, max_steps, classes;  // max_steps 0: no limit; classes 0: the highest label + 1
  int64_t warmup, compare_every;
  double timeout, lr, min_lr, momentum, beta1, beta2, eps, weight_decay, clip, dropout;
  uint64_t seed;
  bool no_shuffle;
} train_settings;

// Names of heed_optimizer_kind and heed_schedule_kind, up to NULL.
extern const char *const train_optimizers[], *const train_schedules[];
// The options of heed train, and its help.
extern const tool_syntax train_syntax;

// Before the command line is read.
extern const train_settings train_settings_initial;
// Gives what the command line leaves open the defaults of this kind of model.
void train_settings_complete(const tool_args *args, classifier_arch arch, train_settings *s);
// Fails where an option was given that the model, the optimizer or the schedule does not take.
int train_settings_check(const tool_args *args, const train_settings *s);

// ---------------------------------------------------------------- checkpoints and logs

// Takes from a checkpoint's metadata what the command line does not give. Fails, without a message, where they have no usable value of
// *missing; and, with one, where the command line gives another value of what a run keeps to its end.
int train_settings_read(const tool_args *args, const heed_safetensors *file, train_settings *s, const char **missing);
heed_status train_settings_write(const train_settings *s, heed_safetensors *file);
void train_settings_log(const train_settings *s, json_t *object);

// ---------------------------------------------------------------- what they mean

heed_optimizer_config train_optimizer(const train_settings *s);
// steps: of all epochs.
heed_schedule train_schedule(const train_settings *s, int64_t steps);

#endif
