// Bytes that grow, and texts and JSON appended to them.
#include "text/parts/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/parts/unicode.h"

bool heed__buffer_add(struct heed__buffer *buffer, const void *data, size_t bytes) {
  if (buffer->failed) return false;
  if (bytes > buffer->room - buffer->size) {
    const size_t least = buffer->size + bytes, room = least < SIZE_MAX / 2 ? least + least / 2 + 64 : 0;
    char *grown = room > least && least >= bytes ? realloc(buffer->data, room) : NULL;
    if (!grown) {
      buffer->failed = true;
      return false;
    }
    buffer->data = grown;
    buffer->room = room;
  }
  if (bytes > 0) memcpy(buffer->data + buffer->size, data, bytes);
  buffer->size += bytes;
  return true;
}

bool heed__buffer_text(struct heed__buffer *buffer, const char *text) {
  return heed__buffer_add(buffer, text, strlen(text));
}

bool heed__buffer_print(struct heed__buffer *buffer, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= sizeof text) buffer->failed = true;
  return !buffer->failed && heed__buffer_add(buffer, text, (size_t)length);
}

bool heed__buffer_json(struct heed__buffer *buffer, const char *text, size_t bytes) {
  heed__buffer_text(buffer, "\"");
  for (size_t i = 0; i < bytes;) {
    int32_t c = 0;
    const size_t length = heed__utf8_read(text + i, bytes - i, &c);
    if (length == 0)
      heed__buffer_text(buffer, "\xEF\xBF\xBD");
    else if (c < 0x20 || c == 0x7F)
      heed__buffer_print(buffer, "\\u%04x", (unsigned)c);
    else if (c == '"' || c == '\\')
      heed__buffer_print(buffer, "\\%c", (char)c);
    else
      heed__buffer_add(buffer, text + i, length);
    i += length > 0 ? length : 1;
  }
  return heed__buffer_text(buffer, "\"");
}

void heed__buffer_free(struct heed__buffer *buffer) {
  free(buffer->data);
  *buffer = (struct heed__buffer){0};
}
