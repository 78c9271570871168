// From a text to ids: added tokens are found, what lies between them is normalized and cut into pieces, and the model makes ids of each.
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/parts/nfc.h"
#include "text/parts/unicode.h"

heed_status heed__encoder_flush(struct heed__encoder *encoder) {
  const size_t count = encoder->count;
  encoder->count = 0;
  return count > 0 ? encoder->sink(encoder->ids, count, encoder->user) : HEED_OK;
}

static heed_status put_all(struct heed__encoder *e, const int32_t *ids, size_t count) {
  for (size_t i = 0; i < count; ++i) HEED__TRY(heed__encoder_put(e, ids[i]));
  return HEED_OK;
}

// ---------------------------------------------------------------- pieces

// Where a piece lies in the caller's text; of one that is a copy, where the part begins that it comes from.
static size_t offset_of(const struct heed__encoder *e, const char *text) {
  const uintptr_t first = (uintptr_t)e->text, at = (uintptr_t)text;
  return at >= first && at <= first + e->bytes ? (size_t)(at - first) : e->at;
}

static heed_status encode_chars(struct heed__encoder *e, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes;) {
    int32_t c = 0;
    const size_t length = heed__utf8_read(text + i, bytes - i, &c);
    HEED__REQUIRE(length > 0, HEED_ERROR_FORMAT, "the byte %02x at offset %zu of the text is not UTF-8",
                  (unsigned char)text[i], offset_of(e, text + i));
    const int32_t id = heed__names_find(&e->tokenizer->vocabulary.names, text + i, length);
    HEED__REQUIRE(id >= 0, HEED_ERROR_FORMAT,
                  "the tokenizer has no character U+%04X, which is at offset %zu of the text", (unsigned)c,
                  offset_of(e, text + i));
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
                  (unsigned char)text[i], offset_of(e, text + i));
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
    return put_all(e, found + 1, (size_t)found[0]);
  }
  HEED__TRY(merge_bytes(e, text, bytes));
  if (bytes <= LONGEST_WORD) HEED__TRY(remember(e, text, bytes));
  return put_all(e, e->bpe.ids, e->bpe.count);
}

// ---------------------------------------------------------------- parts

typedef heed_status (*part_function)(struct heed__encoder *e, const char *text, size_t bytes);

static heed_status encode_stages(struct heed__encoder *e, const char *text, size_t bytes) {
  return heed__encode_stage(e, 0, text, bytes);
}

// Puts the ids of added tokens, and passes on what lies between them.
static heed_status between(struct heed__encoder *e, const struct heed__added *added, const char *text, size_t bytes,
                           part_function next) {
  struct heed__occurrences occurrences = {.added = added, .text = text, .bytes = bytes};
  size_t before = 0, start = 0, end = 0;
  for (const struct heed__added_token *token; (token = heed__added_next(&occurrences, &start, &end));) {
    if (before < start) HEED__TRY(next(e, text + before, start - before));
    HEED__TRY(heed__encoder_put(e, token->id));
    before = end;
  }
  return before < bytes ? next(e, text + before, bytes - before) : HEED_OK;
}

static heed_status encode_normalized(struct heed__encoder *e, const char *text, size_t bytes) {
  const heed_tokenizer *t = e->tokenizer;
  e->at = offset_of(e, text);
  if (t->nfc) {
    bool same = true;
    e->normal.size = 0;
    HEED__REQUIRE(heed__nfc(text, bytes, &e->normal, &same), HEED_ERROR_OUT_OF_MEMORY,
                  "no memory to normalize %zu bytes", bytes);
    if (!same) {
      text = e->normal.data;
      bytes = e->normal.size;
    }
  }
  return between(e, &t->normalized, text, bytes, encode_stages);
}

