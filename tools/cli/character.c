// Characters of UTF-8 (RFC 3629).
#include "cli/tool.h"

size_t tool_character(const char *text, size_t bytes, uint32_t *code) {
  const unsigned char *at = (const unsigned char *)text, first = at[0];
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length == 0 || length > bytes) return 0;
  *code = length == 1 ? first : first & (0xffU >> (length + 1));
  for (size_t i = 1; i < length; i++) {
    if ((at[i] & 0xc0) != 0x80) return 0;
    *code = *code << 6 | (at[i] & 0x3fU);
  }
  if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f)) return 0;
  if ((first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f)) return 0;
  return length;
}
