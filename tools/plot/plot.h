// What `heed plot` draws of files that other subcommands wrote.
#ifndef HEED_PLOT_H
#define HEED_PLOT_H

#include "cli/tool.h"

enum { PLOT_MOST_FILES = 12 };

// The files to draw and what the legend calls them.
typedef struct plot_call {
  const tool_args *args;
  const char *command;
  const char *const *files;
  const char *const *labels;  // as many
  size_t count;
  const char *output;  // has been checked
} plot_call;

typedef struct plot_kind {
  const char *name, *summary, *about;
  size_t least, most;  // files
  int (*draw)(const plot_call *call);
} plot_kind;

extern const plot_kind plot_runs, plot_bench;

#endif
