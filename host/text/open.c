// The tokenizer of a model folder.
#include "text/tokenizer.h"

heed_status heed_tokenizer_open(const char *folder, heed_tokenizer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_open: out is NULL");
  *out = NULL;
  HEED__REQUIRE(folder, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_open: the folder is NULL");
  return heed__fail(HEED_ERROR_UNSUPPORTED, "%s: heed does not open tokenizers yet", folder);
}
