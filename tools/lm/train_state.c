// The state of a run of heed lm train, from which it goes on bit for bit: DIR/heed_state.safetensors. Its order is fixed, and it holds no
// path, time or device, so that the same training gives the same bytes.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lm/train.h"
#include "lm/train_options.h"

static const char kind[] = "lm train 1";

// ---------------------------------------------------------------- reading

static int no_state(const trainer *t, const char *key) {
  return tool_fail(t->command, "%s/%s is no state of heed lm train: its metadata has no usable '%s'", t->s.resume,
                   lm_train_state_name, key);
}

static int read_count(const trainer *t, const heed_safetensors *state, const char *key, int64_t *value) {
  const char *text = heed_safetensors_metadata(state, key);
  return text && tool_read_integer(text, value) && *value >= 0 ? TOOL_DONE : no_state(t, key);
}

// --init may be given again, as a path: what the run began with is in its state by now. States of before have no such key.
static int recall_init(trainer *t, const heed_safetensors *state) {
  const char *text = heed_safetensors_metadata(state, "init");
  if (text && strcmp(text, "0") != 0 && strcmp(text, "1") != 0) return no_state(t, "init");
  t->from_model = text ? *text == '1' : t->s.init != NULL;
  if (t->s.init && !t->from_model)
    return tool_usage(t->command,
                      "--init %s does not fit the run in %s, which began with a new model; leave it out, or begin "
                      "another run from that model in another folder",
                      t->s.init, t->s.resume);
  t->s.init = NULL;
  return TOOL_DONE;
}

int lm_train_state_open(trainer *t, heed_safetensors **out) {
  char *path = lm_train_path_in(t->s.resume, lm_train_state_name);
  if (!path) return tool_fail(t->command, "out of memory");
  struct stat info;
  const bool there = stat(path, &info) == 0, is_file = there && S_ISREG(info.st_mode);
  const heed_status status = is_file ? heed_safetensors_read(path, out) : HEED_OK;
  free(path);
  if (there && !is_file)
    return tool_fail(t->command, "%s/%s is no file, but a pipe, a device or a folder", t->s.resume,
                     lm_train_state_name);
  if (!there && lm_train_is_unfinished(t->s.resume))
    return tool_fail(t->command,
                     "the run in %s was ended before its first checkpoint; begin it again, without --resume",
                     t->s.resume);
  if (!there)
    return tool_fail(t->command, "%s has no %s to go on from; start from its model with --init", t->s.resume,
                     lm_train_state_name);
  if (status != HEED_OK) return tool_fail_status(t->command, status);
  const char *has = heed_safetensors_metadata(*out, "kind");
  if (!has || strcmp(has, kind) != 0) return no_state(t, "kind");
  TOOL_TRY(read_count(t, *out, "step", &t->step));
  t->first_step = t->saved_step = t->step;
  const char *best = heed_safetensors_metadata(*out, "best_loss");
  if (best && !tool_read_real(best, &t->best_loss)) return no_state(t, "best_loss");
  TOOL_TRY(recall_init(t, *out));
  return lm_train_options_recall(t, *out);
}

static int check_checksum(const trainer *t, const heed_safetensors *state, const char *key, const heed_token_data *data,
                          uint32_t checksum, const char *what) {
  char own[16] = "";
  const char *has = heed_safetensors_metadata(state, key);
  if (data) snprintf(own, sizeof own, "%08" PRIx32, checksum);
  if (!has) return no_state(t, key);
  if (strcmp(has, own) == 0) return TOOL_DONE;
  return tool_fail(
      t->command,
      "the run in %s was %s other tokens than these; give its data again, or start from its model with --init",
      t->s.resume, what);
}

int lm_train_state_check_data(const trainer *t, const heed_safetensors *state) {
  TOOL_TRY(check_checksum(t, state, "data_crc32", t->data, t->data_checksum, "trained on"));
  return check_checksum(t, state, "validation_crc32", t->validation, t->validation_checksum, "validated on");
}

