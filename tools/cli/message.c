// The program's messages on stderr, and small texts for messages.
#include "cli/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static char failure[1024];  // the last one, for tool_last_failure()
static bool held;

void tool_messages_hold(bool hold) { held = hold; }

// Names in files and on command lines may have characters that would change what a terminal shows.
static void put_printable(const char *text) {
  for (; *text; text++) fputc(((unsigned char)*text < ' ' && *text != '\n') || *text == 127 ? '?' : *text, stderr);
}

__attribute__((format(printf, 2, 0))) static void say(const char *command, const char *format, va_list list) {
  char *text = NULL;
  if (held) return;
  tool_progress_clear(NULL);
  fprintf(stderr, "%s: ", command);
  va_list copy;
  va_copy(copy, list);
  if (vasprintf(&text, format, copy) >= 0) {
    put_printable(text);
    free(text);
  } else {
    vfprintf(stderr, format, list);
  }
  va_end(copy);
  fputc('\n', stderr);
}

__attribute__((format(printf, 2, 0))) static void say_failure(const char *command, const char *format, va_list list) {
  va_list copy;
  va_copy(copy, list);
  vsnprintf(failure, sizeof failure, format, copy);
  va_end(copy);
  say(command, format, list);
}

int tool_failed_elsewhere(const char *text) {
  snprintf(failure, sizeof failure, "%s", text);
  return TOOL_FAILED;
}

const char *tool_last_failure(void) { return failure; }

void tool_note(const tool_args *args, const char *format, ...) {
  if (args->verbosity == TOOL_QUIET) return;
  va_list list;
  va_start(list, format);
  say(args->command, format, list);
  va_end(list);
}

void tool_detail(const tool_args *args, const char *format, ...) {
  if (args->verbosity != TOOL_VERBOSE) return;
  va_list list;
  va_start(list, format);
  say(args->command, format, list);
  va_end(list);
}

void tool_say(const char *command, const char *format, ...) {
  va_list list;
  va_start(list, format);
  say(command, format, list);
  va_end(list);
}

int tool_fail(const char *command, const char *format, ...) {
  va_list list;
  va_start(list, format);
  say_failure(command, format, list);
  va_end(list);
  return TOOL_FAILED;
}

int tool_usage(const char *command, const char *format, ...) {
  va_list list;
  va_start(list, format);
  say_failure(command, format, list);
  va_end(list);
  return TOOL_USAGE;
}

int tool_fail_status(const char *command, heed_status status) {
  const char *message = heed_last_error();
  return tool_fail(command, "%s", *message ? message : heed_status_string(status));
}

static int write_error;  // why stdout failed first; a later flush would not know it

void tool_push(void) {
  errno = 0;
  if (fflush(stdout) != 0 && !write_error) write_error = errno;
}

int tool_flush(const char *command, int status) {
  tool_push();
  const int error = write_error ? write_error : EIO;
  write_error = 0;
  if (!ferror(stdout)) return status;
  clearerr(stdout);
  tool_fail(command, "cannot write to standard output: %s", strerror(error));
  return status == TOOL_DONE ? TOOL_FAILED : status;
}

const char *tool_shape_text(int rank, const int64_t *dims, char *text) {
  size_t used = (size_t)snprintf(text, TOOL_SHAPE_TEXT, "[");
  for (int axis = 0; axis < rank && used < TOOL_SHAPE_TEXT; axis++)
    used += (size_t)snprintf(text + used, TOOL_SHAPE_TEXT - used, "%s%" PRId64, axis ? ", " : "", dims[axis]);
  if (used < TOOL_SHAPE_TEXT) snprintf(text + used, TOOL_SHAPE_TEXT - used, "]");
  return text;
}

const char *tool_real_text(double value, char *text) {
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, 32, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  return text;
}

const char *tool_bytes_text(uint64_t bytes, char *text) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = (double)bytes;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) value /= 1024, unit++;
  snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}

const char *tool_id_text(const heed_device_info *device, char *text) {
  snprintf(text, TOOL_ID_TEXT, "%s%s", device->type == HEED_DEVICE_HOST ? "" : "id:", device->id);
  return text;
}
