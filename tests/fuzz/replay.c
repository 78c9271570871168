// Goes through files that a fuzz target is to survive, without libFuzzer. Usage: fuzz_TARGET FILE-OR-FOLDER ...
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static size_t replayed;

static void replay_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0) {
    perror(path);
    exit(2);
  }
  const long size = ftell(file);
  rewind(file);
  // Of the very size, so that the sanitizer sees a step past it.
  uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
  if (!data || size < 0 || fread(data, 1, (size_t)size, file) != (size_t)size) exit(2);
  fclose(file);
  LLVMFuzzerTestOneInput(data, (size_t)size);
  free(data);
  ++replayed;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void replay(const char *path) {
  struct dirent **entries = NULL;
  const int count = scandir(path, &entries, is_visible, alphasort);
  if (count < 0) replay_file(path);
  for (int i = 0; i < count; ++i) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
    replay_file(name);
    free(entries[i]);
  }
  free(entries);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; ++i) replay(argv[i]);
  printf("%zu inputs survived\n", replayed);
  return replayed > 0 ? 0 : 2;
}
