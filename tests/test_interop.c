// heed beside OpenCL code of the caller's own: one queue, shared buffers, handles, and who owns what. What a context makes of
// sub-devices and foreign objects is test_devices'.
#include <heed/opencl.h>

#include "cl/runtime/runtime.h"
#include "support_values.h"

// OpenCL objects of the caller, on the device that the tests run on.
struct caller {
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
};

static void caller_open(heed_context *ctx, struct caller *c) {
  cl_int error = CL_SUCCESS;
  ASSERT_OK(heed_opencl_handles(ctx, NULL, &c->device, NULL));
  c->context = clCreateContext(NULL, 1, &c->device, NULL, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  c->queue = clCreateCommandQueue(c->context, c->device, 0, &error);
  assert_int_equal(error, CL_SUCCESS);
}

static void caller_close(const struct caller *c) {
  assert_int_equal(clReleaseCommandQueue(c->queue), CL_SUCCESS);
  assert_int_equal(clReleaseContext(c->context), CL_SUCCESS);
}

static cl_mem caller_buffer(const struct caller *c, size_t bytes, const void *data) {
  cl_int error = CL_SUCCESS;
  cl_mem buffer = clCreateBuffer(c->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  if (data)
    assert_int_equal(clEnqueueWriteBuffer(c->queue, buffer, CL_TRUE, 0, bytes, data, 0, NULL, NULL), CL_SUCCESS);
  return buffer;
}

static cl_uint references(cl_mem buffer) {
  cl_uint count = 0;
  assert_int_equal(clGetMemObjectInfo(buffer, CL_MEM_REFERENCE_COUNT, sizeof count, &count, NULL), CL_SUCCESS);
  return count;
}

static void read_buffer(cl_command_queue queue, cl_mem buffer, size_t offset, size_t bytes, void *data) {
  assert_int_equal(clEnqueueReadBuffer(queue, buffer, CL_TRUE, offset, bytes, data, 0, NULL, NULL), CL_SUCCESS);
}

// ---------------------------------------------------------------- one queue for both

// What the caller queues, heed's operators see, and the other way round, without waiting in between.
static void the_callers_kernels_and_heeds_run_in_order(void **state) {
  heed_context *ctx = support_context(state), *own = NULL;
  struct caller c;
  caller_open(ctx, &c);
  ASSERT_OK(heed_open_opencl(c.context, c.device, c.queue, NULL, &own));
  cl_command_queue queue = NULL;
  cl_context context = NULL;
  cl_device_id device = NULL;
  ASSERT_OK(heed_opencl_handles(own, &context, &device, &queue));
  assert_true(context == c.context && device == c.device && queue == c.queue);

  static const char source[] = "__kernel void twice(__global float *x) { x[get_global_id(0)] *= 2; }";
  const char *text = source;
  cl_int error = CL_SUCCESS;
  cl_program program = clCreateProgramWithSource(c.context, 1, &text, NULL, &error);
  assert_int_equal(clBuildProgram(program, 1, &c.device, NULL, NULL, NULL), CL_SUCCESS);
  cl_kernel kernel = clCreateKernel(program, "twice", &error);
  assert_int_equal(error, CL_SUCCESS);
  const float values[] = {-3, -1, 0, 1, 2, 5};
  const size_t count = 6;
  cl_mem buffer = caller_buffer(&c, sizeof values, values);
  heed_tensor *x = NULL, *y = NULL;
  ASSERT_OK(heed_opencl_tensor(own, buffer, HEED_F32, SHAPE(2, 3), &x));
  ASSERT_OK(heed_tensor_create(own, HEED_F32, SHAPE(2, 3), &y));
  assert_int_equal(clSetKernelArg(kernel, 0, sizeof buffer, &buffer), CL_SUCCESS);
  for (int round = 0; round < 20; ++round) {
    assert_int_equal(clEnqueueNDRangeKernel(c.queue, kernel, 1, NULL, &count, NULL, 0, NULL, NULL), CL_SUCCESS);
    ASSERT_OK(heed_add(0.5, x, 0, x, x));
  }
  assert_int_equal(clEnqueueNDRangeKernel(c.queue, kernel, 1, NULL, &count, NULL, 0, NULL, NULL), CL_SUCCESS);
  ASSERT_OK(heed_relu_fwd(x, y));
  float result[6];
  cl_mem made = NULL;
  int64_t offset = -1;
  ASSERT_OK(heed_opencl_buffer(y, &made, &offset));
  read_buffer(c.queue, made, (size_t)offset * 4, sizeof result, result);
  for (int i = 0; i < 6; ++i) ASSERT_CLOSE(result[i], values[i] > 0 ? 2 * values[i] : 0, 0);
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
  heed_context_destroy(own);
  clReleaseKernel(kernel);
  clReleaseProgram(program);
  clReleaseMemObject(buffer);
  caller_close(&c);
}

static void heed_works_on_after_the_caller_let_go(void **state) {
  heed_context *ctx = support_context(state), *own = NULL;
  struct caller c;
  caller_open(ctx, &c);
  ASSERT_OK(heed_open_opencl(c.context, c.device, c.queue, NULL, &own));
  const float values[] = {1, 2, 3};
  cl_mem buffer = caller_buffer(&c, sizeof values, values);
  heed_tensor *x = NULL;
  ASSERT_OK(heed_opencl_tensor(own, buffer, HEED_F32, SHAPE(3), &x));
  clReleaseMemObject(buffer);
  caller_close(&c);
  float result[3];
  ASSERT_OK(heed_add(2, x, 0, x, x));
  ASSERT_OK(heed_tensor_download(x, result, sizeof result));
  for (int i = 0; i < 3; ++i) ASSERT_CLOSE(result[i], 2 * values[i], 0);
  heed_context_destroy(own);
  ASSERT_OK(heed_fill(x, 7));
  heed_tensor_destroy(x);
}

static void options_count_here_too(void **state) {
  heed_context *ctx = support_context(state), *own = (heed_context *)(uintptr_t)16;
  struct caller c;
  caller_open(ctx, &c);
  const heed_open_options nonsense = {.gemm = "fast"};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "'fast'", heed_open_opencl(c.context, c.device, c.queue, &nonsense, &own));
  assert_null(own);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", heed_open_opencl(c.context, c.device, c.queue, NULL, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_open_opencl(NULL, c.device, c.queue, NULL, &own));
  const heed_open_options validate = {.validate = 1};
  ASSERT_OK(heed_open_opencl(c.context, c.device, c.queue, &validate, &own));
  heed_tensor *x = NULL;
  ASSERT_OK(heed_tensor_create(own, HEED_F32, SHAPE(9), &x));
  ASSERT_OK(heed_fill(x, 3));
  heed_tensor_destroy(x);
  heed_context_destroy(own);
  caller_close(&c);
}

static void an_out_of_order_queue_is_refused(void **state) {
  heed_context *ctx = support_context(state), *own = NULL;
  struct caller c;
  cl_int error = CL_SUCCESS;
  caller_open(ctx, &c);
  cl_command_queue queue = clCreateCommandQueue(c.context, c.device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &error);
  if (error == CL_SUCCESS) {
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "in-order queue",
                 heed_open_opencl(c.context, c.device, queue, NULL, &own));
    assert_null(own);
    clReleaseCommandQueue(queue);
  }
  caller_close(&c);
  if (error != CL_SUCCESS) skip();  // the device has no such queues
}

