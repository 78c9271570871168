// The log of heed lm train: one JSON object a line.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/json.h"
#include "lm/train.h"

// Tells whether a line of the run's log is of something that the run does again, as it was killed after its last checkpoint.
static bool is_done_again(const trainer *t, const char *text) {
  json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL);
  const char *command = json_string_value(json_object_get(object, "command"));
  const char *event = json_string_value(json_object_get(object, "event"));
  const json_t *step = json_object_get(object, "step");
  const bool counts = command && event && json_is_integer(step) && strcmp(command, t->command) == 0;
  const bool of_step = counts && strcmp(event, "step") == 0;
  const bool again = counts && json_integer_value(step) >= t->first_step + (of_step ? 0 : 1);
  json_decref(object);
  return again;
}

// Where a resumed run's lines go: behind those of its steps up to here. A last line that a kill tore is no line.
static int find_end(const trainer *t, FILE *log, off_t *end) {
  char *text = NULL;
  size_t room = 0;
  ssize_t length;
  *end = 0;
  while ((length = getline(&text, &room, log)) > 0) {
    if (text[length - 1] != '\n' || is_done_again(t, text)) break;
    *end += length;
  }
  const bool failed = ferror(log) || (length < 0 && !feof(log));
  free(text);
  return failed ? tool_fail(t->command, "--log %s: %s", t->s.log, strerror(errno)) : TOOL_DONE;
}

static int continue_log(trainer *t) {
  FILE *log = t->log.file;
  struct stat info;
  off_t end = 0;
  if (fstat(fileno(log), &info) != 0 || !S_ISREG(info.st_mode)) return TOOL_DONE;  // a pipe, a device
  rewind(log);
  TOOL_TRY(find_end(t, log, &end));
  if ((end < info.st_size && ftruncate(fileno(log), end) != 0) || fseeko(log, 0, SEEK_END) != 0)
    return tool_fail(t->command, "--log %s: %s", t->s.log, strerror(errno));
  return TOOL_DONE;
}

int lm_train_log_open(trainer *t) {
  TOOL_TRY(tool_log_open(&t->log, t->args, t->s.log, t->s.resume ? "a+" : "w"));
  t->results = t->log.on_stdout ? NULL : stdout;
  return t->log.file && t->s.resume ? continue_log(t) : TOOL_DONE;
}

// Asked before the log is open, too.
bool lm_train_log_wanted(const trainer *t) { return t->s.log || t->args->json; }

double lm_train_rate(const trainer *t, int64_t steps, double seconds) {
  return (double)steps * (double)(t->s.accumulate * t->s.batch * t->s.context) / seconds;
}

double lm_train_peak_fraction(const trainer *t, double rate) {
  const double tokens = (double)t->s.batch * (double)t->s.context;
  return rate / tokens * lm_step_flops(&t->config, t->s.batch, t->s.context) * 1e-9 /
         (t->peak_gflops * tool_ranks_count(t->ranks));
}

static void add_model(const trainer *t, json_t *object) {
  json_t *model = json_object();
  lm_json_sizes(model, &t->config);
  tool_json_add(object, "model", model);
}

static void add_options(const trainer *t, json_t *object) {
  const train_settings *s = &t->s;
  tool_json_add(object, "data", tool_json_text(s->data));
  tool_json_add(object, "tokens", json_integer(heed_token_data_count(t->data)));
  tool_json_add(object, "validation_tokens", json_integer(heed_token_data_count(t->validation)));
  const struct {
    const char *name;
    int64_t value;
  } integers[] = {{"steps", s->steps},           {"step", t->step},
                  {"batch", s->batch},           {"length", s->context},
                  {"accumulate", s->accumulate}, {"ranks", tool_ranks_count(t->ranks)},
                  {"warmup", s->warmup},         {"decay_steps", s->decay_steps ? s->decay_steps : s->steps}};
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
    tool_json_add(object, integers[i].name, json_integer(integers[i].value));
  const struct {
    const char *name;
    double value;
  } reals[] = {{"lr", s->lr},       {"min_lr", s->min_lr},  {"beta1", s->beta1},
               {"beta2", s->beta2}, {"eps", s->eps},        {"weight_decay", s->weight_decay},
               {"clip", s->clip},   {"dropout", s->dropout}};
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) tool_json_number(object, reals[i].name, reals[i].value);
  tool_json_add(object, "schedule", json_string(lm_train_schedules[s->schedule]));
  tool_json_add(object, "order", json_string(lm_train_orders[s->order]));
  tool_json_add(object, "dtype", json_string(lm_dtypes[s->dtype]));
  tool_json_add(object, "recompute", json_boolean(s->recompute));
  tool_json_add(object, "seed",
                s->seed <= INT64_MAX ? json_integer((json_int_t)s->seed) : json_sprintf("%" PRIu64, s->seed));
}

