// What the subcommands print with --json: the names of fields mean the same in all of them; heed(1) lists them.
#ifndef HEED_TOOL_JSON_H
#define HEED_TOOL_JSON_H

#include <jansson.h>

#include "cli/tool.h"

// Makes an object with "command" and "version". NULL: memory ran out; all functions here accept that.
json_t *tool_json_start(const tool_args *args);
// Adds "device", "id", "platform" and "driver".
void tool_json_device(json_t *object, const heed_device_info *device);
// Adds a number, or null if it is not finite, because JSON has no NaN and no infinity.
void tool_json_number(json_t *object, const char *name, double value);
// Adds a value. Takes the reference, which may be NULL (memory ran out, or a text was no UTF-8): then the whole object will not be printed.
void tool_json_add(json_t *object, const char *name, json_t *value);
// The same for an array.
void tool_json_append(json_t *array, json_t *value);
// Prints the object on stdout: on one line, which is how several objects follow each other, or with line breaks. Takes the reference.
int tool_json_print(const tool_args *args, json_t *object, bool one_line);

#endif