// What is not UTF-8 belongs to no character: it is a piece of its own, and texts end before it and begin after it.
static heed_status encode_text(struct heed__encoder *e) {
  for (size_t at = 0; at < e->bytes;) {
    const size_t valid = heed__utf8_valid(e->text + at, e->bytes - at);
    if (valid > 0) HEED__TRY(between(e, &e->tokenizer->added, e->text + at, valid, encode_normalized));
    at += valid;
    size_t stray = 0;
    for (int32_t c; at + stray < e->bytes && heed__utf8_read(e->text + at + stray, e->bytes - at - stray, &c) == 0;)
      ++stray;
    if (stray > 0) HEED__TRY(heed__encode_piece(e, e->text + at, stray));
    at += stray;
  }
  return HEED_OK;
}

// Where every character, or every byte, is a token, there is nothing to find.
static heed_status encode_units(struct heed__encoder *e) {
  if (e->tokenizer->unit == 2) return encode_chars(e, e->text, e->bytes);
  for (size_t i = 0; i < e->bytes; ++i) HEED__TRY(heed__encoder_put(e, e->tokenizer->byte_ids[(uint8_t)e->text[i]]));
  return HEED_OK;
}

// ---------------------------------------------------------------- the call

static heed_status start(struct heed__encoder *e) {
  const heed_tokenizer *t = e->tokenizer;
  for (size_t i = 0; i < t->stage_count; ++i)
    if (t->stages[i].find == HEED__FIND_PATTERN) HEED__TRY(heed__matcher_start(&e->matchers[i], &t->stages[i].pattern));
  return HEED_OK;
}

static void end(struct heed__encoder *e) {
  for (size_t i = 0; i < HEED__MOST_STAGES; ++i) {
    heed__matcher_free(&e->matchers[i]);
    heed__buffer_free(&e->prefixed[i]);
  }
  heed__buffer_free(&e->normal);
  heed__bpe_free(&e->bpe);
  heed__names_free(&e->words);
  heed__buffer_free(&e->word_ids);
  free(e);
}

static heed_status encode_all(struct heed__encoder *e, bool template_tokens) {
  const struct heed__template *template = &e->tokenizer->template;
  if (template_tokens) HEED__TRY(put_all(e, template->before, template->before_count));
  if (e->tokenizer->unit > 0) {
    HEED__TRY(encode_units(e));
  } else {
    HEED__TRY(start(e));
    HEED__TRY(encode_text(e));
  }
  if (template_tokens) HEED__TRY(put_all(e, template->after, template->after_count));
  return heed__encoder_flush(e);
}

heed_status heed_tokenizer_encode(const heed_tokenizer *tokenizer, const char *text, size_t bytes,
                                  const heed_encode_options *options, heed_token_sink sink, void *user) {
  HEED__REQUIRE(tokenizer && (text || bytes == 0) && sink, HEED_ERROR_INVALID_ARGUMENT,
                "heed_tokenizer_encode: an argument is NULL");
  struct heed__encoder *encoder = calloc(1, sizeof *encoder);
  HEED__REQUIRE(encoder, HEED_ERROR_OUT_OF_MEMORY, "no memory to tokenize");
  encoder->tokenizer = tokenizer;
  encoder->sink = sink;
  encoder->user = user;
  encoder->text = text;
  encoder->bytes = bytes;
  const heed_status status = encode_all(encoder, options && options->template_tokens);
  end(encoder);
  return status;
}

static heed_status gather(const int32_t *ids, size_t count, void *user) {
  HEED__REQUIRE(heed__buffer_add(user, ids, count * sizeof *ids), HEED_ERROR_OUT_OF_MEMORY, "no memory for the ids");
  return HEED_OK;
}

heed_status heed_tokenizer_encode_all(const heed_tokenizer *tokenizer, const char *text, size_t bytes,
                                      const heed_encode_options *options, int32_t **ids, size_t *count) {
  HEED__REQUIRE(ids && count, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_encode_all: an output is NULL");
  *ids = NULL;
  *count = 0;
  struct heed__buffer all = {0};
  const heed_status status = heed_tokenizer_encode(tokenizer, text, bytes, options, gather, &all);
  if (status != HEED_OK) {
    heed__buffer_free(&all);
    return status;
  }
  *ids = (int32_t *)(void *)all.data;
  *count = all.size / sizeof **ids;
  return HEED_OK;
}
