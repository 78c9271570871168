// A second process for `heed check`: it takes some of the cases and tells what came of each. Compilers of OpenCL drivers let one
// thread of a process in at a time, so that threads would not do; and a driver that crashes takes only the helper with it.
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

// Forks; work(state, to) runs in the child, which tells outcomes and exits with what it returns. Nothing of OpenCL, and no thread,
// may live in this process yet. Without a process to be had helper->pid stays 0.
void check_helper_start(check_helper *helper, int (*work)(void *state, int to), void *state);
// The child's side.
void check_helper_tell(int to, const check_outcome *outcome);
// The next outcome; false when there is none: yet, or with `wait` at all.
bool check_helper_next(check_helper *helper, bool wait, check_outcome *outcome);
// Waits for the child. True when it came to a good end, else `reason` tells.
bool check_helper_end(check_helper *helper, char *reason, size_t size);
// Ends a child whose work nobody wants any more.
void check_helper_stop(check_helper *helper);

#endif
