// The ranks of a run, by heed_mpi.
#include <heed/mpi.h>
#include <heed/tune.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranks/ranks.h"

struct tool_ranks {
  heed_mpi *mpi;
  const char *command;
  bool left;   // a rank has failed, and all know
  bool mixed;  // devices are of several kinds, which may have other kernels
  double timeout;
};

// ---------------------------------------------------------------- failures

// A call between ranks has failed on this one, and the others wait for it: all end here.
static int break_off(tool_ranks *ranks, const char *message) {
  const int own = heed_mpi_rank(ranks->mpi);
  tool_messages_hold(false);
  if (own == 0)
    tool_fail(ranks->command, "%s", message);
  else
    tool_fail(ranks->command, "[rank %d on %s] %s", own, heed_mpi_host(ranks->mpi, own), message);
  fflush(stdout);
  heed_mpi_abort(ranks->mpi, TOOL_FAILED);
  return TOOL_FAILED;
}

#define RANKS_TRY(ranks, call)                                             \
  do {                                                                     \
    if ((call) != HEED_OK) return break_off(ranks, heed_mpi_last_error()); \
  } while (0)

// Some rank has failed, and all know its status. Rank 0 says how.
static int tell_failure(tool_ranks *ranks, int failed, int status) {
  char text[1024] = "";
  const int own = heed_mpi_rank(ranks->mpi);
  ranks->left = true;
  if (own == failed) snprintf(text, sizeof text, "%s", tool_last_failure());
  RANKS_TRY(ranks, heed_mpi_broadcast(ranks->mpi, failed, text, sizeof text));
  if (own == 0 && failed > 0)
    tool_fail(ranks->command, "[rank %d on %s] %s", failed, heed_mpi_host(ranks->mpi, failed), text);
  return status;
}

// Every rank's status, and data beside it, in one message. Returns the first status that is not TOOL_DONE.
static int gather(tool_ranks *ranks, int status, const void *own, size_t bytes, void *all) {
  const int count = heed_mpi_ranks(ranks->mpi);
  const size_t each = sizeof status + bytes;
  char *parts = malloc(each * (size_t)(count + 1)), *mine = parts;
  if (!parts) return break_off(ranks, "out of memory");
  memcpy(mine, &status, sizeof status);
  if (bytes > 0) memcpy(mine + sizeof status, own, bytes);
  const heed_status gathered = heed_mpi_gather(ranks->mpi, mine, each, parts + each);
  int failed = -1;
  for (int rank = count - 1; rank >= 0 && gathered == HEED_OK; rank--) {
    int other;
    const char *part = parts + each * (size_t)(rank + 1);
    memcpy(&other, part, sizeof other);
    if (bytes > 0) memcpy((char *)all + bytes * (size_t)rank, part + sizeof other, bytes);
    if (other != TOOL_DONE) failed = rank, status = other;
  }
  free(parts);
  RANKS_TRY(ranks, gathered);
  return failed < 0 ? TOOL_DONE : tell_failure(ranks, failed, status);
}

int tool_ranks_vote(tool_ranks *ranks, int status) {
  return !ranks || ranks->left ? status : gather(ranks, status, NULL, 0, NULL);
}

// ---------------------------------------------------------------- joining and leaving

int tool_ranks_open(const char *command, tool_ranks **out) {
  *out = NULL;
  if (!heed_mpi_is_started()) return TOOL_DONE;
  tool_ranks *ranks = calloc(1, sizeof *ranks);
  if (!ranks) return tool_fail(command, "out of memory");
  ranks->command = command;
  if (heed_mpi_open(&ranks->mpi) != HEED_OK) {
    free(ranks);
    return tool_fail(command, "%s", heed_mpi_last_error());
  }
  if (heed_mpi_ranks(ranks->mpi) == 1) {
    heed_mpi_close(ranks->mpi);
    free(ranks);
    return TOOL_DONE;
  }
  if (heed_mpi_rank(ranks->mpi) > 0) {
    tool_messages_hold(true);
    if (!freopen("/dev/null", "w", stdout)) return break_off(ranks, "/dev/null cannot be opened");
  }
  *out = ranks;
  return TOOL_DONE;
}

int tool_ranks_close(tool_ranks *ranks, int status) {
  if (!ranks) return status;
  if (!ranks->left) {
    const int all = tool_ranks_vote(ranks, status == TOOL_INTERRUPTED ? TOOL_DONE : status);
    if (all != TOOL_DONE) status = all;
  }
  heed_mpi_close(ranks->mpi);
  free(ranks);
  return status;
}

