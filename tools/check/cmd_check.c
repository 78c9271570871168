// heed check: runs every case of the table on this device and on the host and compares. The exit status is the verdict.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "check/check.h"
#include "cli/files.h"

static const char command[] = "heed check";

#define NAME(name) #name,
static const char *const op_names[] = {CASE_FAMILIES(NAME) NULL};
#undef NAME
static const tool_option options[] = {
    {.name = "op",
     .kind = TOOL_TEXT,
     .offset = offsetof(check_settings, op),
     .argument = "OP",
     .words = op_names,
     .help = "only this operator's cases"},
    TOOL_OPTION_TEXT("case", check_settings, name, "NAME", "only the case of this name; --list names them"),
    TOOL_OPTION_FLAG("list", check_settings, list, "only name the cases that would run"),
    TOOL_OPTION_FLAG("tiny", check_settings, tiny, "a few very small cases of each operator, for OpenCL interpreters"),
    TOOL_OPTION_FLAG("quick", check_settings, quick, "the most important cases, within a minute"),
    TOOL_OPTION_FLAG("full", check_settings, full,
                     "also large cases, CLBlast's products and finite differences; takes many minutes"),
    TOOL_OPTION_FLAG("serial", check_settings, serial,
                     "run in one process; otherwise a second process runs half of the cases"),
    TOOL_OPTION_TEXT("junit", check_settings, junit, "FILE",
                     "also write a JUnit XML report; -: on standard output, instead of the table"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed check",
    .usage = "[--op OP] [--case NAME] [--tiny|--quick|--full] [--list] [--serial] [--junit FILE]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Runs every operator, forward and backward, on the device and on the host, and compares the results. To find\n"
        "writes out of bounds and missing elements, heed puts guard bands around outputs and poisons them before each\n"
        "call. It makes every call twice and expects the same bits. --full also compares the host's gradients with\n"
        "finite differences, and CLBlast's products with the host's.\n"
        "Exit status: 0 all cases are within tolerance, 1 some are not, 3 heed fell back on the host because there is "
        "no\n"
        "OpenCL device, so that no device was checked; 130 interrupted.\n",
};

static bool selected(const heed_case *c, const check_settings *s) {
  if (s->name) return strcmp(c->name, s->name) == 0;
  if (s->op && strcmp(c->family->op, s->op) != 0) return false;
  return c->level <= (s->quick ? 0 : s->full ? 2 : 1);
}

static bool selected_for(const heed_case *c, const check_settings *s, check_kind kind) {
  if (!selected(c, s)) return false;
  if (kind == CHECK_DEVICE) return true;
  if (kind == CHECK_GRADIENT) return s->full && case_has_gradient(c);
  return s->full && c->family->has_providers;
}

// Writes the command that repeats only this case.
static void repro_text(const check_state *state, const heed_case *c, check_kind kind, char *text, size_t size) {
  const heed_device_info *device = heed_context_device(state->device);
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
                         const char *repro) {
  state->failed += 1;
  tool_say(command, "FAILED %s %s: %s\n  repeat it with: %s", op, c->name, result->message, repro);
  json_t *failure = json_object();
  tool_json_add(failure, "op", json_string(op));
  tool_json_add(failure, "case", json_string(c->name));
  tool_json_add(failure, "dtype", json_string(heed_dtype_string(c->dtype)));
  tool_json_add(failure, "error", json_string(result->message));
  tool_json_add(failure, "repeat", json_string(repro));
  tool_json_append(state->failures, failure);
}

static void show_progress(check_state *state, const heed_case *c) {
  if (state->done > 0 && !tool_progress_due(state->args->progress)) return;
  char left[32];
  const double passed = tool_seconds() - state->started;
  tool_progress_show(
      state->args->progress, "%zu of %zu, %zu failed, about %s left  %s", state->done + 1, state->total, state->failed,
      tool_duration_text(passed * (double)(state->total - state->done) / (double)(state->done + 1), left), c->name);
}

static void run_task(const check_state *state, size_t number, check_outcome *outcome) {
  const check_task *task = &state->tasks[number];
  *outcome = (check_outcome){.task = number};
  const double start = tool_seconds();
  // The result contains the status: a case that cannot run has failed, and the next one gets its turn.
  const heed_status ignored = task->kind == CHECK_GRADIENT
                                  ? case_compare_gradient(task->c, state->host, &outcome->result)
                                  : case_compare(task->c, task->kind == CHECK_CLBLAST ? state->clblast : state->device,
                                                 state->host, &outcome->result);
  (void)ignored;
  outcome->seconds = tool_seconds() - start;
}

static void account(check_state *state, const check_outcome *outcome) {
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
  if (!result->passed) note_failure(state, op, task->c, result, repro);
}

static int no_case(const check_settings *s) {
#define LISTED(name) " " #name
  static const char list[] = CASE_FAMILIES(LISTED);
#undef LISTED
  if (s->name)
    return tool_usage(command, "no case is called '%s'; heed check --list %s names them", s->name,
                      s->tiny ? "--tiny" : "--full");
  const char *nearest = s->op ? tool_nearest(s->op, op_names) : NULL;
  return tool_usage(command, "unknown operator '%s'%s%s; the operators are:%s", s->op ? s->op : "",
                    nearest ? "; did you mean " : "", nearest ? nearest : "", list);
}

// Nobody asked for the host by name: "auto" fell back on it, because there is no device to check.
static bool is_fallback(const check_state *state) {
  const char *spec = state->args->device ? state->args->device : getenv("HEED_DEVICE");
  return heed_context_device(state->device)->type == HEED_DEVICE_HOST &&
         !(spec && *spec && strcasecmp(spec, "auto") != 0);
}

static check_verdict judge(const check_state *state) {
  if (*state->interrupted) return CHECK_INTERRUPTED;
  return state->failed ? CHECK_FAILED : is_fallback(state) ? CHECK_NO_DEVICE : CHECK_OK;
}

static int open_contexts(check_state *state) {
  TOOL_TRY(tool_open(state->args, false, &state->device));
  TOOL_HEED(command, heed_open("host", &state->host));
  const heed_device_info *device = heed_context_device(state->device);
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
                                      &state->clblast));
  }
  return TOOL_DONE;
}

