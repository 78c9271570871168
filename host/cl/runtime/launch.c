// One kernel launch: gathers options and arguments, checks them against the device's limits, and queues the launch. program.c finds the
// program.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/runtime/runtime.h"

// A driver may hold commands back until a flush; after this many launches a flush pays.
enum { LAUNCHES_A_FLUSH = 32, FLUSHES_AHEAD = 32 };

static void refuse(struct heed__cl_kernel *k, heed_status status) {
  if (k->status == HEED_OK) k->status = status;
}

void heed__cl_begin(struct heed__cl_kernel *k, heed_context *ctx, const char *file, const char *kernel) {
  k->ctx = ctx;
  k->file = file;
  k->kernel = kernel;
  k->status = HEED_OK;
  k->wide = false;
  k->arg_count = 0;
  // -w, because PoCL prints the number of warnings on stderr. tools/dev/check-kernels shows the warnings to people who write kernels.
  static const char first[] = "-cl-std=CL1.2 -w";
  k->options_used = sizeof first - 1;
  memcpy(k->options, first, sizeof first);
}

static void append(struct heed__cl_kernel *k, const char *text, size_t length) {
  if (length >= sizeof k->options - k->options_used) {
    refuse(k, heed__fail(HEED_ERROR_INVALID_ARGUMENT, "%s: its build options pass %zu characters", k->kernel,
                         sizeof k->options));
    return;
  }
  memcpy(k->options + k->options_used, text, length);
  k->options_used += length;
  k->options[k->options_used] = 0;
}

// Every launch writes its options to find its program by them; with printf this would take a tenth of a warm launch's time.
void heed__cl_define(struct heed__cl_kernel *k, const char *name, const char *value) {
  append(k, " -D", 3);
  append(k, name, strlen(name));
  append(k, "=", 1);
  append(k, value, strlen(value));
}

void heed__cl_define_int(struct heed__cl_kernel *k, const char *name, int64_t value) {
  char text[24], *digit = text + sizeof text - 1;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  *digit = 0;
  do *--digit = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) *--digit = '-';
  heed__cl_define(k, name, digit);
}

void heed__cl_define_dtype(struct heed__cl_kernel *k, const char *name, heed_dtype dtype) {
  heed__cl_define(k, name, heed_dtype_string(dtype));
}

static void add_arg(struct heed__cl_kernel *k, struct heed__cl_arg arg) {
  if (k->arg_count < HEED__CL_MAX_ARGS)
    k->args[k->arg_count++] = arg;
  else
    refuse(k,
           heed__fail(HEED_ERROR_INVALID_ARGUMENT, "%s: it has more than %d arguments", k->kernel, HEED__CL_MAX_ARGS));
}

// Replaces a tensor that is left out or empty, because drivers treat a null buffer differently.
static cl_mem dummy_buffer(struct heed__cl_kernel *k) {
  struct heed__cl *cl = heed__cl_state(k->ctx);
  if (!cl->dummy) refuse(k, heed__cl_buffer_new(k->ctx, 16, "a stand-in for a tensor left out", &cl->dummy));
  return cl->dummy;
}

void heed__cl_buffer(struct heed__cl_kernel *k, cl_mem buffer) {
  if (!buffer) buffer = dummy_buffer(k);
  add_arg(k, (struct heed__cl_arg){.size = sizeof(cl_mem), .value.mem = buffer});
}

void heed__cl_memory(struct heed__cl_kernel *k, const heed_tensor *t) {
  if (t && heed__tensor_span(t) > HEED__CL_IDX32_MOST) k->wide = true;
  heed__cl_buffer(k, t ? t->buffer->handle : NULL);
}

void heed__cl_tensor(struct heed__cl_kernel *k, const heed_tensor *t) {
  heed__cl_memory(k, t);
  heed__cl_long(k, t ? t->offset : 0);
}

void heed__cl_strides(struct heed__cl_kernel *k, const heed_tensor *t, int count) {
  for (int axis = 0; axis < count; ++axis) heed__cl_long(k, t ? t->strides[axis] : 0);
}

