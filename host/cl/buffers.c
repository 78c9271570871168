// Device memory and its transfers. Every allocation of the backend passes here, so that the figures in a message are whole.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/cl.h"

// ---------------------------------------------------------------- buffers

static heed_status check_room(const heed_context *ctx, uint64_t bytes, const char *purpose) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  char needed[32], limit[32], held[32];
  heed__bytes_text(bytes, needed);
  HEED__REQUIRE(bytes <= cl->traits.max_allocation, HEED_ERROR_OUT_OF_MEMORY,
                "%s: %s are needed (%llu bytes) and %s allows %s in one buffer", purpose, needed,
                (unsigned long long)bytes, ctx->device.name, heed__bytes_text(cl->traits.max_allocation, limit));
  HEED__REQUIRE(cl->allocated <= cl->traits.memory && bytes <= cl->traits.memory - cl->allocated,
                HEED_ERROR_OUT_OF_MEMORY, "%s: %s are needed (%llu bytes) and %s has %s, of which heed holds %s",
                purpose, needed, (unsigned long long)bytes, ctx->device.name,
                heed__bytes_text(cl->traits.memory, limit), heed__bytes_text(cl->allocated, held));
  return HEED_OK;
}

heed_status heed__cl_buffer_new(heed_context *ctx, size_t bytes, const char *purpose, cl_mem *out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  *out = NULL;
  heed_status status = check_room(ctx, bytes, purpose);
  // Idle scratch is the only memory that can be given back here.
  if (status == HEED_ERROR_OUT_OF_MEMORY && bytes <= cl->traits.max_allocation && heed__cl_scratch_trim(ctx, 0) > 0)
    status = check_room(ctx, bytes, purpose);
  HEED__TRY(status);
  cl_int error = CL_SUCCESS;
  cl_mem buffer = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
  if (error != CL_SUCCESS && heed__cl_scratch_trim(ctx, 0) > 0)
    buffer = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
  if (error != CL_SUCCESS) {
    char what[160], text[32];
    snprintf(what, sizeof what, "%s: making a buffer of %s", purpose, heed__bytes_text(bytes, text));
    return heed__cl_fail(ctx, error, what);
  }
  cl->allocated += bytes;
  *out = buffer;
  return HEED_OK;
}

static size_t buffer_size(cl_mem buffer) {
  size_t bytes = 0;
  return clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof bytes, &bytes, NULL) == CL_SUCCESS ? bytes : 0;
}

heed_status heed__cl_buffer_adopt(heed_context *ctx, cl_mem buffer) {
  const cl_int error = clRetainMemObject(buffer);
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, "retaining the caller's buffer");
  heed__cl_state(ctx)->allocated += buffer_size(buffer);
  return HEED_OK;
}

heed_status heed__cl_buffer_create(heed_context *ctx, size_t bytes, void **handle) {
  cl_mem buffer = NULL;
  const heed_status status = heed__cl_buffer_new(ctx, bytes, "device memory", &buffer);
  *handle = buffer;
  return status;
}

// Commands that still use the buffer keep it alive.
void heed__cl_buffer_destroy(heed_context *ctx, void *handle) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!handle) return;
  const uint64_t bytes = buffer_size(handle);
  cl->allocated -= bytes < cl->allocated ? bytes : cl->allocated;
  clReleaseMemObject(handle);
}

// ---------------------------------------------------------------- uploads
// An upload is copied aside and queued, so that a training loop that sends its batches never waits for the queue, but for the
// oldest copies once they are many. A large one waits: the copy would cost more than the wait.

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

// Frees the oldest copy once its command has ended; `wait` makes it end. False while it still runs.
static bool retire_oldest(heed_context *ctx, bool wait) {
  struct heed__cl_uploads *uploads = heed__cl_state(ctx)->uploads;
  struct staged *staged = &uploads->ring[uploads->first];
  cl_int state = CL_QUEUED;
  if (wait) clWaitForEvents(1, &staged->event);
  cl_int error = clGetEventInfo(staged->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
  if (error != CL_SUCCESS) {  // its state cannot be known: wait for everything
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
  // The uploads before it have ended too.
  while (cl->uploads && cl->uploads->count > 0 && retire_oldest(ctx, false)) continue;
  if (error == CL_SUCCESS) return HEED_OK;
  // It may be an earlier command's error that comes out here, so heed_sync() tells it too.
  const heed_status status = heed__cl_fail(ctx, error, "download, or work queued before it");
  heed__context_defer(ctx, status);
  return status;
}

heed_status heed__cl_sync(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  const cl_int error = clFinish(cl->queue);
  cl->unflushed = 0;
  while (cl->uploads && cl->uploads->count > 0) retire_oldest(ctx, true);
  if (error == CL_SUCCESS) heed__cl_programs_store(ctx);
  return error == CL_SUCCESS ? HEED_OK : heed__cl_fail(ctx, error, "sync: some queued work");
}

void heed__cl_uploads_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  while (cl->uploads && cl->uploads->count > 0) retire_oldest(ctx, true);
  free(cl->uploads);
  cl->uploads = NULL;
}
