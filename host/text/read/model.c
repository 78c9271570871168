// Reads vocabularies and merges: of tokenizer.json, and of vocab.json with merges.txt.
#include "text/read/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "text/parts/unicode.h"

enum { MOST_MERGES = 1 << 24 };

// ---------------------------------------------------------------- tokens

// A token and its id, before anything is made of them.
struct entry {
  const char *text;
  size_t bytes;
  int64_t id;
};

static int by_id(const void *first, const void *second) {
  const struct entry *a = first, *b = second;
  return (a->id > b->id) - (a->id < b->id);
}

static heed_status list_entries(const struct heed__object *object, struct entry *entries) {
  const char *path = object->path, *name = object->name, *zero = object->zero;
  const json_t *json = object->json;
  size_t count = 0;
  for (void *at = json_object_iter((json_t *)json); at; at = json_object_iter_next((json_t *)json, at)) {
    const char *text = json_object_iter_key(at);
    const json_t *id = json_object_iter_value(at);
    HEED__REQUIRE(json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < HEED__MOST_IDS,
                  HEED_ERROR_FORMAT, "%s: the id of \"%s\" in \"%s\" is no integer from 0 to %d", path,
                  heed__printable(text).text, name, HEED__MOST_IDS - 1);
    const bool is_zero = zero && strcmp(text, zero) == 0;
    entries[count++] = (struct entry){is_zero ? "" : text, is_zero ? 1 : strlen(text), json_integer_value(id)};
  }
  qsort(entries, count, sizeof *entries, by_id);
  for (size_t i = 1; i < count; ++i)
    HEED__REQUIRE(entries[i].id != entries[i - 1].id, HEED_ERROR_FORMAT,
                  "%s: \"%s\" and \"%s\" in \"%s\" have the same id, %" PRId64, path,
                  heed__printable(entries[i - 1].text).text, heed__printable(entries[i].text).text, name,
                  entries[i].id);
  return HEED_OK;
}

// Tokens in the alphabet of bytes come first: only they can be pieces of a text, and what a token that stands verbatim has in common
// with one of them is theirs.
static heed_status add_entries(const struct entry *entries, size_t count, heed_tokenizer *t,
                               struct heed__names *spelled, char *bytes) {
  for (int verbatim = 0; verbatim < 2; ++verbatim)
    for (size_t i = 0; i < count; ++i) {
      const struct entry *entry = &entries[i];
      const int64_t read = t->model == HEED__MODEL_BPE ? heed__alphabet_read(entry->text, entry->bytes, bytes) : -1;
      if ((read < 0) != verbatim) continue;
      HEED__TRY(heed__vocabulary_add(&t->vocabulary, entry->id, read < 0 ? entry->text : bytes,
                                     read < 0 ? entry->bytes : (size_t)read, verbatim));
      HEED__REQUIRE(heed__names_add(spelled, entry->text, entry->bytes, (int32_t)entry->id), HEED_ERROR_OUT_OF_MEMORY,
                    "no memory for %zu tokens", count);
    }
  return HEED_OK;
}

static void find_bytes(heed_tokenizer *t, const struct heed__names *spelled) {
  for (int byte = 0; byte < 256; ++byte) {
    char character[4];
    t->byte_ids[byte] =
        heed__names_find(spelled, character, heed__utf8_write(heed__alphabet((uint8_t)byte), character));
  }
}

heed_status heed__read_vocabulary(const struct heed__object *object, heed_tokenizer *tokenizer,
                                  struct heed__names *spelled) {
  HEED__REQUIRE(json_is_object(object->json), HEED_ERROR_FORMAT, "%s: \"%s\" is no object of tokens and their ids",
                object->path, object->name);
  const size_t count = json_object_size(object->json);
  struct entry *entries = malloc((count + 1) * sizeof *entries);
  heed_status status =
      entries ? list_entries(object, entries) : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu tokens", count);
  size_t longest = 0;
  for (size_t i = 0; status == HEED_OK && i < count; ++i)
    if (entries[i].bytes > longest) longest = entries[i].bytes;
  char *bytes = status == HEED_OK ? malloc(longest + 1) : NULL;
  if (status == HEED_OK && !bytes) status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu tokens", count);
  if (status == HEED_OK) status = add_entries(entries, count, tokenizer, spelled, bytes);
  if (status == HEED_OK && tokenizer->model == HEED__MODEL_BPE) find_bytes(tokenizer, spelled);
  free(bytes);
  free(entries);
  return status;
}

