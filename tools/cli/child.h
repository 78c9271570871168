// What the program's second processes have in common.
#ifndef HEED_CHILD_H
#define HEED_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// In the child: nobody hears or types to it any more.
void child_silence(void);
// Exactly `size` bytes; false where the other end is gone before.
bool child_read(int from, void *data, size_t size);
// Waits for its end; as waitpid().
pid_t child_wait(pid_t pid, int *status);

#endif
