// The validating backend: it runs every operator on the device and again on the host, and the first difference is an error that names
// operator, shapes, index and both values. Memory functions go straight to the device.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

// The host's copies of a call's tensors. A tensor that is in several slots has one copy.
struct twins {
  heed_tensor *in[HEED__MAX_IN], *out[HEED__MAX_OUT];
};

static heed_tensor *twin_of(const struct heed__call *call, const struct twins *twins, const heed_tensor *tensor) {
  for (int slot = 0; slot < HEED__MAX_OUT; ++slot)
    if (call->out[slot] == tensor && twins->out[slot]) return twins->out[slot];
  return NULL;
}

static heed_status twin_create(heed_context *host, const heed_tensor *tensor, heed_tensor **out) {
  void *data = malloc(heed_tensor_bytes(tensor) + 1);
  HEED__REQUIRE(data, HEED_ERROR_OUT_OF_MEMORY, "no host memory to repeat %s", heed__tensor_text(tensor));
  heed_status status = heed_tensor_download(tensor, data, heed_tensor_bytes(tensor));
  if (status == HEED_OK) status = heed_tensor_create_from(host, tensor->dtype, tensor->rank, tensor->dims, data, out);
  free(data);
  return status;
}

static void twins_destroy(const struct heed__call *call, struct twins *twins) {
  for (int slot = 0; slot < HEED__MAX_IN; ++slot)
    if (twins->in[slot] && !(call->in[slot] && twin_of(call, twins, call->in[slot]) == twins->in[slot]))
      heed_tensor_destroy(twins->in[slot]);
  for (int slot = 0; slot < HEED__MAX_OUT; ++slot) heed_tensor_destroy(twins->out[slot]);
}

static heed_status twins_create(heed_context *host, const struct heed__call *call, struct twins *twins) {
  for (int slot = 0; slot < HEED__MAX_OUT; ++slot)
    if (call->out[slot]) HEED__TRY(twin_create(host, call->out[slot], &twins->out[slot]));
  for (int slot = 0; slot < HEED__MAX_IN; ++slot) {
    if (!call->in[slot]) continue;
    twins->in[slot] = twin_of(call, twins, call->in[slot]);
    if (!twins->in[slot]) HEED__TRY(twin_create(host, call->in[slot], &twins->in[slot]));
  }
  return HEED_OK;
}

// Writes the position of flat index `index` in the tensor, such as "[1, 0, 3]".
static const char *place_text(const heed_tensor *tensor, int64_t index) {
  int64_t place[HEED_MAX_RANK];
  for (int axis = tensor->rank - 1; axis >= 0; --axis) {
    place[axis] = index % heed__max(tensor->dims[axis], 1);
    index /= heed__max(tensor->dims[axis], 1);
  }
  return heed__dims_text(tensor->rank, place);
}

static heed_status report(heed_context *ctx, const struct heed__call *call, int slot, const heed_difference *difference,
                          double tolerance) {
  const struct heed__operator *operator= & heed__operators[call->op];
  char inputs[512] = "";
  size_t used = 0;
  for (int i = 0; i < HEED__MAX_IN && used < sizeof inputs; ++i)
    if (call->in[i])
      used += (size_t)snprintf(inputs + used, sizeof inputs - used, "%s%s %s", used ? ", " : "", operator->in[i],
                               heed__tensor_text(call->in[i]));
  return heed__fail(HEED_ERROR_MISMATCH,
                    "%s %s of inputs %s differs from the host at index %s: the device (%s) gives %.9g, the host %.9g; "
                    "relative error %.3g, tolerated %.3g",
                    operator->out[slot], heed__tensor_text(call->out[slot]), inputs,
                    place_text(call->out[slot], difference->index), ctx->device.name, difference->actual,
                    difference->expected, difference->relative, tolerance);
}

// If the terms of a sum cancel, the sum is only as exact as the rounding of its terms. The gradient of a key bias, for example, is exactly
// 0 in theory. For sums of products, the operator applied to absolute values gives the size of the terms (Higham, "Accuracy and Stability
// of Numerical Algorithms", section 3.1). Validation allows four roundings of that size.
static heed_status make_absolute(heed_tensor *t) {
  const size_t bytes = heed_tensor_bytes(t);
  void *data = malloc(bytes + 1);
  HEED__REQUIRE(data, HEED_ERROR_OUT_OF_MEMORY, "no host memory to judge %s", heed__tensor_text(t));
  heed_status status = heed_tensor_download(t, data, bytes);
  for (int64_t i = 0; status == HEED_OK && i < t->count; ++i)
    heed__store(data, t->dtype, i, fabs(heed__load(data, t->dtype, i)));
  if (status == HEED_OK) status = heed_tensor_upload(t, data, bytes);
  free(data);
  return status;
}

static heed_status norm_of(const heed_tensor *t, double *norm) {
  const size_t bytes = heed_tensor_bytes(t);
  void *data = malloc(bytes + 1);
  HEED__REQUIRE(data, HEED_ERROR_OUT_OF_MEMORY, "no host memory to judge %s", heed__tensor_text(t));
  const heed_status status = heed_tensor_download(t, data, bytes);
  double squares = 0;
  for (int64_t i = 0; status == HEED_OK && i < t->count; ++i) {
    const double value = heed__load(data, t->dtype, i);
    if (isfinite(value)) squares += value * value;
  }
  free(data);
  *norm = sqrt(squares);
  return status;
}

