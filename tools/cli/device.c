// Opens the device that a subcommand works on.
#include "cli/tool.h"

int tool_open(const tool_args *args, bool profile, heed_context **out) {
  const heed_open_options options = {.device = args->device,
                                     .validate = args->validate,
                                     .profile = profile,
                                     .store_programs = args->passing ? -1 : 0,
                                     .self_test = args->diagnoses ? -1 : 0,
                                     .uses = args->uses};
  TOOL_HEED(args->command, heed_open_with(&options, out));
  const char *notice = heed_context_notice(*out);
  if (*notice) tool_say(args->command, "warning: %s", notice);
  return TOOL_DONE;
}
