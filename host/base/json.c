// Reading JSON with jansson when memory may run short, and the files that it comes in.
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// jansson's reasons, where they speak of its calls or show what nobody sees.
static void explain(const char *text, size_t bytes, json_error_t *error) {
  const enum json_error_code code = json_error_code(error);
  const char *reason = NULL;
  size_t blanks = 0;
  while (blanks < bytes && strchr(" \t\r\n", text[blanks]) && text[blanks]) ++blanks;
  if (bytes == 0 || blanks == bytes) reason = "it is empty";
  if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
    reason = "a byte order mark is in front of it, which JSON has not";
  if (code == json_error_null_character || code == json_error_null_byte_in_key)
    reason = "a name or a text has the character U+0000, which heed does not take";
  if (reason) snprintf(error->text, sizeof error->text - 1, "%s", reason);  // its last byte is the code
}

// If jansson runs out of memory while it gathers a token, it loses a letter. It then finds fault with the text, sets errno, or takes the
// rest for the whole text. So read twice: bad text is bad both times, and good text gives the same value both times.
json_t *heed__json_load(const char *text, size_t bytes, json_error_t *error, bool *no_memory) {
  json_t *first = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, error);
  errno = 0;
  json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, error);
  const bool same = !first || !json || json_equal(first, json);
  json_decref(first);
  *no_memory =
      !same || (!json && (errno == ENOMEM || json_error_code(error) == json_error_out_of_memory || !error->text[0]));
  if (same && !json && !*no_memory) explain(text, bytes, error);
  if (same) return json;
  json_decref(json);
  return NULL;
}

// ---------------------------------------------------------------- files

heed_status heed__check_regular(const char *path) {
  struct stat info;
  if (stat(path, &info) != 0) return HEED_OK;  // whoever opens it says why it is not there
  HEED__REQUIRE(!S_ISDIR(info.st_mode), HEED_ERROR_IO, "%s: %s", path, strerror(EISDIR));
  HEED__REQUIRE(S_ISREG(info.st_mode), HEED_ERROR_IO, "%s: is no file, but a pipe or a device", path);
  return HEED_OK;
}

static heed_status read_all(int fd, const char *path, size_t most, const char *are_not, char **text, size_t *bytes) {
  struct stat info;
  HEED__REQUIRE(fstat(fd, &info) == 0, HEED_ERROR_IO, "%s: %s", path, strerror(errno));
  HEED__REQUIRE((uint64_t)info.st_size <= most, HEED_ERROR_FORMAT, "%s: it is over %zu MiB; %s", path, most >> 20,
                are_not);
  const size_t size = (size_t)info.st_size;
  *text = malloc(size + 1);
  HEED__REQUIRE(*text, HEED_ERROR_OUT_OF_MEMORY, "no memory to read %s", path);
  for (*bytes = 0; *bytes < size;) {
    const ssize_t got = read(fd, *text + *bytes, size - *bytes);
    if (got == 0) break;
    HEED__REQUIRE(got > 0 || errno == EINTR, HEED_ERROR_IO, "%s: %s", path, strerror(errno));
    if (got > 0) *bytes += (size_t)got;
  }
  (*text)[*bytes] = '\0';
  return HEED_OK;
}

heed_status heed__whole_file(const char *path, size_t most, const char *are_not, char **text, size_t *bytes) {
  *text = NULL;
  *bytes = 0;
  HEED__TRY(heed__check_regular(path));
  const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  HEED__REQUIRE(fd >= 0, HEED_ERROR_IO, "%s: %s", path, strerror(errno));
  const heed_status status = read_all(fd, path, most, are_not, text, bytes);
  close(fd);
  if (status == HEED_OK) return HEED_OK;
  free(*text);
  *text = NULL;
  return status;
}
