// The user's choices: what the caller asked for, and what the environment says otherwise.
#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *heed__config_text(const char *given, const char *name) {
  if (given) return given;
  const char *value = getenv(name);
  return value && value[0] ? value : NULL;
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
#ifdef _WIN32  // has one place for what belongs to a user and a machine
  if (!(base && base[0])) base = heed__config_text(NULL, "LOCALAPPDATA");
  const bool given = base != NULL;
#else
  const bool given = base && base[0] == '/';
#endif
  if (given)
    used = snprintf(path, size, "%s/%s", base, name);
  else if (home)
    used = snprintf(path, size, "%s/%s/%s", home, otherwise, name);
  return used > 0 && (size_t)used < size;
}

const char *heed__config_cache(const char *given, char *path, size_t size) {
  const char *cache = heed__config_text(given, "HEED_CACHE");
  if (heed__config_is_off(cache)) return NULL;
  // People try HEED_CACHE=on after HEED_CACHE=off.
  if (cache && !heed__config_is_on(cache)) return cache;
  return heed__config_folder("XDG_CACHE_HOME", ".cache", "heed", path, size) ? path : NULL;
}
