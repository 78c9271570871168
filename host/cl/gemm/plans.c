// The plans of the products that a context has met, in an open hash table with everything that a plan depends on as the key. When something
// changes in the context (tuned choices, something that stopped working), it counts a new revision, and plans of older revisions are
// dropped.
#include <stdlib.h>
#include <string.h>

#include "cl/gemm/variant.h"

// A program does not work with more problems than this; they are shapes that never come back.
enum { FIRST_ROOM = 64, MOST_ROOM = 8192 };

// Integers of one size, so that there is no padding to compare.
struct key {
  int64_t m, n, k, batch0, batch1, bits;
};

struct heed__cl_gemm_plans {
  unsigned revision;
  size_t count, room;  // room: a power of two
  struct entry {
    bool used;
    struct key key;
    struct heed__cl_gemm_plan plan;
  } * entries;
};

// ---------------------------------------------------------------- keys

// How the rows of a matrix lie: whether it is broadcast; whether each row begins at a multiple of 2, 4 or 8 elements; whether CLBlast can
// step from row to row; whether an index into it fits 31 bits; whether its batches lie back to back.
static int64_t bits_of(const heed_tensor *t) {
  const int64_t both = t->offset | t->strides[0] | t->strides[1] | t->strides[2];
  const int64_t aligned = both & 1 ? 0 : both & 2 ? 1 : both & 4 ? 2 : 3;
  const int64_t leads = t->dims[2] <= 1 || t->strides[2] >= t->dims[3];
  const int64_t is_long = heed__tensor_span(t) > HEED__CL_IDX32_MOST;
  const int64_t packed = heed__cl_gemm_is_packed(t);
  return (t->strides[0] == 0) | (t->strides[1] == 0) << 1 | aligned << 2 | leads << 4 | is_long << 5 | packed << 6;
}

static struct key key_of(const struct heed__cl_gemm_problem *p) {
  const int64_t gelu = heed__cl_gemm_has_gelu(p) ? 1 + (int64_t)p->epilogue.gelu : 0;
  return (struct key){.m = p->m,
                      .n = p->n,
                      .k = p->k,
                      .batch0 = p->c->dims[0],
                      .batch1 = p->c->dims[1],
                      .bits = p->trans_a | p->trans_b << 1 | (int64_t)p->c->dtype << 2 | gelu << 6 |
                              bits_of(p->a) << 8 | bits_of(p->b) << 16 | bits_of(p->c) << 24};
}

static bool is_same(const struct key *a, const struct key *b) {
  return a->m == b->m && a->n == b->n && a->k == b->k && a->batch0 == b->batch0 && a->batch1 == b->batch1 &&
         a->bits == b->bits;
}

static size_t place_of(const struct key *key, size_t room) {
  const uint64_t odd = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio: spreads neighbouring sizes over all bits
  uint64_t hash = (uint64_t)key->m;
  hash = hash * odd + (uint64_t)key->n;
  hash = hash * odd + (uint64_t)key->k;
  hash = hash * odd + (uint64_t)(key->batch0 ^ key->batch1 << 16);
  hash = (hash * odd + (uint64_t)key->bits) * odd;
  return (size_t)(hash >> 32) & (room - 1);
}

// ---------------------------------------------------------------- the table

// Finds the entry of a key, or the free one where it belongs; there is always one.
static struct entry *entry_of(const struct heed__cl_gemm_plans *plans, const struct key *key) {
  size_t at = place_of(key, plans->room);
  while (plans->entries[at].used && !is_same(&plans->entries[at].key, key)) at = (at + 1) & (plans->room - 1);
  return &plans->entries[at];
}

const struct heed__cl_gemm_plan *heed__cl_gemm_plans_find(const heed_context *ctx,
                                                          const struct heed__cl_gemm_problem *p) {
  const struct heed__cl_gemm_plans *plans = heed__cl_gemm_state(ctx)->plans;
  ++heed__cl_gemm_state(ctx)->looked_up;
  if (!plans || plans->revision != heed__cl_state(ctx)->revision) return NULL;
  const struct key key = key_of(p);
  const struct entry *entry = entry_of(plans, &key);
  return entry->used ? &entry->plan : NULL;
}

static heed_status no_memory(void) {
  return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "gemm: no host memory for the plans of products");
}

// Doubles the room, or clears the table if it is too large.
static heed_status grow(struct heed__cl_gemm_plans *plans) {
  if (plans->room == MOST_ROOM) {
    memset(plans->entries, 0, plans->room * sizeof *plans->entries);
    plans->count = 0;
    return HEED_OK;
  }
  struct heed__cl_gemm_plans grown = {.revision = plans->revision, .count = plans->count, .room = plans->room * 2};
  grown.entries = calloc(grown.room, sizeof *grown.entries);
  if (!grown.entries) return no_memory();
  for (size_t i = 0; i < plans->room; ++i)
    if (plans->entries[i].used) *entry_of(&grown, &plans->entries[i].key) = plans->entries[i];
  free(plans->entries);
  *plans = grown;
  return HEED_OK;
}

heed_status heed__cl_gemm_plans_add(heed_context *ctx, const struct heed__cl_gemm_problem *p,
                                    const struct heed__cl_gemm_plan *plan) {
  struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  if (state->plans && state->plans->revision != heed__cl_state(ctx)->revision) heed__cl_gemm_plans_free(ctx);
  if (!state->plans) {
    struct heed__cl_gemm_plans *plans = calloc(1, sizeof *plans);
    if (plans) plans->entries = calloc(FIRST_ROOM, sizeof *plans->entries);
    if (!plans || !plans->entries) {
      free(plans);
      return no_memory();
    }
    plans->room = FIRST_ROOM;
    plans->revision = heed__cl_state(ctx)->revision;
    state->plans = plans;
  }
  if (state->plans->count * 2 >= state->plans->room) HEED__TRY(grow(state->plans));
  const struct key key = key_of(p);
  struct entry *entry = entry_of(state->plans, &key);
  state->plans->count += !entry->used;
  *entry = (struct entry){.used = true, .key = key, .plan = *plan};
  return HEED_OK;
}

void heed__cl_gemm_plans_free(heed_context *ctx) {
  struct heed__cl_gemm_state *state = heed__cl_gemm_state(ctx);
  if (state->plans) free(state->plans->entries);
  free(state->plans);
  state->plans = NULL;
}
