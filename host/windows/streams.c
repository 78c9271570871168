// heed's POSIX on Windows: streams, memory maps, texts and the machine. files.c has files and folders.
#include <ctype.h>
#include <limits.h>
#include <windows.h>

// As in files.c: sets errno from Windows' error, and returns -1.
int heed__windows_failed(void);

#undef fflush
#undef fclose
#undef fopen
#undef strrchr

// ---------------------------------------------------------------- streams

FILE *heed__fopen(const char *path, const char *mode) {
  char binary[8];
  size_t used = 0;
  for (const char *c = mode; *c && used < sizeof binary - 2; ++c)
    if (*c != 'e' && *c != 'b') binary[used++] = *c;  // nothing is inherited
  binary[used] = 'b';
  binary[used + 1] = '\0';
  return fopen(path, binary);
}

// Windows' own makes the file in the root folder, where users must not write.
FILE *heed__tmpfile(void) {
  char folder[MAX_PATH + 1];
  const DWORD length = GetTempPathA(sizeof folder, folder);
  if (length == 0 || length >= sizeof folder) return NULL;
  const int file = heed__open(folder, O_TMPFILE | O_RDWR, 0600);
  FILE *stream = file < 0 ? NULL : _fdopen(file, "w+b");
  if (!stream && file >= 0) heed__close(file);
  return stream;
}

// A temporary file, which is read into the text when it is flushed or closed.
static struct memory_stream {
  struct memory_stream *next;
  FILE *stream;
  char **text;
  size_t *length;
} * memory_streams;
static SRWLOCK memory_guard = SRWLOCK_INIT;

FILE *heed__open_memstream(char **text, size_t *length) {
  struct memory_stream *added = malloc(sizeof *added);
  FILE *stream = added ? heed__tmpfile() : NULL;
  if (!stream) {
    free(added);
    return NULL;
  }
  *text = NULL;
  *length = 0;
  *added = (struct memory_stream){.stream = stream, .text = text, .length = length};
  AcquireSRWLockExclusive(&memory_guard);
  added->next = memory_streams;
  memory_streams = added;
  ReleaseSRWLockExclusive(&memory_guard);
  return stream;
}

// The place of the stream's entry, or of NULL. The caller holds the guard.
static struct memory_stream **find(FILE *stream) {
  struct memory_stream **at = &memory_streams;
  while (*at && (*at)->stream != stream) at = &(*at)->next;
  return at;
}

static int take_text(const struct memory_stream *from) {
  const __int64 end = _ftelli64(from->stream);
  char *grown = end >= 0 ? realloc(*from->text, (size_t)end + 1) : NULL;
  if (!grown) return EOF;
  rewind(from->stream);
  *from->text = grown;
  *from->length = fread(grown, 1, (size_t)end, from->stream);
  grown[*from->length] = '\0';
  return *from->length == (size_t)end && fseek(from->stream, 0, SEEK_END) == 0 ? 0 : EOF;
}

int heed__fflush(FILE *stream) {
  int status = fflush(stream);
  AcquireSRWLockExclusive(&memory_guard);
  const struct memory_stream *found = stream ? *find(stream) : NULL;
  if (status == 0 && found) status = take_text(found);
  ReleaseSRWLockExclusive(&memory_guard);
  return status;
}

int heed__fclose(FILE *stream) {
  AcquireSRWLockExclusive(&memory_guard);
  struct memory_stream **place = find(stream), *found = *place;
  if (found) *place = found->next;
  ReleaseSRWLockExclusive(&memory_guard);
  const int taken = found && fflush(stream) == 0 ? take_text(found) : found ? EOF : 0;
  free(found);
  const int closed = fclose(stream);
  return taken ? taken : closed;
}

ssize_t heed__getline(char **line, size_t *room, FILE *stream) {
  size_t used = 0;
  for (int c; (c = getc(stream)) != EOF;) {
    if (used + 2 > *room || !*line) {
      const size_t more = used * 2 + 128;
      char *grown = realloc(*line, more);
      if (!grown) return -1;
      *line = grown;
      *room = more;
    }
    (*line)[used++] = (char)c;
    (*line)[used] = '\0';
    if (c == '\n') break;
  }
  return used > 0 ? (ssize_t)used : -1;
}