static int find_like(const trainer *t, const heed_safetensors *state, const char *part, const heed_parameter *parameter,
                     const heed_array **out) {
  char name[160], text[TOOL_SHAPE_TEXT];
  snprintf(name, sizeof name, "%s%s", part, parameter->name);
  const int rank = heed_tensor_rank(parameter->value);
  const int64_t *dims = heed_tensor_dims(parameter->value);
  const heed_array *array = *out = heed_safetensors_find(state, name);
  if (array && array->dtype == HEED_F32 && array->rank == rank &&
      memcmp(array->dims, dims, (size_t)rank * sizeof *dims) == 0)
    return TOOL_DONE;
  return tool_fail(t->command, "%s/%s: its tensor %s must be F32%s; it %s", t->s.resume, lm_train_state_name, name,
                   tool_shape_text(rank, dims, text), array ? "is not" : "is missing");
}

static int restore_parameter(const trainer *t, const heed_safetensors *state, size_t i) {
  const heed_parameter *parameter = &t->parameters[i];
  const heed_array *array;
  TOOL_TRY(find_like(t, state, "", parameter, &array));
  if (tool_share_has(&t->share, t->optimizer, "master"))
    TOOL_TRY(tool_share_set(&t->share, t->optimizer, "master", i, array->data));
  TOOL_HEED(t->command, heed_tensor_upload_f32(parameter->value, array->data, heed_tensor_count(parameter->value)));
  static const char *const moments[] = {"exp_avg", "exp_avg_sq"}, *const parts[] = {"exp_avg.", "exp_avg_sq."};
  for (int m = 0; m < 2 && t->step > 0; m++) {
    TOOL_TRY(find_like(t, state, parts[m], parameter, &array));
    TOOL_TRY(tool_share_set(&t->share, t->optimizer, moments[m], i, array->data));
  }
  return TOOL_DONE;
}

int lm_train_state_restore(trainer *t, const heed_safetensors *state) {
  for (size_t i = 0; i < t->parameter_count; i++) TOOL_TRY(restore_parameter(t, state, i));
  if (t->step == 0) return TOOL_DONE;
  const heed_array *counts = heed_safetensors_find(state, "counts"),
                   *scale = heed_safetensors_find(state, "loss_scale");
  heed_tensor *own_scale = heed_optimizer_loss_scale(t->optimizer);
  if (!counts || counts->dtype != HEED_I32 || counts->bytes != 4 * sizeof(int32_t)) return no_state(t, "counts");
  if (own_scale && (!scale || scale->dtype != HEED_F32 || scale->bytes != sizeof(float)))
    return no_state(t, "loss_scale");
  TOOL_HEED(t->command, heed_optimizer_set_counts(t->optimizer, counts->data));
  if (own_scale) TOOL_HEED(t->command, heed_tensor_upload(own_scale, scale->data, scale->bytes));
  return TOOL_DONE;
}

// ---------------------------------------------------------------- writing

static bool all_finite(const float *values, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (!isfinite(values[i])) return false;
  return true;
}

// Adds what lies under `part` of parameter i: a name of heed_optimizer_state(), or "" for the values, unrounded. state NULL: this rank only
// gives its share of it.
static int add(const trainer *t, heed_safetensors *state, const char *prefix, const char *part, size_t i) {
  const heed_parameter *parameter = &t->parameters[i];
  const int64_t count = heed_tensor_count(parameter->value);
  char name[160];
  snprintf(name, sizeof name, "%s%s", prefix, parameter->name);
  float *data = malloc((size_t)count * sizeof *data + 1);
  if (!data) return tool_fail(t->command, "out of memory");
  int status = TOOL_DONE;
  heed_status added = HEED_OK;
  if (*part)
    status = tool_share_gather(&t->share, t->optimizer, part, i, data);
  else if (state)
    added = heed_tensor_download_f32(parameter->value, data, count);
  // Without validation nothing has looked at what the last step made of the weights.
  if (status == TOOL_DONE && added == HEED_OK && state && !*prefix && !all_finite(data, count))
    status = tool_fail(t->command,
                       "%s holds NaN or infinity after step %" PRId64
                       ", and is not saved; a smaller --lr (it is %g) "
                       "may help",
                       parameter->name, t->step, t->s.lr);
  if (status == TOOL_DONE && added == HEED_OK && state)
    added = heed_safetensors_add(state, name, HEED_F32, heed_tensor_rank(parameter->value),
                                 heed_tensor_dims(parameter->value), data);
  free(data);
  return added == HEED_OK ? status : tool_fail_status(t->command, added);
}

