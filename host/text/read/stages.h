// Parts of tokenizer.json that say what is done to a text before and after the model sees it.
#ifndef HEED__TEXT_READ_STAGES_H
#define HEED__TEXT_READ_STAGES_H

#include "text/read/json.h"
#include "text/parts/tokenizer.h"

// Read "pre_tokenizer", "added_tokens" and "post_processor"; the model is read already. json NULL: the key is missing or null.
// Errors: FORMAT; UNSUPPORTED; OUT_OF_MEMORY.
heed_status heed__read_pre_tokenizer(const char *path, const json_t *json, heed_tokenizer *tokenizer);
// What stands for a pre-tokenizer in a folder of vocab.json and merges.txt: GPT-2's.
heed_status heed__read_byte_level(heed_tokenizer *tokenizer);
heed_status heed__read_added(const char *path, const json_t *list, const struct heed__names *spelled,
                             heed_tokenizer *tokenizer);
heed_status heed__read_post_processor(const char *path, const json_t *json, heed_tokenizer *tokenizer);

// The "type" of a part. Errors: FORMAT.
heed_status heed__part_type(const struct heed__object *part, const char **type);
typedef heed_status (*heed__part_function)(const struct heed__object *part, void *user);
// Calls the function for each part of a Sequence, whose list is called `key`.
heed_status heed__each_part(const struct heed__object *sequence, const char *key, heed__part_function function,
                            void *user);

#endif
