// Moves whole tensors between the caller's memory and the device, with or without a wait. For a view that is not contiguous it transfers
// the span of storage that the view touches, and gathers or scatters on the host, so that a transfer never needs a kernel.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

// Copies between a dense array and a strided one, whose first element is at `strided`.
static void copy_strided(char *dense, char *strided, const heed_tensor *tensor, bool to_dense) {
  const size_t size = heed_dtype_size(tensor->dtype);
  int64_t index[HEED_MAX_RANK] = {0};
  for (int64_t n = 0; n < tensor->count; ++n) {
    int64_t at = 0;
    for (int axis = 0; axis < tensor->rank; ++axis) at += index[axis] * tensor->strides[axis];
    char *element = strided + (size_t)at * size;
    memcpy(to_dense ? dense : element, to_dense ? element : dense, size);
    dense += size;
    for (int axis = tensor->rank - 1; axis >= 0 && ++index[axis] == tensor->dims[axis]; --axis) index[axis] = 0;
  }
}

static heed_status check_transfer(const char *what, const heed_tensor *tensor, const void *data, size_t bytes) {
  HEED__REQUIRE(tensor && (data || bytes == 0), HEED_ERROR_INVALID_ARGUMENT, "%s: an argument is NULL", what);
  HEED__REQUIRE(bytes == heed_tensor_bytes(tensor), HEED_ERROR_SHAPE, "%s: %zu bytes given, %s has %zu", what, bytes,
                heed__tensor_text(tensor), heed_tensor_bytes(tensor));
  return HEED_OK;
}

// The span of storage that a view touches, in bytes.
struct span {
  size_t start, bytes;
};
static struct span span_of(const heed_tensor *tensor) {
  const size_t size = heed_dtype_size(tensor->dtype);
  return (struct span){(size_t)tensor->offset * size, (size_t)(heed__tensor_span(tensor) - tensor->offset) * size};
}

heed_status heed_tensor_upload(heed_tensor *tensor, const void *data, size_t bytes) {
  HEED__TRY(check_transfer("upload", tensor, data, bytes));
  if (bytes == 0) return HEED_OK;
  heed_context *ctx = tensor->ctx;
  const struct span span = span_of(tensor);
  if (heed_tensor_is_contiguous(tensor))
    return ctx->backend->upload(ctx, tensor->buffer->handle, span.start, data, bytes);
  char *storage = malloc(span.bytes);
  HEED__REQUIRE(storage, HEED_ERROR_OUT_OF_MEMORY, "upload: no host memory for the storage of %s",
                heed__tensor_text(tensor));
  heed_status status = ctx->backend->download(ctx, tensor->buffer->handle, span.start, storage, span.bytes);
  if (status == HEED_OK) {
    copy_strided((char *)(uintptr_t)data, storage, tensor, false);
    status = ctx->backend->upload(ctx, tensor->buffer->handle, span.start, storage, span.bytes);
  }
  free(storage);
  return status;
}

heed_status heed_tensor_create_from(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims,
                                    const void *data, heed_tensor **out) {
  HEED__TRY(heed_tensor_create(ctx, dtype, rank, dims, out));
  heed_status status = heed_tensor_upload(*out, data, heed_tensor_bytes(*out));
  if (status != HEED_OK) {
    heed_tensor_destroy(*out);
    *out = NULL;
  }
  return status;
}

static heed_status download(const heed_tensor *tensor, void *data, size_t bytes) {
  heed_context *ctx = tensor->ctx;
  const struct span span = span_of(tensor);
  if (heed_tensor_is_contiguous(tensor))
    return ctx->backend->download(ctx, tensor->buffer->handle, span.start, data, bytes);
  char *storage = malloc(span.bytes);
  HEED__REQUIRE(storage, HEED_ERROR_OUT_OF_MEMORY, "download: no host memory for the storage of %s",
                heed__tensor_text(tensor));
  heed_status status = ctx->backend->download(ctx, tensor->buffer->handle, span.start, storage, span.bytes);
  if (status == HEED_OK) copy_strided(data, storage, tensor, true);
  free(storage);
  return status;
}

