// Device memory: the buffers of tensors, and a pool of scratch buffers that operators take for one call. Every allocation of the backend
// goes through this file, so that the figures in a message are complete. Because the queue is in order, the pool may hand out a scratch
// buffer again as soon as the call that took it has queued its last command. A caller's buffer is retained here but not counted.
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cl/runtime/runtime.h"

static size_t buffer_size(cl_mem buffer) {
  size_t bytes = 0;
  return clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof bytes, &bytes, NULL) == CL_SUCCESS ? bytes : 0;
}

// ---------------------------------------------------------------- adopted buffers
// One entry for each reference to memory that heed did not allocate: several tensors may lie in one large buffer of the caller's, and a
// caller may give one of heed's own buffers back to heed. Whichever tensor goes first, heed counts the memory while its own tensor is
// alive.

struct heed__cl_adopted {
  cl_mem *buffers;
  size_t count, room;
};

static heed_status add_adopted(struct heed__cl *cl, cl_mem buffer) {
  if (!cl->adopted) cl->adopted = calloc(1, sizeof *cl->adopted);
  struct heed__cl_adopted *adopted = cl->adopted;
  HEED__REQUIRE(adopted, HEED_ERROR_OUT_OF_MEMORY, "no host memory for the list of adopted buffers");
  if (adopted->count == adopted->room) {
    const size_t room = adopted->room * 2 + 16;
    cl_mem *grown = realloc(adopted->buffers, room * sizeof(cl_mem));
    HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "no host memory for the list of adopted buffers");
    adopted->buffers = grown;
    adopted->room = room;
  }
  adopted->buffers[adopted->count++] = buffer;
  return HEED_OK;
}

// Removes one entry of the buffer; returns false if heed allocated it. It looks at the last entries first, since they tend to go first.
static bool take_adopted(struct heed__cl *cl, cl_mem buffer) {
  struct heed__cl_adopted *adopted = cl->adopted;
  for (size_t i = adopted ? adopted->count : 0; i-- > 0;) {
    if (adopted->buffers[i] != buffer) continue;
    adopted->buffers[i] = adopted->buffers[--adopted->count];
    return true;
  }
  return false;
}

heed_status heed__cl_buffer_measure(const heed_context *ctx, cl_mem buffer, size_t *bytes) {
  cl_context owner = NULL;
  *bytes = 0;
  cl_int error = clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof *bytes, bytes, NULL);
  if (error == CL_SUCCESS) error = clGetMemObjectInfo(buffer, CL_MEM_CONTEXT, sizeof owner, &owner, NULL);
  if (error != CL_SUCCESS) return heed__cl_fail(ctx, error, "clGetMemObjectInfo");
  HEED__REQUIRE(owner == heed__cl_state(ctx)->context, HEED_ERROR_INVALID_ARGUMENT,
                "opencl_tensor: the buffer belongs to another OpenCL context");
  return HEED_OK;
}

heed_status heed__cl_buffer_adopt(heed_context *ctx, cl_mem buffer) {
  HEED__TRY(add_adopted(heed__cl_state(ctx), buffer));
  const cl_int error = clRetainMemObject(buffer);
  if (error == CL_SUCCESS) return HEED_OK;
  take_adopted(heed__cl_state(ctx), buffer);
  return heed__cl_fail(ctx, error, "retaining the caller's buffer");
}

void heed__cl_adopted_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (cl->adopted) free(cl->adopted->buffers);
  free(cl->adopted);
  cl->adopted = NULL;
}

// Commands that still use the buffer keep it alive.
void heed__cl_buffer_destroy(heed_context *ctx, void *handle) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!handle) return;
  if (!take_adopted(cl, handle)) heed__context_gave(ctx, buffer_size(handle));
  clReleaseMemObject(handle);
}

// ---------------------------------------------------------------- idle scratch buffers

