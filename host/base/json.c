// Reading JSON with jansson when memory may run short.
#include "base/json.h"

#include <errno.h>

// If jansson runs out of memory while it gathers a token, it loses a letter. It then finds fault with the text, sets errno, or takes the
// rest for the whole text. So read twice: bad text is bad both times, and good text gives the same value both times.
json_t *heed__json_load(const char *text, size_t bytes, json_error_t *error, bool *no_memory) {
  json_t *first = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, error);
  errno = 0;
  json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, error);
  const bool same = !first || !json || json_equal(first, json);
  json_decref(first);
  *no_memory =
      !same || (!json && (errno == ENOMEM || json_error_code(error) == json_error_out_of_memory || !error->text[0]));
  if (same) return json;
  json_decref(json);
  return NULL;
}
