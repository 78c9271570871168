// What all of the OpenCL backend shares: device traits, queue, programs, launches, scratch memory. Operators reach OpenCL only through this
// header.
#ifndef HEED__CL_H
#define HEED__CL_H

#include <heed/opencl.h>

#include "core/core.h"

// ---------------------------------------------------------------- device

// What is known of native_exp2().
enum heed__cl_exp2 { HEED__EXP2_UNTRIED, HEED__EXP2_CAREFUL, HEED__EXP2_NATIVE };

// How neighbouring work-items exchange registers; the values are those of SHUFFLE in kernels_cl/shuffle.cl.
enum heed__cl_shuffle {
  HEED__SHUFFLE_NONE,
  HEED__SHUFFLE_EMULATED,  // for tests
  HEED__SHUFFLE_KHR,
  HEED__SHUFFLE_PTX
};

// Whether a CPU adds products of pairs of BF16 numbers to F32 sums by one instruction (AVX512_BF16).
enum heed__cl_bf16_dots {
  HEED__BF16_NONE,
  HEED__BF16_EMULATED,  // for tests
  HEED__BF16_SLOW,      // it multiplies and adds F32 numbers faster
  HEED__BF16_FAST
};

// The properties of the device by which heed chooses kernels. heed reads them once, when it opens the context; only tests change them
// later.
struct heed__cl_traits {
  bool cpu_like;     // one work-item per tile, wide vectors; else work-groups and local memory
  int vector_width;  // native float width, clamped to 4, 8 or 16 (cpu-like); 1 or 4 on GPUs
  size_t max_work_group;
  uint64_t local_memory, max_allocation, memory, cache;
  uint32_t compute_units;  // cores: what holds several work-groups at once, with local memory of its own
  uint32_t address_bits;
  enum heed__cl_shuffle shuffle;  // what the device offers; heed__cl_shuffle() says whether it works
  // What a work-item's registers hold beside the factors of products: floats of a tile's scores, of sums of outputs, and of both together,
  // where scores count twice.
  int scores_an_item, sums_an_item, floats_an_item;
  // Products of tiles may be unrolled: the compiler finds registers for it. Others keep an address for every row of a loop, and then fewer
  // work-groups fit a core.
  bool spare_registers;
  // Floating-point operations of one launch: a quarter of a second on a slow device of this size, since watchdogs end what takes seconds.
  // heed__cl_groups_a_launch in grid.h makes work-groups of it.
  double launch_flops;
  int subgroup;        // the size of subgroups that kernels with many registers ask for; 0: they ask for none
  bool shares_host;    // a CPU's memory is the machine's, which other programs take from, too
  bool copies_beside;  // a GPU copies to the host's memory while it computes, where a second queue asks for it
  bool nvidia;         // inline PTX may be tried
  bool compiles_late;  // PoCL: compiles at the first launch, and again for a binary
  bool tensor_cores;   // an NVIDIA device's, which multiply fragments as warp.cl does
  bool emulate_warps;  // warp.cl without PTX: for tests on other devices
  enum heed__cl_bf16_dots bf16_dots;
  bool short_loops;  // llvmpipe silently ends a work-item's loops after 65535 iterations in total
};

enum { HEED__CL_KEPT = 4 };  // so many rooms above the runtime may keep something in a context

struct heed__cl {
  cl_platform_id platform;
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
  cl_command_queue copies;  // transfer.c: for reads beside `queue`; NULL before the first one
  struct heed__cl_traits traits;
  bool tensor_cores_off;  // the driver refused their kernels, or they computed wrong: use only ordinary kernels
  unsigned revision;      // counts changes of what plans depend on; see heed__cl_revise
  bool tf32;              // F32 numbers may be rounded to TF32 on their way into tensor cores
  bool profiling;
  char *cache_dir;                      // NULL: no disk cache
  bool stores_programs;                 // stores there what it builds
  char *kernel_dir;                     // NULL: embedded sources
  struct heed__cl_adopted *adopted;     // memory.c: the caller's buffers under tensors
  unsigned unflushed;                   // launches since the last clFlush
  struct heed__cl_marks *marks;         // launch.c: how far the queue has come
  cl_mem dummy;                         // one element, for tensors that are left out; made at first use
  enum heed__cl_shuffle shuffle_tried;  // trials.c
  bool shuffle_right;
  enum heed__cl_exp2 exp2;             // trials.c
  struct heed__cl_uploads *uploads;    // transfer.c
  struct heed__cl_programs *programs;  // program.c
  bool build_may_work_later;           // program.c: the last failed build failed for lack of memory or of the device
  struct heed__cl_scratch *scratch;    // memory.c
  struct heed__cl_profile *profile;    // profile.c
  void *kept[HEED__CL_KEPT];           // each by the number that rooms.h gives it
};
static inline struct heed__cl *heed__cl_state(const heed_context *ctx) { return ctx->state; }
// Call this when a choice of kernels has changed or something has stopped working: contexts then make their kept plans again.
static inline void heed__cl_revise(heed_context *ctx) { ++heed__cl_state(ctx)->revision; }

