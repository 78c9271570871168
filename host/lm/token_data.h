// Sequences of tokens that lie in several files.
#ifndef HEED__LM_TOKEN_DATA_H
#define HEED__LM_TOKEN_DATA_H

#include "lm/token_file.h"

struct heed_token_data {
  int64_t count;
  size_t parts, room;
  struct heed__token_part {
    struct heed__token_file file;
    int64_t start;  // of its first token in the sequence
  } * part;
};

#endif
