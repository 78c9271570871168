#include "support_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"

struct support_cache support_cache;

int support_cache_make(void **state) {
  (void)state;
  strcpy(support_cache.root, "/tmp/heed-test-XXXXXX");
  if (!mkdtemp(support_cache.root)) return -1;
  snprintf(support_cache.cache, sizeof support_cache.cache, "%s/a/cache", support_cache.root);
  snprintf(support_cache.kernels, sizeof support_cache.kernels, "%s/kernels", support_cache.root);
  return mkdir(support_cache.kernels, 0700);
}

static void remove_all(const char *path) {
  DIR *stream = opendir(path);
  for (struct dirent *item = NULL; stream && (item = readdir(stream));) {
    char inner[512];
    if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, item->d_name);
    if (unlink(inner) != 0) remove_all(inner);
  }
  if (stream) closedir(stream);
  rmdir(path);
}

int support_cache_remove(void **state) {
  (void)state;
  chmod(support_cache.cache, 0700);
  remove_all(support_cache.root);
  return 0;
}

int support_cache_entries(char *path, size_t size) {
  DIR *stream = opendir(support_cache.cache);
  int count = 0;
  for (struct dirent *item = NULL; stream && (item = readdir(stream));) {
    if (item->d_name[0] == '.' && strncmp(item->d_name, ".heed", 5) != 0) continue;
    if (path) snprintf(path, size, "%s/%s", support_cache.cache, item->d_name);
    ++count;
  }
  if (stream) closedir(stream);
  return count;
}

void support_set_time(const char *path, time_t seconds, long nanoseconds) {
  const struct timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

const unsigned char support_cache_binary[SUPPORT_CACHE_BINARY] = "not a program, but bytes\0with a zero";

void support_cache_store(const char *key) {
  heed__cl_cache_store(support_cache.cache, key, support_cache_binary, SUPPORT_CACHE_BINARY);
}

bool support_cache_loads(const char *key) {
  unsigned char *got = NULL;
  size_t size = 0;
  const bool loaded = heed__cl_cache_load(support_cache.cache, key, &got, &size);
  if (loaded) {
    assert_int_equal(size, SUPPORT_CACHE_BINARY);
    assert_memory_equal(got, support_cache_binary, size);
  }
  free(got);
  return loaded;
}