static int add_values(const trainer *t, heed_safetensors *state) {
  const char *part = tool_share_has(&t->share, t->optimizer, "master") ? "master" : "";
  for (size_t i = 0; i < t->parameter_count; i++) TOOL_TRY(add(t, state, "", part, i));
  return TOOL_DONE;
}

static int add_tensors(const trainer *t, heed_safetensors *state) {
  TOOL_TRY(add_values(t, state));
  static const char *const moments[] = {"exp_avg", "exp_avg_sq"}, *const prefixes[] = {"exp_avg.", "exp_avg_sq."};
  for (int m = 0; m < 2 && t->step > 0; m++)
    for (size_t i = 0; i < t->parameter_count; i++) TOOL_TRY(add(t, state, prefixes[m], moments[m], i));
  if (t->step == 0 || !state) return TOOL_DONE;
  TOOL_HEED(t->command, heed_safetensors_add_tensor(state, "counts", heed_optimizer_counts(t->optimizer)));
  const heed_tensor *scale = heed_optimizer_loss_scale(t->optimizer);
  if (scale) TOOL_HEED(t->command, heed_safetensors_add_tensor(state, "loss_scale", scale));
  return TOOL_DONE;
}

static int add_metadata(const trainer *t, heed_safetensors *state) {
  char text[64];
  TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "kind", kind));
  TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "heed", heed_version()));
  snprintf(text, sizeof text, "%" PRId64, t->step);
  TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "step", text));
  TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "init", t->from_model ? "1" : "0"));
  snprintf(text, sizeof text, "%08" PRIx32, t->data_checksum);
  TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "data_crc32", text));
  snprintf(text, sizeof text, "%08" PRIx32, t->validation_checksum);
  TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "validation_crc32", t->validation ? text : ""));
  snprintf(text, sizeof text, "%.17g", t->best_loss);
  if (t->s.keep_best && isfinite(t->best_loss))
    TOOL_HEED(t->command, heed_safetensors_set_metadata(state, "best_loss", text));
  return lm_train_options_remember(t, state);
}

// Makes the state, or, with `whole` false, its values alone, on rank 0; *out stays NULL on the others.
static int build_state(const trainer *t, bool whole, heed_safetensors **out) {
  *out = NULL;
  if (tool_ranks_leads(t->ranks)) TOOL_HEED(t->command, heed_safetensors_create(out));
  int status = whole ? add_tensors(t, *out) : add_values(t, *out);
  if (status == TOOL_DONE && *out && whole) status = add_metadata(t, *out);
  return status;
}

static int write_state(const trainer *t, const heed_safetensors *state) {
  char *path = lm_train_path_in(t->s.save, lm_train_state_name);
  if (!path) return tool_fail(t->command, "out of memory");
  const heed_status written = heed_safetensors_write(state, path);
  free(path);
  return written == HEED_OK ? TOOL_DONE : tool_fail_status(t->command, written);
}

// A model in F32 on the host: what is unrounded passes through it on its way from and to a folder. Its context goes with it.
static heed_status create_on_host(const trainer *t, heed_transformer **out) {
  heed_transformer_config config = t->config;
  heed_context *host = NULL;
  config.dtype = HEED_F32;
  config.frozen = config.empty = true;
  heed_status status = heed_open("host", &host);
  if (status == HEED_OK) status = heed_transformer_create(host, &config, 0, out);
  heed_context_destroy(host);
  return status;
}

static heed_status save_unrounded(const char *folder, const trainer *t, const heed_safetensors *state,
                                  const heed_model_save_options *options) {
  heed_transformer *unrounded = NULL;
  const heed_parameter *parameters = NULL;
  heed_status status = create_on_host(t, &unrounded);
  const size_t count = heed_transformer_parameters(unrounded, &parameters);
  for (size_t i = 0; i < count && status == HEED_OK; i++) {
    const heed_array *array = heed_safetensors_find(state, parameters[i].name);
    status = heed_tensor_upload(parameters[i].value, array->data, array->bytes);
  }
  if (status == HEED_OK) status = heed_model_folder_save(folder, unrounded, options);
  heed_transformer_destroy(unrounded);
  return status;
}

