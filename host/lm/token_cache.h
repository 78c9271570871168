// Where the tokens of texts are kept: files of llm.c's layout in the folder "tokens" of heed's cache.
#ifndef HEED__LM_TOKEN_CACHE_H
#define HEED__LM_TOKEN_CACHE_H

#include "base/atomic_file.h"
#include "base/hash.h"
#include "lm/token_file.h"

// What a text's tokens depend on.
struct heed__token_key {
  uint8_t bytes[HEED__DIGEST_BYTES];
};
void heed__token_key_make(const char *text, size_t bytes, uint64_t tokenizer, struct heed__token_key *key);

// Finds tokens that are whole and have this key. path: the text's, for messages. Errors: none; what cannot be used is not there.
bool heed__token_cache_find(const struct heed__token_key *key, const char *path, struct heed__token_file *out);

// Writes tokens, to the cache or to a file without a name in $TMPDIR.
struct heed__token_writer {
  const struct heed__token_key *key;
  const char *path;  // the text's
  int width;
  int folder;   // of the cache; -1: the file has no name
  bool failed;  // by writing
  int64_t count;
  uint32_t crc;
  struct heed__atomic_file file;
  size_t used;
  uint8_t buffer[1 << 15];
};
// width: bytes of an id. named: in the cache, if there is one. After a failure, too, call heed__token_writer_close().
// Errors: IO, OUT_OF_MEMORY; without a message if the file is the cache's, which is not what the user asked for.
heed_status heed__token_writer_open(struct heed__token_writer *writer, const struct heed__token_key *key,
                                    const char *path, int width, bool named);
heed_status heed__token_writer_put(struct heed__token_writer *writer, const int32_t *ids, size_t count);
// Puts the file in place, where other old entries leave the cache for it, and maps it.
heed_status heed__token_writer_finish(struct heed__token_writer *writer, struct heed__token_file *out);
void heed__token_writer_close(struct heed__token_writer *writer);

#endif
