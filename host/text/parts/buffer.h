// Bytes that grow. Knows nothing of tokenizers.
#ifndef HEED__TEXT_BUFFER_H
#define HEED__TEXT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

// All zero is an empty one. Once memory runs out it stays as it is and takes no more.
struct heed__buffer {
  char *data;
  size_t size, room;
  bool failed;
};

// Appends; returns false if memory has run out.
bool heed__buffer_add(struct heed__buffer *buffer, const void *data, size_t bytes);
bool heed__buffer_text(struct heed__buffer *buffer, const char *text);
__attribute__((format(printf, 2, 3))) bool heed__buffer_print(struct heed__buffer *buffer, const char *format, ...);
// Appends a text as JSON, in quotes. What is no UTF-8 becomes U+FFFD.
bool heed__buffer_json(struct heed__buffer *buffer, const char *text, size_t bytes);
void heed__buffer_free(struct heed__buffer *buffer);

#endif
