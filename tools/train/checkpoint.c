// What a checkpoint of a training run contains: enough to continue bit for bit like an uninterrupted run. checkpoint_files.c has its two
// files.
#include <float.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"
#include "cli/files.h"

static const char losses_name[] = "epoch_losses";

static const char *momentum_name(const heed_parameter *parameter, char name[128]) {
  snprintf(name, 128, "momentum.%s", parameter->name);
  return name;
}

// Writes the widths between input and classes: "512" or "512,256".
static void hidden_text(const model_shape *shape, char text[1024]) {
  size_t used = 0;
  *text = '\0';
  for (size_t i = 1; i + 1 < shape->count && used < 1024; i++)
    used += (size_t)snprintf(text + used, 1024 - used, "%s%" PRId64, i > 1 ? "," : "", shape->sizes[i]);
}

// ---------------------------------------------------------------- reading

static int no_checkpoint(const trainer *t, const char *key) {
  return tool_fail(
      t->command,
      "%s is not a checkpoint of heed train: its metadata has no usable '%s'; --init loads only the weights",
      t->settings.resume, key);
}

static int read_integer(const trainer *t, const heed_safetensors *file, const char *key, int64_t least,
                        int64_t *value) {
  const char *text = heed_safetensors_metadata(file, key);
  const bool usable = text && tool_read_integer(text, value) && *value >= least;
  return usable ? TOOL_DONE : no_checkpoint(t, key);
}

static int read_real(const trainer *t, const heed_safetensors *file, const char *key, double *value) {
  const char *text = heed_safetensors_metadata(file, key);
  const bool usable = text && tool_read_real(text, value) && *value >= 0;
  return usable ? TOOL_DONE : no_checkpoint(t, key);
}

static int conflict(const trainer *t, const char *option, const char *has) {
  return tool_usage(t->command,
                    "--%s does not fit %s, which was trained with %s; leave it out, or start again with --init", option,
                    t->settings.resume, has);
}

int checkpoint_read_settings(trainer *t, const heed_safetensors *file) {
  train_settings *s = &t->settings;
  int64_t batch, epochs, steps, shuffle;
  double lr, momentum;
  uint64_t seed = 0;
  TOOL_TRY(read_integer(t, file, "steps", 0, &steps));
  TOOL_TRY(read_integer(t, file, "epoch", 0, &t->epoch));
  TOOL_TRY(read_integer(t, file, "step_in_epoch", 0, &t->step));
  TOOL_TRY(read_integer(t, file, "batch", 1, &batch));
  TOOL_TRY(read_integer(t, file, "epochs", 0, &epochs));
  TOOL_TRY(read_integer(t, file, "shuffle", 0, &shuffle));
  TOOL_TRY(read_real(t, file, "lr", &lr));
  TOOL_TRY(read_real(t, file, "momentum", &momentum));
  const char *seed_text = heed_safetensors_metadata(file, "seed");
  if (!seed_text || !tool_read_unsigned(seed_text, &seed)) return no_checkpoint(t, "seed");
  if (tool_given(t->args, "seed") && s->seed != seed) return conflict(t, "seed", seed_text);
  if (tool_given(t->args, "batch") && s->batch != batch)
    return conflict(t, "batch", heed_safetensors_metadata(file, "batch"));
  s->seed = seed;
  s->batch = batch;
  if (!tool_given(t->args, "epochs")) s->epochs = epochs;
  if (!tool_given(t->args, "lr")) s->lr = lr;
  if (!tool_given(t->args, "momentum")) s->momentum = momentum;
  if (!tool_given(t->args, "no-shuffle")) s->no_shuffle = shuffle == 0;
  return TOOL_DONE;
}

int checkpoint_check_data(const trainer *t, const heed_safetensors *file) {
  const char *name = heed_safetensors_metadata(file, "dataset");
  const char *checksum = heed_safetensors_metadata(file, "dataset_crc32");
  if (!name || !checksum) return no_checkpoint(t, name ? "dataset_crc32" : "dataset");
  char own[16];
  snprintf(own, sizeof own, "%08" PRIx32, t->data_checksum);
  if (strcmp(own, checksum) != 0)
    return tool_fail(t->command,
                     "%s was trained on the images of %s, not on those of %s; give --data, or start again with --init",
                     t->settings.resume, name, t->data.source);
  int64_t steps;
  TOOL_TRY(read_integer(t, file, "steps", 0, &steps));
  if (t->step >= t->steps_per_epoch || t->epoch > INT64_MAX / t->steps_per_epoch - 1 || steps != train_steps(t))
    return no_checkpoint(t, "steps");
  return TOOL_DONE;
}

// Finds a tensor of the file, which must have this shape and be F32.
static int find_f32(const trainer *t, const heed_safetensors *file, const char *name, int rank, const int64_t *dims,
                    const heed_array **out) {
  const heed_array *array = *out = heed_safetensors_find(file, name);
  if (array && array->dtype == HEED_F32 && array->rank == rank &&
      memcmp(array->dims, dims, (size_t)rank * sizeof *dims) == 0)
    return TOOL_DONE;
  char text[TOOL_SHAPE_TEXT];
  return tool_fail(t->command, "%s: the checkpoint's tensor '%s' must be F32%s; it %s", t->settings.resume, name,
                   tool_shape_text(rank, dims, text), array ? "is not" : "is missing");
}

