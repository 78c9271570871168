// What a run of heed lm train remembers of its options.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lm/train_options.h"

// What may change from one part of a run to the next: how long it is, and what is reported and kept.
enum change { FIXED, MAY_CHANGE };

static const struct remembered {
  const char *name;
  enum change change;
} remembered[] = {
    {"val-fraction", FIXED},
    {"context", FIXED},
    {"batch", FIXED},
    {"accumulate", FIXED},
    {"order", FIXED},
    {"seed", FIXED},
    {"lr", FIXED},
    {"min-lr", FIXED},
    {"warmup", FIXED},
    {"schedule", FIXED},
    {"decay-steps", FIXED},
    {"beta1", FIXED},
    {"beta2", FIXED},
    {"eps", FIXED},
    {"weight-decay", FIXED},
    {"clip", FIXED},
    {"dropout", FIXED},
    {"dtype", FIXED},
    {"recompute", FIXED},
    {"template", FIXED},
    {"steps", MAY_CHANGE},
    {"eval-every", MAY_CHANGE},
    {"eval-batches", MAY_CHANGE},
    {"sample-every", MAY_CHANGE},
    {"save-every", MAY_CHANGE},
    {"log-every", MAY_CHANGE},
    {"keep-best", MAY_CHANGE},
    {"save-dtype", MAY_CHANGE},
};
enum { REMEMBERED = sizeof remembered / sizeof *remembered };

static const tool_option *option_of(const char *name) {
  const tool_option *option = lm_train_syntax.options;
  while (strcmp(option->name, name) != 0) option++;  // the tables agree: test_lm_train asks for each
  return option;
}

static void write_value(const tool_option *option, const void *field, char text[64]) {
  switch (option->kind) {
    case TOOL_FLAG:
      snprintf(text, 64, "%d", *(const bool *)field);
      return;
    case TOOL_INTEGER:
      snprintf(text, 64, "%" PRId64, *(const int64_t *)field);
      return;
    case TOOL_UNSIGNED:
      snprintf(text, 64, "%" PRIu64, *(const uint64_t *)field);
      return;
    case TOOL_REAL:
      snprintf(text, 64, "%.17g", *(const double *)field);
      return;
    case TOOL_CHOICE:
      snprintf(text, 64, "%s", option->choices[*(const int *)field]);
      return;
    case TOOL_TEXT:
      break;
  }
  *text = '\0';
}

static bool read_choice(const tool_option *option, const char *text, int *out) {
  for (int i = 0; option->choices[i]; i++) {
    if (strcmp(option->choices[i], text) != 0) continue;
    *out = i;
    return true;
  }
  return false;
}

static bool read_value(const tool_option *option, const char *text, void *field) {
  int64_t integer = 0;
  double real = 0;
  const bool in_words = strcmp(text, "0") == 0 || strcmp(text, "1") == 0;
  switch (option->kind) {
    case TOOL_FLAG:
      if (in_words) *(bool *)field = *text == '1';
      return in_words;
    case TOOL_INTEGER:
      if (!tool_read_integer(text, &integer) ||
          !((double)integer >= option->minimum && (double)integer <= option->maximum))
        return false;
      *(int64_t *)field = integer;
      return true;
    case TOOL_UNSIGNED:
      return tool_read_unsigned(text, field);
    case TOOL_REAL:
      if (!tool_read_real(text, &real) || !(real >= option->minimum && real <= option->maximum)) return false;
      *(double *)field = real;
      return true;
    case TOOL_CHOICE:
      return read_choice(option, text, field);
    case TOOL_TEXT:
      break;
  }
  return false;
}

int lm_train_options_remember(const trainer *t, heed_safetensors *state) {
  for (size_t i = 0; i < REMEMBERED; i++) {
    const tool_option *option = option_of(remembered[i].name);
    char text[64];
    write_value(option, (const char *)&t->s + option->offset, text);
    TOOL_HEED(t->command, heed_safetensors_set_metadata(state, option->name, text));
  }
  return TOOL_DONE;
}

static int recall(trainer *t, const heed_safetensors *state, const struct remembered *one) {
  const tool_option *option = option_of(one->name);
  const char *text = heed_safetensors_metadata(state, one->name);
  void *field = (char *)&t->s + option->offset;
  char given[64];
  write_value(option, field, given);
  const bool is_given = tool_given(t->args, one->name);
  if (is_given && one->change == MAY_CHANGE) return TOOL_DONE;
  if (!text || !read_value(option, text, field))
    return tool_fail(t->command, "%s/%s is no state of heed lm train: its metadata has no usable '%s'", t->s.resume,
                     lm_train_state_name, one->name);
  char now[64];
  write_value(option, field, now);
  if (!is_given || strcmp(given, now) == 0) return TOOL_DONE;
  if (option->kind == TOOL_FLAG)
    return tool_usage(t->command,
                      "--%s does not fit the run in %s, which began without it; leave it out, or start from its model "
                      "with --init",
                      one->name, t->s.resume);
  if (option->kind == TOOL_REAL) {
    tool_real_text(strtod(given, NULL), given);
    tool_real_text(strtod(now, NULL), now);
  }
  return tool_usage(
      t->command, "--%s %s does not fit the run in %s, which has %s; leave it out, or start from its model with --init",
      one->name, given, t->s.resume, now);
}

int lm_train_options_recall(trainer *t, const heed_safetensors *state) {
  for (size_t i = 0; i < REMEMBERED; i++) TOOL_TRY(recall(t, state, &remembered[i]));
  return TOOL_DONE;
}
