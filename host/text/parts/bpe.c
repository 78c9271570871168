// Byte-pair encoding (Sennrich et al. 2016): of all neighbours in a piece the pair of the lowest rank becomes one token, the leftmost
// of several first, until no pair is left that the table has. Candidates wait in a heap, so that long pieces take n log n steps.
#include "text/parts/bpe.h"

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------- the table

static size_t slot_of(const struct heed__merges *merges, int32_t left, int32_t right) {
  const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  const size_t mask = merges->room - 1;
  size_t i = (size_t)((pair * UINT64_C(0x9E3779B97F4A7C15)) >> 24) & mask;
  while (merges->slots[i].left >= 0 && (merges->slots[i].left != left || merges->slots[i].right != right))
    i = (i + 1) & mask;
  return i;
}

const struct heed__merge *heed__merges_find(const struct heed__merges *merges, int32_t left, int32_t right) {
  if (merges->room == 0) return NULL;
  const struct heed__merge *merge = &merges->slots[slot_of(merges, left, right)];
  return merge->left >= 0 ? merge : NULL;
}

static bool grow(struct heed__merges *merges) {
  struct heed__merges grown = {.room = merges->room > 0 ? 2 * merges->room : 64, .count = merges->count};
  grown.slots = malloc(grown.room * sizeof *grown.slots);
  if (!grown.slots) return false;
  for (size_t i = 0; i < grown.room; ++i) grown.slots[i] = (struct heed__merge){.left = -1};
  for (size_t i = 0; i < merges->room; ++i) {
    const struct heed__merge *old = &merges->slots[i];
    if (old->left >= 0) grown.slots[slot_of(&grown, old->left, old->right)] = *old;
  }
  free(merges->slots);
  *merges = grown;
  return true;
}

heed_status heed__merges_add(struct heed__merges *merges, const struct heed__merge *merge) {
  if (2 * (merges->count + 1) > merges->room)
    HEED__REQUIRE(grow(merges), HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu merges", merges->count + 1);
  struct heed__merge *slot = &merges->slots[slot_of(merges, merge->left, merge->right)];
  merges->count += slot->left < 0;
  *slot = *merge;
  return HEED_OK;
}

void heed__merges_free(struct heed__merges *merges) {
  free(merges->slots);
  *merges = (struct heed__merges){0};
}

// ---------------------------------------------------------------- the heap

static bool is_before(const struct heed__bpe_candidate *a, const struct heed__bpe_candidate *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct heed__bpe *work, struct heed__bpe_candidate candidate) {
  struct heed__bpe_candidate *heap = work->heap;
  size_t i = work->candidates++;
  for (size_t parent; i > 0 && is_before(&candidate, &heap[parent = (i - 1) / 2]); i = parent) heap[i] = heap[parent];
  heap[i] = candidate;
}

static struct heed__bpe_candidate pop(struct heed__bpe *work) {
  struct heed__bpe_candidate *heap = work->heap;
  const struct heed__bpe_candidate first = heap[0], last = heap[--work->candidates];
  const size_t count = work->candidates;
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < count; i = child) {
    if (child + 1 < count && is_before(&heap[child + 1], &heap[child])) ++child;
    if (!is_before(&heap[child], &last)) break;
    heap[i] = heap[child];
  }
  if (count > 0) heap[i] = last;
  return first;
}

// ---------------------------------------------------------------- a piece

heed_status heed__bpe_reserve(struct heed__bpe *work, size_t bytes) {
  HEED__REQUIRE(bytes < INT32_MAX, HEED_ERROR_OVERFLOW, "a piece of the text has %zu bytes; the most is %d", bytes,
                INT32_MAX - 1);
  if (bytes <= work->room) return HEED_OK;
  const size_t room = bytes + bytes / 2 + 64;
  heed__bpe_free(work);
  work->symbols = malloc(room * sizeof *work->symbols);
  work->heap = malloc(3 * room * sizeof *work->heap);  // n − 1 pairs, and two new ones for each of as many merges
  work->ids = malloc(room * sizeof *work->ids);
  if (!work->symbols || !work->heap || !work->ids) {
    heed__bpe_free(work);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a piece of %zu bytes", bytes);
  }
  work->room = room;
  return HEED_OK;
}

void heed__bpe_free(struct heed__bpe *work) {
  free(work->symbols);
  free(work->heap);
  free(work->ids);
  *work = (struct heed__bpe){0};
}

static void consider(const struct heed__merges *merges, struct heed__bpe *work, int32_t at) {
  const struct heed__bpe_symbol *left = &work->symbols[at];
  if (left->after < 0) return;
  const struct heed__merge *merge = heed__merges_find(merges, left->id, work->symbols[left->after].id);
  if (merge) push(work, (struct heed__bpe_candidate){.rank = merge->rank, .at = at, .id = merge->id});
}

static void merge_at(const struct heed__merges *merges, struct heed__bpe *work, int32_t at, int32_t id) {
  struct heed__bpe_symbol *left = &work->symbols[at], *right = &work->symbols[left->after];
  left->id = id;
  left->after = right->after;
  right->id = -1;
  if (left->after >= 0) work->symbols[left->after].before = at;
  if (left->before >= 0) consider(merges, work, left->before);
  consider(merges, work, at);
}

void heed__bpe_merge(const struct heed__merges *merges, struct heed__bpe *work) {
  const int32_t count = (int32_t)work->count;
  for (int32_t i = 0; i < count; ++i)
    work->symbols[i] =
        (struct heed__bpe_symbol){.id = work->ids[i], .before = i - 1, .after = i + 1 < count ? i + 1 : -1};
  work->candidates = 0;
  for (int32_t i = 0; i < count; ++i) consider(merges, work, i);
  while (work->candidates > 0) {
    const struct heed__bpe_candidate candidate = pop(work);
    const struct heed__bpe_symbol *left = &work->symbols[candidate.at];
    if (left->id < 0 || left->after < 0) continue;
    // A neighbour may have become another token since; what counts is that the two still become this one, as `tokenizers` has it.
    const struct heed__merge *merge = heed__merges_find(merges, left->id, work->symbols[left->after].id);
    if (merge && merge->id == candidate.id) merge_at(merges, work, candidate.at, candidate.id);
  }
  work->count = 0;
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = work->symbols[i].after)
    work->ids[work->count++] = work->symbols[i].id;
}
