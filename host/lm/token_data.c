// Opens files of tokens and texts as one sequence, divides it into training and validation, and reads from it.
#include "lm/token_data.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/size.h"
#include "base/status.h"
#include "lm/text_tokens.h"

enum { CHUNK = 4096 };

// What is opened, and how much of each file is not for validation.
struct opening {
  const char *const *paths;
  size_t count;
  const heed_token_data_options *options;
  bool tokens;     // token files; otherwise texts
  int64_t *sizes;  // tokens, or characters, of each file; of texts only if they are divided
};

static heed_token_data *allocate(size_t room) {
  heed_token_data *data = calloc(1, sizeof *data);
  if (!data) return NULL;
  data->part = calloc(room, sizeof *data->part);
  data->room = room;
  if (data->part) return data;
  free(data);
  return NULL;
}

void heed_token_data_close(heed_token_data *data) {
  if (!data) return;
  for (size_t i = 0; i < data->parts; ++i) heed__token_file_close(&data->part[i].file);
  free(data->part);
  free(data);
}

int64_t heed_token_data_count(const heed_token_data *data) { return data ? data->count : 0; }

// ---------------------------------------------------------------- opening

// All files are of one kind; measures them.
static heed_status measure(struct opening *o) {
  const bool divided = o->options->validation > 0;
  for (size_t i = 0; i < o->count; ++i) {
    bool is_tokens = false;
    HEED__TRY(heed__token_file_peek(o->paths[i], &is_tokens, &o->sizes[i]));
    if (i == 0) o->tokens = is_tokens;
    HEED__REQUIRE(is_tokens == o->tokens, HEED_ERROR_FORMAT, "%s is a %s and %s is a %s: all files must be of one kind",
                  o->paths[0], o->tokens ? "token file" : "text", o->paths[i], is_tokens ? "token file" : "text");
    HEED__REQUIRE(is_tokens || o->options->tokenizer, HEED_ERROR_FORMAT,
                  "%s: is no token file; a text needs a tokenizer", o->paths[i]);
  }
  for (size_t i = 0; i < o->count && divided && !o->tokens; ++i)
    HEED__TRY(heed__text_characters(o->paths[i], &o->sizes[i]));
  return HEED_OK;
}

// How many tokens or characters from the start are for training; -1: all.
static heed_status divide(const struct opening *o, int64_t *training) {
  int64_t total = 0;
  *training = -1;
  if (o->options->validation == 0) return HEED_OK;
  for (size_t i = 0; i < o->count; ++i)
    HEED__REQUIRE(heed__sum(total, o->sizes[i], &total), HEED_ERROR_OVERFLOW, "%s: too many tokens", o->paths[i]);
  *training = total - heed__min(total, (int64_t)ceil(o->options->validation * (double)total));
  return HEED_OK;
}

// Adds what is before `cut` of a file, or what is after it; whole: there is no cut.
static heed_status add(const struct opening *o, size_t i, bool whole, int64_t cut, bool after, heed_token_data *data) {
  struct heed__token_part *part = &data->part[data->parts];
  const int64_t size = o->sizes[i];
  if (o->tokens) {
    const int64_t first = after && !whole ? cut : 0, count = whole ? size : after ? size - cut : cut;
    HEED__TRY(heed__token_file_open(o->paths[i], first, count, &part->file));
  } else {
    const enum heed__text_part which = whole ? HEED__TEXT_WHOLE : after ? HEED__TEXT_AFTER : HEED__TEXT_BEFORE;
    HEED__TRY(heed__text_tokens(o->paths[i], which, cut, o->options, &part->file));
  }
  ++data->parts;  // from here on it is closed with the rest
  part->start = data->count;
  HEED__REQUIRE(heed__sum(data->count, part->file.count, &data->count), HEED_ERROR_OVERFLOW, "%s: too many tokens",
                o->paths[i]);
  return heed__token_file_check(&part->file, o->options->vocab);
}

static heed_status fill(struct opening *o, heed_token_data *training, heed_token_data *validation) {
  int64_t left;
  HEED__TRY(measure(o));
  HEED__TRY(divide(o, &left));
  const bool divided = left >= 0;
  for (size_t i = 0; i < o->count; ++i) {
    const int64_t size = o->sizes[i], cut = divided ? heed__min(size, left) : size;
    left -= divided ? cut : 0;
    const bool border = divided && cut > 0 && cut < size;
    if (!divided || cut == size || border) HEED__TRY(add(o, i, !border, cut, false, training));
    if (divided && cut < size) HEED__TRY(add(o, i, !border, cut, true, validation));
  }
  return HEED_OK;
}

