// heed check: every case of the table on this device and on the host, compared. The exit status is the verdict.
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "case.h"
#include "tool.h"

static const char command[] = "heed check";

typedef struct check_settings {
  const char *op, *name;
  bool quick, full, json;
} check_settings;

static const tool_option options[] = {
    TOOL_OPTION_TEXT("op", check_settings, op, "OP", "only this operator's cases"),
    TOOL_OPTION_TEXT("case", check_settings, name, "NAME", "only the case of this name"),
    TOOL_OPTION_FLAG("quick", check_settings, quick, "the core of the cases, within a minute"),
    TOOL_OPTION_FLAG("full", check_settings, full, "large cases too; takes minutes"),
    TOOL_OPTION_FLAG("json", check_settings, json, "one JSON object on stdout"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed check",
    .usage = "[--op OP] [--case NAME] [--quick|--full] [--json]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Runs every operator, forward and backward, on the device and on the host, and compares. Outputs lie between\n"
        "guard bands and are poisoned before each call; every call is made twice and must give the same bits.\n"
        "Exit status: 0 all within tolerance, 1 some not.\n",
};

// What is known of one operator's cases so far.
typedef struct op_summary {
  const char *op;
  size_t cases, failed, with_nan;
  double relative, used;  // worst case's error, and the share of its tolerance
  char worst[96];
} op_summary;

enum { MAX_OPS = 24 };
typedef struct check_state {
  const check_settings *settings;
  const tool_args *args;
  heed_context *device, *host;
  op_summary ops[MAX_OPS];
  size_t op_count, total, done, failed;
  json_t *failures;
  tool_progress progress;
  double started;
} check_state;

static bool selected(const heed_case *c, const check_settings *s) {
  if (s->name) return strcmp(c->name, s->name) == 0;
  if (s->op && strcmp(c->family->op, s->op) != 0) return false;
  return c->level <= (s->quick ? 0 : s->full ? 2 : 1);
}

static op_summary *summary_of(check_state *state, const char *op) {
  for (size_t i = 0; i < state->op_count; ++i)
    if (strcmp(state->ops[i].op, op) == 0) return &state->ops[i];
  if (state->op_count == MAX_OPS) return &state->ops[MAX_OPS - 1];
  op_summary *summary = &state->ops[state->op_count++];
  *summary = (op_summary){.op = op};
  return summary;
}

// The command that repeats one case alone.
static void repro_text(const check_state *state, const heed_case *c, char *text, size_t size) {
  const heed_device_info *device = heed_context_device(state->device);
  if (device->type == HEED_DEVICE_HOST)
    snprintf(text, size, "heed check --device host --case %s", c->name);
  else
    snprintf(text, size, "heed check --device %d:%d --case %s", device->platform_index, device->device_index, c->name);
}

static void note_failure(check_state *state, const heed_case *c, const case_result *result) {
  state->failed += 1;
  char repro[192];
  repro_text(state, c, repro, sizeof repro);
  tool_progress_clear(&state->progress);
  tool_say(command, "FAILED %s %s: %s\n  repeat it with: %s", c->family->op, c->name, result->message, repro);
  json_array_append_new(state->failures, json_pack("{s:s, s:s, s:s, s:s}", "op", c->family->op, "case", c->name,
                                                   "message", result->message, "repeat", repro));
}

static void run_case(check_state *state, const heed_case *c) {
  if (tool_progress_due(&state->progress))
    tool_progress_show(&state->progress, "%zu of %zu  %s", state->done + 1, state->total, c->name);
  case_result result;
  // The status is in the result: a case that cannot run has failed, and the next one gets its turn.
  const heed_status ignored = case_compare(c, state->device, state->host, &result);
  (void)ignored;
  op_summary *summary = summary_of(state, c->family->op);
  summary->cases += 1;
  summary->with_nan += result.has_nan;
  state->done += 1;
  const double used = result.tolerance > 0 ? result.relative / result.tolerance : result.relative > 0 ? 1e300 : 0;
  if (!(used <= summary->used) || !summary->worst[0]) {
    summary->used = used;
    summary->relative = result.relative;
    snprintf(summary->worst, sizeof summary->worst, "%s (%s)", c->name, result.output);
  }
  if (result.passed) return;
  summary->failed += 1;
  note_failure(state, c, &result);
}

static void print_table(const check_state *state) {
  printf("%-14s %6s %6s %12s  %-10s %s\n", "operator", "cases", "failed", "worst error", "verdict", "worst case");
  for (size_t i = 0; i < state->op_count; ++i) {
    const op_summary *s = &state->ops[i];
    printf("%-14s %6zu %6zu %12.2e  %-10s %s\n", s->op, s->cases, s->failed, s->relative, s->failed ? "FAILED" : "ok",
           s->worst);
  }
  const heed_device_info *device = heed_context_device(state->device);
  printf("%zu cases on %s (driver %s): ", state->done, device->name, device->driver);
  if (state->failed)
    printf("%zu FAILED\n", state->failed);
  else
    printf("all within tolerance, %.1f s\n", tool_seconds() - state->started);
}

static void print_json(const check_state *state) {
  const heed_device_info *device = heed_context_device(state->device);
  json_t *ops = json_array();
  for (size_t i = 0; i < state->op_count; ++i) {
    const op_summary *s = &state->ops[i];
    json_array_append_new(
        ops, json_pack("{s:s, s:I, s:I, s:I, s:f, s:s, s:s}", "op", s->op, "cases", (json_int_t)s->cases, "failed",
                       (json_int_t)s->failed, "with_nan", (json_int_t)s->with_nan, "worst_relative_error", s->relative,
                       "worst_case", s->worst, "verdict", s->failed ? "failed" : "ok"));
  }
  json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:o, s:O, s:s}", "device", device->name,
                           "platform", device->platform, "driver", device->driver, "id", device->id, "version",
                           heed_version(), "cases", (json_int_t)state->done, "failed", (json_int_t)state->failed,
                           "seconds", tool_seconds() - state->started, "operators", ops, "failures", state->failures,
                           "verdict", state->failed ? "failed" : "ok");
  json_dumpf(root, stdout, JSON_INDENT(2));
  printf("\n");
  json_decref(root);
}