static bool is_wide(int64_t value) { return value > HEED__CL_IDX32_MOST || value < INT32_MIN; }

void heed__cl_struct(struct heed__cl_kernel *k, const void *data, size_t size, size_t longs) {
  const cl_long *values = data;
  for (size_t i = 0; i < longs; ++i) k->wide = k->wide || is_wide(values[i]);
  add_arg(k, (struct heed__cl_arg){.size = size, .data = data});
}

void heed__cl_long(struct heed__cl_kernel *k, int64_t value) {
  k->wide = k->wide || is_wide(value);
  add_arg(k, (struct heed__cl_arg){.size = sizeof(cl_long), .value.i64 = value});
}

void heed__cl_uint(struct heed__cl_kernel *k, uint32_t value) {
  add_arg(k, (struct heed__cl_arg){.size = sizeof(cl_uint), .value.u32 = value});
}

void heed__cl_float(struct heed__cl_kernel *k, double value) {
  add_arg(k, (struct heed__cl_arg){.size = sizeof(cl_float), .value.f32 = (cl_float)value});
}

void heed__cl_local(struct heed__cl_kernel *k, size_t bytes) {
  add_arg(k, (struct heed__cl_arg){.size = bytes, .local = true});
}

// Finds the kernel for the options and arguments so far.
static heed_status find(struct heed__cl_kernel *k, struct heed__cl_built **built) {
  HEED__TRY(k->status);
  if (!k->wide) return heed__cl_built_find(k->ctx, k->file, k->kernel, k->options, built);
  static const char wide[] = " -DHEED_IDX64=1";
  char options[sizeof k->options + sizeof wide];
  memcpy(options, k->options, k->options_used);
  memcpy(options + k->options_used, wide, sizeof wide);
  return heed__cl_built_find(k->ctx, k->file, k->kernel, options, built);
}

heed_status heed__cl_work_group_limit(struct heed__cl_kernel *k, size_t *limit) {
  struct heed__cl_built *built = NULL;
  *limit = 1;
  HEED__TRY(find(k, &built));
  *limit = built->work_group_limit;
  return HEED_OK;
}

static const char *sizes_text(int dims, const size_t *sizes) {
  int64_t wide[3] = {0};
  for (int axis = 0; axis < dims; ++axis) wide[axis] = (int64_t)sizes[axis];
  return heed__dims_text(dims, wide);
}

static heed_status check_sizes(const struct heed__cl_kernel *k, int dims, const size_t *global, const size_t *local) {
  const struct heed__cl_traits *traits = &heed__cl_state(k->ctx)->traits;
  const char *device = k->ctx->device.name;
  HEED__REQUIRE(dims >= 1 && dims <= 3, HEED_ERROR_INVALID_ARGUMENT, "%s: %d launch dimensions", k->kernel, dims);
  size_t work_group = 1;
  for (int axis = 0; axis < dims; ++axis) {
    HEED__REQUIRE(traits->address_bits >= 64 || global[axis] <= UINT32_MAX, HEED_ERROR_OVERFLOW,
                  "%s: %zu work-items in dimension %d do not fit %s, which counts in 32 bits", k->kernel, global[axis],
                  axis, device);
    if (!local) continue;
    HEED__REQUIRE(local[axis] > 0 && global[axis] % local[axis] == 0, HEED_ERROR_INVALID_ARGUMENT,
                  "%s: %zu work-items in dimension %d are no multiple of the work-group's %zu", k->kernel, global[axis],
                  axis, local[axis]);
    // Check only the device's limit: a driver may report less for a kernel than it accepts (rusticl reports its subgroup's size).
    HEED__REQUIRE(local[axis] <= traits->max_work_group / work_group, HEED_ERROR_UNSUPPORTED,
                  "%s: a work-group of %s passes the %zu work-items that %s allows", k->kernel, sizes_text(dims, local),
                  traits->max_work_group, device);
    work_group *= local[axis];
  }
  return HEED_OK;
}

static const void *value_of(const struct heed__cl_arg *arg) {
  return arg->local ? NULL : arg->data ? arg->data : &arg->value;
}

