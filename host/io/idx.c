// IDX files of unsigned bytes, plain or gzip'd; zlib tells which from the content.
// mnist.c knows what the numbers mean.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <heed/io.h>

#include "base/size.h"
#include "base/status.h"
#include "base/text.h"

#define UNSIGNED_BYTE 0x08
#define GZ_BUFFER (128 * 1024)
#define FIRST_GROWTH ((int64_t)16 << 20)
#define MAX_READ ((int64_t)1 << 30)  // gzread counts in int
#define MAX_DEFLATE_RATIO 1032       // no deflate stream unpacks to more than this times its size

struct source {
  char *path;  // the one of the two files that exists
  gzFile gz;
  int64_t size;  // of the file as it lies on disk; -1: not a regular file
};

static heed_status read_failed(const struct source *source) {
  int code;
  const char *text = gzerror(source->gz, &code);
  if (code == Z_ERRNO) return heed__fail(HEED_ERROR_IO, "%s: cannot read: %s", source->path, strerror(errno));
  if (code == Z_MEM_ERROR) return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "%s: no memory to unpack it", source->path);
  const char *reason = strstr(text, ": ");  // zlib's text begins with its own name for the file, "<fd:3>"
  return heed__fail(HEED_ERROR_FORMAT, "%s: damaged gzip file: %s; copy it again", source->path,
                    reason ? reason + 2 : text);
}

// Reads up to `bytes`; *got is less only at the end of the file.
static heed_status read_some(const struct source *source, uint8_t *data, int64_t bytes, int64_t *got) {
  *got = 0;
  while (*got < bytes) {
    const int n = gzread(source->gz, data + *got, (unsigned)heed__min(bytes - *got, MAX_READ));
    if (n < 0) return read_failed(source);
    if (n == 0) break;
    *got += n;
  }
  if (*got == bytes) return HEED_OK;
  int code;
  gzerror(source->gz, &code);
  HEED__REQUIRE(code != Z_BUF_ERROR, HEED_ERROR_FORMAT,
                "%s: truncated gzip file: it ends in the middle of its data; copy it again", source->path);
  return code == Z_OK || code == Z_STREAM_END ? HEED_OK : read_failed(source);
}

// Says what the file is, or how it begins.
static heed_status not_idx(const struct source *source, const uint8_t magic[4]) {
  uint8_t start[512];
  int64_t got = 0;
  memcpy(start, magic, 4);
  if (read_some(source, start + 4, sizeof start - 4, &got) != HEED_OK) got = 0;
  const char *foreign = heed__not_downloaded(start, 4 + (size_t)got);
  HEED__REQUIRE(!foreign, HEED_ERROR_FORMAT, "%s: not an IDX file, but %s", source->path, foreign);
  return heed__fail(HEED_ERROR_FORMAT,
                    "%s: not an IDX file: it begins with %02x %02x %02x %02x, not 00 00 08 and the rank", source->path,
                    magic[0], magic[1], magic[2], magic[3]);
}

