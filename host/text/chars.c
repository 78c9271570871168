// Tokenizers with an id for each character of some files.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/parts/tokenizer.h"
#include "text/parts/unicode.h"

enum { PIECE = 1 << 16, CHARACTERS = 0x110000 };

struct reading {
  uint8_t *seen;          // a bit for each character
  char piece[PIECE + 4];  // what a piece leaves of a character is read again with the next one
  size_t held;            // bytes in it
  uint64_t before;        // bytes of the file before it
};

// Takes the characters of a piece. What may be the beginning of one stays, unless the file ends here.
static heed_status take(struct reading *r, const char *path, bool last) {
  size_t at = 0;
  for (int32_t c; at < r->held;) {
    const size_t length = heed__utf8_read(r->piece + at, r->held - at, &c);
    if (length == 0 && !last && r->held - at < 4) break;
    HEED__REQUIRE(length > 0, HEED_ERROR_FORMAT, "%s: the byte %02x at offset %" PRIu64 " is not UTF-8", path,
                  (unsigned char)r->piece[at], r->before + at);
    r->seen[c >> 3] |= (uint8_t)(1 << (c & 7));
    at += length;
  }
  memmove(r->piece, r->piece + at, r->held - at);
  r->held -= at;
  r->before += at;
  return HEED_OK;
}

static heed_status read_file(struct reading *r, const char *path) {
  FILE *file = fopen(path, "rb");
  HEED__REQUIRE(file, HEED_ERROR_IO, "%s: %s", path, strerror(errno));
  heed_status status = HEED_OK;
  r->held = 0;
  r->before = 0;
  for (bool last = false; !last && status == HEED_OK;) {
    const size_t got = fread(r->piece + r->held, 1, PIECE, file);
    last = got < PIECE;
    r->held += got;
    status = ferror(file) ? heed__fail(HEED_ERROR_IO, "%s: %s", path, strerror(errno)) : take(r, path, last);
  }
  fclose(file);
  return status;
}

static heed_status add_all(const uint8_t *seen, heed_tokenizer *tokenizer) {
  int64_t id = 0;
  for (int32_t c = 0; c < CHARACTERS; ++c) {
    if (!(seen[c >> 3] >> (c & 7) & 1)) continue;
    char text[4];
    HEED__TRY(heed__vocabulary_add(&tokenizer->vocabulary, id++, text, heed__utf8_write(c, text), true));
  }
  return HEED_OK;
}

static heed_status make(const char *const *paths, size_t count, struct reading *r, heed_tokenizer **out) {
  for (size_t i = 0; i < count; ++i) {
    HEED__REQUIRE(paths && paths[i], HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_create_chars: path %zu is NULL", i);
    HEED__TRY(read_file(r, paths[i]));
  }
  HEED__TRY(heed__tokenizer_new(HEED__MODEL_CHARS, out));
  HEED__TRY(add_all(r->seen, *out));
  heed__tokenizer_complete(*out);
  return HEED_OK;
}

heed_status heed_tokenizer_create_chars(const char *const *paths, size_t count, heed_tokenizer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_create_chars: out is NULL");
  *out = NULL;
  HEED__REQUIRE(paths || count == 0, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_create_chars: paths is NULL");
  struct reading *reading = calloc(1, sizeof *reading);
  if (reading) reading->seen = calloc(1, CHARACTERS / 8);
  heed_tokenizer *tokenizer = NULL;
  const heed_status status = reading && reading->seen
                                 ? make(paths, count, reading, &tokenizer)
                                 : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to read characters");
  if (reading) free(reading->seen);
  free(reading);
  if (status == HEED_OK)
    *out = tokenizer;
  else
    heed_tokenizer_destroy(tokenizer);
  return status;
}