static heed_status set_args(const struct heed__cl_kernel *k, cl_kernel kernel) {
  const struct heed__cl_traits *traits = &heed__cl_state(k->ctx)->traits;
  size_t local_bytes = 0;
  for (int i = 0; i < k->arg_count; ++i) {
    const struct heed__cl_arg *arg = &k->args[i];
    if (arg->local) {
      local_bytes += arg->size;
      HEED__REQUIRE(local_bytes <= traits->local_memory, HEED_ERROR_UNSUPPORTED,
                    "%s: %zu bytes of local memory are needed and %s has %llu", k->kernel, local_bytes,
                    k->ctx->device.name, (unsigned long long)traits->local_memory);
    }
    const cl_int error = clSetKernelArg(kernel, (cl_uint)i, arg->size, value_of(arg));
    if (error == CL_SUCCESS) continue;
    char what[160];
    snprintf(what, sizeof what, "%s (%s): setting argument %d of %zu bytes", k->kernel, k->file, i, arg->size);
    return heed__cl_fail(k->ctx, error, what);
  }
  return HEED_OK;
}

static heed_status launch_failure(const struct heed__cl_kernel *k, cl_int error, int dims, const size_t *global,
                                  const size_t *local) {
  char what[320];
  snprintf(what, sizeof what, "%s (%s): launching %s work-items in groups of %s", k->kernel, k->file,
           sizes_text(dims, global), local ? sizes_text(dims, local) : "the driver's choice");
  return heed__cl_fail(k->ctx, error, what);
}

// ---------------------------------------------------------------- not too far ahead
// Queued launches hold memory and cannot be taken back. So before it queues more, a caller waits here for a launch that was flushed long
// ago. Meanwhile the queue itself stays full.

struct heed__cl_marks {
  cl_event ring[FLUSHES_AHEAD];
  unsigned next;
};

static void drop_mark(heed_context *ctx, cl_event *mark) {
  if (!*mark) return;
  const cl_int error = clWaitForEvents(1, mark);
  if (error != CL_SUCCESS) heed__context_defer(ctx, heed__cl_fail(ctx, error, "queued work"));
  clReleaseEvent(*mark);
  *mark = NULL;
}

static void flush(heed_context *ctx, cl_event event) {
  struct heed__cl *cl = heed__cl_state(ctx);
  cl->unflushed = 0;
  clFlush(cl->queue);
  if (!cl->marks) cl->marks = calloc(1, sizeof *cl->marks);
  if (!cl->marks || !event) return;
  cl_event *mark = &cl->marks->ring[cl->marks->next++ % FLUSHES_AHEAD];
  drop_mark(ctx, mark);
  if (clRetainEvent(event) == CL_SUCCESS) *mark = event;
}

void heed__cl_marks_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  for (int i = 0; cl->marks && i < FLUSHES_AHEAD; ++i) drop_mark(ctx, &cl->marks->ring[i]);
  free(cl->marks);
  cl->marks = NULL;
}

// ---------------------------------------------------------------- the launch

heed_status heed__cl_launch(struct heed__cl_kernel *k, int dims, const size_t *global, const size_t *local) {
  struct heed__cl *cl = heed__cl_state(k->ctx);
  HEED__TRY(k->status);
  for (int axis = 0; axis < dims; ++axis)
    if (global[axis] == 0) return HEED_OK;
  struct heed__cl_built *built = NULL;
  HEED__TRY(find(k, &built));
  HEED__TRY(check_sizes(k, dims, global, local));
  HEED__TRY(set_args(k, built->kernel));
  const bool full = ++cl->unflushed >= LAUNCHES_A_FLUSH;
  cl_event event = NULL;
  const cl_int error = clEnqueueNDRangeKernel(cl->queue, built->kernel, (cl_uint)dims, NULL, global, local, 0, NULL,
                                              cl->profiling || full ? &event : NULL);
  if (error != CL_SUCCESS) return launch_failure(k, error, dims, global, local);
  if (full) flush(k->ctx, event);
  if (event) {
    heed__cl_profile_event(k->ctx, built->name, event);
    clReleaseEvent(event);
  }
  return HEED_OK;
}
