// Small tokenizers for tests: 256 bytes, a few merges, and parts of a tokenizer.json to choose.
#ifndef SUPPORT_TOKENIZER_H
#define SUPPORT_TOKENIZER_H

#include <heed/text.h>

// JSON of the parts; NULL: null, an empty list, or as said.
typedef struct tokenizer_parts {
  const char *normalizer, *added_tokens, *post_processor;
  const char *pre_tokenizer;  // NULL: ByteLevel, without a blank before a text
  const char *decoder;        // NULL: ByteLevel
  const char *model;          // more keys of the model, `"ignore_merges": true`
  const char *more;           // more keys of the file
} tokenizer_parts;

#define TOKENIZER_BYTE_LEVEL \
  "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}"
#define TOKENIZER_BYTES \
  "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}"

// The text of its tokenizer.json, which the caller frees. The id of a byte is its value; 256 and on are he, ll, hell, hello, " hello", two
// blanks, two line ends, 12, 123, e with acute, 's, aa, aaaa, " 1".
char *tokenizer_json(const tokenizer_parts *parts);
// Writes it to the folder "model" of support_files.h, and opens that.
heed_status tokenizer_open(const tokenizer_parts *parts, heed_tokenizer **out);
// Writes this text instead.
heed_status tokenizer_open_text(const char *json, heed_tokenizer **out);

#endif
