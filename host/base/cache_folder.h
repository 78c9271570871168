// A folder that keeps what can be made again, and that does not grow for ever. Callers know what its entries are.
#ifndef HEED__CACHE_FOLDER_H
#define HEED__CACHE_FOLDER_H

#include <stdint.h>

// Before an entry of `needed` bytes is stored: deletes the entries that were not used for the longest time, by the time that readers set,
// until all of them together have at most `most` bytes. Entries are the files whose names end with `suffix`; it touches no others, but
// for what interrupted writes (base/atomic_file.h) left behind.
void heed__cache_make_room(int folder, const char *suffix, uint64_t needed, uint64_t most);

#endif
