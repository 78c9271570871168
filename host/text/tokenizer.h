// What a tokenizer is inside. The files that make one fill it in; encode.c and write.c read it.
#ifndef HEED__TEXT_TOKENIZER_H
#define HEED__TEXT_TOKENIZER_H

#include <heed/text.h>

#include "text/vocabulary.h"

// A file of the folder that a tokenizer was opened from, as it is.
enum heed__kept { HEED__KEPT_TOKENIZER, HEED__KEPT_CONFIG, HEED__KEPT_SPECIAL, HEED__KEPT_CHAT, HEED__KEPT_FILES };
extern const char *const heed__kept_names[HEED__KEPT_FILES];

enum heed__model {
  HEED__MODEL_BPE,   // over bytes
  HEED__MODEL_CHARS  // a token is a character
};

struct heed_tokenizer {
  enum heed__model model;
  int unit;  // as heed_tokenizer_unit()
  uint64_t fingerprint;
  struct heed__vocabulary vocabulary;
  int32_t byte_ids[256];  // BPE: the token of each byte; -1: there is none
  struct heed__buffer kept[HEED__KEPT_FILES];
};

heed_status heed__tokenizer_new(enum heed__model model, heed_tokenizer **out);
// After all else: sets unit and fingerprint.
void heed__tokenizer_complete(heed_tokenizer *tokenizer);

#endif