struct heed__cl_config {
  bool tf32;  // products of F32 tensors may round their factors to TF32
  bool profiling;
  const char *cache_dir;   // NULL: none
  bool load_only;          // add no program to it if that means compiling the program again
  const char *kernel_dir;  // NULL: embedded
  int parts, part;         // parts > 1: a part of the device
};
// Makes context and queue on a device (or retains the caller's), fills in ctx->device and attaches the backend. The backend's rooms open
// afterwards.
heed_status heed__cl_open(heed_context *ctx, cl_device_id device, const struct heed__cl_config *config,
                          const struct heed__backend *backend);
heed_status heed__cl_open_with(heed_context *ctx, cl_context context, cl_device_id device, cl_command_queue queue,
                               const struct heed__cl_config *config, const struct heed__backend *backend);
// part.c: gives part `part` of a CPU divided equally, of its units in turn if they are fewer than the parts; clReleaseDevice() it.
heed_status heed__cl_part(cl_device_id device, int parts, int part, cl_device_id *out);
void heed__cl_close(heed_context *ctx);  // after the queue has finished and the rooms have closed

// devices.c: lists the devices. Each entry has the device's handle beside its info.
struct heed__cl_found {
  heed_device_info info;
  cl_device_id device;
};
heed_status heed__cl_discover(struct heed__cl_found **devices, size_t *device_count, heed_platform_info **platforms,
                              size_t *platform_count);  // both freed with free()

// processor.c: what is known of a device by the host's processor; NONE where the device is not this processor.
enum heed__cl_bf16_dots heed__cl_bf16_dots_of(const heed_device_info *info);

const char *heed__cl_error_name(cl_int error);  // "CL_OUT_OF_RESOURCES"
// Calls heed__fail with "what: CL_X on <device name>"; out-of-memory codes become HEED_ERROR_OUT_OF_MEMORY.
heed_status heed__cl_fail(const heed_context *ctx, cl_int error, const char *what);
#ifdef HEED_LINT  // see base/status.h
#define heed__cl_fail(...) heed__failed(heed__cl_fail(__VA_ARGS__))
#endif

// ---------------------------------------------------------------- launches

