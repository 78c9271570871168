// The memory that this process may have, as the operating system tells. Knows nothing else of heed.
#ifndef HEED__MEMORY_H
#define HEED__MEMORY_H

#include <stdint.h>

struct heed__memory {
  uint64_t total;  // physical memory, or less where a control group has a limit
  uint64_t
      available;  // what can be had now without taking it from others: free, or held by caches and swap that give way
};

// root: a folder in whose place of / the files of the kernel are read, for tests; "" otherwise. Without such files it asks sysconf().
struct heed__memory heed__memory_read(const char *root);

#endif
