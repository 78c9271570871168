#include "support_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

const char *support_folder(void) { return folder; }

char *support_path(const char *name) {
  static char ring[4][384];
  static unsigned next;
  char *path = ring[next++ % 4];
  snprintf(path, sizeof ring[0], "%s/%s", folder, name);
  return path;
}

static bool is_entry(const char *name) { return strcmp(name, ".") != 0 && strcmp(name, "..") != 0; }

static size_t visit(bool remove_it) {
  DIR *dir = opendir(folder);
  assert_non_null(dir);
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (!is_entry(entry->d_name)) continue;
    ++count;
    if (remove_it) unlink(support_path(entry->d_name));
  }
  closedir(dir);
  return count;
}

size_t support_files_in_folder(void) { return visit(false); }

void support_empty_folder(void) { visit(true); }

int support_make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/heed-test-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

int support_remove_folder(void **state) {
  (void)state;
  support_empty_folder();
  return rmdir(folder);
}

void support_write_file(const char *path, const void *bytes, size_t count) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, count, file), count);
  assert_int_equal(fclose(file), 0);
}

size_t support_read_file(const char *path, void *bytes, size_t room) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  const size_t count = fread(bytes, 1, room, file);
  fclose(file);
  return count;
}
