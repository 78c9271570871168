// Writes files so that a crash, a full disk or an error leaves the old file or the new one, never a part of one. The caller decides what
// goes into them.
#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINKS 40
#define MAX_NAMES 100
#define MAX_WRITE ((size_t)1 << 30)  // Linux writes a little less than 2 GiB a call

static heed_status fail(const struct heed__atomic_file *file, int error) {
  const heed_status status = error == ENOMEM ? HEED_ERROR_OUT_OF_MEMORY : HEED_ERROR_IO;
  return file->entry ? status : heed__fail(status, "%s: cannot write: %s", file->path, strerror(error));
}

// Returns `name` in the folder of `path`; an absolute name stays as it is.
static char *beside(const char *path, const char *name) {
  const char *slash = name[0] == '/' ? NULL : strrchr(path, '/');
  const size_t folder = slash ? (size_t)(slash + 1 - path) : 0;
  const size_t length = strlen(name);
  char *joined = malloc(folder + length + 1);
  if (!joined) return NULL;
  memcpy(joined, path, folder);
  memcpy(joined + folder, name, length + 1);
  return joined;
}

// Follows links in the last component only. realpath() cannot do this if the end of the chain does not exist yet.
static heed_status resolve_links(struct heed__atomic_file *file) {
  for (int links = 0; links <= MAX_LINKS; ++links) {
    struct stat info;
    if (lstat(file->target, &info) != 0) return errno == ENOENT ? HEED_OK : fail(file, errno);
    if (!S_ISLNK(info.st_mode)) return HEED_OK;
    char link[PATH_MAX];
    const ssize_t length = readlink(file->target, link, sizeof link - 1);
    if (length < 0) return fail(file, errno);
    link[length] = '\0';
    char *next = beside(file->target, link);
    if (!next) return fail(file, ENOMEM);
    free(file->target);
    file->target = next;
  }
  return fail(file, ELOOP);
}

static heed_status open_temporary(struct heed__atomic_file *file, mode_t mode) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint32_t tag = (uint32_t)now.tv_nsec ^ ((uint32_t)getpid() << 12);
  for (int attempt = 0; attempt < MAX_NAMES; ++attempt, tag = tag * 1664525u + 1013904223u) {
    char name[32];
    snprintf(name, sizeof name, HEED__ATOMIC_TEMPORARY "%08x.tmp", tag);
    char *temporary = beside(file->target, name);
    if (!temporary) return fail(file, ENOMEM);
    file->fd = openat(file->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (file->fd >= 0) {
      file->temporary = temporary;
      return HEED_OK;
    }
    const int error = errno;
    free(temporary);
    if (error != EEXIST) return fail(file, error);
  }
  return fail(file, EEXIST);
}

static heed_status open_target(struct heed__atomic_file *file) {
  struct stat info;
  const bool exists = stat(file->path, &info) == 0;
  if (!exists && errno != ENOENT) return fail(file, errno);
  if (exists && S_ISDIR(info.st_mode)) return fail(file, EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    file->direct = true;
    file->fd = open(file->path, O_WRONLY | O_CLOEXEC);
    return file->fd >= 0 ? HEED_OK : fail(file, errno);
  }
  file->target = strdup(file->path);
  if (!file->target) return fail(file, ENOMEM);
  HEED__TRY(resolve_links(file));
  if (!exists) return open_temporary(file, 0666);  // the kernel subtracts the umask
  // rename() only checks the folder's permissions, but a user who write-protects a file does not want it replaced.
  if (faccessat(AT_FDCWD, file->target, W_OK, AT_EACCESS) != 0) return fail(file, errno);
  HEED__TRY(open_temporary(file, info.st_mode & 0777));
  return fchmod(file->fd, info.st_mode & 0777) == 0 ? HEED_OK : fail(file, errno);
}

// If something else were at this place, the rename would fail late or, worse, succeed.
static heed_status open_private(struct heed__atomic_file *file) {
  struct stat info;
  if (fstatat(file->folder, file->path, &info, AT_SYMLINK_NOFOLLOW) == 0 && !file->entry && !S_ISREG(info.st_mode) &&
      !S_ISLNK(info.st_mode))
    return fail(file, S_ISDIR(info.st_mode) ? EISDIR : EEXIST);
  file->target = strdup(file->path);
  return file->target ? open_temporary(file, 0600) : fail(file, ENOMEM);
}

