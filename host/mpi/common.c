// What all files of heed_mpi use: failures, the clock, and memory for messages.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mpi/world.h"

static _Thread_local char failure[1024];

const char *heed_mpi_last_error(void) { return failure; }

heed_status heed__mpi_fail(heed_status status, const char *format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(failure, sizeof failure, format, list);
  va_end(list);
  return status;
}

heed_status heed__mpi_fail_heed(heed_status status) { return heed__mpi_fail(status, "%s", heed_last_error()); }

heed_status heed__mpi_check(int error, const char *what) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (error == MPI_SUCCESS) return HEED_OK;
  MPI_Error_string(error, text, &length);
  return heed__mpi_fail(HEED_ERROR_RANK, "MPI: %s: %s", what, text);
}

// One by one: compilers warn of MPICH's MPI_STATUSES_IGNORE, an address where nothing lies, for an array of known length.
heed_status heed__mpi_test(MPI_Request *list, int count, bool *done, const char *what) {
  int there = 1;
  for (int i = 0; i < count && there; ++i)
    HEED__MPI_TRY(heed__mpi_check(MPI_Test(&list[i], &there, MPI_STATUS_IGNORE), what));
  *done = there;
  return HEED_OK;
}

double heed__mpi_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

heed_status heed__mpi_room(heed_mpi *mpi, int which, heed_context *ctx, size_t bytes, char **out) {
  struct heed__mpi_room *room = &mpi->room[which];
  if (room->bytes < bytes || room->ctx != ctx) {
    heed_host_memory_destroy(room->memory);
    *room = (struct heed__mpi_room){.ctx = ctx, .bytes = bytes};
    if (heed_host_memory_create(ctx, bytes, &room->memory) != HEED_OK) {
      *room = (struct heed__mpi_room){0};
      return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no host memory for a message of %zu bytes", bytes);
    }
  }
  *out = heed_host_memory_data(room->memory);
  return HEED_OK;
}
