// Tokenizers: text to token ids and back, as language models read them. Text is bytes; most of it is UTF-8.
#ifndef HEED_TEXT_H
#define HEED_TEXT_H

#include <heed/heed.h>

#ifdef __cplusplus
extern "C" {
#endif

// A tokenizer does not change once it is made: several threads may use one.
typedef struct heed_tokenizer heed_tokenizer;

// Opens the tokenizer of a model folder: its tokenizer.json, else vocab.json and merges.txt.
// vocab.json and merges.txt: byte-level BPE by GPT-2's rule (Radford et al. 2019); special tokens are not matched in text.
// tokenizer.json: BPE, with the normalizer null or NFC, the pre-tokenizers ByteLevel, Split, Digits and sequences of them, and the
// decoder ByteLevel; or WordLevel with a Split into single characters, as heed writes it. added_tokens are matched in text.
// Anything else that a file asks for is an error that names it.
// Errors, which name file and key: IO (also when there is no tokenizer); FORMAT; UNSUPPORTED; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_open(const char *folder, heed_tokenizer **out);
// 256 ids, which are the values of the bytes.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_create_bytes(heed_tokenizer **out);
// An id for each character that is in these files, in the order of their code points.
// Errors: IO; FORMAT (a file is not UTF-8: file and offset); OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_create_chars(const char *const *paths, size_t count,
                                                                 heed_tokenizer **out);
HEED_API void heed_tokenizer_destroy(heed_tokenizer *tokenizer);
// Writes tokenizer.json and tokenizer_config.json, which heed_tokenizer_open() and `transformers`' AutoTokenizer open: the files it was
// opened from, as they are, or its own. Each file is replaced whole. Errors: IO; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_save(const heed_tokenizer *tokenizer, const char *folder);

// How many ids there are: the highest + 1. 0 for NULL.
HEED_API int64_t heed_tokenizer_vocab(const heed_tokenizer *tokenizer);
// A number that tells tokenizers apart that give different ids.
HEED_API uint64_t heed_tokenizer_fingerprint(const heed_tokenizer *tokenizer);
// Whether every character is one token, which can be counted without tokenizing: bytes (1), characters (2), neither (0).
HEED_API int heed_tokenizer_unit(const heed_tokenizer *tokenizer);
// The bytes that an id stands for in decoded text, as they are in the tokenizer; NULL for an id that it does not have.
HEED_API const char *heed_tokenizer_token(const heed_tokenizer *tokenizer, int64_t id, size_t *bytes);
// The id of an added token with this content ("<|endoftext|>"), or of a token; −1 if there is none.
HEED_API int64_t heed_tokenizer_find(const heed_tokenizer *tokenizer, const char *content);

// Receives ids in the order of the text; what it returns ends the call unless it is OK.
typedef heed_status (*heed_token_sink)(const int32_t *ids, size_t count, void *user);
typedef struct heed_encode_options {
  bool template_tokens;  // also the tokens that the file's post-processor puts around a text
} heed_encode_options;
// Tokenizes a text. Long texts arrive at the sink in parts, and need no memory in proportion to their length, but for a piece that the
// tokenizer does not cut, and for what NFC changes. What is not UTF-8 is a piece of its own. options NULL: none.
// Errors: FORMAT with the offset (chars: a byte that is not UTF-8, a character that the tokenizer does not have; a tokenizer without a
// token for every byte) or for a regular expression of the file that takes too many steps; the sink's; OVERFLOW (a piece of 2 GiB);
// OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_encode(const heed_tokenizer *tokenizer, const char *text,
                                                           size_t bytes, const heed_encode_options *options,
                                                           heed_token_sink sink, void *user);
// The same into memory that the caller frees; NULL for no ids.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_encode_all(const heed_tokenizer *tokenizer, const char *text,
                                                               size_t bytes, const heed_encode_options *options,
                                                               int32_t **ids, size_t *count);
// The text of ids, which the caller frees; a 0 follows its last byte. With a byte-level tokenizer without NFC, decode(encode(x)) = x for
// any bytes. Errors: INVALID_ARGUMENT for an id that the tokenizer does not have, with its index; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_tokenizer_decode(const heed_tokenizer *tokenizer, const int32_t *ids,
                                                           size_t count, char **text, size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
