// A JUnit XML report for CI systems: collects cases, and writes the report whole or not at all.
#ifndef HEED_JUNIT_H
#define HEED_JUNIT_H

#include <stddef.h>
#include <stdio.h>

typedef struct junit {
  FILE *body;  // collects the cases; NULL: memory ran out
  char *text;
  size_t length, cases, failures;
  double seconds;
} junit;

void junit_begin(junit *report);
// message NULL: the case passed. `repeat` is the command that runs it alone.
void junit_add(junit *report, const char *class_name, const char *name, double seconds, const char *message,
               const char *repeat);
// properties: pairs of name and value, up to NULL. Replaces `path` (NULL: stdout) only with a complete report. Returns 0, or an errno.
int junit_write(junit *report, const char *path, const char *suite, const char *const *properties);
void junit_free(junit *report);

// Writes `text` with its markup escaped; characters that XML 1.0 or UTF-8 does not allow become '?'.
void junit_escape(FILE *to, const char *text);

#endif
