// heed: attention, MLPs and transformers, forward and backward, on any OpenCL device or on the CPU.
//
// This header holds status, contexts, devices and tensors, and includes the others that every program needs: heed/operators.h,
// heed/attention.h, and heed/measure.h, which has what only tools and tests need.
//
// Conventions that hold everywhere:
//   Status           Every call that can fail returns a heed_status. heed_last_error() explains the failure in a sentence.
//   Ownership        create(..., **out) sets *out to NULL when it fails, whichever argument was wrong. Arguments are borrowed.
//   NULL             destroy(NULL) does nothing. An accessor that is given NULL returns nothing: 0, false, NULL or an empty text.
//   Synchronisation  Operators are queued in order and return at once. heed_tensor_download() waits for what it needs; heed_sync()
//                    waits for everything and returns the first error of the queue.
//   Threads          A context belongs to one thread at a time; two contexts may run in two threads.
//   Arithmetic       Storage may be F16 or BF16; every sum is F32 on devices and F64 on the host backend.
//   Gradients of parameters  A backward that gives some takes a last argument `accumulate`. False overwrites the tensors. True adds
//                    to what they hold: devices add in F32 and round once, and the same calls give the same bits each time.
//                    Gradients of inputs are always overwritten.
//   Structs          Zero-initialise a struct that you make: a zero field takes its default. Structs that only the library makes
//                    (heed_device_info) may grow. ABI: stable from 1.0 on; until then the soname contains the minor version.
#ifndef HEED_H
#define HEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(HEED__BUILDING)
#define HEED_API __declspec(dllexport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define HEED_API __attribute__((visibility("default")))
#else
#define HEED_API
#endif
#if defined(__GNUC__)
#define HEED_MUST_CHECK __attribute__((warn_unused_result))
#else
#define HEED_MUST_CHECK
#endif

#define HEED_VERSION_STRING "0.2.0"

// ---------------------------------------------------------------- status

// X(name, what it means)
#define HEED_STATUS_LIST(X)                                                    \
  X(HEED_OK, "success")                                                        \
  X(HEED_ERROR_INVALID_ARGUMENT, "an argument is out of its range")            \
  X(HEED_ERROR_SHAPE, "tensor shapes do not fit together")                     \
  X(HEED_ERROR_DTYPE, "a tensor has a dtype this operation does not take")     \
  X(HEED_ERROR_OVERFLOW, "a size does not fit the integers that must hold it") \
  X(HEED_ERROR_OUT_OF_MEMORY, "more memory is needed than there is")           \
  X(HEED_ERROR_NO_DEVICE, "no device, or more than one, fits the device spec") \
  X(HEED_ERROR_DEVICE, "an OpenCL call failed")                                \
  X(HEED_ERROR_BUILD, "a kernel does not build on this device")                \
  X(HEED_ERROR_UNSUPPORTED, "the backend or the device cannot do this")        \
  X(HEED_ERROR_IO, "a file cannot be read or written")                         \
  X(HEED_ERROR_FORMAT, "a file is not what it should be")                      \
  X(HEED_ERROR_MISMATCH, "a device's result differs from the host's")          \
  X(HEED_ERROR_RANK, "another process of the run failed, or does not answer")

typedef enum heed_status {
#define HEED_STATUS_ENUM(name, text) name,
  HEED_STATUS_LIST(HEED_STATUS_ENUM)
#undef HEED_STATUS_ENUM
} heed_status;

// The text of a status. It is static, and never NULL, even for a value outside the enum.
HEED_API const char *heed_status_string(heed_status status);

// The sentence of the last failure in this thread: it names the operator, the shapes, the OpenCL error and the device, or shows the
// head of a build log. Empty when nothing has failed. Valid until the thread's next heed call.
HEED_API const char *heed_last_error(void);

// The version of the library that the program runs with, "major.minor.patch".
HEED_API const char *heed_version(void);

// ---------------------------------------------------------------- context

// A device, its queue and everything made on it.
typedef struct heed_context heed_context;

