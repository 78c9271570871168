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

// What a program printed on its standard output.
typedef struct child_output {
  char *bytes;
  size_t count;
} child_output;

// Exit statuses that a shell gives to what did not run; CHILD_SIGNAL plus a signal's number is one that a signal ended.
enum { CHILD_CANNOT_START = 126, CHILD_NOT_FOUND = 127, CHILD_SIGNAL = 128 };

// Runs "PROGRAM -" with `input` as its standard input, and collects what it prints. Returns its exit status; -1 and errno if there is none.
// The caller frees out->bytes in any case.
int child_filter(const char *program, int input, child_output *out);

#endif
