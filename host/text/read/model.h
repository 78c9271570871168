// Vocabularies and merges as files have them.
#ifndef HEED__TEXT_READ_MODEL_H
#define HEED__TEXT_READ_MODEL_H

#include "text/read/json.h"
#include "text/parts/tokenizer.h"

// Reads the object of tokens and ids, whose name in messages and file it has; spelled: tokens as the file spells them, and their ids.
// Errors: FORMAT; UNSUPPORTED; OUT_OF_MEMORY.
heed_status heed__read_vocabulary(const struct heed__object *object, heed_tokenizer *tokenizer,
                                  struct heed__names *spelled);
// Adds a merge of the next rank; `where` is its place in messages, "merge 12". Errors: FORMAT; OUT_OF_MEMORY.
heed_status heed__read_merge(const char *path, const char *where, const struct heed__names *spelled, const char *left,
                             size_t left_bytes, const char *right, size_t right_bytes, heed_tokenizer *tokenizer);
// Reads "model" of a tokenizer.json. Errors: FORMAT; UNSUPPORTED; OUT_OF_MEMORY.
heed_status heed__read_model(const struct heed__object *model, heed_tokenizer *tokenizer, struct heed__names *spelled);

#endif