static heed_status read_header(const struct source *source, heed_idx *idx) {
  uint8_t magic[4], dims[4 * HEED_MAX_RANK] = {0};
  int64_t got;
  HEED__TRY(read_some(source, magic, sizeof magic, &got));
  HEED__REQUIRE(got > 0, HEED_ERROR_FORMAT, "%s: is empty: truncated, or never written; copy it again", source->path);
  HEED__REQUIRE(got == sizeof magic, HEED_ERROR_FORMAT, "%s: truncated: %" PRId64 " bytes are too few for an IDX file",
                source->path, got);
  if (magic[0] != 0 || magic[1] != 0) return not_idx(source, magic);
  HEED__REQUIRE(magic[2] == UNSIGNED_BYTE, HEED_ERROR_FORMAT, "%s: IDX type 0x%02x; heed reads unsigned bytes, 0x08",
                source->path, magic[2]);
  HEED__REQUIRE(magic[3] >= 1 && magic[3] <= HEED_MAX_RANK, HEED_ERROR_FORMAT,
                "%s: IDX rank %d; heed reads rank 1 to %d", source->path, magic[3], HEED_MAX_RANK);
  idx->rank = magic[3];
  idx->dims = calloc((size_t)idx->rank, sizeof *idx->dims);
  HEED__REQUIRE(idx->dims, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its shape", source->path);
  HEED__TRY(read_some(source, dims, 4 * idx->rank, &got));
  HEED__REQUIRE(got == 4 * idx->rank, HEED_ERROR_FORMAT, "%s: truncated in the header", source->path);
  int64_t bytes = 1;
  for (int i = 0; i < idx->rank; ++i) {
    const uint8_t *d = dims + 4 * i;
    idx->dims[i] = (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | d[3];
    HEED__REQUIRE(heed__mul(bytes, idx->dims[i], &bytes) && (uint64_t)bytes < SIZE_MAX, HEED_ERROR_FORMAT,
                  "%s: the header claims more bytes than fit in memory", source->path);
  }
  idx->bytes = (size_t)bytes;
  return HEED_OK;
}

// Compares the size in the header with what the file can hold, before any memory is allocated.
static heed_status check_claim(const struct source *source, const heed_idx *idx) {
  if (source->size < 0) return HEED_OK;
  const int64_t claimed = (int64_t)idx->bytes;
  if (!gzdirect(source->gz)) {
    HEED__REQUIRE(claimed / MAX_DEFLATE_RATIO <= source->size, HEED_ERROR_FORMAT,
                  "%s: the header claims %" PRId64 " bytes, more than a gzip file of %" PRId64 " bytes can hold",
                  source->path, claimed, source->size);
    return HEED_OK;
  }
  const int64_t held = source->size - 4 - 4 * idx->rank;
  HEED__REQUIRE(claimed <= held, HEED_ERROR_FORMAT,
                "%s: truncated: the header claims %" PRId64 " bytes of data, and the file has %" PRId64, source->path,
                claimed, held);
  HEED__REQUIRE(claimed == held, HEED_ERROR_FORMAT,
                "%s: %" PRId64 " bytes after the %" PRId64 " that the header claims", source->path, held - claimed,
                claimed);
  return HEED_OK;
}

// Memory grows with the data that arrive: a small gzip file may claim, and even contain, a lot.
static heed_status read_data(const struct source *source, heed_idx *idx) {
  const int64_t bytes = (int64_t)idx->bytes;
  int64_t have = 0, room = 0;
  do {
    room = heed__min(room > 0 ? room * 2 : FIRST_GROWTH, bytes);
    uint8_t *grown = realloc(idx->data, room > 0 ? (size_t)room : 1);
    HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for %" PRId64 " bytes", source->path, room);
    idx->data = grown;
    int64_t got;
    HEED__TRY(read_some(source, idx->data + have, room - have, &got));
    have += got;
    HEED__REQUIRE(have == room, HEED_ERROR_FORMAT,
                  "%s: truncated: the header claims %" PRId64 " bytes of data, and the file has %" PRId64, source->path,
                  bytes, have);
  } while (have < bytes);
  // Asking for one more byte also makes zlib check the sum at the end of a gzip file.
  uint8_t more;
  int64_t got;
  HEED__TRY(read_some(source, &more, 1, &got));
  HEED__REQUIRE(got == 0, HEED_ERROR_FORMAT, "%s: data after the %" PRId64 " bytes that the header claims",
                source->path, bytes);
  return HEED_OK;
}

static heed_status open_source(const char *path, struct source *source) {
  const size_t length = strlen(path);
  source->path = malloc(length + sizeof ".gz");
  HEED__REQUIRE(source->path, HEED_ERROR_OUT_OF_MEMORY, "%s: no memory for its name", path);
  memcpy(source->path, path, length + 1);
  int fd = open(source->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    memcpy(source->path + length, ".gz", sizeof ".gz");
    fd = open(source->path, O_RDONLY | O_CLOEXEC);
    HEED__REQUIRE(fd >= 0 || errno != ENOENT, HEED_ERROR_IO, "%s: neither it nor %s is there", path, source->path);
  }
  HEED__REQUIRE(fd >= 0, HEED_ERROR_IO, "%s: cannot open: %s", source->path, strerror(errno));
  struct stat info;
  const int error = fstat(fd, &info) != 0 ? errno : S_ISDIR(info.st_mode) ? EISDIR : 0;
  source->size = error == 0 && S_ISREG(info.st_mode) && info.st_size > 0 ? (int64_t)info.st_size : -1;
  if (error == 0) source->gz = gzdopen(fd, "rb");
  if (source->gz) {
    gzbuffer(source->gz, GZ_BUFFER);
    return HEED_OK;
  }
  close(fd);
  HEED__REQUIRE(error == 0, HEED_ERROR_IO, "%s: cannot read: %s", source->path, strerror(error));
  return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "%s: no memory to read it", source->path);
}

heed_status heed_idx_read(const char *path, heed_idx *out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_idx_read: out is NULL");
  *out = (heed_idx){0};
  HEED__REQUIRE(path, HEED_ERROR_INVALID_ARGUMENT, "heed_idx_read: the path is NULL");
  struct source source = {0};
  heed_status status = open_source(path, &source);
  if (status == HEED_OK) status = read_header(&source, out);
  if (status == HEED_OK) status = check_claim(&source, out);
  if (status == HEED_OK) status = read_data(&source, out);
  if (source.gz) gzclose_r(source.gz);
  free(source.path);
  if (status != HEED_OK) heed_idx_free(out);
  return status;
}

void heed_idx_free(heed_idx *idx) {
  if (!idx) return;
  free(idx->dims);
  free(idx->data);
  *idx = (heed_idx){0};
}
