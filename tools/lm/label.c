// Tokens as they are shown: what has no shape of its own is made visible, and what is long is cut.
#include <string.h>
#include <utf8proc.h>

#include "lm/lm.h"

// ---------------------------------------------------------------- pieces of a label

typedef struct piece {
  char text[16];
  int width;
} piece;

// Characters without a shape: controls, those that only change how others are shown (soft hyphen, marks of direction, joiners, tags),
// separators of lines, and those that nobody has assigned.
static bool has_no_shape(uint32_t code) {
  switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return false;
  }
}

static piece escaped(const char *format, uint32_t value) {
  piece p;
  p.width = snprintf(p.text, sizeof p.text, format, value);
  return p;
}

// A character of `length` bytes at `text`. A mark that belongs on the character before gets a circle where there is none.
static piece of_character(const char *text, size_t length, uint32_t code, bool is_first) {
  static const char circle[] = "\xe2\x97\x8c";
  piece p = {.width = 1};
  if (code == ' ') return (piece){"\xe2\x90\xa3", 1};
  if (code == '\n') return (piece){"\\n", 2};
  if (code == '\t') return (piece){"\\t", 2};
  if (code == '\r') return (piece){"\\r", 2};
  if (code == '\\') return (piece){"\\\\", 2};
  if (code < 0x20 || code == 0x7f) return escaped("\\x%02x", code);
  if (has_no_shape(code)) return escaped(code > 0xffff ? "\\U%08x" : "\\u%04x", code);
  p.width = utf8proc_charwidth((utf8proc_int32_t)code);
  snprintf(p.text, sizeof p.text, "%s%.*s", is_first && p.width == 0 ? circle : "", (int)length, text);
  if (is_first && p.width == 0) p.width = 1;
  return p;
}

static void fill(const char *text, size_t bytes, lm_label *label) {
  static const char more[] = "\xe2\x80\xa6";
  size_t used = 0, kept = 0;  // kept: what leaves room for "more"
  int kept_width = 0;
  *label = (lm_label){0};
  for (size_t at = 0; at < bytes;) {
    uint32_t code = 0;
    const size_t length = tool_character(text + at, bytes - at, &code);
    const piece p =
        length ? of_character(text + at, length, code, at == 0) : escaped("\\x%02x", (unsigned char)text[at]);
    if (label->width + p.width > LM_LABEL_WIDTH || used + strlen(p.text) + sizeof more > sizeof label->text) {
      memcpy(label->text + kept, more, sizeof more);
      label->width = kept_width + 1;
      return;
    }
    used += (size_t)snprintf(label->text + used, sizeof label->text - used, "%s", p.text);
    label->width += p.width;
    if (label->width < LM_LABEL_WIDTH) {
      kept = used;
      kept_width = label->width;
    }
    at += length ? length : 1;
  }
}

void lm_labels(const heed_tokenizer *tokenizer, const int32_t *ids, size_t count, lm_label *labels) {
  for (size_t i = 0; i < count; i++) {
    size_t bytes = 0;
    const char *text = heed_tokenizer_token(tokenizer, ids[i], &bytes);
    fill(text ? text : "", text ? bytes : 0, &labels[i]);
    if (labels[i].width == 0) labels[i].width = snprintf(labels[i].text, sizeof labels[i].text, "(empty)");
  }
}