int tool_ranks_own(const tool_ranks *ranks) { return ranks ? heed_mpi_rank(ranks->mpi) : 0; }
int tool_ranks_count(const tool_ranks *ranks) { return ranks ? heed_mpi_ranks(ranks->mpi) : 1; }

void tool_ranks_set_timeout(tool_ranks *ranks, double seconds) {
  if (!ranks) return;
  ranks->timeout = seconds;
  heed_mpi_set_timeout(ranks->mpi, seconds);
}

// ---------------------------------------------------------------- devices

static int tell_devices(tool_ranks *ranks, const tool_args *args, const char *text) {
  const int count = heed_mpi_ranks(ranks->mpi);
  char(*all)[HEED_MPI_TEXT] = calloc((size_t)count, sizeof *all);
  if (!all) return break_off(ranks, "out of memory");
  const heed_status status = heed_mpi_gather(ranks->mpi, text, sizeof *all, all);
  for (int rank = 0; status == HEED_OK && rank < count; rank++) tool_note(args, "rank %d: %s", rank, all[rank]);
  free(all);
  RANKS_TRY(ranks, status);
  return TOOL_DONE;
}

int tool_ranks_choose_device(tool_ranks *ranks, tool_args *args) {
  if (!ranks) return TOOL_DONE;
  TOOL_TRY(tool_ranks_vote(ranks, TOOL_DONE));
  heed_open_options options = {0};
  char text[HEED_MPI_TEXT] = "";
  const heed_status status = heed_mpi_device(ranks->mpi, args->device, &options, text);
  if (status == HEED_ERROR_RANK) return break_off(ranks, heed_mpi_last_error());
  TOOL_TRY(
      tool_ranks_vote(ranks, status == HEED_OK ? TOOL_DONE : tool_fail(args->command, "%s", heed_mpi_last_error())));
  args->device = options.device;
  args->parts = options.parts;
  args->part = options.part;
  return tell_devices(ranks, args, text);
}

// A kind of device: what its results may depend on.
static void write_kind(const heed_context *ctx, char kind[HEED_MPI_TEXT]) {
  const heed_device_info *info = heed_context_device(ctx);
  memset(kind, 0, HEED_MPI_TEXT);
  snprintf(kind, HEED_MPI_TEXT, "%s, driver %s, heed %s", info->name, info->driver, heed_version());
}

static int compare_kinds(tool_ranks *ranks, const heed_context *ctx, bool *same) {
  char own[HEED_MPI_TEXT], first[HEED_MPI_TEXT];
  write_kind(ctx, own);
  memcpy(first, own, sizeof own);
  RANKS_TRY(ranks, heed_mpi_broadcast(ranks->mpi, 0, first, sizeof first));
  *same = strcmp(own, first) == 0;
  bool differs = false;
  TOOL_TRY(tool_ranks_any(ranks, !*same, &differs));
  ranks->mixed = differs;
  if (differs && heed_mpi_rank(ranks->mpi) == 0)
    tool_say(ranks->command,
             "warning: the ranks' devices are of several kinds; the bits of the result depend on which rank has which");
  return TOOL_DONE;
}

static int load_tuning(const tool_ranks *ranks, heed_context *ctx, const char *text) {
  const char *folder = getenv("TMPDIR");
  char *path = NULL;
  if (asprintf(&path, "%s/heed-tune-XXXXXX", folder && *folder ? folder : "/tmp") < 0)
    return tool_fail(ranks->command, "out of memory");
  const int file = mkstemp(path);
  const size_t length = strlen(text);
  const bool written = file >= 0 && write(file, text, length) == (ssize_t)length;
  heed_status status = written ? heed_tune_load(ctx, path) : HEED_ERROR_IO;
  if (!written) tool_fail(ranks->command, "%s: cannot write rank 0's tuned choices", path);
  if (written && status != HEED_OK) tool_fail_status(ranks->command, status);
  if (file >= 0) {
    close(file);
    unlink(path);
  }
  free(path);
  return status == HEED_OK ? TOOL_DONE : TOOL_FAILED;
}

static int spread_tuning(tool_ranks *ranks, char *text, uint64_t length, heed_context *ctx, bool loads) {
  char *copy = text ? text : calloc(1, length + 1);
  if (!copy) return break_off(ranks, "out of memory");
  const heed_status status = heed_mpi_broadcast(ranks->mpi, 0, copy, length);
  int result = TOOL_DONE;
  if (status == HEED_OK && loads) result = load_tuning(ranks, ctx, copy);
  if (!text) free(copy);
  RANKS_TRY(ranks, status);
  return tool_ranks_vote(ranks, result);
}

