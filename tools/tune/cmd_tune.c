// heed tune: measures which variant and which tiles are fastest for classes of products and attention on a device, and keeps them in a
// table that every later context reads. search.c has the search, and the library has the table.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tune/search.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/table.h"

static const char command[] = "heed tune";

typedef struct tune_settings {
  int op;
  double time_budget;
  const char *import;
  bool reset;
} tune_settings;

static const char *const operators[] = {"all", "gemm", "attention", NULL};
static const tool_option options[] = {
    TOOL_OPTION_CHOICE("op", tune_settings, op, operators, "OP", "all, gemm or attention (default all)"),
    TOOL_OPTION_REAL("time-budget", tune_settings, time_budget, 1, 86400, "seconds in 1..86400",
                     "search for about X seconds (default 60)"),
    TOOL_OPTION_TEXT("import", tune_settings, import, "FILE",
                     "install the table in FILE (-: standard input) without measuring"),
    TOOL_OPTION_FLAG("reset", tune_settings, reset, "delete the table, to return to heed's own choices"),
};
static const tool_syntax syntax = {
    .command = command,
    .title = "heed tune",
    .usage = "[options]",
    .options = options,
    .count = sizeof options / sizeof *options,
    .max_operands = 0,
    .about =
        "Tries other kernels and tile sizes than heed's own choice. heed compares each\n"
        "with the CPU before it times it, and never uses one that computes wrong results.\n"
        "It saves clearly faster choices in a table, which it reads from then on; tuning\n"
        "again starts from this table. HEED_TUNE=off ignores the table, HEED_TUNE=FILE\n"
        "uses another one.\n",
};

// ---------------------------------------------------------------- the table's file

static int check_target(heed_context *ctx) {
  const char *path = heed_tune_path(ctx);
  if (!*path) return tool_fail(command, "there is no folder for the table: set HOME, XDG_CONFIG_HOME or HEED_TUNE");
  const int status = tool_check_target(command, "the table", path, true, false);
  if (status != TOOL_DONE) tool_say(command, "nothing was measured; HEED_TUNE=FILE saves the table in another place");
  return status;
}

static int save(const tool_args *args, heed_context *ctx) {
  TOOL_HEED(command, heed_tune_save(ctx, NULL));
  tool_note(args, "saved in %s", heed_tune_path(ctx));
  return TOOL_DONE;
}

static int print_json(const tool_args *args, heed_context *ctx) {
  char *text;
  TOOL_HEED(command, heed_tune_json(ctx, &text));
  tool_progress_clear(args->progress);
  fputs(text, stdout);
  args->record->printed = true;
  free(text);
  return TOOL_DONE;
}

static int reset(const tool_args *args, heed_context *ctx) {
  const char *path = heed_tune_path(ctx);
  if (!*path) return tool_fail(command, "there is no folder for the table: set HOME, XDG_CONFIG_HOME or HEED_TUNE");
  if (unlink(path) == 0) {
    tool_note(args, "%s is deleted", path);
    return TOOL_DONE;
  }
  if (errno != ENOENT) return tool_fail(command, "%s: cannot delete: %s", path, strerror(errno));
  tool_note(args, "there is no %s to delete", path);
  return TOOL_DONE;
}

static int import(const tool_args *args, heed_context *ctx, const tune_settings *s) {
  char copied[TOOL_COPY_PATH] = "";
  TOOL_TRY(check_target(ctx));
  if (tool_is_dash(s->import)) TOOL_TRY(tool_copy_input(command, copied));
  const heed_status loaded = heed_tune_load(ctx, tool_is_dash(s->import) ? copied : s->import);
  if (tool_is_dash(s->import)) unlink(copied);
  if (loaded != HEED_OK) return tool_fail_copied(command, copied);
  TOOL_TRY(save(args, ctx));
  return args->json ? print_json(args, ctx) : TOOL_DONE;
}

// ---------------------------------------------------------------- tuning

enum { COLUMNS = 5 };
static const tool_column columns[COLUMNS] = {
    {.title = "class", .width = 40, .least = 20},
    {.title = "before ms", .width = 10, .before = 1, .right = true, .drop = 3},
    {.title = "after ms", .width = 10, .before = 1, .right = true, .drop = 2},
    {.title = "faster", .width = 7, .before = 1, .right = true},
    {.title = "choice", .width = 36, .least = 24, .before = 2, .drop = 1},
};

static void print_header(const tool_args *args, const heed_device_info *device, tool_table *table) {
  tool_table_start(table, columns, COLUMNS, args->columns);
  tool_progress_clear(args->progress);
  printf("%s (driver %s)\n", device->name, device->driver);
  tool_table_head(table);
  tool_push();
}

static void print_outcome(const tool_table *table, const tune_class *class, const tune_outcome *o) {
  char name[TUNE_NAME], before[32] = "-", after[32] = "-", gain[32] = "-", choice[HEED_TUNE_TEXT + 16];
  snprintf(choice, sizeof choice, "%s%s", o->after.text, !o->broken && o->before_ms == 0 ? ", not timed" : "");
  if (!o->broken && o->before_ms != 0) {
    snprintf(before, sizeof before, "%.3f", o->before_ms);
    snprintf(after, sizeof after, "%.3f", o->after_ms);
    if (o->ratio != 1) snprintf(gain, sizeof gain, "%.2fx", 1 / o->ratio);
  }
  tool_table_row(table, (const char *const[]){
                            tune_name(class, name), before, after, gain,
                            o->broken ? "heed's own choice computes wrong results here; run heed check" : choice});
  tool_push();
}

