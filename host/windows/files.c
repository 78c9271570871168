// heed's POSIX on Windows: files and folders. streams.c has the rest.
#include <windows.h>

#include <stdarg.h>
#include <stdint.h>

enum { PATH_ROOM = 4096 };

// ---------------------------------------------------------------- errors

static int fail(int error) {
  errno = error;
  return -1;
}

int heed__windows_failed(void) {
  static const struct {
    DWORD code;
    int error;
  } known[] = {{ERROR_FILE_NOT_FOUND, ENOENT},    {ERROR_PATH_NOT_FOUND, ENOENT},
               {ERROR_INVALID_NAME, ENOENT},      {ERROR_BAD_NETPATH, ENOENT},
               {ERROR_ACCESS_DENIED, EACCES},     {ERROR_SHARING_VIOLATION, EACCES},
               {ERROR_FILE_EXISTS, EEXIST},       {ERROR_ALREADY_EXISTS, EEXIST},
               {ERROR_DISK_FULL, ENOSPC},         {ERROR_HANDLE_DISK_FULL, ENOSPC},
               {ERROR_NOT_ENOUGH_MEMORY, ENOMEM}, {ERROR_OUTOFMEMORY, ENOMEM},
               {ERROR_COMMITMENT_LIMIT, ENOMEM},  {ERROR_TOO_MANY_OPEN_FILES, EMFILE},
               {ERROR_WRITE_PROTECT, EROFS},      {ERROR_FILENAME_EXCED_RANGE, ENAMETOOLONG},
               {ERROR_INVALID_HANDLE, EBADF},     {ERROR_LOCK_VIOLATION, EWOULDBLOCK}};
  const DWORD code = GetLastError();
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
    if (known[i].code == code) return fail(known[i].error);
  return fail(EIO);
}

static HANDLE handle_of(int file) { return (HANDLE)_get_osfhandle(file); }

// ---------------------------------------------------------------- paths

// The path of `name` in the folder; false if it does not fit, or if there is no such folder.
static bool path_in(int folder, const char *name, char path[PATH_ROOM]) {
  const bool absolute = name[0] == '/' || name[0] == '\\' || (name[0] && name[1] == ':');
  size_t used = 0;
  if (folder != AT_FDCWD && !absolute) {
    used = GetFinalPathNameByHandleA(handle_of(folder), path, PATH_ROOM, FILE_NAME_NORMALIZED);
    if (used == 0) return heed__windows_failed() == 0;
    if (used < PATH_ROOM) path[used++] = '\\';
  }
  const size_t length = strlen(name);
  if (used + length >= PATH_ROOM) return fail(ENAMETOOLONG) == 0;
  memcpy(path + used, name, length + 1);
  // Behind GetFinalPathNameByHandle's "\\?\" a '/' is no separator.
  for (char *c = path + used; used > 0 && *c; ++c)
    if (*c == '/') *c = '\\';
  return true;
}

char *heed__last_separator(const char *path) {
  const char *slash = (strrchr)(path, '/'), *other = (strrchr)(path, '\\');
  return (char *)(!slash || (other && other > slash) ? other : slash);
}

// ---------------------------------------------------------------- opening

static bool is_link(HANDLE handle) {
  FILE_ATTRIBUTE_TAG_INFO tag;
  return GetFileInformationByHandleEx(handle, FileAttributeTagInfo, &tag, sizeof tag) &&
         (tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) &&
         (tag.ReparseTag == IO_REPARSE_TAG_SYMLINK || tag.ReparseTag == IO_REPARSE_TAG_MOUNT_POINT);
}

