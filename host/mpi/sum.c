// Sums that meet over the ranks while the backward still runs. Each part of the gradients is copied to the host when it is final there, and
// goes through the rounds of share.c by itself; the host adds. Nothing here waits but the end.
#include <stdlib.h>
#include <string.h>

#include "mpi/world.h"

enum { PART = 4 << 20, OUT = 0, IN = 1, MOST_ROUNDS = 30, TAGS = 512 };

struct part {
  int64_t first, end;  // elements
  heed_read *read;     // NULL: it is on the host
  int round;
  MPI_Request requests[2];
};

struct heed_mpi_sum {
  heed_mpi *mpi;
  heed_tensor *grads;
  heed_dtype dtype;
  size_t size;  // bytes of an element
  char *own, *other;
  int rounds;
  int64_t keeps[MOST_ROUNDS + 1][2];  // elements that this rank still holds before a round: first, end
  struct part *parts;
  size_t count, room, oldest;             // parts before `oldest` are done
  double looked, busy, last_read, ended;  // ended: when the last part was done
};

// ---------------------------------------------------------------- the host's additions

static float wide(uint16_t value) {
  const uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

// To nearest, ties to even.
static uint16_t narrow(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// own += other. The order of two terms does not matter.
static void add(heed_dtype dtype, void *own, const void *other, int64_t count) {
  if (dtype == HEED_F32) {
    float *a = own;
    const float *b = other;
    for (int64_t i = 0; i < count; ++i) a[i] += b[i];
  } else {
    uint16_t *a = own;
    const uint16_t *b = other;
    for (int64_t i = 0; i < count; ++i) a[i] = narrow(wide(a[i]) + wide(b[i]));
  }
}

// Numbers whose sums tell how a device rounds, and whether it keeps numbers below the normal ones.
static heed_status probe(const heed_tensor *grads, bool *alike) {
  static const float a[] = {1, 0x1p-127f, 0x1p-130f, 1, 0x1.000002p0f, 3, -0x1p-126f, 1e30f, 0},
                     b[] = {0x1p-24f, 0x1p-128f, 0x1p-140f, 0x1.8p-8f, 0x1p-9f, -3, 0x1.8p-127f, 1e30f, -0.0f};
  enum { COUNT = sizeof a / sizeof *a };
  const int64_t dims[] = {COUNT};
  const heed_dtype dtype = heed_tensor_dtype(grads);
  const size_t bytes = COUNT * heed_dtype_size(dtype);
  float own[COUNT], other[COUNT], device[COUNT];
  heed_tensor *x = NULL, *y = NULL;
  heed_status status = heed_tensor_create(heed_tensor_context(grads), dtype, 1, dims, &x);
  if (status == HEED_OK) status = heed_tensor_create(heed_tensor_context(grads), dtype, 1, dims, &y);
  if (status == HEED_OK) status = heed_tensor_upload_f32(x, a, COUNT);
  if (status == HEED_OK) status = heed_tensor_upload_f32(y, b, COUNT);
  if (status == HEED_OK) status = heed_tensor_download(x, own, bytes);
  if (status == HEED_OK) status = heed_tensor_download(y, other, bytes);
  if (status == HEED_OK) status = heed_add(1, x, 1, y, x);
  if (status == HEED_OK) status = heed_tensor_download(x, device, bytes);
  if (status == HEED_OK) {
    add(dtype, own, other, COUNT);
    *alike = memcmp(own, device, bytes) == 0;
  }
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
  return status;
}

bool heed_mpi_adds_alike(const heed_tensor *grads) {
  bool alike = false;
  const heed_dtype dtype = heed_tensor_dtype(grads);
  return grads && (dtype == HEED_F32 || dtype == HEED_BF16) && probe(grads, &alike) == HEED_OK && alike;
}

// ---------------------------------------------------------------- a part

static char *at(const heed_mpi_sum *sum, char *data, int64_t element) { return data + (size_t)element * sum->size; }

// The elements of a part in [first, end); returns how many.
static int64_t within(const struct part *part, int64_t first, int64_t end, int64_t *from) {
  const int64_t low = first > part->first ? first : part->first, high = end < part->end ? end : part->end;
  *from = low;
  return high > low ? high - low : 0;
}

// What a round keeps of a part, and what it gives away.
static int64_t kept(const heed_mpi_sum *sum, const struct part *part, int64_t *from) {
  const int64_t *after = sum->keeps[part->round + 1];
  return within(part, after[0], after[1], from);
}

static int64_t given(const heed_mpi_sum *sum, const struct part *part, int64_t *from) {
  const int64_t *before = sum->keeps[part->round], *after = sum->keeps[part->round + 1];
  return after[0] == before[0] ? within(part, after[1], before[1], from) : within(part, before[0], after[0], from);
}

static heed_status start_round(heed_mpi_sum *sum, struct part *part, size_t index) {
  const int partner = sum->mpi->rank ^ 1 << part->round, tag = 16 + (int)(index % TAGS) * 32 + part->round;
  int64_t from;
  int64_t count = kept(sum, part, &from);
  if (count > 0)
    HEED__MPI_TRY(heed__mpi_check(MPI_Irecv(at(sum, sum->other, from), (int)((size_t)count * sum->size), MPI_BYTE,
                                            partner, tag, sum->mpi->all, &part->requests[IN]),
                                  "MPI_Irecv"));
  count = given(sum, part, &from);
  sum->mpi->bytes += (uint64_t)count * sum->size;
  if (count == 0) return HEED_OK;
  return heed__mpi_check(MPI_Isend(at(sum, sum->own, from), (int)((size_t)count * sum->size), MPI_BYTE, partner, tag,
                                   sum->mpi->all, &part->requests[OUT]),
                         "MPI_Isend");
}

static heed_status end_read(heed_mpi_sum *sum, struct part *part, bool *there) {
  HEED__MPI_HEED(heed_read_test(part->read, there));
  if (!*there) return HEED_OK;
  heed_read_destroy(part->read);
  part->read = NULL;
  sum->last_read = heed__mpi_seconds();
  return HEED_OK;
}

// Takes a part as far as it goes without waiting.
static heed_status advance(heed_mpi_sum *sum, struct part *part, size_t index) {
  if (part->read) {
    bool there = false;
    HEED__MPI_TRY(end_read(sum, part, &there));
    if (!there) return HEED_OK;
    if (part->round < sum->rounds) HEED__MPI_TRY(start_round(sum, part, index));
  }
  while (part->round < sum->rounds) {
    bool done;
    int64_t from;
    HEED__MPI_TRY(heed__mpi_test(part->requests, 2, &done, "MPI_Test"));
    if (!done) return HEED_OK;
    const int64_t count = kept(sum, part, &from);
    add(sum->dtype, at(sum, sum->own, from), at(sum, sum->other, from), count);
    if (++part->round < sum->rounds) HEED__MPI_TRY(start_round(sum, part, index));
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- all parts

static bool is_done(const heed_mpi_sum *sum, const struct part *part) {
  return !part->read && part->round == sum->rounds;
}

heed_status heed_mpi_sum_poll(heed_mpi_sum *sum) {
  if (!sum) return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_sum_poll: the sum is NULL");
  bool busy = false;
  for (size_t i = sum->oldest; i < sum->count; ++i) {
    struct part *part = &sum->parts[i];
    const bool was_away = !part->read && !is_done(sum, part);
    busy = busy || was_away;
    HEED__MPI_TRY(advance(sum, part, i));
    if (part->read) break;  // reads end in their order
  }
  while (sum->oldest < sum->count && is_done(sum, &sum->parts[sum->oldest])) ++sum->oldest;
  const double now = heed__mpi_seconds();
  if (busy) sum->busy += now - sum->looked;
  sum->looked = now;
  return HEED_OK;
}

static void find_ranges(heed_mpi_sum *sum, int64_t pieces) {
  const int64_t elements = heed_tensor_count(sum->grads);
  int64_t first = 0, count = pieces;
  sum->keeps[0][1] = elements;
  for (int apart = 1; apart < sum->mpi->ranks; apart *= 2) {
    count /= 2;
    if (sum->mpi->rank & apart) first += count;
    ++sum->rounds;
    sum->keeps[sum->rounds][0] = heed_grad_piece(elements, pieces, first);
    sum->keeps[sum->rounds][1] = heed_grad_piece(elements, pieces, first + count);
  }
}

heed_status heed_mpi_sum_begin(heed_mpi *mpi, heed_tensor *grads, int64_t pieces, heed_mpi_sum **out) {
  if (!out) return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_sum_begin: out is NULL");
  *out = NULL;
  if (!mpi || !grads || !heed_mpi_can_share(pieces, mpi->ranks))
    return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_sum_begin: an argument is NULL, or pieces do not fit");
  heed_mpi_sum *sum = calloc(1, sizeof *sum);
  if (!sum) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for a sum over ranks");
  sum->mpi = mpi;
  sum->grads = grads;
  sum->dtype = heed_tensor_dtype(grads);
  sum->size = heed_dtype_size(sum->dtype);
  sum->looked = sum->last_read = heed__mpi_seconds();
  find_ranges(sum, pieces);
  heed_status status = heed__mpi_room(mpi, OUT, heed_tensor_context(grads), heed_tensor_bytes(grads), &sum->own);
  if (status == HEED_OK)
    status = heed__mpi_room(mpi, IN, heed_tensor_context(grads), heed_tensor_bytes(grads), &sum->other);
  if (status == HEED_OK)
    *out = sum;
  else
    free(sum);
  return status;
}

static heed_status add_part(heed_mpi_sum *sum, int64_t first, int64_t count) {
  if (sum->count == sum->room) {
    const size_t room = 2 * sum->room + 64;
    struct part *parts = realloc(sum->parts, room * sizeof *parts);
    if (!parts) return heed__mpi_fail(HEED_ERROR_OUT_OF_MEMORY, "no memory for %zu parts of a sum", room);
    sum->parts = parts;
    sum->room = room;
  }
  heed_tensor *tensor = NULL;
  struct part *part = &sum->parts[sum->count];
  *part = (struct part){.first = first, .end = first + count, .requests = {MPI_REQUEST_NULL, MPI_REQUEST_NULL}};
  HEED__MPI_HEED(heed_tensor_slice(sum->grads, 0, first, count, &tensor));
  const heed_status status =
      heed_read_start_beside(tensor, at(sum, sum->own, first), (size_t)count * sum->size, &part->read);
  heed_tensor_destroy(tensor);
  if (status != HEED_OK) return heed__mpi_fail_heed(status);
  ++sum->count;
  return HEED_OK;
}

heed_status heed_mpi_sum_add(heed_mpi_sum *sum, int64_t first, int64_t count) {
  if (!sum) return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_sum_add: the sum is NULL");
  const int64_t most = PART / (int64_t)sum->size;
  for (int64_t done = 0; done < count; done += most)
    HEED__MPI_TRY(add_part(sum, first + done, count - done < most ? count - done : most));
  return heed_mpi_sum_poll(sum);
}

// ---------------------------------------------------------------- the end

static heed_status test_all(void *user, bool *done) {
  heed_mpi_sum *sum = user;
  HEED__MPI_TRY(heed_mpi_sum_poll(sum));
  *done = sum->oldest == sum->count;
  return HEED_OK;
}

static heed_status bring_back(heed_mpi_sum *sum) {
  const int64_t first = sum->keeps[sum->rounds][0], count = sum->keeps[sum->rounds][1] - first;
  heed_tensor *own = NULL;
  HEED__MPI_HEED(heed_tensor_slice(sum->grads, 0, first, count, &own));
  const heed_status status = heed_tensor_upload(own, at(sum, sum->own, first), (size_t)count * sum->size);
  heed_tensor_destroy(own);
  return status == HEED_OK ? HEED_OK : heed__mpi_fail_heed(status);
}

heed_status heed_mpi_sum_end(heed_mpi_sum *sum, heed_mpi_times *times) {
  if (!sum) return heed__mpi_fail(HEED_ERROR_INVALID_ARGUMENT, "heed_mpi_sum_end: the sum is NULL");
  heed_status status = heed__mpi_await(sum->mpi, &(struct heed__mpi_awaited){test_all, sum, "summing"});
  sum->ended = heed__mpi_seconds();
  if (status == HEED_OK) status = bring_back(sum);
  if (times) *times = (heed_mpi_times){.exchange = sum->busy, .exposed = sum->ended - sum->last_read};
  for (size_t i = 0; i < sum->count; ++i) heed_read_destroy(sum->parts[i].read);
  free(sum->parts);
  free(sum);
  return status;
}
