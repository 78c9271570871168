// The composition root: turns options and environment into a context with its backend. The only file that chooses one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <heed/opencl.h>

#include "api/config.h"
#include "api/devices.h"
#include "api/self_test.h"
#include "api/spec.h"
#include "cl/backend.h"
#include "cpu/cpu.h"

// Tuned choices, of a context on OpenCL: the device's file.
static heed_status open_tuning(const heed_open_options *options, heed_context *ctx) {
  const char *given = heed__config_text(options->tuning, "HEED_TUNE");
  char folder[4096];
  const bool off = heed__config_is_off(given);
  const bool has_folder = heed__config_folder("XDG_CONFIG_HOME", ".config", "heed/tune", folder, sizeof folder);
  return heed__cl_backend_tune(ctx, has_folder ? folder : NULL, off || heed__config_is_on(given) ? NULL : given, off);
}

static heed_status attach_validation(const heed_open_options *options, heed_context *ctx) {
  bool validate;
  HEED__TRY(heed__config_switch(options->validate, "HEED_VALIDATE", &validate));
  if (!validate || ctx->device.type == HEED_DEVICE_HOST) return HEED_OK;
  heed_context *host;
  HEED__TRY(heed__context_create(&host));
  heed_status status = heed__cpu_open(host);
  if (status != HEED_OK) {
    heed_context_destroy(host);
    return status;
  }
  heed__validate_attach(ctx, host);
  return HEED_OK;
}

// Platforms that show no device may be why a spec fits none.
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

// The devices that "auto" would have picked before the one at `index`, had they not failed.
static void note_passed_over(const heed_device_list *list, size_t index, char *notice, size_t size) {
  for (size_t i = 0; i < list->found_count; ++i) {
    const heed_device_info *device = &list->found[i].info;
    if (device->self_test != HEED_SELF_TEST_FAILED || !heed__spec_comes_before(device, list->devices[index])) continue;
    snprintf(notice, size, "%.60s failed heed's self-test, running on %.60s instead (heed devices tells why)",
             device->name, index == list->found_count ? "the host" : list->devices[index]->name);
  }
}

// The device that spec names, tested; "auto" goes on to the next where one fails.
static heed_status choose(const char *spec, enum heed__self_test_mode mode, unsigned uses,
                          const struct heed__cl_backend_config *config, heed_device_list *list, size_t *index,
                          char *notice, size_t size) {
  for (;;) {
    HEED__TRY(heed__spec_resolve(spec, (const heed_device_info *const *)list->devices, list->found_count + 1, index,
                                 notice, size));
    if (*index == list->found_count) break;
    HEED__TRY(heed__self_test(mode, uses, config, &list->found[*index]));
    if (list->found[*index].info.self_test != HEED_SELF_TEST_FAILED) break;
    if (!heed__spec_is_auto(spec)) return refuse(&list->found[*index].info);
  }
  if (heed__spec_is_auto(spec)) note_passed_over(list, *index, notice, size);
  return HEED_OK;
}

static heed_status open_chosen(heed_context *ctx, const heed_device_list *list, size_t index,
                               const struct heed__cl_backend_config *config) {
  if (index == list->found_count) return heed__cpu_open(ctx);
  const struct heed__cl_found *found = &list->found[index];
  HEED__TRY(heed__cl_backend_open(ctx, found->device, config));
  ctx->device.is_auto = found->info.is_auto;
  ctx->device.self_test = found->info.self_test;
  memcpy(ctx->device.self_test_reason, found->info.self_test_reason, sizeof ctx->device.self_test_reason);
  return HEED_OK;
}

static heed_status open_device(const heed_open_options *options, heed_context *ctx) {
  const char *spec = heed__spec_or_default(options->device);
  if (strcasecmp(spec, "host") == 0) return heed__cpu_open(ctx);  // never touches OpenCL
  struct heed__cl_backend_config config;
  char cache[4096];
  HEED__TRY(heed__config_opencl(options, &config, cache, sizeof cache));
  enum heed__self_test_mode mode;
  HEED__TRY(heed__self_test_mode(options->self_test, &mode));
  heed_device_list *list;
  HEED__TRY(heed__device_list_create(&list));
  size_t index = SIZE_MAX;
  char notice[sizeof ctx->notice] = "";
  heed_status status = choose(spec, mode, options->uses, &config, list, &index, notice, sizeof notice);
  heed__device_list_mark_auto(list);
  if (status == HEED_OK)
    status = open_chosen(ctx, list, index, &config);
  else if (index == SIZE_MAX)
    status = add_reasons(list, status);
  if (notice[0]) heed__notice_add(ctx, "%s", notice);
  if (status == HEED_OK && ctx->device.type != HEED_DEVICE_HOST) status = open_tuning(options, ctx);
  heed_device_list_destroy(list);
  return status;
}

heed_status heed_open_with(const heed_open_options *options, heed_context **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "open: out is NULL");
  *out = NULL;
  const heed_open_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  HEED__TRY(heed__context_create(&ctx));
  heed_status status = open_device(options, ctx);
  if (status == HEED_OK) status = attach_validation(options, ctx);
  if (status != HEED_OK) {
    heed_context_destroy(ctx);
    return status;
  }
  *out = ctx;
  return HEED_OK;
}

heed_status heed_open(const char *spec, heed_context **out) {
  return heed_open_with(&(heed_open_options){.device = spec}, out);
}

heed_status heed_open_opencl(cl_context context, cl_device_id device, cl_command_queue queue,
                             const heed_open_options *options, heed_context **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "open: out is NULL");
  *out = NULL;
  const heed_open_options defaults = {0};
  if (!options) options = &defaults;
  struct heed__cl_backend_config config;
  char cache[4096];
  HEED__TRY(heed__config_opencl(options, &config, cache, sizeof cache));
  heed_context *ctx;
  HEED__TRY(heed__context_create(&ctx));
  heed_status status = heed__cl_backend_open_with(ctx, context, device, queue, &config);
  if (status == HEED_OK) status = open_tuning(options, ctx);
  if (status == HEED_OK) status = attach_validation(options, ctx);
  if (status != HEED_OK) {
    heed_context_destroy(ctx);
    return status;
  }
  *out = ctx;
  return HEED_OK;
}
