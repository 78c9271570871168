// Opens and closes a context on a device or on the caller's objects, and reads the device's traits.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cl/runtime/runtime.h"

// ---------------------------------------------------------------- traits

// A CPU runtime that reports no native float vectors (llvmpipe) lays work-items side by side in its lanes, as a GPU does. One that also
// calls itself a GPU (Oclgrind) has no preference. Both get the GPU's kernels.
static bool is_cpu_like(cl_device_type type, cl_uint width) {
  return (type & CL_DEVICE_TYPE_CPU) && !(type & CL_DEVICE_TYPE_GPU) && width > 1;
}

// Reads CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV of cl_nv_device_attribute_query; 0 if the driver does not have it.
static cl_uint compute_capability(cl_device_id device) {
  enum { COMPUTE_CAPABILITY_MAJOR_NV = 0x4000 };
  cl_uint major = 0;
  size_t given = 0;
  const cl_int error = clGetDeviceInfo(device, COMPUTE_CAPABILITY_MAJOR_NV, sizeof major, &major, &given);
  return error == CL_SUCCESS && given == sizeof major ? major : 0;
}

// Intel's work-items exchange values through local memory: their compiler takes subgroups of 8 for kernels with many registers, which reach
// too few neighbours, or spills what the exchange needs on top. NVIDIA's drivers do not have the extension, and take inline PTX.
static enum heed__cl_shuffle shuffle_of(cl_device_id device, bool is_intel, bool is_nvidia) {
  if (is_intel) return HEED__SHUFFLE_NONE;
  if (heed__cl_has_extension(device, "cl_khr_subgroup_shuffle")) return HEED__SHUFFLE_KHR;
  return is_nvidia ? HEED__SHUFFLE_PTX : HEED__SHUFFLE_NONE;
}

// Reads a number that heed can do without; 0 if the driver does not have it.
static cl_uint number_of(cl_device_id device, cl_device_info what) {
  cl_uint number = 0;
  size_t given = 0;
  const cl_int error = clGetDeviceInfo(device, what, sizeof number, &number, &given);
  return error == CL_SUCCESS && given == sizeof number ? number : 0;
}

// Intel's drivers count execution units as compute units. A subslice (or Xe core) has 8 or 16 of them.
static uint32_t cores_of_intel(cl_device_id device, uint32_t units) {
  enum { NUM_SLICES_INTEL = 0x4252, NUM_SUB_SLICES_PER_SLICE_INTEL = 0x4253, UNITS_A_CORE = 8 };
  const uint32_t slices = number_of(device, NUM_SLICES_INTEL);
  const uint32_t cores = slices * number_of(device, NUM_SUB_SLICES_PER_SLICE_INTEL);
  return cores ? cores : units > UNITS_A_CORE ? units / UNITS_A_CORE : 1;
}

// The smallest size of subgroups if kernels may ask for it and the compiler might take a larger one that leaves too few registers to an
// item: where 8 is not to be had (GPU Max), it takes 32. Else 0.
static int subgroup_of_intel(cl_device_id device) {
  enum { SUB_GROUP_SIZES_INTEL = 0x4108, SIZES = 8 };
  size_t sizes[SIZES] = {0}, given = 0, least = 0;
  if (!heed__cl_has_extension(device, "cl_intel_required_subgroup_size")) return 0;
  if (clGetDeviceInfo(device, SUB_GROUP_SIZES_INTEL, sizeof sizes, sizes, &given) != CL_SUCCESS) return 0;
  for (size_t i = 0; i < SIZES && i < given / sizeof *sizes; ++i)
    if (least == 0 || sizes[i] < least) least = sizes[i];
  return least == 16 ? 16 : 0;
}

// Others give an item up to 255 registers. A thread of Intel's has 128 for 8 items or, twice as wide, for 16: 128 floats for each.
static void read_registers(cl_device_id device, bool is_intel, struct heed__cl_traits *traits) {
  traits->scores_an_item = is_intel ? 16 : 32;
  traits->sums_an_item = is_intel ? 32 : 64;
  traits->floats_an_item = is_intel ? 56 : 128;
  if (!is_intel) return;
  traits->subgroup = subgroup_of_intel(device);
  traits->compute_units = cores_of_intel(device, traits->compute_units);
}

// Operations a second of a device whose cores do 32 multiply-adds a clock tick, as small GPUs' do; others do up to four times as many.
static double slow_rate(uint32_t cores, cl_uint megahertz) {
  return 64.0 * cores * 1e6 * (megahertz >= 100 ? megahertz : 500);
}

