// UTF-8 and classes of characters. The classes are utf8proc's, whose table has a category for each character.
#include "text/parts/unicode.h"

#include <string.h>
#include <utf8proc.h>

size_t heed__utf8_read(const char *text, size_t bytes, int32_t *character) {
  static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (bytes == 0) return 0;
  const unsigned char *at = (const unsigned char *)text;
  if (at[0] < 0x80) {
    *character = at[0];
    return 1;
  }
  const size_t length = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
  if (length == 0 || length > bytes) return 0;
  int32_t c = at[0] & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((at[i] & 0xC0) != 0x80) return 0;
    c = c << 6 | (at[i] & 0x3F);
  }
  if (c < least[length] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
  *character = c;
  return length;
}

size_t heed__utf8_write(int32_t character, char text[4]) {
  return (size_t)utf8proc_encode_char(character, (utf8proc_uint8_t *)text);
}

size_t heed__utf8_valid(const char *text, size_t bytes) {
  size_t at = 0;
  for (int32_t c; at < bytes;) {
    uint64_t eight;
    if (bytes - at >= sizeof eight) {
      memcpy(&eight, text + at, sizeof eight);
      if ((eight & UINT64_C(0x8080808080808080)) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    const size_t length = heed__utf8_read(text + at, bytes - at, &c);
    if (length == 0) break;
    at += length;
  }
  return at;
}

bool heed__is_space(int32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool heed__is_number(int32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const utf8proc_category_t category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool heed__is_word(int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // joiners, and letters in circles and squares, which are symbols and alphabetic
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  }
}
