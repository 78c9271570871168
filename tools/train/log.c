// The log of a training run: one JSON object per line.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"
#include "cli/files.h"
#include "cli/json.h"

int train_log_open(trainer *t) {
  const char *path = t->settings.log;
  t->log_lines = t->args->json || tool_is_dash(path);
  if (!path || tool_is_dash(path)) return TOOL_DONE;
  t->log = fopen(path, "a");
  return t->log ? TOOL_DONE : tool_fail(t->command, "--log %s: %s", path, strerror(errno));
}

bool train_log_wanted(const trainer *t) { return t->log || t->log_lines; }

static void write_to_file(trainer *t, const json_t *object) {
  if (!t->log || t->log_failed) return;
  char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  errno = 0;
  if (!text || fprintf(t->log, "%s\n", text) < 0 || fflush(t->log) != 0) {
    tool_say(t->command, "--log %s: cannot write: %s; training continues without the log", t->settings.log,
             strerror(errno ? errno : ENOMEM));
    t->log_failed = true;
  }
  free(text);
}

// Takes the reference.
static void write_line(trainer *t, json_t *object) {
  write_to_file(t, object);
  if (t->log_lines)
    (void)tool_json_print(t->args, object, true);  // tool_flush() tells if stdout fails
  else
    json_decref(object);
}

// An object with what the lines of all events have.
static json_t *line(const trainer *t, const char *event) {
  json_t *object = tool_json_start(t->args);
  tool_json_add(object, "event", json_string(event));
  return object;
}

void train_log_start(trainer *t) {
  if (!train_log_wanted(t)) return;
  json_t *object = line(t, "start");
  tool_json_add(object, "heed", json_string(heed_version()));
  tool_json_device(object, heed_context_device(t->ctx));
  tool_json_add(object, "data", json_string(t->data.source));
  tool_json_add(object, "images", json_integer(t->data.train.count));
  classifier_log(&t->shape, object);
  train_settings_log(&t->settings, object);
  tool_json_add(object, "epoch", json_integer(t->epoch));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  write_line(t, object);
}

void train_log_step(trainer *t, double loss) {
  if (!train_log_wanted(t)) return;
  json_t *object = line(t, "step");
  tool_json_add(object, "epoch", json_integer(t->epoch + 1));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_json_number(object, "loss", loss);
  tool_json_number(object, "lr", heed_optimizer_learning_rate(t->optimizer));
  write_line(t, object);
}

void train_log_epoch(trainer *t, double loss, const evaluation *result, double seconds, double images_per_second) {
  if (!train_log_wanted(t)) return;
  json_t *object = line(t, "epoch");
  tool_json_add(object, "epoch", json_integer(t->epoch + (t->step > 0)));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_json_add(object, "complete", json_boolean(t->step == 0));
  tool_json_number(object, "loss", loss);
  tool_json_number(object, "accuracy", result->accuracy);
  tool_json_number(object, "test_loss", result->loss);
  tool_json_number(object, "seconds", seconds);
  tool_json_number(object, "images_per_s", images_per_second);
  write_line(t, object);
}

void train_log_end(trainer *t, const char *outcome, double seconds) {
  if (!train_log_wanted(t)) return;
  const bool ok = strcmp(outcome, "done") == 0;
  json_t *object = line(t, "end");
  tool_json_add(object, "outcome", json_string(outcome));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_json_number(object, "seconds", seconds);
  tool_json_add(object, "ok", json_boolean(ok));
  tool_json_add(object, "error",
                ok ? json_null() : json_string(strcmp(outcome, "failed") == 0 ? tool_last_failure() : outcome));
  write_line(t, object);
}

void train_log_close(trainer *t) {
  if (t->log) fclose(t->log);
  t->log = NULL;
}