static int make_tasks(check_state *state, const heed_case *cases, size_t count) {
  state->tasks = calloc(CHECK_KINDS * count, sizeof *state->tasks);
  if (!state->tasks) return tool_fail(command, "no host memory for the list of cases");
  for (int kind = 0; kind < CHECK_KINDS; ++kind)
    for (size_t i = 0; i < count; ++i)
      if (selected_for(&cases[i], state->settings, kind))
        state->tasks[state->total++] = (check_task){.c = &cases[i], .kind = kind};
  return TOOL_DONE;
}

// Half of a CPU's time goes to compiling attention in F32, and those programs share nothing with the other cases'.
static bool is_helpers(const check_task *task) {
  return task->c->family != &attention_family || task->c->dtype != HEED_F32;
}

static bool is_there(const check_state *state, const check_task *task) {
  return task->kind != CHECK_CLBLAST || state->clblast;
}

static int help(void *context, int to) {
  check_state *state = context;
  if (open_contexts(state) != TOOL_DONE) return TOOL_FAILED;
  for (size_t i = 0; i < state->total; ++i) {
    if (!is_helpers(&state->tasks[i]) || !is_there(state, &state->tasks[i])) continue;
    check_outcome outcome;
    run_task(state, i, &outcome);
    check_helper_tell(to, &outcome);
  }
  const size_t left = heed_context_live_tensors(state->device) + heed_context_live_tensors(state->host);
  heed_context_destroy(state->clblast);
  heed_context_destroy(state->device);
  heed_context_destroy(state->host);
  return left ? TOOL_FAILED : TOOL_DONE;
}

static void start_helper(check_state *state) {
  const check_settings *s = state->settings;
  const bool split = !s->serial && !s->name && !s->op && sysconf(_SC_NPROCESSORS_ONLN) > 1;
  if (split) check_helper_start(&state->helper, help, state);
}

// Takes in the outcomes that the helper has sent; with `wait`, all that it will send.
static void listen(check_state *state, bool wait) {
  check_outcome outcome;
  while (!*state->interrupted) {
    if (!check_helper_next(&state->helper, wait, &outcome)) {
      if (wait && errno == EINTR) continue;
      return;
    }
    if (outcome.task < state->total) account(state, &outcome);
    if (wait && outcome.task < state->total) show_progress(state, state->tasks[outcome.task].c);
  }
}

