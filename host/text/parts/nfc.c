// Normal form C, part by part: the memory for the work does not grow with the text.
#include "text/parts/nfc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/parts/unicode.h"

enum { PART = 1 << 14 };

// Whether nothing before a character combines with it, so that a text may be cut there: marks combine, and the vowels and last
// consonants of Hangul, and those of Kirat Rai, which are letters.
static bool begins(int32_t c) {
  if (c < 0x300) return true;
  if ((c >= 0x1160 && c <= 0x11FF) || (c >= 0x16D60 && c <= 0x16D6F)) return false;
  const utf8proc_category_t category = utf8proc_category(c);
  return category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC && category != UTF8PROC_CATEGORY_ME;
}

// The end of the part that begins at `from`.
static size_t end_of(const char *text, size_t bytes, size_t from) {
  size_t at = from;
  for (int32_t c = 0; at < bytes;) {
    const size_t length = heed__utf8_read(text + at, bytes - at, &c);
    if (at - from >= PART && begins(c)) break;
    at += length > 0 ? length : 1;
  }
  return at;
}

// Characters below U+0300 are in this form whatever stands beside them; from there on the first byte is at least CC.
static bool is_plain(const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    if ((unsigned char)text[i] >= 0xCC) return false;
  return true;
}

bool heed__nfc(const char *text, size_t bytes, struct heed__buffer *out, bool *same) {
  *same = true;
  for (size_t from = 0, end; from < bytes; from = end) {
    end = end_of(text, bytes, from);
    if (is_plain(text + from, end - from)) {
      if (!*same && !heed__buffer_add(out, text + from, end - from)) return false;
      continue;
    }
    utf8proc_uint8_t *normal = NULL;
    const utf8proc_ssize_t length = utf8proc_map((const utf8proc_uint8_t *)text + from, (utf8proc_ssize_t)(end - from),
                                                 &normal, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (length < 0) return false;  // the text is UTF-8, so that only memory can be missing
    const bool equal = (size_t)length == end - from && memcmp(normal, text + from, end - from) == 0;
    bool added = true;
    if (*same && !equal) added = heed__buffer_add(out, text, from);
    *same = *same && equal;
    if (!*same) added = added && heed__buffer_add(out, normal, (size_t)length);
    free(normal);
    if (!added) return false;
  }
  return true;
}
