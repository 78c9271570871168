// Tuned choices on disk: one JSON file per device. It decides what runs, so a file that heed finds by itself (that the user does not name
// at that moment) must belong to the user. heed checks the whole file before it uses any of it.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/private_files.h"
#include "cl/tuning/tuning.h"

enum { FILE_BYTES_MAX = 1 << 20, ENTRIES_MAX = 4096 };

// ---------------------------------------------------------------- reading the file

static heed_status fail_reading(const char *path, int error) {
  return heed__fail(error == ENOMEM ? HEED_ERROR_OUT_OF_MEMORY : HEED_ERROR_IO, "%s: cannot read: %s", path,
                    strerror(error));
}

static heed_status check_file(const char *path, const struct stat *info, bool trusted_only) {
  HEED__REQUIRE(S_ISREG(info->st_mode), HEED_ERROR_IO, "%s: not a file", path);
  HEED__REQUIRE(info->st_size <= FILE_BYTES_MAX, HEED_ERROR_FORMAT, "%s: %lld bytes are too many for a tuning table",
                path, (long long)info->st_size);
  if (!trusted_only) return HEED_OK;
  HEED__REQUIRE(info->st_uid == geteuid() || info->st_uid == 0, HEED_ERROR_IO,
                "%s: the file belongs to another user, so it is not trusted; heed tune --import copies it", path);
  HEED__REQUIRE(!(info->st_mode & (S_IWGRP | S_IWOTH)), HEED_ERROR_IO,
                "%s: others may write to the file, so it is not trusted; chmod go-w it", path);
  return HEED_OK;
}

// Reads the file's text, which is not terminated. It follows a link only if the user names the file.
static heed_status read_file(const char *path, bool trusted_only, char **text, size_t *size) {
  *text = NULL;
  *size = 0;
  const int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (trusted_only ? O_NOFOLLOW : 0));
  if (file < 0 && errno == ELOOP && trusted_only)
    return heed__fail(HEED_ERROR_IO, "%s: a symbolic link, which is not trusted; heed tune --import copies the file",
                      path);
  if (file < 0) return fail_reading(path, errno);
  struct stat info;
  heed_status status = fstat(file, &info) == 0 ? check_file(path, &info, trusted_only) : fail_reading(path, errno);
  if (status == HEED_OK) {
    *size = (size_t)info.st_size;
    *text = malloc(*size + 1);
    errno = EIO;  // a file that became shorter sets no errno
    if (!*text)
      status = fail_reading(path, ENOMEM);
    else if (!heed__private_read(file, *text, *size))
      status = fail_reading(path, errno);
  }
  close(file);
  if (status != HEED_OK) free(*text);
  return status;
}

// ---------------------------------------------------------------- reading the table

struct reader {
  heed_context *ctx;
  const char *path;
  size_t entry;  // from 1, for messages
};

#define NEED(reader, condition, what) \
  HEED__REQUIRE((condition), HEED_ERROR_FORMAT, "%s: choice %zu: %s", (reader)->path, (reader)->entry, (what))

// Reads [least, most], or [least] without an end.
static heed_status read_range(const struct reader *r, const json_t *item, const char *name, int64_t *least,
                              int64_t *most) {
  const json_t *range = json_object_get(item, name);
  const size_t count = json_array_size(range);
  const json_t *first = json_array_get(range, 0), *last = json_array_get(range, 1);
  HEED__REQUIRE((count == 1 || count == 2) && json_is_integer(first) && (count == 1 || json_is_integer(last)),
                HEED_ERROR_FORMAT, "%s: choice %zu: \"%s\" must be a range of whole numbers: [least, most], or [least]",
                r->path, r->entry, name);
  *least = json_integer_value(first);
  *most = count == 2 ? json_integer_value(last) : INT64_MAX;
  HEED__REQUIRE(*least >= 0 && *least <= *most, HEED_ERROR_FORMAT, "%s: choice %zu: \"%s\" is an empty range", r->path,
                r->entry, name);
  return HEED_OK;
}

