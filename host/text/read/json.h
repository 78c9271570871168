// What the readers of tokenizer files share: keys with their types, and messages that name file and key.
#ifndef HEED__TEXT_JSON_H
#define HEED__TEXT_JSON_H

#include <jansson.h>

#include "base/status.h"
#include "text/parts/buffer.h"

// An object of a file, and its name in messages: "model".
struct heed__object {
  const char *path, *name;
  const json_t *json;
  const char *zero;  // the name that stands for the character 0, see heed__json_parse(); or NULL
};

// Reads a whole file of at most 64 MiB, and a 0 after it. Errors: IO; FORMAT (it is larger); OUT_OF_MEMORY.
heed_status heed__file_read(const char *path, struct heed__buffer *out);
// jansson takes no name "\u0000". Where there is one, another that the text has not takes its place, and *zero says which: free it.
// Errors: FORMAT; OUT_OF_MEMORY.
heed_status heed__json_parse(const char *path, const char *text, size_t bytes, json_t **out, char **zero);

// A key that is missing and one that is null are the same: NULL.
const json_t *heed__key(const struct heed__object *object, const char *key);
heed_status heed__key_flag(const struct heed__object *object, const char *key, bool missing, bool *out);
// *out is NULL where the key is missing.
heed_status heed__key_text(const struct heed__object *object, const char *key, const char **out);
heed_status heed__key_list(const struct heed__object *object, const char *key, const json_t **out);
heed_status heed__key_object(const struct heed__object *object, const char *key, const json_t **out);
// Fails with UNSUPPORTED for a key that is not among `known` (up to NULL) and asks for something: neither null, false nor empty.
heed_status heed__only_keys(const struct heed__object *object, const char *const *known);
heed_status heed__is_object(const struct heed__object *object);
// UNSUPPORTED: "path: format; heed has not got this".
__attribute__((format(printf, 2, 3))) heed_status heed__has_not(const char *path, const char *format, ...);

#endif
