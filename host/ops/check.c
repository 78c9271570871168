// The checks of an operator's tensors: presence, context, dtype, contiguity, and which of them share memory.
#include "ops/check.h"

// shared: the dtype of all floating-point tensors.
static heed_status check_arg(const char *op, const struct heed__arg *arg, const heed_context *ctx, heed_dtype shared) {
  const heed_tensor *t = arg->tensor;
  HEED__REQUIRE(t->ctx == ctx, HEED_ERROR_INVALID_ARGUMENT, "%s: %s is on another context than the other tensors", op,
                arg->name);
  HEED__REQUIRE((arg->flags & HEED__STRIDED) || heed_tensor_is_contiguous(t), HEED_ERROR_SHAPE,
                "%s: %s %s is not contiguous; heed_copy() it into a new tensor first", op, arg->name,
                heed__tensor_text(t));
  if (arg->flags & HEED__FLOAT) {
    HEED__REQUIRE(heed_dtype_is_float(t->dtype), HEED_ERROR_DTYPE, "%s: %s is %s; F32, F16 or BF16 is needed", op,
                  arg->name, heed__tensor_text(t));
    HEED__REQUIRE(t->dtype == shared, HEED_ERROR_DTYPE, "%s: %s is %s, but the other floating-point tensors are %s", op,
                  arg->name, heed__tensor_text(t), heed_dtype_string(shared));
  }
  HEED__REQUIRE(!(arg->flags & HEED__IS_F32) || t->dtype == HEED_F32, HEED_ERROR_DTYPE, "%s: %s is %s; F32 is needed",
                op, arg->name, heed__tensor_text(t));
  HEED__REQUIRE(!(arg->flags & HEED__IS_I32) || t->dtype == HEED_I32, HEED_ERROR_DTYPE, "%s: %s is %s; I32 is needed",
                op, arg->name, heed__tensor_text(t));
  return HEED_OK;
}

// ---------------------------------------------------------------- aliasing

static bool is_same_view(const heed_tensor *a, const heed_tensor *b) {
  if (a->buffer->handle != b->buffer->handle) return false;
  if (a->offset != b->offset || a->dtype != b->dtype) return false;
  if (heed_tensor_is_contiguous(a) && heed_tensor_is_contiguous(b)) return a->count == b->count;
  if (a->rank != b->rank) return false;
  for (int axis = 0; axis < a->rank; ++axis)
    if (a->dims[axis] != b->dims[axis] || (a->dims[axis] != 1 && a->strides[axis] != b->strides[axis])) return false;
  return true;
}

// Tells whether the two share elements in a way that `out` must not.
static bool clashes(const struct heed__arg *out, const struct heed__arg *other) {
  const heed_tensor *a = out->tensor, *b = other->tensor;
  if ((out->flags & HEED__IN_PLACE) && is_same_view(a, b)) return false;
  return heed_tensor_overlaps(a, b);
}

// Tells whether elements of t lie on each other. From the smallest stride up, each stride must be at least as long as everything inside it.
static bool lies_on_itself(const heed_tensor *t) {
  if (t->count == 0) return false;
  bool done[HEED_MAX_RANK] = {false};
  int64_t inside = 1;
  for (int round = 0; round < t->rank; ++round) {
    int next = -1;
    for (int axis = 0; axis < t->rank; ++axis)
      if (!done[axis] && t->dims[axis] > 1 && (next < 0 || t->strides[axis] < t->strides[next])) next = axis;
    if (next < 0) return false;
    if (t->strides[next] < inside) return true;
    inside += (t->dims[next] - 1) * t->strides[next];
    done[next] = true;
  }
  return false;
}

static heed_status check_output(const char *op, const struct heed__arg *args, int count, int output) {
  const struct heed__arg *out = &args[output];
  HEED__REQUIRE(!lies_on_itself(out->tensor), HEED_ERROR_INVALID_ARGUMENT,
                "%s: elements of %s %s lie on each other in memory; an output needs a place for each (view strides)",
                op, out->name, heed__tensor_text(out->tensor));
  for (int i = 0; i < count; ++i)
    HEED__REQUIRE(i == output || !args[i].tensor || !clashes(out, &args[i]), HEED_ERROR_INVALID_ARGUMENT,
                  "%s: %s overlaps %s in memory", op, out->name, args[i].name);
  return HEED_OK;
}

// ---------------------------------------------------------------- all arguments

heed_status heed__check_args(const char *op, const struct heed__arg *args, int count, heed_context **ctx) {
  heed_dtype shared = HEED_F32;
  bool has_float = false;
  *ctx = NULL;
  for (int i = 0; i < count; ++i) {
    HEED__REQUIRE(args[i].tensor || (args[i].flags & HEED__OPTIONAL), HEED_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", op,
                  args[i].name);
    if (!args[i].tensor) continue;
    if (!*ctx) *ctx = args[i].tensor->ctx;
    if ((args[i].flags & HEED__FLOAT) && !has_float) shared = args[i].tensor->dtype;
    has_float = has_float || (args[i].flags & HEED__FLOAT);
  }
  for (int i = 0; i < count; ++i)
    if (args[i].tensor) HEED__TRY(check_arg(op, &args[i], *ctx, shared));
  for (int i = 0; i < count; ++i)
    if (args[i].tensor && (args[i].flags & HEED__OUT)) HEED__TRY(check_output(op, args, count, i));
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

heed_status heed__check_gelu_form(const char *op, heed_gelu_form form) {
  HEED__REQUIRE(form == HEED_GELU_ERF || form == HEED_GELU_TANH, HEED_ERROR_INVALID_ARGUMENT, "%s: form %d is unknown",
                op, (int)form);
  return HEED_OK;
}