heed_status heed_tensor_download(const heed_tensor *tensor, void *data, size_t bytes) {
  HEED__TRY(check_transfer("download", tensor, data, bytes));
  if (bytes == 0) return HEED_OK;
  HEED__TRY(download(tensor, data, bytes));
  // The work that made the tensor may have failed.
  return heed__context_pending(tensor->ctx);
}

static heed_status check_f32(const char *what, const heed_tensor *tensor, const float *data, int64_t count) {
  HEED__REQUIRE(tensor && (data || count == 0), HEED_ERROR_INVALID_ARGUMENT, "%s: an argument is NULL", what);
  HEED__REQUIRE(heed_dtype_is_float(tensor->dtype), HEED_ERROR_DTYPE, "%s: %s is not floating point", what,
                heed__tensor_text(tensor));
  HEED__REQUIRE(count == tensor->count, HEED_ERROR_SHAPE, "%s: %" PRId64 " elements given, %s has %" PRId64, what,
                count, heed__tensor_text(tensor), tensor->count);
  return HEED_OK;
}

heed_status heed_tensor_upload_f32(heed_tensor *tensor, const float *data, int64_t count) {
  HEED__TRY(check_f32("upload_f32", tensor, data, count));
  const size_t bytes = heed_tensor_bytes(tensor);
  if (tensor->dtype == HEED_F32) return heed_tensor_upload(tensor, data, bytes);
  void *narrow = malloc(bytes + 1);
  HEED__REQUIRE(narrow, HEED_ERROR_OUT_OF_MEMORY, "upload_f32: no host memory for %s", heed__tensor_text(tensor));
  for (int64_t i = 0; i < count; ++i) heed__store(narrow, tensor->dtype, i, data[i]);
  heed_status status = heed_tensor_upload(tensor, narrow, bytes);
  free(narrow);
  return status;
}

heed_status heed_tensor_download_f32(const heed_tensor *tensor, float *data, int64_t count) {
  HEED__TRY(check_f32("download_f32", tensor, data, count));
  const size_t bytes = heed_tensor_bytes(tensor);
  if (tensor->dtype == HEED_F32) return heed_tensor_download(tensor, data, bytes);
  void *narrow = malloc(bytes + 1);
  HEED__REQUIRE(narrow, HEED_ERROR_OUT_OF_MEMORY, "download_f32: no host memory for %s", heed__tensor_text(tensor));
  heed_status status = heed_tensor_download(tensor, narrow, bytes);
  for (int64_t i = 0; status == HEED_OK && i < count; ++i) data[i] = (float)heed__load(narrow, tensor->dtype, i);
  free(narrow);
  return status;
}

// ---------------------------------------------------------------- reads that nobody waits for

struct heed_read {
  heed_context *ctx;
  void *transfer;             // NULL: it has ended
  void *data;                 // the caller's
  char *storage;              // for a view with gaps: the span it touches, gathered at the end; NULL: read into data
  struct heed_tensor tensor;  // describes the layout in there; holds no reference
  heed_status status;         // once it has ended; kept with its message for later questions
  char message[512];
};

// Ends the read with its own status. The work that made the tensor may have failed, too.
static void finish(heed_read *read, heed_status status) {
  if (status == HEED_OK && read->storage) copy_strided(read->data, read->storage, &read->tensor, true);
  free(read->storage);
  read->storage = NULL;
  read->transfer = NULL;
  if (status == HEED_OK) status = heed__context_pending(read->ctx);
  read->status = status;
  if (status != HEED_OK) snprintf(read->message, sizeof read->message, "%s", heed_last_error());
}

static void advance(heed_read *read, bool wait) {
  if (!read->transfer) return;
  bool done = false;
  const heed_status status = read->ctx->backend->read_end(read->ctx, read->transfer, wait, &done);
  if (done) finish(read, status);
}

