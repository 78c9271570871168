// Files that are replaced whole or not at all: a temporary file beside the target, synced, then renamed over it.
// Knows nothing of what is written, nor who may read it back.
#ifndef HEED__ATOMIC_FILE_H
#define HEED__ATOMIC_FILE_H

#include "base/status.h"

struct heed__atomic_file {
  const char *path;  // as the caller wrote it, borrowed: for messages
  int folder;        // where target and temporary begin, where they are not absolute: AT_FDCWD or the caller's
  char *target;      // what is replaced: path, or what it links to
  char *temporary;   // NULL while there is none
  int fd;            // -1 while closed
  bool direct;       // path is a device, a pipe or a socket, written in place
  bool entry;        // of a cache
};

// What the names of temporary files begin with: a crash leaves one behind.
#define HEED__ATOMIC_TEMPORARY ".heed-"

// Symbolic links are followed, so that the link stays one. A file that exists keeps its permissions. A
// folder or a file without write permission is refused.
heed_status heed__atomic_open(struct heed__atomic_file *file, const char *path);
// A file for the user alone. A symbolic link is replaced, since readers of such files follow none; a folder or a device is refused.
heed_status heed__atomic_open_private(struct heed__atomic_file *file, const char *path);
// The same for an entry of a cache, in a folder that the caller has opened: it is not synced, because a reader recognises a torn
// entry, and a failure leaves heed_last_error() as it is, because whoever stores one does so in passing.
heed_status heed__atomic_open_entry(struct heed__atomic_file *file, int folder, const char *name);
heed_status heed__atomic_write(struct heed__atomic_file *file, const void *data, size_t bytes);
// Syncs, closes and puts the file in place. On failure, as after any other, heed__atomic_close() is still to be called.
heed_status heed__atomic_commit(struct heed__atomic_file *file);
// Releases everything; without a commit before it the target is as it was and the temporary file is gone.
void heed__atomic_close(struct heed__atomic_file *file);

#endif
