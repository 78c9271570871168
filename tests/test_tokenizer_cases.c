// What tokenizer.json can ask for, case by case. The ids are those that the package `tokenizers` 0.23.3 gives for the same files and texts.
#include <stdlib.h>
#include <string.h>

#include "support_files.h"
#include "support_tokenizer.h"

enum { MOST_IDS = 128 };
typedef struct tokenizer_case {
  const char *name;
  tokenizer_parts parts;
  const char *text;
  bool template_tokens;
  int32_t ids[MOST_IDS];  // up to -1
} tokenizer_case;

// clang-format off
static const tokenizer_case cases[] = {
    {"ByteLevel",
     {.normalizer = NULL},
     "hello hello  hello\n\n\n123 1234's it'S", false,
     {259, 260, 32, 260, 262, 10, 264, 32, 264, 52, 266, 32, 105, 116, 39, 83, -1}},
    {"ByteLevel, whitespace of Unicode",
     {.normalizer = NULL},
     "a\302\240\342\200\203 \302\205b\341\240\216c\343\200\200\343\200\200d", false,
     {97, 194, 160, 226, 128, 131, 32, 194, 133, 98, 225, 160, 142, 99, 227, 128, 128, 227, 128, 128, 100, -1}},
    {"ByteLevel with a blank before",
     {.pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}"},
     "hello hello  hello\n\n\n123 1234's it'S", false,
     {260, 260, 32, 260, 262, 10, 264, 32, 264, 52, 266, 32, 105, 116, 39, 83, -1}},
    {"ByteLevel without its expression",
     {.pre_tokenizer = TOKENIZER_BYTES},
     "hello hello  hello\n\n\n123 1234's it'S", false,
     {259, 260, 32, 260, 262, 10, 264, 32, 264, 52, 266, 32, 105, 116, 39, 83, -1}},
    {"nothing",
     {.normalizer = NULL},
     "", false,
     {-1}},
    {"Llama 3's expression",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\077i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]\077\\\\p{L}+|\\\\p{N}{1,3}| \077[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(\077!\\\\S)|\\\\s+\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hello hello  hello\n\n\n123 1234's it'S  \015\n\015\n x don'T it'\305\277", false,
     {259, 260, 32, 260, 262, 10, 264, 32, 264, 52, 266, 32, 105, 116, 39, 83, 261, 13, 10, 13, 10, 32, 120, 32, 100, 111, 110, 39, 84, 32, 105, 116, 39, 197, 191, -1}},
    {"Split, Isolated",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"l|\\\\s\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hello  hello aaaa\n", false,
     {256, 108, 108, 111, 32, 32, 256, 108, 108, 111, 32, 268, 10, -1}},
    {"Split, inverted, Isolated",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-g]+\"}, \"behavior\": \"Isolated\", \"invert\": true}, " TOKENIZER_BYTES "]}"},
     "hello aaaa aahaa hh", false,
     {104, 101, 257, 111, 32, 268, 32, 267, 104, 267, 32, 104, 104, -1}},
    {"Split by what may be empty, Isolated",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a*\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aaaahello aa ", false,
     {268, 104, 101, 108, 108, 111, 32, 267, 32, -1}},
    {"Split by a text, Isolated",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"String\": \"l.\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hel.l.lo aaaal.", false,
     {256, 108, 46, 108, 46, 108, 111, 32, 268, 108, 46, -1}},
    {"Split, Removed",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"l|\\\\s\"}, \"behavior\": \"Removed\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hello  hello aaaa\n", false,
     {256, 111, 256, 111, 268, -1}},
    {"Split, inverted, Removed",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-g]+\"}, \"behavior\": \"Removed\", \"invert\": true}, " TOKENIZER_BYTES "]}"},
     "hello aaaa aahaa hh", false,
     {101, 268, 267, 267, -1}},
    {"Split by what may be empty, Removed",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a*\"}, \"behavior\": \"Removed\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aaaahello aa ", false,
     {104, 101, 108, 108, 111, 32, 32, -1}},
    {"Split by a text, Removed",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"String\": \"l.\"}, \"behavior\": \"Removed\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hel.l.lo aaaal.", false,
     {256, 108, 111, 32, 268, -1}},
    {"Split, MergedWithPrevious",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"l|\\\\s\"}, \"behavior\": \"MergedWithPrevious\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hello  hello aaaa\n", false,
     {256, 108, 108, 111, 32, 32, 256, 108, 108, 111, 32, 268, 10, -1}},
    {"Split, inverted, MergedWithPrevious",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-g]+\"}, \"behavior\": \"MergedWithPrevious\", \"invert\": true}, " TOKENIZER_BYTES "]}"},
     "hello aaaa aahaa hh", false,
     {104, 101, 257, 111, 32, 268, 32, 267, 104, 267, 32, 104, 104, -1}},
    {"Split by what may be empty, MergedWithPrevious",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a*\"}, \"behavior\": \"MergedWithPrevious\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aaaahello aa ", false,
     {268, 104, 101, 108, 108, 111, 32, 267, 32, -1}},
    {"Split by a text, MergedWithPrevious",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"String\": \"l.\"}, \"behavior\": \"MergedWithPrevious\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hel.l.lo aaaal.", false,
     {256, 108, 46, 108, 46, 108, 111, 32, 268, 108, 46, -1}},
    {"Split, MergedWithNext",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"l|\\\\s\"}, \"behavior\": \"MergedWithNext\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hello  hello aaaa\n", false,
     {256, 108, 108, 111, 32, 32, 256, 108, 108, 111, 32, 268, 10, -1}},
    {"Split, inverted, MergedWithNext",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-g]+\"}, \"behavior\": \"MergedWithNext\", \"invert\": true}, " TOKENIZER_BYTES "]}"},
     "hello aaaa aahaa hh", false,
     {256, 257, 111, 32, 268, 32, 267, 104, 267, 32, 104, 104, -1}},
    {"Split by what may be empty, MergedWithNext",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a*\"}, \"behavior\": \"MergedWithNext\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aaaahello aa ", false,
     {268, 104, 101, 108, 108, 111, 32, 267, 32, -1}},
    {"Split by a text, MergedWithNext",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"String\": \"l.\"}, \"behavior\": \"MergedWithNext\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hel.l.lo aaaal.", false,
     {256, 108, 46, 108, 46, 108, 111, 32, 268, 108, 46, -1}},
    {"Split, Contiguous",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"l|\\\\s\"}, \"behavior\": \"Contiguous\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hello  hello aaaa\n", false,
     {256, 257, 111, 261, 256, 257, 111, 32, 268, 10, -1}},
    {"Split, inverted, Contiguous",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-g]+\"}, \"behavior\": \"Contiguous\", \"invert\": true}, " TOKENIZER_BYTES "]}"},
     "hello aaaa aahaa hh", false,
     {104, 101, 257, 111, 32, 268, 32, 267, 104, 267, 32, 104, 104, -1}},
    {"Split by what may be empty, Contiguous",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a*\"}, \"behavior\": \"Contiguous\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aaaahello aa ", false,
     {268, 104, 101, 108, 108, 111, 32, 267, 32, -1}},
    {"Split by a text, Contiguous",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"String\": \"l.\"}, \"behavior\": \"Contiguous\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "hel.l.lo aaaal.", false,
     {256, 108, 46, 108, 46, 108, 111, 32, 268, 108, 46, -1}},
    {"Split, then ByteLevel",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\d\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTE_LEVEL "]}"},
     "hello 123's  1", false,
     {259, 32, 49, 50, 51, 266, 261, 49, -1}},
    {"Split by words",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[\\\\w']+|\\\\W\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aa_aa e\314\201\314\201aa \302\262aa \340\245\251aa", false,
     {267, 95, 267, 32, 101, 204, 129, 204, 129, 267, 32, 194, 178, 267, 32, 224, 165, 169, 267, -1}},
    {"Split by words outside of a class, which superscripts and fractions of Latin-1 are then",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\w+\"}, \"behavior\": \"Removed\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "a\302\262 -\302\275-\302\254", false,
     {32, 45, 45, 194, 172, -1}},
    {"Split by a script",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\p{Han}+|\\\\P{Han}\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "\346\274\242\345\255\227hello\343\200\205", false,
     {230, 188, 162, 229, 173, 151, 104, 101, 108, 108, 111, 227, 128, 133, -1}},
    {"Split, possessive and looking around",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a++|(\077<=h)e|(\077>l+)(\077=o)|\\\\x{6f}|\\\\u0020\"}, \"behavior\": \"Isolated\", \"invert\": false}, " TOKENIZER_BYTES "]}"},
     "aaaahello aa", false,
     {268, 104, 101, 257, 111, 32, 267, -1}},
    {"Digits, each",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": true}, " TOKENIZER_BYTE_LEVEL "]}"},
     "hello 123 12\302\275\342\205\24312", false,
     {259, 32, 49, 50, 51, 32, 49, 50, 194, 189, 226, 133, 163, 49, 50, -1}},
    {"Digits, together",
     {.pre_tokenizer = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": false}, {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}]}"},
     "hello123 12aa12", false,
     {260, 32, 264, 32, 32, 263, 32, 267, 32, 263, -1}},
    {"NFC",
     {.normalizer = "{\"type\": \"NFC\"}"},
     "e\314\201 e\314\243\314\201 \342\204\253 \341\204\222\341\205\241\341\206\253 \315\204 \340\245\230", false,
     {265, 32, 225, 186, 185, 204, 129, 32, 195, 133, 32, 237, 149, 156, 32, 204, 136, 204, 129, 32, 224, 164, 149, 224, 164, 188, -1}},
    {"without NFC",
     {.normalizer = NULL},
     "e\314\201 \303\251", false,
     {101, 204, 129, 32, 265, -1}},
    {"a Sequence of NFC",
     {.normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}"},
     "e\314\201", false,
     {265, -1}},
    {"ignore_merges",
     {.model = "\"ignore_merges\": true"},
     "hello hello123aaaaa", false,
     {259, 260, 264, 268, 97, -1}},
    {"an added token",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<|end|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]"},
     "hello<|end|> hello <|end|><|end|><|en", false,
     {259, 270, 260, 32, 270, 270, 60, 124, 101, 110, -1}},
    {"an added token with its blanks",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": true, \"rstrip\": true, \"normalized\": false, \"special\": true}]"},
     "hello \n <s> \343\200\200 hello<s><s> ", false,
     {259, 270, 259, 270, 270, -1}},
    {"an added token that is a word",
     {.added_tokens = "[{\"id\": 270, \"content\": \"heh\", \"single_word\": true, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]"},
     "heh heho (heh) oheh heh_ \303\251heh heh\314\201 heh-", false,
     {270, 32, 256, 104, 111, 32, 40, 270, 41, 32, 111, 256, 104, 32, 256, 104, 95, 32, 265, 256, 104, 32, 256, 104, 204, 129, 32, 270, 45, -1}},
    {"the longest added token",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<a\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}, {\"id\": 271, \"content\": \"<ab>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}, {\"id\": 272, \"content\": \"b><\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]"},
     "<ab><a<abb>< <ab", false,
     {271, 270, 270, 98, 272, 32, 270, 98, -1}},
    {"an added token of the model",
     {.added_tokens = "[{\"id\": 259, \"content\": \"hello\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": false}]"},
     "ohellohello", false,
     {111, 259, 259, -1}},
    {"an added token in the normalized text",
     {.normalizer = "{\"type\": \"NFC\"}", .added_tokens = "[{\"id\": 270, \"content\": \"<e\314\201>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": true, \"special\": false}, {\"id\": 271, \"content\": \"<o\314\201>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]"},
     "<\303\251> <e\314\201> <\303\263> <o\314\201>", false,
     {270, 32, 270, 32, 60, 195, 179, 62, 32, 271, -1}},
    {"what an added token's blanks have taken",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": true, \"normalized\": false, \"special\": true}, {\"id\": 271, \"content\": \"\\n\\n\", \"single_word\": false, \"lstrip\": true, \"rstrip\": false, \"normalized\": false, \"special\": true}]"},
     "<s>\n\nhello \n\n<s> \n\n", false,
     {270, 259, 271, 270, -1}},
    {"a template, not asked for",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}, {\"id\": 271, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]", .post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": \"</s>\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [270], \"tokens\": [\"<s>\"]}, \"</s>\": {\"id\": \"</s>\", \"ids\": [271], \"tokens\": [\"</s>\"]}}}"},
     "hello", false,
     {259, -1}},
    {"a template",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}, {\"id\": 271, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]", .post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": \"</s>\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [270], \"tokens\": [\"<s>\"]}, \"</s>\": {\"id\": \"</s>\", \"ids\": [271], \"tokens\": [\"</s>\"]}}}"},
     "hello", true,
     {270, 259, 271, -1}},
    {"a template around nothing",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}, {\"id\": 271, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]", .post_processor = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": \"</s>\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [270], \"tokens\": [\"<s>\"]}, \"</s>\": {\"id\": \"</s>\", \"ids\": [271], \"tokens\": [\"</s>\"]}}}"},
     "", true,
     {270, 271, -1}},
    {"a template in a sequence",
     {.added_tokens = "[{\"id\": 270, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}, {\"id\": 271, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]", .post_processor = "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": false, \"use_regex\": true}, {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": \"</s>\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [270], \"tokens\": [\"<s>\"]}, \"</s>\": {\"id\": \"</s>\", \"ids\": [271], \"tokens\": [\"</s>\"]}}}]}"},
     "hello", true,
     {270, 259, 271, -1}},
};
// clang-format on
enum { CASES = sizeof cases / sizeof *cases };

