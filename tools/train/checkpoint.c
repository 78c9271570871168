// What a checkpoint of a training run contains: enough to continue bit for bit like an uninterrupted run. checkpoint_files.c has its two
// files.
#include <float.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"
#include "cli/files.h"

static const char losses_name[] = "epoch_losses", applied_key[] = "applied_steps";

// What an optimizer remembers of each parameter, and what stands before the parameter's name in a checkpoint.
typedef struct memory {
  heed_optimizer_kind kind;
  const char *state, *before;
} memory;
enum { MOMENTUM, EXP_AVG, EXP_AVG_SQ, MEMORIES };
static const memory memories[MEMORIES] = {[MOMENTUM] = {HEED_OPTIMIZER_SGD, "momentum_buffer", "momentum."},
                                          [EXP_AVG] = {HEED_OPTIMIZER_ADAMW, "exp_avg", "exp_avg."},
                                          [EXP_AVG_SQ] = {HEED_OPTIMIZER_ADAMW, "exp_avg_sq", "exp_avg_sq."}};
enum { NAME_TEXT = 128 };

static const char *memory_name(const memory *m, const heed_parameter *parameter, char name[NAME_TEXT]) {
  snprintf(name, NAME_TEXT, "%s%s", m->before, parameter->name);
  return name;
}

