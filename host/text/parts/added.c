// Added tokens: sorted by content, so that the tokens that may stand at a place are a range that narrows from byte to byte.
#include "text/parts/added.h"

#include <stdlib.h>
#include <string.h>

#include "text/parts/unicode.h"

heed_status heed__added_add(struct heed__added *added, struct heed__added_token token) {
  if (added->count == added->room) {
    const size_t room = 2 * added->room + 8;
    struct heed__added_token *tokens = realloc(added->tokens, room * sizeof *tokens);
    if (!tokens) {
      free(token.content);
      return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu added tokens", added->count + 1);
    }
    added->tokens = tokens;
    added->room = room;
  }
  added->tokens[added->count++] = token;
  return HEED_OK;
}

static int compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
  const int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
  return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

// Of two that normalize to the same content a special one is found, or the one with the lower id.
static int by_content(const void *first, const void *second) {
  const struct heed__added_token *a = first, *b = second;
  const int order = compare(a->content, a->bytes, b->content, b->bytes);
  if (order) return order;
  return a->special != b->special ? b->special - a->special : (a->id > b->id) - (a->id < b->id);
}

void heed__added_sort(struct heed__added *added) {
  if (added->count > 0) qsort(added->tokens, added->count, sizeof *added->tokens, by_content);
  for (size_t i = 0; i < added->count; ++i) added->begins[(uint8_t)added->tokens[i].content[0]] = true;
}

int32_t heed__added_find(const struct heed__added *added, const char *content, size_t bytes) {
  for (size_t i = 0; i < added->count; ++i)
    if (compare(added->tokens[i].content, added->tokens[i].bytes, content, bytes) == 0) return added->tokens[i].id;
  return -1;
}

void heed__added_free(struct heed__added *added) {
  for (size_t i = 0; i < added->count; ++i) free(added->tokens[i].content);
  free(added->tokens);
  *added = (struct heed__added){0};
}

// ---------------------------------------------------------------- occurrences

// The first of [low, high), all of which have the same `depth` bytes before it, whose byte at `depth` is at least `least`. What ends
// there comes before all others.
static size_t first_with(const struct heed__added *added, size_t low, size_t high, size_t depth, int least) {
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const struct heed__added_token *token = &added->tokens[middle];
    const int byte = depth < token->bytes ? (uint8_t)token->content[depth] : -1;
    if (byte < least)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static const struct heed__added_token *longest_at(const struct heed__added *added, const char *text, size_t bytes) {
  const struct heed__added_token *longest = NULL;
  size_t low = 0, high = added->count;
  for (size_t depth = 0; depth < bytes && low < high; ++depth) {
    const int byte = (uint8_t)text[depth];
    low = first_with(added, low, high, depth, byte);
    high = first_with(added, low, high, depth, byte + 1);
    if (low < high && added->tokens[low].bytes == depth + 1) longest = &added->tokens[low];
  }
  return longest;
}

static size_t character_before(const char *text, size_t at, int32_t *character) {
  size_t length = 1;
  while (length < at && length < 4 && ((unsigned char)text[at - length] & 0xC0) == 0x80) ++length;
  return heed__utf8_read(text + at - length, length, character);
}

static bool is_single_word(const struct heed__occurrences *o, size_t start, size_t end) {
  int32_t c = 0;
  if (start > 0 && character_before(o->text, start, &c) > 0 && heed__is_word(c)) return false;
  return heed__utf8_read(o->text + end, o->bytes - end, &c) == 0 || !heed__is_word(c);
}

// The range with its blanks, but for those that the occurrence before it has taken.
static void take_blanks(const struct heed__occurrences *o, const struct heed__added_token *token, size_t *start,
                        size_t *end) {
  int32_t c = 0;
  if (token->lstrip) {
    for (size_t length; *start > o->taken; *start -= length) {
      length = character_before(o->text, *start, &c);
      if (length == 0 || length > *start - o->taken || !heed__is_space(c)) break;
    }
    if (*start < o->taken) *start = o->taken;
  }
  if (!token->rstrip) return;
  for (size_t length; (length = heed__utf8_read(o->text + *end, o->bytes - *end, &c)) > 0 && heed__is_space(c);)
    *end += length;
}

const struct heed__added_token *heed__added_next(struct heed__occurrences *o, size_t *start, size_t *end) {
  for (; o->added->count > 0 && o->from < o->bytes; ++o->from) {
    if (!o->added->begins[(uint8_t)o->text[o->from]]) continue;
    const struct heed__added_token *token = longest_at(o->added, o->text + o->from, o->bytes - o->from);
    if (!token) continue;
    *start = o->from;
    *end = o->from + token->bytes;
    if (token->single_word && !is_single_word(o, *start, *end)) {
      o->from = *end - 1;
      continue;
    }
    o->from = *end;
    take_blanks(o, token, start, end);
    if (*start < *end) {
      o->taken = *end;
      return token;
    }
    --o->from;  // the occurrence before it has taken all of it as blanks; go on at its end
  }
  return NULL;
}
