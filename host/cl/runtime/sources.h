// The kernel files, embedded into the library at build time. Ends with a null name.
#ifndef HEED__SOURCES_H
#define HEED__SOURCES_H

#include <heed/heed.h>

struct heed__cl_kernel_source {
  const char *name;  // "ops/foo.cl"
  const char *text;  // terminated by 0
  size_t length;
};
extern const struct heed__cl_kernel_source heed__cl_kernel_sources[];

// The text of a program: "common.cl" and `file`, each from the folder `dir` where it is not NULL and has the file, else the
// embedded one. A line `#include "name.cl"` stands for that kernel file, found the same way. free() it.
// Errors: BUILD when there is no such file, IO when one cannot be read.
heed_status heed__cl_source_join(const char *dir, const char *file, char **text, size_t *length);

#endif
