// Reading JSON with jansson when memory may run short.
#ifndef HEED__JSON_H
#define HEED__JSON_H

#include <jansson.h>
#include <stdbool.h>

// The text's value, duplicate names refused; NULL: it is bad as *error says, or, *no_memory, memory ran out.
json_t *heed__json_load(const char *text, size_t bytes, json_error_t *error, bool *no_memory);

#endif
