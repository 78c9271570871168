// Texts from files and callers, made fit for a message.
#include "base/text.h"

#include <string.h>

struct heed__name heed__printable(const char *name) {
  struct heed__name out = {""};
  size_t length = 0;
  for (; length < sizeof out.text - 4 && name[length]; ++length) {
    const unsigned char c = (unsigned char)name[length];
    out.text[length] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
  }
  if (name[length]) {
    while (length > 0 && ((unsigned char)name[length] & 0xC0) == 0x80) --length;  // not inside a UTF-8 sequence
    memcpy(out.text + length, "...", sizeof "...");
  }
  return out;
}