// The first outcome that the helper owes is of the case in which it ended; the later cases did not run.
static void settle_debts(check_state *state, const char *reason) {
  for (size_t i = 0; i < state->total; ++i) {
    if (state->tasks[i].told || !is_there(state, &state->tasks[i])) continue;
    check_outcome outcome = {.task = i};
    snprintf(outcome.result.message, sizeof outcome.result.message, "%s", reason);
    account(state, &outcome);
    reason = "not run: its process had already ended";
  }
}

static int run_all(check_state *state) {
  const bool helped = state->helper.pid != 0;
  for (size_t i = 0; i < state->total && !*state->interrupted; ++i) {
    if ((helped && is_helpers(&state->tasks[i])) || !is_there(state, &state->tasks[i])) continue;
    show_progress(state, state->tasks[i].c);
    check_outcome outcome;
    run_task(state, i, &outcome);
    account(state, &outcome);
    listen(state, false);
  }
  int status = TOOL_DONE;
  if (helped) listen(state, true);
  if (*state->interrupted) {
    check_helper_stop(&state->helper);
  } else if (helped) {
    char reason[160] = "its process ended without a report";
    const bool ended_well = check_helper_end(&state->helper, reason, sizeof reason);
    const size_t failed = state->failed;
    settle_debts(state, reason);
    if (!ended_well && state->failed == failed) status = tool_fail(command, "the helper process: %s", reason);
  }
  return status;
}

static int report(check_state *state, int status) {
  const check_verdict verdict = judge(state);
  TOOL_TRY(check_write_junit(state, verdict));
  if (state->args->json)
    TOOL_TRY(check_print_json(state, verdict));
  else if (!tool_is_dash(state->settings->junit))
    check_print_table(state, verdict);
  static const int statuses[] = {TOOL_DONE, TOOL_FAILED, TOOL_NO_DEVICE, TOOL_INTERRUPTED};
  return status == TOOL_DONE ? statuses[verdict] : status;
}

static int run_opened(check_state *state) {
  const int opened = open_contexts(state);
  if (opened != TOOL_DONE) {
    check_helper_stop(&state->helper);
    return opened;
  }
  const int status = report(state, run_all(state));
  const size_t left = heed_context_live_tensors(state->device) + heed_context_live_tensors(state->host);
  return left ? tool_fail(command, "%zu tensors are still alive after the last case", left) : status;
}

static int run_cases(check_state *state, const heed_case *cases, size_t count) {
  TOOL_TRY(make_tasks(state, cases, count));
  if (state->total == 0) return no_case(state->settings);
  if (state->settings->list) return check_print_list(state);
  state->interrupted = tool_interrupt_start();
  start_helper(state);
  const int status = run_opened(state);
  tool_interrupt_end();
  return status;
}

static int check(const tool_args *args, const check_settings *settings) {
  if (settings->quick && settings->full) return tool_usage(command, "--quick and --full exclude each other");
  if (settings->tiny && (settings->quick || settings->full))
    return tool_usage(command, "--tiny has its own cases; leave out --quick and --full");
  if (settings->junit && settings->list) return tool_usage(command, "--list runs nothing that --junit could report");
  if (tool_is_dash(settings->junit) && args->json)
    return tool_usage(command, "--junit - and --json both write to standard output");
  if (settings->junit) TOOL_TRY(tool_check_target(command, "--junit", settings->junit, false, false));
  heed_case *cases;
  size_t count;
  TOOL_HEED(command, settings->tiny ? case_tiny_table(&cases, &count) : case_table(&cases, &count));
  check_state state = {.settings = settings, .args = args, .failures = json_array(), .started = tool_seconds()};
  junit_begin(&state.report);
  const int status = run_cases(&state, cases, count);
  junit_free(&state.report);
  check_summary_free(&state.summary);
  heed_context_destroy(state.clblast);
  heed_context_destroy(state.device);
  heed_context_destroy(state.host);
  free(state.tasks);
  json_decref(state.failures);
  free(cases);
  return status;
}

int cmd_check(int argc, const char **argv) {
  check_settings settings = {0};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.diagnoses = true;
  args.passing = true;
  if (status == TOOL_PROCEED) status = check(&args, &settings);
  return tool_finish(&args, status);
}
