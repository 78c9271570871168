// Reads llm.c's token files by memory map. What the ids mean, and which of them are read when, others decide.
#include "lm/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"
#include "base/status.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "token files hold little-endian numbers, read as they are");

// Neither magic begins a text: their first bytes, 88 and A1, begin no character of UTF-8.
static const struct layout {
  uint32_t magic, version;
  int width;
} layouts[] = {{20240520, 1, 2}, {20240801, 7, 4}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, CHUNK = 4096 };

void heed__token_header(int64_t count, int width, uint32_t header[HEED__TOKENS_HEADER_WORDS]) {
  const struct layout *layout = &layouts[width == layouts[0].width ? 0 : 1];
  memset(header, 0, HEED__TOKENS_HEADER_BYTES);
  header[HEED__TOKENS_MAGIC] = layout->magic;
  header[HEED__TOKENS_VERSION] = layout->version;
  header[HEED__TOKENS_COUNT] = (uint32_t)count;
  header[HEED__TOKENS_COUNT_HIGH] = (uint32_t)((uint64_t)count >> 32);
}

static const struct layout *layout_of(uint32_t magic) {
  for (int i = 0; i < LAYOUTS; ++i)
    if (layouts[i].magic == magic) return &layouts[i];
  return NULL;
}

static heed_status read_header(int fd, const char *path, uint32_t *header, size_t *got) {
  *got = 0;
  while (*got < HEED__TOKENS_HEADER_BYTES) {
    const ssize_t n = pread(fd, (char *)header + *got, HEED__TOKENS_HEADER_BYTES - *got, (off_t)*got);
    if (n < 0 && errno == EINTR) continue;
    HEED__REQUIRE(n >= 0, HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
    if (n == 0) break;
    *got += (size_t)n;
  }
  return HEED_OK;
}

// A file that is called .bin is no text where it has bytes that are 0: it is one of nanoGPT's, which have no header, or of another machine.
static heed_status refuse_foreign(const char *path, const uint32_t *header, size_t got) {
  const char *ending = strrchr(path, '.');
  if (!ending || strcmp(ending, ".bin") != 0 || !memchr(header, 0, got)) return HEED_OK;
  return heed__fail(HEED_ERROR_FORMAT,
                    "%s: neither a token file nor a text: a token file begins with the number %" PRIu32 " or %" PRIu32
                    ", this one with %" PRIu32
                    "; one of nanoGPT's needs llm.c's header in front, and what is to be "
                    "read byte by byte another name",
                    path, layouts[0].magic, layouts[1].magic, header[HEED__TOKENS_MAGIC]);
}

// What the header says, compared with the file's size. *layout NULL: no token file.
static heed_status inspect(int fd, const char *path, const struct layout **layout, int64_t *count, int64_t *bytes) {
  struct stat info;
  uint32_t header[HEED__TOKENS_HEADER_WORDS] = {0};
  size_t got = 0;
  *layout = NULL;
  HEED__REQUIRE(fstat(fd, &info) == 0, HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
  HEED__REQUIRE(!S_ISDIR(info.st_mode), HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(EISDIR));
  HEED__REQUIRE(S_ISREG(info.st_mode), HEED_ERROR_IO,
                "%s: is a pipe or a device, and data are mapped into memory from a file; write them to a file first",
                path);
  HEED__TRY(read_header(fd, path, header, &got));
  *layout = got >= sizeof *header ? layout_of(header[HEED__TOKENS_MAGIC]) : NULL;
  if (!*layout) return refuse_foreign(path, header, got);
  HEED__REQUIRE(got == sizeof header, HEED_ERROR_FORMAT,
                "%s: truncated: a token file has a header of %zu bytes, and this file ends after %zu", path,
                sizeof header, got);
  HEED__REQUIRE(header[HEED__TOKENS_VERSION] == (*layout)->version, HEED_ERROR_FORMAT,
                "%s: a token file of version %" PRIu32 "; heed reads version %" PRIu32 " of this magic (%" PRIu32 ")",
                path, header[HEED__TOKENS_VERSION], (*layout)->version, (*layout)->magic);
  const uint64_t said = header[HEED__TOKENS_COUNT] | (uint64_t)header[HEED__TOKENS_COUNT_HIGH] << 32;
  *bytes = (int64_t)info.st_size;
  const uint64_t held = (uint64_t)(*bytes - HEED__TOKENS_HEADER_BYTES);
  HEED__REQUIRE(said <= INT64_MAX / 8 && said * (uint64_t)(*layout)->width == held, HEED_ERROR_FORMAT,
                "%s: truncated or too long: its header says %" PRIu64 " tokens of %d bytes, and it has %" PRIu64
                " bytes for them",
                path, said, (*layout)->width, held);
  *count = (int64_t)said;
  return HEED_OK;
}

static heed_status open_file(const char *path, int *fd) {
  // Do not wait for the other end of a pipe, which is refused.
  *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  HEED__REQUIRE(*fd >= 0, HEED_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  return HEED_OK;
}

heed_status heed__token_file_peek(const char *path, bool *is_tokens, int64_t *count) {
  const struct layout *layout = NULL;
  int64_t bytes = 0;
  int fd = -1;
  *count = 0;
  HEED__TRY(open_file(path, &fd));
  const heed_status status = inspect(fd, path, &layout, count, &bytes);
  close(fd);
  *is_tokens = layout != NULL;
  return status;
}

heed_status heed__token_file_map(int fd, const char *path, struct heed__token_file *out) {
  const struct layout *layout = NULL;
  int64_t count = 0, bytes = 0;
  *out = (struct heed__token_file){0};
  HEED__TRY(inspect(fd, path, &layout, &count, &bytes));
  HEED__REQUIRE(layout, HEED_ERROR_FORMAT, "%s: is no token file any more", path);
  void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
  HEED__REQUIRE(map != MAP_FAILED, errno == ENOMEM ? HEED_ERROR_OUT_OF_MEMORY : HEED_ERROR_IO,
                "%s: cannot map it into memory: %s", path, strerror(errno));
  *out = (struct heed__token_file){
      .path = strdup(path), .map = map, .map_bytes = (size_t)bytes, .count = count, .width = layout->width};
  if (out->path) return HEED_OK;
  heed__token_file_close(out);
  return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", path);
}

heed_status heed__token_file_open(const char *path, int64_t first, int64_t count, struct heed__token_file *out) {
  int fd = -1;
  *out = (struct heed__token_file){0};
  HEED__TRY(open_file(path, &fd));
  heed_status status = heed__token_file_map(fd, path, out);
  close(fd);
  if (status == HEED_OK && out->count - first < count)
    status = heed__fail(HEED_ERROR_IO, "%s: became shorter while it was opened", path);
  if (status != HEED_OK) {
    heed__token_file_close(out);
    return status;
  }
  out->first = first;
  out->count = count;
  return HEED_OK;
}

void heed__token_file_close(struct heed__token_file *file) {
  if (file->map) munmap(file->map, file->map_bytes);
  free(file->path);
  *file = (struct heed__token_file){0};
}

// ---------------------------------------------------------------- ids

static const char *place(const struct heed__token_file *file, int64_t id) {
  return (const char *)file->map + HEED__TOKENS_HEADER_BYTES + (file->first + id) * file->width;
}

void heed__token_file_read(const struct heed__token_file *file, int64_t first, int64_t count, int32_t *ids) {
  if (count <= 0) return;
  if (file->width == 4) {
    memcpy(ids, place(file, first), (size_t)count * sizeof *ids);
    return;
  }
  const uint16_t *from = (const uint16_t *)(const void *)place(file, first);
  for (int64_t i = 0; i < count; ++i) ids[i] = from[i];
}

// The highest of some ids.
static uint32_t highest(const struct heed__token_file *file, int64_t first, int64_t count) {
  const uint16_t *narrow = (const uint16_t *)(const void *)place(file, first);
  const uint32_t *wide = (const uint32_t *)(const void *)place(file, first);
  uint32_t most = 0;
  if (file->width == 2)
    for (int64_t i = 0; i < count; ++i) most = narrow[i] > most ? narrow[i] : most;
  else
    for (int64_t i = 0; i < count; ++i) most = wide[i] > most ? wide[i] : most;
  return most;
}

heed_status heed__token_file_check(const struct heed__token_file *file, int64_t vocab) {
  const int64_t limit = vocab > 0 ? heed__min(vocab, INT64_C(1) << 31) : INT64_C(1) << 31;
  if (file->width == 2 && limit > UINT16_MAX) return HEED_OK;
  for (int64_t at = 0; at < file->count; at += CHUNK) {
    if (highest(file, at, heed__min(CHUNK, file->count - at)) < limit) continue;
    while (highest(file, at, 1) < limit) ++at;
    const int64_t index = file->first + at;
    const uint32_t id = highest(file, at, 1);
    HEED__REQUIRE(vocab > 0, HEED_ERROR_FORMAT, "%s: token %" PRId64 " is %" PRIu32 ", which is no token id",
                  file->path, index, id);
    return heed__fail(HEED_ERROR_FORMAT,
                      "%s: token %" PRId64 " is %" PRIu32 ", but the vocabulary has %" PRId64
                      " tokens: it was made with another tokenizer",
                      file->path, index, id, vocab);
  }
  return HEED_OK;
}

heed_status heed__token_file_is_whole(const struct heed__token_file *file) {
  struct stat info;
  if (file->ours || !file->path || stat(file->path, &info) != 0) return HEED_OK;  // deleted: its bytes stay
  HEED__REQUIRE(!S_ISREG(info.st_mode) || (uint64_t)info.st_size >= file->map_bytes, HEED_ERROR_IO,
                "%s: became shorter while it was in use", file->path);
  return HEED_OK;
}
