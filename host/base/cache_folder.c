// What leaves a cache when it is full. It knows names, sizes and times of entries, not what is in them.
#include "base/cache_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic_file.h"

enum { STALE_SECONDS = 3600 };

struct entry {
  char name[256];
  uint64_t bytes;
  struct timespec time;
};

static int older_first(const void *a, const void *b) {
  const struct timespec *x = &((const struct entry *)a)->time, *y = &((const struct entry *)b)->time;
  if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
  return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static bool ends_with(const char *name, const char *suffix) {
  const size_t length = strlen(name), tail = strlen(suffix);
  return length > tail && strcmp(name + length - tail, suffix) == 0;
}

// Lists the folder's entries, and deletes what an interrupted write has left behind. It does not touch other files.
static struct entry *list_entries(int folder, const char *suffix, size_t *count) {
  struct entry *entries = NULL;
  size_t room = 0;
  *count = 0;
  const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *stream = copy >= 0 ? fdopendir(copy) : NULL;
  if (!stream && copy >= 0) close(copy);
  for (struct dirent *item = NULL; stream && (item = readdir(stream));) {
    struct stat info;
    const bool temporary = strncmp(item->d_name, HEED__ATOMIC_TEMPORARY, sizeof HEED__ATOMIC_TEMPORARY - 1) == 0;
    if (!temporary && !ends_with(item->d_name, suffix)) continue;
    if (fstatat(folder, item->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
    if (temporary) {
      if (time(NULL) - info.st_mtime > STALE_SECONDS) unlinkat(folder, item->d_name, 0);
      continue;
    }
    if (*count == room) {
      struct entry *grown = realloc(entries, (room * 2 + 64) * sizeof *grown);
      if (!grown) break;
      entries = grown;
      room = room * 2 + 64;
    }
    struct entry *entry = &entries[(*count)++];
    snprintf(entry->name, sizeof entry->name, "%s", item->d_name);
    entry->bytes = (uint64_t)info.st_size;
    entry->time = info.st_mtim;
  }
  if (stream) closedir(stream);
  return entries;
}

void heed__cache_make_room(int folder, const char *suffix, uint64_t needed, uint64_t most) {
  size_t count = 0;
  struct entry *entries = list_entries(folder, suffix, &count);
  uint64_t total = needed;
  for (size_t i = 0; i < count; ++i) total += entries[i].bytes;
  if (entries && total > most) qsort(entries, count, sizeof *entries, older_first);
  for (size_t i = 0; i < count && total > most; ++i) {
    unlinkat(folder, entries[i].name, 0);
    total -= entries[i].bytes;
  }
  free(entries);
}
