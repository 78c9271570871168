// One call of heed_tokenizer_encode(): ids on their way to the sink, and what the call works with.
#ifndef HEED__TEXT_ENCODE_H
#define HEED__TEXT_ENCODE_H

#include "text/tokenizer.h"

enum { HEED__IDS_AT_ONCE = 4096 };

struct heed__encoder {
  const heed_tokenizer *tokenizer;
  heed_token_sink sink;
  void *user;
  const char *text;  // the caller's
  size_t bytes, at;  // its length; where the part is that is worked on now, for messages
  size_t count;
  int32_t ids[HEED__IDS_AT_ONCE];  // that wait for the sink
};

heed_status heed__encoder_flush(struct heed__encoder *encoder);
static inline heed_status heed__encoder_put(struct heed__encoder *encoder, int32_t id) {
  encoder->ids[encoder->count++] = id;
  return encoder->count < HEED__IDS_AT_ONCE ? HEED_OK : heed__encoder_flush(encoder);
}

#endif
