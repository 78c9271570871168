#include "cl/runtime/private_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool heed__private_only_ours(const struct stat *info) {
  return info->st_uid == geteuid() && !(info->st_mode & (S_IWGRP | S_IWOTH));
}

void heed__private_make_folders(const char *dir) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s", dir) >= sizeof path) return;
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
  mkdir(path, 0700);
}

int heed__private_open_folder(const char *dir) {
  const int folder = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat info;
  if (folder >= 0 && fstat(folder, &info) == 0 && heed__private_only_ours(&info)) return folder;
  if (folder >= 0) close(folder);
  return -1;
}

int heed__private_open_temporary(int folder, const char *prefix, char *name, size_t size) {
  for (int attempt = 0; attempt < 16; ++attempt) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, size, "%s%ld-%lld-%ld-%d", prefix, (long)getpid(), (long long)now.tv_sec, now.tv_nsec, attempt);
    const int file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file >= 0 || errno != EEXIST) return file;
  }
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

bool heed__private_write(int file, const void *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t put = write(file, (const char *)data + done, bytes - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    done += (size_t)put;
  }
  return true;
}
