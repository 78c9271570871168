// Tensors and their views. It checks shapes once and gets memory from the backend. Operators are elsewhere.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

const char *heed__dims_text(int rank, const int64_t *dims) {
  static _Thread_local char ring[8][128];
  static _Thread_local unsigned next;
  char *text = ring[next++ % 8];
  size_t used = (size_t)snprintf(text, sizeof ring[0], "[");
  for (int axis = 0; axis < rank && used < sizeof ring[0]; ++axis)
    used += (size_t)snprintf(text + used, sizeof ring[0] - used, "%s%" PRId64, axis ? ", " : "", dims[axis]);
  if (used < sizeof ring[0]) snprintf(text + used, sizeof ring[0] - used, "]");
  return text;
}

const char *heed__tensor_text(const heed_tensor *tensor) {
  static _Thread_local char ring[8][144];
  static _Thread_local unsigned next;
  if (!tensor) return "none";
  char *text = ring[next++ % 8];
  snprintf(text, sizeof ring[0], "%s%s", heed_dtype_string(tensor->dtype), heed__dims_text(tensor->rank, tensor->dims));
  return text;
}

const char *heed_tensor_describe(const heed_tensor *tensor) { return heed__tensor_text(tensor); }

void heed__contiguous_strides(int rank, const int64_t *dims, int64_t *strides) {
  int64_t stride = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= heed__max(dims[axis], 1);
  }
}

heed_status heed__count_elements(const char *who, int rank, const int64_t *dims, int64_t *count) {
  HEED__REQUIRE(rank >= 0 && rank <= HEED_MAX_RANK, HEED_ERROR_SHAPE, "%s: rank %d is not in 0..%d", who, rank,
                HEED_MAX_RANK);
  HEED__REQUIRE(rank == 0 || dims, HEED_ERROR_INVALID_ARGUMENT, "%s: dims is NULL", who);
  bool empty = false;
  for (int axis = 0; axis < rank; ++axis) {
    HEED__REQUIRE(dims[axis] >= 0, HEED_ERROR_SHAPE, "%s: dimension %d of %s is negative", who, axis,
                  heed__dims_text(rank, dims));
    if (dims[axis] == 0) empty = true;
  }
  // Strides are products of the dimensions, with 0 taken as 1, so these products must fit even if the tensor is empty.
  int64_t product = 1;
  for (int axis = 0; axis < rank; ++axis)
    HEED__REQUIRE(heed__mul(product, heed__max(dims[axis], 1), &product), HEED_ERROR_OVERFLOW,
                  "%s: %s has more elements than fit 64 bits", who, heed__dims_text(rank, dims));
  *count = empty ? 0 : product;
  return HEED_OK;
}

heed_status heed__tensor_wrap(heed_context *ctx, void *handle, size_t bytes, heed_dtype dtype, int rank,
                              const int64_t *dims, heed_tensor **out) {
  heed_tensor *tensor = calloc(1, sizeof *tensor);
  struct heed__buffer *buffer = calloc(1, sizeof *buffer);
  if (!tensor || !buffer) {
    free(tensor);
    free(buffer);
    return heed__fail(HEED_ERROR_OUT_OF_MEMORY, "tensor: no host memory for its description");
  }
  *buffer = (struct heed__buffer){.ctx = ctx, .references = 1, .bytes = bytes, .handle = handle};
  tensor->ctx = ctx;
  tensor->buffer = buffer;
  tensor->dtype = dtype;
  tensor->rank = rank;
  tensor->count = 1;
  for (int axis = 0; axis < rank; ++axis) {
    tensor->dims[axis] = dims[axis];
    tensor->count *= dims[axis];
  }
  heed__contiguous_strides(rank, dims, tensor->strides);
  ctx->live_tensors += 1;
  *out = tensor;
  return HEED_OK;
}

heed_status heed_tensor_create(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "tensor: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx, HEED_ERROR_INVALID_ARGUMENT, "tensor: the context is NULL");
  HEED__REQUIRE(heed_dtype_size(dtype) > 0, HEED_ERROR_DTYPE, "tensor: dtype %d is unknown", (int)dtype);
  int64_t count, bytes;
  HEED__TRY(heed__count_elements("tensor", rank, dims, &count));
  HEED__REQUIRE(heed__mul(count, (int64_t)heed_dtype_size(dtype), &bytes), HEED_ERROR_OVERFLOW,
                "tensor: the bytes of %s%s do not fit 64 bits", heed_dtype_string(dtype), heed__dims_text(rank, dims));
  char text[32];
  HEED__REQUIRE((uint64_t)bytes < SIZE_MAX, HEED_ERROR_OUT_OF_MEMORY,
                "tensor %s%s: its %s are more than this process can address", heed_dtype_string(dtype),
                heed__dims_text(rank, dims), heed__bytes_text((uint64_t)bytes, text));
  void *handle = NULL;
  // An empty tensor still owns a byte: OpenCL has no empty buffers.
  heed_status status = ctx->backend->buffer_create(ctx, bytes ? (size_t)bytes : 1, &handle);
  if (status != HEED_OK)
    return heed__fail_prefix(status, "tensor %s%s", heed_dtype_string(dtype), heed__dims_text(rank, dims));
  status = heed__tensor_wrap(ctx, handle, bytes ? (size_t)bytes : 1, dtype, rank, dims, out);
  if (status != HEED_OK) ctx->backend->buffer_destroy(ctx, handle);
  return status;
}

