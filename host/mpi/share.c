// Sums that meet over the ranks in the order of the tree, and values that go back to all.
//
// Ranks whose branches are neighbours meet first: in round j, rank r and r xor 2^j. Each gives the other one half of what both still hold,
// and adds what it gets to the half that it keeps, the lower rank's term first, as the tree has it. The sums are added on the device, by the
// operator that adds them in one process, so that they have its bits. Values go the same way back.
#include <stdlib.h>

#include "mpi/world.h"

// Bytes of a message: small enough that copies to and from the device run beside messages.
enum { MESSAGE = 4 << 20, OUT = 0, IN = 1 };

bool heed_mpi_can_share(int64_t micro_batches, int64_t ranks) {
  return ranks > 0 && (ranks & (ranks - 1)) == 0 && micro_batches > 0 && micro_batches % ranks == 0;
}

int64_t heed_mpi_first_piece(int64_t pieces, int rank, int ranks) {
  int64_t first = 0;
  for (int apart = 1; apart < ranks; apart *= 2) {
    pieces /= 2;
    if (rank & apart) first += pieces;
  }
  return first;
}

static heed_status check_tensor(const heed_mpi *mpi, const char *call, const heed_tensor *tensor, int64_t pieces) {
  if (!mpi || !tensor) return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "%s: an argument is NULL", call);
  if (heed_tensor_rank(tensor) != 1 || !heed_tensor_is_contiguous(tensor))
    return heed__mpi_fail(HEED_ERROR_SHAPE, "%s: %s is not one row of elements without gaps", call,
                          heed_tensor_describe(tensor));
  if (!heed_mpi_can_share(pieces, mpi->ranks))
    return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "%s: %lld pieces cannot be shared by %d ranks", call,
                          (long long)pieces, mpi->ranks);
  return HEED_OK;
}

// ---------------------------------------------------------------- one round

// What two ranks exchange: elements of a tensor, in messages.
struct range {
  int64_t first, count, each;  // elements; of a message
  int messages;
  size_t size;  // bytes of an element
  char *data;   // in host memory
};

static struct range range_of(const heed_tensor *tensor, int64_t pieces, int64_t first, int64_t count) {
  const int64_t elements = heed_tensor_count(tensor);
  struct range range = {.first = heed_grad_piece(elements, pieces, first),
                        .size = heed_dtype_size(heed_tensor_dtype(tensor))};
  range.count = heed_grad_piece(elements, pieces, first + count) - range.first;
  range.each = MESSAGE / (int64_t)range.size;
  range.messages = (int)((range.count + range.each - 1) / range.each);
  return range;
}

// Message i: where it begins in the range, and how long it is.
static int64_t message_at(const struct range *range, int i, int64_t *count) {
  const int64_t at = i * range->each;
  *count = range->count - at < range->each ? range->count - at : range->each;
  return at;
}

typedef struct round_trip {
  heed_mpi *mpi;
  int partner;
  struct range out, in;
  MPI_Request *requests;  // of out, then of in
} round_trip;

static heed_status begin(round_trip *trip) {
  const struct range *in = &trip->in;
  trip->requests = malloc((size_t)(trip->out.messages + in->messages + 1) * sizeof *trip->requests);
  if (!trip->requests) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %d messages", in->messages);
  for (int i = 0; i < trip->out.messages + in->messages; ++i) trip->requests[i] = MPI_REQUEST_NULL;
  for (int i = 0; i < in->messages; ++i) {
    int64_t count;
    const int64_t at = message_at(in, i, &count);
    HEED__MPI_TRY(heed__mpi_check(MPI_Irecv(in->data + (size_t)at * in->size, (int)((size_t)count * in->size), MPI_BYTE,
                                            trip->partner, 1, trip->mpi->all, &trip->requests[trip->out.messages + i]),
                                  "MPI_Irecv"));
  }
  return HEED_OK;
}

