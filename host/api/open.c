// The composition root: turns options and environment into a context with its backend. The only file that chooses one.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <heed/opencl.h>

#include "api/devices.h"
#include "api/self_test.h"
#include "api/spec.h"
#include "cl/tuning.h"
#include "cpu/cpu.h"

static const char *environment(const char *given, const char *name) {
  if (given) return given;
  const char *value = getenv(name);
  return value && value[0] ? value : NULL;
}

static heed_status parse_gemm(const char *text, enum heed__cl_gemm_provider *out) {
  *out = HEED__GEMM_AUTO;
  if (!text || strcasecmp(text, "auto") == 0) return HEED_OK;
  *out = strcasecmp(text, "native") == 0 ? HEED__GEMM_NATIVE : HEED__GEMM_CLBLAST;
  HEED__REQUIRE(*out == HEED__GEMM_NATIVE || strcasecmp(text, "clblast") == 0, HEED_ERROR_INVALID_ARGUMENT,
                "open: gemm provider '%s' (HEED_GEMM) is none of auto, native, clblast", text);
  return HEED_OK;
}

static heed_status parse_switch(int given, const char *name, bool *out) {
  *out = given > 0;
  if (given != 0) return HEED_OK;
  const char *text = environment(NULL, name);
  if (!text || strcmp(text, "0") == 0 || strcasecmp(text, "off") == 0) return HEED_OK;
  *out = true;
  HEED__REQUIRE(strcmp(text, "1") == 0 || strcasecmp(text, "on") == 0, HEED_ERROR_INVALID_ARGUMENT,
                "open: %s is '%s'; 1 or 0 is needed", name, text);
  return HEED_OK;
}

static bool is_off(const char *text) { return text && (strcasecmp(text, "off") == 0 || strcmp(text, "0") == 0); }
static bool is_on(const char *text) { return text && (strcasecmp(text, "on") == 0 || strcmp(text, "1") == 0); }

// The folder `name` in that of an XDG variable, else in `otherwise` at home; false when there is no home to put it in.
static bool default_folder(const char *variable, const char *otherwise, const char *name, char *path, size_t size) {
  const char *base = environment(NULL, variable), *home = environment(NULL, "HOME");
  int used = -1;
  if (base && base[0] == '/')
    used = snprintf(path, size, "%s/%s", base, name);
  else if (home)
    used = snprintf(path, size, "%s/%s/%s", home, otherwise, name);
  return used > 0 && (size_t)used < size;
}

heed_status heed__cl_config_from(const heed_open_options *options, struct heed__cl_config *config, char *path,
                                 size_t size) {
  *config = (struct heed__cl_config){.profiling = options->profile > 0,
                                     .load_only = options->store_programs < 0,
                                     .kernel_dir = environment(options->kernel_dir, "HEED_KERNELS")};
  HEED__TRY(parse_gemm(environment(options->gemm, "HEED_GEMM"), &config->gemm));
  const char *cache = environment(options->cache_dir, "HEED_CACHE");
  if (is_off(cache)) return HEED_OK;
  // HEED_CACHE=on is what people try after HEED_CACHE=off.
  if (cache && !is_on(cache))
    config->cache_dir = cache;
  else if (default_folder("XDG_CACHE_HOME", ".cache", "heed", path, size))
    config->cache_dir = path;
  return HEED_OK;
}

// Tuned choices, of a context on OpenCL: the device's file.
static heed_status open_tuning(const heed_open_options *options, heed_context *ctx) {
  const char *given = environment(options->tuning, "HEED_TUNE");
  char folder[4096];
  const bool off = is_off(given);
  const bool has_folder = default_folder("XDG_CONFIG_HOME", ".config", "heed/tune", folder, sizeof folder);
  return heed__cl_tuning_open(ctx, has_folder ? folder : NULL, off || is_on(given) ? NULL : given, off);
}

static heed_status attach_validation(const heed_open_options *options, heed_context *ctx) {
  bool validate;
  HEED__TRY(parse_switch(options->validate, "HEED_VALIDATE", &validate));
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
                          const struct heed__cl_config *config, heed_device_list *list, size_t *index, char *notice,
                          size_t size) {
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
                               const struct heed__cl_config *config) {
  if (index == list->found_count) return heed__cpu_open(ctx);
  const struct heed__cl_found *found = &list->found[index];
  HEED__TRY(heed__cl_open(ctx, found->device, config));
  ctx->device.is_auto = found->info.is_auto;
  ctx->device.self_test = found->info.self_test;
  memcpy(ctx->device.self_test_reason, found->info.self_test_reason, sizeof ctx->device.self_test_reason);
  return HEED_OK;
}

static heed_status open_device(const heed_open_options *options, heed_context *ctx) {
  const char *spec = heed__spec_or_default(options->device);
  if (strcasecmp(spec, "host") == 0) return heed__cpu_open(ctx);  // never touches OpenCL
  struct heed__cl_config config;
  char cache[4096];
  HEED__TRY(heed__cl_config_from(options, &config, cache, sizeof cache));
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
  struct heed__cl_config config;
  char cache[4096];
  HEED__TRY(heed__cl_config_from(options, &config, cache, sizeof cache));
  heed_context *ctx;
  HEED__TRY(heed__context_create(&ctx));
  heed_status status = heed__cl_open_with(ctx, context, device, queue, &config);
  if (status == HEED_OK) status = open_tuning(options, ctx);
  if (status == HEED_OK) status = attach_validation(options, ctx);
  if (status != HEED_OK) {
    heed_context_destroy(ctx);
    return status;
  }
  *out = ctx;
  return HEED_OK;
}
