// A file or a pipe that a reader takes bytes from, in order or, if it is a file, from anywhere; and how its readers refuse it.
#ifndef HEED__SOURCE_H
#define HEED__SOURCE_H

#include "base/status.h"

enum { HEED__SOURCE_START = 512 };

struct heed__source {
  const char *path;
  int fd;
  int64_t size;                    // -1: a pipe or a device, whose end only reading can find
  char start[HEED__SOURCE_START];  // the first bytes, read when it is opened
  size_t start_bytes, start_taken;
};

// Opens it and reads its first bytes. On failure, too, the caller closes it.
heed_status heed__source_open(struct heed__source *source, const char *path);
// The same of an open descriptor, from where it stands, as of a pipe; it stays the caller's, and path is a name for messages.
heed_status heed__source_adopt(struct heed__source *source, const char *path, int fd);
void heed__source_close(struct heed__source *source);
// Fills `data` with what comes next; *got is the number of bytes before the end of the file.
heed_status heed__source_next(struct heed__source *source, char *data, size_t bytes, size_t *got);
// The same from an offset, for a file whose size is known.
heed_status heed__source_at(const struct heed__source *source, int64_t offset, char *data, size_t bytes, size_t *got);
// Reads exactly `bytes` of what comes next into new memory, which free() releases. `what` is for the message if the file ends before.
heed_status heed__source_block(struct heed__source *source, const char *what, size_t bytes, char **out);

// FORMAT: "path: tensor "name": reason", or without a tensor if name is NULL.
__attribute__((format(printf, 3, 4))) heed_status heed__refuse(const char *path, const char *name, const char *format,
                                                               ...);

#endif