static size_t length_of(const int32_t *ids) {
  size_t count = 0;
  while (ids[count] >= 0) count++;
  return count;
}

static void print_ids(const char *what, const int32_t *ids, size_t count) {
  print_error("%s", what);
  for (size_t i = 0; i < count; i++) print_error(" %d", ids[i]);
  print_error("\n");
}

static bool agrees(const tokenizer_case *c) {
  heed_tokenizer *tokenizer = NULL;
  int32_t *ids = NULL;
  size_t count = 0;
  ASSERT_OK(tokenizer_open(&c->parts, &tokenizer));
  ASSERT_OK(heed_tokenizer_encode_all(tokenizer, c->text, strlen(c->text),
                                      &(heed_encode_options){.template_tokens = c->template_tokens}, &ids, &count));
  const size_t expected = length_of(c->ids);
  const bool same = count == expected && (count == 0 || memcmp(ids, c->ids, count * sizeof *ids) == 0);
  if (!same) {
    print_error("%s:\n", c->name);
    print_ids("expected:", c->ids, expected);
    print_ids("got:     ", ids, count);
  }
  free(ids);
  heed_tokenizer_destroy(tokenizer);
  return same;
}

static void ids_are_those_of_tokenizers(void **state) {
  (void)state;
  size_t failures = 0;
  for (size_t i = 0; i < CASES; i++) failures += !agrees(&cases[i]);
  if (failures > 0) fail_msg("%zu of %d cases differ", failures, CASES);
}

