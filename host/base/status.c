// The thread's last error message, and the texts of the status codes.
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Programs hold these numbers: a new status goes to the end of the list.
_Static_assert(HEED_OK == 0 && HEED_ERROR_INVALID_ARGUMENT == 1 && HEED_ERROR_MISMATCH == 12 && HEED_ERROR_RANK == 13,
               "statuses are appended only");

static _Thread_local char last_error[4096];

const char *heed_status_string(heed_status status) {
  switch (status) {
#define STATUS_TEXT(name, text) \
  case name:                    \
    return text;
    HEED_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
  }
  return "unknown status";
}

const char *heed_last_error(void) { return last_error; }

const char *heed_version(void) { return HEED_VERSION_STRING; }

heed_status(heed__fail)(heed_status status, const char *format, ...) {
  // Arguments may point into the old message, so write the new one beside it first.
  char text[sizeof last_error];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  memcpy(last_error, text, sizeof text);
  return status;
}

heed_status(heed__fail_prefix)(heed_status status, const char *format, ...) {
  char text[sizeof last_error];
  va_list arguments;
  va_start(arguments, format);
  int used = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (used < 0) return status;
  if ((size_t)used < sizeof text - 1) snprintf(text + used, sizeof text - (size_t)used, ": %s", last_error);
  memcpy(last_error, text, sizeof text);
  return status;
}
