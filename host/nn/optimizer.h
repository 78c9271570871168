// What an optimizer is inside: its parameters, in runs that one launch steps, and what it remembers of them.
#ifndef HEED__OPTIMIZER_H
#define HEED__OPTIMIZER_H

#include "nn/module.h"

// What a kind may remember of each element; heed_optimizer_state() has their names.
enum heed__optimizer_memory { HEED__MOMENTUM, HEED__EXP_AVG, HEED__EXP_AVG_SQ, HEED__MASTER, HEED__MEMORIES };

// Parameters first .. first + count − 1 of the list, seen as rank 1 tensors: each step needs one launch for them.
struct heed__optimizer_run {
  size_t first, count;
  heed_tensor *value, *grad;
  heed_tensor *memory[HEED__MEMORIES];  // NULL where it remembers nothing of this name
  heed_tensor *decaying;                // I64 [ranges, 2]; NULL: all elements decay
};

struct heed_optimizer {
  heed_parameter *parameters;            // a copy of the list; the tensors are the module's
  heed_tensor **memory[HEED__MEMORIES];  // of each parameter, a view of its run's
  size_t count;
  struct heed__optimizer_run *runs;
  size_t run_count;
  heed_tensor **grads;  // of the runs
  heed_optimizer_config config;
  int64_t steps;
  bool is_counted;       // the device's counts are those of `steps`
  heed_tensor *squares;  // F32 [1]
  heed_tensor *norm;     // F32 [1]; NULL: nobody needs it
  heed_tensor *factor;   // F32 [1]
  heed_tensor *counts;   // I32 [4]
  heed_tensor *applied;  // I32 [1], the first of counts
  heed_tensor *scale;    // F32 [1]; NULL: 1
};

// Splits the parameters into runs and makes what is remembered of them. After a failure, still destroy each run.
heed_status heed__optimizer_runs_create(heed_optimizer *optimizer);
void heed__optimizer_run_destroy(struct heed__optimizer_run *run);

#endif
