// For builds without MPI: there is one process alone.
#include <stdlib.h>
#include <string.h>

#include "ranks/ranks.h"

// A launcher's variables that tell how many processes it started.
static bool has_others(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *count = getenv(names[i]);
    if (count && strcmp(count, "1") != 0) return true;
  }
  return false;
}

int tool_ranks_open(const char *command, tool_ranks **out) {
  *out = NULL;
  if (!has_others()) return TOOL_DONE;
  return tool_fail(command,
                   "this heed was built without MPI, so processes cannot train together; build it with HEED_MPI=ON");
}

int tool_ranks_close(tool_ranks *ranks, int status) { return (void)ranks, status; }
int tool_ranks_own(const tool_ranks *ranks) { return (void)ranks, 0; }
int tool_ranks_count(const tool_ranks *ranks) { return (void)ranks, 1; }
void tool_ranks_set_timeout(tool_ranks *ranks, double seconds) { (void)ranks, (void)seconds; }
int tool_ranks_choose_device(tool_ranks *ranks, tool_args *args) { return (void)ranks, (void)args, TOOL_DONE; }
int tool_ranks_tune(tool_ranks *ranks, heed_context *ctx) { return (void)ranks, (void)ctx, TOOL_DONE; }
uint64_t tool_ranks_verdicts(const tool_ranks *ranks, const heed_context *ctx) { return (void)ranks, (void)ctx, 0; }
int tool_ranks_agree(tool_ranks *ranks, const heed_context *ctx, const uint64_t *all) {
  return (void)ranks, (void)ctx, (void)all, TOOL_DONE;
}
int tool_ranks_check(const tool_ranks *ranks, int64_t micro_batches) {
  return (void)ranks, (void)micro_batches, TOOL_DONE;
}
int tool_ranks_default(const tool_ranks *ranks, const tool_args *args, int64_t *micro_batches) {
  return (void)ranks, (void)args, (void)micro_batches, TOOL_DONE;
}

int tool_ranks_vote(tool_ranks *ranks, int status) { return (void)ranks, status; }
int tool_ranks_after_first(tool_ranks *ranks) { return (void)ranks, TOOL_DONE; }
int tool_ranks_same(tool_ranks *ranks, const char *what, const void *data, size_t bytes) {
  return (void)ranks, (void)what, (void)data, (void)bytes, TOOL_DONE;
}

int tool_ranks_any(tool_ranks *ranks, bool own, bool *any) {
  (void)ranks;
  *any = own;
  return TOOL_DONE;
}

int tool_ranks_gather(tool_ranks *ranks, const void *own, size_t bytes, void *all) {
  (void)ranks;
  memcpy(all, own, bytes);
  return TOOL_DONE;
}

int tool_ranks_bring(tool_ranks *ranks, int from, void *data, size_t bytes) {
  return (void)ranks, (void)from, (void)data, (void)bytes, TOOL_DONE;
}

int64_t tool_ranks_first_piece(const tool_ranks *ranks, int64_t pieces, int rank) {
  return (void)ranks, (void)pieces, (void)rank, 0;
}

int tool_ranks_reduce(tool_ranks *ranks, heed_tensor *sum, int64_t pieces, heed_tensor *room) {
  return (void)ranks, (void)sum, (void)pieces, (void)room, TOOL_DONE;
}

int tool_ranks_spread(tool_ranks *ranks, heed_tensor *values, int64_t pieces) {
  return (void)ranks, (void)values, (void)pieces, TOOL_DONE;
}

int tool_ranks_compare(tool_ranks *ranks, const heed_parameter *parameters, size_t count) {
  return (void)ranks, (void)parameters, (void)count, TOOL_DONE;
}

uint64_t tool_ranks_bytes(const tool_ranks *ranks) { return (void)ranks, 0; }

int tool_ranks_can_sum_early(tool_ranks *ranks, const heed_tensor *grads, bool *can) {
  (void)ranks, (void)grads;
  *can = false;
  return TOOL_DONE;
}

int tool_ranks_sum_begin(tool_ranks *ranks, heed_tensor *grads, int64_t pieces, tool_ranks_sum **out) {
  return (void)ranks, (void)grads, (void)pieces, (void)out, TOOL_FAILED;
}

int tool_ranks_sum_add(tool_ranks *ranks, tool_ranks_sum *sum, int64_t first, int64_t count) {
  return (void)ranks, (void)sum, (void)first, (void)count, TOOL_FAILED;
}

int tool_ranks_sum_end(tool_ranks *ranks, tool_ranks_sum *sum, double *exchange, double *exposed) {
  return (void)ranks, (void)sum, (void)exchange, (void)exposed, TOOL_FAILED;
}

int tool_ranks_break(tool_ranks *ranks) { return (void)ranks, TOOL_FAILED; }