// ---------------------------------------------------------------- merges

static heed_status append_merge(heed_tokenizer *t, const struct heed__merge *merge) {
  if (t->merge_count == t->merge_room) {
    const size_t room = 2 * t->merge_room + 64;
    struct heed__merge *list = realloc(t->merge_list, room * sizeof *list);
    HEED__REQUIRE(list, HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu merges", t->merge_count + 1);
    t->merge_list = list;
    t->merge_room = room;
  }
  t->merge_list[t->merge_count++] = *merge;
  return heed__merges_add(&t->merges, merge);
}

static heed_status find_token(const char *path, const char *where, const struct heed__names *spelled, const char *text,
                              size_t bytes, int32_t *id) {
  *id = heed__names_find(spelled, text, bytes);
  if (*id >= 0) return HEED_OK;
  char name[96];
  snprintf(name, sizeof name, "%.*s", bytes < sizeof name ? (int)bytes : (int)sizeof name - 1, text);
  return heed__fail(HEED_ERROR_FORMAT, "%s: %s needs the token \"%s\", which the vocabulary does not have", path, where,
                    heed__printable(name).text);
}

heed_status heed__read_merge(const char *path, const char *where, const struct heed__names *spelled, const char *left,
                             size_t left_bytes, const char *right, size_t right_bytes, heed_tokenizer *tokenizer) {
  struct heed__merge merge = {.rank = (int32_t)tokenizer->merge_count};
  HEED__REQUIRE(tokenizer->merge_count < MOST_MERGES, HEED_ERROR_FORMAT, "%s: there are over %d merges", path,
                MOST_MERGES);
  HEED__TRY(find_token(path, where, spelled, left, left_bytes, &merge.left));
  HEED__TRY(find_token(path, where, spelled, right, right_bytes, &merge.right));
  struct heed__buffer both = {0};
  heed__buffer_add(&both, left, left_bytes);
  heed_status status = heed__buffer_add(&both, right, right_bytes) && heed__buffer_add(&both, "", 1)
                           ? find_token(path, where, spelled, both.data, both.size - 1, &merge.id)
                           : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a merge");
  heed__buffer_free(&both);
  return status == HEED_OK ? append_merge(tokenizer, &merge) : status;
}

// A merge is "a b" or ["a", "b"].
static heed_status read_merge_value(const char *path, size_t index, const json_t *value, heed_tokenizer *tokenizer,
                                    const struct heed__names *spelled) {
  char where[48];
  snprintf(where, sizeof where, "merge %zu", index);
  const json_t *left = json_array_get(value, 0), *right = json_array_get(value, 1);
  if (json_array_size(value) == 2 && json_is_string(left) && json_is_string(right))
    return heed__read_merge(path, where, spelled, json_string_value(left), json_string_length(left),
                            json_string_value(right), json_string_length(right), tokenizer);
  const char *text = json_string_value(value), *blank = text ? strchr(text, ' ') : NULL;
  HEED__REQUIRE(blank && !strchr(blank + 1, ' '), HEED_ERROR_FORMAT, "%s: %s is neither \"a b\" nor [\"a\", \"b\"]",
                path, where);
  return heed__read_merge(path, where, spelled, text, (size_t)(blank - text), blank + 1, strlen(blank + 1), tokenizer);
}

// ---------------------------------------------------------------- models

static heed_status must_be_empty(const struct heed__object *model, const char *key) {
  const char *text = NULL;
  HEED__TRY(heed__key_text(model, key, &text));
  return text && *text ? heed__has_not(model->path, "\"model.%s\" is \"%s\"", key, heed__printable(text).text)
                       : HEED_OK;
}

static heed_status must_be_false(const struct heed__object *model, const char *key) {
  bool flag;
  HEED__TRY(heed__key_flag(model, key, false, &flag));
  return flag ? heed__has_not(model->path, "\"model.%s\" is true", key) : HEED_OK;
}

static heed_status read_vocabulary(const struct heed__object *model, heed_tokenizer *t, struct heed__names *spelled) {
  const struct heed__object vocabulary = {model->path, "model.vocab", heed__key(model, "vocab"), model->zero};
  return heed__read_vocabulary(&vocabulary, t, spelled);
}

static heed_status read_bpe(const struct heed__object *model, heed_tokenizer *t, struct heed__names *spelled) {
  static const char *const known[] = {"type",
                                      "dropout",
                                      "unk_token",
                                      "continuing_subword_prefix",
                                      "end_of_word_suffix",
                                      "fuse_unk",
                                      "vocab",
                                      "byte_fallback",
                                      "ignore_merges",
                                      "merges",
                                      NULL};
  const json_t *dropout = heed__key(model, "dropout"), *merges;
  const char *unknown;
  HEED__TRY(heed__only_keys(model, known));
  if (dropout && !(json_is_number(dropout) && json_number_value(dropout) == 0))
    return heed__has_not(model->path, "\"model.dropout\" is %g", json_number_value(dropout));
  HEED__TRY(must_be_empty(model, "continuing_subword_prefix"));
  HEED__TRY(must_be_empty(model, "end_of_word_suffix"));
  HEED__TRY(must_be_false(model, "byte_fallback"));
  HEED__TRY(heed__key_flag(model, "ignore_merges", false, &t->ignore_merges));
  HEED__TRY(heed__key_text(model, "unk_token", &unknown));
  HEED__TRY(read_vocabulary(model, t, spelled));
  for (int byte = 0; unknown && byte < 256; ++byte)  // with a token for every byte there is nothing unknown
    if (t->byte_ids[byte] < 0)
      return heed__has_not(model->path, "\"model.unk_token\" is \"%s\", and the byte %02x has no token",
                           heed__printable(unknown).text, byte);
  HEED__TRY(heed__key_list(model, "merges", &merges));
  HEED__REQUIRE(merges, HEED_ERROR_FORMAT, "%s: \"model.merges\" is missing", model->path);
  for (size_t i = 0; i < json_array_size(merges); ++i)
    HEED__TRY(read_merge_value(model->path, i, json_array_get(merges, i), t, spelled));
  return HEED_OK;
}

static heed_status read_word_level(const struct heed__object *model, heed_tokenizer *t, struct heed__names *spelled) {
  static const char *const known[] = {"type", "vocab", "unk_token", NULL};
  const char *unknown;
  t->model = HEED__MODEL_CHARS;
  HEED__TRY(heed__only_keys(model, known));
  HEED__TRY(heed__key_text(model, "unk_token", &unknown));
  HEED__TRY(read_vocabulary(model, t, spelled));
  if (unknown && heed__names_find(spelled, unknown, strlen(unknown)) >= 0)
    return heed__has_not(model->path, "the vocabulary has \"model.unk_token\", \"%s\"", heed__printable(unknown).text);
  for (int64_t id = 0; id < t->vocabulary.count; ++id) {
    const struct heed__place *place = &t->vocabulary.places[id];
    const char *text = place->there ? heed__vocabulary_text(&t->vocabulary, place) : "";
    int32_t c = 0;
    if (place->there && heed__utf8_read(text, place->bytes, &c) != place->bytes)
      return heed__has_not(model->path, "the model is a WordLevel whose token %" PRId64 " is not one character", id);
  }
  return HEED_OK;
}

heed_status heed__read_model(const struct heed__object *model, heed_tokenizer *tokenizer, struct heed__names *spelled) {
  const char *type = NULL;
  HEED__REQUIRE(model->json, HEED_ERROR_FORMAT, "%s: \"model\" is missing", model->path);
  HEED__TRY(heed__is_object(model));
  HEED__TRY(heed__key_text(model, "type", &type));
  if (!type && heed__key(model, "merges")) type = "BPE";  // old files do not name it
  HEED__REQUIRE(type, HEED_ERROR_FORMAT, "%s: \"model.type\" is missing", model->path);
  if (strcmp(type, "BPE") == 0) return read_bpe(model, tokenizer, spelled);
  if (strcmp(type, "WordLevel") == 0) return read_word_level(model, tokenizer, spelled);
  return heed__fail(HEED_ERROR_UNSUPPORTED,
                    "%s: the model is a %s; heed has BPE over bytes, and WordLevel with a token for each character",
                    model->path, heed__printable(type).text);
}