// Opens a device. spec is one of: NULL (the environment's HEED_DEVICE, else auto), "auto" (the best GPU, else an accelerator, else
// an OpenCL CPU, else the host), "host" (no OpenCL), "gpu", "cpu", "P:D" (platform and device index), a number N (the N-th
// OpenCL device of the heed_device_list, counted from 0), "id:..." (the stable heed_device_info.id, with or without "id:"), or a piece of a platform's or device's name, in any case.
// Also read from the environment: HEED_VALIDATE, HEED_GEMM, HEED_GEMM_PROBE, HEED_TF32, HEED_BF16_DOTS, HEED_CACHE, HEED_KERNELS, HEED_TUNE and
// HEED_SELF_TEST; heed_open_options says what each does.
// Errors: NO_DEVICE when no device or several fit (the message lists the devices), DEVICE, UNSUPPORTED when the device has no
// compiler or has no parts, MISMATCH when the device failed heed's self-test (see heed_open_with()), INVALID_ARGUMENT for an unknown choice, or for a
// folder of HEED_CACHE or HEED_KERNELS that cannot serve; IO, FORMAT or UNSUPPORTED (made for another device) for a file of HEED_TUNE.
HEED_API HEED_MUST_CHECK heed_status heed_open(const char *spec, heed_context **out);

// Kinds of operators that a program calls, for heed_open_options.uses.
enum {
  HEED_USES_PRODUCTS = 1,  // gemm, linear, and whatever is not named below
  HEED_USES_ROWS = 2,      // softmax, norms
  HEED_USES_TRAINING = 4,  // cross-entropy, SGD
  HEED_USES_ATTENTION = 8,
};

// What heed begins when a call may take seconds, for programs that show their users that work goes on.
typedef enum heed_activity {
  HEED_ACTIVITY_SELF_TEST,  // a part of the self-test; name: "products", "rows", "training" or "attention"
  HEED_ACTIVITY_COMPILE,    // the driver compiles a kernel file, which no cache holds; name: the file, "ops/softmax.cl"
} heed_activity;
typedef struct heed_progress {
  heed_activity activity;
  const char *name;  // valid during the call
  // What was done before this: parts of the self-test, files that this context has compiled. total 0: unknown.
  size_t done, total;
} heed_progress;
// Called in the thread of the heed call that does the work, before the work begins. It must not call heed on this context.
typedef void (*heed_progress_fn)(const heed_progress *progress, void *user);

// heed_open() with all choices in a struct. A zero field means "as heed_open() does".
typedef struct heed_open_options {
  const char *device;  // as spec above
  int validate;  // 1: also run every operator on the host, and stop at the first difference; -1: do not; 0: HEED_VALIDATE
  int profile;            // 1: record {kernel, start, end} of each launch, see heed_profile_records()
  const char *gemm;       // "auto", "native" or "clblast"; NULL: HEED_GEMM, else auto
  const char *cache_dir;  // folder for compiled programs, "off" for none; NULL: HEED_CACHE, else $XDG_CACHE_HOME/heed
  int store_programs;  // -1: do not store compiled programs if storing means compiling a second time (PoCL does, and has its own
                       // cache); for programs that run once. 0: store them
  const char *kernel_dir;  // .cl files to use instead of the library's own; NULL: HEED_KERNELS, else the library's own
  int self_test;   // 1: test the device in any case; -1: do not test it; 0: HEED_SELF_TEST, else as described below
  unsigned uses;   // HEED_USES_... of all later calls; the self-test skips the other kinds. 0: all kinds
  int tf32;        // 1: tensor cores may round the factors of F32 products, those of attention too, to TF32 (10 bits of
                   // mantissa); -1: they may not; 0: HEED_TF32, else they may not
  int gemm_probe;  // -1: use a provider of matrix products without trying it first on a small product; 1: try it; 0:
                   // HEED_GEMM_PROBE, else try it
  const char *tuning;  // file of tuned choices, "off" for none; NULL: HEED_TUNE, else
                       // $XDG_CONFIG_HOME/heed/tune/<device id>.json, see heed/tune.h. One that was named and cannot
                       // serve is an error; in that usual place heed_context_notice() tells, and it is not used
  heed_progress_fn progress;  // told of long work, by this call and by later calls on the context; NULL: nobody is
  void *progress_user;        // passed to `progress`
  int parts,
      part;  // parts > 1: only part `part`, from 0, of a CPU that is divided into equal parts, which several processes share: of its
  // memory, and of its compute units, of which each part has one at least, in turn if there are fewer than parts. On the
  // host, of the threads that OpenMP gives this thread. Results have the bits of the whole device. 0: all of the device
  int mends_tuning;  // 1: for programs that write the file of tuned choices: a file that was named, and is not there or cannot
                     // serve, is no error; 0: it is one
  int bf16_dots;  // 1: a CPU with AVX512_BF16 adds up products of BF16 tensors by its instruction for pairs, which rounds a sum at each
      // product to the nearest F32 and takes F32 numbers below 2^-126 for 0; -1: as products of F32 numbers;
      // 0: HEED_BF16_DOTS, else by whichever is faster on this processor
} heed_open_options;
HEED_API HEED_MUST_CHECK heed_status heed_open_with(const heed_open_options *options, heed_context **out);
// Self-test: when a device, its driver and this version of heed meet for the first time, heed compares a few small calls with the
// host. The test has a part for each kind of HEED_USES_, runs those that `uses` asks for, and takes seconds if kernels must be
// compiled. heed keeps the verdicts in the cache folder; without such a folder it tests only if HEED_SELF_TEST=on or
// self_test = 1 asks for it, and then at each open. "auto" passes over a device that has failed in any part
// (heed_context_notice() says so); if the caller named the device, the open fails with MISMATCH and the reason.
// HEED_SELF_TEST=off opens it all the same. heed_open_opencl() does not test: that device is the caller's choice.

