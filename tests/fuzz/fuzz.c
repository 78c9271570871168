#include "fuzz.h"

#include <dirent.h>
#include <heed/heed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Noreturn void fuzz_fail(const char *condition, const char *file, int line) {
  fprintf(stderr, "%s:%d: not so: %s; last error: %s\n", file, line, condition, heed_last_error());
  abort();
}

static void write_all(int file, const uint8_t *data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(file, data, size);
    FUZZ_REQUIRE(written > 0);
    data += written;
    size -= (size_t)written;
  }
}

const char *fuzz_file(const uint8_t *data, size_t size) {
  static int file = -1;
  static char path[64];
  if (file < 0) {
    file = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_REQUIRE(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  FUZZ_REQUIRE(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0);
  write_all(file, data, size);
  return path;
}

void fuzz_require_message(const char *path) {
  const char *message = heed_last_error();
  FUZZ_REQUIRE(strstr(message, path) != NULL);
  FUZZ_REQUIRE(strlen(message) > strlen(path) + 2);
  for (; *message; ++message) FUZZ_REQUIRE((unsigned char)*message >= 0x20 && *message != 0x7f);
}

static char folder[512];

static void remove_folder(void) {
  DIR *stream = opendir(folder);
  for (struct dirent *entry; stream && (entry = readdir(stream));) unlinkat(dirfd(stream), entry->d_name, 0);
  if (stream) closedir(stream);
  rmdir(folder);
}

const char *fuzz_folder(void) {
  if (folder[0]) return folder;
  const char *base = getenv("TMPDIR");
  const int length = snprintf(folder, sizeof folder, "%s/heed-fuzz-XXXXXX", base && *base ? base : "/tmp");
  FUZZ_REQUIRE((size_t)length < sizeof folder);
  FUZZ_REQUIRE(mkdtemp(folder) != NULL);
  atexit(remove_folder);
  return folder;
}
