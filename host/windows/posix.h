// What heed calls of POSIX and MinGW lacks, for Windows. CMakeLists.txt has the compiler include this file first in every source, and
// stands empty files in for POSIX's headers of which Windows has none; no other file knows. Only what heed asks of a call is there.
//
// Paths are in the process's code page, which is UTF-8 in the program (tools/windows/heed.manifest). Files open without translation of line
// ends, may be renamed and deleted while they are open, and are not inherited.
#ifndef HEED__POSIX_H
#define HEED__POSIX_H

#define tell heed__windows_tell  // a name of io.h that is too short to give away
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#undef tell

// ---------------------------------------------------------------- what is open

#define O_CLOEXEC 0  // nothing is inherited
#define O_NONBLOCK 0
#define O_DIRECTORY 0x01000000
#define O_NOFOLLOW 0x02000000
#define O_TMPFILE 0x04000000
#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 1
#define AT_EACCESS 2
#define F_DUPFD_CLOEXEC 1
#define LOCK_EX 1
#define LOCK_NB 2

// A descriptor of a folder has its handle, so that openat() and its kin find its path.
int heed__open(const char *path, int flags, ...);
int heed__openat(int folder, const char *name, int flags, ...);
int heed__fcntl(int file, int command, int from);
int heed__fsync(int file);
int heed__fchmod(int file, int mode);
int heed__futimens(int file, const struct timespec times[2]);  // to now
int heed__flock(int file, int operation);                      // of a folder
int heed__close(int file);
ssize_t heed__pread(int file, void *data, size_t bytes, off_t offset);
int heed__isatty(int file);
// Counts that a call of Windows' own cannot take are cut, as POSIX allows.
static inline ssize_t heed__read(int file, void *data, size_t bytes) {
  return _read(file, data, bytes < 1u << 30 ? (unsigned)bytes : 1u << 30);
}
static inline ssize_t heed__write(int file, const void *data, size_t bytes) {
  return _write(file, data, bytes < 1u << 30 ? (unsigned)bytes : 1u << 30);
}
#define read heed__read
#define write heed__write
#define mkostemp(name, flags) mkstemp(name)
#define open heed__open
#define openat heed__openat
#define fcntl heed__fcntl
#define fsync heed__fsync
#define fchmod heed__fchmod
#define futimens heed__futimens
#define flock heed__flock
#define close heed__close
#define pread heed__pread
#define isatty heed__isatty

struct winsize {
  unsigned short ws_col;
};
#define TIOCGWINSZ 1
int heed__ioctl(int file, int request, struct winsize *window);
#define ioctl heed__ioctl

#define PROT_READ 1
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_FAILED ((void *)-1)
void *heed__mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int heed__munmap(void *map, size_t bytes);
#define mmap heed__mmap
#define munmap heed__munmap
#define MADV_SEQUENTIAL 0
static inline int madvise(void *map, size_t bytes, int advice) { return (void)map, (void)bytes, (void)advice, 0; }

// ---------------------------------------------------------------- what lies on disk

// Windows keeps permissions in lists that mode bits cannot show: everything is the user's own, and others cannot write to it. What heed
// keeps lies below the user's profile, where that is so.
struct heed__stat {
  unsigned st_mode;
  int st_uid;
  uint64_t st_dev, st_ino;
  int64_t st_size;
  struct timespec st_mtim;
};
#undef stat
#define stat heed__stat  // the structure and the function
#define st_mtime st_mtim.tv_sec
#undef fstat
#define fstat heed__fstat
#define lstat heed__lstat
#define fstatat heed__fstatat
#define S_IFLNK 0xA000
#define S_ISLNK(mode) (((mode)&S_IFMT) == S_IFLNK)
int heed__stat(const char *path, struct heed__stat *info);
int heed__fstat(int file, struct heed__stat *info);
int heed__lstat(const char *path, struct heed__stat *info);
int heed__fstatat(int folder, const char *name, struct heed__stat *info, int flags);
ssize_t heed__readlink(const char *path, char *target, size_t size);
int heed__renameat(int from_folder, const char *from, int to_folder, const char *to);
int heed__unlinkat(int folder, const char *name, int flags);
int heed__access(const char *path, int mode);
int heed__faccessat(int folder, const char *name, int mode, int flags);
DIR *heed__fdopendir(int folder);
int heed__scandir(const char *path, struct dirent ***entries, int (*wanted)(const struct dirent *),
                  int (*order)(const struct dirent **, const struct dirent **));
int heed__alphasort(const struct dirent **a, const struct dirent **b);
#define readlink heed__readlink
#define rename(from, to) heed__renameat(AT_FDCWD, from, AT_FDCWD, to)  // over an existing file, too
#define renameat heed__renameat
#define unlinkat heed__unlinkat
#define access heed__access
#define faccessat heed__faccessat
#define mkdir(path, mode) mkdir(path)
#define fdopendir heed__fdopendir
#define scandir heed__scandir
#define alphasort heed__alphasort
#define geteuid() 0

struct statvfs {
  uint64_t f_bavail, f_frsize;
};
int heed__statvfs(const char *path, struct statvfs *disk);
int heed__fstatvfs(int folder, struct statvfs *disk);
#define statvfs(path, disk) heed__statvfs(path, disk)
#define fstatvfs heed__fstatvfs

// ---------------------------------------------------------------- streams

FILE *heed__fopen(const char *path, const char *mode);  // in binary
FILE *heed__tmpfile(void);
// The text is there after fflush() and fclose(), as POSIX has it.
FILE *heed__open_memstream(char **text, size_t *length);
int heed__fflush(FILE *stream);
int heed__fclose(FILE *stream);
ssize_t heed__getline(char **line, size_t *room, FILE *stream);
#define fopen heed__fopen
#define tmpfile heed__tmpfile
#define open_memstream heed__open_memstream
#define fflush heed__fflush
#define fclose heed__fclose
#define getline heed__getline

// ---------------------------------------------------------------- texts, memory, the machine

// heed looks for '/' in paths alone; there a '\' separates, too.
char *heed__last_separator(const char *path);
#define strrchr(text, c) ((c) == '/' ? heed__last_separator(text) : (strrchr)(text, c))
char *heed__strndup(const char *text, size_t most);
char *heed__strsep(char **rest, const char *separators);
char *heed__strcasestr(const char *text, const char *piece);
void *heed__memmem(const void *data, size_t bytes, const void *piece, size_t piece_bytes);
void *heed__reallocarray(void *array, size_t count, size_t size);
int heed__posix_memalign(void **data, size_t alignment, size_t bytes);  // up to malloc()'s own alignment
#define strndup heed__strndup
#define strsep heed__strsep
#define strcasestr heed__strcasestr
#define memmem heed__memmem
#define reallocarray heed__reallocarray
#define posix_memalign heed__posix_memalign
#define setenv(name, value, overwrite) _putenv_s(name, value)

#define _SC_NPROCESSORS_ONLN 1
#define _SC_PHYS_PAGES 2
#define _SC_PAGESIZE 3
long heed__sysconf(int name);
#define sysconf heed__sysconf

#define SA_RESETHAND 0  // signal() does so
struct sigaction {
  void (*sa_handler)(int);
  int sa_flags;
};
int heed__sigaction(int number, const struct sigaction *action, struct sigaction *before);
#define sigaction(number, action, before) heed__sigaction(number, action, before)

#endif