// Waits for queued work and releases everything of the context. Tensors and reads that are still alive keep the context open until
// the last of them is destroyed (heed_context_live_tensors() counts the tensors).
HEED_API void heed_context_destroy(heed_context *ctx);

// Waits for all queued work. Returns the first error that any queued call met since the last heed_sync().
HEED_API HEED_MUST_CHECK heed_status heed_sync(heed_context *ctx);

// How many tensors of this context, views included, are not destroyed yet.
HEED_API size_t heed_context_live_tensors(const heed_context *ctx);

// Bytes of device memory that this context holds in tensors and in what operators compute with, now and at most so far. Memory of the
// caller's own (heed/opencl.h) does not count.
HEED_API uint64_t heed_context_bytes(const heed_context *ctx);
HEED_API uint64_t heed_context_peak_bytes(const heed_context *ctx);

// What a program should tell its user about this context, for example that it fell back to the host because there is no OpenCL, or that
// it does not trust a folder of compiled programs. Empty when there is nothing to say.
HEED_API const char *heed_context_notice(const heed_context *ctx);

// The folder that keeps the programs that this context compiles. Empty if none does: on the host, with HEED_CACHE=off, or if heed does
// not trust the folder.
HEED_API const char *heed_context_cache(const heed_context *ctx);

// ---------------------------------------------------------------- devices

typedef enum heed_device_type {
  HEED_DEVICE_HOST,
  HEED_DEVICE_CPU,
  HEED_DEVICE_GPU,
  HEED_DEVICE_ACCELERATOR
} heed_device_type;

typedef enum heed_self_test { HEED_SELF_TEST_UNTESTED, HEED_SELF_TEST_OK, HEED_SELF_TEST_FAILED } heed_self_test;

// Only the library makes it, and it may grow.
typedef struct heed_device_info {
  int platform_index, device_index;  // -1, -1 for the host backend
  heed_device_type type;
  char name[160];
  char vendor[96];
  char platform[96];
  char platform_version[128];
  char driver[128];
  char version[128];        // the device's OpenCL version string
  char id[80];              // stable: "pci:...", "uuid:...", or "hash:..."; a spec, as it is or after "id:"
  uint64_t memory;          // bytes of global memory; of a CPU, the machine's or its control group's
  uint64_t max_allocation;  // bytes of the largest single buffer, which the driver enforces
  uint64_t local_memory;    // bytes a work-group has
  uint32_t compute_units;
  bool has_compiler;
  bool unified_memory;         // shares the host's memory
  bool is_auto;                // what "auto" picks
  heed_self_test self_test;    // the verdict that heed remembers
  char self_test_reason[320];  // why it failed: operator, shapes, index, both values
} heed_device_info;

typedef struct heed_platform_info {
  char name[96];
  char version[128];
  int devices;
  char reason[320];  // why it shows no device and what to do; empty when it has some
} heed_platform_info;

