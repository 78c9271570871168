// A library to be preloaded: makes the n-th fallible call of heed fail, in OpenCL, for host memory or on files, and counts the
// OpenCL objects and memory blocks that heed holds. Calls of the driver itself pass untouched. Here: control, host
// memory and files; OpenCL's calls are fault_shim_opencl.c's, verdicts fault_program.c's.
#include "fault_shim_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *block);

// ---------------------------------------------------------------- which call fails

static struct {
  enum fault_kind kind;
  bool paused, onward;
  long at, calls;
  int error;
  char function[40], name[48];
  int errors;
} state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// The OpenCL function, or the kernel, in which the driver crashes; empty: in none.
static char crash[64];

void fault_crash(const char *name) {
  if (!crash[0] || strcmp(name, crash) != 0) return;
  signal(SIGSEGV, SIG_DFL);
  raise(SIGSEGV);
}

// The error that this call is to give, or NULL: let it pass.
const struct error *fault_inject(enum fault_kind kind, const char *function, const struct error *errors, int count) {
  if (kind == FAULT_CL) fault_crash(function);
  if (kind != state.kind || state.paused) return NULL;
  const long call = ++state.calls;
  if (state.at == 0 || call < state.at || (call > state.at && !state.onward)) return NULL;
  const struct error *error = &errors[state.error % count];
  if (error->code == EINTR && call > state.at) return NULL;  // nothing is interrupted for ever
  if (!state.function[0]) {
    snprintf(state.function, sizeof state.function, "%s", function);
    snprintf(state.name, sizeof state.name, "%s", error->name);
    state.errors = count;
  }
  return error;
}

// ---------------------------------------------------------------- what is held
// Open addressing over addresses; a removed entry leaves a tombstone, and a table is cleared at each arm().

enum { SLOTS = 1 << 16 };
static const char *const object_names[] = {"context", "queue", "buffer", "program", "kernel", "event", "device"};
struct held {
  const void *address;
  int object, count;
};
static struct held objects[SLOTS], blocks[SLOTS];
static const char tombstone;
static int block_count, block_tombstones, over_released[OBJECTS];

static struct held *find(struct held *table, const void *address) {
  size_t at = (size_t)(((uintptr_t)address >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 48);
  struct held *free_slot = NULL;
  for (size_t steps = 0; steps < SLOTS; steps++, at = (at + 1) % SLOTS) {
    if (table[at].address == address) return &table[at];
    if (table[at].address == &tombstone && !free_slot) free_slot = &table[at];
    if (!table[at].address) return free_slot ? free_slot : &table[at];
  }
  return free_slot;
}

void fault_hold(enum object object, const void *address) {
  if (!address) return;
  pthread_mutex_lock(&lock);
  struct held *held = find(objects, address);
  if (held && held->address != address) *held = (struct held){address, object, 0};
  if (held) held->count++;
  pthread_mutex_unlock(&lock);
}

void fault_let_go(enum object object, const void *address) {
  pthread_mutex_lock(&lock);
  struct held *held = find(objects, address);
  if (!held || held->address != address)
    over_released[object]++;
  else if (--held->count == 0)
    held->address = &tombstone;
  pthread_mutex_unlock(&lock);
}

static int held_of(enum object object) {
  int count = 0;
  for (size_t i = 0; i < SLOTS; i++)
    count += objects[i].address && objects[i].address != &tombstone && objects[i].object == (int)object;
  return count;
}

// ---------------------------------------------------------------- whose call it is

struct range {
  uintptr_t start, end;
};
static struct range ranges[16];
static int range_count;

// heed's own code: the program itself and libheed; and the libraries that allocate in heed's name.
static int add_ranges(struct dl_phdr_info *info, size_t size, void *first) {
  (void)size;
  const bool ours = *(bool *)first || strstr(info->dlpi_name, "libheed") || strstr(info->dlpi_name, "libjansson") ||
                    strstr(info->dlpi_name, "libpcre2") || strstr(info->dlpi_name, "libutf8proc") ||
                    strstr(info->dlpi_name, "libz.");
  *(bool *)first = false;
  for (int i = 0; ours && i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type != PT_LOAD || !(header->p_flags & PF_X) || range_count == 16) continue;
    const uintptr_t start = info->dlpi_addr + header->p_vaddr;
    ranges[range_count++] = (struct range){start, start + header->p_memsz};
  }
  return 0;
}

static bool from_heed(const void *caller) {
  for (int i = 0; i < range_count; i++)
    if ((uintptr_t)caller >= ranges[i].start && (uintptr_t)caller < ranges[i].end) return true;
  return false;
}
#define FROM_HEED from_heed(__builtin_return_address(0))

// ---------------------------------------------------------------- control

static void arm(enum fault_kind kind, long at, int error, bool onward) {
  pthread_mutex_lock(&lock);
  memset(objects, 0, sizeof objects);
  memset(blocks, 0, sizeof blocks);
  memset(over_released, 0, sizeof over_released);
  block_count = block_tombstones = 0;
  memset(&state, 0, sizeof state);
  state.at = at;
  state.error = error;
  state.onward = onward;
  state.kind = kind;
  pthread_mutex_unlock(&lock);
}

