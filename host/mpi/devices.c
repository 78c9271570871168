// Which device a rank works on.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mpi/world.h"

struct choice {
  heed_device_type type;
  char id[80], name[160];
  uint32_t units;
  int alike;  // devices of this type on the machine, of which this one is
};

static void describe(const heed_device_info *info, int alike, struct choice *choice) {
  choice->type = info->type;
  choice->units = info->compute_units;
  choice->alike = alike;
  memcpy(choice->id, info->id, sizeof choice->id);
  memcpy(choice->name, info->name, sizeof choice->name);
}

static const char *or_default(const char *spec) {
  if (!spec || !*spec) spec = getenv("HEED_DEVICE");
  return spec && *spec ? spec : "auto";
}

static bool serves(const heed_device_info *info, heed_device_type type) {
  return info->type == type && info->has_compiler && info->self_test != HEED_SELF_TEST_FAILED;
}

// Of several devices of the best type, each rank of a machine takes the next. CPUs are the same cores behind several drivers: all take the
// best, in parts.
static heed_status choose_listed(const heed_device_list *list, const char *spec, int place, struct choice *choice) {
  size_t index = 0;
  HEED__MPI_HEED(heed_device_list_find(list, spec, &index));
  const heed_device_info *best = heed_device_list_get(list, index);
  describe(best, 1, choice);
  if (strcasecmp(spec, "auto") != 0 || best->type == HEED_DEVICE_CPU || best->type == HEED_DEVICE_HOST) return HEED_OK;
  int alike = 0, at = 0;
  const size_t count = heed_device_list_count(list);
  for (size_t i = 0; i < count; ++i) alike += serves(heed_device_list_get(list, i), best->type);
  for (size_t i = 0; i < count; ++i) {
    const heed_device_info *info = heed_device_list_get(list, i);
    if (serves(info, best->type) && at++ == place % alike) describe(info, alike, choice);
  }
  return HEED_OK;
}

static heed_status choose(const char *spec, int place, struct choice *choice) {
  if (strcasecmp(spec, "host") == 0) {  // without a look at OpenCL
    heed_context *host = NULL;
    HEED__MPI_HEED(heed_open(spec, &host));
    describe(heed_context_device(host), 1, choice);
    heed_context_destroy(host);
    return HEED_OK;
  }
  heed_device_list *list = NULL;
  HEED__MPI_HEED(heed_device_list_create(&list));
  const heed_status status = choose_listed(list, spec, place, choice);
  heed_device_list_destroy(list);
  return status;
}

// How many ranks of the machine have this device, and the place of this one among them.
static heed_status count_sharers(heed_mpi *mpi, const struct choice *choice, int *sharers, int *place) {
  int ranks = 0, own = 0;
  MPI_Comm_size(mpi->machine, &ranks);
  MPI_Comm_rank(mpi->machine, &own);
  char(*ids)[sizeof choice->id] = calloc((size_t)ranks, sizeof *ids);
  if (!ids) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %d ranks", ranks);
  MPI_Request request;
  heed_status status = heed__mpi_check(
      MPI_Iallgather(choice->id, sizeof choice->id, MPI_BYTE, ids, sizeof *ids, MPI_BYTE, mpi->machine, &request),
      "MPI_Iallgather");
  if (status == HEED_OK) status = heed__mpi_wait(mpi, &request, 1, "choosing devices");
  *sharers = *place = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const bool same = strcmp(ids[rank], choice->id) == 0;
    *place += same && rank < own;
    *sharers += same;
  }
  free(ids);
  return status;
}

static void tell(const heed_mpi *mpi, const struct choice *choice, int sharers, int place, char *text) {
  const bool divided = choice->type == HEED_DEVICE_CPU || choice->type == HEED_DEVICE_HOST;
  size_t used = (size_t)snprintf(text, HEED_MPI_TEXT, "%s on %s", choice->name, heed_mpi_host(mpi, mpi->rank));
  if (sharers == 1 || used >= HEED_MPI_TEXT) return;
  if (!divided) {
    snprintf(text + used, HEED_MPI_TEXT - used, "; it is shared by %d ranks, which slows all of them", sharers);
    return;
  }
  used += (size_t)snprintf(text + used, HEED_MPI_TEXT - used, ", part %d of %d", place + 1, sharers);
  if (used < HEED_MPI_TEXT && (uint32_t)sharers > choice->units)
    snprintf(text + used, HEED_MPI_TEXT - used, "; its %u compute units serve %d ranks in turn, which is no faster",
             choice->units, sharers);
}

heed_status heed_mpi_device(heed_mpi *mpi, const char *spec, heed_open_options *options, char text[HEED_MPI_TEXT]) {
  if (!mpi || !options || !text)
    return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_device: an argument is NULL");
  struct choice choice = {.type = HEED_DEVICE_HOST};
  int place = 0, sharers = 0;
  MPI_Comm_rank(mpi->machine, &place);
  const heed_status chosen = choose(or_default(spec), place, &choice);
  HEED__MPI_TRY(count_sharers(mpi, &choice, &sharers, &place));  // with the others, who do not know of a failure
  HEED__MPI_TRY(chosen);
  const bool divided = choice.type == HEED_DEVICE_CPU || choice.type == HEED_DEVICE_HOST;
  snprintf(mpi->device, sizeof mpi->device, "%s%s", choice.type == HEED_DEVICE_HOST ? "" : "id:", choice.id);
  options->device = mpi->device;
  options->parts = divided && sharers > 1 ? sharers : 0;
  options->part = options->parts ? place : 0;
  tell(mpi, &choice, sharers, place, text);
  return HEED_OK;
}