typedef struct heed_device_list heed_device_list;
// Lists every OpenCL device, and the host backend's device last. A machine without any platform is no error. Errors: OUT_OF_MEMORY.
HEED_API HEED_MUST_CHECK heed_status heed_device_list_create(heed_device_list **out);
HEED_API void heed_device_list_destroy(heed_device_list *list);
HEED_API size_t heed_device_list_count(const heed_device_list *list);
HEED_API const heed_device_info *heed_device_list_get(const heed_device_list *list, size_t index);
// Writes the index in the list of the device that heed_open(spec) would choose by the verdicts that heed remembers. Errors: NO_DEVICE.
HEED_API HEED_MUST_CHECK heed_status heed_device_list_find(const heed_device_list *list, const char *spec,
                                                           size_t *index);
HEED_API size_t heed_device_list_platforms(const heed_device_list *list);
HEED_API const heed_platform_info *heed_device_list_platform(const heed_device_list *list, size_t index);
HEED_API const char *heed_device_type_string(heed_device_type type);

// The device that a context runs on; valid as long as the context.
HEED_API const heed_device_info *heed_context_device(const heed_context *ctx);

// ---------------------------------------------------------------- tensors

// X(name, bytes of an element, is it floating point). New ones are added at the end; values never change.
#define HEED_DTYPE_LIST(X) \
  X(F32, 4, true)          \
  X(F16, 2, true)          \
  X(BF16, 2, true)         \
  X(I32, 4, false)         \
  X(I64, 8, false)         \
  X(U8, 1, false)          \
  X(BOOL, 1, false)

typedef enum heed_dtype {
#define HEED_DTYPE_ENUM(name, bytes, is_float) HEED_##name,
  HEED_DTYPE_LIST(HEED_DTYPE_ENUM)
#undef HEED_DTYPE_ENUM
} heed_dtype;

HEED_API size_t heed_dtype_size(heed_dtype dtype);         // bytes of an element; 0 for a value that is no dtype
HEED_API const char *heed_dtype_string(heed_dtype dtype);  // "F32"
HEED_API bool heed_dtype_is_float(heed_dtype dtype);

#define HEED_MAX_RANK 5

// An array of rank 0 to 5 on a context's device. It is row-major unless it is a view; strides and offset count elements.
typedef struct heed_tensor heed_tensor;

// Makes a tensor of undefined contents. A dimension may be 0.
// Errors: OVERFLOW when the size does not fit 64 bits; OUT_OF_MEMORY, with the figures, before anything is allocated.
HEED_API HEED_MUST_CHECK heed_status heed_tensor_create(heed_context *ctx, heed_dtype dtype, int rank,
                                                        const int64_t *dims, heed_tensor **out);
// heed_tensor_create(), then heed_tensor_upload() of `data`.
HEED_API HEED_MUST_CHECK heed_status heed_tensor_create_from(heed_context *ctx, heed_dtype dtype, int rank,
                                                             const int64_t *dims, const void *data, heed_tensor **out);
HEED_API void heed_tensor_destroy(heed_tensor *tensor);

HEED_API heed_context *heed_tensor_context(const heed_tensor *tensor);
HEED_API heed_dtype heed_tensor_dtype(const heed_tensor *tensor);
HEED_API int heed_tensor_rank(const heed_tensor *tensor);
HEED_API int64_t heed_tensor_dim(const heed_tensor *tensor,
                                 int axis);  // -1 is the last axis; returns 1 for an axis that does not exist
HEED_API const int64_t *heed_tensor_dims(const heed_tensor *tensor);
HEED_API const int64_t *heed_tensor_strides(const heed_tensor *tensor);
HEED_API int64_t heed_tensor_count(const heed_tensor *tensor);  // elements
HEED_API size_t heed_tensor_bytes(const heed_tensor *tensor);   // count x element size
HEED_API bool heed_tensor_is_contiguous(const heed_tensor *tensor);
HEED_API int64_t heed_tensor_offset(const heed_tensor *tensor);  // elements from the start of its storage to its first
HEED_API bool heed_tensor_shares_storage(const heed_tensor *a, const heed_tensor *b);
// Tells whether some element of a lies on an element of b. It is exact for slices and permutations of one tensor; other views that only
// interleave may count as overlapping.
HEED_API bool heed_tensor_overlaps(const heed_tensor *a, const heed_tensor *b);
// "F32[2, 3]", for messages; "none" for NULL. The text is the library's: use it before the thread's next call of another function.
// One message may use up to eight of them.
HEED_API const char *heed_tensor_describe(const heed_tensor *tensor);