// ---------------------------------------------------------------- buffers

static void a_tensor_holds_the_buffer_as_long_as_it_lives(void **state) {
  heed_context *ctx = support_context(state);
  struct caller c = {0};
  ASSERT_OK(heed_opencl_handles(ctx, &c.context, &c.device, &c.queue));
  const size_t before = heed_context_live_tensors(ctx);
  cl_mem buffer = caller_buffer(&c, 64, NULL);
  heed_tensor *x = NULL, *view = NULL;
  ASSERT_OK(heed_opencl_tensor(ctx, buffer, HEED_F16, SHAPE(4, 8), &x));
  assert_int_equal(references(buffer), 2);
  assert_int_equal(heed_context_live_tensors(ctx), before + 1);
  ASSERT_OK(heed_tensor_slice(x, 0, 1, 2, &view));
  heed_tensor_destroy(x);
  assert_int_equal(references(buffer), 2);
  heed_tensor_destroy(view);
  assert_int_equal(references(buffer), 1);
  assert_int_equal(heed_context_live_tensors(ctx), before);
  clReleaseMemObject(buffer);
}

static void views_tell_where_they_begin(void **state) {
  heed_context *ctx = support_context(state);
  float values[24];
  for (int i = 0; i < 24; ++i) values[i] = (float)i;
  heed_tensor *x = support_put(ctx, HEED_F32, SHAPE(4, 6), values), *part = NULL;
  ASSERT_OK(heed_tensor_slice(x, 0, 2, 2, &part));
  support_keep(part);
  cl_mem whole = NULL, same = NULL;
  cl_command_queue queue = NULL;
  int64_t start = -1, offset = -1;
  ASSERT_OK(heed_opencl_buffer(x, &whole, &start));
  ASSERT_OK(heed_opencl_buffer(part, &same, &offset));
  assert_ptr_equal(same, whole);
  assert_int_equal(start, 0);
  assert_int_equal(offset, 12);
  float got[12];
  ASSERT_OK(heed_opencl_handles(ctx, NULL, NULL, &queue));
  read_buffer(queue, same, (size_t)offset * sizeof *got, sizeof got, got);
  assert_memory_equal(got, values + 12, sizeof got);
}

