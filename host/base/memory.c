// Reads /proc/meminfo and the limits of control groups (cgroup), versions 1 and 2.
// https://docs.kernel.org/filesystems/proc.html#meminfo, https://docs.kernel.org/admin-guide/cgroup-v2.html#memory
#include "base/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 1024 };

// Finds the number after `key` at the start of a line; with key "" the file's first number. The word "max" is no number.
static bool read_number(const char *path, const char *key, uint64_t *value) {
  FILE *file = fopen(path, "re");
  char line[256];
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file))
    found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), " %" SCNu64, value) == 1;
  if (file) fclose(file);
  return found;
}

// The names that the two versions have for the same.
static const struct version {
  const char *mount, *limit, *usage, *cache;
} versions[] = {
    {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
};

// Takes account of one group. Its caches of files that nobody has used lately give way. A group without a limit has "max" (version 2) or
// a number beyond all memory (version 1).
static void apply_group(const struct version *v, const char *folder, struct heed__memory *memory) {
  char path[PATH + 64];
  uint64_t limit, usage = 0, cache = 0;
  snprintf(path, sizeof path, "%s/%s", folder, v->limit);
  if (!read_number(path, "", &limit)) return;
  snprintf(path, sizeof path, "%s/%s", folder, v->usage);
  if (!read_number(path, "", &usage)) usage = 0;
  snprintf(path, sizeof path, "%s/memory.stat", folder);
  if (!read_number(path, v->cache, &cache)) cache = 0;
  const uint64_t used = usage > cache ? usage - cache : 0, left = limit > used ? limit - used : 0;
  if (limit < memory->total) memory->total = limit;
  if (left < memory->available) memory->available = left;
}

// The process's group and all above it: each may have a limit. In a container the path may be one of the machine outside; then the mount
// itself is the group.
static void apply_groups(const char *root, const struct version *v, char *group, struct heed__memory *memory) {
  for (char *end = group + strlen(group);; end = strrchr(group, '/')) {
    if (!end) return;
    *end = '\0';
    char folder[PATH];
    if ((size_t)snprintf(folder, sizeof folder, "%s%s%s", root, v->mount, group) < sizeof folder)
      apply_group(v, folder, memory);
    if (!*group) return;
  }
}

// Lines of /proc/self/cgroup are "0::/path" in version 2, and "N:memory,other:/path" in version 1.
static void apply_limits(const char *root, struct heed__memory *memory) {
  char path[PATH], line[PATH];
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group++ = '\0';
    if (strcmp(group, "/") == 0) *group = '\0';
    if (strcmp(controllers + 1, "") == 0) apply_groups(root, &versions[0], group, memory);
    if (strstr(controllers + 1, "memory")) apply_groups(root, &versions[1], group, memory);
  }
  if (file) fclose(file);
}

struct heed__memory heed__memory_read(const char *root) {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  struct heed__memory memory = {.total = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : SIZE_MAX / 2};
  char path[PATH];
  uint64_t total, available, swap = 0;
  memory.available = memory.total;
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  if (read_number(path, "MemTotal:", &total)) memory.total = memory.available = total * 1024;
  if (read_number(path, "MemAvailable:", &available)) {
    (void)read_number(path, "SwapFree:", &swap);
    memory.available = (available + swap) * 1024;
  }
  apply_limits(root, &memory);
  return memory;
}
