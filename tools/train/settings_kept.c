// What checkpoints and logs keep of the settings: one table for reading and writing them.
#include <inttypes.h>
#include <string.h>

#include "train/settings.h"

// What a checkpoint keeps of the settings. Checkpoints of earlier versions have only the needed ones; their runs had the others as
// train_settings_initial has them.
typedef struct kept_setting {
  const char *key, *option;
  size_t offset;
  enum { KEPT_INTEGER, KEPT_UNSIGNED, KEPT_REAL, KEPT_CHOICE, KEPT_UNLESS } kind;  // UNLESS: 1 if the flag is not given
  bool needed;
  bool fixed;  // from the first step to the last
  double least;
  const char *const *choices;
} kept_setting;

#define KEPT(key, option, field, kind, ...) \
  { key, option, offsetof(train_settings, field), kind, __VA_ARGS__ }
static const kept_setting kept[] = {
    KEPT("arch", "arch", arch, KEPT_CHOICE, .fixed = true, .choices = classifier_archs),
    KEPT("seed", "seed", seed, KEPT_UNSIGNED, .needed = true, .fixed = true),
    KEPT("batch", "batch", batch, KEPT_INTEGER, .needed = true, .fixed = true, .least = 1),
    KEPT("accumulate", "accumulate", accumulate, KEPT_INTEGER, .fixed = true, .least = 1),
    KEPT("epochs", "epochs", epochs, KEPT_INTEGER, .needed = true),
    KEPT("optimizer", "optimizer", optimizer, KEPT_CHOICE, .fixed = true, .choices = train_optimizers),
    KEPT("lr", "lr", lr, KEPT_REAL, .needed = true),
    KEPT("schedule", "schedule", schedule, KEPT_CHOICE, .choices = train_schedules),
    KEPT("warmup", "warmup", warmup, KEPT_INTEGER, .least = 0),
    KEPT("min_lr", "min-lr", min_lr, KEPT_REAL, .least = 0),
    KEPT("momentum", "momentum", momentum, KEPT_REAL, .needed = true),
    KEPT("beta1", "beta1", beta1, KEPT_REAL, .least = 0),
    KEPT("beta2", "beta2", beta2, KEPT_REAL, .least = 0),
    KEPT("eps", "eps", eps, KEPT_REAL, .least = 0),
    KEPT("weight_decay", "weight-decay", weight_decay, KEPT_REAL, .least = 0),
    KEPT("clip", "clip", clip, KEPT_REAL, .least = 0),
    KEPT("dropout", "dropout", dropout, KEPT_REAL, .least = 0),
    KEPT("shuffle", "no-shuffle", no_shuffle, KEPT_UNLESS, .needed = true),
};
enum { KEPT_COUNT = sizeof kept / sizeof *kept };

static bool read_choice(const kept_setting *k, const char *text, int *value) {
  for (int i = 0; k->choices[i]; i++)
    if (strcmp(k->choices[i], text) == 0) {
      *value = i;
      return true;
    }
  return false;
}

// Reads a value into the place of the setting in s; false if it is none.
static bool read_value(const kept_setting *k, const char *text, train_settings *s) {
  void *place = (char *)s + k->offset;
  int64_t integer = 0;
  switch (k->kind) {
    case KEPT_INTEGER:
      return tool_read_integer(text, place) && (double)*(int64_t *)place >= k->least &&
             (double)*(int64_t *)place <= TOOL_MAX_COUNT;
    case KEPT_UNSIGNED:
      return tool_read_unsigned(text, place);
    case KEPT_REAL:
      return tool_read_real(text, place) && *(double *)place >= k->least;
    case KEPT_CHOICE:
      return read_choice(k, text, place);
    case KEPT_UNLESS:
      if (!tool_read_integer(text, &integer) || integer < 0) return false;
      *(bool *)place = integer == 0;
      return true;
  }
  return false;
}

static size_t size_of(const kept_setting *k) {
  return k->kind == KEPT_CHOICE ? sizeof(int) : k->kind == KEPT_UNLESS ? sizeof(bool) : sizeof(int64_t);
}

enum { VALUE_TEXT = 64 };

static const char *write_value(const kept_setting *k, const train_settings *s, char text[VALUE_TEXT]) {
  const void *place = (const char *)s + k->offset;
  switch (k->kind) {
    case KEPT_INTEGER:
      snprintf(text, VALUE_TEXT, "%" PRId64, *(const int64_t *)place);
      break;
    case KEPT_UNSIGNED:
      snprintf(text, VALUE_TEXT, "%" PRIu64, *(const uint64_t *)place);
      break;
    case KEPT_REAL:
      snprintf(text, VALUE_TEXT, "%.17g", *(const double *)place);
      break;
    case KEPT_CHOICE:
      snprintf(text, VALUE_TEXT, "%s", k->choices[*(const int *)place]);
      break;
    case KEPT_UNLESS:
      snprintf(text, VALUE_TEXT, "%d", !*(const bool *)place);
      break;
  }
  return text;
}

// As a message shows it.
static const char *show_value(const kept_setting *k, const train_settings *s, char text[VALUE_TEXT]) {
  if (k->kind == KEPT_REAL) return tool_real_text(*(const double *)((const char *)s + k->offset), text);
  return k->kind == KEPT_UNLESS ? "the opposite" : write_value(k, s, text);
}

int train_settings_read(const tool_args *args, const heed_safetensors *file, train_settings *s, const char **missing) {
  train_settings read = *s;
  *missing = NULL;
  for (size_t i = 0; i < KEPT_COUNT; i++) {
    const kept_setting *k = &kept[i];
    const char *text = heed_safetensors_metadata(file, k->key);
    char *then = (char *)&read + k->offset;
    const char *now = (const char *)s + k->offset;
    if (text ? !read_value(k, text, &read) : k->needed) {
      *missing = k->key;
      return TOOL_FAILED;
    }
    if (!text) memcpy(then, (const char *)&train_settings_initial + k->offset, size_of(k));
    if (!tool_given(args, k->option)) continue;
    char has[VALUE_TEXT];
    if (k->fixed && memcmp(now, then, size_of(k)) != 0)
      return tool_usage(args->command,
                        "--%s does not fit %s, which was trained with %s; leave it out, or start again with --init",
                        k->option, s->resume, show_value(k, &read, has));
    memcpy(then, now, size_of(k));
  }
  *s = read;
  return TOOL_DONE;
}

heed_status train_settings_write(const train_settings *s, heed_safetensors *file) {
  heed_status status = HEED_OK;
  char text[VALUE_TEXT];
  for (size_t i = 0; status == HEED_OK && i < KEPT_COUNT; i++)
    status = heed_safetensors_set_metadata(file, kept[i].key, write_value(&kept[i], s, text));
  return status;
}

void train_settings_log(const train_settings *s, json_t *object) {
  char text[VALUE_TEXT];
  for (size_t i = 0; i < KEPT_COUNT; i++) {
    const kept_setting *k = &kept[i];
    const void *place = (const char *)s + k->offset;
    int64_t integer;
    if (k->kind == KEPT_REAL)
      tool_json_number(object, k->key, *(const double *)place);
    else if (k->kind == KEPT_UNLESS)
      tool_json_add(object, k->key, json_boolean(!*(const bool *)place));
    else if (tool_read_integer(write_value(k, s, text), &integer))
      tool_json_add(object, k->key, json_integer(integer));
    else  // a name, or a seed that JSON's integers do not hold
      tool_json_add(object, k->key, json_string(text));
  }
}
