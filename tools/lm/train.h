// heed lm train: what its files share.
#ifndef HEED_LM_TRAIN_H
#define HEED_LM_TRAIN_H

#include "draw/curves.h"
#include "cli/log.h"
#include "lm/lm.h"
#include "ranks/share.h"

// Options as they are on the command line, or remembered by the run that goes on.
typedef struct train_settings {
  const char *data, *val, *save, *resume, *init, *tokenizer, *log, *plot;
  double val_fraction;
  int architecture;
  int64_t layers, heads, kv_heads, width, ffn, context, vocab;
  bool tie, no_tie;
  int64_t batch, accumulate, steps;
  int order;
  uint64_t seed;
  double lr, min_lr;
  int64_t warmup, decay_steps;  // decay_steps 0: steps
  int schedule;
  double beta1, beta2, eps, weight_decay, clip, dropout;
  int dtype, save_dtype;
  bool recompute, force, keep_best, template_tokens;
  int64_t eval_every, eval_batches, sample_every, save_every, log_every, compare_every;
  double timeout;
} train_settings;

enum { TRAIN_RANDOM, TRAIN_SEQUENTIAL };
extern const char *const lm_train_orders[], *const lm_train_schedules[];
extern const tool_syntax lm_train_syntax;

// What is on its way from the device: of one step, read while the next ones are queued.
typedef struct train_look {
  int64_t step;
  double lr;
  bool wanted;  // a line of the log
  heed_read *loss, *norm, *counts;
  float *losses;  // [accumulate]
  float norm_value;
  int32_t count_values[4];
  tool_trace trace;
} train_look;

typedef struct trainer {
  tool_args *args;
  const char *command;
  tool_ranks *ranks;  // NULL: one process alone
  train_settings s;
  lm_model model;  // folder: --init's or --resume's, NULL for a new model; ctx, transformer, tokenizer
  heed_transformer_config config;
  lm_memory memory;
  heed_token_data *data, *validation;  // validation NULL: none
  uint32_t data_checksum, validation_checksum;
  bool from_model;   // the run began from the model of an --init
  int lock;          // of the folder; −1: none
  bool made_folder;  // by this run: it goes if nothing comes to lie in it

  heed_optimizer *optimizer;
  tool_share share;
  const heed_parameter *parameters;
  size_t parameter_count;
  heed_tensor *tokens, *targets;  // I32 [batch, context]
  heed_tensor *losses;            // F32 [accumulate], of the step's micro-batches
  int32_t *host_tokens, *host_targets;

  int64_t step;                       // steps done
  int64_t first_step, saved_step;     // of this process; −1: nothing saved
  double best_loss, last_validation;  // NaN: none
  double started, paused;             // paused: seconds spent on validation, samples and checkpoints since `timed`
  double timed;                       // when step `timed_step` was first seen to be done; 0: none was
  int64_t timed_step;
  double peak_gflops;  // NaN: not known
  train_look look;
  bool looking;
  double last_loss;
  double looked, told;
  tool_log log;
  FILE *results;
  bool save_failed, best_failed;
  tool_curves *curves;
  const volatile sig_atomic_t *interrupted;
} trainer;

static inline bool train_has(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

// ---------------------------------------------------------------- setting up
int lm_train_set_up(trainer *t);
void lm_train_release(trainer *t);

// ---------------------------------------------------------------- the loop
int lm_train_loop(trainer *t);
int lm_train_step(trainer *t);
double lm_train_rate_now(const trainer *t);  // the learning rate of the step to come

// ---------------------------------------------------------------- validation and samples
// The mean loss over windows that are spread evenly over the validation tokens.
int lm_train_validate(trainer *t, double *loss);
// Writes a sample to the log and the terminal.
int lm_train_sample(trainer *t);

// ---------------------------------------------------------------- the state
// DIR/heed_state.safetensors: masters, moments, counts, the options, and how far the run is.

// Opens --resume's state and takes what the command line does not give from it.
int lm_train_state_open(trainer *t, heed_safetensors **out);
// Fails if the data are not those of the state.
int lm_train_state_check_data(const trainer *t, const heed_safetensors *state);
// Reads the masters of --init's model, which its values are not where they are rounded.
int lm_train_load_masters(trainer *t);
// Brings back parameters, moments and counts.
int lm_train_state_restore(trainer *t, const heed_safetensors *state);
// Writes the model's folder, then the state. A failure is reported and remembered, and leaves files from which the run can go on.
int lm_train_save(trainer *t);
int lm_train_save_best(trainer *t);

// ---------------------------------------------------------------- the folder
// Makes --save's folder where there is none, and keeps other runs out of it. Fails if it may not be written to.
int lm_train_enter_folder(trainer *t);
// Fails if the disk has no room for a checkpoint.
int lm_train_check_room(const trainer *t);
// Marks what comes to lie in the folder as that of a run without a state, so that the same run may begin again over it, until there is one.
int lm_train_mark_unfinished(const trainer *t);
void lm_train_unmark(const trainer *t);
// Whether the folder is so marked and has no state.
bool lm_train_is_unfinished(const char *folder);
// Lets other runs in again. A folder that was made for nothing goes.
void lm_train_leave_folder(trainer *t);
// The file of the state, in --save's folder; the caller frees the path. NULL without memory.
extern const char lm_train_state_name[];
char *lm_train_path_in(const char *folder, const char *name);

// ---------------------------------------------------------------- the log
int lm_train_log_open(trainer *t);
bool lm_train_log_wanted(const trainer *t);
void lm_train_log_start(trainer *t);
void lm_train_log_step(trainer *t, const train_look *look, double loss, double rate);
void lm_train_log_eval(trainer *t, double loss);
void lm_train_log_sample(trainer *t, const lm_stream *text);
void lm_train_log_end(trainer *t, const char *outcome);
double lm_train_rate(const trainer *t, int64_t steps, double seconds);  // tokens a second
double lm_train_peak_fraction(const trainer *t, double rate);           // NaN: not known

#endif
