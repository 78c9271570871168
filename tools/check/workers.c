// The processes in which `heed check` runs its cases. A driver that crashes ends one of them: the case that it ran has failed, and another
// process goes on after it. This process never uses OpenCL, so that it can always fork another one, and lives to give the verdict.
#include <string.h>
#include <unistd.h>

#include "check/check.h"

static const char command[] = "heed check";

enum { WORKERS = 2, CRASHES_AN_OPERATOR = 3 };

struct crew;
struct worker {
  struct crew *crew;
  int number;
  bool opened;                  // its process has the device
  const check_task *running;    // NULL: none
  const case_family *crashing;  // the operator in which processes ended, and how many
  int crashes;
  char refusal[1024];  // why its process could not open the device
};

struct crew {
  check_state *state;
  bool split;
  struct worker workers[WORKERS];
  check_helper helpers[WORKERS];  // of the workers
  int status;
};

// Half of a CPU's time goes to compiling attention in F32, and those programs share nothing with the other cases'.
static bool is_mine(const struct worker *worker, const check_task *task) {
  const bool is_second = task->c->family != &attention_family || task->c->dtype != HEED_F32;
  return !task->told && check_is_there(worker->crew->state, task) &&
         (!worker->crew->split || worker->number == is_second);
}

static check_task *next_task(const struct worker *worker) {
  const check_state *state = worker->crew->state;
  for (size_t i = 0; i < state->total; ++i)
    if (is_mine(worker, &state->tasks[i])) return &state->tasks[i];
  return NULL;
}

// ---------------------------------------------------------------- in the worker's process

static void pass_on(const heed_progress *told, void *to) {
  check_message message = {.topic = CHECK_COMPILES};
  if (told->activity != HEED_ACTIVITY_COMPILE) return;
  snprintf(message.of.text, sizeof message.of.text, "%s", told->name);
  check_helper_tell(*(const int *)to, &message);
}

static int work(void *user, int to) {
  const struct worker *worker = user;
  check_state *state = worker->crew->state;
  check_contexts on = {0};
  check_message message = {.topic = CHECK_OPENED};
  *state->args->progress = (tool_progress){.pass_on = pass_on, .pass_on_user = &to};
  if (check_open(state, &on) != TOOL_DONE) {
    message.topic = CHECK_REFUSED;
    snprintf(message.of.text, sizeof message.of.text, "%s", tool_last_failure());
    check_helper_tell(to, &message);
    (void)check_close(&on);
    return TOOL_FAILED;
  }
  state->device = message.of.device = *heed_context_device(on.device);
  check_helper_tell(to, &message);
  for (size_t i = 0; i < state->total; ++i) {
    if (!is_mine(worker, &state->tasks[i])) continue;
    check_helper_tell(to, &(check_message){.topic = CHECK_BEGINS, .of.task = i});
    message.topic = CHECK_ENDED;
    check_run(state, &on, i, &message.of.outcome);
    check_helper_tell(to, &message);
  }
  return check_close(&on);
}

// ---------------------------------------------------------------- in this process

static bool is_known(const check_state *state) { return state->device.name[0]; }

// Only the first process prints: the others meet the same warnings.
static void start(struct worker *worker, bool silent) {
  worker->opened = false;
  worker->running = NULL;
  worker->refusal[0] = 0;
  check_helper_start(&worker->crew->helpers[worker->number], silent, work, worker);
}

static void lose(const struct worker *worker, const check_task *task, const char *reason) {
  check_account_lost(worker->crew->state, (size_t)(task - worker->crew->state->tasks), reason, true);
}

// family NULL: whatever it still had to do. They are told in one line, because there may be hundreds.
static void lose_all(const struct worker *worker, const case_family *family, const char *reason) {
  check_state *state = worker->crew->state;
  const size_t before = state->done;
  for (size_t i = 0; i < state->total; ++i)
    if (is_mine(worker, &state->tasks[i]) && (!family || state->tasks[i].c->family == family))
      check_account_lost(state, i, reason, false);
  const size_t lost = state->done - before;
  if (lost > 0)
    tool_say(command, "FAILED %s%s%zu more %s: %s", family ? family->op : "", family ? ": " : "", lost,
             lost == 1 ? "case" : "cases", reason);
}

