// Finds out why an installed driver does not appear: each .icd file of the vendors' folder names a library, and the loader does not mention
// a library that it cannot load. This file looks where the loader looks, and calls nothing in the libraries.
#include "cl/runtime/icd.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool heed__cl_has_loader(void) { return true; }

static bool ends_in_icd(const char *name) {
  const size_t length = strlen(name);
  return length > 4 && strcmp(name + length - 4, ".icd") == 0;
}

static int is_icd(const struct dirent *entry) { return entry->d_name[0] != '.' && ends_in_icd(entry->d_name); }

// Reads the library that an .icd file names: its first line without blanks at either end. False if it names none.
static bool read_library(const char *path, char *library, size_t size, heed_platform_info *entry) {
  FILE *file = fopen(path, "re");
  if (!file) {
    snprintf(entry->reason, sizeof entry->reason, "%s cannot be read: %m", path);
    return false;
  }
  char line[4096] = "";
  if (!fgets(line, sizeof line, file)) line[0] = 0;
  fclose(file);
  const char *start = line + strspn(line, " \t\r\n");
  const size_t length = strcspn(start, "\r\n");
  snprintf(library, size, "%.*s", (int)length, start);
  for (size_t end = strlen(library); end > 0 && strchr(" \t", library[end - 1]); --end) library[end - 1] = 0;
  if (!*library) snprintf(entry->reason, sizeof entry->reason, "%s names no library", path);
  return *library != 0;
}

// Makes the entry for one file: which library, or why it cannot be read.
static bool open_entry(const char *path, char *library, size_t size, heed_platform_info *entry) {
  const char *slash = strrchr(path, '/');
  *entry = (heed_platform_info){0};
  snprintf(entry->name, sizeof entry->name, "%s", slash ? slash + 1 : path);
  return read_library(path, library, size, entry);
}

static bool is_loaded(const char *path) {
  char library[4096];
  heed_platform_info entry;
  if (!open_entry(path, library, sizeof library, &entry)) return false;
  void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle) dlclose(handle);
  return handle != NULL;
}

// Returns true if this file's library does not load; the entry then says why.
static bool fails(const char *path, heed_platform_info *entry) {
  char library[4096];
  if (!open_entry(path, library, sizeof library, entry)) return true;
  void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
  if (handle) {
    dlclose(handle);
    return false;
  }
  const char *why = dlerror();
  snprintf(entry->reason, sizeof entry->reason,
           "its driver does not load: %s; install or repair that library, or remove %s", why ? why : library, path);
  return true;
}

// The .icd files that the loader reads; the caller frees each, and the array.
static size_t list_paths(char ***paths) {
  const char *folder = getenv("OCL_ICD_VENDORS");
  if (!folder || !*folder) folder = getenv("OPENCL_VENDOR_PATH");
  if (!folder || !*folder) folder = "/etc/OpenCL/vendors";
  struct dirent **entries = NULL;
  const bool one = ends_in_icd(folder);
  const int found = one ? 0 : scandir(folder, &entries, is_icd, alphasort);
  const size_t room = one ? 1 : found > 0 ? (size_t)found : 0;
  size_t count = 0;
  *paths = calloc(room + 1, sizeof **paths);
  if (*paths && one && ((*paths)[0] = strdup(folder))) count = 1;
  for (int i = 0; i < found; ++i) {
    if (*paths && asprintf(&(*paths)[count], "%s/%s", folder, entries[i]->d_name) >= 0) ++count;
    free(entries[i]);
  }
  free(entries);
  return count;
}

size_t heed__cl_icd_failures(heed_platform_info *platforms, size_t room, bool no_platform) {
  char **paths = NULL;
  const size_t count = list_paths(&paths);
  // Open a library only after a loader has tried it. A tool that replaces OpenCL as a whole (Oclgrind) loads no libraries, and a process
  // that opens a driver beside such a tool may crash.
  bool tried = no_platform;
  for (size_t i = 0; i < count && !tried; ++i) tried = is_loaded(paths[i]);
  size_t used = 0;
  for (size_t i = 0; i < count; ++i) {
    if (tried && used < room) used += fails(paths[i], &platforms[used]);
    free(paths[i]);
  }
  free(paths);
  if (used < room) platforms[used] = (heed_platform_info){0};
  return used;
}
