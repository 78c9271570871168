// The tokenizer of a model folder: which files there are, and which of them are kept as they are.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "text/read/json.h"
#include "text/parts/tokenizer.h"

// Reads a file of the folder if it is there.
static heed_status keep(const char *folder, const char *name, struct heed__buffer *out) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0) path = NULL;
  HEED__REQUIRE(path, HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", folder);
  const bool there = access(path, F_OK) == 0;
  const heed_status status = there ? heed__file_read(path, out) : HEED_OK;
  free(path);
  return status;
}

static heed_status read_json(const char *folder, heed_tokenizer *tokenizer) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, heed__kept_names[HEED__KEPT_TOKENIZER]) < 0) path = NULL;
  HEED__REQUIRE(path, HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", folder);
  const struct heed__buffer *content = &tokenizer->kept[HEED__KEPT_TOKENIZER];
  const heed_status status = heed__read_tokenizer_json(path, content->data, content->size, tokenizer);
  free(path);
  return status;
}

static bool has(const char *folder, const char *name) {
  char path[4096];
  return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && access(path, F_OK) == 0;
}

static heed_status read_all(const char *folder, heed_tokenizer *tokenizer) {
  struct stat info;
  HEED__REQUIRE(stat(folder, &info) == 0, HEED_ERROR_IO, "%s: %s", folder, strerror(errno));
  HEED__REQUIRE(S_ISDIR(info.st_mode), HEED_ERROR_IO,
                "%s: a file; name the folder with tokenizer.json, or with vocab.json and merges.txt", folder);
  for (int i = 0; i < HEED__KEPT_FILES; ++i) HEED__TRY(keep(folder, heed__kept_names[i], &tokenizer->kept[i]));
  if (tokenizer->kept[HEED__KEPT_TOKENIZER].data) {
    HEED__TRY(read_json(folder, tokenizer));
  } else {
    HEED__REQUIRE(has(folder, "vocab.json") || has(folder, "merges.txt"), HEED_ERROR_IO,
                  "%s: there is no tokenizer: neither tokenizer.json nor vocab.json and merges.txt", folder);
    HEED__TRY(heed__read_vocab_and_merges(folder, tokenizer));
  }
  heed__tokenizer_complete(tokenizer);
  return HEED_OK;
}

heed_status heed_tokenizer_open(const char *folder, heed_tokenizer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_open: out is NULL");
  *out = NULL;
  HEED__REQUIRE(folder, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_open: the folder is NULL");
  heed_tokenizer *tokenizer = NULL;
  HEED__TRY(heed__tokenizer_new(HEED__MODEL_BPE, &tokenizer));
  const heed_status status = read_all(folder, tokenizer);
  if (status != HEED_OK) {
    heed_tokenizer_destroy(tokenizer);
    return status;
  }
  *out = tokenizer;
  return HEED_OK;
}
