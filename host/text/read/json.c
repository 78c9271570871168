// Files and keys of JSON.
#include "text/read/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "text/parts/unicode.h"

enum { MOST_BYTES = 64 << 20 };

heed_status heed__file_read(const char *path, struct heed__buffer *out) {
  char *text = NULL;
  size_t bytes = 0;
  HEED__TRY(heed__whole_file(path, MOST_BYTES, "files of tokenizers are not", &text, &bytes));
  const bool added = heed__buffer_add(out, text, bytes + 1);
  free(text);
  HEED__REQUIRE(added, HEED_ERROR_OUT_OF_MEMORY, "no memory to read %s", path);
  --out->size;
  return HEED_OK;
}

// ---------------------------------------------------------------- the character 0

static const char zero_name[] = "\"\\u0000\"";
enum { ZERO = sizeof zero_name - 1 };

// Whether a name stands here, and no other text: before it there is { or a comma.
static bool is_name(const char *text, const char *at) {
  while (at > text && strchr(" \t\r\n", at[-1])) --at;
  return at > text && (at[-1] == '{' || at[-1] == ',');
}

static char *find_zero(const char *text, size_t bytes) {
  for (const char *at = text; (at = memmem(at, bytes - (size_t)(at - text), zero_name, ZERO)); ++at)
    if (is_name(text, at)) return (char *)at;
  return NULL;
}

// A character that Unicode keeps from all texts, and that this one does not have all the same, neither as it is nor as \ufdd0; 0: none.
static int32_t unused(const char *text, size_t bytes) {
  for (int32_t c = 0xFDD0; c < 0xFDF0; ++c) {
    char plain[4], escaped[8], capital[8];
    const size_t length = heed__utf8_write(c, plain);
    snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)c);
    snprintf(capital, sizeof capital, "\\u%04X", (unsigned)c);
    if (!memmem(text, bytes, plain, length) && !memmem(text, bytes, escaped, 6) && !memmem(text, bytes, capital, 6))
      return c;
  }
  return 0;
}

// Makes a copy of the text with another name in place of "\u0000".
static heed_status without_zero(const char *text, size_t bytes, size_t at, struct heed__buffer *copy, char **zero) {
  const int32_t c = unused(text, bytes);
  *zero = calloc(1, 8);
  HEED__REQUIRE(*zero && heed__buffer_add(copy, text, bytes), HEED_ERROR_OUT_OF_MEMORY, "no memory for a text");
  if (c == 0) return HEED_OK;  // then it stays what it is, and is no JSON
  char name[16];
  snprintf(name, sizeof name, "\"\\u%04x\"", (unsigned)c);
  memcpy(copy->data + at, name, ZERO);
  heed__utf8_write(c, *zero);
  return HEED_OK;
}

// ---------------------------------------------------------------- texts

static heed_status parse(const char *path, const char *text, size_t bytes, json_t **out) {
  json_error_t error;
  bool no_memory = false;
  const char *instead = heed__not_downloaded(text, bytes);
  HEED__REQUIRE(!instead, HEED_ERROR_FORMAT, "%s: %s", path, instead);
  *out = heed__json_load(text, bytes, &error, &no_memory);
  HEED__REQUIRE(!no_memory, HEED_ERROR_OUT_OF_MEMORY, "no memory to read %s", path);
  HEED__REQUIRE(*out, HEED_ERROR_FORMAT, "%s: it is no JSON: line %d: %s", path, error.line,
                heed__printable(error.text).text);
  return HEED_OK;
}

heed_status heed__json_parse(const char *path, const char *text, size_t bytes, json_t **out, char **zero) {
  struct heed__buffer copy = {0};
  *out = NULL;
  *zero = NULL;
  const char *found = bytes > 0 ? find_zero(text, bytes) : NULL;
  heed_status status = found ? without_zero(text, bytes, (size_t)(found - text), &copy, zero) : HEED_OK;
  if (status == HEED_OK) status = parse(path, found ? copy.data : text, bytes, out);
  heed__buffer_free(&copy);
  if (status == HEED_OK) return HEED_OK;
  free(*zero);
  *zero = NULL;
  return status;
}

heed_status heed__has_not(const char *path, const char *format, ...) {
  char text[320];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return heed__fail(HEED_ERROR_UNSUPPORTED, "%s: %s; heed does not have this", path, text);
}

// ---------------------------------------------------------------- keys

const json_t *heed__key(const struct heed__object *object, const char *key) {
  const json_t *value = json_object_get(object->json, key);
  return json_is_null(value) ? NULL : value;
}

static heed_status is_no(const struct heed__object *object, const char *key, const char *type) {
  return heed__fail(HEED_ERROR_FORMAT, "%s: \"%s.%s\" is no %s", object->path, object->name, key, type);
}

heed_status heed__key_flag(const struct heed__object *object, const char *key, bool missing, bool *out) {
  const json_t *value = heed__key(object, key);
  if (value && !json_is_boolean(value)) return is_no(object, key, "boolean");
  *out = value ? json_is_true(value) : missing;
  return HEED_OK;
}

heed_status heed__key_text(const struct heed__object *object, const char *key, const char **out) {
  const json_t *value = heed__key(object, key);
  if (value && !json_is_string(value)) return is_no(object, key, "text");
  *out = json_string_value(value);
  return HEED_OK;
}

heed_status heed__key_list(const struct heed__object *object, const char *key, const json_t **out) {
  *out = heed__key(object, key);
  return *out && !json_is_array(*out) ? is_no(object, key, "list") : HEED_OK;
}

heed_status heed__key_object(const struct heed__object *object, const char *key, const json_t **out) {
  *out = heed__key(object, key);
  return *out && !json_is_object(*out) ? is_no(object, key, "object") : HEED_OK;
}

heed_status heed__is_object(const struct heed__object *object) {
  HEED__REQUIRE(json_is_object(object->json), HEED_ERROR_FORMAT, "%s: \"%s\" is no object", object->path, object->name);
  return HEED_OK;
}

static bool asks_for_nothing(const json_t *value) {
  return json_is_null(value) || json_is_false(value) ||
         ((json_is_array(value) || json_is_object(value)) && json_array_size(value) + json_object_size(value) == 0) ||
         (json_is_string(value) && json_string_length(value) == 0);
}

heed_status heed__only_keys(const struct heed__object *object, const char *const *known) {
  void *at = json_object_iter((json_t *)object->json);
  for (; at; at = json_object_iter_next((json_t *)object->json, at)) {
    const char *key = json_object_iter_key(at);
    size_t i = 0;
    while (known[i] && strcmp(known[i], key) != 0) ++i;
    if (known[i] || asks_for_nothing(json_object_iter_value(at))) continue;
    return heed__has_not(object->path, "there is \"%s.%s\"", object->name, heed__printable(key).text);
  }
  return HEED_OK;
}
