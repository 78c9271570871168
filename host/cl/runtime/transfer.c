// Transfers between the caller's memory and the device: uploads, which it copies and queues, downloads, reads that do not wait, and the
// wait for the end of the queue.
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

// The transfer is the read's event. The flush makes the device begin, because a caller who only asks later does not flush.
heed_status heed__cl_read_start(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes,
                                void **transfer) {
  struct heed__cl *cl = heed__cl_state(ctx);
  cl_event event = NULL;
  *transfer = NULL;
  cl_int error = clEnqueueReadBuffer(cl->queue, handle, CL_FALSE, offset, bytes, data, 0, NULL, &event);
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, "read");
  error = clFlush(cl->queue);
  cl->unflushed = 0;
  if (error != CL_SUCCESS) {
    clFinish(cl->queue);  // nothing may write to `data` after a failure
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
    const cl_int finished = clFinish(heed__cl_state(ctx)->queue);
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

heed_status heed__cl_sync(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const cl_int error = clFinish(cl->queue);
  cl->unflushed = 0;
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
