#include "ops/check.h"

static heed_status check_arg(const char *op, const struct heed__arg *arg, const heed_context *ctx, heed_dtype dtype) {
  const heed_tensor *t = arg->tensor;
  HEED__REQUIRE(t->ctx == ctx, HEED_ERROR_INVALID_ARGUMENT, "%s: %s is on another context than the other tensors", op,
                arg->name);
  HEED__REQUIRE((arg->flags & HEED__STRIDED) || heed_tensor_is_contiguous(t), HEED_ERROR_SHAPE,
                "%s: %s %s is not contiguous; heed_copy() it into a new tensor first", op, arg->name,
                heed__tensor_text(t));
  if (arg->flags & HEED__FLOAT) {
    HEED__REQUIRE(heed_dtype_is_float(t->dtype), HEED_ERROR_DTYPE, "%s: %s is %s; F32, F16 or BF16 is needed", op,
                  arg->name, heed__tensor_text(t));
    HEED__REQUIRE(t->dtype == dtype, HEED_ERROR_DTYPE, "%s: %s is %s, but the other floating-point tensors are %s", op,
                  arg->name, heed__tensor_text(t), heed_dtype_string(dtype));
  }
  HEED__REQUIRE(!(arg->flags & HEED__IS_F32) || t->dtype == HEED_F32, HEED_ERROR_DTYPE, "%s: %s is %s; F32 is needed",
                op, arg->name, heed__tensor_text(t));
  HEED__REQUIRE(!(arg->flags & HEED__IS_I32) || t->dtype == HEED_I32, HEED_ERROR_DTYPE, "%s: %s is %s; I32 is needed",
                op, arg->name, heed__tensor_text(t));
  return HEED_OK;
}

// Whether the two share elements in a way that `out` must not. Interleaved views of one buffer cannot be told apart by
// their ends, so only contiguous ones are judged.
static bool clashes(const struct heed__arg *out, const struct heed__arg *other) {
  const heed_tensor *a = out->tensor, *b = other->tensor;
  if (a->buffer != b->buffer || a->count == 0 || b->count == 0) return false;
  if (!heed_tensor_is_contiguous(a) || !heed_tensor_is_contiguous(b)) return false;
  if ((out->flags & HEED__IN_PLACE) && a->offset == b->offset && a->count == b->count) return false;
  return a->offset < b->offset + b->count && b->offset < a->offset + a->count;
}

heed_status heed__check_args(const char *op, const struct heed__arg *args, int count, heed_context **ctx) {
  heed_dtype dtype = HEED_DTYPE_COUNT;
  *ctx = NULL;
  for (int i = 0; i < count; ++i) {
    HEED__REQUIRE(args[i].tensor || (args[i].flags & HEED__OPTIONAL), HEED_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", op,
                  args[i].name);
    if (!args[i].tensor) continue;
    if (!*ctx) *ctx = args[i].tensor->ctx;
    if ((args[i].flags & HEED__FLOAT) && dtype == HEED_DTYPE_COUNT) dtype = args[i].tensor->dtype;
  }
  for (int i = 0; i < count; ++i)
    if (args[i].tensor) HEED__TRY(check_arg(op, &args[i], *ctx, dtype));
  for (int i = 0; i < count; ++i)
    for (int j = 0; args[i].tensor && (args[i].flags & HEED__OUT) && j < count; ++j)
      HEED__REQUIRE(j == i || !args[j].tensor || !clashes(&args[i], &args[j]), HEED_ERROR_INVALID_ARGUMENT,
                    "%s: %s overlaps %s in memory", op, args[i].name, args[j].name);
  return HEED_OK;
}

bool heed__same_shape(const heed_tensor *a, const heed_tensor *b) {
  if (a->rank != b->rank) return false;
  for (int axis = 0; axis < a->rank; ++axis)
    if (a->dims[axis] != b->dims[axis]) return false;
  return true;
}

heed_status heed__check_same_shape(const char *op, const char *a_name, const heed_tensor *a, const char *b_name,
                                   const heed_tensor *b) {
  HEED__REQUIRE(heed__same_shape(a, b), HEED_ERROR_SHAPE, "%s: %s is %s but %s is %s; they must have one shape", op,
                a_name, heed__tensor_text(a), b_name, heed__tensor_text(b));
  return HEED_OK;
}

heed_status heed__check_axis(const char *op, const char *name, const heed_tensor *x, int axis, int *out) {
  *out = axis < 0 ? axis + x->rank : axis;
  HEED__REQUIRE(*out >= 0 && *out < x->rank, HEED_ERROR_INVALID_ARGUMENT, "%s: %s %s has no axis %d", op, name,
                heed__tensor_text(x), axis);
  return HEED_OK;
}
