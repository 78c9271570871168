// Tokens of texts on disk. An entry is a token file that llm.c could read; words of the header that llm.c leaves alone hold what it was
// made from and a checksum, so that a torn or foreign file is noticed and made anew.
#include "lm/token_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cache_folder.h"
#include "base/config.h"
#include "base/private_files.h"

#define SUFFIX ".bin"
#define MARK 0x64656568u  // "heed"
// FORMAT: of entries, and of how a text becomes tokens: tokens of an earlier rule are not found.
enum { FORMAT = 1, AT_MARK = HEED__TOKENS_FREE, AT_CRC, AT_KEY, PATH_ROOM = 4096 };

void heed__token_key_make(const char *text, size_t bytes, uint64_t tokenizer, struct heed__token_key *key) {
  const uint64_t rest[] = {bytes, tokenizer, FORMAT};
  struct heed__digest digest;
  heed__digest_start(&digest);
  heed__digest_add(&digest, text, bytes);
  heed__digest_add(&digest, rest, sizeof rest);
  heed__digest_end(&digest, key->bytes);
}

static void entry_name(const struct heed__token_key *key, char name[2 * HEED__DIGEST_BYTES + sizeof SUFFIX]) {
  for (int i = 0; i < HEED__DIGEST_BYTES; ++i) snprintf(name + (size_t)2 * i, 3, "%02x", key->bytes[i]);
  memcpy(name + (size_t)2 * HEED__DIGEST_BYTES, SUFFIX, sizeof SUFFIX);
}

// The folder, if there is a cache that nobody else writes to; otherwise -1.
static int open_folder(bool make) {
  char room[PATH_ROOM], path[PATH_ROOM];
  const char *cache = heed__config_cache(NULL, room, sizeof room);
  if (!cache || snprintf(path, sizeof path, "%s/tokens", cache) >= (int)sizeof path) return -1;
  if (make) heed__private_make_folders(path);
  const int above = heed__private_open_folder(cache);
  if (above < 0) return -1;
  close(above);
  return heed__private_open_folder(path);
}

// ---------------------------------------------------------------- reading

static const unsigned char *ids_of(const struct heed__token_file *file, size_t *bytes) {
  *bytes = (size_t)file->count * (size_t)file->width;
  return (const unsigned char *)file->map + HEED__TOKENS_HEADER_BYTES;
}

static bool fits(const struct heed__token_file *file, const struct heed__token_key *key) {
  const uint32_t *header = file->map;
  size_t bytes;
  const unsigned char *ids = ids_of(file, &bytes);
  return header[AT_MARK] == MARK && memcmp(header + AT_KEY, key->bytes, sizeof key->bytes) == 0 &&
         (uint32_t)crc32_z(crc32_z(0, NULL, 0), ids, bytes) == header[AT_CRC];
}

// A file that has no tokens of this key is absent. It was not asked for, so that no message is left.
static bool take(int fd, const struct heed__token_key *key, const char *path, struct heed__token_file *out) {
  if (heed__token_file_map(fd, path, out) != HEED_OK) return false;
  out->ours = true;
  if (fits(out, key)) return true;
  heed__token_file_close(out);
  return false;
}

bool heed__token_cache_find(const struct heed__token_key *key, const char *path, struct heed__token_file *out) {
  char name[2 * HEED__DIGEST_BYTES + sizeof SUFFIX];
  struct stat info;
  *out = (struct heed__token_file){0};
  const int folder = open_folder(false);
  if (folder < 0) return false;
  entry_name(key, name);
  // Do not wait if the name belongs to a pipe.
  const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  close(folder);
  if (fd < 0) return false;
  const bool found =
      fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && heed__private_only_ours(&info) && take(fd, key, path, out);
  if (found) futimens(fd, NULL);  // the entry with the oldest time leaves the cache first
  close(fd);
  return found;
}

// ---------------------------------------------------------------- writing

// A file in $TMPDIR that is gone when nobody has it open, or mapped, any more.
static heed_status open_unnamed(struct heed__atomic_file *file) {
  const char *folder = heed__config_text(NULL, "TMPDIR");
  if (!folder) folder = "/tmp";
  *file = (struct heed__atomic_file){.path = folder, .fd = -1};
#ifdef O_TMPFILE
  file->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file->fd >= 0) return HEED_OK;
#endif
  char name[PATH_ROOM];
  if (snprintf(name, sizeof name, "%s/heed-XXXXXX", folder) < (int)sizeof name) {
    file->fd = mkostemp(name, O_CLOEXEC);
    if (file->fd >= 0) unlink(name);
  }
  HEED__REQUIRE(file->fd >= 0, HEED_ERROR_IO, "%s: cannot make a file there: %s", folder, strerror(errno));
  return HEED_OK;
}

