// Whether all ranks hold the same parameters.
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"

// FNV-1a over words of eight bytes, with the words' halves folded so that each bit reaches all others.
static uint64_t hash_of(const unsigned char *data, size_t bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t at = 0; at < bytes; at += 8) {
    uint64_t word = 0;
    memcpy(&word, data + at, bytes - at < 8 ? bytes - at : 8);
    hash = (hash ^ word) * 0x100000001b3u;
    hash ^= hash >> 32;
  }
  return hash;
}

static heed_status hash_parameters(heed_mpi *mpi, const heed_parameter *parameters, size_t count, uint64_t *hashes) {
  for (size_t i = 0; i < count; ++i) {
    const size_t bytes = heed_tensor_bytes(parameters[i].value);
    char *data = NULL;
    HEED__MPI_TRY(heed__mpi_room(mpi, 0, heed_tensor_context(parameters[i].value), bytes, &data));
    HEED__MPI_HEED(heed_tensor_download(parameters[i].value, data, bytes));
    hashes[i] = hash_of((const unsigned char *)data, bytes);
  }
  return HEED_OK;
}

// The rank that differs from the most; of two that differ from one another, the second.
static int odd_one(const uint64_t *hashes, size_t stride, int ranks) {
  int odd = -1, fewest = ranks;
  for (int rank = 0; rank < ranks; ++rank) {
    int same = 0;
    for (int other = 0; other < ranks; ++other) same += hashes[(size_t)other * stride] == hashes[(size_t)rank * stride];
    if (same <= fewest) odd = rank, fewest = same;
  }
  return fewest < ranks ? odd : -1;
}

heed_status heed_mpi_compare(heed_mpi *mpi, const heed_parameter *parameters, size_t count) {
  if (!mpi || (!parameters && count > 0))
    return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_compare: an argument is NULL");
  uint64_t *own = calloc(count + 1, sizeof *own), *all = calloc((count + 1) * (size_t)mpi->ranks, sizeof *all);
  heed_status status = own && all ? hash_parameters(mpi, parameters, count, own)
                                  : heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu hashes", count);
  if (status == HEED_OK) status = heed_mpi_gather(mpi, own, count * sizeof *own, all);
  for (size_t i = 0; i < count && status == HEED_OK; ++i) {
    const int odd = odd_one(all + i, count, mpi->ranks);
    if (odd >= 0)
      status = heed__mpi_fail(HEED_ERROR_MISMATCH,
                              "the parameter %s of rank %d on %s has other bits than that of the other ranks",
                              parameters[i].name, odd, heed_mpi_host(mpi, odd));
  }
  free(own);
  free(all);
  return status;
}
