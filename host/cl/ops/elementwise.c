// fill and copy on OpenCL. They reduce views to as few dimensions as possible before they choose a kernel; data that keep their dtype
// move as bits.
#include <string.h>

#include "cl/runtime/grid.h"
#include "cl/operators.h"

// The common dimensions of two views of one shape, padded in front to five.
struct walk {
  int rank;
  int64_t dims[HEED_MAX_RANK];
  int64_t strides[2][HEED_MAX_RANK];
};

// Drops dimensions of 1 and joins neighbouring ones that form one run in both views. b may be a.
static struct walk walk_of(const heed_tensor *a, const heed_tensor *b) {
  struct walk w = {0};
  for (int axis = 0; axis < a->rank; ++axis) {
    const int64_t dim = a->dims[axis], sa = a->strides[axis], sb = b->strides[axis];
    if (dim == 1) continue;
    const int last = w.rank - 1;
    if (w.rank > 0 && w.strides[0][last] == sa * dim && w.strides[1][last] == sb * dim) {
      w.dims[last] *= dim;
      w.strides[0][last] = sa;
      w.strides[1][last] = sb;
      continue;
    }
    w.dims[w.rank] = dim;
    w.strides[0][w.rank] = sa;
    w.strides[1][w.rank] = sb;
    ++w.rank;
  }
  return w;
}

static bool walk_is_dense(const struct walk *w) {
  return w->rank == 0 || (w->rank == 1 && w->strides[0][0] == 1 && w->strides[1][0] == 1);
}

static void pass_strides(struct heed__cl_kernel *k, const struct walk *w, int view) {
  for (int axis = w->rank; axis < HEED_MAX_RANK; ++axis) heed__cl_long(k, 0);
  for (int axis = 0; axis < w->rank; ++axis) heed__cl_long(k, w->strides[view][axis]);
}

// All but the first of the five: no index computation needs that one.
static void pass_dims(struct heed__cl_kernel *k, const struct walk *w) {
  for (int axis = 1; axis < HEED_MAX_RANK; ++axis) {
    const int own = axis - (HEED_MAX_RANK - w->rank);
    heed__cl_long(k, own >= 0 ? w->dims[own] : 1);
  }
}

static const char *word_of(size_t bytes) {
  switch (bytes) {
    case 1:
      return "uchar";
    case 2:
      return "ushort";
    case 4:
      return "uint";
    default:
      return "ulong";
  }
}

// Returns the bits of `value` in storage, in the low end of the result whatever the host's byte order.
static uint64_t bits_of(heed_dtype dtype, double value) {
  uint64_t word = 0;
  uint32_t half_word;
  uint16_t quarter_word;
  heed__store(&word, dtype, 0, value);
  switch (heed_dtype_size(dtype)) {
    case 1:
      return *(const uint8_t *)&word;
    case 2:
      memcpy(&quarter_word, &word, sizeof quarter_word);
      return quarter_word;
    case 4:
      memcpy(&half_word, &word, sizeof half_word);
      return half_word;
    default:
      return word;
  }
}

heed_status heed__cl_fill(heed_context *ctx, const struct heed__call *call) {
  // y: any shape and strides
  const struct heed__fill_params *params = call->params;
  const heed_tensor *y = call->out[HEED__fill_y];
  const uint64_t bits = bits_of(y->dtype, params->value);
  const struct walk w = walk_of(y, y);
  const bool dense = walk_is_dense(&w);
  const struct heed__cl_runs runs =
      heed__cl_runs_for(ctx, y->count, heed_tensor_bytes(y), heed_dtype_size(y->dtype) == 4);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/elementwise.cl", dense ? "fill" : "fill_strided");
  heed__cl_define_runs(&k, runs);
  heed__cl_define(&k, "WORD", word_of(heed_dtype_size(y->dtype)));
  heed__cl_tensor(&k, y);
  if (!dense) {
    pass_strides(&k, &w, 0);
    pass_dims(&k, &w);
  }
  heed__cl_long(&k, y->count);
  heed__cl_long(&k, runs.share);
  heed__cl_uint(&k, (uint32_t)bits);
  heed__cl_uint(&k, (uint32_t)(bits >> 32));
  return heed__cl_launch_runs(&k, runs, y->count);
}

// Bits that move from one dense array to another, as what they hold or as words of 32 bits if they are whole ones.
static heed_status move_dense(heed_context *ctx, const heed_tensor *x, const heed_tensor *y) {
  const int64_t size = (int64_t)heed_dtype_size(x->dtype);
  const bool words = size * x->offset % 4 == 0 && size * y->offset % 4 == 0 && size * y->count % 4 == 0;
  const int64_t unit = words ? 4 : size, count = size * y->count / unit;
  const struct heed__cl_runs runs = heed__cl_runs_for(ctx, count, 2 * heed_tensor_bytes(y), words);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/elementwise.cl", "move");
  heed__cl_define_runs(&k, runs);
  heed__cl_define(&k, "WORD", word_of((size_t)unit));
  heed__cl_memory(&k, x);
  heed__cl_long(&k, size * x->offset / unit);
  heed__cl_memory(&k, y);
  heed__cl_long(&k, size * y->offset / unit);
  heed__cl_long(&k, count);
  heed__cl_long(&k, runs.share);
  return heed__cl_launch_runs(&k, runs, count);
}

heed_status heed__cl_copy(heed_context *ctx, const struct heed__call *call) {
  // x, y: one shape, of any strides and dtypes
  const heed_tensor *x = call->in[HEED__copy_x];
  const heed_tensor *y = call->out[HEED__copy_y];
  const struct walk w = walk_of(x, y);
  const bool dense = walk_is_dense(&w), same = x->dtype == y->dtype;
  if (dense && same) return move_dense(ctx, x, y);
  const struct heed__cl_runs runs = heed__cl_runs_for(ctx, y->count, heed_tensor_bytes(x) + heed_tensor_bytes(y),
                                                      same ? heed_dtype_size(y->dtype) == 4 : y->dtype == HEED_F32);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/elementwise.cl", same ? "move_strided" : dense ? "copy" : "copy_strided");
  heed__cl_define_runs(&k, runs);
  if (same) {
    heed__cl_define(&k, "WORD", word_of(heed_dtype_size(x->dtype)));
  } else {
    heed__cl_define_dtype(&k, "X_DTYPE", x->dtype);
    heed__cl_define_dtype(&k, "Y_DTYPE", y->dtype);
  }
  heed__cl_tensor(&k, x);
  if (!dense) pass_strides(&k, &w, 0);
  heed__cl_tensor(&k, y);
  if (!dense) {
    pass_strides(&k, &w, 1);
    pass_dims(&k, &w);
  }
  heed__cl_long(&k, y->count);
  heed__cl_long(&k, runs.share);
  return heed__cl_launch_runs(&k, runs, y->count);
}