static int no_case(const check_settings *s, const heed_case *cases, size_t count) {
  const char *names[MAX_OPS + 1] = {0};
  size_t used = 0;
  char list[512] = "";
  for (size_t i = 0; i < count; ++i) {
    bool seen = false;
    for (size_t j = 0; j < used; ++j) seen |= strcmp(names[j], cases[i].family->op) == 0;
    if (seen || used == MAX_OPS) continue;
    names[used++] = cases[i].family->op;
    const size_t at = strlen(list);
    snprintf(list + at, sizeof list - at, " %s", cases[i].family->op);
  }
  if (s->name) return tool_usage(command, "no case is called '%s'; heed check --json names the cases it runs", s->name);
  const char *nearest = s->op ? tool_nearest(s->op, names) : NULL;
  return tool_usage(command, "'%s' is no operator%s%s; there are:%s", s->op ? s->op : "",
                    nearest ? "; did you mean " : "", nearest ? nearest : "", list);
}

static int run_cases(check_state *state, const heed_case *cases, size_t count) {
  for (size_t i = 0; i < count; ++i) state->total += selected(&cases[i], state->settings);
  if (state->total == 0) return no_case(state->settings, cases, count);
  TOOL_TRY(tool_open(state->args, false, &state->device));
  TOOL_HEED(command, heed_open("host", &state->host));
  if (heed_context_device(state->device)->type == HEED_DEVICE_HOST)
    tool_say(command, "the device is the host itself: this shows only that the cases run and repeat");
  tool_progress_start(&state->progress, 0.1);
  for (size_t i = 0; i < count; ++i)
    if (selected(&cases[i], state->settings)) run_case(state, &cases[i]);
  tool_progress_clear(&state->progress);
  if (state->settings->json)
    print_json(state);
  else
    print_table(state);
  const size_t left = heed_context_live_tensors(state->device) + heed_context_live_tensors(state->host);
  if (left) return tool_fail(command, "%zu tensors are still alive after the last case", left);
  return tool_flush(command, state->failed ? TOOL_FAILED : TOOL_DONE);
}

static int check(const tool_args *args, const check_settings *settings) {
  if (settings->quick && settings->full) return tool_usage(command, "--quick and --full are two different things");
  heed_case *cases;
  size_t count;
  TOOL_HEED(command, case_table(&cases, &count));
  check_state state = {.settings = settings, .args = args, .failures = json_array(), .started = tool_seconds()};
  const int status = run_cases(&state, cases, count);
  heed_context_destroy(state.device);
  heed_context_destroy(state.host);
  json_decref(state.failures);
  free(cases);
  return status;
}

int cmd_check(int argc, const char **argv) {
  check_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.diagnoses = true;
  if (status == TOOL_PROCEED) status = check(&args, &settings);
  tool_args_free(&args);
  return status;
}
