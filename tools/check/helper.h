// A second process for `heed check`: it runs cases and reports what becomes of them. If a driver crashes, it takes only that process with
// it; and two of them compile kernels side by side, which threads cannot, because compilers of OpenCL drivers let one thread of a process
// in at a time.
#ifndef HEED_CHECK_HELPER_H
#define HEED_CHECK_HELPER_H

#include <sys/types.h>

#include "cases/case.h"

typedef struct check_outcome {
  size_t task;
  double seconds;
  case_result result;
} check_outcome;

typedef enum check_topic {
  CHECK_REFUSED,   // `text` says why there is no device; the process ends
  CHECK_OPENED,    // it has `device`
  CHECK_COMPILES,  // its driver compiles the kernel file `text`
  CHECK_BEGINS,    // it begins `task`
  CHECK_ENDED      // that task's `outcome`
} check_topic;

typedef struct check_message {
  check_topic topic;
  union {
    char text[1024];
    heed_device_info device;
    size_t task;
    check_outcome outcome;
  } of;
} check_message;

typedef struct check_helper {
  pid_t pid;  // 0: there is none
  int from;
} check_helper;

// Forks. work(state, to) runs in the child and tells what it does, and the child exits with what it returns. What it, and the driver, print
// goes to stderr, or nowhere if it is `silent`. Call it in a process that has not used OpenCL or threads. If no process can be made,
// helper->pid stays 0.
void check_helper_start(check_helper *helper, bool silent, int (*work)(void *state, int to), void *state);
// The child's side.
void check_helper_tell(int to, const check_message *message);
// Waits for the next message of one of `count` helpers, of which those without a process are silent. Returns the helper that sent it, or
// that ended without another (*ended); NULL: a signal came, or none of them has a process.
check_helper *check_helper_next(check_helper *helpers, int count, check_message *message, bool *ended);
// Waits for the child. Returns true if it ended well; otherwise `reason` says why not.
bool check_helper_end(check_helper *helper, char *reason, size_t size);
// Ends a child whose work is no longer needed.
void check_helper_stop(check_helper *helper);

#endif