static void pause_faults(bool on) { state.paused = on; }
static int buffers(void) { return held_of(BUFFER); }
static int programs(void) { return held_of(PROGRAM); }

static void disarm(struct fault_report *report) {
  memset(report, 0, sizeof *report);
  state.kind = FAULT_NONE;
  report->calls = state.calls;
  report->errors = state.errors;
  memcpy(report->function, state.function, sizeof report->function);
  memcpy(report->error, state.name, sizeof report->error);
  size_t used = 0;
  for (int i = 0; i < OBJECTS; i++) {
    const int held = held_of(i);
    report->objects += held + over_released[i];
    if (held && used < sizeof report->leaks)
      used +=
          (size_t)snprintf(report->leaks + used, sizeof report->leaks - used, "%d %s(s) held; ", held, object_names[i]);
    if (over_released[i] && used < sizeof report->leaks)
      used += (size_t)snprintf(report->leaks + used, sizeof report->leaks - used, "%d %s(s) released too often; ",
                               over_released[i], object_names[i]);
  }
  report->blocks = block_count;
  if (block_count && used < sizeof report->leaks)
    snprintf(report->leaks + used, sizeof report->leaks - used, "%d block(s) of host memory held", block_count);
}

EXPORT const struct fault_shim fault_shim = {arm, pause_faults, buffers, programs, disarm};

static char report_path[4096];

