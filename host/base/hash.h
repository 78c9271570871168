// FNV-1a over 64 bits, for file names and ids. It tells texts apart, but it does not stop someone who makes two of them collide on purpose.
#ifndef HEED__HASH_H
#define HEED__HASH_H

#include <stddef.h>
#include <stdint.h>

#define HEED__HASH_START UINT64_C(0xcbf29ce484222325)
// Returns the hash of all bytes so far, continued by these. Start with HEED__HASH_START.
uint64_t heed__hash(uint64_t hash, const void *data, size_t bytes);

#endif
