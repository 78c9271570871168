// The OpenCL handles behind contexts and tensors (heed/opencl.h), from the driver that has them.
#include "api/open.h"
#include "api/opencl.h"

static const struct heed__driver_handles *handles_of(const heed_context *ctx) { return heed__driver_of(ctx)->handles; }

heed_status heed_open_opencl(cl_context context, cl_device_id device, cl_command_queue queue,
                             const heed_open_options *options, heed_context **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "open: out is NULL");
  *out = NULL;
  const heed_open_options defaults = {0};
  if (!options) options = &defaults;
  heed_context *ctx;
  HEED__TRY(heed__context_create(&ctx));
  const heed_status status = heed__driver_with_handles()->handles->open(ctx, context, device, queue, options);
  return heed__open_finish(status, options, ctx, out);
}

heed_status heed_opencl_handles(heed_context *ctx, cl_context *context, cl_device_id *device, cl_command_queue *queue) {
  HEED__REQUIRE(ctx, HEED_ERROR_INVALID_ARGUMENT, "opencl_handles: the context is NULL");
  HEED__REQUIRE(handles_of(ctx), HEED_ERROR_UNSUPPORTED,
                "opencl_handles: this context runs on the host, not on OpenCL");
  handles_of(ctx)->get(ctx, context, device, queue);
  return HEED_OK;
}

heed_status heed_opencl_buffer(const heed_tensor *tensor, cl_mem *buffer, int64_t *offset) {
  HEED__REQUIRE(tensor && buffer && offset, HEED_ERROR_INVALID_ARGUMENT, "opencl_buffer: an argument is NULL");
  HEED__REQUIRE(handles_of(tensor->ctx), HEED_ERROR_UNSUPPORTED,
                "opencl_buffer: the tensor is on the host, not on OpenCL");
  *buffer = tensor->buffer->handle;
  *offset = tensor->offset;
  return HEED_OK;
}

heed_status heed_opencl_tensor(heed_context *ctx, cl_mem buffer, heed_dtype dtype, int rank, const int64_t *dims,
                               heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "opencl_tensor: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && buffer && (dims || rank == 0), HEED_ERROR_INVALID_ARGUMENT,
                "opencl_tensor: an argument is NULL");
  HEED__REQUIRE(handles_of(ctx), HEED_ERROR_UNSUPPORTED, "opencl_tensor: this context runs on the host, not on OpenCL");
  HEED__REQUIRE(heed_dtype_size(dtype) > 0, HEED_ERROR_DTYPE, "opencl_tensor: dtype %d is unknown", (int)dtype);
  int64_t count, bytes;
  HEED__TRY(heed__count_elements("opencl_tensor", rank, dims, &count));
  HEED__REQUIRE(heed__mul(count, (int64_t)heed_dtype_size(dtype), &bytes), HEED_ERROR_OVERFLOW,
                "opencl_tensor: the bytes of %s%s do not fit 64 bits", heed_dtype_string(dtype),
                heed__dims_text(rank, dims));
  size_t size = 0;
  HEED__TRY(handles_of(ctx)->measure(ctx, buffer, &size));
  HEED__REQUIRE((uint64_t)bytes <= size, HEED_ERROR_SHAPE, "opencl_tensor: %s%s needs %lld bytes, the buffer has %zu",
                heed_dtype_string(dtype), heed__dims_text(rank, dims), (long long)bytes, size);
  HEED__TRY(handles_of(ctx)->adopt(ctx, buffer));
  heed_status status = heed__tensor_wrap(ctx, buffer, size, dtype, rank, dims, out);
  if (status != HEED_OK) ctx->device_backend->buffer_destroy(ctx, buffer);
  return status;
}