static heed_status send_message(round_trip *trip, int i) {
  int64_t count;
  const struct range *out = &trip->out;
  const int64_t at = message_at(out, i, &count);
  trip->mpi->bytes += (uint64_t)count * out->size;
  return heed__mpi_check(MPI_Isend(out->data + (size_t)at * out->size, (int)((size_t)count * out->size), MPI_BYTE,
                                   trip->partner, 1, trip->mpi->all, &trip->requests[i]),
                         "MPI_Isend");
}

static heed_status wait_in(const round_trip *trip, int i) {
  return heed__mpi_wait(trip->mpi, &trip->requests[trip->out.messages + i], 1, "receiving");
}

static heed_status end(const round_trip *trip) {
  return heed__mpi_wait(trip->mpi, trip->requests, trip->out.messages, "sending");
}

// ---------------------------------------------------------------- sums

static heed_status read_message(const heed_tensor *sum, const struct range *out, int i, heed_read **read) {
  int64_t count;
  const int64_t at = message_at(out, i, &count);
  heed_tensor *part = NULL;
  HEED__MPI_HEED(heed_tensor_slice(sum, 0, out->first + at, count, &part));
  const heed_status status = heed_read_start(part, out->data + (size_t)at * out->size, (size_t)count * out->size, read);
  heed_tensor_destroy(part);
  return status == HEED_OK ? HEED_OK : heed__mpi_fail_heed(status);
}

// All copies from the device are queued at once; a message leaves when its copy is there.
static heed_status send_all(round_trip *trip, const heed_tensor *sum) {
  const int messages = trip->out.messages;
  heed_read **reads = calloc((size_t)messages + 1, sizeof *reads);
  if (!reads) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %d messages", messages);
  heed_status status = HEED_OK;
  for (int i = 0; i < messages && status == HEED_OK; ++i) status = read_message(sum, &trip->out, i, &reads[i]);
  for (int i = 0; i < messages && status == HEED_OK; ++i) {
    const heed_status read = heed_read_wait(reads[i]);
    status = read == HEED_OK ? send_message(trip, i) : heed__mpi_fail_heed(read);
  }
  for (int i = 0; i < messages; ++i) heed_read_destroy(reads[i]);
  free(reads);
  return status;
}

static heed_status add_message(const round_trip *trip, int i, heed_tensor *sum, heed_tensor *room) {
  int64_t count;
  const struct range *in = &trip->in;
  const int64_t at = message_at(in, i, &count);
  heed_tensor *own = NULL, *other = NULL;
  HEED__MPI_TRY(wait_in(trip, i));
  heed_status status = heed_tensor_slice(sum, 0, in->first + at, count, &own);
  if (status == HEED_OK) status = heed_tensor_slice(room, 0, at, count, &other);
  if (status == HEED_OK) status = heed_tensor_upload(other, in->data + (size_t)at * in->size, (size_t)count * in->size);
  const bool own_first = trip->mpi->rank < trip->partner;
  if (status == HEED_OK) status = heed_add(1, own_first ? own : other, 1, own_first ? other : own, own);
  heed_tensor_destroy(own);
  heed_tensor_destroy(other);
  return status == HEED_OK ? HEED_OK : heed__mpi_fail_heed(status);
}

static heed_status reduce_round(round_trip *trip, heed_tensor *sum, heed_tensor *room) {
  if (heed_tensor_count(room) < trip->in.count)
    return heed__mpi_fail(HEED_ERROR_SHAPE, "heed_mpi_reduce: room is %s; %lld elements are needed",
                          heed_tensor_describe(room), (long long)trip->in.count);
  heed_context *ctx = heed_tensor_context(sum);
  HEED__MPI_TRY(heed__mpi_room(trip->mpi, OUT, ctx, (size_t)trip->out.count * trip->out.size, &trip->out.data));
  HEED__MPI_TRY(heed__mpi_room(trip->mpi, IN, ctx, (size_t)trip->in.count * trip->in.size, &trip->in.data));
  HEED__MPI_TRY(begin(trip));
  HEED__MPI_TRY(send_all(trip, sum));
  for (int i = 0; i < trip->in.messages; ++i) HEED__MPI_TRY(add_message(trip, i, sum, room));
  return end(trip);
}

