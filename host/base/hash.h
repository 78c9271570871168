// FNV-1a over 64 bits, for names of files and ids. It tells texts apart; it does not stop someone who wants two of them to collide.
#ifndef HEED__HASH_H
#define HEED__HASH_H

#include <stddef.h>
#include <stdint.h>

#define HEED__HASH_START UINT64_C(0xcbf29ce484222325)
// The hash of all bytes so far and these; begins with HEED__HASH_START.
uint64_t heed__hash(uint64_t hash, const void *data, size_t bytes);

#endif
