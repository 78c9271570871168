// Pre-tokenizers: one after another they cut a text into pieces. Each holds one piece back at most, so that a long text needs no more
// memory than a short one.
#include <string.h>

#include "text/encode.h"
#include "text/parts/unicode.h"

// The pieces of a stage on their way to the next.
struct cut {
  struct heed__encoder *encoder;
  size_t stage;
  const char *text;
  size_t start, end;  // the piece that is held back, which may grow
  bool held, matched;
};

static heed_status pass(struct cut *cut) {
  const bool held = cut->held && cut->start < cut->end;
  cut->held = false;
  return held ? heed__encode_stage(cut->encoder, cut->stage + 1, cut->text + cut->start, cut->end - cut->start)
              : HEED_OK;
}

// Takes the next range, a match or what lies between two.
static heed_status take(struct cut *cut, size_t start, size_t end, bool match) {
  const struct heed__stage *stage = &cut->encoder->tokenizer->stages[cut->stage];
  const bool before = cut->matched;
  match = match != stage->invert;
  cut->matched = match;
  bool grows = false;
  switch (stage->behavior) {
    case HEED__ISOLATED:
      break;
    case HEED__REMOVED:
      if (match) return HEED_OK;
      break;
    case HEED__MERGED_WITH_PREVIOUS:
      grows = match && !before;
      break;
    case HEED__MERGED_WITH_NEXT:
      grows = !match && before;
      break;
    case HEED__CONTIGUOUS:
      grows = match == before;
      break;
  }
  if (grows && cut->held) {
    cut->end = end;
    return HEED_OK;
  }
  HEED__TRY(pass(cut));
  cut->start = start;
  cut->end = end;
  cut->held = true;
  return HEED_OK;
}

// The first number at or after `from`; false: there is none.
static bool next_number(const char *text, size_t bytes, size_t from, size_t *start, size_t *end) {
  int32_t c = 0;
  for (size_t length; (length = heed__utf8_read(text + from, bytes - from, &c)) > 0; from += length) {
    if (!heed__is_number(c)) continue;
    *start = from;
    *end = from + length;
    return true;
  }
  return false;
}

// `from`: what lies before it is done.
static heed_status split(struct heed__encoder *e, size_t index, const char *text, size_t bytes, size_t from) {
  const struct heed__stage *stage = &e->tokenizer->stages[index];
  struct heed__matcher *matcher = &e->matchers[index];
  struct cut cut = {.encoder = e, .stage = index, .text = text};
  size_t before = from, start = 0, end = 0;
  heed__matcher_rewind(matcher, from);
  for (;;) {
    bool found;
    if (stage->find == HEED__FIND_NUMBERS)
      found = next_number(text, bytes, before, &start, &end);
    else
      HEED__TRY(heed__matcher_next(matcher, text, bytes, &found, &start, &end));
    if (!found) break;
    if (before != start) HEED__TRY(take(&cut, before, start, false));
    HEED__TRY(take(&cut, start, end, true));
    before = end;
  }
  if (before != bytes) HEED__TRY(take(&cut, before, bytes, false));
  return pass(&cut);
}

static heed_status with_blank(struct heed__encoder *e, size_t index, const char *text, size_t bytes) {
  struct heed__buffer *prefixed = &e->prefixed[index];
  prefixed->size = 0;
  heed__buffer_text(prefixed, " ");
  HEED__REQUIRE(heed__buffer_add(prefixed, text, bytes), HEED_ERROR_OUT_OF_MEMORY, "no memory for a piece of %zu bytes",
                bytes);
  return HEED_OK;
}

enum { FRONT = 1 << 12 };

// The first match of a piece with a blank before it, found in a copy of the piece's front, is passed on; *from is where it ends in the
// piece. Where the copy is too short to tell, *from stays 0.
static heed_status split_front(struct heed__encoder *e, size_t index, const char *text, size_t bytes, size_t *from) {
  const size_t front = heed__utf8_valid(text, bytes < FRONT ? bytes : FRONT);
  size_t start = 0, end = 0;
  bool found = false;
  HEED__TRY(with_blank(e, index, text, front));
  heed__matcher_rewind(&e->matchers[index], 0);
  HEED__TRY(heed__matcher_next(&e->matchers[index], e->prefixed[index].data, front + 1, &found, &start, &end));
  // ByteLevel's own expression, the only one with a blank before it, looks one character ahead.
  if (!found || start > 0 || end < 2 || end + 8 > front) return HEED_OK;
  *from = end - 1;
  return heed__encode_stage(e, index + 1, e->prefixed[index].data, end);
}

heed_status heed__encode_stage(struct heed__encoder *e, size_t index, const char *text, size_t bytes) {
  if (bytes == 0) return HEED_OK;
  if (index == e->tokenizer->stage_count) return heed__encode_piece(e, text, bytes);
  const struct heed__stage *stage = &e->tokenizer->stages[index];
  size_t from = 0;
  if (stage->prefix && text[0] != ' ') {
    if (stage->find == HEED__FIND_PATTERN && bytes > FRONT) HEED__TRY(split_front(e, index, text, bytes, &from));
    if (from == 0) {
      HEED__TRY(with_blank(e, index, text, bytes));
      text = e->prefixed[index].data;
      ++bytes;
    }
  }
  if (stage->find == HEED__FIND_NOTHING) return heed__encode_stage(e, index + 1, text, bytes);
  return split(e, index, text, bytes, from);
}
