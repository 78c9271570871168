// tokenizer.json, and a text after a byte of 0: any file is refused by name and reason, or read into a tokenizer whose ids are its own,
// and give the text back where nothing in it changes texts.
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "text/parts/tokenizer.h"

static bool keeps_texts(const heed_tokenizer *t) {
  bool keeps = !t->nfc;
  for (size_t i = 0; i < t->stage_count; ++i)
    keeps = keeps && !t->stages[i].prefix && t->stages[i].behavior != HEED__REMOVED;
  const struct heed__added *const both[] = {&t->added, &t->normalized};
  for (int k = 0; k < 2; ++k)
    for (size_t i = 0; i < both[k]->count; ++i)
      keeps = keeps && !both[k]->tokens[i].lstrip && !both[k]->tokens[i].rstrip;
  return keeps;
}

static void check_text(const heed_tokenizer *tokenizer, const char *text, size_t bytes) {
  int32_t *ids = NULL, *again = NULL;
  size_t count = 0, more = 0, length = 0;
  char *back = NULL;
  const heed_status status = heed_tokenizer_encode_all(tokenizer, text, bytes, NULL, &ids, &count);
  if (status != HEED_OK) {
    FUZZ_REQUIRE(status == HEED_ERROR_FORMAT && !ids && heed_last_error()[0]);
    return;
  }
  for (size_t i = 0; i < count; ++i) FUZZ_REQUIRE(heed_tokenizer_token(tokenizer, ids[i], NULL));
  FUZZ_REQUIRE(heed_tokenizer_decode(tokenizer, ids, count, &back, &length) == HEED_OK);
  if (keeps_texts(tokenizer)) FUZZ_REQUIRE(length == bytes && memcmp(back, text, bytes) == 0);
  const heed_encode_options with = {.template_tokens = true};
  FUZZ_REQUIRE(heed_tokenizer_encode_all(tokenizer, text, bytes, &with, &again, &more) == HEED_OK);
  FUZZ_REQUIRE(more >= count);
  free(again);
  free(back);
  free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
  const size_t json = zero ? (size_t)(zero - data) : size;
  const char path[] = "model/tokenizer.json", *text = zero ? (const char *)zero + 1 : "";
  heed_tokenizer *tokenizer = NULL;
  FUZZ_REQUIRE(heed__tokenizer_new(HEED__MODEL_BPE, &tokenizer) == HEED_OK);
  const heed_status status = heed__read_tokenizer_json(path, (const char *)data, json, tokenizer);
  if (status == HEED_OK) {
    heed__tokenizer_complete(tokenizer);
    check_text(tokenizer, text, zero ? size - json - 1 : 0);
  } else {
    FUZZ_REQUIRE(status == HEED_ERROR_FORMAT || status == HEED_ERROR_UNSUPPORTED);
    fuzz_require_message(path);
  }
  heed_tokenizer_destroy(tokenizer);
  return 0;
}