void heed_tensor_destroy(heed_tensor *tensor) {
  if (!tensor) return;
  heed_context *ctx = tensor->ctx;
  if (--tensor->buffer->references == 0) {
    ctx->backend->buffer_destroy(ctx, tensor->buffer->handle);
    free(tensor->buffer);
  }
  free(tensor);
  heed__context_tensor_gone(ctx);
}

heed_context *heed_tensor_context(const heed_tensor *tensor) { return tensor ? tensor->ctx : NULL; }
heed_dtype heed_tensor_dtype(const heed_tensor *tensor) { return tensor ? tensor->dtype : (heed_dtype)0; }
int heed_tensor_rank(const heed_tensor *tensor) { return tensor ? tensor->rank : 0; }
const int64_t *heed_tensor_dims(const heed_tensor *tensor) { return tensor ? tensor->dims : NULL; }
const int64_t *heed_tensor_strides(const heed_tensor *tensor) { return tensor ? tensor->strides : NULL; }
int64_t heed_tensor_count(const heed_tensor *tensor) { return tensor ? tensor->count : 0; }
size_t heed_tensor_bytes(const heed_tensor *tensor) {
  return tensor ? (size_t)tensor->count * heed_dtype_size(tensor->dtype) : 0;
}

int64_t heed_tensor_dim(const heed_tensor *tensor, int axis) {
  if (!tensor) return 0;
  if (axis < 0) axis += tensor->rank;
  return axis >= 0 && axis < tensor->rank ? tensor->dims[axis] : 1;
}

bool heed_tensor_is_contiguous(const heed_tensor *tensor) {
  if (!tensor) return false;
  int64_t stride = 1;
  for (int axis = tensor->rank - 1; axis >= 0; --axis) {
    if (tensor->dims[axis] != 1 && tensor->strides[axis] != stride) return tensor->count == 0;
    stride *= tensor->dims[axis];
  }
  return true;
}

int64_t heed_tensor_offset(const heed_tensor *tensor) { return tensor ? tensor->offset : 0; }
bool heed_tensor_shares_storage(const heed_tensor *a, const heed_tensor *b) { return a && b && a->buffer == b->buffer; }

int64_t heed__tensor_span(const heed_tensor *tensor) {
  if (tensor->count == 0) return tensor->offset;
  int64_t last = tensor->offset;
  for (int axis = 0; axis < tensor->rank; ++axis) last += (tensor->dims[axis] - 1) * tensor->strides[axis];
  return last + 1;
}

void heed__view_init(struct heed_tensor *view, const heed_tensor *base, int rank, const int64_t *dims,
                     const int64_t *strides, int64_t offset) {
  *view = (struct heed_tensor){
      .ctx = base->ctx, .buffer = base->buffer, .dtype = base->dtype, .rank = rank, .offset = offset, .count = 1};
  for (int axis = 0; axis < rank; ++axis) {
    view->dims[axis] = dims[axis];
    view->strides[axis] = strides[axis];
    view->count *= dims[axis];
  }
}

void heed__reshape_init(struct heed_tensor *view, const heed_tensor *base, int rank, const int64_t *dims) {
  int64_t strides[HEED_MAX_RANK];
  heed__contiguous_strides(rank, dims, strides);
  heed__view_init(view, base, rank, dims, strides, base->offset);
}

// Makes a view that is counted and holds a reference to its storage.
static heed_status view_create(const heed_tensor *base, int rank, const int64_t *dims, const int64_t *strides,
                               int64_t offset, heed_tensor **out) {
  heed_tensor *view = calloc(1, sizeof *view);
  HEED__REQUIRE(view, HEED_ERROR_OUT_OF_MEMORY, "view: no host memory for its description");
  heed__view_init(view, base, rank, dims, strides, offset);
  view->buffer->references += 1;
  view->ctx->live_tensors += 1;
  *out = view;
  return HEED_OK;
}