int tool_ranks_tune(tool_ranks *ranks, heed_context *ctx) {
  if (!ranks) return TOOL_DONE;
  bool same = false;
  char *text = NULL;
  TOOL_TRY(tool_ranks_vote(ranks, TOOL_DONE));
  TOOL_TRY(compare_kinds(ranks, ctx, &same));
  const bool leads = heed_mpi_rank(ranks->mpi) == 0;
  if (leads && heed_tune_json(ctx, &text) != HEED_OK) text = NULL;  // the host has nothing to tune
  uint64_t length = text ? strlen(text) : 0;
  RANKS_TRY(ranks, heed_mpi_broadcast(ranks->mpi, 0, &length, sizeof length));
  const int status = length > 0 ? spread_tuning(ranks, text, length, ctx, same && !leads) : TOOL_DONE;
  free(text);
  return status;
}

uint64_t tool_ranks_verdicts(const tool_ranks *ranks, const heed_context *ctx) {
  return !ranks || ranks->mixed ? 0 : heed_tune_verdicts(ctx);
}

int tool_ranks_agree(tool_ranks *ranks, const heed_context *ctx, const uint64_t *all) {
  const int own = heed_mpi_rank(ranks->mpi), count = heed_mpi_ranks(ranks->mpi);
  int differs = 0;
  for (int rank = 0; rank < count; rank++) differs += all[rank] != all[0];
  if (differs == 0) return TOOL_DONE;
  const char *notice = heed_context_notice(ctx);
  return tool_ranks_vote(
      ranks, all[own] == all[0]
                 ? TOOL_DONE
                 : tool_fail(ranks->command,
                             "it takes other kernels than rank 0, so the bits would depend on which rank has which "
                             "device: HEED_GEMM or HEED_GEMM_PROBE is another, or a kernel computes wrong or fails on "
                             "one of them alone%s%s",
                             *notice ? "; here: " : "", notice));
}

// ---------------------------------------------------------------- micro-batches

int tool_ranks_check(const tool_ranks *ranks, int64_t micro_batches) {
  const int count = tool_ranks_count(ranks);
  if (!ranks || heed_mpi_can_share(micro_batches, count)) return TOOL_DONE;
  char works[256] = "1";
  size_t used = 1;
  for (int64_t ranks_too = 2; heed_mpi_can_share(micro_batches, ranks_too) && used < sizeof works; ranks_too *= 2)
    used += (size_t)snprintf(works + used, sizeof works - used, ", %" PRId64, ranks_too);
  return tool_usage(ranks->command,
                    "%d ranks cannot share the %" PRId64
                    " micro-batches of --accumulate without changing their sum; "
                    "a power of two that divides them can: %s",
                    count, micro_batches, works);
}

int tool_ranks_default(const tool_ranks *ranks, const tool_args *args, int64_t *micro_batches) {
  const int count = tool_ranks_count(ranks);
  if (!ranks) return TOOL_DONE;
  if ((count & (count - 1)) != 0)
    return tool_usage(ranks->command, "the number of ranks must be a power of two, such as 2 or 4; it is %d", count);
  *micro_batches = count;
  tool_note(args,
            "warning: without --accumulate a step has one micro-batch a rank, so the result depends on how many there "
            "are; --accumulate %d keeps it",
            count);
  return TOOL_DONE;
}

int64_t tool_ranks_first_piece(const tool_ranks *ranks, int64_t pieces, int rank) {
  return ranks ? heed_mpi_first_piece(pieces, rank, heed_mpi_ranks(ranks->mpi)) : 0;
}

// ---------------------------------------------------------------- messages

int tool_ranks_after_first(tool_ranks *ranks) {
  if (!ranks) return TOOL_DONE;
  heed_mpi_set_timeout(ranks->mpi, 0);
  const int status = tool_ranks_vote(ranks, TOOL_DONE);
  heed_mpi_set_timeout(ranks->mpi, ranks->timeout);
  return status;
}

int tool_ranks_same(tool_ranks *ranks, const char *what, const void *data, size_t bytes) {
  if (!ranks) return TOOL_DONE;
  char *first = malloc(bytes + 1);
  uint64_t length = bytes;
  if (!first) return break_off(ranks, "out of memory");
  memcpy(first, data, bytes);
  heed_status status = heed_mpi_broadcast(ranks->mpi, 0, &length, sizeof length);
  bool same = length == bytes;
  int result = TOOL_DONE;
  if (status == HEED_OK)
    result = tool_ranks_vote(ranks, same ? TOOL_DONE : tool_fail(ranks->command, "%s differ from rank 0's", what));
  if (status == HEED_OK && result == TOOL_DONE) {
    status = heed_mpi_broadcast(ranks->mpi, 0, first, bytes);
    same = memcmp(first, data, bytes) == 0;
    if (status == HEED_OK)
      result = tool_ranks_vote(ranks, same ? TOOL_DONE : tool_fail(ranks->command, "%s differ from rank 0's", what));
  }
  free(first);
  RANKS_TRY(ranks, status);
  return result;
}

