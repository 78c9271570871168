// Reading JSON with jansson when memory may run short.
#ifndef HEED__JSON_H
#define HEED__JSON_H

#include <jansson.h>
#include <stdbool.h>

// Returns the text's value, and refuses duplicate names. NULL: the text is bad, as *error says; or memory ran out, then *no_memory is set.
json_t *heed__json_load(const char *text, size_t bytes, json_error_t *error, bool *no_memory);

#endif