heed_status heed_tensor_view(const heed_tensor *base, int rank, const int64_t *dims, const int64_t *strides,
                             int64_t offset, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "view: out is NULL");
  *out = NULL;
  HEED__REQUIRE(base && (rank == 0 || strides), HEED_ERROR_INVALID_ARGUMENT, "view: an argument is NULL");
  int64_t count;
  HEED__TRY(heed__count_elements("view", rank, dims, &count));
  HEED__REQUIRE(offset >= 0, HEED_ERROR_SHAPE, "view: offset %" PRId64 " is negative", offset);
  int64_t first, last;
  bool fits = heed__sum(base->offset, offset, &first);
  last = first;
  for (int axis = 0; fits && axis < rank; ++axis) {
    int64_t extent;
    HEED__REQUIRE(strides[axis] >= 0, HEED_ERROR_SHAPE, "view: stride %d is negative", axis);
    fits = heed__mul(heed__max(dims[axis] - 1, 0), strides[axis], &extent) && heed__sum(last, extent, &last);
  }
  // A view may not leave the span of its base, even if the buffer is larger: a slice gives no access to the rest of the storage.
  const int64_t end = heed__tensor_span(base);
  HEED__REQUIRE(fits && (count == 0 ? first <= end : last < end), HEED_ERROR_SHAPE,
                "view: %s at offset %" PRId64 " leaves the %" PRId64 " elements of storage that its base %s spans",
                heed__dims_text(rank, dims), offset, end - base->offset, heed__tensor_text(base));
  return view_create(base, rank, dims, strides, first, out);
}

heed_status heed_tensor_reshape(const heed_tensor *base, int rank, const int64_t *dims, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "reshape: out is NULL");
  *out = NULL;
  HEED__REQUIRE(base, HEED_ERROR_INVALID_ARGUMENT, "reshape: the tensor is NULL");
  int64_t count, strides[HEED_MAX_RANK];
  HEED__TRY(heed__count_elements("reshape", rank, dims, &count));
  HEED__REQUIRE(count == base->count, HEED_ERROR_SHAPE, "reshape: %s cannot become %s", heed__tensor_text(base),
                heed__dims_text(rank, dims));
  HEED__REQUIRE(heed_tensor_is_contiguous(base), HEED_ERROR_SHAPE,
                "reshape: %s is not contiguous; copy it into a new tensor first", heed__tensor_text(base));
  heed__contiguous_strides(rank, dims, strides);
  return view_create(base, rank, dims, strides, base->offset, out);
}

heed_status heed_tensor_permute(const heed_tensor *base, const int *order, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "permute: out is NULL");
  *out = NULL;
  HEED__REQUIRE(base && order, HEED_ERROR_INVALID_ARGUMENT, "permute: an argument is NULL");
  int64_t dims[HEED_MAX_RANK], strides[HEED_MAX_RANK];
  unsigned seen = 0;
  for (int axis = 0; axis < base->rank; ++axis) {
    HEED__REQUIRE(order[axis] >= 0 && order[axis] < base->rank && !(seen >> order[axis] & 1),
                  HEED_ERROR_INVALID_ARGUMENT, "permute: order is not a permutation of the %d axes", base->rank);
    seen |= 1u << order[axis];
    dims[axis] = base->dims[order[axis]];
    strides[axis] = base->strides[order[axis]];
  }
  return view_create(base, base->rank, dims, strides, base->offset, out);
}

heed_status heed_tensor_slice(const heed_tensor *base, int axis, int64_t start, int64_t length, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "slice: out is NULL");
  *out = NULL;
  HEED__REQUIRE(base, HEED_ERROR_INVALID_ARGUMENT, "slice: the tensor is NULL");
  const int at = axis < 0 ? axis + base->rank : axis;
  HEED__REQUIRE(at >= 0 && at < base->rank, HEED_ERROR_INVALID_ARGUMENT, "slice: %s has no axis %d",
                heed__tensor_text(base), axis);
  HEED__REQUIRE(start >= 0 && length >= 0 && start <= base->dims[at] && length <= base->dims[at] - start,
                HEED_ERROR_SHAPE, "slice: %" PRId64 " elements from %" PRId64 " leave axis %d of %s", length, start, at,
                heed__tensor_text(base));
  int64_t dims[HEED_MAX_RANK];
  memcpy(dims, base->dims, sizeof dims);
  dims[at] = length;
  return view_create(base, base->rank, dims, base->strides, base->offset + start * base->strides[at], out);
}

heed_status heed_tensor_join(const heed_tensor *const *parts, size_t count, heed_tensor **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "join: out is NULL");
  *out = NULL;
  HEED__REQUIRE(parts && count > 0, HEED_ERROR_INVALID_ARGUMENT, "join: there are no tensors");
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    const heed_tensor *first = parts[0], *part = parts[i];
    HEED__REQUIRE(part, HEED_ERROR_INVALID_ARGUMENT, "join: tensor %zu is NULL", i);
    HEED__REQUIRE(part->dtype == first->dtype, HEED_ERROR_DTYPE, "join: tensor %zu is %s but the first is %s", i,
                  heed__tensor_text(part), heed__tensor_text(first));
    HEED__REQUIRE(heed_tensor_is_contiguous(part), HEED_ERROR_SHAPE, "join: tensor %zu, %s, is not contiguous", i,
                  heed__tensor_text(part));
    HEED__REQUIRE(part->buffer == first->buffer && part->offset == first->offset + total, HEED_ERROR_SHAPE,
                  "join: tensor %zu, %s, does not begin where the one before it ends", i, heed__tensor_text(part));
    total += part->count;
  }
  const int64_t stride = 1;
  return view_create(parts[0], 1, &total, &stride, parts[0]->offset, out);
}
