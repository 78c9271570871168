// Opens the device that a subcommand works on.
#include "cli/tool.h"

static void describe(const tool_args *args, const heed_context *ctx, double seconds) {
  const heed_device_info *device = heed_context_device(ctx);
  const char *cache = heed_context_cache(ctx);
  tool_detail(args, "heed %s on %s (%s, driver %s, id:%s), opened in %.2f s", heed_version(), device->name,
              device->platform, device->driver, device->id, seconds);
  if (device->type != HEED_DEVICE_HOST)
    tool_detail(args, "compiled kernels are kept in %s", *cache ? cache : "memory only");
}

int tool_open(const tool_args *args, bool profile, heed_context **out) {
  const heed_open_options options = {.device = args->device,
                                     .parts = args->parts,
                                     .part = args->part,
                                     .validate = args->unvalidated ? -1 : args->validate,
                                     .profile = profile,
                                     .store_programs = args->passing ? -1 : 0,
                                     .self_test = args->diagnoses ? -1 : 0,
                                     .uses = args->uses,
                                     .mends_tuning = args->mends_tuning,
                                     .progress = tool_progress_told,
                                     .progress_user = args->progress};
  const double started = tool_seconds();
  tool_progress_show(args->progress, "opening the device");
  const heed_status opened = heed_open_with(&options, out);
  tool_progress_count(args->progress, NULL, 0, 0);  // the self-test's parts are over
  TOOL_HEED(args->command, opened);
  const char *notice = heed_context_notice(*out);
  if (*notice) tool_note(args, "warning: %s", notice);
  describe(args, *out, tool_seconds() - started);
  return TOOL_DONE;
}
