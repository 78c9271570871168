// Bytes of files and pipes. It trusts no size that a file claims: memory for a pipe's data grows as they arrive.
#include "io/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "io/safetensors.h"

#define FIRST_GROWTH ((size_t)1 << 20)
#define MAX_READ ((size_t)1 << 30)  // Linux reads a little less than 2 GiB a call

heed_status heed__refuse(const char *path, const char *name, const char *format, ...) {
  char reason[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  for (char *c = reason; *c; ++c) {
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';  // the message may quote text from the file
  }
  if (!name) return heed__fail(HEED_ERROR_FORMAT, "%s: %s", path, reason);
  return heed__fail(HEED_ERROR_FORMAT, "%s: tensor \"%s\": %s", path, heed__printable(name).text, reason);
}

void heed__source_close(struct heed__source *source) {
  if (source->fd >= 0) close(source->fd);
  source->fd = -1;
}

// offset < 0: what comes next.
static heed_status read_some(const struct heed__source *source, int64_t offset, char *data, size_t bytes, size_t *got) {
  *got = 0;
  while (*got < bytes) {
    const size_t left = bytes - *got, most = left < MAX_READ ? left : MAX_READ;
    const ssize_t n = offset < 0 ? read(source->fd, data + *got, most)
                                 : pread(source->fd, data + *got, most, (off_t)(offset + (int64_t)*got));
    if (n == 0) return HEED_OK;
    if (n < 0 && errno == EINTR) continue;
    HEED__REQUIRE(n > 0, HEED_ERROR_IO, "%s: cannot read: %s", source->path, strerror(errno));
    *got += (size_t)n;
  }
  return HEED_OK;
}

heed_status heed__source_open(struct heed__source *source, const char *path) {
  *source = (struct heed__source){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC), .size = -1};
  HEED__REQUIRE(source->fd >= 0, HEED_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  struct stat info;
  HEED__REQUIRE(fstat(source->fd, &info) == 0, HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
  HEED__REQUIRE(!S_ISDIR(info.st_mode), HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(EISDIR));
  // A file in /proc is a regular file and reports size 0.
  if (S_ISREG(info.st_mode) && info.st_size > 0) source->size = (int64_t)info.st_size;
  return read_some(source, -1, source->start, sizeof source->start, &source->start_bytes);
}

heed_status heed__source_adopt(struct heed__source *source, const char *path, int fd) {
  *source = (struct heed__source){.path = path, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0), .size = -1};
  HEED__REQUIRE(source->fd >= 0, HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
  return read_some(source, -1, source->start, sizeof source->start, &source->start_bytes);
}

heed_status heed__source_next(struct heed__source *source, char *data, size_t bytes, size_t *got) {
  const size_t left = source->start_bytes - source->start_taken, known = bytes < left ? bytes : left;
  if (known > 0) memcpy(data, source->start + source->start_taken, known);
  source->start_taken += known;
  const heed_status status = read_some(source, -1, data + known, bytes - known, got);
  *got += known;
  return status;
}

heed_status heed__source_at(const struct heed__source *source, int64_t offset, char *data, size_t bytes, size_t *got) {
  return read_some(source, offset, data, bytes, got);
}

// Moves `used` bytes of *data into new memory of `bytes`.
static heed_status resize(const struct heed__source *source, char **data, size_t used, size_t bytes) {
  char *moved = heed__array_allocate(bytes);
  HEED__REQUIRE(moved, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for %zu bytes", source->path, bytes);
  if (used > 0) memcpy(moved, *data, used);
  free(*data);
  *data = moved;
  return HEED_OK;
}

heed_status heed__source_block(struct heed__source *source, const char *what, size_t bytes, char **out) {
  char *data = NULL;
  size_t have = 0, room = 0;
  heed_status status;
  do {
    size_t next = source->size >= 0 ? bytes : room > 0 ? room * 2 : FIRST_GROWTH;
    if (next > bytes) next = bytes;
    HEED__TRY_TO(failed, status, resize(source, &data, have, next));
    room = next;
    size_t got;
    HEED__TRY_TO(failed, status, heed__source_next(source, data + have, room - have, &got));
    have += got;
    if (have < room) {
      status = heed__refuse(source->path, NULL, "truncated: %s takes %zu bytes, and the file ends after %zu of them",
                            what, bytes, have);
      goto failed;
    }
  } while (have < bytes);
  *out = data;
  return HEED_OK;
failed:
  free(data);
  return status;
}
