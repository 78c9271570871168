// Tokenizes texts of any size, once: they are mapped, and their tokens go to a file as they arrive.
#include "lm/text_tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "base/text.h"
#include "lm/token_cache.h"

// Tells the fingerprint of a tokenizer with its template from that without; any odd number does.
#define TEMPLATE UINT64_C(0x9e3779b97f4a7c15)

struct text {
  const char *path;
  int fd;
  const unsigned char *data;
  size_t bytes;
  struct stat info;  // when it was opened
};

static heed_status open_text(const char *path, struct text *text) {
  *text = (struct text){.path = path, .fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  HEED__REQUIRE(text->fd >= 0, HEED_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
  HEED__REQUIRE(fstat(text->fd, &text->info) == 0, HEED_ERROR_IO, "%s: cannot read: %s", path, strerror(errno));
  HEED__REQUIRE(S_ISREG(text->info.st_mode), HEED_ERROR_IO, "%s: is no file any more", path);
  text->bytes = (size_t)text->info.st_size;
  if (text->bytes == 0) return HEED_OK;
  void *data = mmap(NULL, text->bytes, PROT_READ, MAP_SHARED, text->fd, 0);
  HEED__REQUIRE(data != MAP_FAILED, errno == ENOMEM ? HEED_ERROR_OUT_OF_MEMORY : HEED_ERROR_IO,
                "%s: cannot map it into memory: %s", path, strerror(errno));
  madvise(data, text->bytes, MADV_SEQUENTIAL);
  text->data = data;
  const char *instead = heed__lfs_pointer(data, text->bytes);  // of a web page somebody may want the text
  HEED__REQUIRE(!instead, HEED_ERROR_FORMAT, "%s: %s", path, instead);
  return HEED_OK;
}

static void close_text(struct text *text) {
  if (text->data) munmap((void *)(uintptr_t)text->data, text->bytes);
  if (text->fd >= 0) close(text->fd);
}

// What was read is of no text if somebody wrote to it meanwhile: above all, it must not be kept under the name of another content.
static heed_status check_unchanged(const struct text *text) {
  struct stat now;
  HEED__REQUIRE(fstat(text->fd, &now) == 0, HEED_ERROR_IO, "%s: cannot read: %s", text->path, strerror(errno));
  const bool same = now.st_size == text->info.st_size && now.st_mtim.tv_sec == text->info.st_mtim.tv_sec &&
                    now.st_mtim.tv_nsec == text->info.st_mtim.tv_nsec;
  HEED__REQUIRE(same, HEED_ERROR_IO, "%s: changed while it was read; start again", text->path);
  return HEED_OK;
}

// ---------------------------------------------------------------- characters

// The bytes of the first character: Unicode 15, table 3-7; 1 for a byte that begins none.
static size_t character(const unsigned char *c, size_t bytes) {
  size_t length = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 1 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 1;
  if (length > bytes) return 1;
  // No longer form than needed, no surrogates, nothing beyond 10FFFF.
  const unsigned char low = c[0] == 0xe0 ? 0xa0 : c[0] == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = c[0] == 0xed ? 0x9f : c[0] == 0xf4 ? 0x8f : 0xbf;
  if (length > 1 && (c[1] < low || c[1] > high)) return 1;
  for (size_t i = 2; i < length; ++i)
    if ((c[i] & 0xc0) != 0x80) return 1;
  return length;
}

// The bytes of the first *characters characters; *characters becomes how many there are, if the text has fewer.
static size_t bytes_of(const struct text *text, int64_t *characters) {
  size_t at = 0;
  int64_t count = 0;
  while (at < text->bytes && count < *characters) {
    uint64_t eight;
    if (text->bytes - at >= sizeof eight && *characters - count >= (int64_t)sizeof eight) {
      memcpy(&eight, text->data + at, sizeof eight);
      if (!(eight & UINT64_C(0x8080808080808080))) {
        at += sizeof eight;
        count += sizeof eight;
        continue;
      }
    }
    at += character(text->data + at, text->bytes - at);
    ++count;
  }
  *characters = count;
  return at;
}

heed_status heed__text_characters(const char *path, int64_t *count) {
  struct text text;
  *count = INT64_MAX;
  heed_status status = open_text(path, &text);
  if (status == HEED_OK) {
    bytes_of(&text, count);
    status = check_unchanged(&text);
  }
  close_text(&text);
  return status;
}

// ---------------------------------------------------------------- tokens

struct tokenizing {
  const struct text *text;
  const heed_token_data_options *options;
  size_t begin, end;  // bytes of the text
  struct heed__token_key key;
  size_t done;  // bytes that tokens so far stand for
  double told;
  struct heed__token_writer *writer;
};

static void tell(struct tokenizing *t, double part) {
  t->told = part;
  t->options->progress(t->text->path, part, t->options->user);
}

static void advance(struct tokenizing *t, const int32_t *ids, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    size_t bytes = 0;
    if (heed_tokenizer_token(t->options->tokenizer, ids[i], &bytes)) t->done += bytes;
  }
  const double part = (double)t->done / (double)(t->end - t->begin);
  if (part >= t->told + 1e-3 && part < 1) tell(t, part);
}

static heed_status receive(const int32_t *ids, size_t count, void *user) {
  struct tokenizing *t = user;
  HEED__TRY(heed__token_writer_put(t->writer, ids, count));
  if (t->options->progress) advance(t, ids, count);
  return HEED_OK;
}

static heed_status tokenize(struct tokenizing *t, bool named, struct heed__token_file *out) {
  const heed_tokenizer *tokenizer = t->options->tokenizer;
  const char *text = t->text->data ? (const char *)t->text->data + t->begin : "";
  const int width = heed_tokenizer_vocab(tokenizer) <= UINT16_MAX + 1 ? 2 : 4;
  t->done = 0;
  HEED__TRY(heed__token_writer_open(t->writer, &t->key, t->text->path, width, named));
  if (t->options->progress) tell(t, 0);
  const heed_encode_options encode = {.template_tokens = t->options->template_tokens};
  const heed_status status = heed_tokenizer_encode(tokenizer, text, t->end - t->begin, &encode, receive, t);
  if (status != HEED_OK) {
    if (t->writer->failed) return status;
    return t->begin == 0 ? heed__fail_prefix(status, "%s", t->text->path)
                         : heed__fail_prefix(status, "%s: from byte %zu on", t->text->path, t->begin);
  }
  HEED__TRY(check_unchanged(t->text));
  HEED__TRY(heed__token_writer_finish(t->writer, out));
  if (t->options->progress) tell(t, 1);
  return HEED_OK;
}

// From the cache, or made: where the cache has no room, in a file without a name.
static heed_status find_or_make(struct tokenizing *t, struct heed__token_file *out) {
  const char *text = t->text->data ? (const char *)t->text->data + t->begin : "";
  // With a template the tokenizer is another one.
  const uint64_t tokenizer =
      heed_tokenizer_fingerprint(t->options->tokenizer) ^ (t->options->template_tokens ? TEMPLATE : 0);
  heed__token_key_make(text, t->end - t->begin, tokenizer, &t->key);
  if (heed__token_cache_find(&t->key, t->text->path, out)) return check_unchanged(t->text);
  t->writer = malloc(sizeof *t->writer);
  HEED__REQUIRE(t->writer, HEED_ERROR_OUT_OF_MEMORY, "no memory to tokenize %s", t->text->path);
  heed_status status = tokenize(t, true, out);
  const bool again = status != HEED_OK && t->writer->failed && t->writer->folder >= 0;
  heed__token_writer_close(t->writer);
  if (again) {
    status = tokenize(t, false, out);
    heed__token_writer_close(t->writer);
  }
  free(t->writer);
  return status;
}

heed_status heed__text_tokens(const char *path, enum heed__text_part part, int64_t characters,
                              const heed_token_data_options *options, struct heed__token_file *out) {
  struct text text;
  *out = (struct heed__token_file){0};
  heed_status status = open_text(path, &text);
  if (status == HEED_OK) {
    struct tokenizing t = {.text = &text, .options = options, .end = text.bytes};
    const size_t cut = part == HEED__TEXT_WHOLE ? 0 : bytes_of(&text, &characters);
    if (part == HEED__TEXT_BEFORE) t.end = cut;
    if (part == HEED__TEXT_AFTER) t.begin = cut;
    status = find_or_make(&t, out);
  }
  close_text(&text);
  if (status != HEED_OK) heed__token_file_close(out);
  return status;
}
