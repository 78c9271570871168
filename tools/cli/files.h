// Files that a subcommand reads and writes. "-" is standard input or standard output.
#ifndef HEED_TOOL_FILES_H
#define HEED_TOOL_FILES_H

#include <heed/io.h>

#include "cli/tool.h"

bool tool_is_dash(const char *path);  // false for NULL
// What messages call the file.
const char *tool_input_name(const char *path);
int tool_read_tensors(const char *command, const char *path, heed_safetensors **out);
int tool_open_store(const char *command, const char *path, heed_store **out);
int tool_write_tensors(const char *command, const char *path, const heed_safetensors *file);
// Reads a whole file, or standard input. A zero byte follows the text, which `bytes` does not count. `what` stands before the path in
// messages, "--prompt-file ". The caller frees *text in any case.
int tool_read_text(const char *command, const char *what, const char *path, char **text, size_t *bytes);
// Checks that `path` can be written, so that no work is done in vain; `what` stands before it in the message. With `make_folders` the
// writer makes folders that are missing. Refuses a terminal for "-" if the file is `binary`.
int tool_check_target(const char *command, const char *what, const char *path, bool make_folders, bool binary);
// Replaces the file at `path` once the new one is complete and on disk. What is no regular file, as /dev/stdout or a link, stays and is
// written to. Returns 0, or an errno.
int tool_replace_file(const char *path, const char *bytes, size_t count);
// Copies standard input to a new file, for what reads only files that have a path, and writes its name; unlink() it.
enum { TOOL_COPY_PATH = 512 };
int tool_copy_input(const char *command, char path[TOOL_COPY_PATH]);
// Says heed's last error, in which the copy is standard input; NULL: there is none.
int tool_fail_copied(const char *command, const char *copy);

#endif
