// A second process for `heed check`: it runs some of the cases and reports their outcomes. Threads would not help, because compilers of
// OpenCL drivers let one thread of a process in at a time; and if a driver crashes, it takes only the helper with it.
#ifndef HEED_CHECK_HELPER_H
#define HEED_CHECK_HELPER_H

#include <sys/types.h>

#include "cases/case.h"

typedef struct check_outcome {
  size_t task;
  double seconds;
  case_result result;
} check_outcome;

typedef struct check_helper {
  pid_t pid;  // 0: there is none
  int from;
} check_helper;

// Forks. work(state, to) runs in the child, reports outcomes, and the child exits with what it returns. Call it before this process uses
// OpenCL or starts a thread. If no process can be made, helper->pid stays 0.
void check_helper_start(check_helper *helper, int (*work)(void *state, int to), void *state);
// The child's side.
void check_helper_tell(int to, const check_outcome *outcome);
// Reads the next outcome; returns false if there is none yet, or with `wait` if there will be none, or if a signal came (errno is EINTR).
bool check_helper_next(check_helper *helper, bool wait, check_outcome *outcome);
// Waits for the child. Returns true if it ended well; otherwise `reason` says why not.
bool check_helper_end(check_helper *helper, char *reason, size_t size);
// Ends a child whose work is no longer needed.
void check_helper_stop(check_helper *helper);

#endif
