// FNV-1a, byte after byte; and BLAKE2b without a key: Aumasson, Neves, Wilcox-O'Hearn, Winnerlein, "BLAKE2: simpler, smaller, fast as
// MD5", ACNS 2013; RFC 7693.
#include "base/hash.h"

#include <string.h>

uint64_t heed__hash(uint64_t hash, const void *data, size_t bytes) {
  const unsigned char *byte = data;
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
  return hash;
}

// ---------------------------------------------------------------- BLAKE2b

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are copied as they are");

static const uint64_t start_state[8] = {
    UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b),
    UINT64_C(0xa54ff53a5f1d36f1), UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
    UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179),
};

// Which words of the block a round mixes in; rounds 10 and 11 are 0 and 1 again.
static const uint8_t order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t turn(uint64_t x, int bits) { return x >> bits | x << (64 - bits); }

static inline void mix(uint64_t v[16], int a, int b, int c, int d, uint64_t x, uint64_t y) {
  v[a] += v[b] + x;
  v[d] = turn(v[d] ^ v[a], 32);
  v[c] += v[d];
  v[b] = turn(v[b] ^ v[c], 24);
  v[a] += v[b] + y;
  v[d] = turn(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = turn(v[b] ^ v[c], 63);
}

static void compress(struct heed__digest *digest, const uint8_t *block, uint64_t last) {
  uint64_t v[16], m[16];
  memcpy(m, block, sizeof m);
  memcpy(v, digest->state, sizeof digest->state);
  memcpy(v + 8, start_state, sizeof start_state);
  v[12] ^= digest->bytes;  // the length's high word is 0: a file has fewer than 2^64 bytes
  v[14] ^= last;
  for (int round = 0; round < 12; ++round) {
    const uint8_t *o = order[round % 10];
    for (int i = 0; i < 4; ++i) mix(v, i, 4 + i, 8 + i, 12 + i, m[o[2 * i]], m[o[2 * i + 1]]);
    for (int i = 0; i < 4; ++i)
      mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[o[8 + 2 * i]], m[o[9 + 2 * i]]);
  }
  for (int i = 0; i < 8; ++i) digest->state[i] ^= v[i] ^ v[8 + i];
}

void heed__digest_start(struct heed__digest *digest) {
  *digest = (struct heed__digest){0};
  memcpy(digest->state, start_state, sizeof start_state);
  digest->state[0] ^= 0x01010000 ^ HEED__DIGEST_BYTES;  // the parameters: no key, one leaf, this length
}

// The last block is compressed at the end only, since it is marked.
void heed__digest_add(struct heed__digest *digest, const void *data, size_t bytes) {
  const uint8_t *at = data;
  while (bytes > 0) {
    if (digest->used == HEED__DIGEST_BLOCK) {
      digest->bytes += HEED__DIGEST_BLOCK;
      compress(digest, digest->block, 0);
      digest->used = 0;
    }
    for (; digest->used == 0 && bytes > HEED__DIGEST_BLOCK; at += HEED__DIGEST_BLOCK, bytes -= HEED__DIGEST_BLOCK) {
      digest->bytes += HEED__DIGEST_BLOCK;
      compress(digest, at, 0);
    }
    const size_t room = HEED__DIGEST_BLOCK - digest->used, taken = bytes < room ? bytes : room;
    memcpy(digest->block + digest->used, at, taken);
    digest->used += taken;
    at += taken;
    bytes -= taken;
  }
}

void heed__digest_end(struct heed__digest *digest, uint8_t out[HEED__DIGEST_BYTES]) {
  digest->bytes += digest->used;
  memset(digest->block + digest->used, 0, HEED__DIGEST_BLOCK - digest->used);
  compress(digest, digest->block, UINT64_MAX);
  memcpy(out, digest->state, HEED__DIGEST_BYTES);
}