// The optimizer of one process has all masters; those of several ranks are in the state.
static heed_status save_model(const trainer *t, const char *folder, const heed_safetensors *state) {
  const bool rounded = t->s.dtype != HEED_F32;
  const heed_model_save_options options = {.dtype = (heed_dtype)t->s.save_dtype,
                                           .optimizer = rounded && !t->ranks ? t->optimizer : NULL,
                                           .like = t->model.folder,
                                           .tokenizer = t->model.tokenizer};
  return rounded && t->ranks ? save_unrounded(folder, t, state, &options)
                             : heed_model_folder_save(folder, t->model.transformer, &options);
}

int lm_train_load_masters(trainer *t) {
  if (!t->ranks) {
    TOOL_HEED(t->command, heed_model_folder_load_masters(t->model.folder, t->model.transformer, t->optimizer));
    return TOOL_DONE;
  }
  if (!tool_share_has(&t->share, t->optimizer, "master")) return TOOL_DONE;
  heed_transformer *unrounded = NULL;
  const heed_parameter *parameters = NULL;
  heed_status loaded = create_on_host(t, &unrounded);
  if (loaded == HEED_OK) loaded = heed_model_folder_load(t->model.folder, unrounded);
  int status = loaded == HEED_OK ? TOOL_DONE : tool_fail_status(t->command, loaded);
  const size_t count = heed_transformer_parameters(unrounded, &parameters);
  for (size_t i = 0; i < count && status == TOOL_DONE; i++) {
    const int64_t elements = heed_tensor_count(parameters[i].value);
    float *data = malloc((size_t)elements * sizeof *data + 1);
    loaded = data ? heed_tensor_download_f32(parameters[i].value, data, elements) : HEED_ERROR_OUT_OF_MEMORY;
    status = !data               ? tool_fail(t->command, "out of memory")
             : loaded != HEED_OK ? tool_fail_status(t->command, loaded)
                                 : tool_share_set(&t->share, t->optimizer, "master", i, data);
    free(data);
  }
  heed_transformer_destroy(unrounded);
  return status;
}

// What --force replaces: a new model beside the state of an older run would go on as that one.
static void remove_old_state(const trainer *t) {
  char *path = lm_train_path_in(t->s.save, lm_train_state_name);
  if (path) unlink(path);
  free(path);
}

// The state is last: whoever finds it finds a model that is as new or newer, and goes on from the state alone.
static int write_all(trainer *t, const heed_safetensors *state) {
  const bool is_first = !t->s.resume && t->saved_step < 0;
  if (is_first) {
    TOOL_TRY(lm_train_mark_unfinished(t));
    remove_old_state(t);
  }
  const heed_status saved = save_model(t, t->s.save, state);
  if (saved != HEED_OK) return tool_fail_status(t->command, saved);
  TOOL_TRY(write_state(t, state));
  if (is_first) lm_train_unmark(t);
  return TOOL_DONE;
}

int lm_train_save(trainer *t) {
  heed_safetensors *state = NULL;
  if (!t->s.save) return TOOL_DONE;
  tool_progress_show(t->args->progress, "saving");
  int status = build_state(t, true, &state);
  if (status != TOOL_DONE && t->ranks) {  // the ranks no longer go together
    heed_safetensors_destroy(state);
    return status;
  }
  if (status == TOOL_DONE && tool_ranks_leads(t->ranks)) status = write_all(t, state);
  heed_safetensors_destroy(state);
  t->save_failed = status != TOOL_DONE;
  if (!t->save_failed) t->saved_step = t->step;
  return TOOL_DONE;
}

int lm_train_save_best(trainer *t) {
  heed_safetensors *values = NULL;
  char *path = lm_train_path_in(t->s.save, "best");
  if (!path) return tool_fail(t->command, "out of memory");
  int status = t->ranks ? build_state(t, false, &values) : TOOL_DONE;
  if (status == TOOL_DONE && tool_ranks_leads(t->ranks)) {
    const heed_status saved = save_model(t, path, values);
    t->best_failed = saved != HEED_OK && tool_fail_status(t->command, saved) != TOOL_DONE;
  }
  heed_safetensors_destroy(values);
  free(path);
  return status;
}
