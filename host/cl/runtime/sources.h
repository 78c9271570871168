// The kernel files that the build embeds into the library. The list ends with a null name.
#ifndef HEED__SOURCES_H
#define HEED__SOURCES_H

#include <heed/heed.h>

struct heed__cl_kernel_source {
  const char *name;  // "ops/foo.cl"
  const char *text;  // terminated by 0
  size_t length;
};
extern const struct heed__cl_kernel_source heed__cl_kernel_sources[];

// Checks that `dir`, which the caller named, is a folder with kernel files in it or in a folder of it. Errors: INVALID_ARGUMENT.
heed_status heed__cl_source_check(const char *dir);

// Makes the text of a program: "common.cl" and `file`. Each comes from the folder `dir` if dir is not NULL and has the file, else from the
// embedded ones. A line `#include "name.cl"` is replaced by that kernel file, found the same way. free() the text.
// Errors: BUILD if there is no such file, IO if one cannot be read.
heed_status heed__cl_source_join(const char *dir, const char *file, char **text, size_t *length);

#endif
