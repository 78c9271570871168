// The validating backend: it runs every operator on the device and again on the host, and the first difference is an error that names
// operator, shapes, index and both values. Memory functions go straight to the device.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

// The host's copies of a call's tensors. A tensor that is in several slots has one copy, which belongs to its output.
struct twins {
  heed_tensor *in[HEED__MAX_IN], *out[HEED__MAX_OUT];
  heed_tensor *before[HEED__MAX_OUT];  // what the outputs hold before the call, if the size of terms may be asked for
};

static heed_status twin_create(heed_context *host, const heed_tensor *tensor, heed_tensor **out) {
  void *data = malloc(heed_tensor_bytes(tensor) + 1);
  HEED__REQUIRE(data, HEED_ERROR_OUT_OF_MEMORY, "no host memory to repeat %s", heed__tensor_text(tensor));
  heed_status status = heed_tensor_download(tensor, data, heed_tensor_bytes(tensor));
  if (status == HEED_OK) status = heed_tensor_create_from(host, tensor->dtype, tensor->rank, tensor->dims, data, out);
  free(data);
  return status;
}

static void twins_destroy(struct twins *twins) {
  for (int i = 0; i < HEED__MAX_IN; ++i) {
    bool is_output = false;
    for (int slot = 0; slot < HEED__MAX_OUT; ++slot) is_output |= twins->in[i] == twins->out[slot];
    if (!is_output) heed_tensor_destroy(twins->in[i]);
  }
  for (int slot = 0; slot < HEED__MAX_OUT; ++slot) {
    heed_tensor_destroy(twins->out[slot]);
    heed_tensor_destroy(twins->before[slot]);
  }
}