static bool is_wanted(const tune_class *class, int op) { return op == 0 || (class->op == HEED_TUNE_GEMM) == (op == 1); }

static size_t count_wanted(int op) {
  size_t count = 0;
  for (size_t i = 0; i < tune_class_count; ++i) count += is_wanted(&tune_classes[i], op);
  return count;
}

// Goes through the classes. If one needs less time, the others get it. outcomes: one for each class, zero if it was not tuned.
static int tune_classes_of(const tool_args *args, const tune_settings *s, tune_search_env *env,
                           tune_outcome *outcomes) {
  tool_table table;
  if (!args->json) print_header(args, heed_context_device(env->ctx), &table);
  const size_t wanted = count_wanted(s->op);
  size_t done = 0;
  int failed = 0, discarded = 0;
  for (size_t i = 0; i < tune_class_count && !*env->interrupted; ++i) {
    const double now = tool_seconds();
    if (!is_wanted(&tune_classes[i], s->op) || now >= env->end) continue;
    // The first classes matter most: each may take two shares.
    const double share = fmin(2 * (env->end - now) / (double)(wanted - done + 1), env->end - now);
    env->deadline = now + 0.7 * share;
    env->last = now + share;
    tool_progress_count(env->progress, "class", (int64_t)++done, (int64_t)wanted);
    tune_outcome *outcome = &outcomes[i];
    const heed_status status = tune_search(env, &tune_classes[i], outcome);
    tool_progress_clear(env->progress);
    if (status == HEED_ERROR_OUT_OF_MEMORY)
      tool_fail_status(command, status);
    else if (status != HEED_OK)
      return tool_fail_status(command, status);
    else if (!args->json)
      print_outcome(&table, &tune_classes[i], outcome);
    failed += outcome->broken;
    discarded += outcome->discarded;
  }
  if (done < wanted && !*env->interrupted)
    tool_note(args, "the time is up after %zu of %zu classes; tune again, or raise --time-budget, to do more", done,
              wanted);
  if (discarded) tool_note(args, "discarded %d choices that computed wrong results", discarded);
  return failed ? TOOL_FAILED : TOOL_DONE;
}

// Another heed may have saved its choices meanwhile. Keep them for the classes in which this one found nothing.
static int save_with_others(const tool_args *args, heed_context *ctx, const tune_outcome *outcomes) {
  const char *path = heed_tune_path(ctx);
  if (*path && access(path, R_OK) == 0 && heed_tune_load(ctx, path) == HEED_OK)
    for (size_t i = 0; i < tune_class_count; ++i) {
      if (!outcomes[i].entered) continue;
      const heed_tune_problem problem = tune_problem(&tune_classes[i], tune_classes[i].first);
      TOOL_HEED(command, heed_tune_set(ctx, &problem, outcomes[i].after.text, outcomes[i].speedup));
    }
  return save(args, ctx);
}

static int tune(const tool_args *args, const tune_settings *s, heed_context *ctx, heed_context *host) {
  TOOL_TRY(check_target(ctx));
  tune_outcome *outcomes = calloc(tune_class_count, sizeof *outcomes);
  if (!outcomes) return tool_fail_status(command, HEED_ERROR_OUT_OF_MEMORY);
  tune_search_env env = {.command = command,
                         .ctx = ctx,
                         .host = host,
                         .progress = args->progress,
                         .end = tool_seconds() + s->time_budget,
                         .interrupted = tool_interrupt_start()};
  int status = tune_classes_of(args, s, &env, outcomes);
  tool_interrupt_end();
  if (*env.interrupted) {
    free(outcomes);
    return tool_say(command, "interrupted; the table is unchanged"), TOOL_INTERRUPTED;
  }
  const int saved = save_with_others(args, ctx, outcomes);
  free(outcomes);
  if (saved != TOOL_DONE) status = saved;
  if (args->json) TOOL_TRY(print_json(args, ctx));
  return status;
}

// A table that HEED_TUNE names, and that is damaged or not for this device, is only replaced or deleted by those who ask for that.
static bool may_mend(const tune_settings *s) {
  const char *named = getenv("HEED_TUNE");
  return s->import || s->reset || (named && access(named, F_OK) != 0);
}

static int run(tool_args *args, const tune_settings *s) {
  args->mends_tuning = may_mend(s);
  if (args->validate)
    return tool_usage(
        command,
        "--validate would time the CPU, too; leave it out, heed tune compares every choice with the CPU anyway");
  if (s->import && s->reset) return tool_usage(command, "--import and --reset exclude each other");
  heed_context *ctx, *host = NULL;
  TOOL_TRY(tool_open(args, false, &ctx));
  int status;
  if (heed_context_device(ctx)->type == HEED_DEVICE_HOST)
    status = tool_fail(command, "the host has nothing to tune; name an OpenCL device (heed devices lists them)");
  else if (s->reset)
    status = reset(args, ctx);
  else if (s->import)
    status = import(args, ctx, s);
  else if (heed_open("host", &host) != HEED_OK)
    status = tool_fail_status(command, HEED_ERROR_OUT_OF_MEMORY);
  else
    status = tune(args, s, ctx, host);
  heed_context_destroy(host);
  heed_context_destroy(ctx);
  return status;
}

int cmd_tune(int argc, const char **argv) {
  tune_settings settings = {.time_budget = 60};
  tool_args args;
  int status = tool_parse(&syntax, &settings, argc, argv, &args);
  args.unvalidated = true;  // HEED_VALIDATE would time the host, too
  if (status == TOOL_PROCEED) status = run(&args, &settings);
  return tool_finish(&args, status);
}
