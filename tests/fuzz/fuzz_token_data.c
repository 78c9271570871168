// Data to train on: token files and texts. The first byte says whether the vocabulary is small; the rest is the file. What is divided is
// what was there, in its order, and no token is beyond the vocabulary.
#include <heed/lm.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { SMALL = 200 };

static const heed_tokenizer *tokenizer(void) {
  static heed_tokenizer *bytes;
  if (bytes) return bytes;
  // Inputs do not come twice.
  FUZZ_REQUIRE(setenv("HEED_CACHE", "off", 1) == 0);
  FUZZ_REQUIRE(heed_tokenizer_create_bytes(&bytes) == HEED_OK);
  return bytes;
}

static int32_t *read_all(const heed_token_data *data, int64_t vocab) {
  const int64_t count = heed_token_data_count(data);
  int32_t *ids = malloc((size_t)count * sizeof *ids + 1);
  FUZZ_REQUIRE(ids);
  if (count > 0) FUZZ_REQUIRE(heed_token_data_read(data, 0, count, ids) == HEED_OK);
  for (int64_t i = 0; i < count; ++i) FUZZ_REQUIRE(ids[i] >= 0 && (vocab == 0 || ids[i] < vocab));
  return ids;
}

static void compare(const heed_token_data *whole, const heed_token_data *training, const heed_token_data *validation,
                    int64_t vocab) {
  const int64_t count = heed_token_data_count(training), held = heed_token_data_count(validation);
  int32_t *all = read_all(whole, vocab), *first = read_all(training, vocab), *rest = read_all(validation, vocab);
  FUZZ_REQUIRE(count + held == heed_token_data_count(whole));
  FUZZ_REQUIRE(memcmp(all, first, (size_t)count * sizeof *all) == 0);
  FUZZ_REQUIRE(memcmp(all + count, rest, (size_t)held * sizeof *all) == 0);
  free(all);
  free(first);
  free(rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  const char *path = fuzz_file(data + 1, size - 1);
  heed_token_data_options options = {.tokenizer = tokenizer(), .vocab = data[0] & 1 ? SMALL : 0};
  heed_token_data *whole, *training, *validation;
  const heed_status status = heed_token_data_open(&path, 1, &options, &whole, NULL);
  if (status != HEED_OK) fuzz_require_message(path);
  options.validation = 0.25;
  FUZZ_REQUIRE(heed_token_data_open(&path, 1, &options, &training, &validation) == status);
  FUZZ_REQUIRE((status == HEED_OK) == (whole && training && validation));
  if (status == HEED_OK) compare(whole, training, validation, options.vocab);
  heed_token_data_close(whole);
  heed_token_data_close(training);
  heed_token_data_close(validation);
  return 0;
}
