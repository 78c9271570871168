// heed check: runs every case of the table on this device and on the host and compares. The exit status is the verdict.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
                     "run the cases in this process, for debuggers; otherwise other processes run them, and heed "
                     "survives a driver that crashes"),
    TOOL_OPTION_TEXT("junit", check_settings, junit, "FILE",
                     "also write a JUnit XML report; -: on standard output, instead of the table"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed check",
    .usage = "[--tiny|--quick|--full] [options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .about =
        "Runs every operator, forward and backward, on the device and on the host, and\n"
        "compares the results. To find writes out of bounds and missing elements, heed\n"
        "puts guard bands around outputs and poisons them before each call. It makes\n"
        "every call twice and expects the same bits. --full also compares the host's\n"
        "gradients with finite differences, and CLBlast's products with the host's.\n"
        "Exit status: 0 all cases are within tolerance, 1 some are not, 3 heed fell back\n"
        "on the host because there is no OpenCL device, so that no device was checked;\n"
        "130 interrupted.\n",
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
  return state->device.type == HEED_DEVICE_HOST && !(spec && *spec && strcasecmp(spec, "auto") != 0);
}

static check_verdict judge(const check_state *state) {
  if (*state->interrupted) return CHECK_INTERRUPTED;
  return state->failed ? CHECK_FAILED : is_fallback(state) ? CHECK_NO_DEVICE : CHECK_OK;
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

static int run_here(check_state *state) {
  check_contexts on = {0};
  int status = check_open(state, &on);
  if (status == TOOL_DONE) state->device = *heed_context_device(on.device);
  for (size_t i = 0; status == TOOL_DONE && i < state->total && !*state->interrupted; ++i) {
    if (!check_is_there(state, &state->tasks[i])) continue;
    check_show_progress(state, state->tasks[i].c);
    check_outcome outcome;
    check_run(state, &on, i, &outcome);
    check_account(state, &outcome);
  }
  const int closed = check_close(&on);
  return status == TOOL_DONE ? closed : status;
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

static int run_cases(check_state *state, const heed_case *cases, size_t count) {
  TOOL_TRY(make_tasks(state, cases, count));
  if (state->total == 0) return no_case(state->settings);
  if (state->settings->list) return check_print_list(state);
  state->interrupted = tool_interrupt_start();
  int status = state->settings->serial ? TOOL_PROCEED : check_run_in_workers(state);
  if (status == TOOL_PROCEED) status = run_here(state);
  // Without a device there is nothing to report of.
  if (state->device.name[0]) status = report(state, status);
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
