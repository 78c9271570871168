// heed lm in the process of a test: its words, what they print, the logs and folders that they write.
#ifndef SUPPORT_LM_H
#define SUPPORT_LM_H

#include <heed/lm.h>
#include <jansson.h>

#include "support_files.h"
#include "support_listen.h"

// Group fixtures: an empty folder is the current one, and calls run on the host, or on the device that heed_open(NULL) picks. Where that is
// the host or HEED_TEST_HOST_ONLY=1, support_lm_need_device() skips a test.
int support_lm_on_host(void **state);
int support_lm_on_device(void **state);
int support_lm_leave(void **state);
void support_lm_need_device(void);

// Runs `heed lm words...` as support_command() does.
int support_lm(const char *const *words);
#define LM(...) support_lm((const char *const[]){__VA_ARGS__, NULL})
// It ends with this status, and its message has `part`.
#define ASSERT_LM(status, part, ...) \
  support_assert_lm((status), (part), (const char *const[]){__VA_ARGS__, NULL}, __FILE__, __LINE__)
void support_assert_lm(int status, const char *part, const char *const *words, const char *file, int line);
// What it printed as one JSON object, which the caller releases.
json_t *support_lm_json(void);

// A line of a log; the caller releases the array of objects.
json_t *support_lm_log(const char *path);
// The n-th event of this kind, from 0; fails where there is none.
const json_t *support_lm_event(const json_t *log, const char *event, size_t n);
size_t support_lm_events(const json_t *log, const char *event);
double support_lm_number(const json_t *object, const char *key);

// Two folders have files of the same names and bytes.
void support_assert_same_folders(const char *a, const char *b);
void support_assert_same_files(const char *a, const char *b);
// Text that is not all the same, of about this many bytes.
void support_lm_write_text(const char *name, size_t bytes, unsigned seed);
// Copies a folder's files.
void support_copy_folder(const char *from, const char *to);
// Replaces the first `from` in a file; fails where there is none.
void support_replace_in_file(const char *path, const char *from, const char *to);

#endif