// Makes a descriptor, unless the file is not what the flags ask for.
static int adopt(HANDLE handle, int flags) {
  BY_HANDLE_FILE_INFORMATION info = {0};
  int error = 0;
  if ((flags & O_NOFOLLOW) && is_link(handle)) error = ELOOP;
  if (!error && (flags & O_DIRECTORY) &&
      !(GetFileInformationByHandle(handle, &info) && (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)))
    error = ENOTDIR;
  const int writes = flags & (O_WRONLY | O_RDWR);
  const int file = error ? -1
                         : _open_osfhandle((intptr_t)handle,
                                           _O_BINARY | _O_NOINHERIT | (writes ? 0 : _O_RDONLY) | (flags & O_APPEND));
  if (file >= 0) return file;
  if (!error) error = errno;
  CloseHandle(handle);
  return fail(error);
}

static int open_path(const char *path, int flags, int mode) {
  const int writes = flags & (O_WRONLY | O_RDWR);
  const DWORD wanted = (writes != O_WRONLY ? GENERIC_READ : 0) | (writes ? GENERIC_WRITE : 0);
  const DWORD shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  const DWORD how = flags & O_CREAT ? (flags & O_EXCL    ? CREATE_NEW
                                       : flags & O_TRUNC ? CREATE_ALWAYS
                                                         : OPEN_ALWAYS)
                                    : (flags & O_TRUNC ? TRUNCATE_EXISTING : OPEN_EXISTING);
  DWORD kind = mode & 0200 || !(flags & O_CREAT) ? FILE_ATTRIBUTE_NORMAL : FILE_ATTRIBUTE_READONLY;
  if (!writes) kind |= FILE_FLAG_BACKUP_SEMANTICS;  // folders, too
  if (flags & O_NOFOLLOW) kind |= FILE_FLAG_OPEN_REPARSE_POINT;
  if (flags & O_TMPFILE) kind |= FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE;
  const HANDLE handle = CreateFileA(path, wanted | (flags & O_TMPFILE ? DELETE : 0), shared, NULL, how, kind, NULL);
  return handle == INVALID_HANDLE_VALUE ? heed__windows_failed() : adopt(handle, flags);
}

// O_TMPFILE: a file in the folder that is gone when it is closed.
static int open_temporary(const char *folder) {
  char path[PATH_ROOM];
  static volatile LONG number;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const unsigned long tag =
        GetTickCount() ^ (GetCurrentProcessId() << 8) ^ (unsigned long)InterlockedIncrement(&number) << 20;
    if (snprintf(path, sizeof path, "%s/heed-%08lx.tmp", folder, tag) >= (int)sizeof path) return fail(ENAMETOOLONG);
    const int file = open_path(path, O_RDWR | O_CREAT | O_EXCL | O_TMPFILE, 0600);
    if (file >= 0 || errno != EEXIST) return file;
  }
  return -1;
}

int heed__openat(int folder, const char *name, int flags, ...) {
  char path[PATH_ROOM];
  va_list more;
  va_start(more, flags);
  const int mode = flags & O_CREAT ? va_arg(more, int) : 0;
  va_end(more);
  if (!path_in(folder, name, path)) return -1;
  return flags & O_TMPFILE ? open_temporary(path) : open_path(path, flags, mode);
}

int heed__open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;
  va_end(more);
  return heed__openat(AT_FDCWD, path, flags, mode);
}

// ---------------------------------------------------------------- what is open

int heed__fcntl(int file, int command, int from) {
  return command == F_DUPFD_CLOEXEC && from == 0 ? _dup(file) : fail(EINVAL);
}

int heed__fsync(int file) {
  BY_HANDLE_FILE_INFORMATION info;
  // A folder cannot be flushed; renames are written through.
  if (GetFileInformationByHandle(handle_of(file), &info) && (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY))
    return 0;
  if (GetFileType(handle_of(file)) != FILE_TYPE_DISK) return fail(EINVAL);
  return _commit(file);
}