// Runs the call on the absolute values of its tensors, which are the host's own.
static heed_status run_absolute(heed_context *host, const struct heed__call *call, const struct twins *twins) {
  for (int i = 0; i < HEED__MAX_IN; ++i)
    if (twins->in[i]) HEED__TRY(make_absolute(twins->in[i]));
  for (int i = 0; i < HEED__MAX_OUT; ++i)
    if (twins->out[i]) HEED__TRY(make_absolute(twins->out[i]));
  struct heed__call absolute = {.op = call->op, .params = call->params};
  memcpy(absolute.in, twins->in, sizeof twins->in);
  memcpy(absolute.out, twins->out, sizeof twins->out);
  const struct heed__operator *operator= & heed__operators[call->op];
  _Alignas(max_align_t) char params[HEED__MAX_PARAMS];
  if (operator->factor_count> 0) {
    memcpy(params, call->params, operator->params_bytes);
    for (int i = 0; i < operator->factor_count; ++i) {
      double factor;
      memcpy(&factor, params + operator->factors[i], sizeof factor);
      factor = fabs(factor);
      memcpy(params + operator->factors[i], &factor, sizeof factor);
    }
    absolute.params = params;
  }
  return host->backend->ops[call->op](host, &absolute);
}

// Returns the norm of the terms of output `slot`. If beta reads C, C holds the result by now, but the terms bound it.
static heed_status norm_of_terms(heed_context *ctx, const struct heed__call *call, int slot, double *norm) {
  struct twins twins = {0};
  heed_status status = twins_create(ctx->shadow, call, &twins);
  if (status == HEED_OK) status = run_absolute(ctx->shadow, call, &twins);
  if (status == HEED_OK) status = norm_of(twins.out[slot], norm);
  twins_destroy(call, &twins);
  return status;
}

static double rounding_of(heed_dtype dtype) {
  return dtype == HEED_F16 ? 0x1p-11 : dtype == HEED_BF16 ? 0x1p-8 : 0x1p-24;
}

static heed_status compare_outputs(heed_context *ctx, const struct heed__call *call, const struct twins *twins) {
  for (int slot = 0; slot < HEED__MAX_OUT; ++slot) {
    if (!call->out[slot]) continue;
    heed_difference difference;
    HEED__TRY(heed_tensor_compare(call->out[slot], twins->out[slot], &difference));
    const double tolerance = heed__op_tolerance(call->op, slot, call->out[slot]->dtype);
    if (heed_difference_within(&difference, tolerance)) continue;
    if (heed__operators[call->op].is_sum_of_products && !difference.non_finite_mismatch) {
      double terms = 0;
      HEED__TRY(norm_of_terms(ctx, call, slot, &terms));
      if (difference.error <= 4 * rounding_of(call->out[slot]->dtype) * terms) continue;
    }
    return report(ctx, call, slot, &difference, tolerance);
  }
  return HEED_OK;
}

static heed_status validate_call(heed_context *ctx, const struct heed__call *call) {
  struct twins twins = {0};
  heed_status status = twins_create(ctx->shadow, call, &twins);
  if (status == HEED_OK) status = ctx->device_backend->ops[call->op](ctx, call);
  if (status == HEED_OK) {
    struct heed__call again = {.op = call->op, .params = call->params};
    memcpy(again.in, twins.in, sizeof twins.in);
    memcpy(again.out, twins.out, sizeof twins.out);
    status = ctx->shadow->backend->ops[call->op](ctx->shadow, &again);
  }
  if (status == HEED_OK) status = compare_outputs(ctx, call, &twins);
  twins_destroy(call, &twins);
  return status;
}

static heed_status buffer_create(heed_context *ctx, size_t bytes, void **handle) {
  return ctx->device_backend->buffer_create(ctx, bytes, handle);
}
static void buffer_destroy(heed_context *ctx, void *handle) { ctx->device_backend->buffer_destroy(ctx, handle); }
static heed_status upload(heed_context *ctx, void *handle, size_t offset, const void *data, size_t bytes) {
  return ctx->device_backend->upload(ctx, handle, offset, data, bytes);
}
static heed_status download(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes) {
  return ctx->device_backend->download(ctx, handle, offset, data, bytes);
}
static heed_status read_start(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes,
                              void **transfer) {
  return ctx->device_backend->read_start(ctx, handle, offset, data, bytes, transfer);
}
static heed_status read_end(heed_context *ctx, void *transfer, bool wait, bool *done) {
  return ctx->device_backend->read_end(ctx, transfer, wait, done);
}
static heed_status sync(heed_context *ctx) { return ctx->device_backend->sync(ctx); }
static heed_status profile(heed_context *ctx, const heed_profile_record **records, size_t *count) {
  return ctx->device_backend->profile(ctx, records, count);
}
static heed_status measure_peak(heed_context *ctx, size_t bytes, double *fma_gflops, double *copy_gbytes) {
  return ctx->device_backend->measure_peak(ctx, bytes, fma_gflops, copy_gbytes);
}

const struct heed__backend heed__validate_backend = {
    .name = "validate",
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .upload = upload,
    .download = download,
    .read_start = read_start,
    .read_end = read_end,
    .sync = sync,
    .profile = profile,
    .measure_peak = measure_peak,
    .ops =
        {
#define VALIDATE_OP(name, ...) [HEED__OP_##name] = validate_call,
            HEED__OPERATORS(VALIDATE_OP)
#undef VALIDATE_OP
        },
};

void heed__validate_attach(heed_context *ctx, heed_context *host) {
  ctx->shadow = host;
  ctx->backend = &heed__validate_backend;
}
