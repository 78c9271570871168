// The two files of a checkpoint: FILE has the weights alone, as load_state_dict() wants them; FILE.state is the whole checkpoint, weights
// included. The state is written first and knows the weights in FILE before and after, so a kill between the two loses nothing: training goes
// on from the state. checkpoint.c decides what a checkpoint contains.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "train/train.h"
#include "cli/files.h"

static const char weights_key[] = "weights", before_key[] = "weights_before";
enum { SUM_TEXT = 20 };

// A checksum of a file's layers that does not depend on their order; "" for no file.
static void sum_weights(const heed_safetensors *file, char text[SUM_TEXT]) {
  uint64_t sum = 0;
  *text = '\0';
  for (size_t i = 0; i < heed_safetensors_count(file); i++) {
    const heed_array *array = heed_safetensors_get(file, i);
    if (!classifier_is_weight(array->name)) continue;
    const uLong name = crc32_z(0, (const Bytef *)array->name, strlen(array->name));
    sum += crc32_z(name, array->data, array->bytes);
  }
  if (file) snprintf(text, SUM_TEXT, "%016" PRIx64, sum);
}

// The caller frees it; NULL without memory.
static char *state_path(const char *path) {
  char *out;
  return asprintf(&out, "%s.state", path) < 0 ? NULL : out;
}

// ---------------------------------------------------------------- reading

// Whether the state belongs to the weights in FILE; says so if FILE is the older of the two.
static int check_pair(const trainer *t, const heed_safetensors *model, const heed_safetensors *state,
                      const char *name) {
  char sum[SUM_TEXT];
  sum_weights(model, sum);
  const char *after = heed_safetensors_metadata(state, weights_key);
  const char *before = heed_safetensors_metadata(state, before_key);
  if (after && strcmp(sum, after) == 0) return TOOL_DONE;
  if (!before || strcmp(sum, before) != 0)
    return tool_fail(t->command,
                     "%s and %s do not belong together: the weights differ; bring back the file that belongs to the "
                     "other, or start again from the weights with --init",
                     t->settings.resume, name);
  tool_say(t->command,
           "%s is one checkpoint older than %s, as after a break while they were written; going on from the second",
           t->settings.resume, name);
  return TOOL_DONE;
}

static int open_pair(const trainer *t, const char *name, heed_safetensors *model, heed_safetensors **out) {
  if (access(name, F_OK) != 0) return checkpoint_check_whole(t, model, name);
  TOOL_TRY(classifier_open(t->command, name, out));
  return check_pair(t, model, *out, name);
}

int checkpoint_open(const trainer *t, heed_safetensors **out) {
  heed_safetensors *model = NULL;
  if (tool_is_dash(t->settings.resume)) return classifier_open(t->command, "-", out);
  char *name = state_path(t->settings.resume);
  int status = name ? classifier_open(t->command, t->settings.resume, &model) : tool_fail(t->command, "out of memory");
  if (status == TOOL_DONE) status = open_pair(t, name, model, out);
  free(name);
  if (status == TOOL_DONE && !*out)
    *out = model;
  else
    heed_safetensors_destroy(model);
  return status;
}

// ---------------------------------------------------------------- writing

// A device or a pipe has no file beside it.
static bool has_neighbours(const char *path) {
  struct stat info;
  return !tool_is_dash(path) && (stat(path, &info) != 0 || S_ISREG(info.st_mode));
}

// The weights that are in the file now, whatever wrote them.
static void sum_file(const char *path, char text[SUM_TEXT]) {
  heed_safetensors *file = NULL;
  *text = '\0';
  if (access(path, R_OK) == 0 && heed_safetensors_read(path, &file) == HEED_OK) sum_weights(file, text);
  heed_safetensors_destroy(file);
}

static heed_status write_state(const char *path, heed_safetensors *state, const char *name) {
  char sum[SUM_TEXT], before[SUM_TEXT];
  sum_weights(state, sum);
  sum_file(path, before);
  heed_status status = heed_safetensors_set_metadata(state, weights_key, sum);
  if (status == HEED_OK) status = heed_safetensors_set_metadata(state, before_key, before);
  return status == HEED_OK ? heed_safetensors_write(state, name) : status;
}

static int write_both(const trainer *t, const heed_safetensors *model, heed_safetensors *state, const char *name) {
  const char *path = t->settings.save;
  if (has_neighbours(path) && write_state(path, state, name) != HEED_OK)
    return tool_fail(t->command, "--save: %s", heed_last_error());
  // On standard output there is only one file, from which a run can go on.
  return tool_write_tensors(t->command, path, tool_is_dash(path) ? state : model);
}

int checkpoint_save(trainer *t) {
  const char *path = t->settings.save;
  if (!path) return TOOL_DONE;
  heed_safetensors *model = NULL, *state = NULL;
  char *name = state_path(path);
  int status = name ? checkpoint_build(t, false, &model) : tool_fail(t->command, "out of memory");
  if (status == TOOL_DONE) status = checkpoint_build(t, true, &state);
  if (status == TOOL_DONE && tool_ranks_leads(t->ranks)) {
    // A full disk may have room again after the next epoch, so a failure does not end the training.
    t->save_failed = write_both(t, model, state, name) != TOOL_DONE;
    if (!t->save_failed) t->saved_steps = train_steps(t);
  }
  free(name);
  heed_safetensors_destroy(model);
  heed_safetensors_destroy(state);
  return status;
}
