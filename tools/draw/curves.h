// The curves of training runs as a picture, by gnuplot: loss, validation loss and learning rate over the steps. curves.c keeps the points
// and reads them from logs; curves_draw.c draws.
#ifndef HEED_TOOL_CURVES_H
#define HEED_TOOL_CURVES_H

#include "cli/tool.h"

// The loss of a step, the validation loss, the learning rate.
typedef enum tool_curve { TOOL_CURVE_LOSS, TOOL_CURVE_VALIDATION, TOOL_CURVE_RATE } tool_curve;

// ---------------------------------------------------------------- one run that is being trained

// NULL is a run that nobody wants to see: every call on it does nothing.
typedef struct tool_curves tool_curves;
// Checks that a picture can be written to `path` (its ending, its folder, gnuplot), so that no training is lost. Returns TOOL_DONE, or says
// what is wrong and returns the exit status. path NULL: *out is NULL.
int tool_curves_open(const char *command, const char *path, const char *title, tool_curves **out);
// Adds a point. Steps ascend; one that does not goes back, as a resumed run does, and the points from there on are forgotten. A value that
// is not finite is left out. Returns TOOL_DONE, or TOOL_FAILED without memory, after a message.
int tool_curves_add(tool_curves *curves, tool_curve which, int64_t step, double value);
// Adds the points of an earlier run's log, which its new lines will follow. A log that does not exist yet has none; a line that is torn or
// has no point is skipped. Returns TOOL_DONE, or says what is wrong.
int tool_curves_read_log(tool_curves *curves, const char *log);
// Draws the picture anew; it is replaced whole or not at all, and stays as it is while there is no point. Returns TOOL_DONE. After a failure
// it says what is wrong, once, and returns TOOL_FAILED, as all later calls do, which draw nothing.
int tool_curves_draw(tool_curves *curves);
// The same at a report of the training, but only if drawing takes less than a fiftieth of the time: the picture may miss the last points.
int tool_curves_refresh(tool_curves *curves);
void tool_curves_close(tool_curves *curves);

// ---------------------------------------------------------------- runs

typedef struct tool_point {
  int64_t step;
  double value;
} tool_point;

typedef struct tool_points {
  tool_point *at;
  size_t count, room;
} tool_points;

enum { TOOL_CURVES = 3, TOOL_MOST_RUNS = 12 };
typedef struct tool_run {
  const char *label;                // what the legend calls it; borrowed
  tool_points points[TOOL_CURVES];  // by tool_curve
} tool_run;

// As tool_curves_add(), without a picture.
int tool_run_add(const char *command, tool_run *run, tool_curve which, int64_t step, double value);
// Reads the log of `heed train` or `heed lm train`. A file that is missing is an error. Points of earlier runs in the same file are
// forgotten where the last one began again.
int tool_run_read(const char *command, const char *log, tool_run *run);
void tool_run_release(tool_run *run);
// Draws up to TOOL_MOST_RUNS runs in one picture; `option` is the path's name in messages, "--plot". One run has the points of its loss
// below its smoothed line; several have the smoothed lines alone.
int tool_runs_draw(const char *command, const char *option, const char *path, const char *title, const tool_run *runs,
                   size_t count);

#endif
