// vocab.json and merges.txt, the files of GPT-2.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/read/model.h"
#include "text/read/stages.h"

// A merge is two tokens with a blank between them, on a line.
static heed_status read_line(const char *path, size_t number, const char *line, size_t bytes,
                             const struct heed__names *spelled, heed_tokenizer *t) {
  char where[48];
  const char *blank = memchr(line, ' ', bytes);
  const size_t left = blank ? (size_t)(blank - line) : 0;
  HEED__REQUIRE(blank && !memchr(blank + 1, ' ', bytes - left - 1), HEED_ERROR_FORMAT,
                "%s: line %zu is not two tokens with a blank between them", path, number);
  snprintf(where, sizeof where, "line %zu", number);
  return heed__read_merge(path, where, spelled, line, left, blank + 1, bytes - left - 1, t);
}

static heed_status read_merges(const char *path, const struct heed__buffer *content, const struct heed__names *spelled,
                               heed_tokenizer *t) {
  static const char version[] = "#version";
  size_t number = 0;
  for (size_t at = 0; at < content->size; ++number) {
    const char *line = content->data + at, *end = memchr(line, '\n', content->size - at);
    size_t bytes = end ? (size_t)(end - line) : content->size - at;
    at += bytes + 1;
    if (bytes > 0 && line[bytes - 1] == '\r') --bytes;
    const bool comment = number == 0 && bytes >= sizeof version - 1 && memcmp(line, version, sizeof version - 1) == 0;
    if (bytes > 0 && !comment) HEED__TRY(read_line(path, number + 1, line, bytes, spelled, t));
  }
  return HEED_OK;
}

static heed_status read_vocabulary(const char *path, heed_tokenizer *t, struct heed__names *spelled) {
  struct heed__buffer content = {0};
  json_t *json = NULL;
  char *zero = NULL;
  heed_status status = heed__file_read(path, &content);
  if (status == HEED_OK) status = heed__json_parse(path, content.data, content.size, &json, &zero);
  heed__buffer_free(&content);
  if (status == HEED_OK)
    status = heed__read_vocabulary(&(struct heed__object){path, "vocabulary", json, zero}, t, spelled);
  json_decref(json);
  free(zero);
  return status;
}

heed_status heed__read_vocab_and_merges(const char *folder, heed_tokenizer *tokenizer) {
  struct heed__names spelled = {0};
  struct heed__buffer content = {0};
  char *vocab = NULL, *merges = NULL;
  if (asprintf(&vocab, "%s/vocab.json", folder) < 0) vocab = NULL;
  if (asprintf(&merges, "%s/merges.txt", folder) < 0) merges = NULL;
  heed_status status = vocab && merges ? HEED_OK : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", folder);
  if (status == HEED_OK) status = read_vocabulary(vocab, tokenizer, &spelled);
  if (status == HEED_OK) status = heed__file_read(merges, &content);
  if (status == HEED_OK) status = read_merges(merges, &content, &spelled, tokenizer);
  heed__buffer_free(&content);
  heed__names_free(&spelled);
  free(vocab);
  free(merges);
  return status == HEED_OK ? heed__read_byte_level(tokenizer) : status;
}
