// The log of a training run: one JSON object per line.
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "train/train.h"

int train_log_open(trainer *t) {
  const char *path = t->settings.log;
  if (!path) return TOOL_DONE;
  t->log = fopen(path, "a");
  return t->log ? TOOL_DONE : tool_fail(t->command, "--log %s: %s", path, strerror(errno));
}

// JSON has no NaN or infinity.
static json_t *number(double value) {
  json_t *real = json_real(value);
  return real ? real : json_null();
}

// Takes ownership of the reference to `object`.
static void write_line(trainer *t, json_t *object) {
  if (t->log && !t->log_failed) {
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    errno = 0;
    if (!text || fprintf(t->log, "%s\n", text) < 0 || fflush(t->log) != 0) {
      tool_progress_clear(&t->progress);
      tool_say(t->command, "--log %s: cannot write: %s; training continues without the log", t->settings.log,
               strerror(errno ? errno : ENOMEM));
      t->log_failed = true;
    }
    free(text);
  }
  json_decref(object);
}

void train_log_start(trainer *t) {
  if (!t->log) return;
  const train_settings *s = &t->settings;
  json_t *sizes = json_array();
  for (size_t i = 0; i < t->shape.count; i++) json_array_append_new(sizes, json_integer((json_int_t)t->shape.sizes[i]));
  const heed_device_info *device = heed_context_device(t->ctx);
  write_line(
      t, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:b, s:I, s:I}", "event", "start",
                   "heed", heed_version(), "device", device->name, "driver", device->driver, "data", t->data.source,
                   "images", (json_int_t)t->data.train.count, "sizes", sizes, "batch", (json_int_t)s->batch, "epochs",
                   (json_int_t)s->epochs, "lr", number(s->lr), "momentum", number(s->momentum), "seed",
                   s->seed <= INT64_MAX ? json_integer((json_int_t)s->seed) : json_sprintf("%" PRIu64, s->seed),
                   "shuffle", (int)!s->no_shuffle, "epoch", (json_int_t)t->epoch, "step", (json_int_t)train_steps(t)));
}

void train_log_step(trainer *t, double loss) {
  if (!t->log) return;
  write_line(t, json_pack("{s:s, s:I, s:I, s:o}", "event", "step", "epoch", (json_int_t)t->epoch + 1, "step",
                          (json_int_t)train_steps(t), "loss", number(loss)));
}

void train_log_epoch(trainer *t, double loss, const evaluation *result, double seconds, double images_per_second) {
  if (!t->log) return;
  const json_int_t epoch = (json_int_t)(t->epoch + (t->step > 0));
  write_line(t, json_pack("{s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o}", "event", "epoch", "epoch", epoch, "step",
                          (json_int_t)train_steps(t), "complete", t->step == 0, "loss", number(loss), "accuracy",
                          number(result->accuracy), "test_loss", number(result->loss), "seconds", number(seconds),
                          "images_per_s", number(images_per_second)));
}

void train_log_end(trainer *t, const char *outcome, double seconds) {
  if (!t->log) return;
  write_line(t, json_pack("{s:s, s:s, s:I, s:o}", "event", "end", "outcome", outcome, "step",
                          (json_int_t)train_steps(t), "seconds", number(seconds)));
}

void train_log_close(trainer *t) {
  if (t->log) fclose(t->log);
  t->log = NULL;
}
