// The points of training runs: of one that goes on, and of logs. curves_draw.c draws them.
#include "draw/curves.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"
#include "draw/gnuplot.h"

static const char option[] = "--plot";
static const double share = 0.02;  // of the time, that refreshing the picture may take

struct tool_curves {
  const char *command;
  char *path, *title;
  tool_run run;
  double drawn, took;  // when the last picture was complete, and for how long it was drawn; in seconds
  bool failed;
};

// ---------------------------------------------------------------- points

int tool_run_add(const char *command, tool_run *run, tool_curve which, int64_t step, double value) {
  tool_points *points = &run->points[which];
  while (points->count > 0 && points->at[points->count - 1].step >= step) points->count--;
  if (!isfinite(value)) return TOOL_DONE;
  if (points->count == points->room) {
    const size_t room = points->room ? points->room * 2 : 256;
    tool_point *grown = realloc(points->at, room * sizeof *grown);
    if (!grown) return tool_fail(command, "%s: out of memory", option);
    points->at = grown;
    points->room = room;
  }
  points->at[points->count++] = (tool_point){.step = step, .value = value};
  return TOOL_DONE;
}

void tool_run_release(tool_run *run) {
  for (int i = 0; i < TOOL_CURVES; i++) free(run->points[i].at);
  *run = (tool_run){0};
}

// ---------------------------------------------------------------- logs

// A field that is missing or null leaves its curve as it is.
static int add_field(const char *command, tool_run *run, const json_t *event, const char *field, tool_curve which) {
  const json_t *step = json_object_get(event, "step"), *value = json_object_get(event, field);
  if (!json_is_integer(step) || !json_is_number(value)) return TOOL_DONE;
  return tool_run_add(command, run, which, json_integer_value(step), json_number_value(value));
}

// A run in the same file that began, or went on, here: what an earlier one did beyond does not count.
static void start_at(tool_run *run, const json_t *step) {
  if (!json_is_integer(step)) return;
  const json_int_t done = json_integer_value(step);
  for (int i = 0; i < TOOL_CURVES; i++) {
    tool_points *points = &run->points[i];
    while (points->count > 0 && (done <= 0 || points->at[points->count - 1].step > done)) points->count--;
  }
}

static int add_event(const char *command, tool_run *run, const json_t *event) {
  const char *name = json_string_value(json_object_get(event, "event"));
  if (!name) return TOOL_DONE;
  if (strcmp(name, "start") == 0) start_at(run, json_object_get(event, "step"));
  if (strcmp(name, "step") == 0) {
    TOOL_TRY(add_field(command, run, event, "loss", TOOL_CURVE_LOSS));
    return add_field(command, run, event, "lr", TOOL_CURVE_RATE);
  }
  if (strcmp(name, "eval") == 0) return add_field(command, run, event, "loss", TOOL_CURVE_VALIDATION);
  if (strcmp(name, "epoch") == 0) return add_field(command, run, event, "test_loss", TOOL_CURVE_VALIDATION);
  return TOOL_DONE;
}

static int read_lines(const char *command, const char *log, FILE *file, tool_run *run) {
  char *text = NULL;
  size_t room = 0;
  int status = TOOL_DONE;
  errno = 0;
  while (status == TOOL_DONE && getline(&text, &room, file) >= 0) {
    json_error_t error;
    json_t *event = json_loads(text, 0, &error);
    if (event)
      status = add_event(command, run, event);
    else if (json_error_code(&error) == json_error_out_of_memory)
      status = tool_fail(command, "%s: out of memory", log);
    json_decref(event);
    errno = 0;
  }
  if (status == TOOL_DONE && !feof(file))
    status = tool_fail(command, "%s: cannot read: %s", log, strerror(errno ? errno : EIO));
  free(text);
  return status;
}

int tool_run_read(const char *command, const char *log, tool_run *run) {
  FILE *file = tool_is_dash(log) ? stdin : fopen(log, "re");
  if (!file) return tool_fail(command, "%s: cannot read: %s", log, strerror(errno));
  const int status = read_lines(command, tool_input_name(log), file, run);
  if (file != stdin) fclose(file);
  return status;
}

// ---------------------------------------------------------------- a run that goes on

int tool_curves_open(const char *command, const char *path, const char *title, tool_curves **out) {
  *out = NULL;
  if (!path) return TOOL_DONE;
  if (gnuplot_is_stdout(path))
    return tool_usage(command, "%s %s: it is drawn again while training goes on; name a file", option, path);
  const double started = tool_seconds();
  TOOL_TRY(gnuplot_check(command, option, path));
  tool_curves *curves = calloc(1, sizeof *curves);
  if (!curves) return tool_fail(command, "%s: out of memory", option);
  *curves = (tool_curves){.command = command, .path = strdup(path), .title = strdup(title)};
  curves->drawn = tool_seconds();
  curves->took = curves->drawn - started;
  if (!curves->path || !curves->title) {
    tool_curves_close(curves);
    return tool_fail(command, "%s: out of memory", option);
  }
  *out = curves;
  return TOOL_DONE;
}

int tool_curves_add(tool_curves *curves, tool_curve which, int64_t step, double value) {
  return curves ? tool_run_add(curves->command, &curves->run, which, step, value) : TOOL_DONE;
}

int tool_curves_read_log(tool_curves *curves, const char *log) {
  if (!curves) return TOOL_DONE;
  FILE *file = fopen(log, "re");
  if (!file && errno == ENOENT) return TOOL_DONE;
  if (file) fclose(file);
  return tool_run_read(curves->command, log, &curves->run);
}

int tool_curves_draw(tool_curves *curves) {
  if (!curves) return TOOL_DONE;
  if (curves->failed) return TOOL_FAILED;
  const double started = tool_seconds();
  const int status = tool_runs_draw(curves->command, option, curves->path, curves->title, &curves->run, 1);
  curves->drawn = tool_seconds();
  curves->took = curves->drawn - started;
  curves->failed = status != TOOL_DONE;
  return curves->failed ? TOOL_FAILED : TOOL_DONE;
}

int tool_curves_refresh(tool_curves *curves) {
  if (!curves) return TOOL_DONE;
  if (curves->failed) return TOOL_FAILED;
  return tool_seconds() - curves->drawn < curves->took / share ? TOOL_DONE : tool_curves_draw(curves);
}

void tool_curves_close(tool_curves *curves) {
  if (!curves) return;
  tool_run_release(&curves->run);
  free(curves->path);
  free(curves->title);
  free(curves);
}
