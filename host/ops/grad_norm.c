// The norm of gradients: sum_squares, clip_grad_norm and grad_control. Checks the arguments, takes gradients that lie one after another in
// memory as one, and dispatches the calls.
#include <math.h>

#include "ops/check.h"

// Whether b begins where a ends.
static bool follows(const heed_tensor *a, const heed_tensor *b) {
  return a->buffer == b->buffer && a->dtype == b->dtype && b->offset == a->offset + a->count;
}

// Makes a view of rank 1 of the tensors from *at on that lie one after another, and moves *at behind them.
static void next_run(const heed_tensor *const *tensors, size_t count, size_t *at, struct heed_tensor *view) {
  const heed_tensor *first = tensors[*at];
  int64_t elements = first->count;
  for (++*at; *at < count && follows(tensors[*at - 1], tensors[*at]); ++*at) elements += tensors[*at]->count;
  const int64_t stride = 1;
  heed__view_init(view, first, 1, &elements, &stride, first->offset);
}

// unsigned flags: of each tensor.
static heed_status check_list(const char *op, const char *name, const heed_tensor *const *tensors, size_t count,
                              unsigned flags, const char *sum_name, heed_tensor *sum, heed_context **ctx) {
  HEED__REQUIRE(tensors || count == 0, HEED_ERROR_INVALID_ARGUMENT, "%s: the list of tensors is NULL", op);
  HEED__CHECK_ARGS(op, ctx, {sum_name, sum, HEED__IS_F32 | HEED__OUT});
  HEED__REQUIRE(sum->rank == 1 && sum->count == 1, HEED_ERROR_SHAPE, "%s: %s %s is not [1]", op, sum_name,
                heed__tensor_text(sum));
  // One by one: each may have its own dtype.
  for (size_t i = 0; i < count; ++i)
    HEED__CHECK_ARGS(op, ctx, {sum_name, sum, HEED__OUT}, {name, tensors[i], HEED__FLOAT | flags});
  return HEED_OK;
}

// sum = Σ x² of all tensors, or its square root.
static heed_status sum_all(heed_context *ctx, const char *name, const heed_tensor *const *tensors, size_t count,
                           bool root, heed_tensor *sum) {
  bool accumulate = false;
  for (size_t at = 0; at < count; accumulate = true) {
    struct heed_tensor run;
    next_run(tensors, count, &at, &run);
    const struct heed__sum_squares_params params = {.accumulate = accumulate, .root = root && at == count};
    HEED__TRY(heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_sum_squares,
                                                       .name = name,
                                                       .in = {[HEED__sum_squares_x] = &run},
                                                       .out = {[HEED__sum_squares_sum] = sum},
                                                       .params = &params}));
  }
  return count == 0 ? heed_fill(sum, 0) : HEED_OK;
}

heed_status heed_sum_squares(const heed_tensor *const *tensors, size_t count, heed_tensor *sum) {
  heed_context *ctx;
  HEED__TRY(check_list("sum_squares", "a tensor", tensors, count, 0, "sum", sum, &ctx));
  return sum_all(ctx, "sum_squares", tensors, count, false, sum);
}

heed_status heed_clip_grad_norm(heed_tensor *const *grads, size_t count, double max_norm, heed_tensor *norm) {
  static const char op[] = "clip_grad_norm";
  const heed_tensor *const *tensors = (const heed_tensor *const *)grads;
  heed_context *ctx;
  HEED__REQUIRE(isfinite(max_norm) && max_norm >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "%s: max_norm is %g; it must be finite and >= 0", op, max_norm);
  HEED__TRY(check_list(op, "a gradient", tensors, count, HEED__OUT, "norm", norm, &ctx));
  for (size_t i = 0; i < count; ++i)
    for (size_t j = 0; j < i; ++j)
      HEED__REQUIRE(!heed_tensor_overlaps(grads[i], grads[j]), HEED_ERROR_INVALID_ARGUMENT,
                    "%s: gradients %zu and %zu overlap in memory", op, j, i);
  HEED__TRY(sum_all(ctx, op, tensors, count, true, norm));
  for (size_t at = 0; at < count;) {
    struct heed_tensor run;
    next_run(tensors, count, &at, &run);
    if (run.count == 0) continue;
    HEED__TRY(heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_clip_by_norm,
                                                       .name = op,
                                                       .in = {[HEED__clip_by_norm_norm] = norm},
                                                       .out = {[HEED__clip_by_norm_x] = &run},
                                                       .params = &(struct heed__clip_params){max_norm}}));
  }
  return HEED_OK;
}

