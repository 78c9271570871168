// Reads added tokens, and the tokens that a post-processor puts around a text.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "text/parts/nfc.h"
#include "text/read/stages.h"

// ---------------------------------------------------------------- added tokens

static heed_status read_flags(const struct heed__object *object, struct heed__added_token *token) {
  HEED__TRY(heed__key_flag(object, "single_word", false, &token->single_word));
  HEED__TRY(heed__key_flag(object, "lstrip", false, &token->lstrip));
  HEED__TRY(heed__key_flag(object, "rstrip", false, &token->rstrip));
  HEED__TRY(heed__key_flag(object, "special", false, &token->special));
  return heed__key_flag(object, "normalized", !token->special, &token->normalized);
}

// The id that `tokenizers` gives: the model's, or the next one. What the file says must agree.
static heed_status read_id(const struct heed__object *object, const char *content, const struct heed__names *spelled,
                           int64_t *next, int32_t *id) {
  const json_t *value = heed__key(object, "id");
  HEED__REQUIRE(json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) < HEED__MOST_IDS,
                HEED_ERROR_FORMAT, "%s: the id of the added token \"%s\" is no integer from 0 to %d", object->path,
                heed__printable(content).text, HEED__MOST_IDS - 1);
  const int32_t known = heed__names_find(spelled, content, strlen(content));
  *id = (int32_t)json_integer_value(value);
  HEED__REQUIRE(known < 0 || *id == known, HEED_ERROR_FORMAT,
                "%s: the added token \"%s\" has the id %d, and %d in \"model.vocab\"", object->path,
                heed__printable(content).text, *id, known);
  HEED__REQUIRE(known >= 0 || *id == *next, HEED_ERROR_FORMAT,
                "%s: the added token \"%s\" has the id %d; the next one is %" PRId64, object->path,
                heed__printable(content).text, *id, *next);
  if (*id >= *next) *next = *id + 1;
  return HEED_OK;
}

// The content as it is found: in the normal form of a text that is normalized.
static heed_status copy_content(const heed_tokenizer *t, const char *content, struct heed__added_token *token) {
  struct heed__buffer normal = {0};
  bool same = true, there = true;
  const size_t bytes = strlen(content);
  if (t->nfc && token->normalized) there = heed__nfc(content, bytes, &normal, &same);
  there = there && (!same || heed__buffer_add(&normal, content, bytes)) && heed__buffer_add(&normal, "", 1);
  if (!there) heed__buffer_free(&normal);
  HEED__REQUIRE(there, HEED_ERROR_OUT_OF_MEMORY, "no memory for an added token");
  token->content = normal.data;
  token->bytes = normal.size - 1;
  return HEED_OK;
}

static heed_status read_token(const struct heed__object *object, const struct heed__names *spelled, heed_tokenizer *t,
                              int64_t *next) {
  struct heed__added_token token = {0};
  const char *content;
  HEED__TRY(heed__is_object(object));
  HEED__TRY(heed__key_text(object, "content", &content));
  HEED__REQUIRE(content && *content, HEED_ERROR_FORMAT, "%s: an added token has no \"content\"", object->path);
  const size_t bytes = strlen(content);
  if (bytes > HEED__MOST_ADDED_BYTES)
    return heed__has_not(object->path, "the added token \"%s\" has over %d bytes", heed__printable(content).text,
                         HEED__MOST_ADDED_BYTES);
  HEED__TRY(read_flags(object, &token));
  HEED__TRY(read_id(object, content, spelled, next, &token.id));
  struct heed__place *place = token.id < t->vocabulary.count ? &t->vocabulary.places[token.id] : NULL;
  if (!place || !place->there)
    HEED__TRY(heed__vocabulary_add(&t->vocabulary, token.id, content, bytes, true));
  else if (place->bytes != bytes || memcmp(heed__vocabulary_text(&t->vocabulary, place), content, bytes) != 0)
    return heed__has_not(object->path, "the added token \"%s\" is also one that stands for other bytes",
                         heed__printable(content).text);
  HEED__TRY(copy_content(t, content, &token));
  return heed__added_add(token.normalized ? &t->normalized : &t->added, token);
}

// Of two with the same content `tokenizers` would take the first, and the file would say something about both.
static heed_status check_once(const struct heed__object *object, struct heed__names *seen) {
  const char *content = json_string_value(json_object_get(object->json, "content"));
  if (!content) return HEED_OK;  // read_token() refuses it
  HEED__REQUIRE(heed__names_find(seen, content, strlen(content)) < 0, HEED_ERROR_FORMAT,
                "%s: the added token \"%s\" is there twice", object->path, heed__printable(content).text);
  HEED__REQUIRE(heed__names_add(seen, content, strlen(content), 0), HEED_ERROR_OUT_OF_MEMORY,
                "no memory for the added tokens");
  return HEED_OK;
}

static heed_status read_tokens(const char *path, const json_t *list, const struct heed__names *spelled,
                               heed_tokenizer *tokenizer, struct heed__names *seen) {
  int64_t next = (int64_t)spelled->count;
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const struct heed__object object = {path, "added_tokens", json_array_get(list, i), NULL};
    HEED__TRY(check_once(&object, seen));
    HEED__TRY(read_token(&object, spelled, tokenizer, &next));
  }
  return HEED_OK;
}

