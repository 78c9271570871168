// What heed_mpi is inside, and how its files wait for messages and report failures.
#ifndef HEED__MPI_WORLD_H
#define HEED__MPI_WORLD_H

#include <heed/mpi.h>
#include <mpi.h>

enum { HEED__MPI_NAME = 64 };

struct heed_mpi {
  MPI_Comm all;      // messages of the calls
  MPI_Comm control;  // who still answers
  MPI_Comm machine;  // the ranks of this machine
  int rank, ranks;
  bool finalizes;
  double timeout;  // seconds; 0: none
  uint64_t bytes;
  char (*names)[HEED__MPI_NAME];  // machines, by rank
  char device[128];               // heed_open_options.device
  // Host memory that calls keep: what goes out, what comes in. It suits the device of the context that it was made for.
  struct heed__mpi_room {
    heed_host_memory *memory;
    const heed_context *ctx;
    size_t bytes;
  } room[2];
};

// Sets heed_mpi_last_error(); returns status.
__attribute__((format(printf, 2, 3))) heed_status heed__mpi_fail(heed_status status, const char *format, ...);
heed_status heed__mpi_fail_heed(heed_status status);       // takes over heed_last_error()
heed_status heed__mpi_check(int error, const char *what);  // the status of an MPI call
heed_status heed__mpi_room(heed_mpi *mpi, int which, heed_context *ctx, size_t bytes, char **out);
double heed__mpi_seconds(void);

// Calls `test` until it sets *done, and answers other ranks meanwhile. Errors: those of test; RANK, when a rank no longer answers.
struct heed__mpi_awaited {
  heed_status (*test)(void *user, bool *done);
  void *user;
  const char *what;
};
heed_status heed__mpi_await(heed_mpi *mpi, const struct heed__mpi_awaited *awaited);
// Tells whether all requests are done.
heed_status heed__mpi_test(MPI_Request *list, int count, bool *done, const char *what);
// Waits for all requests. Errors: RANK, when one failed or a rank no longer answers.
heed_status heed__mpi_wait(heed_mpi *mpi, MPI_Request *list, int count, const char *what);

#define HEED__MPI_TRY(call)                       \
  do {                                            \
    const heed_status mpi_status = (call);        \
    if (mpi_status != HEED_OK) return mpi_status; \
  } while (0)
#define HEED__MPI_HEED(call)                                           \
  do {                                                                 \
    const heed_status mpi_status = (call);                             \
    if (mpi_status != HEED_OK) return heed__mpi_fail_heed(mpi_status); \
  } while (0)

#endif
