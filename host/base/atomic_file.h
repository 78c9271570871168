// Files that are replaced whole or not at all: a temporary file beside the target, synced, then renamed over it.
// This file does not know what is written, nor who may read it back.
#ifndef HEED__ATOMIC_FILE_H
#define HEED__ATOMIC_FILE_H

#include "base/status.h"

struct heed__atomic_file {
  const char *path;  // as the caller wrote it, borrowed: for messages
  int folder;        // folder of target and temporary if they are not absolute: AT_FDCWD or the caller's
  char *target;      // the file to replace: path, or the file that it links to
  char *temporary;   // NULL while there is none
  int fd;            // -1 while closed
  bool direct;       // path is a device, a pipe or a socket, written in place
  bool entry;        // it is an entry of a cache
};

// Every temporary file's name begins with this, so that one that a crash leaves behind can be recognised.
#define HEED__ATOMIC_TEMPORARY ".heed-"

// Opens a file to replace. It follows symbolic links, so that a link stays a link. An existing file keeps its permissions. It refuses a
// folder, and a file without write permission.
heed_status heed__atomic_open(struct heed__atomic_file *file, const char *path);
// The same for a file that only the user may read. It replaces a symbolic link, since readers of such files follow none, and refuses a
// folder or a device.
heed_status heed__atomic_open_private(struct heed__atomic_file *file, const char *path);
// The same for an entry of a cache, in a folder that the caller has opened. It does not sync the file, because a reader recognises a torn
// entry. A failure does not change heed_last_error(), because storing an entry is not what the user asked for.
heed_status heed__atomic_open_entry(struct heed__atomic_file *file, int folder, const char *name);
heed_status heed__atomic_write(struct heed__atomic_file *file, const void *data, size_t bytes);
// Syncs the file, closes it and puts it in place. After a failure, as after any other, call heed__atomic_close().
heed_status heed__atomic_commit(struct heed__atomic_file *file);
// Releases everything. Without a commit before it, the target is unchanged and the temporary file is gone.
void heed__atomic_close(struct heed__atomic_file *file);

#endif