static bool is_remembered(const heed_safetensors *file, const memory *m) {
  for (size_t i = 0; i < heed_safetensors_count(file); i++)
    if (strncmp(heed_safetensors_get(file, i)->name, m->before, strlen(m->before)) == 0) return true;
  return false;
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

int checkpoint_read_settings(trainer *t, const heed_safetensors *file) {
  const char *missing = NULL;
  int64_t steps;
  TOOL_TRY(read_integer(t, file, "steps", 0, &steps));
  TOOL_TRY(read_integer(t, file, "epoch", 0, &t->epoch));
  TOOL_TRY(read_integer(t, file, "step_in_epoch", 0, &t->step));
  t->applied = steps;
  if (heed_safetensors_metadata(file, applied_key)) TOOL_TRY(read_integer(t, file, applied_key, 0, &t->applied));
  const int status = train_settings_read(t->args, file, &t->settings, &missing);
  return missing ? no_checkpoint(t, missing) : status;
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
  const int64_t batches = train_batches_before(t, t->step);
  TOOL_TRY(find_f32(t, file, losses_name, 1, &batches, &array));
  memcpy(t->losses_host, array->data, array->bytes);
  TOOL_HEED(t->command, heed_tensor_slice(t->losses, 0, 0, batches, &part));
  const heed_status uploaded = heed_tensor_upload(part, array->data, array->bytes);
  const int status = uploaded == HEED_OK ? TOOL_DONE : tool_fail_status(t->command, uploaded);
  heed_tensor_destroy(part);
  return status;
}

static int restore_memory(const trainer *t, const heed_safetensors *file, const memory *m) {
  char name[NAME_TEXT];
  for (size_t i = 0; i < t->model.count; i++) {
    const heed_tensor *value = t->model.parameters[i].value;
    const heed_array *array;
    if (!tool_share_has(&t->share, t->optimizer, m->state)) return TOOL_DONE;
    TOOL_TRY(find_f32(t, file, memory_name(m, &t->model.parameters[i], name), heed_tensor_rank(value),
                      heed_tensor_dims(value), &array));
    TOOL_TRY(tool_share_set(&t->share, t->optimizer, m->state, i, array->data));
  }
  return TOOL_DONE;
}

int checkpoint_restore(trainer *t, const heed_safetensors *file) {
  const heed_optimizer_kind kind = (heed_optimizer_kind)t->settings.optimizer;
  TOOL_TRY(restore_losses(t, file));
  // Weights that were trained without momentum have no history, so their next step counts as the first one.
  const bool history = kind == HEED_OPTIMIZER_ADAMW
                           ? t->applied > 0
                           : t->settings.momentum > 0 && is_remembered(file, &memories[MOMENTUM]);
  for (size_t i = 0; history && i < MEMORIES; i++)
    if (memories[i].kind == kind) TOOL_TRY(restore_memory(t, file, &memories[i]));
  heed_optimizer_set_steps(t->optimizer, history ? t->applied : 0);
  return TOOL_DONE;
}

// What the checkpoint's optimizer remembered; NULL: nothing.
static int remembered_by(const trainer *t, const heed_safetensors *file, const memory **out) {
  const char *optimizer = heed_safetensors_metadata(file, "optimizer"), *momentum;
  double value;
  *out = NULL;
  if (optimizer && strcmp(optimizer, "adamw") == 0) {
    *out = &memories[EXP_AVG];
    return TOOL_DONE;
  }
  momentum = heed_safetensors_metadata(file, "momentum");
  if (!momentum || !tool_read_real(momentum, &value) || value < 0) return no_checkpoint(t, "momentum");
  if (value > 0) *out = &memories[MOMENTUM];
  return TOOL_DONE;
}

int checkpoint_check_whole(const trainer *t, const heed_safetensors *file, const char *state) {
  int64_t steps;
  const memory *m;
  TOOL_TRY(read_integer(t, file, "steps", 0, &steps));
  TOOL_TRY(remembered_by(t, file, &m));
  if (steps == 0 || !m || is_remembered(file, m)) return TOOL_DONE;
  return tool_fail(t->command,
                   "%s has the weights alone, and %s with the %s is missing; keep both files together, or start "
                   "again from the weights with --init",
                   t->settings.resume, state, m->kind == HEED_OPTIMIZER_ADAMW ? "moments" : "momentum");
}

// ---------------------------------------------------------------- writing

static bool all_finite(const heed_array *array) {
  const float *values = array->data;
  for (size_t i = 0; i < array->bytes / sizeof *values; i++)
    if (!(values[i] >= -FLT_MAX && values[i] <= FLT_MAX)) return false;
  return true;
}

// Refuses values from which no training can continue.
static int check_finite(const trainer *t, const heed_safetensors *file, const char *name) {
  if (all_finite(heed_safetensors_find(file, name))) return TOOL_DONE;
  return tool_fail(t->command, "%s holds NaN or infinity after step %" PRId64 "; no checkpoint is written", name,
                   train_steps(t));
}

// file NULL: this rank only gives its part.
static int add_one_memory(const trainer *t, heed_safetensors *file, const memory *m, size_t i, float *data) {
  char name[NAME_TEXT];
  const heed_parameter *parameter = &t->model.parameters[i];
  TOOL_TRY(tool_share_gather(&t->share, t->optimizer, m->state, i, data));
  if (!file) return TOOL_DONE;
  memory_name(m, parameter, name);
  TOOL_HEED(t->command, heed_safetensors_add(file, name, HEED_F32, heed_tensor_rank(parameter->value),
                                             heed_tensor_dims(parameter->value), data));
  return check_finite(t, file, name);
}

static int add_memory(const trainer *t, heed_safetensors *file, const memory *m) {
  for (size_t i = 0; i < t->model.count && tool_share_has(&t->share, t->optimizer, m->state); i++) {
    float *data = malloc((size_t)heed_tensor_count(t->model.parameters[i].value) * sizeof *data + 1);
    if (!data) return tool_fail(t->command, "out of memory");
    const int status = add_one_memory(t, file, m, i, data);
    free(data);
    TOOL_TRY(status);
  }
  return TOOL_DONE;
}

static int add_tensors(const trainer *t, heed_safetensors *file, bool whole) {
  for (size_t i = 0; file && i < t->model.count; i++) {
    TOOL_HEED(t->command, heed_safetensors_add_tensor(file, t->model.parameters[i].name, t->model.parameters[i].value));
    TOOL_TRY(check_finite(t, file, t->model.parameters[i].name));
  }
  for (size_t i = 0; whole && i < MEMORIES; i++) TOOL_TRY(add_memory(t, file, &memories[i]));
  const int64_t batches = train_batches_before(t, t->step);
  if (file && whole && batches > 0)
    TOOL_HEED(t->command, heed_safetensors_add(file, losses_name, HEED_F32, 1, &batches, t->losses_host));
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

// AdamW leaves out steps whose gradient is not finite, and counts on the device; without a step in this run, its count is the file's.
static int applied_steps(const trainer *t, int64_t *steps) {
  const heed_tensor *counts = heed_optimizer_counts(t->optimizer);
  int32_t values[4] = {0};
  *steps = t->applied;
  if (!counts) return TOOL_DONE;
  TOOL_HEED(t->command, heed_tensor_download(counts, values, sizeof values));
  if (values[1] > 0) *steps = values[0];
  return TOOL_DONE;
}

static int add_metadata(const trainer *t, heed_safetensors *file) {
  int64_t applied;
  TOOL_TRY(set(t, file, "heed", "%s", heed_version()));
  TOOL_TRY(set(t, file, "steps", "%" PRId64, train_steps(t)));
  TOOL_TRY(set(t, file, "epoch", "%" PRId64, t->epoch));
  TOOL_TRY(set(t, file, "step_in_epoch", "%" PRId64, t->step));
  TOOL_HEED(t->command, train_settings_write(&t->settings, file));
  TOOL_HEED(t->command, classifier_describe(&t->shape, file));
  if (t->settings.optimizer == HEED_OPTIMIZER_ADAMW) {
    TOOL_TRY(applied_steps(t, &applied));
    TOOL_TRY(set(t, file, applied_key, "%" PRId64, applied));
  }
  TOOL_TRY(set(t, file, "dataset", "%s", t->data.source));
  return set(t, file, "dataset_crc32", "%08" PRIx32, t->data_checksum);
}

int checkpoint_build(const trainer *t, bool whole, heed_safetensors **out) {
  const bool leads = tool_ranks_leads(t->ranks);
  if (leads) TOOL_HEED(t->command, heed_safetensors_create(out));
  TOOL_TRY(add_tensors(t, *out, whole));
  return leads ? add_metadata(t, *out) : TOOL_DONE;
}
