// Files that steer what runs on a device: only those that the user alone (or root) can write are trusted. What is in them is the
// caller's matter: compiled programs, tuned choices.
#ifndef HEED__PRIVATE_FILES_H
#define HEED__PRIVATE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

bool heed__private_only_ours(const struct stat *info);
// Makes the folder and its parents, for the user alone. Whether that worked shows when the folder is opened.
void heed__private_make_folders(const char *dir);
// A descriptor of the folder, or -1 when it is not there, is a symbolic link, or someone else may write to it.
int heed__private_open_folder(const char *dir);
// A new file in the folder for the user alone, under a name that no other process or thread uses: prefix and some numbers. -1 with
// errno.
int heed__private_open_temporary(int folder, const char *prefix, char *name, size_t size);
bool heed__private_read(int file, void *data, size_t bytes);  // all of them, or false
bool heed__private_write(int file, const void *data, size_t bytes);

#endif