// ---------------------------------------------------------------- control

static heed_status fill_defaults(const heed_grad_control_options *options, heed_grad_control_options *filled) {
  *filled = options ? *options : (heed_grad_control_options){0};
  if (filled->growth == 0) filled->growth = 2;
  if (filled->backoff == 0) filled->backoff = 0.5;
  if (filled->growth_interval == 0) filled->growth_interval = 2000;
  HEED__REQUIRE(isfinite(filled->max_norm) && filled->max_norm >= 0, HEED_ERROR_INVALID_ARGUMENT,
                "grad_control: max_norm is %g; it must be finite and >= 0", filled->max_norm);
  HEED__REQUIRE(isfinite(filled->growth) && filled->growth >= 1, HEED_ERROR_INVALID_ARGUMENT,
                "grad_control: growth is %g; it must be finite and >= 1", filled->growth);
  HEED__REQUIRE(filled->backoff > 0 && filled->backoff <= 1, HEED_ERROR_INVALID_ARGUMENT,
                "grad_control: backoff is %g; it must be above 0 and at most 1", filled->backoff);
  HEED__REQUIRE(filled->growth_interval > 0 && filled->growth_interval <= INT32_MAX, HEED_ERROR_INVALID_ARGUMENT,
                "grad_control: growth_interval is %lld; it must be from 1 to 2^31 - 1",
                (long long)filled->growth_interval);
  return HEED_OK;
}

heed_status heed_grad_control_check(const heed_grad_control_options *options) {
  heed_grad_control_options filled;
  return fill_defaults(options, &filled);
}

static heed_status check_length(const char *name, const heed_tensor *t, int64_t length) {
  HEED__REQUIRE(!t || (t->rank == 1 && t->count == length), HEED_ERROR_SHAPE, "grad_control: %s %s is not [%lld]", name,
                heed__tensor_text(t), (long long)length);
  return HEED_OK;
}

heed_status heed_grad_control(const heed_grad_control_options *options, const heed_tensor *squares,
                              const heed_grad_control_state *state) {
  heed_grad_control_options filled;
  HEED__TRY(fill_defaults(options, &filled));
  HEED__REQUIRE(state, HEED_ERROR_INVALID_ARGUMENT, "grad_control: state is NULL");
  heed_context *ctx;
  HEED__CHECK_ARGS("grad_control", &ctx, {"squares", squares, HEED__IS_F32},
                   {"norm", state->norm, HEED__IS_F32 | HEED__OUT}, {"factor", state->factor, HEED__IS_F32 | HEED__OUT},
                   {"counts", state->counts, HEED__IS_I32 | HEED__OUT},
                   {"scale", state->scale, HEED__IS_F32 | HEED__OUT | HEED__OPTIONAL});
  HEED__TRY(check_length("squares", squares, 1));
  HEED__TRY(check_length("norm", state->norm, 1));
  HEED__TRY(check_length("factor", state->factor, 1));
  HEED__TRY(check_length("counts", state->counts, 4));
  HEED__TRY(check_length("scale", state->scale, 1));
  return heed__dispatch(ctx, &(struct heed__call){.op = HEED__OP_grad_control,
                                                  .in = {[HEED__grad_control_squares] = squares},
                                                  .out = {[HEED__grad_control_norm] = state->norm,
                                                          [HEED__grad_control_factor] = state->factor,
                                                          [HEED__grad_control_counts] = state->counts,
                                                          [HEED__grad_control_scale] = state->scale},
                                                  .params = &filled});
}