void lm_train_log_start(trainer *t) {
  if (!lm_train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "start");
  tool_json_device(object, heed_context_device(t->model.ctx));
  add_model(t, object);
  add_options(t, object);
  tool_json_add(object, "memory", lm_memory_json(&t->memory));
  tool_json_number(object, "peak_gflops", t->peak_gflops);
  tool_log_write(&t->log, object);
}

// Of rank 0, in seconds: the gradients; their sum over the ranks, of which a part is hidden behind the backward; the values that come back.
static json_t *trace_json(const tool_trace *trace) {
  json_t *object = json_object();
  tool_json_number(object, "compute_s", trace->computed - trace->began);
  tool_json_number(object, "sum_s", trace->sum);
  tool_json_number(object, "exposed_s", trace->exposed);
  tool_json_number(object, "hidden", trace->sum > 0 ? fmax(0, 1 - trace->exposed / trace->sum) : 0);
  tool_json_number(object, "values_s", trace->spread);
  tool_json_add(object, "bytes", json_integer((json_int_t)trace->bytes));
  return object;
}

void lm_train_log_step(trainer *t, const train_look *look, double loss, double rate) {
  if (!lm_train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "step");
  tool_json_add(object, "step", json_integer(look->step));
  tool_json_number(object, "loss", loss);
  tool_json_number(object, "lr", look->lr);
  tool_json_number(object, "norm", (double)look->norm_value);
  tool_json_number(object, "tokens_per_s", rate);
  tool_json_number(object, "peak_fraction", lm_train_peak_fraction(t, rate));
  if (t->ranks) tool_json_add(object, "exchange", trace_json(&look->trace));
  tool_log_write(&t->log, object);
}

void lm_train_log_eval(trainer *t, double loss) {
  if (!lm_train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "eval");
  tool_json_add(object, "step", json_integer(t->step));
  tool_json_number(object, "loss", loss);
  tool_log_write(&t->log, object);
}

void lm_train_log_sample(trainer *t, const lm_stream *text) {
  if (!lm_train_log_wanted(t)) return;
  json_t *object = tool_log_line(&t->log, "sample"), *ids = json_array();
  tool_json_add(object, "step", json_integer(t->step));
  for (size_t i = 0; i < text->count; i++) tool_json_append(ids, json_integer(text->ids[i]));
  tool_json_add(object, "ids", ids);
  lm_json_text(object, t->model.tokenizer ? text : NULL);
  tool_log_write(&t->log, object);
}

void lm_train_log_end(trainer *t, const char *outcome) {
  if (!lm_train_log_wanted(t)) return;
  const bool ok = strcmp(outcome, "done") == 0;
  json_t *object = tool_log_line(&t->log, "end");
  tool_json_add(object, "outcome", json_string(outcome));
  tool_json_add(object, "step", json_integer(t->step));
  tool_json_number(object, "loss", t->last_loss);
  tool_json_number(object, "validation_loss", t->last_validation);
  tool_json_number(object, "seconds", tool_seconds() - t->started);
  tool_json_add(object, "peak_bytes", json_integer((json_int_t)heed_context_peak_bytes(t->model.ctx)));
  tool_json_add(object, "ok", json_boolean(ok));
  tool_json_add(object, "error",
                ok ? json_null() : tool_json_text(strcmp(outcome, "failed") == 0 ? tool_last_failure() : outcome));
  tool_log_write(&t->log, object);
}
