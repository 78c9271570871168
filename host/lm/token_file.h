// Token ids in a file of llm.c's layout, mapped into memory.
#ifndef HEED__LM_TOKEN_FILE_H
#define HEED__LM_TOKEN_FILE_H

#include <heed/lm.h>

// The header: 256 words, of which llm.c reads the first three. The count's high half is 0 in its files.
enum {
  HEED__TOKENS_HEADER_WORDS = 256,
  HEED__TOKENS_HEADER_BYTES = 1024,
  HEED__TOKENS_MAGIC = 0,
  HEED__TOKENS_VERSION,
  HEED__TOKENS_COUNT,
  HEED__TOKENS_COUNT_HIGH,
  HEED__TOKENS_FREE,  // the first that is another's
};

struct heed__token_file {
  char *path;  // for messages: of the file, or of the text that it was made from
  void *map;
  size_t map_bytes;
  int64_t first, count;  // ids of the file
  int width;             // bytes of an id: 2, 4
  bool ours;             // in the cache or without a name: nobody else writes to it
};

// The first words of a file of `count` ids of `width` bytes.
void heed__token_header(int64_t count, int width, uint32_t header[HEED__TOKENS_HEADER_WORDS]);
// Whether a file is one of tokens, and how many ids it has; the fewest bytes that tell are its first four.
// Errors: IO; FORMAT (truncated, another version).
heed_status heed__token_file_peek(const char *path, bool *is_tokens, int64_t *count);
// Maps ids [first, first + count) of a token file. Errors: as above; OUT_OF_MEMORY.
heed_status heed__token_file_open(const char *path, int64_t first, int64_t count, struct heed__token_file *out);
// The same of an open file, whole. path: for messages. Errors: FORMAT; IO; OUT_OF_MEMORY.
heed_status heed__token_file_map(int fd, const char *path, struct heed__token_file *out);
void heed__token_file_close(struct heed__token_file *file);

// Copies ids [first, first + count) of those that are mapped.
void heed__token_file_read(const struct heed__token_file *file, int64_t first, int64_t count, int32_t *ids);
// Reads all ids. Errors: FORMAT for one that is not below `vocab` (0: that does not fit into I32), with its index in the file.
heed_status heed__token_file_check(const struct heed__token_file *file, int64_t vocab);
// Whether the file still has the bytes that are mapped: to read others ends the process. Errors: IO.
heed_status heed__token_file_is_whole(const struct heed__token_file *file);

#endif
