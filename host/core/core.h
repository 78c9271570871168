// What contexts, tensors and backends are inside. It knows base; everything above reaches devices through heed__backend.
#ifndef HEED__CORE_H
#define HEED__CORE_H

#include "base/half.h"
#include "base/size.h"
#include "base/status.h"
#include "core/operators.h"

// ---------------------------------------------------------------- buffers and tensors

// Device memory that a tensor and its views share. The handle belongs to the backend: a pointer (host) or a cl_mem.
struct heed__buffer {
  heed_context *ctx;
  int references;
  size_t bytes;
  void *handle;
};

struct heed_tensor {
  heed_context *ctx;
  struct heed__buffer *buffer;
  heed_dtype dtype;
  int rank;
  int64_t dims[HEED_MAX_RANK], strides[HEED_MAX_RANK];
  int64_t offset;  // elements
  int64_t count;
};

// Makes a view without the checks of heed_tensor_view(): strides may be 0, and the rank may be 0 to 5. The view lives on the caller's
// stack, holds no reference and is not counted.
void heed__view_init(struct heed_tensor *view, const heed_tensor *base, int rank, const int64_t *dims,
                     const int64_t *strides, int64_t offset);
// The same for a contiguous base, row-major.
void heed__reshape_init(struct heed_tensor *view, const heed_tensor *base, int rank, const int64_t *dims);
// Counts the elements of a shape. Errors, whose messages begin with `who`: SHAPE (rank, a negative dimension), OVERFLOW, INVALID_ARGUMENT.
heed_status heed__count_elements(const char *who, int rank, const int64_t *dims, int64_t *count);
void heed__contiguous_strides(int rank, const int64_t *dims, int64_t *strides);
// One past the highest element index the tensor touches, relative to its buffer's start.
int64_t heed__tensor_span(const heed_tensor *tensor);
// "F32[2, 3]" in a thread-local ring of 8; "none" for NULL.
const char *heed__tensor_text(const heed_tensor *tensor);
const char *heed__dims_text(int rank, const int64_t *dims);
// Wraps a handle in a tensor that owns it through the buffer (one reference).
heed_status heed__tensor_wrap(heed_context *ctx, void *handle, size_t bytes, heed_dtype dtype, int rank,
                              const int64_t *dims, heed_tensor **out);

// ---------------------------------------------------------------- dtypes

// Reads element `index` of host memory as F64, or writes it (to the nearest, ties to even; integers truncate and saturate).
double heed__load(const void *data, heed_dtype dtype, int64_t index);
void heed__store(void *data, heed_dtype dtype, int64_t index, double value);

// ---------------------------------------------------------------- backends

typedef heed_status (*heed__op_fn)(heed_context *ctx, const struct heed__call *call);

// Memory functions work on whole buffers; bytes > 0. The queue runs them all in order; download and sync also wait.
struct heed__backend {
  const char *name;
  void (*destroy)(heed_context *ctx);
  heed_status (*buffer_create)(heed_context *ctx, size_t bytes, void **handle);  // checks device memory first
  void (*buffer_destroy)(heed_context *ctx, void *handle);
  heed_status (*upload)(heed_context *ctx, void *handle, size_t offset, const void *data, size_t bytes);
  heed_status (*download)(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes);
  // A download that does not wait. *transfer is NULL if it has already ended; otherwise pass it to read_end until that sets `done`. With
  // `beside`, later work need not wait for it: that does not change what is read.
  heed_status (*read_start)(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes, bool beside,
                            void **transfer);
  // Tells whether the transfer has ended; with `wait`, waits for its end. An error means that it has ended, too. It may come from earlier
  // work.
  heed_status (*read_end)(heed_context *ctx, void *transfer, bool wait, bool *done);
  // Host memory that the device copies from and to at its full rate; *handle goes back to host_memory_destroy.
  heed_status (*host_memory_create)(heed_context *ctx, size_t bytes, void **data, void **handle);
  void (*host_memory_destroy)(heed_context *ctx, void *data, void *handle);
  heed_status (*sync)(heed_context *ctx);
  heed_status (*profile)(heed_context *ctx, const heed_profile_record **records, size_t *count);
  heed_status (*measure_peak)(heed_context *ctx, size_t bytes, double *fma_gflops, double *copy_gbytes);
  heed__op_fn ops[HEED__OP_COUNT];
  // Only the host has these, for the operators with OWN_TERMS. `out` has F32 tensors that hold what the outputs held before the call. Each
  // element becomes what one rounding of everything that its F32 arithmetic rounds comes to, to first order, with the sizes of terms added
  // up (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 3). That includes what is stored in a narrower dtype on the way,
  // but not the storage of the result itself.
  heed__op_fn terms[HEED__OP_COUNT];
};

struct heed_context {
  const struct heed__backend *backend;  // what calls go to: the device's, or validate
  const struct heed__backend *device_backend;
  void *state;           // of device_backend
  heed_context *shadow;  // validate: the host context that repeats every call
  heed_device_info device;
  size_t live_tensors, live_transfers;  // transfers: reads, and host memory for them
  uint64_t allocated, peak_allocated;   // bytes of device memory: tensors and scratch, idle scratch too
  bool closed;                          // the caller has destroyed it; the last of these releases it
  heed_status pending;                  // first error of the queue, until heed_sync
  char pending_message[512];
  heed_progress_fn progress;  // NULL: nobody is told
  void *progress_user;
  char notice[1024];
};

heed_status heed__context_create(heed_context **out);  // zeroed
// Adds a sentence to heed_context_notice(), cut off if it does not fit.
__attribute__((format(printf, 2, 3))) void heed__notice_add(heed_context *ctx, const char *format, ...);
// Tells the caller's function, if there is one, what begins.
void heed__context_tell(const heed_context *ctx, heed_activity activity, const char *name, size_t done, size_t total);
// Backends count here what they allocate on the device and what they give back.
void heed__context_took(heed_context *ctx, uint64_t bytes);
void heed__context_gave(heed_context *ctx, uint64_t bytes);
// Call this when a tensor, or a read or host memory of ctx is destroyed. The last one of a closed context releases the context.
void heed__context_tensor_gone(heed_context *ctx);
void heed__context_transfer_gone(heed_context *ctx);
// Keeps the first error for heed_sync.
void heed__context_defer(heed_context *ctx, heed_status status);
// Returns what heed_sync() would return for the work that has ended, but keeps the error.
heed_status heed__context_pending(const heed_context *ctx);
// Sends a validated call to the backend; adds the operator's name to its errors.
heed_status heed__dispatch(heed_context *ctx, const struct heed__call *call);
// Installs the table that repeats each call on the host (ctx->shadow) and compares the results; from then on ctx owns `host`.
extern const struct heed__backend heed__validate_backend;
void heed__validate_attach(heed_context *ctx, heed_context *host);

// How a result of the device stands beside the host's: judge.c.
struct heed__judgement {
  double error, bound;      // ‖x − r‖, and what F32 must be allowed of it
  int64_t index;            // the element that uses most of what it is allowed; −1: all agree
  double actual, expected;  // there
  double used, allowed;     // there: |x − r|, and what it may be
};
// terms: an F32 tensor of what one rounding of the terms comes to; NULL: as if nothing cancelled.
heed_status heed__judge(const heed_tensor *actual, const heed_tensor *expected, const heed_tensor *terms,
                        bool is_sum_of_products, struct heed__judgement *judgement);

// Compares densely packed host arrays, element for element in F64; see heed_difference.
void heed__compare(const void *actual, heed_dtype actual_dtype, const void *expected, heed_dtype expected_dtype,
                   int64_t count, heed_difference *difference);

#endif