static heed_status read_kind(const struct reader *r, const json_t *item, const struct heed__cl_tuning_op *const *ops,
                             heed_tune_problem *problem) {
  const char *op = json_string_value(json_object_get(item, "op"));
  const char *dtype = json_string_value(json_object_get(item, "dtype"));
  int found = 0;
  while (op && found < HEED__CL_TUNING_OPS && strcmp(heed__cl_tuning_op_name((heed_tune_op)found), op) != 0) ++found;
  NEED(r, op && found < HEED__CL_TUNING_OPS, "\"op\" must be the name of a tuned operator");
  problem->op = (heed_tune_op)found;
  const enum heed__cl_tuning_kind kind = ops[found]->kind;
  for (found = 0; dtype && heed_dtype_size((heed_dtype)found) > 0; ++found)
    if (strcmp(heed_dtype_string((heed_dtype)found), dtype) == 0) break;
  NEED(r, dtype && heed_dtype_is_float((heed_dtype)found), "\"dtype\" must be F32, F16 or BF16");
  problem->dtype = (heed_dtype)found;
  if (kind == HEED__TUNE_BY_CAUSAL) {
    NEED(r, json_is_boolean(json_object_get(item, "causal")), "\"causal\" must be true or false");
    problem->causal = json_is_true(json_object_get(item, "causal"));
    return HEED_OK;
  }
  const char *form = json_string_value(json_object_get(item, "form"));
  NEED(r, form && strlen(form) == 2 && strspn(form, "NT") == 2, "\"form\" must be NN, NT, TN or TT");
  problem->trans_a = form[0] == 'T';
  problem->trans_b = form[1] == 'T';
  return HEED_OK;
}

static heed_status read_entry(const struct reader *r, const json_t *item, struct heed__cl_tuning *tuning) {
  struct heed__cl_tuning_entry entry = {0};
  NEED(r, json_is_object(item), "not an object");
  HEED__TRY(read_kind(r, item, tuning->ops, &entry.problem));
  const char *const *names = heed__cl_tuning_size_names(entry.problem.op);
  for (int i = 0; i < HEED_TUNE_SIZES; ++i)
    HEED__TRY(read_range(r, item, names[i], &entry.problem.sizes[i], &entry.most[i]));
  const char *choice = json_string_value(json_object_get(item, "choice"));
  NEED(r, choice, "\"choice\" must be a text, such as \"default\"");
  if (heed__cl_tuning_choice_parse(tuning, entry.problem.op, choice, &entry.choice) != HEED_OK)
    return heed__fail(HEED_ERROR_FORMAT, "%s: choice %zu: %s", r->path, r->entry, heed_last_error());
  entry.speedup = json_number_value(json_object_get(item, "speedup"));
  return heed__cl_tuning_add(tuning, &entry);
}

// Checks that the table was made for this device in its present state.
static heed_status check_origin(const struct reader *r, const json_t *root) {
  const heed_device_info *device = &r->ctx->device;
  const struct {
    const char *name, *here;
  } texts[] = {{"device", device->id}, {"name", device->name}, {"driver", device->driver}, {"heed", heed_version()}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    const char *there = json_string_value(json_object_get(root, texts[i].name));
    HEED__REQUIRE(there, HEED_ERROR_FORMAT, "%s: \"%s\" must be a text", r->path, texts[i].name);
    HEED__REQUIRE(strcmp(there, texts[i].here) == 0, HEED_ERROR_UNSUPPORTED,
                  "%s: made for %s '%s', and here it is '%s'; heed tune makes a new one", r->path, texts[i].name,
                  heed__printable(there).text, texts[i].here);
  }
  const json_t *units = json_object_get(root, "compute_units");
  HEED__REQUIRE(json_is_integer(units), HEED_ERROR_FORMAT, "%s: \"compute_units\" must be a whole number", r->path);
  HEED__REQUIRE(json_integer_value(units) == device->compute_units, HEED_ERROR_UNSUPPORTED,
                "%s: made for %lld compute units, and here are %u; heed tune makes a new one", r->path,
                (long long)json_integer_value(units), device->compute_units);
  return HEED_OK;
}