// ---------------------------------------------------------------- terminals

int heed__isatty(int file) {
  DWORD mode;
  return GetConsoleMode((HANDLE)_get_osfhandle(file), &mode) ? 1 : 0;  // NUL is a device, too
}

int heed__ioctl(int file, int request, struct winsize *window) {
  CONSOLE_SCREEN_BUFFER_INFO info;
  if (request != TIOCGWINSZ || !GetConsoleScreenBufferInfo((HANDLE)_get_osfhandle(file), &info)) return -1;
  window->ws_col = (unsigned short)(info.srWindow.Right - info.srWindow.Left + 1);
  return 0;
}

// ---------------------------------------------------------------- memory maps

void *heed__mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
  if (at || offset != 0 || protection != PROT_READ || !(flags & (MAP_SHARED | MAP_PRIVATE))) {
    errno = EINVAL;
    return MAP_FAILED;
  }
  const HANDLE mapping = CreateFileMappingA((HANDLE)_get_osfhandle(file), NULL, PAGE_READONLY, 0, 0, NULL);
  void *map = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, bytes) : NULL;
  if (!map) heed__windows_failed();
  if (mapping) CloseHandle(mapping);  // the view keeps it
  return map ? map : MAP_FAILED;
}

int heed__munmap(void *map, size_t bytes) {
  (void)bytes;
  return UnmapViewOfFile(map) ? 0 : heed__windows_failed();
}

// ---------------------------------------------------------------- texts and arrays

char *heed__strndup(const char *text, size_t most) {
  const size_t length = strnlen(text, most);
  char *copy = malloc(length + 1);
  if (!copy) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

char *heed__strsep(char **rest, const char *separators) {
  char *word = *rest;
  if (!word) return NULL;
  char *end = word + strcspn(word, separators);
  *rest = *end ? end + 1 : NULL;
  *end = '\0';
  return word;
}

char *heed__strcasestr(const char *text, const char *piece) {
  const size_t length = strlen(piece);
  for (;; ++text) {
    if (_strnicmp(text, piece, length) == 0) return (char *)text;
    if (!*text) return NULL;
  }
}

void *heed__memmem(const void *data, size_t bytes, const void *piece, size_t piece_bytes) {
  const char *at = data;
  if (piece_bytes == 0) return (void *)at;
  for (const char *first; bytes >= piece_bytes && (first = memchr(at, *(const char *)piece, bytes - piece_bytes + 1));
       at = first + 1) {
    if (memcmp(first, piece, piece_bytes) == 0) return (void *)first;
    bytes -= (size_t)(first + 1 - at);
  }
  return NULL;
}

void *heed__reallocarray(void *array, size_t count, size_t size) {
  size_t bytes;
  if (!__builtin_mul_overflow(count, size, &bytes)) return realloc(array, bytes);
  errno = ENOMEM;
  return NULL;
}

_Static_assert(_Alignof(max_align_t) >= 16, "malloc() of Windows on x86-64 aligns to 16 bytes");
int heed__posix_memalign(void **data, size_t alignment, size_t bytes) {
  if (alignment > 16) return EINVAL;
  *data = malloc(bytes);
  return *data ? 0 : ENOMEM;
}

// ---------------------------------------------------------------- the machine

long heed__sysconf(int name) {
  SYSTEM_INFO system;
  MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
  GetSystemInfo(&system);
  if (name == _SC_NPROCESSORS_ONLN) return (long)system.dwNumberOfProcessors;
  if (name == _SC_PAGESIZE) return (long)system.dwPageSize;
  if (name != _SC_PHYS_PAGES || !GlobalMemoryStatusEx(&memory)) return -1;
  const uint64_t pages = memory.ullTotalPhys / system.dwPageSize;
  return pages < LONG_MAX ? (long)pages : LONG_MAX;
}

int heed__sigaction(int number, const struct sigaction *action, struct sigaction *before) {
  void (*was)(int) = signal(number, action->sa_handler);
  if (was == SIG_ERR) return -1;
  if (before) *before = (struct sigaction){.sa_handler = was};
  return 0;
}
