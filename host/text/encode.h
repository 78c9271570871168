// One call of heed_tokenizer_encode(): ids on their way to the sink, and what the call works with.
#ifndef HEED__TEXT_ENCODE_H
#define HEED__TEXT_ENCODE_H

#include "text/parts/tokenizer.h"

enum { HEED__IDS_AT_ONCE = 4096 };

struct heed__encoder {
  const heed_tokenizer *tokenizer;
  heed_token_sink sink;
  void *user;
  const char *text;  // the caller's
  size_t bytes, at;  // its length; where the part is that is worked on now, for messages
  struct heed__matcher matchers[HEED__MOST_STAGES];
  struct heed__buffer prefixed[HEED__MOST_STAGES];  // pieces with a blank before them
  struct heed__buffer normal;                       // a part in normal form
  struct heed__bpe bpe;
  struct heed__names words;      // pieces that were there before, and where in word_ids their ids are
  struct heed__buffer word_ids;  // int32_t: how many, then the ids
  size_t count;
  int32_t ids[HEED__IDS_AT_ONCE];  // that wait for the sink
};

heed_status heed__encoder_flush(struct heed__encoder *encoder);
static inline heed_status heed__encoder_put(struct heed__encoder *encoder, int32_t id) {
  encoder->ids[encoder->count++] = id;
  return encoder->count < HEED__IDS_AT_ONCE ? HEED_OK : heed__encoder_flush(encoder);
}

heed_status heed__encoder_put_all(struct heed__encoder *encoder, const int32_t *ids, size_t count);
// Where a piece lies in the caller's text; of one that is a copy, where the part begins that it comes from.
size_t heed__encoder_offset(const struct heed__encoder *encoder, const char *text);

// Cuts UTF-8 into pieces by the stages from this one on, and puts the ids of each.
heed_status heed__encode_stage(struct heed__encoder *encoder, size_t index, const char *text, size_t bytes);
// Puts the ids of a piece. It may be any bytes.
heed_status heed__encode_piece(struct heed__encoder *encoder, const char *text, size_t bytes);

#endif
