// Texts and their tokens.
#ifndef HEED__LM_TEXT_TOKENS_H
#define HEED__LM_TEXT_TOKENS_H

#include "lm/token_file.h"

// Counts the characters of UTF-8 in a file; a byte that belongs to none is one. Errors: IO; OUT_OF_MEMORY.
heed_status heed__text_characters(const char *path, int64_t *count);
// The tokens of a part of a text: from the cache, or made and kept there.
enum heed__text_part {
  HEED__TEXT_WHOLE,
  HEED__TEXT_BEFORE,
  HEED__TEXT_AFTER
};  // a number of characters from its start
// Errors: IO; those of heed_tokenizer_encode(); OUT_OF_MEMORY.
heed_status heed__text_tokens(const char *path, enum heed__text_part part, int64_t characters,
                              const heed_token_data_options *options, struct heed__token_file *out);

#endif
