// The text of a program: "common.cl" and the kernel file, from the context's kernel folder or embedded in the library.
#include "cl/sources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

// A kernel file is text that people write; more than this is something else.
enum { SOURCE_BYTES_MAX = 4 << 20 };

// *text stays NULL where the folder has no such file.
static heed_status read_file(const char *dir, const char *name, char **text, size_t *length) {
  char path[4096];
  const int path_length = snprintf(path, sizeof path, "%s/%s", dir, name);
  HEED__REQUIRE(path_length > 0 && (size_t)path_length < sizeof path, HEED_IO, "kernel folder: the path %s is too long",
                dir);
  FILE *file = fopen(path, "rbe");
  if (!file && errno == ENOENT) return HEED_OK;
  HEED__REQUIRE(file, HEED_IO, "kernel file %s: cannot open it: %s", path, strerror(errno));
  char *all = malloc(SOURCE_BYTES_MAX + 1);
  const size_t got = all ? fread(all, 1, SOURCE_BYTES_MAX + 1, file) : 0;
  const bool failed = ferror(file) != 0;
  fclose(file);
  if (!all) return heed__fail(HEED_OUT_OF_MEMORY, "kernel file %s: no host memory to read it", path);
  if (failed || got > SOURCE_BYTES_MAX) {
    free(all);
    return failed ? heed__fail(HEED_IO, "kernel file %s: cannot read it", path)
                  : heed__fail(HEED_IO, "kernel file %s: it is longer than %d bytes", path, SOURCE_BYTES_MAX);
  }
  all[got] = 0;
  *text = all;
  *length = got;
  return HEED_OK;
}

static const struct heed__kernel_source *embedded(const char *name) {
  for (const struct heed__kernel_source *source = heed__kernel_sources; source->name; ++source)
    if (strcmp(source->name, name) == 0) return source;
  return NULL;
}

// Appends `#line 1 "name"` and the file's text.
static heed_status append(const char *dir, const char *name, char **text, size_t *length) {
  char *read = NULL;
  size_t read_length = 0;
  if (dir) HEED__TRY(read_file(dir, name, &read, &read_length));
  const struct heed__kernel_source *source = read ? NULL : embedded(name);
  HEED__REQUIRE(read || source, HEED_BUILD, "kernel file %s: the library has none of this name%s%s", name,
                dir ? ", nor has the folder " : "", dir ? dir : "");
  const char *body = read ? read : source->text;
  const size_t body_length = read ? read_length : source->length;
  const size_t room = *length + strlen(name) + body_length + 32;
  char *grown = realloc(*text, room);
  if (grown) {
    *text = grown;
    *length += (size_t)snprintf(grown + *length, room - *length, "#line 1 \"%s\"\n", name);
    memcpy(grown + *length, body, body_length);
    *length += body_length;
    grown[(*length)++] = '\n';
    grown[*length] = 0;
  }
  free(read);
  return grown ? HEED_OK : heed__fail(HEED_OUT_OF_MEMORY, "kernel file %s: no host memory for its text", name);
}

heed_status heed__source_join(const char *dir, const char *file, char **text, size_t *length) {
  *text = NULL;
  *length = 0;
  heed_status status = append(dir, "common.cl", text, length);
  if (status == HEED_OK) status = append(dir, file, text, length);
  if (status != HEED_OK) {
    free(*text);
    *text = NULL;
  }
  return status;
}
