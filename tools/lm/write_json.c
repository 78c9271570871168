// Text that a model wrote, in JSON.
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"
#include "lm/lm.h"

json_t *lm_json_of(const char *text, size_t bytes) {
  static const char replacement[] = "\xef\xbf\xbd";
  char *valid = malloc(3 * bytes + 1);
  if (!valid) return NULL;
  size_t used = 0;
  for (size_t i = 0; i < bytes;) {
    uint32_t code;
    const size_t length = lm_character(text + i, bytes - i, &code), copied = length ? length : 3;
    memcpy(valid + used, length ? text + i : replacement, copied);
    used += copied;
    i += length ? length : 1;
  }
  json_t *value = json_stringn(valid, used);
  free(valid);
  return value;
}

void lm_json_text(json_t *object, const lm_stream *stream) {
  if (!stream)
    tool_json_add(object, "text", json_null());
  else
    tool_json_add(object, "text", lm_json_of(stream->text ? stream->text : "", stream->bytes));
}
