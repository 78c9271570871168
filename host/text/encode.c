// From a text to ids.
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

heed_status heed__encoder_flush(struct heed__encoder *encoder) {
  const size_t count = encoder->count;
  encoder->count = 0;
  return count > 0 ? encoder->sink(encoder->ids, count, encoder->user) : HEED_OK;
}

static heed_status encode_bytes(struct heed__encoder *e, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) HEED__TRY(heed__encoder_put(e, e->tokenizer->byte_ids[(uint8_t)text[i]]));
  return HEED_OK;
}

static heed_status encode_chars(struct heed__encoder *e, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes;) {
    int32_t c = 0;
    const size_t length = heed__utf8_read(text + i, bytes - i, &c);
    HEED__REQUIRE(length > 0, HEED_ERROR_FORMAT, "the byte %02x at offset %zu of the text is not UTF-8",
                  (unsigned char)text[i], e->at + i);
    const int32_t id = heed__names_find(&e->tokenizer->vocabulary.names, text + i, length);
    HEED__REQUIRE(id >= 0, HEED_ERROR_FORMAT,
                  "the tokenizer has no character U+%04X, which is at offset %zu of the text", (unsigned)c, e->at + i);
    HEED__TRY(heed__encoder_put(e, id));
    i += length;
  }
  return HEED_OK;
}

static heed_status encode_all(struct heed__encoder *e) {
  HEED__TRY(e->tokenizer->model == HEED__MODEL_CHARS ? encode_chars(e, e->text, e->bytes)
                                                     : encode_bytes(e, e->text, e->bytes));
  return heed__encoder_flush(e);
}

heed_status heed_tokenizer_encode(const heed_tokenizer *tokenizer, const char *text, size_t bytes,
                                  const heed_encode_options *options, heed_token_sink sink, void *user) {
  HEED__REQUIRE(tokenizer && (text || bytes == 0) && sink, HEED_ERROR_INVALID_ARGUMENT,
                "heed_tokenizer_encode: an argument is NULL");
  (void)options;
  struct heed__encoder *encoder = calloc(1, sizeof *encoder);
  HEED__REQUIRE(encoder, HEED_ERROR_OUT_OF_MEMORY, "no memory to tokenize");
  encoder->tokenizer = tokenizer;
  encoder->sink = sink;
  encoder->user = user;
  encoder->text = text;
  encoder->bytes = bytes;
  const heed_status status = encode_all(encoder);
  free(encoder);
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