heed_status heed_mpi_reduce(heed_mpi *mpi, heed_tensor *sum, int64_t pieces, heed_tensor *room) {
  HEED__MPI_TRY(check_tensor(mpi, "heed_mpi_reduce", sum, pieces));
  if (!room || heed_tensor_dtype(room) != heed_tensor_dtype(sum))
    return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_reduce: room is not of the sum's dtype");
  int64_t first = 0, count = pieces;
  heed_status status = HEED_OK;
  for (int apart = 1; apart < mpi->ranks && status == HEED_OK; apart *= 2) {
    count /= 2;
    const bool upper = mpi->rank & apart;
    round_trip trip = {.mpi = mpi,
                       .partner = mpi->rank ^ apart,
                       .out = range_of(sum, pieces, upper ? first : first + count, count),
                       .in = range_of(sum, pieces, upper ? first + count : first, count)};
    if (upper) first += count;
    status = reduce_round(&trip, sum, room);
    free(trip.requests);
  }
  return status;
}

// ---------------------------------------------------------------- values

static heed_status download(const heed_tensor *values, const struct range *range, char *all) {
  heed_tensor *part = NULL;
  if (range->count == 0) return HEED_OK;
  HEED__MPI_HEED(heed_tensor_slice(values, 0, range->first, range->count, &part));
  const heed_status status =
      heed_tensor_download(part, all + (size_t)range->first * range->size, (size_t)range->count * range->size);
  heed_tensor_destroy(part);
  return status == HEED_OK ? HEED_OK : heed__mpi_fail_heed(status);
}

static heed_status upload_message(const round_trip *trip, int i, heed_tensor *values) {
  int64_t count;
  const struct range *in = &trip->in;
  const int64_t at = message_at(in, i, &count);
  heed_tensor *part = NULL;
  HEED__MPI_TRY(wait_in(trip, i));
  HEED__MPI_HEED(heed_tensor_slice(values, 0, in->first + at, count, &part));
  const heed_status status = heed_tensor_upload(part, in->data + (size_t)at * in->size, (size_t)count * in->size);
  heed_tensor_destroy(part);
  return status == HEED_OK ? HEED_OK : heed__mpi_fail_heed(status);
}

static heed_status spread_round(round_trip *trip, heed_tensor *values, char *all) {
  trip->out.data = all + (size_t)trip->out.first * trip->out.size;
  trip->in.data = all + (size_t)trip->in.first * trip->in.size;
  HEED__MPI_TRY(begin(trip));
  for (int i = 0; i < trip->out.messages; ++i) HEED__MPI_TRY(send_message(trip, i));
  for (int i = 0; i < trip->in.messages; ++i) HEED__MPI_TRY(upload_message(trip, i, values));
  return end(trip);
}

heed_status heed_mpi_spread(heed_mpi *mpi, heed_tensor *values, int64_t pieces) {
  HEED__MPI_TRY(check_tensor(mpi, "heed_mpi_spread", values, pieces));
  int64_t count = pieces / mpi->ranks, first = heed_mpi_first_piece(pieces, mpi->rank, mpi->ranks);
  char *all = NULL;
  if (mpi->ranks == 1) return HEED_OK;
  HEED__MPI_TRY(heed__mpi_room(mpi, OUT, heed_tensor_context(values), heed_tensor_bytes(values), &all));
  const struct range own = range_of(values, pieces, first, count);
  heed_status status = download(values, &own, all);
  for (int apart = mpi->ranks / 2; apart > 0 && status == HEED_OK; apart /= 2) {
    const bool upper = mpi->rank & apart;
    const int64_t other = upper ? first - count : first + count;
    round_trip trip = {.mpi = mpi,
                       .partner = mpi->rank ^ apart,
                       .out = range_of(values, pieces, first, count),
                       .in = range_of(values, pieces, other, count)};
    status = spread_round(&trip, values, all);
    free(trip.requests);
    if (upper) first = other;
    count *= 2;
  }
  return status;
}