static heed_status read_table(struct reader *r, const json_t *root, struct heed__cl_tuning *tuning) {
  HEED__REQUIRE(json_is_object(root), HEED_ERROR_FORMAT, "%s: not a tuning table", r->path);
  HEED__TRY(check_origin(r, root));
  const json_t *choices = json_object_get(root, "choices");
  HEED__REQUIRE(json_is_array(choices) && json_array_size(choices) <= ENTRIES_MAX, HEED_ERROR_FORMAT,
                "%s: \"choices\" must be a list of at most %d choices", r->path, ENTRIES_MAX);
  for (size_t i = 0; i < json_array_size(choices); ++i) {
    r->entry = i + 1;
    HEED__TRY(read_entry(r, json_array_get(choices, i), tuning));
  }
  return HEED_OK;
}

heed_status heed__cl_tuning_read(heed_context *ctx, const char *path, bool trusted_only) {
  char *text;
  size_t size;
  HEED__TRY(read_file(path, trusted_only, &text, &size));
  json_error_t error;
  bool no_memory;
  json_t *root = heed__json_load(text, size, &error, &no_memory);
  free(text);
  if (no_memory) return fail_reading(path, ENOMEM);
  HEED__REQUIRE(root, HEED_ERROR_FORMAT, "%s: line %d: not JSON: %s", path, error.line,
                heed__printable(error.text).text);
  struct reader reader = {.ctx = ctx, .path = path};
  struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx), read = {.ops = tuning->ops};
  const heed_status status = read_table(&reader, root, &read);
  json_decref(root);
  if (status != HEED_OK) {
    free(read.entries);
    return status;
  }
  heed__cl_revise(ctx);
  free(tuning->entries);
  tuning->entries = read.entries;
  tuning->count = read.count;
  tuning->room = read.room;
  return HEED_OK;
}

// ---------------------------------------------------------------- writing

static json_t *entry_json(const struct heed__cl_tuning *tuning, const struct heed__cl_tuning_entry *entry) {
  const heed_tune_problem *p = &entry->problem;
  char choice[HEED_TUNE_TEXT];
  heed__cl_tuning_choice_text(&entry->choice, choice);
  json_t *item = json_pack("{s:s, s:s}", "op", heed__cl_tuning_op_name(p->op), "dtype", heed_dtype_string(p->dtype));
  const char form[] = {p->trans_a ? 'T' : 'N', p->trans_b ? 'T' : 'N', 0};
  int failed = !item || (tuning->ops[p->op]->kind == HEED__TUNE_BY_FORM
                             ? json_object_set_new(item, "form", json_string(form))
                             : json_object_set_new(item, "causal", json_boolean(p->causal)));
  for (int i = 0; i < HEED_TUNE_SIZES && !failed; ++i) {
    json_t *range = json_pack("[I]", (json_int_t)p->sizes[i]);
    if (entry->most[i] != INT64_MAX) failed |= json_array_append_new(range, json_integer(entry->most[i]));
    failed |= json_object_set_new(item, heed__cl_tuning_size_names(p->op)[i], range);
  }
  if (!failed) failed = json_object_set_new(item, "choice", json_string(choice));
  if (!failed && entry->speedup > 0)
    failed = json_object_set_new(item, "speedup", json_real(round(entry->speedup * 1000) / 1000));
  if (!failed) return item;
  json_decref(item);
  return NULL;
}

static bool put(FILE *stream, json_t *item, const char *before) {
  errno = 0;  // without memory, jansson silently leaves out a part of a key
  char *line = item ? json_dumps(item, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6) | JSON_ENCODE_ANY) : NULL;
  const bool whole = line && errno != ENOMEM;
  json_decref(item);
  if (whole) fprintf(stream, "%s%s", before, line);
  free(line);
  return whole;
}