// What heed starts (gnuplot) is not under test.
static void leave_children_alone(void) {
  static const char *const names[] = {"LD_PRELOAD",   "FAULT_KIND",   "FAULT_AT",   "FAULT_ERROR",
                                      "FAULT_ONWARD", "FAULT_REPORT", "FAULT_CRASH"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

__attribute__((constructor)) static void start(void) {
  bool first = true;
  dl_iterate_phdr(add_ranges, &first);
  const char *kind = getenv("FAULT_KIND"), *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERROR");
  const char *report = getenv("FAULT_REPORT");
  const bool onward = getenv("FAULT_ONWARD") != NULL;
  if (getenv("FAULT_CRASH")) snprintf(crash, sizeof crash, "%s", getenv("FAULT_CRASH"));
  if (kind && at && report) {
    snprintf(report_path, sizeof report_path, "%s", report);
    arm(*kind == 'c' ? FAULT_CL : *kind == 'm' ? FAULT_MEMORY : FAULT_FILE, atol(at), error ? atoi(error) : 0, onward);
  }
  leave_children_alone();
}

__attribute__((destructor)) static void end(void) {
  if (!report_path[0]) return;
  struct fault_report report;
  disarm(&report);
  char line[512];
  const int length = snprintf(line, sizeof line, "calls=%ld function=%s error=%s errors=%d leaks=%s\n", report.calls,
                              report.function, report.error, report.errors, report.leaks);
  const int file = REAL(open)(report_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || REAL(write)(file, line, (size_t)length) != length) _exit(98);
}

// ---------------------------------------------------------------- host memory

static void *keep(void *block, bool ours) {
  if (!block || !ours || state.kind == FAULT_NONE) return block;
  pthread_mutex_lock(&lock);
  struct held *held = find(blocks, block);
  if (held && held->address != block) {
    if (held->address == &tombstone) block_tombstones--;
    *held = (struct held){block, 0, 1};
    block_count++;
  }
  pthread_mutex_unlock(&lock);
  return block;
}

static void drop(const void *block) {
  if (!block || !__atomic_load_n(&block_count, __ATOMIC_RELAXED)) return;
  pthread_mutex_lock(&lock);
  struct held *held = find(blocks, block);
  if (held && held->address == block) {
    held->address = &tombstone;
    block_tombstones++;
    block_count--;
  }
  if (block_tombstones > SLOTS / 2 && block_count == 0) {
    memset(blocks, 0, sizeof blocks);
    block_tombstones = 0;
  }
  pthread_mutex_unlock(&lock);
}

static bool out_of_memory(const char *function, bool ours) {
  static const struct error errors[] = {{ENOMEM, "memory"}};
  if (!ours || !fault_inject(FAULT_MEMORY, function, errors, 1)) return false;
  errno = ENOMEM;
  return true;
}

EXPORT void *malloc(size_t bytes) {
  const bool ours = FROM_HEED;
  return out_of_memory("malloc", ours) ? NULL : keep(__libc_malloc(bytes), ours);
}

EXPORT void *calloc(size_t count, size_t bytes) {
  const bool ours = FROM_HEED;
  return out_of_memory("calloc", ours) ? NULL : keep(__libc_calloc(count, bytes), ours);
}

EXPORT void *realloc(void *block, size_t bytes) {
  const bool ours = FROM_HEED;
  if (out_of_memory("realloc", ours)) return NULL;
  drop(block);
  return keep(__libc_realloc(block, bytes), ours);
}

EXPORT void *reallocarray(void *block, size_t count, size_t size) {
  const bool ours = FROM_HEED;
  if (size && count > SIZE_MAX / size) return NULL;
  if (out_of_memory("reallocarray", ours)) return NULL;
  drop(block);
  return keep(__libc_realloc(block, count * size), ours);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes) {
  const bool ours = FROM_HEED;
  return out_of_memory("aligned_alloc", ours) ? NULL : keep(__libc_memalign(alignment, bytes), ours);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes) {
  const bool ours = FROM_HEED;
  void *block = out_of_memory("posix_memalign", ours) ? NULL : keep(__libc_memalign(alignment, bytes), ours);
  if (!block) return ENOMEM;
  *out = block;
  return 0;
}

EXPORT char *strdup(const char *text) {
  const bool ours = FROM_HEED;
  const size_t bytes = strlen(text) + 1;
  char *copy = out_of_memory("strdup", ours) ? NULL : keep(__libc_malloc(bytes), ours);
  return copy ? memcpy(copy, text, bytes) : NULL;
}

EXPORT int asprintf(char **out, const char *format, ...) {
  const bool ours = FROM_HEED;
  *out = NULL;
  if (out_of_memory("asprintf", ours)) return -1;
  va_list list;
  va_start(list, format);
  const int length = REAL(vasprintf)(out, format, list);
  va_end(list);
  if (length >= 0) keep(*out, ours);
  return length;
}

EXPORT void free(void *block) {
  drop(block);
  __libc_free(block);
}

// ---------------------------------------------------------------- files

#define FILE_ERROR(name) \
  { name, #name }
enum { SHORT_WRITE = -1 };
static const struct error open_errors[] = {FILE_ERROR(EACCES), FILE_ERROR(ENOSPC), FILE_ERROR(EMFILE),
                                           FILE_ERROR(EROFS)};
static const struct error write_errors[] = {
    FILE_ERROR(ENOSPC), FILE_ERROR(EIO), FILE_ERROR(EINTR), {SHORT_WRITE, "short"}};
static const struct error sync_errors[] = {FILE_ERROR(EIO), FILE_ERROR(ENOSPC)};
static const struct error rename_errors[] = {FILE_ERROR(ENOSPC), FILE_ERROR(EIO), FILE_ERROR(EACCES)};
static const struct error stat_errors[] = {FILE_ERROR(EIO)};
static const struct error read_errors[] = {FILE_ERROR(EIO), FILE_ERROR(EINTR)};

#define FAIL_FILE(errors, failure)                                                  \
  do {                                                                              \
    const struct error *file_error = FROM_HEED ? INJECT(FAULT_FILE, errors) : NULL; \
    if (file_error) {                                                               \
      errno = file_error->code;                                                     \
      return failure;                                                               \
    }                                                                               \
  } while (0)

static mode_t mode_of(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; }

EXPORT int open(const char *path, int flags, ...) {
  FAIL_FILE(open_errors, -1);
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return REAL(open)(path, flags, mode);
}

EXPORT int openat(int folder, const char *path, int flags, ...) {
  FAIL_FILE(open_errors, -1);
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return REAL(openat)(folder, path, flags, mode);
}

EXPORT FILE *fopen(const char *path, const char *mode) {
  FAIL_FILE(open_errors, NULL);
  return REAL(fopen)(path, mode);
}

EXPORT ssize_t write(int file, const void *data, size_t bytes) {
  const struct error *error = FROM_HEED ? INJECT(FAULT_FILE, write_errors) : NULL;
  if (error && error->code == SHORT_WRITE) return REAL(write)(file, data, bytes > 1 ? bytes / 2 : bytes);
  if (!error) return REAL(write)(file, data, bytes);
  errno = error->code;
  return -1;
}

EXPORT ssize_t read(int file, void *data, size_t bytes) {
  FAIL_FILE(read_errors, -1);
  return REAL(read)(file, data, bytes);
}

EXPORT int fsync(int file) {
  FAIL_FILE(sync_errors, -1);
  return REAL(fsync)(file);
}

EXPORT int rename(const char *from, const char *to) {
  FAIL_FILE(rename_errors, -1);
  return REAL(rename)(from, to);
}

EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  FAIL_FILE(rename_errors, -1);
  return REAL(renameat)(from_folder, from, to_folder, to);
}

EXPORT int fchmod(int file, mode_t mode) {
  FAIL_FILE(stat_errors, -1);
  return REAL(fchmod)(file, mode);
}

EXPORT int fstat(int file, struct stat *info) {
  FAIL_FILE(stat_errors, -1);
  return REAL(fstat)(file, info);
}

EXPORT int mkdir(const char *path, mode_t mode) {
  FAIL_FILE(open_errors, -1);
  return REAL(mkdir)(path, mode);
}

// The file is closed all the same, as Linux does.
EXPORT int close(int file) {
  const struct error *error = FROM_HEED ? INJECT(FAULT_FILE, sync_errors) : NULL;
  const int result = REAL(close)(file);
  if (!error) return result;
  errno = error->code;
  return -1;
}

EXPORT int fflush(FILE *stream) {
  FAIL_FILE(sync_errors, EOF);
  return REAL(fflush)(stream);
}
