// Transfers between the caller's memory and the device: uploads, which it copies and queues, downloads, reads that do not wait, the host
// memory that suits them, and the wait for the end of the queue.
#include <stdlib.h>
#include <string.h>

#include "cl/runtime/runtime.h"

// ---------------------------------------------------------------- uploads
// An upload copies the data and queues the copy, so that a training loop that sends its batches does not wait for the queue. If there are
// many copies, it waits for the oldest. A large upload waits instead, because the copy would cost more than the wait.

enum { STAGED_BYTES_MAX = 4 << 20, STAGED_TOTAL_MAX = 32 << 20, STAGED_COUNT_MAX = 64 };

struct heed__cl_uploads {
  struct staged {
    cl_event event;
    void *copy;
    size_t bytes;
  } ring[STAGED_COUNT_MAX];
  unsigned first, count;
  size_t bytes;  // of all copies
};

// Frees the oldest copy once its command has ended; with `wait`, waits for that. Returns false while it still runs.
static bool retire_oldest(heed_context *ctx, bool wait) {
  struct heed__cl_uploads *uploads = heed__cl_state(ctx)->uploads;
  struct staged *staged = &uploads->ring[uploads->first];
  cl_int state = CL_QUEUED;
  if (wait) clWaitForEvents(1, &staged->event);
  cl_int error = clGetEventInfo(staged->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
  if (error != CL_SUCCESS) {  // its state is unknown: wait for everything
    clFinish(heed__cl_state(ctx)->queue);
    state = error;
  }
  if (state > CL_COMPLETE && !wait) return false;
  if (state < CL_COMPLETE) heed__context_defer(ctx, heed__cl_fail(ctx, state, "an upload"));
  clReleaseEvent(staged->event);
  free(staged->copy);
  uploads->bytes -= staged->bytes;
  uploads->first = (uploads->first + 1) % STAGED_COUNT_MAX;
  --uploads->count;
  return true;
}

static heed_status upload_staged(heed_context *ctx, cl_mem buffer, size_t offset, const void *data, size_t bytes) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!cl->uploads) cl->uploads = calloc(1, sizeof *cl->uploads);
  void *copy = malloc(bytes);
  if (!cl->uploads || !copy) {
    free(copy);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "upload: no host memory for a copy of %zu bytes", bytes);
  }
  struct heed__cl_uploads *uploads = cl->uploads;
  while (uploads->count > 0 &&
         retire_oldest(ctx, uploads->count == STAGED_COUNT_MAX || uploads->bytes + bytes > STAGED_TOTAL_MAX))
    continue;
  memcpy(copy, data, bytes);
  struct staged *staged = &uploads->ring[(uploads->first + uploads->count) % STAGED_COUNT_MAX];
  const cl_int error = clEnqueueWriteBuffer(cl->queue, buffer, CL_FALSE, offset, bytes, copy, 0, NULL, &staged->event);
  if (error != CL_SUCCESS) {
    free(copy);
    return heed__cl_fail(ctx, error, "upload");
  }
  staged->copy = copy;
  staged->bytes = bytes;
  uploads->bytes += bytes;
  ++uploads->count;
  return HEED_OK;
}

heed_status heed__cl_upload(heed_context *ctx, void *handle, size_t offset, const void *data, size_t bytes) {
  if (bytes <= STAGED_BYTES_MAX) return upload_staged(ctx, handle, offset, data, bytes);
  const cl_int error =
      clEnqueueWriteBuffer(heed__cl_state(ctx)->queue, handle, CL_TRUE, offset, bytes, data, 0, NULL, NULL);
  return error == CL_SUCCESS ? HEED_OK : heed__cl_fail(ctx, error, "upload");
}

heed_status heed__cl_download(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const cl_int error = clEnqueueReadBuffer(cl->queue, handle, CL_TRUE, offset, bytes, data, 0, NULL, NULL);
  // The earlier uploads have ended, too.
  while (cl->uploads && cl->uploads->count > 0 && retire_oldest(ctx, false)) continue;
  if (error == CL_SUCCESS) return HEED_OK;
  // This may report an earlier command's error, so keep it for heed_sync(), too.
  const heed_status status = heed__cl_fail(ctx, error, "download, or work queued before it");
  heed__context_defer(ctx, status);
  return status;
}

// ---------------------------------------------------------------- reads that do not wait

// A queue for copies alone, made at first use. Commands of two queues have no order, unless an event gives it to them.
static cl_int open_copies(struct heed__cl *cl) {
  cl_int error = CL_SUCCESS;
  if (!cl->copies) cl->copies = clCreateCommandQueue(cl->context, cl->device, 0, &error);
  return error;
}

// Waits for both queues.
static cl_int finish_all(struct heed__cl *cl) {
  const cl_int error = clFinish(cl->queue), copied = cl->copies ? clFinish(cl->copies) : CL_SUCCESS;
  cl->unflushed = 0;
  return error == CL_SUCCESS ? copied : error;
}