// A view shares the storage of `base` and keeps it alive. Errors: SHAPE when the view would leave the base.
HEED_API HEED_MUST_CHECK heed_status heed_tensor_view(const heed_tensor *base, int rank, const int64_t *dims,
                                                      const int64_t *strides, int64_t offset, heed_tensor **out);
HEED_API HEED_MUST_CHECK heed_status heed_tensor_reshape(const heed_tensor *base, int rank, const int64_t *dims,
                                                         heed_tensor **out);  // base must be contiguous
HEED_API HEED_MUST_CHECK heed_status heed_tensor_permute(const heed_tensor *base, const int *order, heed_tensor **out);
HEED_API HEED_MUST_CHECK heed_status heed_tensor_slice(const heed_tensor *base, int axis, int64_t start, int64_t length,
                                                       heed_tensor **out);
// Makes one rank 1 view of `count` contiguous tensors, which must lie one after another in one storage, in this order.
// Errors: SHAPE when they do not; DTYPE when their dtypes differ.
HEED_API HEED_MUST_CHECK heed_status heed_tensor_join(const heed_tensor *const *parts, size_t count, heed_tensor **out);

// Transfer the whole tensor. `data` is densely packed and row-major; `bytes` must be heed_tensor_bytes().
// An upload returns when `data` may be reused. A download waits for the work that makes the tensor. It returns the first error that
// the queue has met, and leaves that error for heed_sync(), too.
HEED_API HEED_MUST_CHECK heed_status heed_tensor_upload(heed_tensor *tensor, const void *data, size_t bytes);
HEED_API HEED_MUST_CHECK heed_status heed_tensor_download(const heed_tensor *tensor, void *data, size_t bytes);
// The same from and to F32, whatever float dtype the tensor has (rounded to nearest even).
HEED_API HEED_MUST_CHECK heed_status heed_tensor_upload_f32(heed_tensor *tensor, const float *data, int64_t count);
HEED_API HEED_MUST_CHECK heed_status heed_tensor_download_f32(const heed_tensor *tensor, float *data, int64_t count);

// A download that does not wait, for example of a loss while the next steps are queued. start queues the read among the operators and
// returns: the read gets the values that the tensor has at this point. The caller leaves `data` alone until the read is done, and may
// change or destroy the tensor at once. On the host a read is done when start returns.
typedef struct heed_read heed_read;
HEED_API HEED_MUST_CHECK heed_status heed_read_start(const heed_tensor *tensor, void *data, size_t bytes,
                                                     heed_read **out);
// The same, but what is queued later does not wait for the read: a GPU copies while it computes. Until the read is done, the caller leaves
// the tensor as it is, too.
HEED_API HEED_MUST_CHECK heed_status heed_read_start_beside(const heed_tensor *tensor, void *data, size_t bytes,
                                                            heed_read **out);
// test tells whether the read is done; wait waits for it. Once it is done, both return the first error that the queue had met by then.
// They leave that error for heed_sync(), too.
HEED_API HEED_MUST_CHECK heed_status heed_read_test(heed_read *read, bool *done);
HEED_API HEED_MUST_CHECK heed_status heed_read_wait(heed_read *read);
// Waits if the read is not done yet.
HEED_API void heed_read_destroy(heed_read *read);

// Host memory that a device copies from and to at its full rate, for data that is transferred often: page-locked memory of a GPU's driver
// as far as it has any, else ordinary memory. Its contents are undefined at first. It keeps ctx alive, as a tensor does.
typedef struct heed_host_memory heed_host_memory;
HEED_API HEED_MUST_CHECK heed_status heed_host_memory_create(heed_context *ctx, size_t bytes, heed_host_memory **out);
HEED_API void *heed_host_memory_data(const heed_host_memory *memory);
HEED_API void heed_host_memory_destroy(heed_host_memory *memory);

#ifdef __cplusplus
}
#endif

#include <heed/operators.h>
#include <heed/attention.h>
#include <heed/measure.h>
#endif