int heed__fchmod(int file, int mode) {
  FILE_BASIC_INFO info;
  if (!GetFileInformationByHandleEx(handle_of(file), FileBasicInfo, &info, sizeof info)) return heed__windows_failed();
  const DWORD changed = mode & 0200 ? info.FileAttributes & ~(DWORD)FILE_ATTRIBUTE_READONLY
                                    : info.FileAttributes | FILE_ATTRIBUTE_READONLY;
  if (changed == info.FileAttributes) return 0;
  info.FileAttributes = changed ? changed : FILE_ATTRIBUTE_NORMAL;
  return SetFileInformationByHandle(handle_of(file), FileBasicInfo, &info, sizeof info) ? 0 : heed__windows_failed();
}

// The descriptor is for reading, and times are written: the file is opened once more.
int heed__futimens(int file, const struct timespec times[2]) {
  FILETIME now;
  (void)times;
  const HANDLE again =
      ReOpenFile(handle_of(file), FILE_WRITE_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, 0);
  if (again == INVALID_HANDLE_VALUE) return heed__windows_failed();
  GetSystemTimeAsFileTime(&now);
  const bool done = SetFileTime(again, NULL, &now, &now);
  const int status = done ? 0 : heed__windows_failed();
  CloseHandle(again);
  return status;
}

ssize_t heed__pread(int file, void *data, size_t bytes, off_t offset) {
  // ReadFile() moves the file's position, and pread() does not.
  const int64_t position = _telli64(file);
  OVERLAPPED at = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)((uint64_t)offset >> 32)};
  DWORD got = 0;
  const bool read = ReadFile(handle_of(file), data, (DWORD)(bytes < 1u << 30 ? bytes : 1u << 30), &got, &at);
  const bool ended = !read && GetLastError() == ERROR_HANDLE_EOF;
  if (!read && !ended) heed__windows_failed();
  if (position >= 0) _lseeki64(file, position, SEEK_SET);
  return read ? (ssize_t)got : ended ? 0 : -1;
}

// ---------------------------------------------------------------- what lies on disk

static void convert_time(const FILETIME *from, struct timespec *to) {
  const int64_t ticks = ((int64_t)from->dwHighDateTime << 32 | from->dwLowDateTime) - INT64_C(116444736000000000);
  *to = (struct timespec){.tv_sec = ticks / 10000000, .tv_nsec = (long)(ticks % 10000000 * 100)};
}

static int describe(HANDLE handle, struct heed__stat *info) {
  BY_HANDLE_FILE_INFORMATION from;
  *info = (struct heed__stat){0};
  const DWORD type = GetFileType(handle);
  if (type == FILE_TYPE_CHAR || type == FILE_TYPE_PIPE) {
    info->st_mode = 0644 | (type == FILE_TYPE_CHAR ? S_IFCHR : S_IFIFO);
    return 0;
  }
  if (!GetFileInformationByHandle(handle, &from)) return heed__windows_failed();
  const bool folder = from.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY;
  info->st_mode = (folder ? S_IFDIR | 0755 : S_IFREG | 0644) &
                  (from.dwFileAttributes & FILE_ATTRIBUTE_READONLY && !folder ? ~0222u : ~0u);
  info->st_dev = from.dwVolumeSerialNumber;
  info->st_ino = (uint64_t)from.nFileIndexHigh << 32 | from.nFileIndexLow;
  info->st_size = (int64_t)from.nFileSizeHigh << 32 | from.nFileSizeLow;
  convert_time(&from.ftLastWriteTime, &info->st_mtim);
  return 0;
}

int heed__fstat(int file, struct heed__stat *info) { return describe(handle_of(file), info); }

int heed__fstatat(int folder, const char *name, struct heed__stat *info, int flags) {
  char path[PATH_ROOM];
  if (!path_in(folder, name, path)) return -1;
  const bool no_follow = flags & AT_SYMLINK_NOFOLLOW;
  const HANDLE handle =
      CreateFileA(path, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                  OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | (no_follow ? FILE_FLAG_OPEN_REPARSE_POINT : 0), NULL);
  if (handle == INVALID_HANDLE_VALUE) return heed__windows_failed();
  const int status = describe(handle, info);
  if (status == 0 && no_follow && is_link(handle)) info->st_mode = S_IFLNK | 0777;
  CloseHandle(handle);
  return status;
}

