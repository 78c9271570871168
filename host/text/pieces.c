// Pieces of a text to ids: by merges, by what a whole piece is, or character by character; and ids to the sink.
#include "text/encode.h"

#include <string.h>

#include "text/parts/unicode.h"

heed_status heed__encoder_flush(struct heed__encoder *encoder) {
  const size_t count = encoder->count;
  encoder->count = 0;
  return count > 0 ? encoder->sink(encoder->ids, count, encoder->user) : HEED_OK;
}

heed_status heed__encoder_put_all(struct heed__encoder *e, const int32_t *ids, size_t count) {
  for (size_t i = 0; i < count; ++i) HEED__TRY(heed__encoder_put(e, ids[i]));
  return HEED_OK;
}

size_t heed__encoder_offset(const struct heed__encoder *e, const char *text) {
  const uintptr_t first = (uintptr_t)e->text, at = (uintptr_t)text;
  return at >= first && at <= first + e->bytes ? (size_t)(at - first) : e->at;
}

static heed_status encode_chars(struct heed__encoder *e, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes;) {
    int32_t c = 0;
    const size_t length = heed__utf8_read(text + i, bytes - i, &c);
    HEED__REQUIRE(length > 0, HEED_ERROR_FORMAT, "the byte %02x at offset %zu of the text is not UTF-8",
                  (unsigned char)text[i], heed__encoder_offset(e, text + i));
    const int32_t id = heed__names_find(&e->tokenizer->vocabulary.names, text + i, length);
    HEED__REQUIRE(id >= 0, HEED_ERROR_FORMAT,
                  "the tokenizer has no character U+%04X, which is at offset %zu of the text", (unsigned)c,
                  heed__encoder_offset(e, text + i));
    HEED__TRY(heed__encoder_put(e, id));
    i += length;
  }
  return HEED_OK;
}

static heed_status merge_bytes(struct heed__encoder *e, const char *text, size_t bytes) {
  HEED__TRY(heed__bpe_reserve(&e->bpe, bytes));
  for (size_t i = 0; i < bytes; ++i) {
    e->bpe.ids[i] = e->tokenizer->byte_ids[(uint8_t)text[i]];
    HEED__REQUIRE(e->bpe.ids[i] >= 0, HEED_ERROR_FORMAT,
                  "the tokenizer has no token for the byte %02x, which is at offset %zu of the text",
                  (unsigned char)text[i], heed__encoder_offset(e, text + i));
  }
  e->bpe.count = bytes;
  heed__bpe_merge(&e->tokenizer->merges, &e->bpe);
  return HEED_OK;
}

enum { LONGEST_WORD = 64, MOST_WORDS = 1 << 16 };

// Most words of a text were there before.
static heed_status remember(struct heed__encoder *e, const char *text, size_t bytes) {
  if (e->words.count == MOST_WORDS) {
    heed__names_clear(&e->words);
    e->word_ids.size = 0;
  }
  const int32_t at = (int32_t)(e->word_ids.size / sizeof at), count = (int32_t)e->bpe.count;
  const bool there = heed__buffer_add(&e->word_ids, &count, sizeof count) &&
                     heed__buffer_add(&e->word_ids, e->bpe.ids, e->bpe.count * sizeof *e->bpe.ids) &&
                     heed__names_add(&e->words, text, bytes, at);
  HEED__REQUIRE(there, HEED_ERROR_OUT_OF_MEMORY, "no memory for the words of a text");
  return HEED_OK;
}

// With ignore_merges, the token that a whole piece is; −1: it is none.
static int32_t whole(const heed_tokenizer *t, const char *text, size_t bytes) {
  const int32_t id = t->ignore_merges ? heed__names_find(&t->vocabulary.names, text, bytes) : -1;
  return id >= 0 && !t->vocabulary.places[id].verbatim ? id : -1;
}

heed_status heed__encode_piece(struct heed__encoder *e, const char *text, size_t bytes) {
  const heed_tokenizer *t = e->tokenizer;
  if (t->model == HEED__MODEL_CHARS) return encode_chars(e, text, bytes);
  if (bytes == 1 && t->byte_ids[(uint8_t)text[0]] >= 0) return heed__encoder_put(e, t->byte_ids[(uint8_t)text[0]]);
  const int32_t id = whole(t, text, bytes);
  if (id >= 0) return heed__encoder_put(e, id);
  const int32_t at = bytes <= LONGEST_WORD ? heed__names_find(&e->words, text, bytes) : -1;
  if (at >= 0) {
    const int32_t *found = (const int32_t *)(const void *)e->word_ids.data + at;
    return heed__encoder_put_all(e, found + 1, (size_t)found[0]);
  }
  HEED__TRY(merge_bytes(e, text, bytes));
  if (bytes <= LONGEST_WORD) HEED__TRY(remember(e, text, bytes));
  return heed__encoder_put_all(e, e->bpe.ids, e->bpe.count);
}
