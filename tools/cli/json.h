// What the subcommands print with --json: the names of fields mean the same in all of them; heed(1) lists them.
#ifndef HEED_TOOL_JSON_H
#define HEED_TOOL_JSON_H

#include <jansson.h>

#include "cli/tool.h"

// A text in JSON, which is UTF-8: a byte that belongs to no character, as names of files may have them, becomes U+FFFD. NULL: memory ran out.
json_t *tool_json_bytes(const char *text, size_t bytes);
json_t *tool_json_text(const char *text);
// Makes an object with "command" and "version". NULL: memory ran out; all functions here accept that.
json_t *tool_json_start(const tool_args *args);
// Adds "device", "id", "platform" and "driver".
void tool_json_device(json_t *object, const heed_device_info *device);
// Adds a number, or null if it is not finite, because JSON has no NaN and no infinity.
void tool_json_number(json_t *object, const char *name, double value);
// Adds a value. Takes the reference, which may be NULL (memory ran out): then the whole object will not be printed.
void tool_json_add(json_t *object, const char *name, json_t *value);
// The same for an array.
void tool_json_append(json_t *array, json_t *value);
// Prints the object on stdout: on one line, which is how several objects follow each other, or with line breaks. Takes the reference.
int tool_json_print(const tool_args *args, json_t *object, bool one_line);

#endif
