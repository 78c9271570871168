// A folder for each test of what heed keeps on disk: a cache, kernels to put in it, and entries that are no programs.
#ifndef SUPPORT_CACHE_H
#define SUPPORT_CACHE_H

#include <time.h>

#include "support_devices.h"
#include "support_files.h"

struct support_cache {
  char root[64], cache[96], kernels[96];  // cache: not made yet
};
extern struct support_cache support_cache;

// Fixtures; *state stays what it is.
int support_cache_make(void **state);
int support_cache_remove(void **state);
// Files in the cache folder; the last one's path goes to `path`.
int support_cache_entries(char *path, size_t size);
void support_set_time(const char *path, time_t seconds, long nanoseconds);

enum { SUPPORT_CACHE_BINARY = 37 };
extern const unsigned char support_cache_binary[SUPPORT_CACHE_BINARY];
void support_cache_store(const char *key);  // support_cache_binary
bool support_cache_loads(const char *key);

#endif
