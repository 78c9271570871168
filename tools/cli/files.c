#include "cli/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool tool_is_dash(const char *path) { return path && strcmp(path, "-") == 0; }
const char *tool_input_name(const char *path) { return tool_is_dash(path) ? "standard input" : path; }

int tool_read_tensors(const char *command, const char *path, heed_safetensors **out) {
  TOOL_HEED(command, tool_is_dash(path) ? heed_safetensors_read_fd(STDIN_FILENO, tool_input_name(path), out)
                                        : heed_safetensors_read(path, out));
  return TOOL_DONE;
}

int tool_open_store(const char *command, const char *path, heed_store **out) {
  TOOL_HEED(command, tool_is_dash(path) ? heed_store_open_fd(STDIN_FILENO, tool_input_name(path), out)
                                        : heed_store_open(path, out));
  return TOOL_DONE;
}

int tool_write_tensors(const char *command, const char *path, const heed_safetensors *file) {
  if (tool_is_dash(path)) TOOL_TRY(tool_flush(command, TOOL_DONE));
  TOOL_HEED(command, tool_is_dash(path) ? heed_safetensors_write_fd(file, STDOUT_FILENO, "standard output")
                                        : heed_safetensors_write(file, path));
  return TOOL_DONE;
}

static int read_stream(const char *command, const char *what, const char *name, FILE *stream, char **text,
                       size_t *bytes) {
  for (size_t room = 0;;) {
    if (*bytes + 1 >= room) {
      room = 2 * room + (1 << 16);
      char *grown = realloc(*text, room);
      if (!grown) return tool_fail(command, "no memory to read %s%s", what, name);
      *text = grown;
    }
    const size_t got = fread(*text + *bytes, 1, room - *bytes - 1, stream);
    if (ferror(stream)) return tool_fail(command, "%s%s: %s", what, name, strerror(errno));
    *bytes += got;
    (*text)[*bytes] = '\0';
    if (got == 0) return TOOL_DONE;
  }
}

int tool_read_text(const char *command, const char *what, const char *path, char **text, size_t *bytes) {
  FILE *stream = tool_is_dash(path) ? stdin : fopen(path, "rb");
  *text = NULL;
  *bytes = 0;
  if (!stream) return tool_fail(command, "%s%s: %s", what, path, strerror(errno));
  const int status = read_stream(command, what, tool_input_name(path), stream, text, bytes);
  if (stream != stdin) fclose(stream);
  return status;
}

// Tries to make a file in the folder; access() would not tell what a file system refuses to root. Returns 0 or an errno.
static int try_folder(const char *folder) {
  char *path = NULL;
  if (asprintf(&path, "%s/.heed-XXXXXX", folder) < 0) return ENOMEM;
  const int file = mkstemp(path), error = file < 0 ? errno : 0;
  if (file >= 0) {
    close(file);
    unlink(path);
  }
  free(path);
  return error;
}

// Returns 0, or the errno that a new file at `path` would meet, which is cut up to the nearest folder that exists if the missing ones will
// be made.
static int folder_error(char *path, bool make_folders) {
  for (;;) {
    struct stat info;
    char *slash = strrchr(path, '/');
    if (!slash) return try_folder(".");
    if (slash == path) return try_folder("/");
    *slash = '\0';
    if (stat(path, &info) == 0) return S_ISDIR(info.st_mode) ? try_folder(path) : ENOTDIR;
    if (errno != ENOENT || !make_folders) return errno;
  }
}

int tool_check_target(const char *command, const char *what, const char *path, bool make_folders, bool binary) {
  struct stat info;
  if (tool_is_dash(path))
    return binary && isatty(STDOUT_FILENO) == 1
               ? tool_usage(command, "%s -: standard output is a terminal; redirect it to a file or a program", what)
               : TOOL_DONE;
  const bool exists = stat(path, &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return tool_fail(command, "%s %s: is a folder", what, path);
  // rename() only checks the folder's permissions, but a user who write-protects a file does not want it replaced.
  if (exists && access(path, W_OK) != 0)
    return tool_fail(command, "%s %s: cannot write: %s", what, path, strerror(errno));
  if (exists && !S_ISREG(info.st_mode)) return TOOL_DONE;  // written in place
  char *folder = strdup(path);
  if (!folder) return tool_fail(command, "out of memory");
  const int error = folder_error(folder, make_folders);
  free(folder);
  return error ? tool_fail(command, "%s %s: cannot write into its folder: %s", what, path, strerror(error)) : TOOL_DONE;
}

static int copy(FILE *to) {
  char bytes[1 << 16];
  for (size_t count; (count = fread(bytes, 1, sizeof bytes, stdin)) > 0;)
    if (fwrite(bytes, 1, count, to) != count) return errno;
  if (ferror(stdin)) return errno ? errno : EIO;
  return fflush(to) == 0 ? 0 : errno;
}

int tool_copy_input(const char *command, char path[TOOL_COPY_PATH]) {
  const char *folder = getenv("TMPDIR");
  snprintf(path, TOOL_COPY_PATH, "%s/heed-XXXXXX", folder && *folder ? folder : "/tmp");
  const int file = mkstemp(path);
  FILE *to = file < 0 ? NULL : fdopen(file, "w");
  if (!to) return tool_fail(command, "%s: cannot make a temporary file: %s", path, strerror(errno));
  const int error = copy(to);
  fclose(to);
  if (!error) return TOOL_DONE;
  unlink(path);
  return tool_fail(command, "cannot copy standard input to %s: %s", path, strerror(error));
}

int tool_fail_copied(const char *command, const char *copy) {
  const char *message = heed_last_error(), *found = copy && *copy ? strstr(message, copy) : NULL;
  if (!found) return tool_fail(command, "%s", message);
  return tool_fail(command, "%.*s%s%s", (int)(found - message), message, tool_input_name("-"), found + strlen(copy));
}
