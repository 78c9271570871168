#include "support_tokens.h"

#include <stdlib.h>
#include <string.h>

// Where files are written: paths that live longer than those of support_path().
static const char *path_of(const char *name) {
  static char ring[8][384];
  static unsigned next;
  return strcpy(ring[next++ % 8], support_path(name));
}

const char *support_token_file(const char *name, int width, uint32_t count, uint32_t first) {
  const size_t bytes = SUPPORT_TOKENS_HEADER + (size_t)count * (size_t)width;
  const uint32_t header[] = {width == 2 ? 20240520 : 20240801, width == 2 ? 1 : 7, count};
  char *file = calloc(1, bytes);
  assert_non_null(file);
  memcpy(file, header, sizeof header);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t id = first + i;
    memcpy(file + SUPPORT_TOKENS_HEADER + (size_t)i * (size_t)width, &id, (size_t)width);  // the low bytes come first
  }
  const char *path = path_of(name);
  support_write_file(path, file, bytes);
  free(file);
  return path;
}

const char *support_text(const char *name, const char *text) {
  const char *path = path_of(name);
  support_write_file(path, text, strlen(text));
  return path;
}

heed_status support_open_tokens(const char *path, int64_t vocab, heed_token_data **out) {
  const heed_token_data_options options = {.vocab = vocab};
  return heed_token_data_open(&path, 1, &options, out, NULL);
}

void support_assert_ids(const heed_token_data *data, const int32_t *ids, int64_t count) {
  int32_t *got = malloc((size_t)count * sizeof *got + 1);
  assert_non_null(got);
  assert_int_equal(heed_token_data_count(data), count);
  if (count > 0) ASSERT_OK(heed_token_data_read(data, 0, count, got));
  assert_memory_equal(got, ids, (size_t)count * sizeof *got);
  free(got);
}

void support_assert_text(const heed_token_data *data, const char *text) {
  int32_t ids[256];
  const size_t count = strlen(text);
  assert_true(count <= 256);
  for (size_t i = 0; i < count; ++i) ids[i] = (unsigned char)text[i];
  support_assert_ids(data, ids, (int64_t)count);
}