// What is copied to another folder is read as before.
static void a_saved_tokenizer_gives_the_same_ids(void **state) {
  (void)state;
  for (size_t i = 0; i < CASES; i++) {
    heed_tokenizer *opened = NULL, *saved = NULL;
    ASSERT_OK(tokenizer_open(&cases[i].parts, &opened));
    ASSERT_OK(heed_tokenizer_save(opened, support_path("saved")));
    ASSERT_OK(heed_tokenizer_open(support_path("saved"), &saved));
    assert_true(heed_tokenizer_fingerprint(opened) == heed_tokenizer_fingerprint(saved));
    heed_tokenizer_destroy(opened);
    heed_tokenizer_destroy(saved);
  }
}

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

static bool same_parts(const tokenizer_parts *a, const tokenizer_parts *b) {
  return same_text(a->normalizer, b->normalizer) && same_text(a->added_tokens, b->added_tokens) &&
         same_text(a->post_processor, b->post_processor) && same_text(a->pre_tokenizer, b->pre_tokenizer) &&
         same_text(a->model, b->model);
}

// Whatever changes an id changes the fingerprint; a sequence of one part is that part.
static void fingerprints_tell_tokenizers_apart(void **state) {
  (void)state;
  uint64_t prints[CASES];
  for (size_t i = 0; i < CASES; i++) {
    heed_tokenizer *tokenizer = NULL;
    ASSERT_OK(tokenizer_open(&cases[i].parts, &tokenizer));
    prints[i] = heed_tokenizer_fingerprint(tokenizer);
    heed_tokenizer_destroy(tokenizer);
    const bool alone = !strstr(cases[i].name, "equence of") && !strstr(cases[i].name, "in a sequence");
    for (size_t j = 0; alone && j < i; j++) {
      if ((prints[i] == prints[j]) != same_parts(&cases[i].parts, &cases[j].parts))
        fail_msg("%s and %s: the fingerprints tell otherwise", cases[i].name, cases[j].name);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_are_those_of_tokenizers),
      cmocka_unit_test(a_saved_tokenizer_gives_the_same_ids),
      cmocka_unit_test(fingerprints_tell_tokenizers_apart),
  };
  return cmocka_run_group_tests(tests, support_make_folder, support_remove_folder);
}
