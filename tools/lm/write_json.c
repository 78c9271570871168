// Text that a model wrote, in JSON.
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"
#include "lm/lm.h"

// How long the character of UTF-8 at `text` is; 0: it is none. Shortest forms alone, no surrogates, nothing over U+10FFFF.
static size_t character(const unsigned char *text, size_t bytes) {
  const unsigned char first = text[0];
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length > bytes) return 0;
  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xc0) != 0x80) return 0;
  if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f)) return 0;
  if ((first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f)) return 0;
  return length;
}

static json_t *json_of(const char *text, size_t bytes) {
  static const char replacement[] = "\xef\xbf\xbd";
  char *valid = malloc(3 * bytes + 1);
  if (!valid) return NULL;
  size_t used = 0;
  for (size_t i = 0; i < bytes;) {
    const size_t length = character((const unsigned char *)text + i, bytes - i), copied = length ? length : 3;
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
    tool_json_add(object, "text", json_of(stream->text ? stream->text : "", stream->bytes));
}
