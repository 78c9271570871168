#include "support_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"

static const char *const merges[] = {"h e",
                                     "l l",
                                     "he ll",
                                     "hell o",
                                     "\xC4\xA0 hello",
                                     "\xC4\xA0 \xC4\xA0",
                                     "\xC4\x8A \xC4\x8A",
                                     "1 2",
                                     "12 3",
                                     "\xC3\x83 \xC2\xA9",
                                     "' s",
                                     "a a",
                                     "aa aa",
                                     "\xC4\xA0 1"};
enum { MERGES = sizeof merges / sizeof *merges };

// The character that stands for a byte: what Latin-1 can show is itself, the others follow from U+0100 on in their order.
static void put_byte(FILE *out, int byte) {
  int character = byte, others = 0;
  for (int b = 0; b <= byte; b++) {
    const bool shown = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
    character = shown ? b : 0x100 + others++;
  }
  if (character == '"' || character == '\\') fputc('\\', out);
  if (character >= 0x80) fputc(0xC0 | character >> 6, out);
  fputc(character >= 0x80 ? 0x80 | (character & 0x3F) : character, out);
}

char *tokenizer_json(const tokenizer_parts *parts) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  fprintf(out,
          "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": %s, \"normalizer\": %s, ",
          parts->added_tokens ? parts->added_tokens : "[]", parts->normalizer ? parts->normalizer : "null");
  fprintf(out, "\"pre_tokenizer\": %s, \"post_processor\": %s, \"decoder\": %s, ",
          parts->pre_tokenizer ? parts->pre_tokenizer : TOKENIZER_BYTE_LEVEL,
          parts->post_processor ? parts->post_processor : "null",
          parts->decoder ? parts->decoder : TOKENIZER_BYTE_LEVEL);
  fprintf(out, "%s%s\"model\": {\"type\": \"BPE\", %s%s\"vocab\": {", parts->more ? parts->more : "",
          parts->more ? ", " : "", parts->model ? parts->model : "", parts->model ? ", " : "");
  for (int byte = 0; byte < 256; byte++) {
    fputs(byte > 0 ? ", \"" : "\"", out);
    put_byte(out, byte);
    fprintf(out, "\": %d", byte);
  }
  for (int i = 0; i < MERGES; i++) {
    const char *blank = strchr(merges[i], ' ');
    fprintf(out, ", \"%.*s%s\": %d", (int)(blank - merges[i]), merges[i], blank + 1, 256 + i);
  }
  fputs("}, \"merges\": [", out);
  for (int i = 0; i < MERGES; i++) fprintf(out, "%s\"%s\"", i > 0 ? ", " : "", merges[i]);
  fputs("]}}", out);
  assert_int_equal(fclose(out), 0);
  return text;
}

heed_status tokenizer_open_text(const char *json, heed_tokenizer **out) {
  support_write_file(support_path("model/tokenizer.json"), json, strlen(json));
  return heed_tokenizer_open(support_path("model"), out);
}

heed_status tokenizer_open(const tokenizer_parts *parts, heed_tokenizer **out) {
  char *json = tokenizer_json(parts);
  const heed_status status = tokenizer_open_text(json, out);
  free(json);
  return status;
}
