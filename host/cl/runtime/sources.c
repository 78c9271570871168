// The text of a program: "common.cl" and the kernel file with what it includes, from the context's kernel folder or embedded in
// the library.
#include "cl/runtime/sources.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

// A kernel file is text that people write; a larger file is something else.
enum { SOURCE_BYTES_MAX = 4 << 20, INCLUDES_DEEP = 5 };

struct joined {
  const char *dir, *file;
  char *text;  // terminated by 0
  size_t length;
};

// Whether the folder, or one `deep` folders down, has a kernel file. *error is what keeps it from being read, or 0.
static bool has_kernels(const char *dir, int deep, int *error) {
  bool found = false;
  DIR *stream = opendir(dir);
  *error = stream ? 0 : errno;
  for (struct dirent *item = NULL; stream && !found && (item = readdir(stream));) {
    char path[4096];
    int ignored;
    const size_t length = strlen(item->d_name);
    found = length > 3 && strcmp(item->d_name + length - 3, ".cl") == 0;
    const int path_length = snprintf(path, sizeof path, "%s/%s", dir, item->d_name);
    if (!found && deep > 0 && item->d_name[0] != '.' && path_length > 0 && (size_t)path_length < sizeof path)
      found = has_kernels(path, deep - 1, &ignored);
  }
  if (stream) closedir(stream);
  return found;
}

heed_status heed__cl_source_check(const char *dir) {
  int error;
  HEED__REQUIRE(
      has_kernels(dir, 1, &error), HEED_ERROR_INVALID_ARGUMENT,
      "open: the kernel folder %s (HEED_KERNELS) cannot be used: %s; name a folder like heed's kernels_cl, or leave "
      "it out for the kernels in the library",
      dir, error ? strerror(error) : "it has no .cl file");
  return HEED_OK;
}

// *text stays NULL if the folder has no such file.
static heed_status read_file(const char *dir, const char *name, char **text, size_t *length) {
  char path[4096];
  const int path_length = snprintf(path, sizeof path, "%s/%s", dir, name);
  HEED__REQUIRE(path_length > 0 && (size_t)path_length < sizeof path, HEED_ERROR_IO,
                "kernel folder: the path %s is too long", dir);
  FILE *file = fopen(path, "rbe");
  if (!file && errno == ENOENT) return HEED_OK;
  HEED__REQUIRE(file, HEED_ERROR_IO, "kernel file %s: cannot open it: %s", path, strerror(errno));
  char *all = malloc(SOURCE_BYTES_MAX + 1);
  const size_t got = all ? fread(all, 1, SOURCE_BYTES_MAX + 1, file) : 0;
  const bool failed = ferror(file) != 0;
  fclose(file);
  if (!all) return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "kernel file %s: no host memory to read it", path);
  if (failed || got > SOURCE_BYTES_MAX) {
    free(all);
    return failed ? heed__fail(HEED_ERROR_IO, "kernel file %s: cannot read it", path)
                  : heed__fail(HEED_ERROR_IO, "kernel file %s: it is longer than %d bytes", path, SOURCE_BYTES_MAX);
  }
  all[got] = 0;
  *text = all;
  *length = got;
  return HEED_OK;
}

static const struct heed__cl_kernel_source *embedded(const char *name) {
  for (const struct heed__cl_kernel_source *source = heed__cl_kernel_sources; source->name; ++source)
    if (strcmp(source->name, name) == 0) return source;
  return NULL;
}

static heed_status append_text(struct joined *joined, const char *text, size_t length) {
  char *grown = realloc(joined->text, joined->length + length + 1);
  HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "kernel file %s: no host memory for its text", joined->file);
  memcpy(grown + joined->length, text, length);
  joined->text = grown;
  joined->length += length;
  grown[joined->length] = 0;
  return HEED_OK;
}

// Adds `#line 3 "name"`, the position that a build log shows for the next line.
static heed_status append_place(struct joined *joined, const char *name, int line) {
  char place[300];
  const int length = snprintf(place, sizeof place, "#line %d \"%s\"\n", line, name);
  HEED__REQUIRE(length > 0 && (size_t)length < sizeof place, HEED_ERROR_BUILD, "kernel file %s: the name is too long",
                name);
  return append_text(joined, place, (size_t)length);
}

// Finds the name in a line `#include "name"`; returns false for any other line.
static bool is_include(const char *line, char name[256]) {
  static const char opening[] = "#include \"";
  if (strncmp(line, opening, sizeof opening - 1) != 0) return false;
  line += sizeof opening - 1;
  const size_t length = strcspn(line, "\"\n");
  if (line[length] != '"' || length == 0 || length >= 256) return false;
  memcpy(name, line, length);
  name[length] = 0;
  return true;
}

static heed_status append_file(struct joined *joined, const char *name, int depth);

// Makes a file's text, with the files it includes in their places. The driver would look for them in the file system.
static heed_status append_body(struct joined *joined, const char *name, const char *body, int depth) {
  HEED__TRY(append_place(joined, name, 1));
  const char *start = body;
  int line = 1;
  for (const char *at = body; *at; ++line) {
    const char *next = at + strcspn(at, "\n");
    if (*next) ++next;
    char included[256];
    if (is_include(at, included)) {
      HEED__TRY(append_text(joined, start, (size_t)(at - start)));
      HEED__TRY(append_file(joined, included, depth + 1));
      HEED__TRY(append_place(joined, name, line + 1));
      start = next;
    }
    at = next;
  }
  HEED__TRY(append_text(joined, start, strlen(start)));
  return append_text(joined, "\n", 1);
}

static heed_status append_file(struct joined *joined, const char *name, int depth) {
  HEED__REQUIRE(depth <= INCLUDES_DEEP, HEED_ERROR_BUILD, "kernel file %s: its includes are nested more than %d deep",
                joined->file, INCLUDES_DEEP);
  char *read = NULL;
  size_t read_length = 0;
  if (joined->dir) HEED__TRY(read_file(joined->dir, name, &read, &read_length));
  const struct heed__cl_kernel_source *source = read ? NULL : embedded(name);
  HEED__REQUIRE(read || source, HEED_ERROR_BUILD, "kernel file %s: the library has none of this name%s%s", name,
                joined->dir ? ", nor has the folder " : "", joined->dir ? joined->dir : "");
  const heed_status status = append_body(joined, name, read ? read : source->text, depth);
  free(read);
  return status;
}

heed_status heed__cl_source_join(const char *dir, const char *file, char **text, size_t *length) {
  struct joined joined = {.dir = dir, .file = file};
  heed_status status = append_file(&joined, "common.cl", 0);
  if (status == HEED_OK) status = append_file(&joined, file, 0);
  if (status != HEED_OK) {
    free(joined.text);
    joined = (struct joined){0};
  }
  *text = joined.text;
  *length = joined.length;
  return status;
}
