// Files that are replaced whole or not at all: a temporary file beside the target, synced, then renamed over it.
// Knows nothing of what is written.
#ifndef HEED__ATOMIC_FILE_H
#define HEED__ATOMIC_FILE_H

#include "base/status.h"

struct heed__atomic_file {
  const char *path;  // as the caller wrote it, borrowed: for messages
  char *target;      // what is replaced: path, or what it links to
  char *temporary;   // NULL while there is none
  int fd;            // -1 while closed
  bool direct;       // path is a device, a pipe or a socket, written in place
};

// Symbolic links are followed, so that the link stays one. A file that exists keeps its permissions. A
// folder or a file without write permission is refused.
heed_status heed__atomic_open(struct heed__atomic_file *file, const char *path);
heed_status heed__atomic_write(struct heed__atomic_file *file, const void *data, size_t bytes);
// Syncs, closes and puts the file in place. On failure, as after any other, heed__atomic_close() is still to be called.
heed_status heed__atomic_commit(struct heed__atomic_file *file);
// Releases everything; without a commit before it the target is as it was and the temporary file is gone.
void heed__atomic_close(struct heed__atomic_file *file);

#endif
