// Runs heed under fault_shim.c: every call of every scenario fails in turn, with every error it may give, until a run passes
// untouched. Each time: no crash, no hang, an error that says why or the right result, nothing held at the end, and a
// context that works again. Usage: LD_PRELOAD=libfault_shim.so fault_program [SCENARIO ...]; HEED_TEST_LONG=1 tries all, with
// HEED_FAULT_EVERY=N each N-th call alone, else a sample.
#include "fault_program.h"

#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"
#include "fault_shim.h"

enum { HANG_SECONDS = 300, CRASHES_MAX = 20 };

static const struct fault_shim *shim;
static const char *const kind_names[] = {"", "OpenCL", "memory", "files"};

// Which call fails, with which of its errors; onward: and every one after it.
struct point {
  long at;
  int error;
  bool onward;
};

struct counts {
  long runs, refused, recovered, failures;
};

// Where the worker stands and what it has counted; the parent goes on from there when a worker dies.
static struct progress {
  int scenario, kind;
  struct point point;
  struct counts all, before;  // before: when this scenario and kind began
} * progress;

// ---------------------------------------------------------------- one run

struct outcome {
  heed_status status;
  char message[1024];
  struct fault_values values;
  int buffers;        // of the context after its work was done twice, without idle ones
  heed_status again;  // of the same work on the same context afterwards
};

static void set_old_file(void) {
  FILE *file = fopen("out.safetensors", "w");
  if (!file || fputs("old", file) < 0 || fclose(file) != 0) exit(99);
}

static heed_status work(const struct fault_scenario *s, heed_context *ctx, struct fault_values *values) {
  values->count = 0;
  const heed_status status = s->case_op ? fault_work_case(ctx, s->case_op, values) : s->work(ctx, values);
  return status == HEED_OK ? heed_sync(ctx) : status;
}

static void keep_message(struct outcome *o, heed_status status) {
  o->status = status;
  snprintf(o->message, sizeof o->message, "%s", heed_last_error());
}

// After a failure the same work on the same context, which nothing disturbs.
static void work_again(const struct fault_scenario *s, heed_context *ctx, struct outcome *o) {
  static struct fault_values again;
  again.broken = NULL;
  shim->pause(true);
  const heed_status pending = heed_sync(ctx);
  const heed_status status = pending == HEED_OK || o->status != HEED_OK ? work(s, ctx, &again) : pending;
  // Idle scratch memory is a pool's: which of its buffers are handed out, and so how many there are, depends on the order of calls.
  if (heed_context_device(ctx)->type != HEED_DEVICE_HOST) heed__cl_scratch_trim(ctx, 0);
  o->buffers = shim->buffers();
  o->again = status;
  if (status != HEED_OK) snprintf(o->message, sizeof o->message, "after a failure: %s", heed_last_error());
  shim->pause(false);
}

static void run(const struct fault_scenario *s, struct outcome *o, enum fault_kind kind, struct point point,
                struct fault_report *report) {
  o->values.count = 0;
  o->values.broken = NULL;
  o->buffers = 0;
  o->again = HEED_OK;
  if (s->writes_file) set_old_file();
  if (s->cold_cache && system("rm -rf cold") != 0) exit(99);
  shim->arm(kind, point.at, point.error, point.onward);
  if (!s->work && !s->case_op) {
    keep_message(o, fault_work_list(&o->values));
  } else {
    heed_context *ctx = NULL;
    keep_message(o, fault_open(s, &ctx));
    if (o->status != HEED_OK && ctx) o->values.broken = "a context that failed to open was returned";
    if (o->status == HEED_OK) {
      keep_message(o, work(s, ctx, &o->values));
      if (heed_context_live_tensors(ctx) != 0) o->values.broken = "tensors are left";
      work_again(s, ctx, o);
      heed_context_destroy(ctx);
    }
  }
  shim->disarm(report);
}

// ---------------------------------------------------------------- judging it

// The same numbers, up to what two correct variants of an operator may differ by: twice the error allowed for a gradient.
static bool same(heed_dtype dtype, const struct fault_values *a, const struct fault_values *b) {
  if (a->count != b->count) return false;
  double difference = 0, size = 0;
  for (int64_t i = 0; i < a->count; i++) {
    difference += pow((double)a->values[i] - (double)b->values[i], 2);
    size += pow((double)b->values[i], 2);
  }
  return sqrt(difference) <= 2 * heed_tolerance(dtype, true) * sqrt(size);
}

static const char *errno_text(const char *name) {
  for (int code = 1; code < 200; code++)
    if (strerrorname_np(code) && strcmp(strerrorname_np(code), name) == 0) return strerror(code);
  return name;
}