// Queues a read behind all that is queued now. What is queued later does not wait for it.
static cl_int read_beside(struct heed__cl *cl, cl_mem buffer, size_t offset, void *data, size_t bytes,
                          cl_event *event) {
  cl_event made = NULL;
  cl_int error = open_copies(cl);
  if (error == CL_SUCCESS) error = clEnqueueMarkerWithWaitList(cl->queue, 0, NULL, &made);
  if (error != CL_SUCCESS) return error;
  error = clEnqueueReadBuffer(cl->copies, buffer, CL_FALSE, offset, bytes, data, 1, &made, event);
  clReleaseEvent(made);
  return error;
}

// The transfer is the read's event. The flushes make the device begin, because a caller who only asks later does not flush.
heed_status heed__cl_read_start(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes, bool beside,
                                void **transfer) {
  struct heed__cl *cl = heed__cl_state(ctx);
  cl_event event = NULL;
  *transfer = NULL;
  beside = beside && cl->traits.copies_beside;
  cl_int error = beside ? read_beside(cl, handle, offset, data, bytes, &event)
                        : clEnqueueReadBuffer(cl->queue, handle, CL_FALSE, offset, bytes, data, 0, NULL, &event);
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, "read");
  error = clFlush(cl->queue);
  cl->unflushed = 0;
  if (error == CL_SUCCESS && beside) error = clFlush(cl->copies);
  if (error != CL_SUCCESS) {
    finish_all(cl);  // nothing may write to `data` after a failure
    clReleaseEvent(event);
    return heed__cl_fail(ctx, error, "read");
  }
  *transfer = event;
  return HEED_OK;
}

heed_status heed__cl_read_end(heed_context *ctx, void *transfer, bool wait, bool *done) {
  cl_event event = transfer;
  cl_int state = CL_QUEUED;
  *done = false;
  if (wait) clWaitForEvents(1, &event);
  cl_int error = clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
  if (error == CL_SUCCESS && state > CL_COMPLETE && !wait) return HEED_OK;
  if (error != CL_SUCCESS ||
      state > CL_COMPLETE) {  // the wait or the query failed: then the end of the queue ends the read
    const cl_int finished = finish_all(heed__cl_state(ctx));
    if (error == CL_SUCCESS) error = finished;
  }
  if (error == CL_SUCCESS && state < CL_COMPLETE) error = state;
  clReleaseEvent(event);
  *done = true;
  if (error == CL_SUCCESS) return HEED_OK;
  // As in a download, this may be an earlier command's error, so keep it for heed_sync(), too.
  const heed_status status = heed__cl_fail(ctx, error, "read, or work queued before it");
  heed__context_defer(ctx, status);
  return status;
}

// ---------------------------------------------------------------- host memory

// Memory that the driver allocates is page-locked: the device reaches it without a copy by the driver. It stays mapped, for its address.
heed_status heed__cl_host_memory_create(heed_context *ctx, size_t bytes, void **data, void **handle) {
  struct heed__cl *cl = heed__cl_state(ctx);
  *data = *handle = NULL;
  cl_int error = CL_SUCCESS;
  if (cl->traits.copies_beside && open_copies(cl) == CL_SUCCESS)
    *handle = clCreateBuffer(cl->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &error);
  if (*handle)
    *data =
        clEnqueueMapBuffer(cl->copies, *handle, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, NULL, &error);
  if (*data) return HEED_OK;
  if (*handle) clReleaseMemObject(*handle);
  *handle = NULL;
  *data = malloc(bytes);
  return *data ? HEED_OK : heed__fail(HEED_ERROR_OUT_OF_MEMORY, "host memory: no %zu bytes", bytes);
}

void heed__cl_host_memory_destroy(heed_context *ctx, void *data, void *handle) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!handle) {
    free(data);
    return;
  }
  finish_all(cl);  // copies that still go to this memory
  clEnqueueUnmapMemObject(cl->copies, handle, data, 0, NULL, NULL);
  clFinish(cl->copies);
  clReleaseMemObject(handle);
}

heed_status heed__cl_sync(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const cl_int error = finish_all(cl);
  while (cl->uploads && cl->uploads->count > 0) retire_oldest(ctx, true);
  // The end of a context stores the other programs, because a user who times a sync does not expect it to compile.
  if (error == CL_SUCCESS && !cl->traits.compiles_late) heed__cl_programs_store(ctx);
  return error == CL_SUCCESS ? HEED_OK : heed__cl_fail(ctx, error, "sync: some queued work");
}

void heed__cl_uploads_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  while (cl->uploads && cl->uploads->count > 0) retire_oldest(ctx, true);
  free(cl->uploads);
  cl->uploads = NULL;
}
