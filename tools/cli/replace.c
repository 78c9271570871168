// Replaces a file, whole or not at all.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/files.h"

static int write_all(int file, const char *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t written = write(file, bytes + done, count - done);
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) done += (size_t)written;
  }
  return 0;
}

static int write_in_place(const char *path, const char *bytes, size_t count) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return errno;
  const int error = write_all(file, bytes, count);
  return close(file) != 0 && !error ? errno : error;
}

// mkstemp() makes files that only the user can read, but this one is for everybody who may read new files.
static mode_t new_mode(void) {
  const mode_t mask = (mode_t)umask(0);
  umask(mask);
  return (mode_t)(0666 & ~mask);
}

// In a file beside `path`, which replaces it once it is complete and on disk.
static int write_beside(const char *path, mode_t mode, const char *bytes, size_t count) {
  char *temporary = NULL;
  if (asprintf(&temporary, "%s.XXXXXX", path) < 0) return ENOMEM;
  const int file = mkstemp(temporary);
  int error = file < 0 ? errno : write_all(file, bytes, count);
  if (!error && (fsync(file) != 0 || fchmod(file, mode) != 0)) error = errno;
  if (file >= 0 && close(file) != 0 && !error) error = errno;
  if (!error && rename(temporary, path) != 0) error = errno;
  if (error && file >= 0) unlink(temporary);
  free(temporary);
  return error;
}

int tool_replace_file(const char *path, const char *bytes, size_t count) {
  struct stat info;
  const bool there = lstat(path, &info) == 0;
  // rename() would put a file in the place of a device, a pipe or a link.
  if (there && !S_ISREG(info.st_mode)) return write_in_place(path, bytes, count);
  return write_beside(path, there ? (mode_t)(info.st_mode & 0777) : new_mode(), bytes, count);
}
