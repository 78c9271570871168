// A hash table from texts to numbers: open addressing, never more than half full.
#include "text/parts/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static uint32_t hash_of(const char *text, size_t bytes) {
  const uint64_t hash = heed__hash(HEED__HASH_START, text, bytes);
  return (uint32_t)(hash ^ hash >> 32);
}

// The slot that has this name, or the free one where it belongs.
static struct heed__named *slot_of(const struct heed__names *names, const char *text, size_t bytes, uint32_t hash) {
  size_t i = hash & (names->room - 1);
  for (;; i = (i + 1) & (names->room - 1)) {
    struct heed__named *slot = &names->slots[i];
    if (slot->value < 0) return slot;
    if (slot->hash == hash && slot->bytes == bytes && memcmp(names->text.data + slot->start, text, bytes) == 0)
      return slot;
  }
}

int32_t heed__names_find(const struct heed__names *names, const char *text, size_t bytes) {
  return names->room > 0 ? slot_of(names, text, bytes, hash_of(text, bytes))->value : -1;
}

static void free_all(struct heed__named *slots, size_t room) {
  for (size_t i = 0; i < room; ++i) slots[i].value = -1;
}

static bool grow(struct heed__names *names) {
  const size_t room = names->room > 0 ? 2 * names->room : 64;
  struct heed__named *slots = calloc(room, sizeof *slots);
  if (!slots) return false;
  free_all(slots, room);
  for (size_t i = 0; i < names->room; ++i) {
    const struct heed__named *old = &names->slots[i];
    if (old->value < 0) continue;
    size_t to = old->hash & (room - 1);
    while (slots[to].value >= 0) to = (to + 1) & (room - 1);
    slots[to] = *old;
  }
  free(names->slots);
  names->slots = slots;
  names->room = room;
  return true;
}

bool heed__names_add(struct heed__names *names, const char *text, size_t bytes, int32_t value) {
  if (2 * (names->count + 1) > names->room && !grow(names)) return false;
  const uint32_t hash = hash_of(text, bytes);
  struct heed__named *slot = slot_of(names, text, bytes, hash);
  const size_t start = names->text.size;
  if (bytes > UINT32_MAX || !heed__buffer_add(&names->text, text, bytes)) return false;
  *slot = (struct heed__named){.start = start, .bytes = (uint32_t)bytes, .hash = hash, .value = value};
  ++names->count;
  return true;
}

void heed__names_clear(struct heed__names *names) {
  free_all(names->slots, names->room);
  names->count = 0;
  names->text.size = 0;
}

void heed__names_free(struct heed__names *names) {
  heed__buffer_free(&names->text);
  free(names->slots);
  *names = (struct heed__names){0};
}