static bool names_reason(const struct outcome *o, enum fault_kind kind, const struct fault_report *report, bool onward,
                         bool from_table) {
  // The cases of the table are the program's: they leave no message. The host says what it has no buffer for.
  if (kind == FAULT_MEMORY)
    return o->status == HEED_ERROR_OUT_OF_MEMORY &&
           (from_table || strstr(o->message, "memory") || strstr(o->message, "no buffer"));
  if (kind == FAULT_FILE)
    return o->status == HEED_ERROR_IO &&
           (strstr(o->message, "out.safetensors") || strstr(o->message, ".txt") || strstr(o->message, "tokenizer/")) &&
           (onward || strstr(o->message, errno_text(report->error)));
  // CLBlast has errors of its own, which heed passes on by name and number. It keeps a program that failed to build, and its next use
  // of that is what it tells: CL_INVALID_PROGRAM.
  if (strstr(o->message, "CLBlast")) return strstr(o->message, "CL_") || strstr(o->message, "failed with CLBlast");
  return strstr(o->message, onward ? "CL_" : report->error) != NULL;
}

// A kernel that a driver refused to build stays refused; all else works again.
static bool is_verdict(const char *error) {
  return strcmp(error, "CL_BUILD_PROGRAM_FAILURE") == 0 || strcmp(error, "CL_INVALID_BUILD_OPTIONS") == 0 ||
         strcmp(error, "CL_COMPILER_NOT_AVAILABLE") == 0;
}

// The old file or the new one, whole, and no temporary file beside it.
static const char *judge_file(const struct outcome *o) {
  int files = 0;
  DIR *folder = opendir(".");
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    files += strcmp(entry->d_name, "out.safetensors") == 0 || strstr(entry->d_name, ".tmp") != NULL;
  if (folder) closedir(folder);
  if (files != 1) return "a temporary file is left";
  struct stat info;
  if (stat("out.safetensors", &info) != 0) return "the file is gone";
  if (o->status == HEED_OK && info.st_size == 3) return "success, but the file is the old one";
  return info.st_size == 3 || info.st_size > 4000 ? NULL : "the file is torn";
}

static const char *judge(const struct fault_scenario *s, enum fault_kind kind, const struct outcome *o, bool onward,
                         const struct outcome *untouched, const struct fault_report *report) {
  if (report->objects || report->blocks) return report->leaks;
  if (o->values.broken) return o->values.broken;
  if (o->again != HEED_OK && !(o->again == HEED_ERROR_BUILD && (onward || is_verdict(report->error))))
    return "the context does not work any more";
  if (o->buffers > untouched->buffers) return "more buffers are held than by two untouched runs";
  if (s->writes_file) {
    const char *file = judge_file(o);
    if (file) return file;
  }
  if (o->status != HEED_OK)
    return names_reason(o, kind, report, onward, s->case_op) ? NULL : "the message does not name the reason";
  const bool listing = !s->work && !s->case_op;
  return listing || same(s->dtype, &o->values, &untouched->values) ? NULL : "no error, but another result";
}

static bool try_point(const struct fault_scenario *s, enum fault_kind kind, struct point point,
                      const struct outcome *untouched, struct fault_report *report) {
  static struct outcome o;
  progress->point = point;
  alarm(HANG_SECONDS);
  run(s, &o, kind, point, report);
  alarm(0);
  if (!report->function[0]) return false;
  const char *wrong = judge(s, kind, &o, point.onward, untouched, report);
  progress->all.runs++;
  progress->all.refused += o.status != HEED_OK;
  progress->all.recovered += o.status == HEED_OK;
  if (wrong) {
    progress->all.failures++;
    printf("FAILED %s, %s: call %ld%s, %s with %s: %s\n  status: %s\n  message: %.300s\n", s->name, kind_names[kind],
           point.at, point.onward ? " and all after it" : "", report->function, report->error, wrong,
           heed_status_string(o.status), o.message);
    fflush(stdout);
  }
  return true;
}

// ---------------------------------------------------------------- all calls of a scenario, or a sample

static void try_all(const struct fault_scenario *s, enum fault_kind kind, struct point from,
                    const struct outcome *untouched) {
  struct fault_report report;
  const char *text = getenv("HEED_FAULT_EVERY");
  const long every = text && atol(text) > 1 ? atol(text) : 1;
  for (int onward = from.onward; onward < 2; onward++, from = (struct point){.at = 1}) {
    for (struct point p = {from.at, from.error, onward}; try_point(s, kind, p, untouched, &report);)
      if (!onward && p.error + 1 < report.errors)
        p.error++;
      else
        p.at += every, p.error = 0;
  }
}

