// What one rank does of a step, and of the optimizer's state: a branch of the tree of micro-batches, and a range of the elements of all
// parameters. One process alone has all of both.
#ifndef HEED_TOOL_SHARE_H
#define HEED_TOOL_SHARE_H

#include "ranks/ranks.h"

// Where a step's time went, on this rank: until the gradients were there; in sums that met over the ranks, and how much of that came after
// the backward; in the values that came back. All in seconds.
typedef struct tool_trace {
  double began, computed;  // as tool_seconds()
  double sum, exposed, spread;
  uint64_t bytes;  // sent
} tool_trace;

typedef struct tool_share {
  const char *command;
  tool_ranks *ranks;
  const heed_parameter *parameters;  // of the module
  size_t count;
  int64_t micro_batches, first_micro, own_micro;  // of a step; this rank's
  int64_t pieces, elements;
  int64_t first, end;           // this rank's elements
  const heed_parameter *own;    // the parts of parameters that lie there, for the optimizer
  size_t own_first, own_count;  // own[i] is a part of parameters[own_first + i]
  heed_parameter *views;
  heed_grad_tree *tree;
  heed_tensor *values;            // [elements]; NULL for one process
  heed_tensor *room;              // [elements / 2], as the gradients; NULL for one process
  bool no_norm;                   // nobody asks for share->square
  bool early;                     // sums begin while the backward runs
  tool_ranks_sum *sum;            // of the step that is under way; NULL: none
  tool_trace trace;               // of the last step
  heed_tensor *squares, *square;  // F32 [pieces], [1]; NULL: the optimizer sums the squares itself
  heed_tensor *numbers;  // F32 [pieces + micro-batches]: the squares, and room for losses; NULL for one process
} tool_share;

// For the parameters of one module. Call tool_share_close() also after a failure.
int tool_share_open(const char *command, tool_ranks *ranks, const heed_parameter *parameters, size_t count,
                    int64_t micro_batches, tool_share *share);
void tool_share_close(tool_share *share);
// Before a step's first micro-batch.
void tool_share_begin(tool_share *share);
// Tells whether gradients of this micro-batch's backward should be handed on as soon as they are final, by tool_share_final().
bool tool_share_is_last(const tool_share *share, int64_t micro);
int tool_share_start_sum(tool_share *share);
// As heed_transformer_loss_options.final; user: the share.
heed_status tool_share_final(size_t first, size_t count, void *share);
// After the backwards of this rank's micro-batches: leaves the sum of all of them in its elements of the gradients, share->square for
// heed_optimizer_config.squares, and in losses, F32 [micro_batches], those of the other ranks beside its own.
int tool_share_sum(tool_share *share, heed_tensor *losses);
// After the optimizer's step: gives its elements of the values to all.
int tool_share_spread(tool_share *share);

// Brings what the optimizer remembers of parameter i ("master", "exp_avg", ...) together on rank 0: `data` has room for all its elements on
// every rank, and is complete on rank 0. All ranks call.
int tool_share_gather(const tool_share *share, const heed_optimizer *optimizer, const char *part, size_t i,
                      float *data);
// Tells whether the optimizer remembers this.
bool tool_share_has(const tool_share *share, const heed_optimizer *optimizer, const char *part);
// Sets this rank's part of it.
int tool_share_set(const tool_share *share, const heed_optimizer *optimizer, const char *part, size_t i,
                   const float *data);

#endif
