// Texts from files and callers, made fit for a message.
#include "base/text.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct heed__name heed__printable(const char *name) {
  struct heed__name out = {""};
  size_t length = 0;
  for (; length < sizeof out.text - 4 && name[length]; ++length) {
    const unsigned char c = (unsigned char)name[length];
    out.text[length] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
  }
  if (name[length]) {
    while (length > 0 && ((unsigned char)name[length] & 0xC0) == 0x80) --length;  // not inside a UTF-8 sequence
    memcpy(out.text + length, "...", sizeof "...");
  }
  return out;
}

static const char page[] =
    "a web page, not the file itself: the address may be that of the page about it (on Hugging Face write /resolve/ "
    "for "
    "/blob/), or the download needs a login; download it again";
static const char pointer[] =
    "a git-lfs pointer, which stands for a file that was not downloaded; run 'git lfs pull' in its repository";
static bool is_page(const char *text, size_t bytes) {
  if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, bytes -= 3;  // a byte order mark
  while (bytes > 0 && memchr(" \t\r\n", *text, 4)) ++text, --bytes;
  static const char *const starts[] = {"<!doctype", "<html", "<head", "<?xml", "<!--"};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; ++i) {
    const size_t length = strlen(starts[i]);
    if (bytes >= length && strncasecmp(text, starts[i], length) == 0) return true;
  }
  return false;
}

const char *heed__lfs_pointer(const void *start, size_t bytes) {
  static const char lfs[] = "version https://git-lfs";
  return bytes >= sizeof lfs - 1 && memcmp(start, lfs, sizeof lfs - 1) == 0 ? pointer : NULL;
}

const char *heed__not_downloaded(const void *start, size_t bytes) {
  const char *lfs = heed__lfs_pointer(start, bytes);
  return lfs ? lfs : is_page(start, bytes) ? page : NULL;
}