// Says what a file without a name is for; the cache's failures have no message.
static heed_status explain(struct heed__token_writer *writer, heed_status status) {
  if (status == HEED_OK) return status;
  writer->failed = true;
  return writer->folder >= 0
             ? status
             : heed__fail_prefix(
                   status,
                   "%s: its tokens have no place in heed's cache (HEED_CACHE) or among temporary files (TMPDIR)",
                   writer->path);
}

heed_status heed__token_writer_open(struct heed__token_writer *writer, const struct heed__token_key *key,
                                    const char *path, int width, bool named) {
  static const uint32_t none[HEED__TOKENS_HEADER_WORDS] = {0};
  writer->key = key;
  writer->path = path;
  writer->width = width;
  writer->failed = false;
  writer->count = 0;
  writer->crc = (uint32_t)crc32_z(0, NULL, 0);
  writer->used = 0;
  writer->file = (struct heed__atomic_file){.fd = -1};
  writer->folder = named ? open_folder(true) : -1;
  heed_status status;
  if (writer->folder >= 0) {
    char name[2 * HEED__DIGEST_BYTES + sizeof SUFFIX];
    entry_name(key, name);
    status = heed__atomic_open_entry(&writer->file, writer->folder, name);
  } else {
    status = open_unnamed(&writer->file);
  }
  // The header follows at the end: until then this is no token file.
  if (status == HEED_OK) status = heed__atomic_write(&writer->file, none, sizeof none);
  return explain(writer, status);
}

static heed_status flush(struct heed__token_writer *writer) {
  const heed_status status = heed__atomic_write(&writer->file, writer->buffer, writer->used);
  writer->crc = (uint32_t)crc32_z(writer->crc, writer->buffer, writer->used);
  writer->used = 0;
  return explain(writer, status);
}

heed_status heed__token_writer_put(struct heed__token_writer *writer, const int32_t *ids, size_t count) {
  writer->count += (int64_t)count;
  for (size_t i = 0; i < count; ++i) {
    if (writer->used == sizeof writer->buffer) HEED__TRY(flush(writer));
    memcpy(writer->buffer + writer->used, &ids[i], (size_t)writer->width);  // the low bytes come first
    writer->used += (size_t)writer->width;
  }
  return HEED_OK;
}

static heed_status write_header(struct heed__token_writer *writer) {
  uint32_t header[HEED__TOKENS_HEADER_WORDS];
  heed__token_header(writer->count, writer->width, header);
  header[AT_MARK] = MARK;
  header[AT_CRC] = writer->crc;
  memcpy(header + AT_KEY, writer->key->bytes, sizeof writer->key->bytes);
  if (lseek(writer->file.fd, 0, SEEK_SET) != 0)
    return explain(writer, heed__fail(HEED_ERROR_IO, "%s: cannot write: %s", writer->file.path, strerror(errno)));
  return explain(writer, heed__atomic_write(&writer->file, header, sizeof header));
}

// Entries together hold at most a quarter of the space that is free where they lie.
static void make_room(const struct heed__token_writer *writer) {
  struct statvfs disk;
  const uint64_t needed = HEED__TOKENS_HEADER_BYTES + (uint64_t)writer->count * (uint64_t)writer->width;
  if (fstatvfs(writer->folder, &disk) == 0)
    heed__cache_make_room(writer->folder, SUFFIX, needed, ((uint64_t)disk.f_bavail * disk.f_frsize + needed) / 4);
}

heed_status heed__token_writer_finish(struct heed__token_writer *writer, struct heed__token_file *out) {
  *out = (struct heed__token_file){0};
  HEED__TRY(flush(writer));
  HEED__TRY(write_header(writer));
  int fd = writer->file.fd;
  if (writer->folder >= 0) {
    // By its temporary name: once it is in place, another process may make room of it.
    fd = openat(writer->folder, writer->file.temporary, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return explain(writer, HEED_ERROR_IO);
    make_room(writer);
    const heed_status status = heed__atomic_commit(&writer->file);
    if (status != HEED_OK) {
      close(fd);
      return explain(writer, status);
    }
  }
  const heed_status status = heed__token_file_map(fd, writer->path, out);
  if (fd != writer->file.fd) close(fd);
  out->ours = true;
  return explain(writer, status);
}

void heed__token_writer_close(struct heed__token_writer *writer) {
  heed__atomic_close(&writer->file);
  if (writer->folder >= 0) close(writer->folder);
  writer->folder = -1;
}