static void a_buffer_may_be_larger_but_not_smaller(void **state) {
  heed_context *ctx = support_context(state);
  struct caller c = {0};
  ASSERT_OK(heed_opencl_handles(ctx, &c.context, &c.device, &c.queue));
  cl_mem buffer = caller_buffer(&c, 64, NULL);
  heed_tensor *x = NULL;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "F32[17] needs 68 bytes, the buffer has 64",
               heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(17), &x));
  assert_null(x);
  ASSERT_OK(heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(16), &x));
  heed_tensor_destroy(x);
  ASSERT_OK(heed_opencl_tensor(ctx, buffer, HEED_U8, SHAPE(3), &x));
  // The rest of a larger buffer is not the tensor's.
  heed_tensor *view = NULL;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "leaves", heed_tensor_view(x, SHAPE(4), (const int64_t[]){1}, 0, &view));
  heed_tensor_destroy(x);
  ASSERT_OK(heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(0, 99), &x));
  assert_int_equal(heed_tensor_count(x), 0);
  heed_tensor_destroy(x);
  assert_int_equal(references(buffer), 1);
  clReleaseMemObject(buffer);
}

static void part_of_a_buffer_may_be_a_tensor(void **state) {
  heed_context *ctx = support_context(state);
  struct caller c = {0};
  ASSERT_OK(heed_opencl_handles(ctx, &c.context, &c.device, &c.queue));
  cl_uint align_bits = 0;
  clGetDeviceInfo(c.device, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof align_bits, &align_bits, NULL);
  const size_t align = align_bits / 8 ? align_bits / 8 : 1;
  unsigned char *zeros = support_memory(2 * align + 64);
  cl_mem buffer = caller_buffer(&c, 2 * align + 64, zeros);
  const cl_buffer_region region = {align, 16};
  cl_int error = CL_SUCCESS;
  cl_mem sub = clCreateSubBuffer(buffer, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &error);
  assert_int_equal(error, CL_SUCCESS);
  heed_tensor *x = NULL;
  ASSERT_OK(heed_opencl_tensor(ctx, sub, HEED_F32, SHAPE(4), &x));
  ASSERT_OK(heed_fill(x, 1));
  float got[6] = {0};
  read_buffer(c.queue, buffer, align, sizeof got, got);
  for (int i = 0; i < 6; ++i) ASSERT_CLOSE(got[i], i < 4 ? 1 : 0, 0);
  heed_tensor_destroy(x);
  clReleaseMemObject(sub);
  clReleaseMemObject(buffer);
}

// Weights in one arena: forty tensors over a twentieth of the device's memory leave room for more, since none of it is heed's. And
// a buffer of heed's own that comes back as a second tensor is counted once, whichever tensor goes first.
static void memory_of_the_caller_is_not_counted(void **state) {
  heed_context *ctx = support_context(state);
  struct caller c = {0};
  ASSERT_OK(heed_opencl_handles(ctx, &c.context, &c.device, &c.queue));
  const heed_device_info *device = heed_context_device(ctx);
  uint64_t bytes = device->memory / 20;
  if (bytes > device->max_allocation) bytes = device->max_allocation;
  const int tensors = (int)(2 * device->memory / bytes);
  cl_int error = CL_SUCCESS;
  cl_mem arena = clCreateBuffer(c.context, CL_MEM_READ_WRITE, (size_t)bytes, NULL, &error);
  if (error != CL_SUCCESS) skip();  // others hold the memory
  heed_tensor **weights = support_memory((size_t)tensors * sizeof(heed_tensor *)), *more = NULL;
  for (int i = 0; i < tensors; ++i) ASSERT_OK(heed_opencl_tensor(ctx, arena, HEED_F32, SHAPE(16), &weights[i]));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(1024), &more));
  for (int i = 0; i < tensors; ++i) heed_tensor_destroy(weights[i]);
  assert_int_equal(references(arena), 1);
  clReleaseMemObject(arena);

  const uint64_t held = ctx->allocated;
  for (int own_first = 0; own_first < 2; ++own_first) {
    heed_tensor *own = NULL, *again = NULL;
    cl_mem buffer = NULL;
    int64_t offset = 0;
    ASSERT_OK(heed_tensor_create(ctx, HEED_F32, SHAPE(1024), &own));
    ASSERT_OK(heed_opencl_buffer(own, &buffer, &offset));
    ASSERT_OK(heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(1024), &again));
    assert_int_equal(ctx->allocated, held + 4096);
    heed_tensor_destroy(own_first ? own : again);
    assert_int_equal(ctx->allocated, held + 4096);
    heed_tensor_destroy(own_first ? again : own);
    assert_int_equal(ctx->allocated, held);
  }
  heed_tensor_destroy(more);
}

