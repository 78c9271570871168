// BLAKE2b with 32 bytes: names for contents that nobody can make two of. Knows nothing else of heed.
#ifndef HEED__LM_DIGEST_H
#define HEED__LM_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { HEED__DIGEST_BYTES = 32, HEED__DIGEST_BLOCK = 128 };

struct heed__digest {
  uint64_t state[8], bytes;
  uint8_t block[HEED__DIGEST_BLOCK];
  size_t used;  // of the block
};

void heed__digest_start(struct heed__digest *digest);
void heed__digest_add(struct heed__digest *digest, const void *data, size_t bytes);
void heed__digest_end(struct heed__digest *digest, uint8_t out[HEED__DIGEST_BYTES]);

#endif
