// The log of a training run: one JSON object a line, in a file and, with --json or a file named "-", on standard output.
#ifndef HEED_TOOL_LOG_H
#define HEED_TOOL_LOG_H

#include "cli/json.h"

typedef struct tool_log {
  const tool_args *args;
  const char *path;  // --log, for messages; NULL: not given
  FILE *file;        // NULL: none
  bool on_stdout;
  bool failed;  // a line could not be written to the file, which was said
} tool_log;

// mode: as of fopen(). Returns TOOL_DONE, or says what is wrong.
int tool_log_open(tool_log *log, const tool_args *args, const char *path, const char *mode);
// An object with what the lines of all events have.
json_t *tool_log_line(const tool_log *log, const char *event);
// Writes a line and flushes it. It says once that the file cannot be written, and training goes on without it. Takes the reference.
void tool_log_write(tool_log *log, json_t *object);
void tool_log_close(tool_log *log);

#endif