heed_status heed__read_added(const char *path, const json_t *list, const struct heed__names *spelled,
                             heed_tokenizer *tokenizer) {
  struct heed__names seen = {0};
  HEED__REQUIRE(!list || json_is_array(list), HEED_ERROR_FORMAT, "%s: \"added_tokens\" is no list", path);
  const heed_status status = read_tokens(path, list, spelled, tokenizer, &seen);
  heed__names_free(&seen);
  HEED__TRY(status);
  heed__added_sort(&tokenizer->added);
  heed__added_sort(&tokenizer->normalized);
  return HEED_OK;
}

// ---------------------------------------------------------------- the template

// text: the text's place was there.
static heed_status read_special(const struct heed__object *processor, const char *name, bool text, heed_tokenizer *t) {
  const json_t *tokens, *list;
  HEED__TRY(heed__key_object(processor, "special_tokens", &tokens));
  const struct heed__object token = {processor->path, "special_tokens", json_object_get(tokens, name), NULL};
  HEED__REQUIRE(json_is_object(token.json), HEED_ERROR_FORMAT, "%s: \"special_tokens\" of the template has no \"%s\"",
                processor->path, heed__printable(name).text);
  HEED__TRY(heed__key_list(&token, "ids", &list));
  struct heed__template *out = &t->template;
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *value = json_array_get(list, i);
    const int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    HEED__REQUIRE(heed_tokenizer_token(t, id, NULL), HEED_ERROR_FORMAT,
                  "%s: the template's \"%s\" has an id that the tokenizer does not have", processor->path,
                  heed__printable(name).text);
    HEED__REQUIRE(out->before_count < HEED__MOST_AROUND && out->after_count < HEED__MOST_AROUND, HEED_ERROR_FORMAT,
                  "%s: the template has over %d ids", processor->path, HEED__MOST_AROUND);
    if (text)
      out->after[out->after_count++] = (int32_t)id;
    else
      out->before[out->before_count++] = (int32_t)id;
  }
  return HEED_OK;
}

// {"SpecialToken": {"id": "<s>"}} or {"Sequence": {"id": "A"}}.
static heed_status read_template_part(const struct heed__object *processor, const json_t *json, bool *text,
                                      heed_tokenizer *t) {
  const struct heed__object part = {processor->path, "single", json, NULL};
  const json_t *special, *sequence;
  const char *name;
  HEED__TRY(heed__is_object(&part));
  HEED__TRY(heed__key_object(&part, "SpecialToken", &special));
  HEED__TRY(heed__key_object(&part, "Sequence", &sequence));
  const struct heed__object inner = {processor->path, special ? "SpecialToken" : "Sequence",
                                     special ? special : sequence, NULL};
  HEED__TRY(heed__key_text(&inner, "id", &name));
  HEED__REQUIRE(name, HEED_ERROR_FORMAT, "%s: a part of \"post_processor.single\" has no \"id\"", processor->path);
  if (special) return read_special(processor, name, *text, t);
  if (strcmp(name, "A") != 0 || *text)
    return heed__has_not(processor->path, "\"post_processor.single\" has another text than one A");
  *text = true;
  return HEED_OK;
}

static heed_status read_template(const struct heed__object *processor, heed_tokenizer *t) {
  static const char *const known[] = {"type", "single", "pair", "special_tokens", NULL};
  const json_t *single;
  bool text = false;
  HEED__TRY(heed__only_keys(processor, known));
  if (t->template.there) return heed__has_not(processor->path, "\"post_processor\" has two templates");
  t->template.there = true;
  HEED__TRY(heed__key_list(processor, "single", &single));
  for (size_t i = 0; i < json_array_size(single); ++i)
    HEED__TRY(read_template_part(processor, json_array_get(single, i), &text, t));
  HEED__REQUIRE(text, HEED_ERROR_FORMAT, "%s: \"post_processor.single\" has no place for the text", processor->path);
  return HEED_OK;
}

static heed_status read_processor(const struct heed__object *processor, void *user) {
  const char *type = NULL;
  HEED__TRY(heed__part_type(processor, &type));
  if (strcmp(type, "ByteLevel") == 0) return HEED_OK;  // it is about offsets
  if (strcmp(type, "TemplateProcessing") == 0) return read_template(processor, user);
  if (strcmp(type, "Sequence") == 0) return heed__each_part(processor, "processors", read_processor, user);
  return heed__fail(HEED_ERROR_UNSUPPORTED,
                    "%s: \"post_processor\" has a %s; heed has ByteLevel, TemplateProcessing and Sequence",
                    processor->path, heed__printable(type).text);
}

heed_status heed__read_post_processor(const char *path, const json_t *json, heed_tokenizer *tokenizer) {
  const struct heed__object processor = {path, "post_processor", json, NULL};
  return json ? read_processor(&processor, tokenizer) : HEED_OK;
}
