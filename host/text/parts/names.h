// Texts and a number for each: a hash table. Knows nothing of tokenizers.
#ifndef HEED__TEXT_NAMES_H
#define HEED__TEXT_NAMES_H

#include <stdint.h>

#include "text/parts/buffer.h"

struct heed__named {
  size_t start;
  uint32_t bytes, hash;
  int32_t value;  // -1: the slot is free
};
// All zero is an empty one.
struct heed__names {
  struct heed__buffer text;   // of all names, one after another
  struct heed__named *slots;  // as many as a power of two, of which at most half are taken
  size_t room, count;
};

// Returns the number, which is never negative; -1: there is no such name.
int32_t heed__names_find(const struct heed__names *names, const char *text, size_t bytes);
// Adds a name that is not there yet. Returns false if memory has run out.
bool heed__names_add(struct heed__names *names, const char *text, size_t bytes, int32_t value);
// Forgets all names, and keeps the memory.
void heed__names_clear(struct heed__names *names);
void heed__names_free(struct heed__names *names);

#endif
