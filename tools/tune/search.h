// The search for the fastest choice of one class of calls.
#ifndef HEED_TOOL_TUNE_SEARCH_H
#define HEED_TOOL_TUNE_SEARCH_H

#include <signal.h>

#include "tune/tune.h"

typedef struct tune_search_env {
  const char *command;
  heed_context *ctx, *host;
  tool_progress *progress;
  double deadline, last, end;  // ends of this class's search, of its last timings, of all classes; as tool_seconds()
  const volatile sig_atomic_t *interrupted;
} tune_search_env;

typedef struct tune_outcome {
  heed_tune_choice before, after;     // the same if nothing is clearly faster
  double before_ms, after_ms, ratio;  // 0 ms: nothing was timed
  int tried, discarded;
  bool entered;    // `after` is a new entry in the context's table, with `speedup`
  double speedup;  // over heed's own choice
  bool broken;     // heed's own choice computes wrong results: there is nothing to compare with
} tune_outcome;

// Starts from the choice in the context's table, and enters what it finds there. At the deadline it stops and keeps what it has.
// Errors: the device's, for heed's own choice. A choice that fails is discarded.
heed_status tune_search(const tune_search_env *env, const tune_class *class, tune_outcome *outcome);

#endif
