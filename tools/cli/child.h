// What the program's second processes have in common.
#ifndef HEED_CHILD_H
#define HEED_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Call this in the child: from then on it prints nothing and reads no input.
void child_silence(void);
// Reads exactly `size` bytes; returns false if the other end closes before that.
bool child_read(int from, void *data, size_t size);
// Waits for the child's end, like waitpid().
pid_t child_wait(pid_t pid, int *status);

#endif
