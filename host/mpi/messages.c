// Small messages.
#include <limits.h>
#include <string.h>

#include "mpi/world.h"

// A message's length is an int.
enum { MESSAGE = 1 << 30 };

static heed_status check_arguments(const heed_mpi *mpi, const char *call, const void *data) {
  if (mpi && data) return HEED_OK;
  return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "%s: an argument is NULL", call);
}

heed_status heed_mpi_gather(heed_mpi *mpi, const void *own, size_t bytes, void *all) {
  HEED__MPI_TRY(check_arguments(mpi, "heed_mpi_gather", own && all ? own : NULL));
  if (bytes > MESSAGE) return heed__mpi_fail(HEED_ERROR_OVERFLOW, "heed_mpi_gather: %zu bytes are too many", bytes);
  MPI_Request request;
  HEED__MPI_TRY(heed__mpi_check(
      MPI_Iallgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, mpi->all, &request), "MPI_Iallgather"));
  return heed__mpi_wait(mpi, &request, 1, "gathering");
}

heed_status heed_mpi_broadcast(heed_mpi *mpi, int root, void *data, size_t bytes) {
  HEED__MPI_TRY(check_arguments(mpi, "heed_mpi_broadcast", data));
  for (size_t at = 0; at < bytes; at += MESSAGE) {
    MPI_Request request;
    const int piece = (int)(bytes - at < MESSAGE ? bytes - at : MESSAGE);
    HEED__MPI_TRY(
        heed__mpi_check(MPI_Ibcast((char *)data + at, piece, MPI_BYTE, root, mpi->all, &request), "MPI_Ibcast"));
    HEED__MPI_TRY(heed__mpi_wait(mpi, &request, 1, "broadcasting"));
  }
  return HEED_OK;
}

heed_status heed_mpi_send(heed_mpi *mpi, int to, const void *data, size_t bytes) {
  HEED__MPI_TRY(check_arguments(mpi, "heed_mpi_send", data));
  for (size_t at = 0; at < bytes; at += MESSAGE) {
    MPI_Request request;
    const int piece = (int)(bytes - at < MESSAGE ? bytes - at : MESSAGE);
    HEED__MPI_TRY(
        heed__mpi_check(MPI_Isend((const char *)data + at, piece, MPI_BYTE, to, 0, mpi->all, &request), "MPI_Isend"));
    HEED__MPI_TRY(heed__mpi_wait(mpi, &request, 1, "sending"));
  }
  return HEED_OK;
}

heed_status heed_mpi_receive(heed_mpi *mpi, int from, void *data, size_t bytes) {
  HEED__MPI_TRY(check_arguments(mpi, "heed_mpi_receive", data));
  for (size_t at = 0; at < bytes; at += MESSAGE) {
    MPI_Request request;
    const int piece = (int)(bytes - at < MESSAGE ? bytes - at : MESSAGE);
    HEED__MPI_TRY(
        heed__mpi_check(MPI_Irecv((char *)data + at, piece, MPI_BYTE, from, 0, mpi->all, &request), "MPI_Irecv"));
    HEED__MPI_TRY(heed__mpi_wait(mpi, &request, 1, "receiving"));
  }
  return HEED_OK;
}
