// The ranks of a run that mpirun started: what they tell each other. Every function takes NULL, which is one process alone. mpi.c is for
// builds with MPI, none.c for those without.
//
// All ranks make the same calls. A rank whose work fails between two calls says so in the next one, whichever it is: all others then get its
// status from theirs and leave. Only rank 0 prints; the failure of another comes from it once, with the rank and its machine.
#ifndef HEED_TOOL_RANKS_H
#define HEED_TOOL_RANKS_H

#include <heed/nn.h>

#include "cli/tool.h"

typedef struct tool_ranks tool_ranks;

// Joins the other ranks if there are any; *out is NULL if not. From then on messages and standard output of all but rank 0 go nowhere.
int tool_ranks_open(const char *command, tool_ranks **out);
// Leaves, with the status of this rank's work. Returns the exit status of the run.
int tool_ranks_close(tool_ranks *ranks, int status);
int tool_ranks_own(const tool_ranks *ranks);    // 0, 1, ...
int tool_ranks_count(const tool_ranks *ranks);  // 1 for NULL
static inline bool tool_ranks_leads(const tool_ranks *ranks) { return tool_ranks_own(ranks) == 0; }
// A rank that answers nobody for so many seconds ends the run.
void tool_ranks_set_timeout(tool_ranks *ranks, double seconds);

// Chooses this rank's device for tool_open(); rank 0 says who has which.
int tool_ranks_choose_device(tool_ranks *ranks, tool_args *args);
// After tool_open(): all take rank 0's tuned choices. Rank 0 says if the devices are of several kinds.
int tool_ranks_tune(tool_ranks *ranks, heed_context *ctx);
// heed_tune_verdicts() of this rank's device, and whether all ranks' are the same. Ranks whose devices are of several kinds do not compare.
uint64_t tool_ranks_verdicts(const tool_ranks *ranks, const heed_context *ctx);
int tool_ranks_agree(tool_ranks *ranks, const heed_context *ctx, const uint64_t *all);
// Refuses to share the micro-batches of a step in a way that would change the sum, with a sentence that names what works.
int tool_ranks_check(const tool_ranks *ranks, int64_t micro_batches);

// Without --accumulate a step has one micro-batch a rank; rank 0 warns that the result depends on it.
int tool_ranks_default(const tool_ranks *ranks, const tool_args *args, int64_t *micro_batches);
// What a rank other than 0 does without: notes, JSON, the line of progress.
static inline void tool_ranks_follow(tool_args *args) {
  args->verbosity = TOOL_QUIET;
  args->json = false;
  args->progress->terminal = false;
}

// Returns the first status of a rank that is not TOOL_DONE.
int tool_ranks_vote(tool_ranks *ranks, int status);
// Rank 0 goes first: the others wait here until it has come, too, however long that takes.
int tool_ranks_after_first(tool_ranks *ranks);
// Fails if some rank has other data; `what` names them: "the options".
int tool_ranks_same(tool_ranks *ranks, const char *what, const void *data, size_t bytes);
// Tells whether some rank says yes.
int tool_ranks_any(tool_ranks *ranks, bool own, bool *any);
// all: `bytes` of each rank.
int tool_ranks_gather(tool_ranks *ranks, const void *own, size_t bytes, void *all);
// Rank `from` gives rank 0 a message; only these two call.
int tool_ranks_bring(tool_ranks *ranks, int from, void *data, size_t bytes);

// As in heed/mpi.h.
int64_t tool_ranks_first_piece(const tool_ranks *ranks, int64_t pieces, int rank);
int tool_ranks_reduce(tool_ranks *ranks, heed_tensor *sum, int64_t pieces, heed_tensor *room);
int tool_ranks_spread(tool_ranks *ranks, heed_tensor *values, int64_t pieces);
int tool_ranks_compare(tool_ranks *ranks, const heed_parameter *parameters, size_t count);
// Sums while the backward runs, as heed_mpi_sum.
typedef struct tool_ranks_sum tool_ranks_sum;
int tool_ranks_can_sum_early(tool_ranks *ranks, const heed_tensor *grads, bool *can);
// From here to the end no vote is taken: a rank that fails in between calls tool_ranks_break().
int tool_ranks_sum_begin(tool_ranks *ranks, heed_tensor *grads, int64_t pieces, tool_ranks_sum **out);
int tool_ranks_sum_add(tool_ranks *ranks, tool_ranks_sum *sum, int64_t first, int64_t count);
int tool_ranks_sum_end(tool_ranks *ranks, tool_ranks_sum *sum, double *exchange, double *exposed);
// Ends all ranks with this one's last failure.
int tool_ranks_break(tool_ranks *ranks);
uint64_t tool_ranks_bytes(const tool_ranks *ranks);  // sent so far

#endif
