// The ranks of a run: joining them, leaving them, and what is known of each.
#include "mpi/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------- joining

bool heed_mpi_is_started(void) {
  // Open MPI; MPICH and what is like it; launchers that speak PMIx.
  static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMIX_RANK"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
    if (getenv(names[i])) return true;
  return false;
}

static heed_status join(heed_mpi *mpi) {
  char name[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  HEED__MPI_TRY(heed__mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &mpi->all), "MPI_Comm_dup"));
  HEED__MPI_TRY(heed__mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &mpi->control), "MPI_Comm_dup"));
  MPI_Comm_set_errhandler(mpi->all, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(mpi->control, MPI_ERRORS_RETURN);
  MPI_Comm_rank(mpi->all, &mpi->rank);
  MPI_Comm_size(mpi->all, &mpi->ranks);
  HEED__MPI_TRY(
      heed__mpi_check(MPI_Comm_split_type(mpi->all, MPI_COMM_TYPE_SHARED, mpi->rank, MPI_INFO_NULL, &mpi->machine),
                      "MPI_Comm_split_type"));
  MPI_Comm_set_errhandler(mpi->machine, MPI_ERRORS_RETURN);
  MPI_Get_processor_name(name, &length);
  char own[HEED__MPI_NAME] = "";
  snprintf(own, sizeof own, "%s", name);
  mpi->names = calloc((size_t)mpi->ranks, sizeof *mpi->names);
  if (!mpi->names) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %d ranks", mpi->ranks);
  return heed_mpi_gather(mpi, own, sizeof own, mpi->names);
}

heed_status heed_mpi_open(heed_mpi **out) {
  if (!out) return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_open: out is NULL");
  *out = NULL;
  heed_mpi *mpi = calloc(1, sizeof *mpi);
  if (!mpi) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for the ranks of a run");
  mpi->all = mpi->control = mpi->machine = MPI_COMM_NULL;
  int initialized = 0, provided = 0;
  heed_status status = heed__mpi_check(MPI_Initialized(&initialized), "MPI_Initialized");
  if (status == HEED_OK && !initialized) {
    status = heed__mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    mpi->finalizes = status == HEED_OK;
  }
  if (status == HEED_OK) status = join(mpi);
  if (status != HEED_OK) {
    heed_mpi_close(mpi);
    return status;
  }
  *out = mpi;
  return HEED_OK;
}

void heed_mpi_close(heed_mpi *mpi) {
  if (!mpi) return;
  MPI_Comm *const parts[] = {&mpi->machine, &mpi->control, &mpi->all};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i)
    if (*parts[i] != MPI_COMM_NULL) MPI_Comm_free(parts[i]);
  if (mpi->finalizes) MPI_Finalize();
  free(mpi->names);
  for (int i = 0; i < 2; ++i) heed_host_memory_destroy(mpi->room[i].memory);
  free(mpi);
}

void heed_mpi_abort(heed_mpi *mpi, int status) {
  if (mpi) MPI_Abort(MPI_COMM_WORLD, status);
}

// ---------------------------------------------------------------- what is known

int heed_mpi_rank(const heed_mpi *mpi) { return mpi ? mpi->rank : 0; }
int heed_mpi_ranks(const heed_mpi *mpi) { return mpi ? mpi->ranks : 0; }
uint64_t heed_mpi_bytes(const heed_mpi *mpi) { return mpi ? mpi->bytes : 0; }

const char *heed_mpi_host(const heed_mpi *mpi, int rank) {
  return mpi && rank >= 0 && rank < mpi->ranks ? mpi->names[rank] : "";
}

void heed_mpi_set_timeout(heed_mpi *mpi, double seconds) {
  if (mpi) mpi->timeout = seconds > 0 ? seconds : 0;
}
