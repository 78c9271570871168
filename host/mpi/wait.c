// Waiting for messages, and finding out which rank no longer answers. A rank that waits itself answers questions meanwhile, so those that do
// not are those that hang.
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mpi/world.h"

enum { ASK = 1, ANSWER = 2 };
// Seconds: between two looks at questions; for an answer; in which the lowest rank that answers reports before others do.
static const double look_every = 0.01, answer_within = 3, report_within = 3;
// Pauses between two tests of what is awaited: a share of the time that it has taken, so that what it lasts longer stays small, too.
static const double least_pause = 50e-6, pause_share = 0.02, most_pause = 1e-3;

// ---------------------------------------------------------------- questions

// Takes all messages of a kind; answers a question, and marks whose answer it is.
static void take(heed_mpi *mpi, int kind, bool *answered) {
  for (int there = 1; there;) {
    MPI_Status from;
    if (MPI_Iprobe(MPI_ANY_SOURCE, kind, mpi->control, &there, &from) != MPI_SUCCESS || !there) return;
    MPI_Recv(NULL, 0, MPI_BYTE, from.MPI_SOURCE, kind, mpi->control, MPI_STATUS_IGNORE);
    MPI_Request sent;
    if (kind == ANSWER && answered)
      answered[from.MPI_SOURCE] = true;
    else if (kind == ASK && MPI_Isend(NULL, 0, MPI_BYTE, from.MPI_SOURCE, ANSWER, mpi->control, &sent) == MPI_SUCCESS)
      MPI_Request_free(&sent);
  }
}

static void pause_for(double seconds) {
  const struct timespec time = {.tv_nsec = (long)(seconds * 1e9)};
  nanosleep(&time, NULL);
}

// Answers others for some time, or until what is awaited is there.
static heed_status answer_for(heed_mpi *mpi, double seconds, const struct heed__mpi_awaited *awaited, bool *answered,
                              bool *done) {
  for (const double start = heed__mpi_seconds(); !*done && heed__mpi_seconds() - start < seconds;) {
    take(mpi, ASK, NULL);
    take(mpi, ANSWER, answered);
    HEED__MPI_TRY(awaited->test(awaited->user, done));
    pause_for(look_every);
  }
  return HEED_OK;
}

static heed_status blame(heed_mpi *mpi, const bool *answered, const char *what) {
  char others[32] = "";
  int first = -1, silent = 0;
  for (int rank = 0; rank < mpi->ranks; ++rank) {
    if (answered[rank]) continue;
    if (first < 0) first = rank;
    ++silent;
  }
  if (silent > 1) snprintf(others, sizeof others, " and %d other%s", silent - 1, silent > 2 ? "s" : "");
  return heed__mpi_fail(HEED_ERROR_RANK, "rank %d on %s%s %s not answered for %g s (%s)", first, mpi->names[first],
                        others, silent > 1 ? "have" : "has", mpi->timeout, what);
}

// Returns with OK when there is reason to go on waiting.
static heed_status ask_all(heed_mpi *mpi, const struct heed__mpi_awaited *awaited, bool *answered, bool *done) {
  bool silent = false, lower = false;
  for (int rank = 0; rank < mpi->ranks; ++rank) {
    MPI_Request sent;
    answered[rank] = rank == mpi->rank;
    if (rank != mpi->rank && MPI_Isend(NULL, 0, MPI_BYTE, rank, ASK, mpi->control, &sent) == MPI_SUCCESS)
      MPI_Request_free(&sent);
  }
  HEED__MPI_TRY(answer_for(mpi, answer_within, awaited, answered, done));
  for (int rank = 0; rank < mpi->ranks; ++rank) {
    silent = silent || !answered[rank];
    lower = lower || (rank < mpi->rank && answered[rank]);
  }
  if (*done || !silent) return HEED_OK;
  if (lower) HEED__MPI_TRY(answer_for(mpi, report_within, awaited, answered, done));
  return *done ? HEED_OK : blame(mpi, answered, awaited->what);
}

// ---------------------------------------------------------------- waiting

heed_status heed__mpi_await(heed_mpi *mpi, const struct heed__mpi_awaited *awaited) {
  double start = heed__mpi_seconds(), looked = start;
  for (int64_t turn = 0;; ++turn) {
    bool done = false;
    HEED__MPI_TRY(awaited->test(awaited->user, &done));
    if (done) return HEED_OK;
    const double now = heed__mpi_seconds();
    if (now - looked > look_every) {
      take(mpi, ASK, NULL);
      looked = now;
    }
    if (mpi->timeout > 0 && now - start > mpi->timeout) {
      bool *answered = calloc((size_t)mpi->ranks, sizeof *answered);
      if (!answered) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory to ask %d ranks", mpi->ranks);
      const heed_status status = ask_all(mpi, awaited, answered, &done);
      free(answered);
      if (status != HEED_OK || done) return status;
      start = heed__mpi_seconds();
    }
    // Others may need the core: that of a rank's device, most of all. A message of another machine takes some microseconds.
    if (turn < 200)
      sched_yield();
    else
      pause_for(fmin(fmax(least_pause, pause_share * (now - start)), most_pause));
  }
}

struct requests {
  MPI_Request *list;
  int count;
  const char *what;
};

static heed_status test_requests(void *user, bool *done) {
  const struct requests *requests = user;
  return heed__mpi_test(requests->list, requests->count, done, requests->what);
}

heed_status heed__mpi_wait(heed_mpi *mpi, MPI_Request *list, int count, const char *what) {
  struct requests requests = {list, count, what};
  return heed__mpi_await(mpi, &(struct heed__mpi_awaited){test_requests, &requests, what});
}
