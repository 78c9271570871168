// Asks the file system who may have written a file or a folder: owner and mode, without following links. base/atomic_file.c writes files,
// and their readers know what they mean.
#include "base/private_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool heed__private_only_ours(const struct stat *info) {
  return info->st_uid == geteuid() && !(info->st_mode & (S_IWGRP | S_IWOTH));
}

void heed__private_make_folders(const char *dir) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s", dir) >= sizeof path) return;
#ifdef _WIN32
  for (char *c = path; *c; ++c)
    if (*c == '\\') *c = '/';
#endif
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
  mkdir(path, 0700);
}

heed_status heed__private_make_parents(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash || slash == path) return HEED_OK;
  char *folder = strndup(path, (size_t)(slash - path));
  HEED__REQUIRE(folder, HEED_ERROR_OUT_OF_MEMORY, "%s: no host memory to write it", path);
  heed__private_make_folders(folder);
  free(folder);
  return HEED_OK;
}

int heed__private_open_folder(const char *dir) {
  const int folder = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat info;
  if (folder >= 0 && fstat(folder, &info) == 0 && heed__private_only_ours(&info)) return folder;
  if (folder >= 0) close(folder);
  return -1;
}

bool heed__private_read(int file, void *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t got = read(file, (char *)data + done, bytes - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (size_t)got;
  }
  return true;
}
