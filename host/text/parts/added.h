// Tokens that are found in the text itself, before it is cut into pieces. Knows no model.
#ifndef HEED__TEXT_ADDED_H
#define HEED__TEXT_ADDED_H

#include "base/status.h"

enum { HEED__MOST_ADDED_BYTES = 256 };

struct heed__added_token {
  char *content;  // in normal form where the text is
  size_t bytes;
  int32_t id;
  bool single_word;     // only where no word goes on before or after it
  bool lstrip, rstrip;  // also the blanks before or after it
  bool normalized;      // found in the normalized text
  bool special;
};
// All zero is an empty one.
struct heed__added {
  struct heed__added_token *tokens;  // sorted by content once heed__added_sort() is called
  size_t count, room;
  bool begins[256];  // whether one begins with this byte
};

// Takes content over in either case. Errors: OUT_OF_MEMORY.
heed_status heed__added_add(struct heed__added *added, struct heed__added_token token);
void heed__added_sort(struct heed__added *added);
// −1: there is none.
int32_t heed__added_find(const struct heed__added *added, const char *content, size_t bytes);
void heed__added_free(struct heed__added *added);

// The occurrences of the tokens in a text, the leftmost and of those the longest first.
struct heed__occurrences {
  const struct heed__added *added;
  const char *text;
  size_t bytes, from;  // where to search
  size_t taken;        // where the last occurrence, with its blanks, ends
};
// Returns the next one's token and its range with its blanks; NULL: there is none.
const struct heed__added_token *heed__added_next(struct heed__occurrences *occurrences, size_t *start, size_t *end);

#endif
