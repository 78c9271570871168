// Files that steer what runs on a device: only those that the user alone (or root) can write are trusted. What is in them is the
// caller's matter: compiled programs, tuned choices.
#ifndef HEED__PRIVATE_FILES_H
#define HEED__PRIVATE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/status.h"

bool heed__private_only_ours(const struct stat *info);
// Makes the folder and its parents, for the user alone. Whether that worked shows when the folder is opened.
void heed__private_make_folders(const char *dir);
// The same for the folders above a file. Errors: OUT_OF_MEMORY.
heed_status heed__private_make_parents(const char *path);
// A descriptor of the folder, or -1 when it is not there, is a symbolic link, or someone else may write to it.
int heed__private_open_folder(const char *dir);
bool heed__private_read(int file, void *data, size_t bytes);  // all of them, or false

#endif
