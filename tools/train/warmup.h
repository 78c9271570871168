// A second process for the first training on a device that heed has not met. While the first process tests the device, the second has the
// driver compile what training needs, and then puts it into heed's cache. Two processes are needed because compilers of OpenCL drivers let
// one thread of a process in at a time; they keep what they compiled on disk. Nothing depends on this process: what it does not finish is
// compiled later.
#ifndef HEED_TRAIN_WARMUP_H
#define HEED_TRAIN_WARMUP_H

#include <sys/types.h>

#include "train/classifier.h"

typedef struct train_warmup {
  pid_t pid;  // 0: there is none
  int to;
} train_warmup;

// Forks a process that waits. Call it before this process uses OpenCL or starts a thread.
void train_warmup_start(const tool_args *args, train_warmup *w);
// Lets it work if the device is a CPU that heed has not met, and nobody chose what to test (HEED_SELF_TEST).
void train_warmup_go(train_warmup *w, const tool_args *args, const classifier_shape *shape, int64_t batch);
// Ends it.
void train_warmup_stop(train_warmup *w);

#endif