static heed_status begin(heed_read *read, const heed_tensor *tensor, size_t bytes, bool beside) {
  if (bytes == 0) return HEED_OK;
  const struct span span = span_of(tensor);
  if (!heed_tensor_is_contiguous(tensor)) {
    read->storage = malloc(span.bytes);
    HEED__REQUIRE(read->storage, HEED_ERROR_OUT_OF_MEMORY, "read: no host memory for the storage of %s",
                  heed__tensor_text(tensor));
  }
  void *const to = read->storage ? read->storage : read->data;
  const size_t size = read->storage ? span.bytes : bytes;
  HEED__TRY(
      read->ctx->backend->read_start(read->ctx, tensor->buffer->handle, span.start, to, size, beside, &read->transfer));
  if (!read->transfer) finish(read, HEED_OK);
  return HEED_OK;
}

static heed_status start(const heed_tensor *tensor, void *data, size_t bytes, bool beside, heed_read **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "read: out is NULL");
  *out = NULL;
  HEED__TRY(check_transfer("read", tensor, data, bytes));
  heed_read *read = calloc(1, sizeof *read);
  HEED__REQUIRE(read, HEED_ERROR_OUT_OF_MEMORY, "read: no host memory for its description");
  *read = (heed_read){.ctx = tensor->ctx, .data = data, .tensor = *tensor};
  const heed_status status = begin(read, tensor, bytes, beside);
  if (status != HEED_OK) {
    free(read->storage);
    free(read);
    return status;
  }
  read->ctx->live_transfers += 1;
  *out = read;
  return HEED_OK;
}

heed_status heed_read_start(const heed_tensor *tensor, void *data, size_t bytes, heed_read **out) {
  return start(tensor, data, bytes, false, out);
}

heed_status heed_read_start_beside(const heed_tensor *tensor, void *data, size_t bytes, heed_read **out) {
  return start(tensor, data, bytes, true, out);
}

static heed_status status_of(const heed_read *read) {
  return read->transfer || read->status == HEED_OK ? HEED_OK : heed__fail(read->status, "%s", read->message);
}

heed_status heed_read_test(heed_read *read, bool *done) {
  HEED__REQUIRE(read && done, HEED_ERROR_INVALID_ARGUMENT, "read: an argument is NULL");
  advance(read, false);
  *done = !read->transfer;
  return status_of(read);
}

heed_status heed_read_wait(heed_read *read) {
  HEED__REQUIRE(read, HEED_ERROR_INVALID_ARGUMENT, "read: the read is NULL");
  advance(read, true);
  return status_of(read);
}

void heed_read_destroy(heed_read *read) {
  if (!read) return;
  advance(read, true);  // until then the device writes to the caller's memory
  heed__context_transfer_gone(read->ctx);
  free(read);
}

// ---------------------------------------------------------------- host memory

struct heed_host_memory {
  heed_context *ctx;
  void *data, *handle;
};

heed_status heed_host_memory_create(heed_context *ctx, size_t bytes, heed_host_memory **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "host memory: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx, HEED_ERROR_INVALID_ARGUMENT, "host memory: the context is NULL");
  heed_host_memory *memory = calloc(1, sizeof *memory);
  HEED__REQUIRE(memory, HEED_ERROR_OUT_OF_MEMORY, "host memory: no memory for its description");
  memory->ctx = ctx;
  const heed_status status = ctx->backend->host_memory_create(ctx, bytes ? bytes : 1, &memory->data, &memory->handle);
  if (status != HEED_OK) {
    free(memory);
    return status;
  }
  ctx->live_transfers += 1;
  *out = memory;
  return HEED_OK;
}

void *heed_host_memory_data(const heed_host_memory *memory) { return memory ? memory->data : NULL; }

void heed_host_memory_destroy(heed_host_memory *memory) {
  if (!memory) return;
  memory->ctx->backend->host_memory_destroy(memory->ctx, memory->data, memory->handle);
  heed__context_transfer_gone(memory->ctx);
  free(memory);
}
