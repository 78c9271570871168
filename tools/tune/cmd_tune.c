// heed tune: measures which variant and which tiles are fastest for classes of products and attention on a device, and keeps them in a
// table that every later context reads. search.c has the search, and the library has the table.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tune/search.h"

static const char command[] = "heed tune";

typedef struct tune_settings {
  int op;
  double time_budget;
  const char *import;
  bool reset, json;
} tune_settings;

static const char *const operators[] = {"all", "gemm", "attention", NULL};
static const tool_option options[] = {
    TOOL_OPTION_CHOICE("op", tune_settings, op, operators, "OP", "all, gemm or attention (default all)"),
    TOOL_OPTION_REAL("time-budget", tune_settings, time_budget, 1, 86400, "seconds in 1..86400",
                     "search for about X seconds (default 60)"),
    TOOL_OPTION_TEXT("import", tune_settings, import, "FILE", "install the table in FILE without measuring"),
    TOOL_OPTION_FLAG("reset", tune_settings, reset, "delete the table, to return to heed's own choices"),
    TOOL_OPTION_FLAG("json", tune_settings, json, "print the table as it is saved, instead of the times"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed tune",
    .usage = "[options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .max_operands = 0,
    .about =
        "Tries other kernels and tile sizes than heed's own choice. heed compares each with the CPU before it times "
        "it,\n"
        "and never uses one that computes wrong results. It saves clearly faster choices in a table, which it reads\n"
        "from then on; tuning again starts from this table. HEED_TUNE=off ignores the table, HEED_TUNE=FILE uses\n"
        "another one.\n",
};

static volatile sig_atomic_t interrupted;
static void on_interrupt(int signal) {
  (void)signal;
  interrupted = 1;
}

// ---------------------------------------------------------------- the table's file

static int save(heed_context *ctx) {
  TOOL_HEED(command, heed_tune_save(ctx, NULL));
  tool_say(command, "saved in %s", heed_tune_path(ctx));
  return TOOL_DONE;
}

static int print_table(heed_context *ctx) {
  char *text;
  TOOL_HEED(command, heed_tune_json(ctx, &text));
  fputs(text, stdout);
  free(text);
  return TOOL_DONE;
}

static int reset(heed_context *ctx) {
  const char *path = heed_tune_path(ctx);
  if (!*path) return tool_fail(command, "there is no folder for the table: set HOME, XDG_CONFIG_HOME or HEED_TUNE");
  if (unlink(path) == 0) {
    tool_say(command, "%s is deleted", path);
    return TOOL_DONE;
  }
  if (errno != ENOENT) return tool_fail(command, "%s: cannot delete: %s", path, strerror(errno));
  tool_say(command, "there is no %s to delete", path);
  return TOOL_DONE;
}

static int import(heed_context *ctx, const tune_settings *s) {
  TOOL_HEED(command, heed_tune_load(ctx, s->import));
  TOOL_TRY(save(ctx));
  return s->json ? print_table(ctx) : TOOL_DONE;
}

// ---------------------------------------------------------------- tuning

static void print_header(const heed_device_info *device) {
  printf("%s (driver %s)\n%-40s %10s %10s %7s  %s\n", device->name, device->driver, "class", "before ms", "after ms",
         "faster", "choice");
  fflush(stdout);
}

static void print_outcome(const tune_class *class, const tune_outcome *o) {
  char name[TUNE_NAME], gain[32] = "-";
  tune_name(class, name);
  if (o->broken) {
    printf("%-40s %10s %10s %7s  heed's own choice computes wrong results here; run heed check\n", name, "-", "-", "-");
  } else if (o->before_ms == 0) {
    printf("%-40s %10s %10s %7s  %s, not timed\n", name, "-", "-", "-", o->after.text);
  } else {
    if (o->ratio != 1) snprintf(gain, sizeof gain, "%.2fx", 1 / o->ratio);
    printf("%-40s %10.3f %10.3f %7s  %s\n", name, o->before_ms, o->after_ms, gain, o->after.text);
  }
  fflush(stdout);
}

static bool is_wanted(const tune_class *class, int op) { return op == 0 || (class->op == HEED_TUNE_GEMM) == (op == 1); }

static size_t count_wanted(int op) {
  size_t count = 0;
  for (size_t i = 0; i < tune_class_count; ++i) count += is_wanted(&tune_classes[i], op);
  return count;
}

// Goes through the classes. If one needs less time, the others get it. outcomes: one for each class, zero if it was not tuned.
static int tune_classes_of(const tune_settings *s, tune_search_env *env, tune_outcome *outcomes) {
  const size_t wanted = count_wanted(s->op);
  char number[16], numbers[16];
  size_t done = 0;
  int failed = 0, discarded = 0;
  env->number = number;
  env->numbers = numbers;
  snprintf(numbers, sizeof numbers, "%zu", wanted);
  for (size_t i = 0; i < tune_class_count && !interrupted; ++i) {
    const double now = tool_seconds();
    if (!is_wanted(&tune_classes[i], s->op) || now >= env->end) continue;
    // The first classes matter most: each may take two shares.
    const double share = fmin(2 * (env->end - now) / (double)(wanted - done + 1), env->end - now);
    env->deadline = now + 0.7 * share;
    env->last = now + share;
    snprintf(number, sizeof number, "%zu", ++done);
    tune_outcome *outcome = &outcomes[i];
    const heed_status status = tune_search(env, &tune_classes[i], outcome);
    tool_progress_clear(env->progress);
    if (status == HEED_ERROR_OUT_OF_MEMORY)
      tool_fail_status(command, status);
    else if (status != HEED_OK)
      return tool_fail_status(command, status);
    else if (!s->json)
      print_outcome(&tune_classes[i], outcome);
    failed += outcome->broken;
    discarded += outcome->discarded;
  }
  if (done < wanted && !interrupted)
    tool_say(command, "the time is up after %zu of %zu classes; tune again, or raise --time-budget, to do more", done,
             wanted);
  if (discarded) tool_say(command, "discarded %d choices that computed wrong results", discarded);
  return failed ? TOOL_FAILED : TOOL_DONE;
}

// Another heed may have saved its choices meanwhile. Keep them for the classes in which this one found nothing.
static int save_with_others(heed_context *ctx, const tune_outcome *outcomes) {
  const char *path = heed_tune_path(ctx);
  if (*path && access(path, R_OK) == 0 && heed_tune_load(ctx, path) == HEED_OK)
    for (size_t i = 0; i < tune_class_count; ++i) {
      if (!outcomes[i].entered) continue;
      const heed_tune_problem problem = tune_problem(&tune_classes[i], tune_classes[i].first);
      TOOL_HEED(command, heed_tune_set(ctx, &problem, outcomes[i].after.text, outcomes[i].speedup));
    }
  return save(ctx);
}

static int tune(const tune_settings *s, heed_context *ctx, heed_context *host) {
  const struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
  struct sigaction before;
  tool_progress progress;
  interrupted = 0;
  sigaction(SIGINT, &action, &before);
  tool_progress_start(&progress, 0);
  if (!s->json) print_header(heed_context_device(ctx));
  tune_search_env env = {.command = command,
                         .ctx = ctx,
                         .host = host,
                         .progress = &progress,
                         .end = tool_seconds() + s->time_budget,
                         .interrupted = &interrupted};
  tune_outcome *outcomes = calloc(tune_class_count, sizeof *outcomes);
  if (!outcomes) return tool_fail_status(command, HEED_ERROR_OUT_OF_MEMORY);
  int status = tune_classes_of(s, &env, outcomes);
  sigaction(SIGINT, &before, NULL);
  if (interrupted) {
    free(outcomes);
    tool_say(command, "interrupted; the table is unchanged");
    return TOOL_INTERRUPTED;
  }
  const int saved = save_with_others(ctx, outcomes);
  free(outcomes);
  if (saved != TOOL_DONE) status = saved;
  if (s->json) TOOL_TRY(print_table(ctx));
  return status;
}

static int run(const tool_args *args, const tune_settings *s) {
  if (args->validate)
    return tool_usage(
        command,
        "--validate would time the CPU, too; leave it out, heed tune compares every choice with the CPU anyway");
  if (s->import && s->reset) return tool_usage(command, "--import and --reset exclude each other");
  heed_context *ctx, *host = NULL;
  // If HEED_VALIDATE were on, heed would time the calls on the host, too.
  const heed_open_options open = {.device = args->device, .validate = -1};
  TOOL_HEED(command, heed_open_with(&open, &ctx));
  if (*heed_context_notice(ctx)) tool_say(command, "warning: %s", heed_context_notice(ctx));
  int status;
  if (heed_context_device(ctx)->type == HEED_DEVICE_HOST)
    status = tool_fail(command, "the host has nothing to tune; name an OpenCL device (heed devices lists them)");
  else if (s->reset)
    status = reset(ctx);
  else if (s->import)
    status = import(ctx, s);
  else if (heed_open("host", &host) != HEED_OK)
    status = tool_fail_status(command, HEED_ERROR_OUT_OF_MEMORY);
  else
    status = tune(s, ctx, host);
  heed_context_destroy(host);
  heed_context_destroy(ctx);
  return tool_flush(command, status);
}

int cmd_tune(int argc, const char **argv) {
  tune_settings settings = {.time_budget = 60};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  if (status == TOOL_PROCEED) status = run(&args, &settings);
  tool_args_free(&args);
  return status;
}
