// Errors: one macro leaves a function, and one message per thread says why. This file knows nothing else of heed.
#ifndef HEED__STATUS_H
#define HEED__STATUS_H

#include <heed/heed.h>

// Records the message for heed_last_error() and returns `status`. The message names the operator or file first.
__attribute__((format(printf, 2, 3))) heed_status heed__fail(heed_status status, const char *format, ...);
// Puts "text: " before the present message, and returns `status`. For callers that know the operator or the file.
__attribute__((format(printf, 2, 3))) heed_status heed__fail_prefix(heed_status status, const char *format, ...);

// For tools/dev/lint: an analyser that reads one file at a time would assume that a failure can return HEED_OK. None does.
#ifdef HEED_LINT
static inline heed_status heed__failed(heed_status status) {
  if (status == HEED_OK) __builtin_unreachable();
  return status;
}
#define heed__fail(...) heed__failed(heed__fail(__VA_ARGS__))
#define heed__fail_prefix(...) heed__failed(heed__fail_prefix(__VA_ARGS__))
#endif

#define HEED__TRY(call)                                       \
  do {                                                        \
    heed_status heed__try_status = (call);                    \
    if (heed__try_status != HEED_OK) return heed__try_status; \
  } while (0)

// The same if there is something to release: jumps to `label` with `status` set.
#define HEED__TRY_TO(label, status, call) \
  do {                                    \
    (status) = (call);                    \
    if ((status) != HEED_OK) goto label;  \
  } while (0)

#define HEED__REQUIRE(condition, status, ...)                   \
  do {                                                          \
    if (!(condition)) return heed__fail((status), __VA_ARGS__); \
  } while (0)

#endif
