// The choices of an open: what the caller asked for, and what the environment says otherwise.
#include "api/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *heed__config_text(const char *given, const char *name) {
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

bool heed__config_is_off(const char *text) { return text && (strcasecmp(text, "off") == 0 || strcmp(text, "0") == 0); }
bool heed__config_is_on(const char *text) { return text && (strcasecmp(text, "on") == 0 || strcmp(text, "1") == 0); }

heed_status heed__config_switch(int given, const char *name, bool otherwise, bool *out) {
  const char *text = heed__config_text(NULL, name);
  *out = given != 0 ? given > 0 : text ? heed__config_is_on(text) : otherwise;
  HEED__REQUIRE(given != 0 || !text || heed__config_is_on(text) || heed__config_is_off(text),
                HEED_ERROR_INVALID_ARGUMENT, "open: %s is '%s'; 1 or 0 is needed", name, text);
  return HEED_OK;
}

bool heed__config_folder(const char *variable, const char *otherwise, const char *name, char *path, size_t size) {
  const char *base = heed__config_text(NULL, variable), *home = heed__config_text(NULL, "HOME");
  int used = -1;
  if (base && base[0] == '/')
    used = snprintf(path, size, "%s/%s", base, name);
  else if (home)
    used = snprintf(path, size, "%s/%s/%s", home, otherwise, name);
  return used > 0 && (size_t)used < size;
}

heed_status heed__config_opencl(const heed_open_options *options, struct heed__cl_backend_config *config, char *path,
                                size_t size) {
  *config = (struct heed__cl_backend_config){
      .runtime = {.profiling = options->profile > 0,
                  .load_only = options->store_programs < 0,
                  .kernel_dir = heed__config_text(options->kernel_dir, "HEED_KERNELS")}};
  HEED__TRY(parse_gemm(heed__config_text(options->gemm, "HEED_GEMM"), &config->gemm.provider));
  bool probe;
  HEED__TRY(heed__config_switch(options->gemm_probe, "HEED_GEMM_PROBE", true, &probe));
  config->gemm.probe_off = !probe;
  HEED__TRY(heed__config_switch(options->tf32, "HEED_TF32", false, &config->runtime.tf32));
  const char *cache = heed__config_text(options->cache_dir, "HEED_CACHE");
  if (heed__config_is_off(cache)) return HEED_OK;
  // People try HEED_CACHE=on after HEED_CACHE=off.
  if (cache && !heed__config_is_on(cache))
    config->runtime.cache_dir = cache;
  else if (heed__config_folder("XDG_CACHE_HOME", ".cache", "heed", path, size))
    config->runtime.cache_dir = path;
  return HEED_OK;
}
