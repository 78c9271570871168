// heed plot runs: training runs in one picture, by their logs.
#include "plot/plot.h"
#include "draw/curves.h"
#include "cli/files.h"

static int read_all(const plot_call *call, tool_run *runs) {
  for (size_t i = 0; i < call->count; i++) {
    runs[i].label = call->labels[i];
    TOOL_TRY(tool_run_read(call->command, call->files[i], &runs[i]));
    if (runs[i].points[TOOL_CURVE_LOSS].count + runs[i].points[TOOL_CURVE_VALIDATION].count == 0)
      return tool_fail(call->command,
                       "%s holds no loss; it must be a log that heed train or heed lm train wrote with --log",
                       tool_input_name(call->files[i]));
  }
  return TOOL_DONE;
}

static int draw(const plot_call *call) {
  tool_run runs[PLOT_MOST_FILES] = {0};
  int status = read_all(call, runs);
  if (status == TOOL_DONE)
    status = tool_runs_draw(call->command, "-o", call->output, call->count == 1 ? call->labels[0] : "training runs",
                            runs, call->count);
  for (size_t i = 0; i < call->count; i++) tool_run_release(&runs[i]);
  return status;
}

const plot_kind plot_runs = {
    .name = "runs",
    .summary = "losses and learning rates of training runs, by their logs",
    .about =
        "Draws loss, validation loss and learning rate over the steps. Each FILE is a log\n"
        "of heed train or heed lm train; -: standard input. Losses of many steps are\n"
        "smoothed.\n",
    .least = 1,
    .most = TOOL_MOST_RUNS,
    .draw = draw,
};