static int restore_losses(trainer *t, const heed_safetensors *file) {
  if (t->step == 0) return TOOL_DONE;
  const heed_array *array;
  heed_tensor *part = NULL;
  TOOL_TRY(find_f32(t, file, losses_name, 1, &t->step, &array));
  memcpy(t->losses_host, array->data, array->bytes);
  TOOL_HEED(t->command, heed_tensor_slice(t->losses, 0, 0, t->step, &part));
  const heed_status uploaded = heed_tensor_upload(part, array->data, array->bytes);
  const int status = uploaded == HEED_OK ? TOOL_DONE : tool_fail_status(t->command, uploaded);
  heed_tensor_destroy(part);
  return status;
}

int checkpoint_restore(trainer *t, const heed_safetensors *file) {
  TOOL_TRY(restore_losses(t, file));
  char name[128];
  // Weights that were trained without momentum have no history, so their next step counts as the first one.
  const bool history =
      t->settings.momentum > 0 && heed_safetensors_find(file, momentum_name(&t->parameters[0], name)) != NULL;
  for (size_t i = 0; history && i < t->parameter_count; i++) {
    heed_tensor *momentum = heed_optimizer_state(t->optimizer, "momentum_buffer", i);
    const heed_array *array;
    TOOL_TRY(find_f32(t, file, momentum_name(&t->parameters[i], name), heed_tensor_rank(momentum),
                      heed_tensor_dims(momentum), &array));
    TOOL_HEED(t->command, heed_tensor_upload(momentum, array->data, array->bytes));
  }
  heed_optimizer_set_steps(t->optimizer, history ? train_steps(t) : 0);
  return TOOL_DONE;
}

int checkpoint_check_whole(const trainer *t, const heed_safetensors *file, const char *state) {
  int64_t steps;
  double momentum;
  TOOL_TRY(read_integer(t, file, "steps", 0, &steps));
  TOOL_TRY(read_real(t, file, "momentum", &momentum));
  if (steps == 0 || momentum <= 0 || heed_safetensors_find(file, "momentum.l1.weight")) return TOOL_DONE;
  return tool_fail(t->command,
                   "%s has the weights alone, and %s with the momentum is missing; keep both files together, or start "
                   "again from the weights with --init",
                   t->settings.resume, state);
}

// ---------------------------------------------------------------- writing

static bool all_finite(const heed_array *array) {
  const float *values = array->data;
  for (size_t i = 0; i < array->bytes / sizeof *values; i++)
    if (!(values[i] >= -FLT_MAX && values[i] <= FLT_MAX)) return false;
  return true;
}

// Adds a tensor, unless it contains values from which no training can continue.
static int add_finite(const trainer *t, heed_safetensors *file, const char *name, const heed_tensor *tensor) {
  TOOL_HEED(t->command, heed_safetensors_add_tensor(file, name, tensor));
  if (all_finite(heed_safetensors_find(file, name))) return TOOL_DONE;
  return tool_fail(t->command, "%s holds NaN or infinity after step %" PRId64 "; no checkpoint is written", name,
                   train_steps(t));
}

static int add_tensors(const trainer *t, heed_safetensors *file, bool whole) {
  char name[128];
  for (size_t i = 0; i < t->parameter_count; i++)
    TOOL_TRY(add_finite(t, file, t->parameters[i].name, t->parameters[i].value));
  for (size_t i = 0; whole && i < t->parameter_count; i++) {
    const heed_tensor *momentum = heed_optimizer_state(t->optimizer, "momentum_buffer", i);
    if (momentum) TOOL_TRY(add_finite(t, file, momentum_name(&t->parameters[i], name), momentum));
  }
  if (whole && t->step > 0)
    TOOL_HEED(t->command, heed_safetensors_add(file, losses_name, HEED_F32, 1, &t->step, t->losses_host));
  return TOOL_DONE;
}

__attribute__((format(printf, 4, 5))) static int set(const trainer *t, heed_safetensors *file, const char *key,
                                                     const char *format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  TOOL_HEED(t->command, heed_safetensors_set_metadata(file, key, text));
  return TOOL_DONE;
}

static int add_metadata(const trainer *t, heed_safetensors *file) {
  const train_settings *s = &t->settings;
  char hidden[1024];
  hidden_text(&t->shape, hidden);
  TOOL_TRY(set(t, file, "heed", "%s", heed_version()));
  TOOL_TRY(set(t, file, "steps", "%" PRId64, train_steps(t)));
  TOOL_TRY(set(t, file, "epoch", "%" PRId64, t->epoch));
  TOOL_TRY(set(t, file, "step_in_epoch", "%" PRId64, t->step));
  TOOL_TRY(set(t, file, "seed", "%" PRIu64, s->seed));
  TOOL_TRY(set(t, file, "batch", "%" PRId64, s->batch));
  TOOL_TRY(set(t, file, "epochs", "%" PRId64, s->epochs));
  TOOL_TRY(set(t, file, "lr", "%.17g", s->lr));
  TOOL_TRY(set(t, file, "momentum", "%.17g", s->momentum));
  TOOL_TRY(set(t, file, "hidden", "%s", hidden));
  TOOL_TRY(set(t, file, "shuffle", "%d", !s->no_shuffle));
  TOOL_TRY(set(t, file, "dataset", "%s", t->data.source));
  return set(t, file, "dataset_crc32", "%08" PRIx32, t->data_checksum);
}

int checkpoint_build(const trainer *t, bool whole, heed_safetensors **out) {
  TOOL_HEED(t->command, heed_safetensors_create(out));
  TOOL_TRY(add_tensors(t, *out, whole));
  return add_metadata(t, *out);
}