static void try_sample(const struct fault_scenario *s, enum fault_kind kind, struct point from,
                       const struct outcome *untouched, long calls) {
  const long most = s->case_op ? 5 : 14, count = calls < most ? calls : most;
  for (long i = from.at; i <= count; i++) {
    const uint64_t stream = (uint64_t)(s - fault_scenarios) * 4 + kind, index = (uint64_t)i * 3;
    const struct point p = {1 + (long)heed_random_below(1, stream, index, (uint64_t)calls),
                            (int)heed_random_below(1, stream, index + 1, 12),
                            heed_random_below(1, stream, index + 2, 4) == 0};
    struct fault_report report;
    try_point(s, kind, p, untouched, &report);
    progress->point = (struct point){.at = i + 1};
  }
}

static void try_scenario(const struct fault_scenario *s, enum fault_kind kind, struct point from, bool all) {
  static struct outcome untouched;
  struct fault_report report;
  const struct point none = {0};
  if (from.at == 1 && from.error == 0 && !from.onward) progress->before = progress->all;
  run(s, &untouched, kind, none, &report);  // fills the program cache
  run(s, &untouched, kind, none, &report);
  if (untouched.status != HEED_OK || untouched.values.broken || untouched.again != HEED_OK || report.objects ||
      report.blocks) {
    printf("FAILED %s, %s: an untouched run: %s; %s; %s\n", s->name, kind_names[kind], untouched.message,
           untouched.values.broken ? untouched.values.broken : "", report.leaks);
    progress->all.failures++;
    return;
  }
  const long calls = report.calls;
  if (all)
    try_all(s, kind, from, &untouched);
  else
    try_sample(s, kind, from, &untouched, calls);
  const struct counts *now = &progress->all, *before = &progress->before;
  printf("%-19s %-6s %5ld calls: %5ld failing runs, %5ld ended with an error, %5ld recovered, %ld wrong\n", s->name,
         kind_names[kind], calls, now->runs - before->runs, now->refused - before->refused,
         now->recovered - before->recovered, now->failures - before->failures);
  fflush(stdout);
}

static bool is_chosen(const char *name, int count, char **names) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], name) == 0) return true;
  return count == 0;
}

// Does everything from where the progress stands.
static int worker(bool all, int count, char **names) {
  if (!fault_prepare()) {
    printf("cannot prepare: %s\n", heed_last_error());
    return 1;
  }
  struct point from = progress->point;
  for (; fault_scenarios[progress->scenario].name; progress->scenario++, progress->kind = FAULT_CL) {
    const struct fault_scenario *s = &fault_scenarios[progress->scenario];
    const int kinds = s->writes_file || s->cold_cache ? FAULT_FILE : FAULT_MEMORY;
    for (; is_chosen(s->name, count, names) && progress->kind <= kinds; progress->kind++) {
      try_scenario(s, progress->kind, from, all);
      from = progress->point = (struct point){.at = 1};
    }
  }
  return 0;
}

// Behind the point at which a worker died.
static void step_over(int status, bool all) {
  struct point *point = &progress->point;
  printf("FAILED %s, %s: call %ld, error %d%s: %s %d\n", fault_scenarios[progress->scenario].name,
         kind_names[progress->kind], point->at, point->error, point->onward ? ", onward" : "",
         WIFSIGNALED(status) ? "ended by signal" : "exit status",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  progress->all.failures++;
  if (all && !point->onward)
    point->error++;
  else
    point->at++;
}

static void work_through(bool all, int count, char **names) {
  progress->kind = FAULT_CL;
  progress->point = (struct point){.at = 1};
  for (int crashes = 0; crashes < CRASHES_MAX; crashes++) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      exit(worker(all, count, names));  // not _exit(), with which what a build for coverage has counted would be lost
    }
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child) exit(99);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    step_over(status, all);
  }
}

// OpenCL is asked in a child: no driver may be loaded before the workers are forked.
static bool has_device(void) {
  const pid_t child = fork();
  heed_context *ctx = NULL;
  if (child == 0)
    _exit(heed_open(NULL, &ctx) == HEED_OK && heed_context_device(ctx)->type != HEED_DEVICE_HOST ? 0 : 77);
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(int count, char **arguments) {
  shim = dlsym(RTLD_DEFAULT, "fault_shim");
  const char *text = getenv("HEED_TEST_LONG");
  const bool all = text && strcmp(text, "1") == 0;
  progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (!shim || progress == MAP_FAILED) {
    fprintf(stderr, "fault_program: run it with LD_PRELOAD=libfault_shim.so\n");
    return 2;
  }
  if (!has_device()) {
    fprintf(stderr, "fault_program: no OpenCL device\n");
    return 77;
  }
  work_through(all, count - 1, arguments + 1);
  const struct counts *total = &progress->all;
  printf("%ld failing runs, %ld ended with an error, %ld recovered, %ld wrong\n", total->runs, total->refused,
         total->recovered, total->failures);
  return total->failures ? 1 : 0;
}
