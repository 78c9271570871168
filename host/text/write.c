// tokenizer.json and tokenizer_config.json: as they were found, or of heed's own making.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/atomic_file.h"
#include "text/parts/tokenizer.h"
#include "text/parts/unicode.h"

// A token as it stands in files.
static void add_token(const heed_tokenizer *t, const struct heed__place *place, struct heed__buffer *out) {
  const char *text = heed__vocabulary_text(&t->vocabulary, place);
  if (place->verbatim) {
    heed__buffer_json(out, text, place->bytes);
    return;
  }
  heed__buffer_text(out, "\"");
  for (uint32_t i = 0; i < place->bytes; ++i) {
    char character[4];
    const size_t length = heed__utf8_write(heed__alphabet((uint8_t)text[i]), character);
    if (character[0] == '"' || character[0] == '\\') heed__buffer_text(out, "\\");
    heed__buffer_add(out, character, length);
  }
  heed__buffer_text(out, "\"");
}

static void add_vocabulary(const heed_tokenizer *t, struct heed__buffer *out) {
  bool first = true;
  heed__buffer_text(out, "    \"vocab\": {");
  for (int64_t id = 0; id < t->vocabulary.count; ++id) {
    if (!t->vocabulary.places[id].there) continue;
    heed__buffer_text(out, first ? "\n      " : ",\n      ");
    add_token(t, &t->vocabulary.places[id], out);
    heed__buffer_print(out, ": %lld", (long long)id);
    first = false;
  }
  heed__buffer_text(out, "\n    }");
}

// WordLevel joins its tokens with blanks unless there is a decoder; Fuse joins them with nothing. A character is never "<unk>".
static void make_chars(const heed_tokenizer *t, struct heed__buffer *out) {
  heed__buffer_text(
      out,
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [],\n"
      "  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": "
      "\"[\\\\s\\\\S]\"}, \"behavior\": \"Isolated\", \"invert\": false},\n"
      "  \"post_processor\": null,\n  \"decoder\": {\"type\": \"Fuse\"},\n"
      "  \"model\": {\n    \"type\": \"WordLevel\",\n");
  add_vocabulary(t, out);
  heed__buffer_text(out, ",\n    \"unk_token\": \"<unk>\"\n  }\n}\n");
}

static void make_bpe(const heed_tokenizer *t, struct heed__buffer *out) {
  static const char byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, ";
  heed__buffer_text(
      out,
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [],\n"
      "  \"normalizer\": null,\n");
  heed__buffer_print(out, "  \"pre_tokenizer\": %s\"use_regex\": %s},\n", byte_level,
                     t->stage_count > 0 ? "true" : "false");
  heed__buffer_print(out, "  \"post_processor\": null,\n  \"decoder\": %s\"use_regex\": true},\n", byte_level);
  heed__buffer_text(out,
                    "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
                    "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": "
                    "false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n");
  add_vocabulary(t, out);
  heed__buffer_text(out, ",\n    \"merges\": [");
  for (size_t i = 0; i < t->merge_count; ++i) {
    heed__buffer_text(out, i > 0 ? ",\n      [" : "\n      [");
    add_token(t, &t->vocabulary.places[t->merge_list[i].left], out);
    heed__buffer_text(out, ", ");
    add_token(t, &t->vocabulary.places[t->merge_list[i].right], out);
    heed__buffer_text(out, "]");
  }
  heed__buffer_text(out, t->merge_count > 0 ? "\n    ]\n  }\n}\n" : "]\n  }\n}\n");
}

// GPT-2's files do not say which token ends a text; there is one of this name. In a text it stays text.
static void make_config(const heed_tokenizer *t, struct heed__buffer *out) {
  static const char end[] = "<|endoftext|>";
  heed__buffer_text(out, "{\n  \"add_prefix_space\": false,\n  \"clean_up_tokenization_spaces\": false,\n");
  if (!t->kept[HEED__KEPT_TOKENIZER].data && heed_tokenizer_find(t, end) >= 0)
    heed__buffer_print(out, "  \"bos_token\": \"%s\",\n  \"eos_token\": \"%s\",\n  \"split_special_tokens\": true,\n",
                       end, end);
  heed__buffer_text(out, "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
}

static heed_status write_file(const char *folder, const char *name, const struct heed__buffer *content) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s", folder, name) < 0) path = NULL;
  HEED__REQUIRE(path, HEED_ERROR_OUT_OF_MEMORY, "no memory to write %s", name);
  struct heed__atomic_file file;
  heed_status status = heed__atomic_open(&file, path);
  if (status == HEED_OK) {
    status = heed__atomic_write(&file, content->data, content->size);
    if (status == HEED_OK) status = heed__atomic_commit(&file);
    heed__atomic_close(&file);
  }
  free(path);
  return status;
}

static heed_status write_kept_or(const heed_tokenizer *t, const char *folder, enum heed__kept which,
                                 struct heed__buffer *own) {
  const struct heed__buffer *content = t->kept[which].data ? &t->kept[which] : own;
  heed_status status = HEED_OK;
  if (own->failed)
    status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to write %s", heed__kept_names[which]);
  else if (content->data)
    status = write_file(folder, heed__kept_names[which], content);
  heed__buffer_free(own);
  return status;
}

heed_status heed_tokenizer_save(const heed_tokenizer *tokenizer, const char *folder) {
  HEED__REQUIRE(tokenizer && folder, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_save: an argument is NULL");
  HEED__REQUIRE(mkdir(folder, 0777) == 0 || errno == EEXIST, HEED_ERROR_IO, "%s: %s", folder, strerror(errno));
  for (int i = 0; i < HEED__KEPT_FILES; ++i) {
    struct heed__buffer own = {0};
    if (i == HEED__KEPT_TOKENIZER && !tokenizer->kept[i].data)
      tokenizer->model == HEED__MODEL_CHARS ? make_chars(tokenizer, &own) : make_bpe(tokenizer, &own);
    if (i == HEED__KEPT_CONFIG && !tokenizer->kept[i].data) make_config(tokenizer, &own);
    HEED__TRY(write_kept_or(tokenizer, folder, (enum heed__kept)i, &own));
  }
  return HEED_OK;
}
