// Compiled programs on disk. A program from here runs on the user's device, so heed trusts only files that nobody but the user can write,
// checks each file completely, and treats one that does not fit as absent. Nothing here fails; if heed does not trust the folder, the
// notice of an opened context says so.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/atomic_file.h"
#include "base/cache_folder.h"
#include "base/hash.h"
#include "base/private_files.h"
#include "cl/runtime/runtime.h"

// An entry consists of this header, the key text and the binary. crc covers all three, with crc itself as 0. The byte order is the host's;
// an entry from a host of another byte order has another magic.
#define MAGIC UINT64_C(0x6765482d4d41524f)
enum { FORMAT_VERSION = 1 };
#define FOLDER_BYTES_MAX (UINT64_C(256) << 20)
#define SUFFIX ".clbin"

struct header {
  uint64_t magic, key_bytes, binary_bytes;
  uint32_t version, crc;
};

static uint32_t entry_crc(struct header header, const char *key, const unsigned char *binary) {
  header.crc = 0;
  uLong crc = crc32_z(0, (const unsigned char *)&header, sizeof header);
  crc = crc32_z(crc, (const unsigned char *)key, (z_size_t)header.key_bytes);
  return (uint32_t)crc32_z(crc, binary, (z_size_t)header.binary_bytes);
}

// Why a folder cannot keep compiled kernels; NULL if it can, or if it is not there yet.
static const char *reason_against(const char *dir) {
  struct stat info;
  const char *reason = NULL;
  if (lstat(dir, &info) != 0)
    reason = errno == ENOENT || errno == EACCES ? NULL
                                                : strerror(errno);  // it will be made, or it is in someone else's home
  else if (S_ISLNK(info.st_mode))
    reason = "it is a symbolic link; name the folder itself";
  else if (!S_ISDIR(info.st_mode))
    reason = "it is not a folder";
  else if (info.st_uid != geteuid())
    reason = "it belongs to another user; name a folder of your own";
  else if (!heed__private_only_ours(&info))
    reason = "others may write to it; chmod go-w makes it usable";
  return reason;
}

void heed__cl_cache_notice(const char *dir, char *text, size_t size) {
  const char *reason = reason_against(dir);
  text[0] = 0;
  if (reason)
    snprintf(text, size, "compiled kernels are not kept in %.512s (HEED_CACHE names the folder): %s", dir, reason);
}

heed_status heed__cl_cache_check(const char *dir) {
  const char *reason = reason_against(dir);
  heed__private_make_folders(dir);
  if (!reason && access(dir, R_OK | W_OK | X_OK) != 0) {
    // A disk that is full, or a lack of memory, passes: then kernels are compiled and not kept.
    const int cause = errno == ENOENT && mkdir(dir, 0700) != 0 ? errno : errno == ENOENT ? 0 : errno;
    const bool stays = cause == EACCES || cause == EROFS || cause == EPERM || cause == ENOENT || cause == ENOTDIR ||
                       cause == ENAMETOOLONG || cause == ELOOP;
    if (stays) reason = strerror(cause);
  }
  HEED__REQUIRE(
      !reason, HEED_ERROR_INVALID_ARGUMENT,
      "open: compiled kernels cannot be kept in %s (HEED_CACHE): %s; name a folder of your own, or off for none", dir,
      reason);
  return HEED_OK;
}

static void entry_name(const char *key, char *name, size_t size) {
  const size_t bytes = strlen(key);
  // Two keys with one name would replace each other, so the name has more bits than one hash.
  const uint64_t low = heed__hash(HEED__HASH_START, key, bytes), high = heed__hash(~low, key, bytes);
  snprintf(name, size, "%016llx%016llx" SUFFIX, (unsigned long long)low, (unsigned long long)high);
}

// ---------------------------------------------------------------- reading

// Reads the binary of an entry that is complete and has exactly this key.
static unsigned char *read_entry(int file, uint64_t file_bytes, const char *key, size_t *size) {
  struct header header;
  const size_t key_bytes = strlen(key);
  if (file_bytes < sizeof header || !heed__private_read(file, &header, sizeof header)) return NULL;
  if (header.magic != MAGIC || header.version != FORMAT_VERSION || header.key_bytes != key_bytes) return NULL;
  if (file_bytes - sizeof header < key_bytes || header.binary_bytes == 0 ||
      file_bytes - sizeof header - key_bytes != header.binary_bytes)
    return NULL;
  const size_t binary_bytes = (size_t)header.binary_bytes;  // no more than a folder holds
  char *body = malloc(key_bytes + binary_bytes);
  if (!body) return NULL;
  if (!heed__private_read(file, body, key_bytes + binary_bytes) || memcmp(body, key, key_bytes) != 0 ||
      entry_crc(header, key, (unsigned char *)body + key_bytes) != header.crc) {
    free(body);
    return NULL;
  }
  memmove(body, body + key_bytes, binary_bytes);
  *size = binary_bytes;
  return (unsigned char *)body;
}

bool heed__cl_cache_load(const char *dir, const char *key, unsigned char **binary, size_t *size) {
  char name[64];
  struct stat info;
  *binary = NULL;
  const int folder = heed__private_open_folder(dir);
  if (folder < 0) return false;
  entry_name(key, name, sizeof name);
  // Do not wait if the name belongs to a pipe.
  const int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  close(folder);
  if (file < 0) return false;
  if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && heed__private_only_ours(&info) && info.st_size > 0 &&
      (uint64_t)info.st_size <= FOLDER_BYTES_MAX)
    *binary = read_entry(file, (uint64_t)info.st_size, key, size);
  if (*binary) futimens(file, NULL);  // when the folder is full, the entry with the oldest time goes first
  close(file);
  return *binary != NULL;
}

// ---------------------------------------------------------------- writing

void heed__cl_cache_store(const char *dir, const char *key, const unsigned char *binary, size_t size) {
  struct header header = {.magic = MAGIC, .key_bytes = strlen(key), .binary_bytes = size, .version = FORMAT_VERSION};
  const uint64_t bytes = sizeof header + header.key_bytes + size;
  if (size == 0 || bytes > FOLDER_BYTES_MAX) return;
  header.crc = entry_crc(header, key, binary);
  heed__private_make_folders(dir);
  const int folder = heed__private_open_folder(dir);
  if (folder < 0) return;
  heed__cache_make_room(folder, SUFFIX, bytes, FOLDER_BYTES_MAX);
  char name[64];
  entry_name(key, name, sizeof name);
  struct heed__atomic_file file;
  heed_status status = heed__atomic_open_entry(&file, folder, name);
  if (status == HEED_OK) status = heed__atomic_write(&file, &header, sizeof header);
  if (status == HEED_OK) status = heed__atomic_write(&file, key, strlen(key));
  if (status == HEED_OK) status = heed__atomic_write(&file, binary, size);
  if (status == HEED_OK) heed__atomic_commit(&file);
  heed__atomic_close(&file);
  close(folder);
}