int heed__stat(const char *path, struct heed__stat *info) { return heed__fstatat(AT_FDCWD, path, info, 0); }
int heed__lstat(const char *path, struct heed__stat *info) {
  return heed__fstatat(AT_FDCWD, path, info, AT_SYMLINK_NOFOLLOW);
}

// The end of the whole chain at once.
ssize_t heed__readlink(const char *path, char *target, size_t size) {
  const HANDLE handle = CreateFileA(path, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                    NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
  if (handle == INVALID_HANDLE_VALUE) return heed__windows_failed();
  const DWORD length = GetFinalPathNameByHandleA(handle, target, (DWORD)size, FILE_NAME_NORMALIZED);
  const int failed = length == 0 ? heed__windows_failed() : length >= size ? fail(ENAMETOOLONG) : 0;
  CloseHandle(handle);
  return failed ? -1 : (ssize_t)length;
}

// As POSIX has it, over a file that is open, too: Windows 10 can, on its own file systems.
static bool replace_open(const char *old, const char *new) {
  enum { REPLACE = 1, POSIX_SEMANTICS = 2 };
  const FILE_INFO_BY_HANDLE_CLASS rename_info_ex = (FILE_INFO_BY_HANDLE_CLASS)22;
  struct {
    DWORD flags;
    HANDLE root;
    DWORD bytes;
    WCHAR name[PATH_ROOM];
  } to = {.flags = REPLACE | POSIX_SEMANTICS};
  const int length = MultiByteToWideChar(CP_ACP, 0, new, -1, to.name, PATH_ROOM);
  const HANDLE handle =
      CreateFileA(old, DELETE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
  if (handle == INVALID_HANDLE_VALUE) return false;
  to.bytes = (DWORD)((size_t)(length > 0 ? length - 1 : 0) * sizeof *to.name);
  const bool done = length > 0 && SetFileInformationByHandle(handle, rename_info_ex, &to, sizeof to);
  CloseHandle(handle);
  return done;
}

// In three steps, where it cannot be in one: a crash between them leaves the old file under the name that it got.
static bool replace_aside(const char *old, const char *new) {
  char aside[PATH_ROOM];
  const char *slash = heed__last_separator(new);
  const int folder = slash ? (int)(slash + 1 - new) : 0;
  const unsigned long tag = GetTickCount() ^ (GetCurrentProcessId() << 8);
  if (snprintf(aside, sizeof aside, "%.*s.heed-%08lx.tmp", folder, new, tag) >= (int)sizeof aside) return false;
  if (!MoveFileExA(new, aside, 0)) return false;
  if (!MoveFileExA(old, new, MOVEFILE_WRITE_THROUGH)) {
    MoveFileExA(aside, new, 0);
    return false;
  }
  DeleteFileA(aside);  // goes when it is closed
  return true;
}

int heed__renameat(int from_folder, const char *from, int to_folder, const char *to) {
  char old[PATH_ROOM], new[PATH_ROOM];
  if (!path_in(from_folder, from, old) || !path_in(to_folder, to, new)) return -1;
  if (MoveFileExA(old, new, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) return 0;
  const int failed = heed__windows_failed(), error = errno;
  if (error == EACCES && (replace_open(old, new) || replace_aside(old, new))) return 0;
  errno = error;
  return failed;
}

int heed__unlinkat(int folder, const char *name, int flags) {
  char path[PATH_ROOM];
  (void)flags;
  return path_in(folder, name, path) && DeleteFileA(path) ? 0 : heed__windows_failed();
}

int heed__access(const char *path, int mode) { return _access(path, mode & (R_OK | W_OK)); }

int heed__faccessat(int folder, const char *name, int mode, int flags) {
  char path[PATH_ROOM];
  (void)flags;
  return path_in(folder, name, path) ? heed__access(path, mode) : -1;
}

// ---------------------------------------------------------------- folders

DIR *heed__fdopendir(int folder) {
  char path[PATH_ROOM];
  DIR *stream = path_in(folder, "", path) ? opendir(path) : NULL;
  if (stream) _close(folder);
  return stream;
}

int heed__alphasort(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void forget(struct dirent **entries, int count) {
  while (count > 0) free(entries[--count]);
  free(entries);
}

int heed__scandir(const char *path, struct dirent ***entries, int (*wanted)(const struct dirent *),
                  int (*order)(const struct dirent **, const struct dirent **)) {
  DIR *stream = opendir(path);
  struct dirent **list = NULL;
  int count = 0;
  if (!stream) return -1;
  for (struct dirent *entry; (entry = readdir(stream));) {
    if (wanted && !wanted(entry)) continue;
    struct dirent **grown = realloc(list, (size_t)(count + 1) * sizeof *list);
    if (grown) list = grown;
    struct dirent *copy = grown ? malloc(sizeof *copy) : NULL;
    if (!copy) {
      forget(list, count);
      closedir(stream);
      return fail(ENOMEM);
    }
    *copy = *entry;
    list[count++] = copy;
  }
  closedir(stream);
  if (count > 0 && order) qsort(list, (size_t)count, sizeof *list, (int (*)(const void *, const void *))(void *)order);
  *entries = list;
  return count;
}

// ---------------------------------------------------------------- room on the disk

int heed__fstatvfs(int folder, struct statvfs *disk) {
  char path[PATH_ROOM];
  return path_in(folder, "", path) ? heed__statvfs(path, disk) : -1;
}

int(heed__statvfs)(const char *path, struct statvfs *disk) {
  ULARGE_INTEGER available;
  if (!GetDiskFreeSpaceExA(path, &available, NULL, NULL)) return heed__windows_failed();
  *disk = (struct statvfs){.f_bavail = available.QuadPart, .f_frsize = 1};
  return 0;
}

// ---------------------------------------------------------------- locks

// A folder cannot be locked. Its lock is a mutex that is named after it, and held while it exists: until the descriptor is closed, or the
// process ends.
enum { MOST_LOCKS = 16 };
static struct {
  HANDLE mutex;
  int file;
} locks[MOST_LOCKS];
static SRWLOCK locks_guard = SRWLOCK_INIT;

static int keep_lock(int file, HANDLE mutex) {
  int kept = 0;
  AcquireSRWLockExclusive(&locks_guard);
  while (kept < MOST_LOCKS && locks[kept].mutex) ++kept;
  if (kept < MOST_LOCKS) {
    locks[kept].mutex = mutex;
    locks[kept].file = file;
  }
  ReleaseSRWLockExclusive(&locks_guard);
  return kept < MOST_LOCKS ? 0 : fail(ENOLCK);
}

// operation: always exclusive, and without waiting.
int heed__flock(int file, int operation) {
  struct heed__stat info;
  char name[64];
  if (operation != (LOCK_EX | LOCK_NB)) return fail(EINVAL);
  if (heed__fstat(file, &info) != 0) return -1;
  snprintf(name, sizeof name, "Global\\heed-%llx-%llx", (unsigned long long)info.st_dev,
           (unsigned long long)info.st_ino);
  const HANDLE mutex = CreateMutexA(NULL, FALSE, name);
  if (!mutex) return heed__windows_failed();
  const int status = GetLastError() == ERROR_ALREADY_EXISTS ? fail(EWOULDBLOCK) : keep_lock(file, mutex);
  if (status != 0) CloseHandle(mutex);
  return status;
}

int heed__close(int file) {
  AcquireSRWLockExclusive(&locks_guard);
  for (int i = 0; i < MOST_LOCKS; ++i) {
    if (!locks[i].mutex || locks[i].file != file) continue;
    CloseHandle(locks[i].mutex);
    locks[i].mutex = NULL;
  }
  ReleaseSRWLockExclusive(&locks_guard);
  return _close(file);
}