static void what_cannot_be_a_tensor_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  struct caller c = {0}, stranger;
  ASSERT_OK(heed_opencl_handles(ctx, &c.context, &c.device, &c.queue));
  cl_mem buffer = caller_buffer(&c, 64, NULL);
  heed_tensor *x = NULL;
  const int64_t big = INT64_C(1) << 32;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_opencl_tensor(NULL, buffer, HEED_F32, SHAPE(1), &x));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_opencl_tensor(ctx, NULL, HEED_F32, SHAPE(1), &x));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_opencl_tensor(ctx, buffer, HEED_F32, 1, NULL, &x));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "out is NULL", heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(1), NULL));
  ASSERT_FAILS(HEED_ERROR_DTYPE, "dtype 42", heed_opencl_tensor(ctx, buffer, (heed_dtype)42, SHAPE(1), &x));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "rank 6", heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(1, 1, 1, 1, 1, 1), &x));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "[-1]", heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(-1), &x));
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "[4294967296, 4294967296]",
               heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(big, big), &x));
  ASSERT_FAILS(HEED_ERROR_OVERFLOW, "[0, 4294967296, 4294967296]",
               heed_opencl_tensor(ctx, buffer, HEED_F32, SHAPE(0, big, big), &x));
  // A buffer of another OpenCL context is nothing to this one.
  caller_open(ctx, &stranger);
  cl_mem foreign = caller_buffer(&stranger, 64, NULL);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "another OpenCL context",
               heed_opencl_tensor(ctx, foreign, HEED_F32, SHAPE(4), &x));
  assert_null(x);
  assert_int_equal(references(foreign), 1);
  clReleaseMemObject(foreign);
  caller_close(&stranger);
  assert_int_equal(references(buffer), 1);
  clReleaseMemObject(buffer);
  int64_t offset;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_opencl_buffer(NULL, &buffer, &offset));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL",
               heed_opencl_buffer(support_new(ctx, HEED_F32, SHAPE(1)), NULL, &offset));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_opencl_handles(NULL, NULL, NULL, NULL));
  ASSERT_OK(heed_opencl_handles(ctx, NULL, NULL, NULL));
}

static void the_host_has_no_handles(void **state) {
  heed_context *ctx = support_context(state);
  cl_context context = NULL;
  cl_mem buffer = NULL;
  int64_t offset;
  heed_tensor *x = NULL;
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "host", heed_opencl_handles(ctx, &context, NULL, NULL));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "host",
               heed_opencl_buffer(support_new(ctx, HEED_F32, SHAPE(1)), &buffer, &offset));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "host",
               heed_opencl_tensor(ctx, (cl_mem)(void *)&offset, HEED_F32, SHAPE(1), &x));
  assert_null(x);
}

int main(void) {
  const struct CMUnitTest host[] = {TEST(the_host_has_no_handles)};
  const struct CMUnitTest device[] = {
      TEST(the_callers_kernels_and_heeds_run_in_order),
      TEST(heed_works_on_after_the_caller_let_go),
      TEST(options_count_here_too),
      TEST(an_out_of_order_queue_is_refused),
      TEST(a_tensor_holds_the_buffer_as_long_as_it_lives),
      TEST(views_tell_where_they_begin),
      TEST(a_buffer_may_be_larger_but_not_smaller),
      TEST(part_of_a_buffer_may_be_a_tensor),
      TEST(memory_of_the_caller_is_not_counted),
      TEST(what_cannot_be_a_tensor_is_refused),
  };
  const int failed = cmocka_run_group_tests_name("interop on the host", host, support_open_host, support_close);
  return failed + cmocka_run_group_tests_name("interop on the device", device, support_open_device, support_close);
}
