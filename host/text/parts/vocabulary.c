// Tokens by id, and the alphabet in which files write their bytes.
#include "text/parts/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "text/parts/unicode.h"

static bool make_room(struct heed__vocabulary *vocabulary, int64_t id) {
  if (id < vocabulary->room) return true;
  int64_t room = vocabulary->room > 0 ? vocabulary->room : 256;
  while (room <= id) room *= 2;
  struct heed__place *places = realloc(vocabulary->places, (size_t)room * sizeof *places);
  if (!places) return false;
  memset(places + vocabulary->room, 0, (size_t)(room - vocabulary->room) * sizeof *places);
  vocabulary->places = places;
  vocabulary->room = room;
  return true;
}

heed_status heed__vocabulary_add(struct heed__vocabulary *vocabulary, int64_t id, const char *text, size_t bytes,
                                 bool verbatim) {
  bool there = make_room(vocabulary, id);
  // Two tokens have the same bytes where one of them stands verbatim: its bytes are no name.
  if (there && heed__names_find(&vocabulary->names, text, bytes) >= 0)
    there = heed__buffer_add(&vocabulary->names.text, text, bytes);
  else if (there)
    there = heed__names_add(&vocabulary->names, text, bytes, (int32_t)id);
  HEED__REQUIRE(there, HEED_ERROR_OUT_OF_MEMORY, "no memory for a vocabulary of %lld tokens", (long long)id + 1);
  vocabulary->places[id] = (struct heed__place){
      .start = vocabulary->names.text.size - bytes, .bytes = (uint32_t)bytes, .there = true, .verbatim = verbatim};
  if (id >= vocabulary->count) vocabulary->count = id + 1;
  return HEED_OK;
}

void heed__vocabulary_free(struct heed__vocabulary *vocabulary) {
  heed__names_free(&vocabulary->names);
  free(vocabulary->places);
  *vocabulary = (struct heed__vocabulary){0};
}

// ---------------------------------------------------------------- the alphabet

static bool is_seen(int32_t c) { return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c != 0xAD); }

// The bytes that cannot be seen are, in order, 00 to 20, 7F to A0, and AD.
int32_t heed__alphabet(uint8_t byte) {
  if (is_seen(byte)) return byte;
  return 0x100 + (byte <= 0x20 ? byte : byte < 0xAD ? byte - 0x7F + 0x21 : 0x43);
}

static int32_t byte_of(int32_t c) {
  if (c < 0x100) return is_seen(c) ? c : -1;
  if (c <= 0x120) return c - 0x100;
  if (c <= 0x142) return c - 0x121 + 0x7F;
  return c == 0x143 ? 0xAD : -1;
}

int64_t heed__alphabet_read(const char *text, size_t bytes, char *out) {
  int64_t count = 0;
  int32_t c = 0;
  for (size_t at = 0; at < bytes;) {
    const size_t length = heed__utf8_read(text + at, bytes - at, &c);
    const int32_t byte = length > 0 ? byte_of(c) : -1;
    if (byte < 0) return -1;
    out[count++] = (char)byte;
    at += length;
  }
  return count;
}
