// Tokens by id, each with the bytes that it stands for in a text, and ids by bytes.
#ifndef HEED__TEXT_VOCABULARY_H
#define HEED__TEXT_VOCABULARY_H

#include "base/status.h"
#include "text/parts/names.h"

enum { HEED__MOST_IDS = 1 << 22 };  // ids of real vocabularies are below 300,000

struct heed__place {
  size_t start;
  uint32_t bytes;
  bool there;     // the id is a token's
  bool verbatim;  // in a file the token stands as it is, not in the alphabet of bytes
};
// All zero is an empty one.
struct heed__vocabulary {
  struct heed__names names;  // the first token of each text, without those that are verbatim where another is not
  struct heed__place *places;
  int64_t count, room;  // the highest id + 1
};

// Adds a token, or gives one that is there these bytes. The id is in [0, HEED__MOST_IDS). Errors: OUT_OF_MEMORY.
heed_status heed__vocabulary_add(struct heed__vocabulary *vocabulary, int64_t id, const char *text, size_t bytes,
                                 bool verbatim);
static inline const char *heed__vocabulary_text(const struct heed__vocabulary *vocabulary,
                                                const struct heed__place *place) {
  return vocabulary->names.text.data + place->start;
}
void heed__vocabulary_free(struct heed__vocabulary *vocabulary);

// The alphabet of byte-level vocabularies (Radford et al. 2019), in which each byte is a character that can be seen: those that can be
// seen in Latin-1 are themselves, the others follow from U+0100 on.
int32_t heed__alphabet(uint8_t byte);
// Writes the bytes that a text in this alphabet stands for to `out`, of as much room as the text has. Returns how many; −1 where a
// character is not of the alphabet.
int64_t heed__alphabet_read(const char *text, size_t bytes, char *out);

#endif
