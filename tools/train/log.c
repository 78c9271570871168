// The log of a training run: one JSON object per line.
#include <inttypes.h>
#include <string.h>

#include "train/train.h"

int train_log_open(trainer *t) { return tool_log_open(&t->log, t->args, t->settings.log, "a"); }

bool train_log_wanted(const trainer *t) { return t->log.file || t->log.on_stdout; }

void train_log_start(trainer *t) {
  if (!train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "start");
  tool_json_add(object, "heed", json_string(heed_version()));
  tool_json_device(object, heed_context_device(t->ctx));
  tool_json_add(object, "data", tool_json_text(t->data.source));
  tool_json_add(object, "images", json_integer(t->data.train.count));
  classifier_log(&t->shape, object);
  train_settings_log(&t->settings, object);
  tool_json_add(object, "epoch", json_integer(t->epoch));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_log_write(&t->log, object);
}

void train_log_step(trainer *t, double loss) {
  if (!train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "step");
  tool_json_add(object, "epoch", json_integer(t->epoch + 1));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_json_number(object, "loss", loss);
  tool_json_number(object, "lr", heed_optimizer_learning_rate(t->optimizer));
  tool_log_write(&t->log, object);
}

void train_log_epoch(trainer *t, double loss, const evaluation *result, double seconds, double images_per_second) {
  if (!train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "epoch");
  tool_json_add(object, "epoch", json_integer(t->epoch + (t->step > 0)));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_json_add(object, "complete", json_boolean(t->step == 0));
  tool_json_number(object, "loss", loss);
  tool_json_number(object, "accuracy", result->accuracy);
  tool_json_number(object, "test_loss", result->loss);
  tool_json_number(object, "seconds", seconds);
  tool_json_number(object, "images_per_s", images_per_second);
  tool_log_write(&t->log, object);
}

void train_log_end(trainer *t, const char *outcome, double seconds) {
  if (!train_log_wanted(t)) return;
  const bool ok = strcmp(outcome, "done") == 0;
  json_t *object = tool_log_line(&t->log, "end");
  tool_json_add(object, "outcome", json_string(outcome));
  tool_json_add(object, "step", json_integer(train_steps(t)));
  tool_json_number(object, "seconds", seconds);
  tool_json_add(object, "ok", json_boolean(ok));
  tool_json_add(object, "error",
                ok ? json_null() : tool_json_text(strcmp(outcome, "failed") == 0 ? tool_last_failure() : outcome));
  tool_log_write(&t->log, object);
}