static heed_status read_traits(cl_device_id device, const heed_device_info *info, struct heed__cl_traits *traits) {
  struct heed__cl_asked asked = {.device = device};
  cl_device_type type;
  cl_uint width;
  cl_ulong cache;
  HEED__CL_ASK(&asked, CL_DEVICE_TYPE, &type);
  HEED__CL_ASK(&asked, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, &width);
  HEED__CL_ASK(&asked, CL_DEVICE_MAX_WORK_GROUP_SIZE, &traits->max_work_group);
  HEED__CL_ASK(&asked, CL_DEVICE_ADDRESS_BITS, &traits->address_bits);
  HEED__CL_ASK(&asked, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, &cache);
  HEED__TRY(heed__cl_asked_status(&asked));
  traits->cpu_like = is_cpu_like(type, width);
  if (traits->cpu_like)
    traits->vector_width = width >= 16 ? 16 : width >= 8 ? 8 : 4;
  else
    traits->vector_width = width >= 4 ? 4 : 1;
  if (traits->max_work_group == 0) traits->max_work_group = 1;
  traits->local_memory = info->local_memory;
  traits->max_allocation = info->max_allocation;
  traits->memory = info->memory;
  traits->shares_host = heed__cl_shares_host(info);
  traits->copies_beside = !(type & CL_DEVICE_TYPE_CPU);
  traits->cache = cache;
  traits->compute_units = info->compute_units ? info->compute_units : 1;
  const bool is_intel = !traits->cpu_like && heed__cl_has_extension(device, "cl_intel_subgroups");
  traits->nvidia = heed__cl_has_extension(device, "cl_nv_device_attribute_query");
  traits->spare_registers = traits->nvidia;
  traits->compiles_late = strstr(info->platform, "Portable Computing Language") != NULL;
  traits->tensor_cores = traits->nvidia && compute_capability(device) >= 8;
  traits->short_loops = strncasecmp(info->name, "llvmpipe", strlen("llvmpipe")) == 0;
  traits->bf16_dots = heed__cl_bf16_dots_of(info);
  traits->shuffle = traits->cpu_like ? HEED__SHUFFLE_NONE : shuffle_of(device, is_intel, traits->nvidia);
  read_registers(device, is_intel, traits);
  traits->launch_flops = 0.25 * slow_rate(traits->compute_units, number_of(device, CL_DEVICE_MAX_CLOCK_FREQUENCY));
  return HEED_OK;
}

static heed_status require_usable(cl_device_id device, const heed_device_info *info) {
  struct heed__cl_asked asked = {.device = device};
  cl_bool available;
  HEED__CL_ASK(&asked, CL_DEVICE_AVAILABLE, &available);
  HEED__TRY(heed__cl_asked_status(&asked));
  HEED__REQUIRE(available, HEED_ERROR_UNSUPPORTED,
                "open: %s says that it is not available now; another program may hold it", info->name);
  HEED__REQUIRE(
      info->has_compiler, HEED_ERROR_UNSUPPORTED,
      "open: the driver of %s (%s) has no compiler for OpenCL C, which heed's kernels need; choose another device",
      info->name, info->platform);
  return HEED_OK;
}

// ---------------------------------------------------------------- a context's life

static void release(struct heed__cl *cl) {
  if (cl->copies) clReleaseCommandQueue(cl->copies);
  if (cl->queue) clReleaseCommandQueue(cl->queue);
  if (cl->context) clReleaseContext(cl->context);
  if (cl->device) clReleaseDevice(cl->device);
  free(cl->cache_dir);
  free(cl->kernel_dir);
  free(cl);
}

void heed__cl_close(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  heed__cl_marks_destroy(ctx);
  heed__cl_uploads_destroy(ctx);
  heed__cl_profile_destroy(ctx);
  heed__cl_programs_destroy(ctx);
  heed__cl_scratch_destroy(ctx);
  heed__cl_adopted_destroy(ctx);
  if (cl->dummy) clReleaseMemObject(cl->dummy);
  release(cl);
  ctx->state = NULL;
}

// Makes the state with the choices of `config` and a reference to the device, but without a context and a queue.
static heed_status make_state(heed_context *ctx, cl_device_id device, const struct heed__cl_config *config,
                              struct heed__cl **out) {
  HEED__TRY(heed__cl_describe(device, &ctx->device));
  if (config->parts > 1) ctx->device.memory /= (uint64_t)config->parts;
  HEED__TRY(require_usable(device, &ctx->device));
  struct heed__cl *cl = calloc(1, sizeof *cl);
  HEED__REQUIRE(cl, HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  const cl_int error = clRetainDevice(device);
  if (error != CL_SUCCESS) {
    release(cl);
    return heed__cl_fail(ctx, error, "open: retaining the device");
  }
  cl->device = device;
  cl->profiling = config->profiling;
  cl->tf32 = config->tf32;
  cl->cache_dir = config->cache_dir ? strdup(config->cache_dir) : NULL;
  cl->kernel_dir = config->kernel_dir ? strdup(config->kernel_dir) : NULL;
  if ((config->cache_dir && !cl->cache_dir) || (config->kernel_dir && !cl->kernel_dir)) {
    release(cl);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "open: no host memory for a context");
  }
  struct heed__cl_asked asked = {.device = device};
  HEED__CL_ASK(&asked, CL_DEVICE_PLATFORM, &cl->platform);
  heed_status status = heed__cl_asked_status(&asked);
  if (status == HEED_OK) status = read_traits(device, &ctx->device, &cl->traits);
  cl->stores_programs = cl->cache_dir && !(config->load_only && cl->traits.compiles_late);
  if (status != HEED_OK)
    release(cl);
  else
    *out = cl;
  return status;
}

