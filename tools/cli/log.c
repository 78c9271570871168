#include "cli/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"

int tool_log_open(tool_log *log, const tool_args *args, const char *path, const char *mode) {
  *log = (tool_log){.args = args, .path = path, .on_stdout = args->json || tool_is_dash(path)};
  if (!path || tool_is_dash(path)) return TOOL_DONE;
  log->file = fopen(path, mode);
  return log->file ? TOOL_DONE : tool_fail(args->command, "--log %s: %s", path, strerror(errno));
}

json_t *tool_log_line(const tool_log *log, const char *event) {
  json_t *object = tool_json_start(log->args);
  tool_json_add(object, "event", json_string(event));
  return object;
}

static void write_to_file(tool_log *log, const json_t *object) {
  if (!log->file || log->failed) return;
  char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  errno = 0;
  if (!text || fprintf(log->file, "%s\n", text) < 0 || fflush(log->file) != 0) {
    tool_say(log->args->command, "--log %s: cannot write: %s; training continues without the log", log->path,
             strerror(errno ? errno : ENOMEM));
    log->failed = true;
  }
  free(text);
}

void tool_log_write(tool_log *log, json_t *object) {
  write_to_file(log, object);
  if (log->on_stdout)
    (void)tool_json_print(log->args, object, true);  // tool_flush() tells if stdout fails
  else
    json_decref(object);
}

void tool_log_close(tool_log *log) {
  if (log->file) fclose(log->file);
  log->file = NULL;
}
