// The cases of `heed check`, one by one: what they run on, what they find, and how that is reported.
#include <stdlib.h>
#include <string.h>

#include "check/check.h"

static const char command[] = "heed check";

// ---------------------------------------------------------------- running

int check_open(const check_state *state, check_contexts *on) {
  TOOL_TRY(tool_open(state->args, false, &on->device));
  TOOL_HEED(command, heed_open("host", &on->host));
  const heed_device_info *device = heed_context_device(on->device);
  if (device->type == HEED_DEVICE_HOST)
    tool_note(state->args,
              "the device is the host itself: this only shows that the cases run and repeat their results");
  else if (state->settings->full) {
    char spec[TOOL_ID_TEXT];
    tool_id_text(device, spec);
    TOOL_HEED(command, heed_open_with(&(heed_open_options){.device = spec,
                                                           .gemm = "clblast",
                                                           .self_test = -1,
                                                           .progress = tool_progress_told,
                                                           .progress_user = state->args->progress},
                                      &on->clblast));
  }
  return TOOL_DONE;
}

int check_close(check_contexts *on) {
  const size_t left =
      on->device && on->host ? heed_context_live_tensors(on->device) + heed_context_live_tensors(on->host) : 0;
  heed_context_destroy(on->clblast);
  heed_context_destroy(on->device);
  heed_context_destroy(on->host);
  *on = (check_contexts){0};
  return left ? tool_fail(command, "%zu tensors are still alive after the last case", left) : TOOL_DONE;
}

bool check_is_there(const check_state *state, const check_task *task) {
  return task->kind != CHECK_CLBLAST || state->device.type != HEED_DEVICE_HOST;
}

void check_run(const check_state *state, const check_contexts *on, size_t number, check_outcome *outcome) {
  const check_task *task = &state->tasks[number];
  *outcome = (check_outcome){.task = number};
  const double start = tool_seconds();
  // The result contains the status: a case that cannot run has failed, and the next one gets its turn.
  const heed_status ignored =
      task->kind == CHECK_GRADIENT
          ? case_compare_gradient(task->c, on->host, &outcome->result)
          : case_compare(task->c, task->kind == CHECK_CLBLAST ? on->clblast : on->device, on->host, &outcome->result);
  (void)ignored;
  outcome->seconds = tool_seconds() - start;
}

// ---------------------------------------------------------------- reporting

// Writes the command that repeats only this case.
static void repro_text(const check_state *state, const heed_case *c, check_kind kind, char *text, size_t size) {
  const heed_device_info *device = &state->device;
  const char *gemm = kind == CHECK_CLBLAST ? "HEED_GEMM=clblast " : "", *full = kind == CHECK_GRADIENT  ? "--full "
                                                                                : state->settings->tiny ? "--tiny "
                                                                                                        : "";
  if (device->type == HEED_DEVICE_HOST)
    snprintf(text, size, "heed check --device host %s--case %s", full, c->name);
  else
    snprintf(text, size, "%sheed check --device %d:%d %s--case %s", gemm, device->platform_index, device->device_index,
             full, c->name);
}

static void note_failure(check_state *state, const char *op, const heed_case *c, const case_result *result,
                         const char *repro, bool says_so) {
  state->failed += 1;
  if (says_so) tool_say(command, "FAILED %s %s: %s\n  repeat it with: %s", op, c->name, result->message, repro);
  json_t *failure = json_object();
  tool_json_add(failure, "op", json_string(op));
  tool_json_add(failure, "case", json_string(c->name));
  tool_json_add(failure, "dtype", json_string(heed_dtype_string(c->dtype)));
  tool_json_add(failure, "error", tool_json_text(result->message));
  tool_json_add(failure, "repeat", tool_json_text(repro));
  tool_json_append(state->failures, failure);
}

// "about 0:40 left". Nothing during the first tenth of the cases: the driver compiles kernels for most of them, so that what they took
// would promise an hour for a minute.
static const char *left_text(const check_state *state, char *text, size_t size) {
  char left[32];
  const double passed = tool_seconds() - state->started;
  *text = '\0';
  if (state->done == 0 || state->done < state->total / 10) return text;
  tool_duration_text(passed * (double)(state->total - state->done) / (double)state->done, left);
  snprintf(text, size, ", about %s left", left);
  return text;
}

void check_show_progress(check_state *state, const heed_case *c) {
  char left[64];
  tool_progress_count(state->args->progress, "case", (int64_t)state->done + 1, (int64_t)state->total);
  if (state->done > 0 && !tool_progress_due(state->args->progress)) return;
  tool_progress_show(state->args->progress, "%zu failed%s  %s", state->failed, left_text(state, left, sizeof left),
                     c->name);
}

static void account(check_state *state, const check_outcome *outcome, bool says_so) {
  static const char *const suffixes[CHECK_KINDS] = {"", " slopes", " CLBlast"};
  check_task *task = &state->tasks[outcome->task];
  const case_result *result = &outcome->result;
  char op[40], repro[224];
  snprintf(op, sizeof op, "%s%s", task->c->family->op, suffixes[task->kind]);
  repro_text(state, task->c, task->kind, repro, sizeof repro);
  task->told = true;
  state->done += 1;
  if (!check_summary_add(&state->summary, op, task->c->name, result)) {
    state->failed += 1;
    tool_say(command, "no host memory to count case %s", task->c->name);
  }
  junit_add(&state->report, op, task->c->name, outcome->seconds, result->passed ? NULL : result->message, repro);
  if (!result->passed) note_failure(state, op, task->c, result, repro, says_so);
}

void check_account(check_state *state, const check_outcome *outcome) { account(state, outcome, true); }

void check_account_lost(check_state *state, size_t task, const char *reason, bool says_so) {
  check_outcome outcome = {.task = task};
  snprintf(outcome.result.message, sizeof outcome.result.message, "%s", reason);
  account(state, &outcome, says_so);
}