static void attach(heed_context *ctx, struct heed__cl *cl, const struct heed__backend *backend) {
  ctx->state = cl;
  if (cl->cache_dir) heed__cl_cache_notice(cl->cache_dir, ctx->notice, sizeof ctx->notice);
  ctx->device_backend = backend;
  ctx->backend = backend;
}

static heed_status open_device(heed_context *ctx, cl_device_id device, const struct heed__cl_config *config,
                               const struct heed__backend *backend) {
  struct heed__cl *cl = NULL;
  HEED__TRY(make_state(ctx, device, config, &cl));
  const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)cl->platform, 0};
  cl_int error = CL_SUCCESS;
  const char *what = "open: making an OpenCL context";
  cl->context = clCreateContext(properties, 1, &device, NULL, NULL, &error);
  if (error == CL_SUCCESS) {
    what = "open: making a command queue";
    cl->queue = clCreateCommandQueue(cl->context, device, cl->profiling ? CL_QUEUE_PROFILING_ENABLE : 0, &error);
  }
  if (error != CL_SUCCESS) {
    release(cl);
    return heed__cl_fail(ctx, error, what);
  }
  attach(ctx, cl, backend);
  return HEED_OK;
}

heed_status heed__cl_open(heed_context *ctx, cl_device_id device, const struct heed__cl_config *config,
                          const struct heed__backend *backend) {
  cl_device_id part = NULL;
  if (config->parts > 1) HEED__TRY(heed__cl_part(device, config->parts, config->part, &part));
  const heed_status status = open_device(ctx, part ? part : device, config, backend);
  if (part) clReleaseDevice(part);  // the context holds it
  return status;
}

// The caller's objects must belong together, and the queue must run commands in the order they are given.
static heed_status check_given(const heed_context *ctx, cl_context context, cl_device_id device, cl_command_queue queue,
                               bool profiling) {
  cl_context queue_context = NULL;
  cl_device_id queue_device = NULL;
  cl_command_queue_properties properties = 0;
  cl_int error = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof queue_context, &queue_context, NULL);
  if (error == CL_SUCCESS)
    error = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof queue_device, &queue_device, NULL);
  if (error == CL_SUCCESS)
    error = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL);
  if (error == CL_INVALID_COMMAND_QUEUE)
    return heed__fail(HEED_ERROR_INVALID_ARGUMENT, "open: the given queue is not a command queue");
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, "open: asking the given queue for its properties");
  HEED__REQUIRE(queue_context == context, HEED_ERROR_INVALID_ARGUMENT,
                "open: the queue belongs to another OpenCL context");
  HEED__REQUIRE(queue_device == device, HEED_ERROR_INVALID_ARGUMENT, "open: the queue belongs to another device");
  HEED__REQUIRE(!(properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE), HEED_ERROR_INVALID_ARGUMENT,
                "open: the queue is out-of-order; heed needs an in-order queue");
  HEED__REQUIRE(!profiling || (properties & CL_QUEUE_PROFILING_ENABLE), HEED_ERROR_INVALID_ARGUMENT,
                "open: profiling needs a queue made with CL_QUEUE_PROFILING_ENABLE");
  return HEED_OK;
}

heed_status heed__cl_open_with(heed_context *ctx, cl_context context, cl_device_id device, cl_command_queue queue,
                               const struct heed__cl_config *config, const struct heed__backend *backend) {
  HEED__REQUIRE(context && device && queue, HEED_ERROR_INVALID_ARGUMENT, "open: context, device or queue is NULL");
  HEED__TRY(check_given(ctx, context, device, queue, config->profiling));
  struct heed__cl *cl = NULL;
  HEED__TRY(make_state(ctx, device, config, &cl));
  cl_int error = clRetainContext(context);
  if (error == CL_SUCCESS) {
    cl->context = context;
    error = clRetainCommandQueue(queue);
  }
  if (error != CL_SUCCESS) {
    release(cl);
    return heed__cl_fail(ctx, error, "open: retaining the given context and queue");
  }
  cl->queue = queue;
  attach(ctx, cl, backend);
  return HEED_OK;
}
