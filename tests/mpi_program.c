// Sums, values and comparisons over the ranks of mpirun, for tests/test_mpi.sh. Usage: mpi_program [unlike]
// unlike: the last rank's second parameter differs, and every rank expects to be told so. Exit status: 0, or 1 with a message.
#include <heed/mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1500007, PIECES = 8, PARAMETERS = 3 };  // several messages of different length

static int fail(const heed_mpi *mpi, const char *what) {
  fprintf(stderr, "rank %d of %d: %s: %s; %s\n", heed_mpi_rank(mpi), heed_mpi_ranks(mpi), what, heed_mpi_last_error(),
          heed_last_error());
  return 1;
}
#define EXPECT(condition) \
  if (!(condition)) return fail(mpi, #condition)

// What rank r has summed: sizes that differ, so that another order has other bits.
static float gradient(int rank, int64_t i) {
  return (float)(heed_random_uniform((uint64_t)rank + 1, 0, (uint64_t)i) - 0.5) * (float)(rank % 3 * 1000 + 1);
}

static float tree(int first, int count, int64_t i) {
  return count == 1 ? gradient(first, i) : tree(first, count / 2, i) + tree(first + count / 2, count / 2, i);
}

static int check_sums(heed_mpi *mpi, heed_context *ctx, float *values) {
  const int64_t dims[] = {SIZE};
  const int rank = heed_mpi_rank(mpi), ranks = heed_mpi_ranks(mpi);
  heed_tensor *sum = NULL, *room = NULL;
  for (int64_t i = 0; i < SIZE; ++i) values[i] = gradient(rank, i);
  EXPECT(heed_tensor_create_from(ctx, HEED_F32, 1, dims, values, &sum) == HEED_OK);
  EXPECT(heed_tensor_create(ctx, HEED_F32, 1, dims, &room) == HEED_OK);
  EXPECT(heed_mpi_reduce(mpi, sum, PIECES, room) == HEED_OK);
  EXPECT(heed_tensor_download_f32(sum, values, SIZE) == HEED_OK);
  const int64_t piece = heed_mpi_first_piece(PIECES, rank, ranks);
  const int64_t first = heed_grad_piece(SIZE, PIECES, piece);
  const int64_t end = heed_grad_piece(SIZE, PIECES, piece + PIECES / ranks);
  for (int64_t i = first; i < end; ++i) EXPECT(values[i] == tree(0, ranks, i));
  const uint64_t bytes = heed_mpi_bytes(mpi);
  // The other ranks' elements are of no use now: spoil them, to see that they come back.
  for (int64_t i = 0; i < SIZE; ++i)
    if (i < first || i >= end) values[i] = -1;
  EXPECT(heed_tensor_upload_f32(sum, values, SIZE) == HEED_OK);
  EXPECT(heed_mpi_spread(mpi, sum, PIECES) == HEED_OK);
  EXPECT(heed_tensor_download_f32(sum, values, SIZE) == HEED_OK);
  for (int64_t i = 0; i < SIZE; ++i) EXPECT(values[i] == tree(0, ranks, i));
  // Two parts in R of the bytes stay where they are; pieces differ by what they are rounded to.
  const double share = (double)(ranks - 1) / ranks * SIZE * sizeof *values, more = PIECES * 16 * sizeof *values;
  EXPECT((double)bytes >= share - more && (double)bytes <= share + more);
  EXPECT((double)(heed_mpi_bytes(mpi) - bytes) <= share + more);
  heed_tensor_destroy(sum);
  heed_tensor_destroy(room);
  return 0;
}

static int check_messages(heed_mpi *mpi) {
  const int rank = heed_mpi_rank(mpi), ranks = heed_mpi_ranks(mpi);
  int *all = calloc((size_t)ranks, sizeof *all), number = rank == ranks - 1 ? 42 : 0;
  EXPECT(all && heed_mpi_gather(mpi, &rank, sizeof rank, all) == HEED_OK);
  for (int i = 0; i < ranks; ++i) EXPECT(all[i] == i);
  free(all);
  EXPECT(heed_mpi_broadcast(mpi, ranks - 1, &number, sizeof number) == HEED_OK && number == 42);
  if (rank > 0) EXPECT(heed_mpi_send(mpi, 0, &rank, sizeof rank) == HEED_OK);
  for (int from = 1; rank == 0 && from < ranks; ++from)
    EXPECT(heed_mpi_receive(mpi, from, &number, sizeof number) == HEED_OK && number == from);
  EXPECT(strlen(heed_mpi_host(mpi, rank)) > 0 && strlen(heed_mpi_host(mpi, ranks)) == 0);
  return 0;
}

static int check_refusals(heed_mpi *mpi, heed_context *ctx) {
  const int64_t dims[] = {3, 4};
  heed_tensor *matrix = NULL;
  EXPECT(heed_tensor_create(ctx, HEED_F32, 2, dims, &matrix) == HEED_OK);
  EXPECT(heed_mpi_spread(mpi, matrix, PIECES) == HEED_ERROR_SHAPE);
  EXPECT(heed_mpi_reduce(mpi, NULL, PIECES, matrix) == HEED_ERROR_INVALID_ARGUMENT);
  EXPECT(heed_mpi_gather(mpi, NULL, 1, NULL) == HEED_ERROR_INVALID_ARGUMENT);
  EXPECT(heed_mpi_compare(mpi, NULL, 1) == HEED_ERROR_INVALID_ARGUMENT);
  EXPECT(heed_mpi_device(mpi, NULL, NULL, NULL) == HEED_ERROR_INVALID_ARGUMENT);
  EXPECT(heed_mpi_open(NULL) == HEED_ERROR_INVALID_ARGUMENT);
  EXPECT(heed_mpi_can_share(8, 4) && heed_mpi_can_share(12, 4) && !heed_mpi_can_share(8, 3) &&
         !heed_mpi_can_share(6, 4) && !heed_mpi_can_share(8, 0));
  EXPECT(heed_mpi_rank(NULL) == 0 && heed_mpi_ranks(NULL) == 0 && heed_mpi_bytes(NULL) == 0);
  EXPECT(strlen(heed_mpi_host(NULL, 0)) == 0);
  heed_mpi_close(NULL);
  heed_mpi_set_timeout(NULL, 1);
  heed_tensor_destroy(matrix);
  return 0;
}

static int check_parameters(heed_mpi *mpi, heed_context *ctx, bool unlike) {
  static const char *const names[PARAMETERS] = {"first", "second", "third"};
  heed_parameter parameters[PARAMETERS];
  const int64_t dims[] = {101};
  float values[101];
  for (int p = 0; p < PARAMETERS; ++p) {
    for (int i = 0; i < 101; ++i) values[i] = (float)(p * i);
    if (unlike && p == 1 && heed_mpi_rank(mpi) == heed_mpi_ranks(mpi) - 1) values[100] = 100.0001f;
    parameters[p] = (heed_parameter){.name = names[p]};
    EXPECT(heed_tensor_create_from(ctx, HEED_F32, 1, dims, values, &parameters[p].value) == HEED_OK);
  }
  const heed_status status = heed_mpi_compare(mpi, parameters, PARAMETERS);
  char rank[32];
  snprintf(rank, sizeof rank, "rank %d ", heed_mpi_ranks(mpi) - 1);
  for (int p = 0; p < PARAMETERS; ++p) heed_tensor_destroy(parameters[p].value);
  if (!unlike) {
    EXPECT(status == HEED_OK);
    return 0;
  }
  EXPECT(status == HEED_ERROR_MISMATCH && strstr(heed_mpi_last_error(), "parameter second") &&
         strstr(heed_mpi_last_error(), rank));
  return 0;
}

static int check_all(heed_mpi *mpi, bool unlike) {
  heed_context *ctx = NULL;
  heed_open_options options = {0};
  char text[HEED_MPI_TEXT];
  float *values = malloc(SIZE * sizeof *values);
  EXPECT(heed_mpi_device(mpi, NULL, &options, text) == HEED_OK);
  EXPECT(values && heed_open_with(&options, &ctx) == HEED_OK);
  int status = check_parameters(mpi, ctx, unlike);
  if (status == 0 && !unlike) status = check_sums(mpi, ctx, values);
  if (status == 0 && !unlike) status = check_messages(mpi);
  if (status == 0 && !unlike) status = check_refusals(mpi, ctx);
  if (status == 0 && heed_context_live_tensors(ctx) > 0) status = fail(mpi, "tensors are left");
  heed_context_destroy(ctx);
  free(values);
  return status;
}

int main(int argc, char **argv) {
  heed_mpi *mpi = NULL;
  if (!heed_mpi_is_started() || heed_mpi_open(&mpi) != HEED_OK) return fail(NULL, "joining");
  const int status = check_all(mpi, argc > 1 && strcmp(argv[1], "unlike") == 0);
  if (status != 0) heed_mpi_abort(mpi, 1);
  heed_mpi_close(mpi);
  return status;
}
