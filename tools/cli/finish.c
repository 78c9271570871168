// The end of every subcommand.
#include "cli/json.h"

// A machine that reads stdout learns there what went wrong, if nothing else came.
static void print_failure(const tool_args *args) {
  json_t *object = tool_json_start(args);
  tool_json_add(object, "ok", json_false());
  tool_json_add(object, "error", tool_json_text(tool_last_failure()));
  (void)tool_json_print(args, object, false);
}

int tool_finish(tool_args *args, int status) {
  if (!args->store) return status;  // tool_describe() asked, and another command prints
  tool_progress_clear(args->progress);
  if (args->json && !args->record->printed && (status == TOOL_FAILED || status == TOOL_USAGE)) print_failure(args);
  tool_push();
  if (status != TOOL_USAGE)
    tool_detail(args, "compiled %zu kernel files; %.2f s in all", args->progress->compiled,
                tool_seconds() - args->record->started);
  status = tool_flush(args->command, status);
  tool_args_free(args);
  return status;
}