struct heed__cl_scratch {
  struct block {
    cl_mem buffer;
    size_t bytes;
    bool busy;
    uint64_t used_at;  // the call of its last use, by the pool's clock
  } * blocks;
  size_t count, room;
  uint64_t clock, idle_bytes;
};

// Four sizes per octave: this wastes at most a quarter, and shapes that differ a little share buffers.
static size_t size_class(size_t bytes, uint64_t max_allocation) {
  size_t step = 1024;
  if (bytes > SIZE_MAX / 2) return bytes;
  while (step * 8 < bytes) step *= 2;
  const size_t rounded = (bytes + step - 1) / step * step;
  return rounded <= max_allocation ? rounded : bytes;
}

// The most idle memory that is worth keeping.
static uint64_t idle_bound(const struct heed__cl *cl) {
  const uint64_t quarter = cl->traits.memory / 4, most = (uint64_t)1 << 30;
  return quarter < most ? quarter : most;
}

// Finds the smallest idle buffer of `bytes` or more that is not far larger than `size`, their class.
static struct block *best_fit(struct heed__cl_scratch *pool, size_t bytes, size_t size) {
  struct block *best = NULL;
  for (size_t i = 0; i < pool->count; ++i) {
    struct block *block = &pool->blocks[i];
    if (block->busy || block->bytes < bytes || block->bytes / 2 > size) continue;
    if (!best || block->bytes < best->bytes) best = block;
  }
  return best;
}

static struct block *least_recent_idle(struct heed__cl_scratch *pool) {
  struct block *oldest = NULL;
  for (size_t i = 0; i < pool->count; ++i) {
    struct block *block = &pool->blocks[i];
    if (!block->busy && (!oldest || block->used_at < oldest->used_at)) oldest = block;
  }
  return oldest;
}

size_t heed__cl_scratch_trim(heed_context *ctx, uint64_t keep) {
  struct heed__cl_scratch *pool = heed__cl_state(ctx)->scratch;
  size_t freed = 0;
  for (struct block *block; pool && pool->idle_bytes > keep && (block = least_recent_idle(pool));) {
    heed__cl_buffer_destroy(ctx, block->buffer);
    freed += block->bytes;
    pool->idle_bytes -= block->bytes;
    *block = pool->blocks[--pool->count];
  }
  return freed;
}

// ---------------------------------------------------------------- buffers

// A buffer below this is not worth reading files of the kernel for.
#define LARGE ((uint64_t)32 << 20)

// Asks the operating system, which would give a process more than there is and kill it when it uses that. What heed has reserved and not
// written yet is not taken into account there.
static heed_status check_host(const heed_context *ctx, uint64_t bytes, const char *purpose) {
  if (!heed__cl_state(ctx)->traits.shares_host || bytes < LARGE) return HEED_OK;
  char needed[32], left[32], held[32];
  const uint64_t available = heed__memory_read("").available;
  HEED__REQUIRE(bytes <= available, HEED_ERROR_OUT_OF_MEMORY,
                "%s: %s are needed (%llu bytes), and this machine, whose memory %s shares, has %s left; heed holds %s",
                purpose, heed__bytes_text(bytes, needed), (unsigned long long)bytes, ctx->device.name,
                heed__bytes_text(available, left), heed__bytes_text(ctx->allocated, held));
  return HEED_OK;
}

static heed_status check_room(const heed_context *ctx, uint64_t bytes, const char *purpose) {
  const struct heed__cl *cl = heed__cl_state(ctx);
  char needed[32], limit[32], held[32];
  heed__bytes_text(bytes, needed);
  HEED__REQUIRE(bytes <= cl->traits.max_allocation, HEED_ERROR_OUT_OF_MEMORY,
                "%s: %s are needed (%llu bytes) and %s allows %s in one buffer", purpose, needed,
                (unsigned long long)bytes, ctx->device.name, heed__bytes_text(cl->traits.max_allocation, limit));
  HEED__REQUIRE(ctx->allocated <= cl->traits.memory && bytes <= cl->traits.memory - ctx->allocated,
                HEED_ERROR_OUT_OF_MEMORY, "%s: %s are needed (%llu bytes) and %s has %s, of which heed holds %s",
                purpose, needed, (unsigned long long)bytes, ctx->device.name,
                heed__bytes_text(cl->traits.memory, limit), heed__bytes_text(ctx->allocated, held));
  return check_host(ctx, bytes, purpose);
}

