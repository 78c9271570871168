// Token files and texts that tests write themselves, and sequences read from them.
#ifndef SUPPORT_TOKENS_H
#define SUPPORT_TOKENS_H

#include <heed/lm.h>

#include "support_files.h"

enum { SUPPORT_TOKENS_HEADER = 1024 };

// Writes a token file in the folder of the test: count ids of `width` bytes, first, first + 1, ... Returns its path, one of eight in turn.
const char *support_token_file(const char *name, int width, uint32_t count, uint32_t first);
const char *support_text(const char *name, const char *text);
// Opens one file; without a part for validation.
heed_status support_open_tokens(const char *path, int64_t vocab, heed_token_data **out);
// The sequence is that of these ids.
void support_assert_ids(const heed_token_data *data, const int32_t *ids, int64_t count);
void support_assert_text(const heed_token_data *data, const char *text);  // of bytes

#endif
