// What a tokenizer is inside. The files that make one fill it in; encode.c and write.c read it.
#ifndef HEED__TEXT_TOKENIZER_H
#define HEED__TEXT_TOKENIZER_H

#include <heed/text.h>

#include "text/parts/added.h"
#include "text/parts/bpe.h"
#include "text/parts/pattern.h"
#include "text/parts/vocabulary.h"

// A file of the folder that a tokenizer was opened from, as it is.
enum heed__kept { HEED__KEPT_TOKENIZER, HEED__KEPT_CONFIG, HEED__KEPT_SPECIAL, HEED__KEPT_CHAT, HEED__KEPT_FILES };
extern const char *const heed__kept_names[HEED__KEPT_FILES];

enum heed__model {
  HEED__MODEL_BPE,   // over bytes
  HEED__MODEL_CHARS  // a token is a character
};

// A pre-tokenizer: it finds matches in a piece of text, and makes pieces of what matches and of what lies between.
enum heed__find { HEED__FIND_NOTHING, HEED__FIND_PATTERN, HEED__FIND_NUMBERS };
enum heed__behavior {
  HEED__ISOLATED,  // each is a piece
  HEED__REMOVED,   // matches are left out
  HEED__MERGED_WITH_PREVIOUS,
  HEED__MERGED_WITH_NEXT,
  HEED__CONTIGUOUS  // matches that follow each other are one piece
};
enum { HEED__MOST_STAGES = 16 };
struct heed__stage {
  enum heed__find find;
  enum heed__behavior behavior;
  bool invert;  // what matches and what does not change places
  bool prefix;  // a blank goes before a piece that does not begin with one
  struct heed__pattern pattern;
};

// Ids that the file's post-processor puts before and after a text.
enum { HEED__MOST_AROUND = 64 };
struct heed__template {
  bool there;
  int32_t before[HEED__MOST_AROUND], after[HEED__MOST_AROUND];
  size_t before_count, after_count;
};

struct heed_tokenizer {
  enum heed__model model;
  int unit;  // as heed_tokenizer_unit()
  uint64_t fingerprint;
  struct heed__vocabulary vocabulary;
  int32_t byte_ids[256];           // BPE: the token of each byte; -1: there is none
  struct heed__merges merges;      // BPE
  struct heed__merge *merge_list;  // the same in the order of the file
  size_t merge_count, merge_room;
  bool ignore_merges;  // a piece that is a token is not merged from bytes
  bool nfc;
  struct heed__added added, normalized;  // found in the text; found in its normal form
  struct heed__stage stages[HEED__MOST_STAGES];
  size_t stage_count;
  struct heed__template template;
  struct heed__buffer kept[HEED__KEPT_FILES];
};

heed_status heed__tokenizer_new(enum heed__model model, heed_tokenizer **out);
// After all else: sets unit and fingerprint.
void heed__tokenizer_complete(heed_tokenizer *tokenizer);

// Fills in what the files of a folder say. Errors: as of heed_tokenizer_open().
heed_status heed__read_tokenizer_json(const char *path, const char *text, size_t bytes, heed_tokenizer *tokenizer);
heed_status heed__read_vocab_and_merges(const char *folder, heed_tokenizer *tokenizer);

#endif
