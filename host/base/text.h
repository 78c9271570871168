// Texts from files and callers, made fit for a message. Knows nothing else of heed.
#ifndef HEED__TEXT_H
#define HEED__TEXT_H

#include <stddef.h>

// A name, shortened, and without control characters, because a terminal would obey those.
struct heed__name {
  char text[96];
};
struct heed__name heed__printable(const char *name);

// What stands in the place of a file that did not arrive, by its first bytes (512 are enough): a git-lfs pointer, and a web page. Returns
// what it is and how to come to what was meant, for a message after "path: "; NULL if it is neither.
const char *heed__lfs_pointer(const void *start, size_t bytes);
const char *heed__not_downloaded(const void *start, size_t bytes);

#endif
