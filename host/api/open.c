// Opens contexts: turns options and environment into a context on the device that a spec names. drivers.c knows which backends there are.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/config.h"
#include "api/devices.h"
#include "api/open.h"
#include "api/self_test.h"
#include "api/spec.h"

// Tuned choices, if a driver has any: reads the device's file.
static heed_status open_tuning(const heed_open_options *options, heed_context *ctx) {
  const struct heed__driver_tuning *tuning = heed__driver_of(ctx)->tuning;
  if (!tuning) return HEED_OK;
  const char *given = heed__config_text(options->tuning, "HEED_TUNE");
  char folder[4096];
  const bool off = heed__config_is_off(given);
  const bool has_folder = heed__config_folder("XDG_CONFIG_HOME", ".config", "heed/tune", folder, sizeof folder);
  return tuning->open(ctx, has_folder ? folder : NULL, off || heed__config_is_on(given) ? NULL : given, off,
                      options->mends_tuning > 0);
}

static heed_status attach_validation(const heed_open_options *options, heed_context *ctx) {
  bool validate;
  HEED__TRY(heed__config_switch(options->validate, "HEED_VALIDATE", false, &validate));
  if (!validate || heed__driver_is_reference(ctx)) return HEED_OK;
  heed_context *host;
  HEED__TRY(heed__driver_create_reference(&host));
  heed__validate_attach(ctx, host);
  return HEED_OK;
}

// If a spec matches no device, the reason may be a platform that shows none.
static heed_status add_reasons(const heed_device_list *list, heed_status status) {
  for (size_t i = 0; i < list->platform_count; ++i) {
    const heed_platform_info *platform = &list->platforms[i];
    if (platform->devices == 0 && platform->reason[0])
      heed__fail(status, "%s\n  %s has no device: %s", heed_last_error(), platform->name, platform->reason);
  }
  return status;
}

static heed_status refuse(const heed_device_info *device) {
  return heed__fail(
      HEED_ERROR_MISMATCH,
      "open: %s (%s) failed heed's self-test: %s\n  'heed check --quick --device %d:%d' tells what else is wrong; "
      "HEED_SELF_TEST=off opens it all the same",
      device->name, device->platform, device->self_test_reason, device->platform_index, device->device_index);
}

// Names the devices that "auto" would have picked before the one at `index` if they had not failed.
static void note_passed_over(const heed_device_list *list, size_t index, char *notice, size_t size) {
  const heed_device_info *chosen = list->infos[index];
  for (size_t i = 0; i < list->count; ++i) {
    const heed_device_info *device = list->infos[i];
    if (device->self_test != HEED_SELF_TEST_FAILED || !heed__spec_comes_before(device, chosen)) continue;
    snprintf(notice, size, "%.60s failed heed's self-test, running on %.60s instead (heed devices tells why)",
             device->name, chosen->type == HEED_DEVICE_HOST ? "the host" : chosen->name);
  }
}

// Opens and tests the device that spec names; if one fails, "auto" tries the next.
static heed_status choose(const char *spec, enum heed__self_test_mode mode, const heed_open_options *options,
                          heed_device_list *list, size_t *index, char *notice, size_t size) {
  for (;;) {
    HEED__TRY(heed__spec_resolve(spec, list->infos, list->count, index, notice, size));
    HEED__TRY(heed__self_test(mode, options, &list->found[*index]));
    if (list->infos[*index]->self_test != HEED_SELF_TEST_FAILED) break;
    if (!heed__spec_is_auto(spec)) return refuse(list->infos[*index]);
  }
  if (heed__spec_is_auto(spec)) note_passed_over(list, *index, notice, size);
  return HEED_OK;
}

static heed_status open_found(heed_context *ctx, const struct heed__found *found, const heed_open_options *options) {
  HEED__TRY(found->driver->open(ctx, found->handle, options));
  ctx->device.is_auto = found->info.is_auto;
  ctx->device.self_test = found->info.self_test;
  memcpy(ctx->device.self_test_reason, found->info.self_test_reason, sizeof ctx->device.self_test_reason);
  return HEED_OK;
}

static heed_status open_device(const heed_open_options *options, heed_context *ctx) {
  const char *spec = heed__spec_or_default(options->device);
  HEED__REQUIRE(options->parts >= 0 && (options->parts == 0 || (options->part >= 0 && options->part < options->parts)),
                HEED_ERROR_INVALID_ARGUMENT, "open: there is no part %d of %d", options->part, options->parts);
  if (strcasecmp(spec, "host") == 0) return heed__driver_open_reference(ctx, options);  // never touches OpenCL
  for (const struct heed__driver *driver = heed__drivers; driver->name; ++driver)
    if (driver->check) HEED__TRY(driver->check(options));
  enum heed__self_test_mode mode;
  HEED__TRY(heed__self_test_mode(options->self_test, &mode));
  heed_device_list *list;
  HEED__TRY(heed__device_list_create(&list));
  size_t index = SIZE_MAX;
  char notice[sizeof ctx->notice] = "";
  heed_status status = choose(spec, mode, options, list, &index, notice, sizeof notice);
  heed__device_list_mark_auto(list);
  if (status == HEED_OK)
    status = open_found(ctx, &list->found[index], options);
  else if (index == SIZE_MAX)
    status = add_reasons(list, status);
  if (notice[0]) heed__notice_add(ctx, "%s", notice);
  heed_device_list_destroy(list);
  return status;
}

heed_status heed__open_finish(heed_status status, const heed_open_options *options, heed_context *ctx,
                              heed_context **out) {
  if (status == HEED_OK) status = open_tuning(options, ctx);
  if (status == HEED_OK) status = attach_validation(options, ctx);
  if (status != HEED_OK) {
    heed_context_destroy(ctx);
    return status;
  }
  *out = ctx;
  return HEED_OK;
}

heed_status heed_open_with(const heed_open_options *options, heed_context **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "open: out is NULL");
  *out = NULL;
  const heed_open_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  HEED__TRY(heed__context_create(&ctx));
  ctx->progress = options->progress;
  ctx->progress_user = options->progress_user;
  return heed__open_finish(open_device(options, ctx), options, ctx, out);
}

heed_status heed_open(const char *spec, heed_context **out) {
  return heed_open_with(&(heed_open_options){.device = spec}, out);
}

const char *heed_context_cache(const heed_context *ctx) {
  const struct heed__driver *driver = ctx ? heed__driver_of(ctx) : NULL;
  const char *folder = driver && driver->verdicts ? driver->verdicts->folder(ctx) : NULL;
  return folder ? folder : "";
}
