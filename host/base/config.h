// The user's choices: a caller's options first, then the environment, then defaults. Knows no device.
#ifndef HEED__CONFIG_H
#define HEED__CONFIG_H

#include "base/status.h"

// Returns `given`, else the environment variable `name` if it is not empty, else NULL.
const char *heed__config_text(const char *given, const char *name);
bool heed__config_is_off(const char *text);  // "off" or "0"
bool heed__config_is_on(const char *text);   // "on" or "1"
// given: 1 is on, -1 is off; for 0 the environment variable `name` decides, or `otherwise` if it is not set.
// Errors: INVALID_ARGUMENT for a text that is neither on nor off.
heed_status heed__config_switch(int given, const char *name, bool otherwise, bool *out);
// Writes the folder `name` below that of an XDG variable, else below `otherwise` in the user's home; false: there is no home.
bool heed__config_folder(const char *variable, const char *otherwise, const char *name, char *path, size_t size);
// The folder of heed's cache: `given`, else HEED_CACHE, else $XDG_CACHE_HOME/heed, which is written to `path`; NULL: "off", or no home.
const char *heed__config_cache(const char *given, char *path, size_t size);

#endif
