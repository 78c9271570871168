// Byte-pair encoding: the table of merges, and their use on a piece of text.
#ifndef HEED__TEXT_BPE_H
#define HEED__TEXT_BPE_H

#include "base/status.h"
#include "text/parts/names.h"

struct heed__merge {
  int32_t left, right, id;  // ids; left -1: the slot is free
  int32_t rank;             // the lowest goes first
};
// All zero is an empty one.
struct heed__merges {
  struct heed__merge *slots;  // as many as a power of two, of which at most half are taken
  size_t room, count;
};
// Adds a merge; one that is there already gets the new rank. Errors: OUT_OF_MEMORY.
heed_status heed__merges_add(struct heed__merges *merges, const struct heed__merge *merge);
const struct heed__merge *heed__merges_find(const struct heed__merges *merges, int32_t left, int32_t right);  // or NULL
void heed__merges_free(struct heed__merges *merges);

// What one thread works with. All zero is a new one.
struct heed__bpe_symbol {
  int32_t id, before, after;  // indices of neighbours; -1: none; id -1: merged into the one before
};
struct heed__bpe_candidate {
  int32_t rank, at, id;
};
struct heed__bpe {
  struct heed__bpe_symbol *symbols;
  struct heed__bpe_candidate *heap;
  size_t room, candidates;
  int32_t *ids;  // of the last piece
  size_t count;
};
// Merges bytes, given by their ids in work->ids, which has the room that heed__bpe_reserve() made; O(n log n). The result is in work->ids.
void heed__bpe_merge(const struct heed__merges *merges, struct heed__bpe *work);
// Errors: OUT_OF_MEMORY; OVERFLOW, for a piece of 2 GiB.
heed_status heed__bpe_reserve(struct heed__bpe *work, size_t bytes);
void heed__bpe_free(struct heed__bpe *work);

#endif
