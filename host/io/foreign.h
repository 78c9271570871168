// What a file is that is not in the format its reader expects: web pages, git-lfs pointers, models of other programs.
#ifndef HEED__FOREIGN_H
#define HEED__FOREIGN_H

#include <stddef.h>

// Looks at the first bytes of a file (512 are enough). Returns what it is and how to come to what was meant, for a message after
// "path: "; NULL if it is nothing known.
const char *heed__foreign(const void *start, size_t bytes);

#endif