// One kernel launch, built step by step. It keeps the first error, and heed__cl_launch returns it.
//   struct heed__cl_kernel k;
//   heed__cl_begin(&k, ctx, "ops/foo.cl", "foo_rows");
//   heed__cl_define(&k, "X_DTYPE", "F32");
//   heed__cl_tensor(&k, x);              two kernel arguments: the buffer, and `long` offset in elements
//   heed__cl_long(&k, rows);
//   HEED__TRY(heed__cl_launch(&k, 1, global, NULL));
// The launch builds the program or finds it in the caches, since the arguments decide on -DHEED_IDX64: it is defined if a tensor's span or
// a long exceeds HEED__CL_IDX32_MOST. Kernels index with `idx`, which is long then and int otherwise.
#define HEED__CL_MAX_ARGS 64
// A loop adds its step before it compares, and a launch is rounded up to whole work-groups, so an index may pass the end by one step and
// must not wrap there. No kernel has a larger step than this: it is that of row kernels, which heed__cl_launch_rows() bounds. Blocks of a
// row (8192 elements at most), shares of a work-item (4096) and the rounding to work-groups are far smaller.
enum { HEED__CL_FARTHEST_STEP = 1 << 22, HEED__CL_IDX32_MOST = INT32_MAX - HEED__CL_FARTHEST_STEP };
struct heed__cl_kernel {
  heed_context *ctx;
  const char *file, *kernel;
  heed_status status;
  char options[1024];
  size_t options_used;
  bool wide;
  int arg_count;
  struct heed__cl_arg {
    size_t size;
    bool local;
    const void *data;  // of a struct; NULL: `value` is it
    union {
      cl_mem mem;
      cl_long i64;
      cl_uint u32;
      cl_float f32;
    } value;
  } args[HEED__CL_MAX_ARGS];
};
void heed__cl_begin(struct heed__cl_kernel *k, heed_context *ctx, const char *file, const char *kernel);
void heed__cl_define(struct heed__cl_kernel *k, const char *name, const char *value);  // -Dname=value
void heed__cl_define_int(struct heed__cl_kernel *k, const char *name, int64_t value);
void heed__cl_define_dtype(struct heed__cl_kernel *k, const char *name, heed_dtype dtype);  // -Dname=F32
void heed__cl_tensor(struct heed__cl_kernel *k, const heed_tensor *t);  // buffer, long offset; NULL: a dummy buffer, 0
void heed__cl_strides(struct heed__cl_kernel *k, const heed_tensor *t,
                      int count);                                       // the first `count` strides, long each
void heed__cl_memory(struct heed__cl_kernel *k, const heed_tensor *t);  // the buffer alone; NULL: a dummy
void heed__cl_buffer(struct heed__cl_kernel *k, cl_mem buffer);
// A struct by value. It must stay until the launch, which reads it then. It begins with `longs` members of 64 bits.
void heed__cl_struct(struct heed__cl_kernel *k, const void *data, size_t size, size_t longs);
void heed__cl_long(struct heed__cl_kernel *k, int64_t value);
void heed__cl_uint(struct heed__cl_kernel *k, uint32_t value);
void heed__cl_float(struct heed__cl_kernel *k, double value);
void heed__cl_local(struct heed__cl_kernel *k, size_t bytes);  // a __local argument
void heed__cl_marks_destroy(heed_context *ctx);
// Returns the largest work-group that this kernel may be launched with (CL_KERNEL_WORK_GROUP_SIZE). It builds the kernel.
heed_status heed__cl_work_group_limit(struct heed__cl_kernel *k, size_t *limit);
// Queues the launch. dims: 1 to 3; local NULL: the driver chooses. A global size of 0 does nothing. Records an event when profiling.
heed_status heed__cl_launch(struct heed__cl_kernel *k, int dims, const size_t *global, const size_t *local);

// ---------------------------------------------------------------- scratch

// Device memory for one operator call. The queue is in order, so a buffer that is given back may be handed out again at once.
// Errors: OUT_OF_MEMORY with the figures.
heed_status heed__cl_scratch_take(heed_context *ctx, uint64_t wanted, cl_mem *out);
void heed__cl_scratch_give(heed_context *ctx, cl_mem buffer);  // NULL is legal

// ---------------------------------------------------------------- parts of the backend, each in the file it names

// devices.c. Queries that every OpenCL driver must answer. It keeps the first one that the driver does not answer.
struct heed__cl_asked {
  cl_device_id device;
  cl_int error;
  const char *what;  // "CL_DEVICE_NAME"
};
void heed__cl_ask(struct heed__cl_asked *asked, cl_device_info what, const char *what_name, void *value, size_t size);
#define HEED__CL_ASK(asked, what, value) heed__cl_ask((asked), what, #what, (value), sizeof *(value))
heed_status heed__cl_asked_status(const struct heed__cl_asked *asked);  // DEVICE or OUT_OF_MEMORY
// Fills in info for a device that may not be in the list (a sub-device has index -1).
heed_status heed__cl_describe(cl_device_id device, heed_device_info *info);
// Whether the device's memory is the machine's: `info` then has what the operating system tells, not the driver.
bool heed__cl_shares_host(const heed_device_info *info);
bool heed__cl_has_extension(cl_device_id device, const char *name);  // the whole word