static heed_status twins_create(heed_context *host, const struct heed__call *call, bool before, struct twins *twins) {
  for (int slot = 0; slot < HEED__MAX_OUT; ++slot) {
    if (!call->out[slot]) continue;
    HEED__TRY(twin_create(host, call->out[slot], &twins->out[slot]));
    if (before) HEED__TRY(twin_create(host, twins->out[slot], &twins->before[slot]));
  }
  for (int i = 0; i < HEED__MAX_IN; ++i) {
    if (!call->in[i]) continue;
    for (int slot = 0; slot < HEED__MAX_OUT; ++slot)
      if (call->out[slot] == call->in[i]) twins->in[i] = twins->out[slot];
    if (!twins->in[i]) HEED__TRY(twin_create(host, call->in[i], &twins->in[i]));
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

// ---------------------------------------------------------------- the size of the terms

// If the terms of a result cancel, the result is only as exact as the rounding of its terms. The gradient of a key bias, for example, is
// exactly 0 in theory. For sums of products, the operator applied to absolute values gives the size of the terms (Higham, "Accuracy and
// Stability of Numerical Algorithms", section 3.1); other operators have a function for it beside the host's.
static bool has_terms(const struct heed__call *call) {
  return heed__operators[call->op].is_sum_of_products || heed__operators[call->op].has_own_terms;
}

// Makes an F32 tensor of t's values; of |t| factor, if that is not 0.
static heed_status make_terms(const heed_tensor *t, double factor, heed_tensor **out) {
  heed_status status = *out ? HEED_OK : heed_tensor_create(t->ctx, HEED_F32, t->rank, t->dims, out);
  if (status != HEED_OK) return status;
  const size_t bytes = heed_tensor_bytes(t);
  void *from = malloc(bytes + 1);
  float *to = heed__new_array(t->count, sizeof *to);
  if (!from || !to) status = heed__fail(HEED_ERROR_OUT_OF_MEMORY, "no host memory to judge %s", heed__tensor_text(t));
  if (status == HEED_OK) status = heed_tensor_download(t, from, bytes);
  for (int64_t i = 0; status == HEED_OK && i < t->count; ++i) {
    const double value = heed__load(from, t->dtype, i);
    to[i] = (float)(factor != 0 ? factor * fabs(value) : value);
  }
  if (status == HEED_OK) status = heed_tensor_upload(*out, to, (size_t)t->count * sizeof *to);
  free(from);
  free(to);
  return status;
}

// Fills terms->out from absolute values, then takes one rounding of it.
static heed_status run_absolute(heed_context *host, const struct heed__call *call, struct twins *terms) {
  const struct heed__operator *operator= & heed__operators[call->op];
  struct heed__call absolute = *call;
  for (int i = 0; i < HEED__MAX_IN; ++i) {
    if (!call->in[i] || !heed_dtype_is_float(call->in[i]->dtype)) continue;
    HEED__TRY(make_terms(call->in[i], 1, &terms->in[i]));
    absolute.in[i] = terms->in[i];
  }
  for (int i = 0; i < HEED__MAX_OUT; ++i)
    if (terms->out[i]) HEED__TRY(make_terms(terms->out[i], 1, &terms->out[i]));
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
  HEED__TRY(host->backend->ops[call->op](host, &absolute));
  for (int i = 0; i < HEED__MAX_OUT; ++i)
    if (terms->out[i]) HEED__TRY(make_terms(terms->out[i], heed__rounding(HEED_F32), &terms->out[i]));
  return HEED_OK;
}

// Makes terms->out: for each output, what one rounding of its terms comes to.
static heed_status terms_create(heed_context *host, const struct heed__call *call, const struct twins *twins,
                                struct twins *terms) {
  struct heed__call judged = {.op = call->op, .params = call->params};
  for (int i = 0; i < HEED__MAX_OUT; ++i) {
    if (!call->out[i]) continue;
    HEED__TRY(make_terms(twins->before[i], 0, &terms->out[i]));
    judged.out[i] = terms->out[i];
  }
  for (int i = 0; i < HEED__MAX_IN; ++i) {
    judged.in[i] = twins->in[i];
    for (int slot = 0; slot < HEED__MAX_OUT; ++slot)
      if (twins->in[i] && twins->in[i] == twins->out[slot]) judged.in[i] = twins->before[slot];
  }
  if (heed__operators[call->op].is_sum_of_products) return run_absolute(host, &judged, terms);
  return host->backend->terms[call->op](host, &judged);
}

// ---------------------------------------------------------------- the comparison

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

// The element decides: the message tells its relative error.
static heed_status report_element(heed_context *ctx, const struct heed__call *call, int slot,
                                  const struct heed__judgement *j) {
  const double size = j->expected != 0 ? fabs(j->expected) : 1;
  const heed_difference difference = {
      .index = j->index, .actual = j->actual, .expected = j->expected, .relative = j->used / size};
  return report(ctx, call, slot, &difference, j->allowed / size);
}

// A tensor passes if its norm is within the tolerance, or within a few roundings of its terms. Where the terms are known, every element
// must also be within more roundings of its own terms, so that a wrong one does not hide in a large tensor.
static heed_status compare_output(heed_context *ctx, const struct heed__call *call, int slot, const struct twins *twins,
                                  struct twins *terms) {
  heed_difference difference;
  HEED__TRY(heed_tensor_compare(call->out[slot], twins->out[slot], &difference));
  double tolerance = heed__op_tolerance(call->op, slot, call->out[slot]->dtype);
  const bool within = heed_difference_within(&difference, tolerance);
  if (difference.non_finite_mismatch || !has_terms(call) || !heed_dtype_is_float(call->out[slot]->dtype))
    return within ? HEED_OK : report(ctx, call, slot, &difference, tolerance);
  const bool is_sum = heed__operators[call->op].is_sum_of_products;
  struct heed__judgement judgement;
  HEED__TRY(heed__judge(call->out[slot], twins->out[slot], NULL, is_sum, &judgement));
  if (within && judgement.used <= judgement.allowed) return HEED_OK;
  if (!terms->out[slot]) HEED__TRY(terms_create(ctx->shadow, call, twins, terms));
  HEED__TRY(heed__judge(call->out[slot], twins->out[slot], terms->out[slot], is_sum, &judgement));
  if (!within && !(judgement.error <= judgement.bound)) {
    if (judgement.error > 0) tolerance = fmax(tolerance, difference.relative * judgement.bound / judgement.error);
    return report(ctx, call, slot, &difference, tolerance);
  }
  return judgement.used <= judgement.allowed ? HEED_OK : report_element(ctx, call, slot, &judgement);
}

static heed_status compare_outputs(heed_context *ctx, const struct heed__call *call, const struct twins *twins) {
  struct twins terms = {0};
  heed_status status = HEED_OK;
  for (int slot = 0; slot < HEED__MAX_OUT && status == HEED_OK; ++slot)
    if (call->out[slot]) status = compare_output(ctx, call, slot, twins, &terms);
  twins_destroy(&terms);
  return status;
}

static heed_status validate_call(heed_context *ctx, const struct heed__call *call) {
  struct twins twins = {0};
  heed_status status = twins_create(ctx->shadow, call, has_terms(call), &twins);
  if (status == HEED_OK) status = ctx->device_backend->ops[call->op](ctx, call);
  if (status == HEED_OK) {
    struct heed__call again = {.op = call->op, .params = call->params};
    memcpy(again.in, twins.in, sizeof twins.in);
    memcpy(again.out, twins.out, sizeof twins.out);
    status = ctx->shadow->backend->ops[call->op](ctx->shadow, &again);
  }
  if (status == HEED_OK) status = compare_outputs(ctx, call, &twins);
  twins_destroy(&twins);
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
static heed_status read_start(heed_context *ctx, void *handle, size_t offset, void *data, size_t bytes, bool beside,
                              void **transfer) {
  return ctx->device_backend->read_start(ctx, handle, offset, data, bytes, beside, transfer);
}
static heed_status read_end(heed_context *ctx, void *transfer, bool wait, bool *done) {
  return ctx->device_backend->read_end(ctx, transfer, wait, done);
}
static heed_status host_memory_create(heed_context *ctx, size_t bytes, void **data, void **handle) {
  return ctx->device_backend->host_memory_create(ctx, bytes, data, handle);
}
static void host_memory_destroy(heed_context *ctx, void *data, void *handle) {
  ctx->device_backend->host_memory_destroy(ctx, data, handle);
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
    .host_memory_create = host_memory_create,
    .host_memory_destroy = host_memory_destroy,
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
