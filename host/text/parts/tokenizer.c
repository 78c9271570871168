// Tokenizers as objects: the ones that heed makes of nothing but bytes, and what callers can ask of any.
#include "text/parts/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

const char *const heed__kept_names[HEED__KEPT_FILES] = {"tokenizer.json", "tokenizer_config.json",
                                                        "special_tokens_map.json", "chat_template.jinja"};

heed_status heed__tokenizer_new(enum heed__model model, heed_tokenizer **out) {
  heed_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
  HEED__REQUIRE(tokenizer, HEED_ERROR_OUT_OF_MEMORY, "no memory for a tokenizer");
  tokenizer->model = model;
  for (int i = 0; i < 256; ++i) tokenizer->byte_ids[i] = -1;
  *out = tokenizer;
  return HEED_OK;
}

void heed_tokenizer_destroy(heed_tokenizer *tokenizer) {
  if (!tokenizer) return;
  heed__vocabulary_free(&tokenizer->vocabulary);
  heed__merges_free(&tokenizer->merges);
  free(tokenizer->merge_list);
  heed__added_free(&tokenizer->added);
  heed__added_free(&tokenizer->normalized);
  for (size_t i = 0; i < tokenizer->stage_count; ++i) heed__pattern_free(&tokenizer->stages[i].pattern);
  for (int i = 0; i < HEED__KEPT_FILES; ++i) heed__buffer_free(&tokenizer->kept[i]);
  free(tokenizer);
}

heed_status heed_tokenizer_create_bytes(heed_tokenizer **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_create_bytes: out is NULL");
  *out = NULL;
  heed_tokenizer *tokenizer = NULL;
  HEED__TRY(heed__tokenizer_new(HEED__MODEL_BPE, &tokenizer));
  heed_status status = HEED_OK;
  for (int i = 0; i < 256 && status == HEED_OK; ++i) {
    tokenizer->byte_ids[i] = i;
    status = heed__vocabulary_add(&tokenizer->vocabulary, i, &(char){(char)i}, 1, false);
  }
  if (status != HEED_OK) {
    heed_tokenizer_destroy(tokenizer);
    return status;
  }
  heed__tokenizer_complete(tokenizer);
  *out = tokenizer;
  return HEED_OK;
}

// ---------------------------------------------------------------- what it is

static uint64_t hash_number(uint64_t hash, int64_t number) { return heed__hash(hash, &number, sizeof number); }

static uint64_t hash_text(uint64_t hash, const void *text, size_t bytes) {
  return heed__hash(hash_number(hash, (int64_t)bytes), text, bytes);
}

static uint64_t hash_added(uint64_t hash, const struct heed__added *added) {
  hash = hash_number(hash, (int64_t)added->count);
  for (size_t i = 0; i < added->count; ++i) {
    const struct heed__added_token *token = &added->tokens[i];
    hash = hash_text(hash, token->content, token->bytes);
    hash = hash_number(hash, token->id);
    hash = hash_number(hash, token->single_word | token->lstrip << 1 | token->rstrip << 2);
  }
  return hash;
}

static uint64_t hash_ways(uint64_t hash, const heed_tokenizer *t) {
  hash = hash_number(hash, t->ignore_merges | t->nfc << 1);
  for (size_t i = 0; i < t->merge_count; ++i) {
    const struct heed__merge *merge = &t->merge_list[i];
    const int32_t ids[] = {merge->left, merge->right, merge->id};
    hash = heed__hash(hash, ids, sizeof ids);
  }
  for (size_t i = 0; i < t->stage_count; ++i) {
    const struct heed__stage *stage = &t->stages[i];
    hash = hash_number(hash, (int)stage->find << 8 | (int)stage->behavior << 2 | stage->invert << 1 | stage->prefix);
    hash = hash_text(hash, stage->pattern.source.data, stage->pattern.source.size);
  }
  hash = hash_added(hash_added(hash, &t->added), &t->normalized);
  hash = hash_text(hash, t->template.before, t->template.before_count * sizeof *t->template.before);
  return hash_text(hash, t->template.after, t->template.after_count * sizeof *t->template.after);
}

