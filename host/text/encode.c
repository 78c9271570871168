// From a text to ids: added tokens are found, what lies between them is normalized and cut into pieces, and the model makes ids of each.
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/parts/nfc.h"
#include "text/parts/unicode.h"

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
  e->at = heed__encoder_offset(e, text);
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
  if (e->tokenizer->unit == 2) return heed__encode_piece(e, e->text, e->bytes);
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
  if (template_tokens) HEED__TRY(heed__encoder_put_all(e, template->before, template->before_count));
  if (e->tokenizer->unit > 0) {
    HEED__TRY(encode_units(e));
  } else {
    HEED__TRY(start(e));
    HEED__TRY(encode_text(e));
  }
  if (template_tokens) HEED__TRY(heed__encoder_put_all(e, template->after, template->after_count));
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