// Writes one line per choice, so that people can read and edit it. It leaves out choices that computed wrong results.
heed_status heed__cl_tuning_json(const heed_context *ctx, char **text) {
  const struct heed__cl_tuning *tuning = heed__cl_tuning_of(ctx);
  const heed_device_info *device = &ctx->device;
  size_t size;
  *text = NULL;
  FILE *stream = open_memstream(text, &size);
  bool done = stream && put(stream, json_string(heed_version()), "{\n  \"heed\": ") &&
              put(stream, json_string(device->id), ",\n  \"device\": ") &&
              put(stream, json_string(device->name), ",\n  \"name\": ") &&
              put(stream, json_string(device->driver), ",\n  \"driver\": ") &&
              put(stream, json_integer(device->compute_units), ",\n  \"compute_units\": ");
  if (done) fprintf(stream, ",\n  \"choices\": [");
  size_t written = 0;
  for (size_t i = 0; i < tuning->count && done; ++i)
    if (!tuning->entries[i].wrong)
      done = put(stream, entry_json(tuning, &tuning->entries[i]), written++ ? ",\n    " : "\n    ");
  if (done) fprintf(stream, "%s]\n}\n", written ? "\n  " : "");
  if (stream && fclose(stream) != 0) done = false;
  if (done) return HEED_OK;
  free(*text);
  *text = NULL;
  return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "tune: no host memory to write the table of %s", device->name);
}

heed_status heed__cl_tuning_write(heed_context *ctx, const char *path) {
  char *text;
  HEED__TRY(heed__private_make_parents(path));
  HEED__TRY(heed__cl_tuning_json(ctx, &text));
  struct heed__atomic_file file;
  heed_status status = heed__atomic_open_private(&file, path);
  if (status == HEED_OK) status = heed__atomic_write(&file, text, strlen(text));
  if (status == HEED_OK) status = heed__atomic_commit(&file);
  heed__atomic_close(&file);
  free(text);
  return status;
}

// ---------------------------------------------------------------- when a context is opened

// A driver may put any character into a device's id; '/' would lead out of the folder.
static char *place(const char *folder, const char *id) {
  char *path = NULL;
  if (asprintf(&path, "%s/%s.json", folder, id) < 0) return NULL;
  for (char *c = path + strlen(folder) + 1; *c; ++c)
    if (*c == '/') *c = '_';
  return path;
}

heed_status heed__cl_tuning_open(heed_context *ctx, const struct heed__cl_tuning_op *const *ops, const char *folder,
                                 const char *file, bool off, bool mends) {
  struct heed__cl_tuning *tuning = calloc(1, sizeof *tuning);
  HEED__REQUIRE(tuning, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  heed__cl_state(ctx)->kept[HEED__CL_ROOM_TUNING] = tuning;
  tuning->ops = ops;
  if (file || folder) {
    tuning->path = file ? strdup(file) : place(folder, ctx->device.id);
    HEED__REQUIRE(tuning->path, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  }
  if (off || !tuning->path) return HEED_OK;
  // The usual place may be empty, but a file that the user names must exist, unless this program makes it.
  const bool must_serve = file && !mends;
  if (!must_serve && access(tuning->path, F_OK) != 0 && (mends || errno == ENOENT)) return HEED_OK;
  const heed_status status = heed__cl_tuning_read(ctx, tuning->path, true);
  if (status == HEED_OK || status == HEED_ERROR_OUT_OF_MEMORY) return status;
  if (must_serve)
    return heed__fail(status,
                      "open: tuned choices (HEED_TUNE): %s; name a table that heed tune made here, or off for none",
                      heed_last_error());
  heed__notice_add(ctx, "tuned choices are ignored: %s (heed tune --reset deletes the table)", heed_last_error());
  return HEED_OK;
}