// 1: every byte is a token and nothing comes of several; 2: the same of characters.
static int unit_of(const heed_tokenizer *t) {
  const bool plain = t->added.count == 0 && t->normalized.count == 0 && !t->nfc;
  if (t->model == HEED__MODEL_CHARS) return plain ? 2 : 0;
  bool bytes = plain && t->merge_count == 0 && !t->ignore_merges;
  for (int i = 0; i < 256; ++i) bytes = bytes && t->byte_ids[i] >= 0;
  for (size_t i = 0; i < t->stage_count; ++i)
    bytes = bytes && !t->stages[i].prefix && t->stages[i].behavior != HEED__REMOVED;
  return bytes ? 1 : 0;
}

void heed__tokenizer_complete(heed_tokenizer *t) {
  t->unit = unit_of(t);
  uint64_t hash = hash_number(HEED__HASH_START, t->model);
  if (t->unit != 1) hash = hash_ways(hash, t);  // where bytes are tokens, no way of cutting changes an id
  for (int64_t id = 0; id < t->vocabulary.count; ++id) {
    const struct heed__place *place = &t->vocabulary.places[id];
    hash = hash_number(hash, place->there);
    if (place->there) hash = hash_text(hash, heed__vocabulary_text(&t->vocabulary, place), place->bytes);
  }
  t->fingerprint = hash;
}

int64_t heed_tokenizer_vocab(const heed_tokenizer *tokenizer) { return tokenizer ? tokenizer->vocabulary.count : 0; }

uint64_t heed_tokenizer_fingerprint(const heed_tokenizer *tokenizer) { return tokenizer ? tokenizer->fingerprint : 0; }

int heed_tokenizer_unit(const heed_tokenizer *tokenizer) { return tokenizer ? tokenizer->unit : 0; }

const char *heed_tokenizer_token(const heed_tokenizer *tokenizer, int64_t id, size_t *bytes) {
  if (bytes) *bytes = 0;
  if (!tokenizer || id < 0 || id >= tokenizer->vocabulary.count || !tokenizer->vocabulary.places[id].there) return NULL;
  const struct heed__place *place = &tokenizer->vocabulary.places[id];
  if (bytes) *bytes = place->bytes;
  return heed__vocabulary_text(&tokenizer->vocabulary, place);
}

int64_t heed_tokenizer_find(const heed_tokenizer *tokenizer, const char *content) {
  if (!tokenizer || !content) return -1;
  const size_t bytes = strlen(content);
  int32_t id = heed__added_find(&tokenizer->added, content, bytes);
  if (id < 0) id = heed__added_find(&tokenizer->normalized, content, bytes);
  return id >= 0 ? id : heed__names_find(&tokenizer->vocabulary.names, content, bytes);
}

heed_status heed_tokenizer_decode(const heed_tokenizer *tokenizer, const int32_t *ids, size_t count, char **text,
                                  size_t *bytes) {
  HEED__REQUIRE(text && bytes, HEED_ERROR_INVALID_ARGUMENT, "heed_tokenizer_decode: an output is NULL");
  *text = NULL;
  *bytes = 0;
  HEED__REQUIRE(tokenizer && (ids || count == 0), HEED_ERROR_INVALID_ARGUMENT,
                "heed_tokenizer_decode: an argument is NULL");
  struct heed__buffer buffer = {0};
  for (size_t i = 0; i < count; ++i) {
    size_t length;
    const char *token = heed_tokenizer_token(tokenizer, ids[i], &length);
    if (!token) {
      heed__buffer_free(&buffer);
      return heed__fail(HEED_ERROR_INVALID_ARGUMENT,
                        "id %zu is %d, which the tokenizer does not have; its ids are below %lld", i, ids[i],
                        (long long)tokenizer->vocabulary.count);
    }
    heed__buffer_add(&buffer, token, length);
  }
  if (!heed__buffer_add(&buffer, "", 1)) {
    heed__buffer_free(&buffer);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for the text of %zu ids", count);
  }
  *text = buffer.data;
  *bytes = buffer.size - 1;
  return HEED_OK;
}
