// Reads pre-tokenizers: ByteLevel, Split, Digits and sequences of them.
#include "text/read/stages.h"

#include <string.h>

#include "base/text.h"

heed_status heed__part_type(const struct heed__object *part, const char **type) {
  HEED__TRY(heed__is_object(part));
  HEED__TRY(heed__key_text(part, "type", type));
  HEED__REQUIRE(*type, HEED_ERROR_FORMAT, "%s: \"%s.type\" is missing", part->path, part->name);
  return HEED_OK;
}

heed_status heed__each_part(const struct heed__object *sequence, const char *key, heed__part_function function,
                            void *user) {
  const json_t *list;
  HEED__TRY(heed__key_list(sequence, key, &list));
  HEED__REQUIRE(list, HEED_ERROR_FORMAT, "%s: \"%s.%s\" is missing", sequence->path, sequence->name, key);
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const struct heed__object part = {sequence->path, sequence->name, json_array_get(list, i), NULL};
    HEED__TRY(function(&part, user));
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- stages

struct stages {
  heed_tokenizer *tokenizer;
  bool bytes;  // ByteLevel was there: what follows it would see its alphabet
};

static heed_status check_place(const struct heed__object *part, const struct stages *stages) {
  if (stages->bytes) return heed__has_not(part->path, "something follows ByteLevel in \"pre_tokenizer\"");
  if (stages->tokenizer->stage_count == HEED__MOST_STAGES)
    return heed__has_not(part->path, "there are over %d pre-tokenizers", HEED__MOST_STAGES);
  return HEED_OK;
}

static struct heed__stage *next_stage(heed_tokenizer *t) {
  struct heed__stage *stage = &t->stages[t->stage_count++];
  *stage = (struct heed__stage){.find = HEED__FIND_NOTHING, .behavior = HEED__ISOLATED};
  return stage;
}

static heed_status compile(const char *path, struct heed__stage *stage, const char *source, bool literal) {
  const heed_status status = heed__pattern_compile(source, literal, &stage->pattern);
  if (status != HEED_OK) return heed__fail_prefix(status, "%s", path);
  stage->find = HEED__FIND_PATTERN;
  return HEED_OK;
}

static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";  // Radford et al. 2019

heed_status heed__read_byte_level(heed_tokenizer *tokenizer) {
  struct heed__stage *stage = next_stage(tokenizer);
  return compile("the expression of GPT-2", stage, gpt2, false);
}

static heed_status read_byte_level(const struct heed__object *part, struct stages *stages) {
  static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
  bool regex = true;
  HEED__TRY(heed__only_keys(part, known));
  HEED__TRY(check_place(part, stages));
  struct heed__stage *stage = next_stage(stages->tokenizer);
  HEED__TRY(heed__key_flag(part, "add_prefix_space", true, &stage->prefix));
  HEED__TRY(heed__key_flag(part, "use_regex", true, &regex));
  stages->bytes = true;
  return regex ? compile(part->path, stage, gpt2, false) : HEED_OK;
}

static heed_status read_behavior(const struct heed__object *part, enum heed__behavior *out) {
  static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const char *text = NULL;
  HEED__TRY(heed__key_text(part, "behavior", &text));
  for (size_t i = 0; text && i < sizeof names / sizeof *names; ++i)
    if (strcmp(names[i], text) == 0) {
      *out = (enum heed__behavior)i;
      return HEED_OK;
    }
  HEED__REQUIRE(text, HEED_ERROR_FORMAT, "%s: \"%s.behavior\" is missing", part->path, part->name);
  return heed__has_not(part->path, "\"%s.behavior\" is \"%s\"", part->name, heed__printable(text).text);
}

// {"Regex": "..."} or {"String": "..."}.
static heed_status read_pattern(const struct heed__object *part, const char **source, bool *literal) {
  const json_t *pattern = NULL;
  const char *regex = NULL, *text = NULL;
  HEED__TRY(heed__key_object(part, "pattern", &pattern));
  const struct heed__object inner = {part->path, "pattern", pattern, NULL};
  HEED__TRY(heed__key_text(&inner, "Regex", &regex));
  HEED__TRY(heed__key_text(&inner, "String", &text));
  HEED__REQUIRE(!regex != !text, HEED_ERROR_FORMAT, "%s: \"%s.pattern\" has neither \"Regex\" nor \"String\", or both",
                part->path, part->name);
  *source = regex ? regex : text;
  *literal = text != NULL;
  return HEED_OK;
}

static heed_status read_split(const struct heed__object *part, struct stages *stages) {
  static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
  const char *source = NULL;
  bool literal = false;
  HEED__TRY(heed__only_keys(part, known));
  HEED__TRY(check_place(part, stages));
  struct heed__stage *stage = next_stage(stages->tokenizer);
  HEED__TRY(read_behavior(part, &stage->behavior));
  HEED__TRY(heed__key_flag(part, "invert", false, &stage->invert));
  HEED__TRY(read_pattern(part, &source, &literal));
  return compile(part->path, stage, source, literal);
}

static heed_status read_digits(const struct heed__object *part, struct stages *stages) {
  static const char *const known[] = {"type", "individual_digits", NULL};
  bool individual = false;
  HEED__TRY(heed__only_keys(part, known));
  HEED__TRY(check_place(part, stages));
  struct heed__stage *stage = next_stage(stages->tokenizer);
  HEED__TRY(heed__key_flag(part, "individual_digits", false, &individual));
  stage->find = HEED__FIND_NUMBERS;
  stage->behavior = individual ? HEED__ISOLATED : HEED__CONTIGUOUS;
  return HEED_OK;
}

static heed_status read_part(const struct heed__object *part, void *user) {
  struct stages *stages = user;
  const char *type = NULL;
  HEED__TRY(heed__part_type(part, &type));
  if (strcmp(type, "ByteLevel") == 0) return read_byte_level(part, stages);
  if (strcmp(type, "Split") == 0) return read_split(part, stages);
  if (strcmp(type, "Digits") == 0) return read_digits(part, stages);
  if (strcmp(type, "Sequence") == 0) return heed__each_part(part, "pretokenizers", read_part, user);
  return heed__fail(HEED_ERROR_UNSUPPORTED,
                    "%s: \"pre_tokenizer\" has a %s; heed has ByteLevel, Split, Digits and Sequence", part->path,
                    heed__printable(type).text);
}

// Single characters are what the model takes in any case.
static heed_status check_characters(const char *path, heed_tokenizer *t) {
  const struct heed__stage *only = &t->stages[0];
  if (t->stage_count != 1 || only->find != HEED__FIND_PATTERN || only->behavior != HEED__ISOLATED || only->invert ||
      only->prefix || strcmp(only->pattern.source.data, "[\\s\\S]") != 0)
    return heed__has_not(
        path, "the model is a WordLevel, and \"pre_tokenizer\" is not a Split by \"[\\s\\S]\" into single characters");
  heed__pattern_free(&t->stages[0].pattern);
  t->stage_count = 0;
  return HEED_OK;
}

heed_status heed__read_pre_tokenizer(const char *path, const json_t *json, heed_tokenizer *tokenizer) {
  struct stages stages = {.tokenizer = tokenizer};
  const struct heed__object part = {path, "pre_tokenizer", json, NULL};
  if (json) HEED__TRY(read_part(&part, &stages));
  if (tokenizer->model == HEED__MODEL_CHARS) return check_characters(path, tokenizer);
  return stages.bytes ? HEED_OK : heed__has_not(path, "the model is BPE, and \"pre_tokenizer\" has no ByteLevel");
}