heed_status heed__cl_buffer_new(heed_context *ctx, size_t bytes, const char *purpose, cl_mem *out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  *out = NULL;
  heed_status status = check_room(ctx, bytes, purpose);
  // Idle scratch buffers are the only memory that heed can give back here.
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
  heed__context_took(ctx, bytes);
  *out = buffer;
  return HEED_OK;
}

heed_status heed__cl_buffer_create(heed_context *ctx, size_t bytes, void **handle) {
  cl_mem buffer = NULL;
  const heed_status status = heed__cl_buffer_new(ctx, bytes, "device memory", &buffer);
  *handle = buffer;
  return status;
}

// ---------------------------------------------------------------- scratch

static heed_status make_room(struct heed__cl *cl) {
  if (!cl->scratch) cl->scratch = calloc(1, sizeof *cl->scratch);
  struct heed__cl_scratch *pool = cl->scratch;
  if (pool && pool->count < pool->room) return HEED_OK;
  const size_t room = pool ? pool->room * 2 + 8 : 0;
  struct block *grown = pool ? realloc(pool->blocks, room * sizeof *grown) : NULL;
  HEED__REQUIRE(grown, HEED_ERROR_OUT_OF_MEMORY, "scratch: no host memory for the list of buffers");
  pool->blocks = grown;
  pool->room = room;
  return HEED_OK;
}

heed_status heed__cl_scratch_take(heed_context *ctx, uint64_t wanted, cl_mem *out) {
  struct heed__cl *cl = heed__cl_state(ctx);
  char text[32];
  *out = NULL;
  HEED__REQUIRE(wanted < SIZE_MAX, HEED_ERROR_OUT_OF_MEMORY,
                "scratch memory: %s are more than this process can address", heed__bytes_text(wanted, text));
  const size_t bytes = (size_t)wanted;
  HEED__TRY(make_room(cl));
  struct heed__cl_scratch *pool = cl->scratch;
  const size_t size = size_class(bytes ? bytes : 1, cl->traits.max_allocation);
  struct block *block = best_fit(pool, bytes, size);
  if (block) {
    pool->idle_bytes -= block->bytes;
  } else {
    cl_mem buffer = NULL;
    HEED__TRY(heed__cl_buffer_new(ctx, size, "scratch memory", &buffer));
    block = &pool->blocks[pool->count++];
    *block = (struct block){.buffer = buffer, .bytes = size};
  }
  block->busy = true;
  *out = block->buffer;
  return HEED_OK;
}

void heed__cl_scratch_give(heed_context *ctx, cl_mem buffer) {
  struct heed__cl *cl = heed__cl_state(ctx);
  struct heed__cl_scratch *pool = cl->scratch;
  if (!buffer || !pool) return;
  for (size_t i = 0; i < pool->count; ++i) {
    struct block *block = &pool->blocks[i];
    if (block->buffer != buffer || !block->busy) continue;
    block->busy = false;
    block->used_at = ++pool->clock;
    pool->idle_bytes += block->bytes;
    break;
  }
  heed__cl_scratch_trim(ctx, idle_bound(cl));
}

void heed__cl_scratch_destroy(heed_context *ctx) {
  struct heed__cl *cl = heed__cl_state(ctx);
  if (!cl->scratch) return;
  for (size_t i = 0; i < cl->scratch->count; ++i) heed__cl_buffer_destroy(ctx, cl->scratch->blocks[i].buffer);
  free(cl->scratch->blocks);
  free(cl->scratch);
  cl->scratch = NULL;
}
