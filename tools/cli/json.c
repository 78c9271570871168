#include "cli/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Marks an object or an array that lacks something.
static const char incomplete[] = "\x01";

static bool is_whole(json_t *value) {
  const char *name, *text = json_string_value(value);
  json_t *part;
  size_t i;
  if (!value || (text && strcmp(text, incomplete) == 0)) return false;
  json_object_foreach(value, name, part) if (strcmp(name, incomplete) == 0 || !is_whole(part)) return false;
  json_array_foreach(value, i, part) if (!is_whole(part)) return false;
  return true;
}

void tool_json_add(json_t *object, const char *name, json_t *value) {
  if (!object) {
    json_decref(value);
    return;
  }
  if (value && json_object_set_new(object, name, value) == 0) return;
  // Without memory even for the mark, an empty object is left, which has no "command".
  if (json_object_set_new(object, incomplete, json_true()) != 0) json_object_clear(object);
}

void tool_json_append(json_t *array, json_t *value) {
  if (!value || json_array_append_new(array, value) != 0) json_array_append_new(array, json_string(incomplete));
}

void tool_json_number(json_t *object, const char *name, double value) {
  tool_json_add(object, name, isfinite(value) ? json_real(value) : json_null());
}

json_t *tool_json_bytes(const char *text, size_t bytes) {
  static const char replacement[] = "\xef\xbf\xbd";
  char *valid = malloc(3 * bytes + 1);
  if (!valid) return NULL;
  size_t used = 0;
  for (size_t i = 0; i < bytes;) {
    uint32_t code;
    const size_t length = tool_character(text + i, bytes - i, &code), copied = length ? length : 3;
    memcpy(valid + used, length ? text + i : replacement, copied);
    used += copied;
    i += length ? length : 1;
  }
  json_t *value = json_stringn(valid, used);
  free(valid);
  return value;
}

json_t *tool_json_text(const char *text) { return tool_json_bytes(text, strlen(text)); }

json_t *tool_json_start(const tool_args *args) {
  json_t *object = json_object();
  tool_json_add(object, "command", json_string(args->command));
  tool_json_add(object, "version", json_string(heed_version()));
  return object;
}

void tool_json_device(json_t *object, const heed_device_info *device) {
  tool_json_add(object, "device", tool_json_text(device->name));
  char id[TOOL_ID_TEXT];
  tool_json_add(object, "id", tool_json_text(tool_id_text(device, id)));
  tool_json_add(object, "platform", tool_json_text(device->platform));
  tool_json_add(object, "driver", tool_json_text(device->driver));
}

int tool_json_print(const tool_args *args, json_t *object, bool one_line) {
  const size_t flags = one_line ? JSON_COMPACT : JSON_INDENT(2);
  char *text = json_object_size(object) > 0 && is_whole(object)
                   ? json_dumps(object, flags | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9))
                   : NULL;
  json_decref(object);
  if (!text) return tool_fail(args->command, "no memory for the JSON");
  tool_progress_clear(args->progress);
  puts(text);
  free(text);
  tool_push();
  args->record->printed = true;
  return TOOL_DONE;
}
