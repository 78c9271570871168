// Reading JSON with jansson when memory may run short, and the files that it comes in.
#ifndef HEED__JSON_H
#define HEED__JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

// Returns the text's value, and refuses duplicate names. NULL: the text is bad, as *error says; or memory ran out, then *no_memory is set.
json_t *heed__json_load(const char *text, size_t bytes, json_error_t *error, bool *no_memory);

// Fails if something else than a regular file is there: what unpacks into a folder may be a pipe, which nobody writes to, or a device, which never ends.
heed_status heed__check_regular(const char *path);
// Reads a regular file of up to `most` bytes, with a zero byte behind them; the caller frees *text. are_not ends the message of one that is
// larger: "a configuration is not". Errors: IO, FORMAT, OUT_OF_MEMORY.
heed_status heed__whole_file(const char *path, size_t most, const char *are_not, char **text, size_t *bytes);

#endif