static void refuse(struct crew *crew, const char *reason) {
  crew->status = tool_fail(command, "the device could not be opened: %s", reason);
  junit_add(&crew->state->report, "open", "the device", 0, tool_last_failure(), "heed devices");
  if (crew->state->settings->junit && check_write_junit(crew->state, CHECK_FAILED) != TOOL_DONE)
    tool_say(command, "there is no report either");
}

// The process has ended. Whatever was its reason, at least one task of those that are left is done with.
static void take_end(struct worker *worker) {
  struct crew *crew = worker->crew;
  char reason[sizeof worker->refusal] = "its process ended before its work was done";
  const bool ended_well = check_helper_end(&crew->helpers[worker->number], reason, sizeof reason);
  const check_task *task = worker->running ? worker->running : next_task(worker);
  if (worker->refusal[0]) snprintf(reason, sizeof reason, "%s", worker->refusal);
  if (!is_known(crew->state)) {
    // What heed said of it is on stderr.
    if (worker->refusal[0])
      crew->status = tool_failed_elsewhere(reason);
    else
      refuse(crew, reason);
  } else if (!task) {
    if (!ended_well) crew->status = tool_fail(command, "after the last case: %s", reason);
  } else if (!worker->opened) {
    lose_all(worker, NULL, reason);
  } else {
    if (worker->crashing != task->c->family) worker->crashes = 0;
    worker->crashing = task->c->family;
    lose(worker, task, reason);
    if (++worker->crashes == CRASHES_AN_OPERATOR)
      lose_all(worker, worker->crashing, "not run: other cases of this operator ended their processes");
    if (next_task(worker)) start(worker, true);
    if (next_task(worker) && !crew->helpers[worker->number].pid)
      lose_all(worker, NULL, "not run: the system has no process for it");
  }
}

static void take(struct worker *worker, const check_message *message) {
  struct crew *crew = worker->crew;
  check_state *state = crew->state;
  switch (message->topic) {
    case CHECK_REFUSED:
      snprintf(worker->refusal, sizeof worker->refusal, "%s", message->of.text);
      break;
    case CHECK_OPENED:
      worker->opened = true;
      if (is_known(state)) break;
      state->device = message->of.device;
      // The second process starts where the first could, so that what is wrong with the device is told once.
      if (crew->split && next_task(&crew->workers[1])) start(&crew->workers[1], true);
      if (crew->split && !crew->helpers[1].pid)
        lose_all(&crew->workers[1], NULL, "not run: the system has no process for it");
      break;
    case CHECK_COMPILES:
      tool_progress_told(&(heed_progress){.activity = HEED_ACTIVITY_COMPILE, .name = message->of.text},
                         state->args->progress);
      break;
    case CHECK_BEGINS:
      worker->running = &state->tasks[message->of.task];
      check_show_progress(state, worker->running->c);
      break;
    case CHECK_ENDED:
      worker->running = NULL;
      check_account(state, &message->of.outcome);
      break;
  }
}

static bool is_at_work(const struct crew *crew) {
  // An interrupt waits for the device, so that the report can name it.
  return (crew->helpers[0].pid || crew->helpers[1].pid) && !(*crew->state->interrupted && is_known(crew->state));
}

int check_run_in_workers(check_state *state) {
  const check_settings *s = state->settings;
  struct crew crew = {
      .state = state, .split = !s->name && !s->op && sysconf(_SC_NPROCESSORS_ONLN) > 1, .status = TOOL_DONE};
  for (int i = 0; i < WORKERS; ++i) crew.workers[i] = (struct worker){.crew = &crew, .number = i};
  tool_progress_show(state->args->progress, "opening the device");
  start(&crew.workers[0], false);
  if (!crew.helpers[0].pid) return TOOL_PROCEED;
  while (is_at_work(&crew)) {
    check_message message;
    bool ended = false;
    const check_helper *from = check_helper_next(crew.helpers, WORKERS, &message, &ended);
    if (!from) continue;
    struct worker *worker = &crew.workers[from - crew.helpers];
    if (ended)
      take_end(worker);
    else
      take(worker, &message);
  }
  for (int i = 0; i < WORKERS; ++i) check_helper_stop(&crew.helpers[i]);
  return crew.status;
}
