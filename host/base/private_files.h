// Files that heed keeps for itself, and that may decide what runs on a device: it trusts only those that nobody but the user (or root)
// can write. Callers know what is in them: compiled programs, tuned choices, tokens.
#ifndef HEED__PRIVATE_FILES_H
#define HEED__PRIVATE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/status.h"

bool heed__private_only_ours(const struct stat *info);
// Makes the folder and its parents, for the user only. Opening the folder shows whether that worked.
void heed__private_make_folders(const char *dir);
// The same for the folders above a file. Errors: OUT_OF_MEMORY.
heed_status heed__private_make_parents(const char *path);
// Returns a descriptor of the folder, or -1 if it does not exist, is a symbolic link, or can be written by someone else.
int heed__private_open_folder(const char *dir);
bool heed__private_read(int file, void *data, size_t bytes);  // false unless it reads all of them

#endif