int tool_ranks_any(tool_ranks *ranks, bool own, bool *any) {
  *any = own;
  if (!ranks) return TOOL_DONE;
  const int count = heed_mpi_ranks(ranks->mpi);
  bool *all = calloc((size_t)count, sizeof *all);
  if (!all) return break_off(ranks, "out of memory");
  const int status = gather(ranks, TOOL_DONE, &own, sizeof own, all);
  for (int rank = 0; rank < count; rank++) *any = *any || all[rank];
  free(all);
  return status;
}

int tool_ranks_gather(tool_ranks *ranks, const void *own, size_t bytes, void *all) {
  if (ranks) return gather(ranks, TOOL_DONE, own, bytes, all);
  memcpy(all, own, bytes);
  return TOOL_DONE;
}

int tool_ranks_bring(tool_ranks *ranks, int from, void *data, size_t bytes) {
  if (heed_mpi_rank(ranks->mpi) == from) RANKS_TRY(ranks, heed_mpi_send(ranks->mpi, 0, data, bytes));
  if (heed_mpi_rank(ranks->mpi) == 0) RANKS_TRY(ranks, heed_mpi_receive(ranks->mpi, from, data, bytes));
  return TOOL_DONE;
}

// ---------------------------------------------------------------- tensors

int tool_ranks_reduce(tool_ranks *ranks, heed_tensor *sum, int64_t pieces, heed_tensor *room) {
  if (!ranks) return TOOL_DONE;
  TOOL_TRY(tool_ranks_vote(ranks, TOOL_DONE));
  RANKS_TRY(ranks, heed_mpi_reduce(ranks->mpi, sum, pieces, room));
  return TOOL_DONE;
}

int tool_ranks_spread(tool_ranks *ranks, heed_tensor *values, int64_t pieces) {
  if (!ranks) return TOOL_DONE;
  TOOL_TRY(tool_ranks_vote(ranks, TOOL_DONE));
  RANKS_TRY(ranks, heed_mpi_spread(ranks->mpi, values, pieces));
  return TOOL_DONE;
}

// Every rank finds the same difference.
int tool_ranks_compare(tool_ranks *ranks, const heed_parameter *parameters, size_t count) {
  if (!ranks) return TOOL_DONE;
  TOOL_TRY(tool_ranks_vote(ranks, TOOL_DONE));
  const heed_status status = heed_mpi_compare(ranks->mpi, parameters, count);
  if (status != HEED_ERROR_MISMATCH) {
    RANKS_TRY(ranks, status);
    return TOOL_DONE;
  }
  return tool_ranks_vote(ranks, tool_fail(ranks->command, "%s", heed_mpi_last_error()));
}

// ---------------------------------------------------------------- sums while the backward runs

int tool_ranks_break(tool_ranks *ranks) {
  char text[1024];
  snprintf(text, sizeof text, "%s", tool_last_failure());
  return break_off(ranks, text);
}

int tool_ranks_can_sum_early(tool_ranks *ranks, const heed_tensor *grads, bool *can) {
  *can = false;
  if (!ranks) return TOOL_DONE;
  bool some_cannot = false;
  TOOL_TRY(tool_ranks_any(ranks, !heed_mpi_adds_alike(grads), &some_cannot));
  *can = !some_cannot;
  return TOOL_DONE;
}

int tool_ranks_sum_begin(tool_ranks *ranks, heed_tensor *grads, int64_t pieces, tool_ranks_sum **out) {
  TOOL_TRY(tool_ranks_vote(ranks, TOOL_DONE));
  RANKS_TRY(ranks, heed_mpi_sum_begin(ranks->mpi, grads, pieces, (heed_mpi_sum **)out));
  return TOOL_DONE;
}

int tool_ranks_sum_add(tool_ranks *ranks, tool_ranks_sum *sum, int64_t first, int64_t count) {
  RANKS_TRY(ranks, heed_mpi_sum_add((heed_mpi_sum *)sum, first, count));
  return TOOL_DONE;
}

int tool_ranks_sum_end(tool_ranks *ranks, tool_ranks_sum *sum, double *exchange, double *exposed) {
  heed_mpi_times times = {0};
  RANKS_TRY(ranks, heed_mpi_sum_end((heed_mpi_sum *)sum, &times));
  *exchange = times.exchange;
  *exposed = times.exposed;
  return TOOL_DONE;
}

uint64_t tool_ranks_bytes(const tool_ranks *ranks) { return ranks ? heed_mpi_bytes(ranks->mpi) : 0; }