static heed_status closed_unless_ok(struct heed__atomic_file *file, heed_status status) {
  if (status != HEED_OK) heed__atomic_close(file);
  return status;
}

heed_status heed__atomic_open(struct heed__atomic_file *file, const char *path) {
  *file = (struct heed__atomic_file){.path = path, .folder = AT_FDCWD, .fd = -1};
  return closed_unless_ok(file, open_target(file));
}

heed_status heed__atomic_open_private(struct heed__atomic_file *file, const char *path) {
  *file = (struct heed__atomic_file){.path = path, .folder = AT_FDCWD, .fd = -1};
  return closed_unless_ok(file, open_private(file));
}

heed_status heed__atomic_open_entry(struct heed__atomic_file *file, int folder, const char *name) {
  *file = (struct heed__atomic_file){.path = name, .folder = folder, .fd = -1, .entry = true};
  return closed_unless_ok(file, open_private(file));
}

static int write_all(int fd, const char *data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = write(fd, data, bytes < MAX_WRITE ? bytes : MAX_WRITE);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    data += written;
    bytes -= (size_t)written;
  }
  return 0;
}

#ifdef SIGXFSZ
// When a write passes the file size limit, the kernel sends SIGXFSZ, which would end the process and leave the temporary file. Block the
// signal for this thread while it writes, and take it off the queue if it came.
static int write_within_limit(int fd, const void *data, size_t bytes) {
  sigset_t limit, pending, old;
  sigemptyset(&limit);
  sigaddset(&limit, SIGXFSZ);
  sigemptyset(&pending);
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGXFSZ) == 1;
  const bool held = pthread_sigmask(SIG_BLOCK, &limit, &old) == 0;
  const int error = write_all(fd, data, bytes);
  if (held && error == EFBIG && !was_pending) {
    const struct timespec now = {0, 0};
    while (sigtimedwait(&limit, NULL, &now) < 0 && errno == EINTR) {
    }
  }
  if (held) pthread_sigmask(SIG_SETMASK, &old, NULL);
  return error;
}
#else
static int write_within_limit(int fd, const void *data, size_t bytes) { return write_all(fd, data, bytes); }
#endif

heed_status heed__atomic_write(struct heed__atomic_file *file, const void *data, size_t bytes) {
  const int error = write_within_limit(file->fd, data, bytes);
  return error == 0 ? HEED_OK : fail(file, error);
}

// Makes the rename itself survive a crash. A file system that cannot sync a folder returns EINVAL, and nothing can be done then.
static heed_status sync_folder(const struct heed__atomic_file *file) {
  char *folder = beside(file->target, ".");
  if (!folder) return fail(file, ENOMEM);
  const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  if (fd < 0) return HEED_OK;  // a folder one may write but not read
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error == 0 || error == EINVAL || error == ENOTSUP) return HEED_OK;
  return heed__fail(HEED_ERROR_IO, "%s: written, but its folder cannot be synced: %s", file->path, strerror(error));
}

heed_status heed__atomic_commit(struct heed__atomic_file *file) {
  const int synced = file->entry || fsync(file->fd) == 0 ? 0 : errno;
  const bool cannot_sync = synced == EINVAL || synced == ENOTSUP || synced == EROFS;  // pipes, sockets, devices
  const int closed = close(file->fd) == 0 ? 0 : errno;
  file->fd = -1;
  if (synced != 0 && !(file->direct && cannot_sync)) return fail(file, synced);
  if (closed != 0) return fail(file, closed);
  if (file->direct) return HEED_OK;
  if (renameat(file->folder, file->temporary, file->folder, file->target) != 0) return fail(file, errno);
  free(file->temporary);
  file->temporary = NULL;
  return file->entry ? HEED_OK : sync_folder(file);
}

void heed__atomic_close(struct heed__atomic_file *file) {
  if (file->fd >= 0) close(file->fd);
  if (file->temporary) unlinkat(file->folder, file->temporary, 0);
  free(file->temporary);
  free(file->target);
  *file = (struct heed__atomic_file){.path = file->path, .fd = -1};
}