// memory.c. Makes a buffer of `bytes`, after a check of the device's limits; the message of a failure begins with `purpose`.
heed_status heed__cl_buffer_new(heed_context *ctx, size_t bytes, const char *purpose, cl_mem *out);
// Returns the size of a caller's buffer. Errors: INVALID_ARGUMENT for a buffer of another OpenCL context.
heed_status heed__cl_buffer_measure(const heed_context *ctx, cl_mem buffer, size_t *bytes);
// Retains a caller's buffer until heed__cl_buffer_destroy(). It does not count as memory in use, because heed did not allocate it and
// several tensors may lie in it.
heed_status heed__cl_buffer_adopt(heed_context *ctx, cl_mem buffer);
void heed__cl_adopted_destroy(heed_context *ctx);
heed_status heed__cl_buffer_create(heed_context *ctx, size_t bytes, void **handle);
void heed__cl_buffer_destroy(heed_context *ctx, void *handle);
heed_status heed__cl_upload(heed_context *ctx, void *handle, size_t offset, const void *data, size_t bytes);
heed_status heed__cl_download(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes);
heed_status heed__cl_read_start(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes, bool beside,
                                void **transfer);
heed_status heed__cl_read_end(heed_context *ctx, void *transfer, bool wait, bool *done);
// Page-locked memory where copies run beside kernels; ordinary memory elsewhere, and where the driver has no more of it.
heed_status heed__cl_host_memory_create(heed_context *ctx, size_t bytes, void **data, void **handle);
void heed__cl_host_memory_destroy(heed_context *ctx, void *data, void *handle);
heed_status heed__cl_sync(heed_context *ctx);
void heed__cl_uploads_destroy(heed_context *ctx);  // after the queue has finished

// program.c. A built kernel; both pointers are valid as long as the context.
struct heed__cl_built {
  const char *name;
  cl_kernel kernel;
  size_t work_group_limit;
};
// options: "-cl-std=CL1.2 -DX_DTYPE=F32 -DTILE=8". Builds on a miss.
heed_status heed__cl_built_find(heed_context *ctx, const char *file, const char *kernel, const char *options,
                                struct heed__cl_built **out);
void heed__cl_programs_store(heed_context *ctx);  // puts what was built into the disk cache
void heed__cl_programs_destroy(heed_context *ctx);
// program_cache.c: compiled programs on disk, found by a key text. None of these functions fails: there is no entry, or none is written.
// Tells the user why heed does not trust the folder; empty if there is nothing to say.
void heed__cl_cache_notice(const char *dir, char *text, size_t size);
// The same of a folder that the caller named, which is made if it is not there. Errors: INVALID_ARGUMENT with the reason.
heed_status heed__cl_cache_check(const char *dir);
bool heed__cl_cache_load(const char *dir, const char *key, unsigned char **binary, size_t *size);  // free() it
void heed__cl_cache_store(const char *dir, const char *key, const unsigned char *binary, size_t size);

// memory.c
size_t heed__cl_scratch_trim(heed_context *ctx,
                             uint64_t keep);  // releases idle buffers down to `keep` bytes; returns bytes freed
void heed__cl_scratch_destroy(heed_context *ctx);

// profile.c
heed_status heed__cl_profile(heed_context *ctx, const heed_profile_record **records, size_t *count);
// Drops events after the mark: they belong to work that the caller did not ask for.
size_t heed__cl_profile_mark(const heed_context *ctx);
void heed__cl_profile_drop(heed_context *ctx, size_t mark);
void heed__cl_profile_destroy(heed_context *ctx);

// trials.c: returns the trait's form if this device behaves as kernels expect, which the first call tries; else NONE.
enum heed__cl_shuffle heed__cl_shuffle(heed_context *ctx);
// trials.c: whether native_exp2() is within 6e-7 of exp2() here for arguments not above 0, which the first call tries.
bool heed__cl_native_exp2(heed_context *ctx);

// peak.c
heed_status heed__cl_measure_peak(heed_context *ctx, size_t bytes, double *fma_gflops, double *copy_gbytes);

// Profiling: launch.c and library calls pass their events here (it retains them). kernel must be static or interned.
void heed__cl_profile_event(heed_context *ctx, const char *kernel, cl_event event);

#endif
