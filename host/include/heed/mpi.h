// Training on several devices of one machine or of several, started by mpirun: one process, called a rank, a device. This is a library of
// its own, heed_mpi, which stands on heed's public headers and MPI.
//
// Ranks share the micro-batches of a step. heed_grad_tree (heed/nn.h) sums the gradients of each rank's, heed_mpi_reduce() lets the sums meet
// in the order of the whole tree, and each rank steps its share of the parameters, which heed_mpi_spread() then gives to all. The result has
// the bits of one process with all micro-batches, on devices of one kind.
//
// Conventions, beside those of heed.h: every rank makes the same calls in the same order. A call that fails returns a status, and
// heed_mpi_last_error() has the sentence; the ranks then no longer fit together, and heed_mpi_abort() is the only call that makes sense. All calls
// come from the thread that opened.
#ifndef HEED_MPI_H
#define HEED_MPI_H

#include <heed/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------- ranks

// The ranks of a run, as one of them sees them.
typedef struct heed_mpi heed_mpi;

// Tells by the environment whether a launcher such as mpirun started this process.
HEED_API bool heed_mpi_is_started(void);
// Calls MPI_Init_thread(), unless somebody has. Errors: RANK; OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_open(heed_mpi **out);
// Calls MPI_Finalize() if heed_mpi_open() initialised MPI. All ranks must come here.
HEED_API void heed_mpi_close(heed_mpi *mpi);
// Ends all ranks, with this exit status.
HEED_API void heed_mpi_abort(heed_mpi *mpi, int status);
// The sentence of the last failure of a call of this header in this thread.
HEED_API const char *heed_mpi_last_error(void);

HEED_API int heed_mpi_rank(const heed_mpi *mpi);
HEED_API int heed_mpi_ranks(const heed_mpi *mpi);
HEED_API const char *heed_mpi_host(const heed_mpi *mpi, int rank);  // the name of its machine; "" for no rank
// From now on a rank that answers nobody for so many seconds makes the others fail, with its name; 0: they wait for ever.
HEED_API void heed_mpi_set_timeout(heed_mpi *mpi, double seconds);
// Bytes that this rank has sent by heed_mpi_reduce() and heed_mpi_spread().
HEED_API uint64_t heed_mpi_bytes(const heed_mpi *mpi);

// ---------------------------------------------------------------- devices

// Fills in `device`, `parts` and `part` of options, for heed_open_with(). A spec as of heed_open(). "auto" gives each rank of a machine the
// next device of the best type; whichever CPU several ranks of a machine have is divided between them. The text of options.device lives as
// long as mpi. `text` tells the device and, after "; ", what its user should know: that ranks share a GPU, or that there are more ranks than
// units. Errors: those of heed_device_list_find(); RANK.
#define HEED_MPI_TEXT 320
HEED_API HEED_MUST_CHECK heed_status heed_mpi_device(heed_mpi *mpi, const char *spec, heed_open_options *options,
                                                     char text[HEED_MPI_TEXT]);

// ---------------------------------------------------------------- small messages

// all: `bytes` of each rank, in the order of ranks. Errors: RANK (of all calls below, too).
HEED_API HEED_MUST_CHECK heed_status heed_mpi_gather(heed_mpi *mpi, const void *own, size_t bytes, void *all);
// Gives all ranks what `root` has.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_broadcast(heed_mpi *mpi, int root, void *data, size_t bytes);
// One rank sends and one receives; the others call neither.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_send(heed_mpi *mpi, int to, const void *data, size_t bytes);
HEED_API HEED_MUST_CHECK heed_status heed_mpi_receive(heed_mpi *mpi, int from, void *data, size_t bytes);

// ---------------------------------------------------------------- sums and values

// Tells whether `ranks` can share `micro_batches`: ranks must be a power of two that divides them.
HEED_API bool heed_mpi_can_share(int64_t micro_batches, int64_t ranks);
// Each rank has pieces/ranks of the pieces of heed_grad_pieces(), which lie side by side. Writes the first one of a rank's.
HEED_API int64_t heed_mpi_first_piece(int64_t pieces, int rank, int ranks);
// sum: [N], a rank's sum of gradients. Afterwards this rank's pieces hold the sum over all ranks, added in the order of the tree, and the
// contents of the others are undefined. room: of the same dtype and device, at least half as long. Errors: SHAPE; those of transfers.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_reduce(heed_mpi *mpi, heed_tensor *sum, int64_t pieces,
                                                     heed_tensor *room);
// The same while the backward still runs: each part of the gradients is exchanged as soon as it is final. Sums are added on the host if
// heed_mpi_adds_alike() tells that this gives the device's bits; for F16 it does not.
HEED_API bool heed_mpi_adds_alike(const heed_tensor *grads);
typedef struct heed_mpi_sum heed_mpi_sum;
HEED_API HEED_MUST_CHECK heed_status heed_mpi_sum_begin(heed_mpi *mpi, heed_tensor *grads, int64_t pieces,
                                                        heed_mpi_sum **out);
// The work that makes elements [first, first + count) final is queued. All ranks add the same parts in the same order, and each element
// once. Also sees to messages, as heed_mpi_sum_poll() does, which may be called between any two heed calls.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_sum_add(heed_mpi_sum *sum, int64_t first, int64_t count);
HEED_API HEED_MUST_CHECK heed_status heed_mpi_sum_poll(heed_mpi_sum *sum);

// Seconds by heed_mpi_sum_end()'s measure. Exchange: while some part was on its way; exposed: from the last part's end on the device on.
typedef struct heed_mpi_times {
  double exchange, exposed;
} heed_mpi_times;
// Waits for all parts, brings this rank's pieces back to the device, and destroys the sum, after a failure, too. times may be NULL.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_sum_end(heed_mpi_sum *sum, heed_mpi_times *times);
// values: [N], of which each rank's pieces are right. Afterwards all are, on every rank.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_spread(heed_mpi *mpi, heed_tensor *values, int64_t pieces);
// Compares a 64-bit hash of each parameter's value over the ranks. Errors: MISMATCH, with rank and parameter.
HEED_API HEED_MUST_CHECK heed_status heed_mpi_compare(heed_mpi *mpi, const heed_parameter *parameters, size_t count);

#ifdef __cplusplus
}
#endif
#endif