static heed_status check_options(const char *const *paths, size_t count, const heed_token_data_options *options) {
  HEED__REQUIRE(paths && count > 0, HEED_ERROR_INVALID_ARGUMENT, "heed_token_data_open: the paths are NULL, or none");
  for (size_t i = 0; i < count; ++i)
    HEED__REQUIRE(paths[i], HEED_ERROR_INVALID_ARGUMENT, "heed_token_data_open: path %zu is NULL", i);
  HEED__REQUIRE(options->validation >= 0 && options->validation < 1, HEED_ERROR_INVALID_ARGUMENT,
                "heed_token_data_open: the part for validation is %g; it must be at least 0 and below 1",
                options->validation);
  HEED__REQUIRE(options->vocab >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "heed_token_data_open: vocab is %" PRId64 "; it must be at least 0 (0: not checked)", options->vocab);
  return HEED_OK;
}

heed_status heed_token_data_open(const char *const *paths, size_t count, const heed_token_data_options *options,
                                 heed_token_data **training, heed_token_data **validation) {
  static const heed_token_data_options none = {0};
  if (training) *training = NULL;
  if (validation) *validation = NULL;
  if (!options) options = &none;
  HEED__REQUIRE(training, HEED_ERROR_INVALID_ARGUMENT, "heed_token_data_open: training is NULL");
  HEED__TRY(check_options(paths, count, options));
  const bool divided = options->validation > 0;
  HEED__REQUIRE(validation || !divided, HEED_ERROR_INVALID_ARGUMENT,
                "heed_token_data_open: validation is NULL, and a part of the data is for it");
  struct opening o = {.paths = paths, .count = count, .options = options, .sizes = calloc(count, sizeof *o.sizes)};
  heed_token_data *parts[2] = {allocate(count), divided ? allocate(count) : NULL};
  const heed_status status = o.sizes && parts[0] && (parts[1] || !divided)
                                 ? fill(&o, parts[0], parts[1])
                                 : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to open %s", paths[0]);
  free(o.sizes);
  if (status != HEED_OK) {
    heed_token_data_close(parts[0]);
    heed_token_data_close(parts[1]);
    return status;
  }
  *training = parts[0];
  if (divided) *validation = parts[1];
  return HEED_OK;
}

// ---------------------------------------------------------------- reading

// The part in which a token lies, or the last one that begins before it.
static size_t part_of(const heed_token_data *data, int64_t token) {
  size_t low = 0, high = data->parts;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    if (data->part[middle].start <= token)
      low = middle;
    else
      high = middle;
  }
  return low;
}

heed_status heed_token_data_read(const heed_token_data *data, int64_t first, int64_t count, int32_t *ids) {
  HEED__REQUIRE(data && (ids || count == 0), HEED_ERROR_INVALID_ARGUMENT, "heed_token_data_read: an argument is NULL");
  HEED__REQUIRE(first >= 0 && count >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "heed_token_data_read: %" PRId64 " tokens from token %" PRId64 " on; neither number may be negative",
                count, first);
  HEED__REQUIRE(data->count > 0, HEED_ERROR_INVALID_ARGUMENT, "heed_token_data_read: there are no tokens");
  first %= data->count;
  for (size_t i = part_of(data, first); count > 0; i = i + 1 < data->parts ? i + 1 : 0) {
    const struct heed__token_part *part = &data->part[i];
    const int64_t at = first - part->start, taken = heed__min(count, part->file.count - at);
    if (taken > 0) HEED__TRY(heed__token_file_is_whole(&part->file));
    heed__token_file_read(&part->file, at, taken, ids);
    ids += taken;
    count -= taken;
    first = first + taken == data->count ? 0 : first + taken;
  }
  return HEED_OK;
}

heed_status heed_token_data_checksum(const heed_token_data *data, uint32_t *checksum) {
  HEED__REQUIRE(data && checksum, HEED_ERROR_INVALID_ARGUMENT, "heed_token_data_checksum: an argument is NULL");
  int32_t ids[CHUNK];
  uLong crc = crc32_z(0, NULL, 0);
  for (int64_t first = 0; first < data->count; first += CHUNK) {
    const int64_t count = heed__min(CHUNK, data->count - first);
    HEED__TRY(heed_token_data_read(data, first, count, ids));
    crc = crc32_z(crc, (const unsigned char *)ids, (z_size_t)count * sizeof *ids);
  }
  *checksum = (uint32_t)crc;
  return HEED_OK;
}

heed_status heed_token_file_is(const char *path, bool *is_tokens) {
  HEED__REQUIRE(path && is_tokens, HEED_ERROR_INVALID_ARGUMENT, "heed_token_file_is: an argument is NULL");
  int64_t count;
  return heed__token_file_peek(path, is_tokens, &count);
}
