// Cross-entropy on the host, forward and backward. All forms of target become one row of weights t per sample, those of its classes in it:
//   loss_n = −Σ_c t_c log p_c with p = softmax(logits), or the input itself where that holds probabilities.
#include <math.h>
#include <stdlib.h>

#include "cpu/rows.h"

struct loss_problem {
  const heed_tensor *input, *target, *weight;
  const struct heed__cross_entropy_params *params;
  bool by_index;
  int64_t rows, classes;  // rows: those of all `inner`
};

// The three operators with an input have the first slots of cross_entropy_fwd.
static struct loss_problem loss_problem_of(const struct heed__call *call) {
  // input: [rows, classes, inner]; target: [rows, inner] of indices, or as input; weight: F32 [classes] or NULL
  const struct heed__cross_entropy_params *params = call->params;
  const heed_tensor *target = call->in[HEED__cross_entropy_fwd_target];
  return (struct loss_problem){.input = call->in[HEED__cross_entropy_fwd_input],
                               .target = target,
                               .weight = call->in[HEED__cross_entropy_fwd_weight],
                               .params = params,
                               .by_index = !heed_dtype_is_float(target->dtype),
                               .rows = params->rows * params->inner,
                               .classes = params->classes};
}

// Where the first class of a row stands in input; the others follow `inner` apart.
static int64_t row_start(const struct loss_problem *p, int64_t row) {
  const int64_t inner = p->params->inner;
  return row / inner * p->classes * inner + row % inner;
}

static void load_row(const struct loss_problem *p, const heed_tensor *from, int64_t row, double *x) {
  // from: [rows, classes, inner]; x: [classes]
  heed__cpu_load_row(x, heed__cpu_data(from), from->dtype, row_start(p, row), p->params->inner, p->classes);
}

static double class_weight(const struct loss_problem *p, int64_t c) {
  return p->weight ? heed__load(heed__cpu_data(p->weight), p->weight->dtype, c) : 1;
}

static int64_t class_index(const struct loss_problem *p, int64_t row) {
  // target: [rows, inner]
  const void *data = heed__cpu_data(p->target);
  switch (p->target->dtype) {
    case HEED_I64:
      return ((const int64_t *)data)[row];
    case HEED_I32:
      return ((const int32_t *)data)[row];
    default:
      return ((const uint8_t *)data)[row];
  }
}

static bool row_is_ignored(const struct loss_problem *p, int64_t row) {
  return p->by_index && p->params->ignores && class_index(p, row) == p->params->ignore_index;
}

static bool is_class(const struct loss_problem *p, int64_t index) { return index >= 0 && index < p->classes; }

// What a row counts in the mean: with class indices the weight of its class, which is 0 for an index that is no class.
static double row_count(const struct loss_problem *p, int64_t row) {
  if (row_is_ignored(p, row)) return 0;
  if (!p->by_index || !p->weight) return 1;
  const int64_t index = class_index(p, row);
  return is_class(p, index) ? class_weight(p, index) : 0;
}

// The factor of the sum of losses.
static double reduction_scale(const struct loss_problem *p) {
  if (p->params->reduction != HEED_REDUCTION_MEAN) return 1;
  double counted = 0;
  for (int64_t row = 0; row < p->rows; ++row) counted += row_count(p, row);
  return 1 / counted;
}

// Writes the weights t of a row, with label smoothing. If the index is not a class, all of them are NaN.
static void load_target(const struct loss_problem *p, int64_t row, double *t) {
  // t: [classes]
  const double smoothing = p->params->label_smoothing;
  if (p->by_index) {
    const int64_t index = class_index(p, row);
    for (int64_t c = 0; c < p->classes; ++c) t[c] = is_class(p, index) ? (double)(c == index) : NAN;
  } else {
    load_row(p, p->target, row, t);
  }
  if (smoothing != 0)
    for (int64_t c = 0; c < p->classes; ++c) t[c] = (1 - smoothing) * t[c] + smoothing / (double)p->classes;
  if (p->weight)
    for (int64_t c = 0; c < p->classes; ++c) t[c] *= class_weight(p, c);
}

// x becomes log softmax(x); if all x are −inf, they stay so.
static void log_softmax(double *x, int64_t count) {
  // x: [count]
  double m = -INFINITY, others = 0;
  int64_t largest = 0;
  bool empty = true;
  for (int64_t c = 0; c < count; ++c) {
    if (x[c] > m) {
      m = x[c];
      largest = c;
    }
    if (x[c] != -INFINITY) empty = false;
  }
  if (empty) return;
  // The largest element adds exactly 1. Adding it apart keeps the digits of a sum just above 1.
  for (int64_t c = 0; c < count; ++c)
    if (c != largest) others += exp(x[c] - m);
  // Beside +inf nothing has a probability: Inf − Inf is NaN.
  const double log_sum = isnan(x[largest] - m) ? NAN : log1p(others);
  for (int64_t c = 0; c < count; ++c) x[c] = x[c] - m - log_sum;
}

static double row_loss(const struct loss_problem *p, int64_t row, double *x, double *t) {
  // x, t: [classes], to work in
  if (row_is_ignored(p, row)) return 0;
  double loss = 0;
  load_target(p, row, t);
  load_row(p, p->input, row, x);
  if (!p->params->from_probs) log_softmax(x, p->classes);
  for (int64_t c = 0; c < p->classes; ++c) {
    if (t[c] == 0) continue;  // 0 · log 0 counts as 0
    loss -= t[c] * (p->params->from_probs ? log(x[c]) : x[c]);
  }
  return loss;
}

// Writes dinput over x. From logits: Σ_k t_k p_c − t_c. From probabilities: −t_c / x_c.
static void row_gradient(const struct loss_problem *p, int64_t row, double scale, double *x, double *t) {
  // x, t: [classes]
  if (row_is_ignored(p, row)) {
    for (int64_t c = 0; c < p->classes; ++c) x[c] = 0;
    return;
  }
  load_target(p, row, t);
  load_row(p, p->input, row, x);
  if (p->params->from_probs) {
    for (int64_t c = 0; c < p->classes; ++c) x[c] = t[c] == 0 ? 0 : -scale * t[c] / x[c];
    return;
  }
  double total = 0;
  log_softmax(x, p->classes);
  for (int64_t c = 0; c < p->classes; ++c) total += t[c];
  // If p is near 1, compute the difference from p − 1, which keeps its digits.
  for (int64_t c = 0; c < p->classes; ++c)
    x[c] = scale * (x[c] > -0.5 ? total * expm1(x[c]) + (total - t[c]) : total * exp(x[c]) - t[c]);
}

// One row of x and one of t for each thread, then `extra` more doubles.
static heed_status row_scratch(const struct loss_problem *p, int64_t extra, double **out) {
  int64_t count;
  HEED__REQUIRE(heed__mul(2 * heed__cpu_threads(), p->classes, &count) && heed__sum(count, extra, &count),
                HEED_ERROR_OVERFLOW, "the host's scratch memory for %s does not fit 64 bits",
                heed__tensor_text(p->input));
  return heed__cpu_scratch(count, 1, 1, out);
}

heed_status heed__cpu_cross_entropy_fwd(heed_context *ctx, const struct heed__call *call) {
  // input: [rows, classes, inner]; target: [rows, inner] or as input; loss: F32 [1] or [rows, inner]
  (void)ctx;
  const struct loss_problem p = loss_problem_of(call);
  const heed_tensor *loss = call->out[HEED__cross_entropy_fwd_loss];
  const double scale = reduction_scale(&p);
  double *scratch;
  HEED__TRY(row_scratch(&p, p.rows, &scratch));
  double *losses = scratch + 2 * heed__cpu_threads() * p.classes;
  HEED__CPU_PARALLEL_FOR(p.input->count)
  for (int64_t row = 0; row < p.rows; ++row) {
    double *x = scratch + 2 * heed__cpu_thread() * p.classes, *t = x + p.classes;
    losses[row] = row_loss(&p, row, x, t);
  }
  if (p.params->reduction == HEED_REDUCTION_NONE) {
    heed__cpu_store_row(heed__cpu_data(loss), loss->dtype, 0, 1, p.rows, losses);
  } else {
    double sum = 0;
    for (int64_t row = 0; row < p.rows; ++row) sum += losses[row];
    heed__store(heed__cpu_data(loss), loss->dtype, 0, sum * scale);
  }
  free(scratch);
  return HEED_OK;
}

heed_status heed__cpu_cross_entropy_bwd(heed_context *ctx, const struct heed__call *call) {
  // input, dinput: [rows, classes, inner]; target: [rows, inner] or as input; dloss: F32 [1] or [rows, inner], NULL: 1
  (void)ctx;
  const struct loss_problem p = loss_problem_of(call);
  const heed_tensor *dloss = call->in[HEED__cross_entropy_bwd_dloss];
  const heed_tensor *dinput = call->out[HEED__cross_entropy_bwd_dinput];
  const double scale = reduction_scale(&p);
  const bool one_dloss = p.params->reduction != HEED_REDUCTION_NONE;
  double *scratch;
  HEED__TRY(row_scratch(&p, 0, &scratch));
  HEED__CPU_PARALLEL_FOR(p.input->count)
  for (int64_t row = 0; row < p.rows; ++row) {
    double *x = scratch + 2 * heed__cpu_thread() * p.classes, *t = x + p.classes;
    const double d = dloss ? heed__load(heed__cpu_data(dloss), dloss->dtype, one_dloss ? 0 : row) : 1;
    row_gradient(&p, row, scale * d, x, t);
    heed__cpu_store_row(heed__cpu_data(dinput), dinput->dtype, row_start(&p, row), p.params->inner, p.classes, x);
  }
  free(scratch);
  return HEED_OK;
}

heed_status heed__cpu_cross_entropy_fwd_bwd(heed_context *ctx, const struct heed__call *call) {
  // input, dinput: [rows, classes, inner], perhaps one tensor; target: [rows, inner] or as input; loss, dloss: F32 [1] or [rows, inner]
  struct heed__call forward = *call, backward = *call;
  forward.out[HEED__cross_entropy_fwd_bwd_dinput] = backward.out[HEED__cross_entropy_fwd_bwd_dinput] = NULL;
  backward.out[HEED__cross_entropy_bwd_dinput] = call->out[HEED__cross_entropy_fwd_bwd_dinput];
  HEED__TRY(heed__cpu_cross_entropy_fwd(ctx, &forward));
  return heed__cpu_cross_entropy_bwd(ctx, &backward);
}

heed_status heed__cpu_cross_entropy_share(heed_context *ctx, const struct heed__call *call) {
  // target: indices, any shape; weight: F32 [classes] or NULL; share: F32 [1]
  (void)ctx;
  const struct heed__cross_entropy_params *params = call->params;
  const struct loss_problem p = {.target = call->in[HEED__cross_entropy_share_target],
                                 .weight = call->in[HEED__cross_entropy_share_weight],
                                 .params = params,
                                 .by_index = true,
                                 .rows = params->rows,
                                 .classes = params->classes};
  const heed_tensor *share = call->out[HEED__cross_entropy_share_share];
  heed__store(heed__cpu_data(share), share->dtype, 0, reduction_scale(&p));
  return HEED_OK;
}

// ---------------------------------------------------------------- what one rounding of the terms comes to

// x becomes log softmax(x), and errors[c] what one rounding of its terms comes to. A device adds the label's own 1 apart from the others, so
// that the logarithm of a sum near 1 keeps its digits; probabilities as targets name no label.
static void log_softmax_terms(bool by_index, int64_t count, double *x, double *errors) {
  // x, errors: [count]
  const double u = heed__rounding(HEED_F32);
  double sum_error = by_index ? 0 : u;
  for (int64_t c = 0; c < count; ++c) errors[c] = x[c];
  log_softmax(x, count);
  double m = -INFINITY;
  for (int64_t c = 0; c < count; ++c) m = fmax(m, errors[c]);
  for (int64_t c = 0; c < count; ++c)
    if (errors[c] < m && x[c] != -INFINITY) sum_error += exp(x[c]) * u * (2 + fabs(errors[c] - m));
  for (int64_t c = 0; c < count; ++c) {
    const double d = fabs(errors[c] - m), log_sum = fabs(x[c] + d);
    errors[c] = u * (2 * d + 2 * log_sum + fabs(x[c])) + sum_error;
  }
}

static double row_loss_terms(const struct loss_problem *p, int64_t row, double *x, double *t, double *errors) {
  // x, t, errors: [classes]
  if (row_is_ignored(p, row)) return 0;
  const double u = heed__rounding(HEED_F32);
  double terms = 0;
  load_target(p, row, t);
  load_row(p, p->input, row, x);
  if (!p->params->from_probs) log_softmax_terms(p->by_index, p->classes, x, errors);
  for (int64_t c = 0; c < p->classes; ++c) {
    if (t[c] == 0) continue;
    terms += fabs(t[c]) * (p->params->from_probs ? 4 * u * fabs(log(x[c])) : errors[c] + 3 * u * fabs(x[c]));
  }
  return terms;
}

// The softmax's error is that of its logarithm.
static void row_gradient_terms(const struct loss_problem *p, int64_t row, double scale, double *x, double *t,
                               double *errors) {
  // x: [classes] becomes terms; t, errors: [classes]
  const double u = heed__rounding(HEED_F32);
  double size = 0;
  load_target(p, row, t);
  load_row(p, p->input, row, x);
  for (int64_t c = 0; c < p->classes; ++c) size += fabs(t[c]);
  if (!p->params->from_probs) log_softmax_terms(p->by_index, p->classes, x, errors);
  for (int64_t c = 0; c < p->classes; ++c) {
    const double probability = exp(x[c]);
    if (row_is_ignored(p, row))
      x[c] = 0;
    else if (p->params->from_probs)
      x[c] = t[c] == 0 ? 0 : 4 * u * fabs(scale * t[c] / x[c]);
    else if (probability == 0)
      x[c] = 3 * u * fabs(scale * t[c]);
    else
      x[c] = fabs(scale) * (size * probability * (errors[c] + 3 * u) + 3 * u * fabs(t[c]));
  }
}

heed_status heed__cpu_terms_cross_entropy_fwd(heed_context *ctx, const struct heed__call *call) {
  // as of heed__cpu_cross_entropy_fwd
  (void)ctx;
  const struct loss_problem p = loss_problem_of(call);
  const heed_tensor *loss = call->out[HEED__cross_entropy_fwd_loss];
  double *x, sum = 0;
  HEED__TRY(heed__cpu_scratch(3, p.classes, 1, &x));
  for (int64_t row = 0; row < p.rows; ++row) {
    const double terms = row_loss_terms(&p, row, x, x + p.classes, x + 2 * p.classes);
    // A row's terms are at least one rounding of its loss, which covers the sum over rows.
    sum += terms;
    if (p.params->reduction == HEED_REDUCTION_NONE) heed__store(heed__cpu_data(loss), loss->dtype, row, terms);
  }
  free(x);
  if (p.params->reduction != HEED_REDUCTION_NONE)
    heed__store(heed__cpu_data(loss), loss->dtype, 0, fabs(sum * reduction_scale(&p)));
  return HEED_OK;
}

heed_status heed__cpu_terms_cross_entropy_bwd(heed_context *ctx, const struct heed__call *call) {
  // as of heed__cpu_cross_entropy_bwd; dinput: F32
  (void)ctx;
  const struct loss_problem p = loss_problem_of(call);
  const heed_tensor *dloss = call->in[HEED__cross_entropy_bwd_dloss];
  const heed_tensor *dinput = call->out[HEED__cross_entropy_bwd_dinput];
  const double scale = reduction_scale(&p);
  const bool one_dloss = p.params->reduction != HEED_REDUCTION_NONE;
  double *x;
  HEED__TRY(heed__cpu_scratch(3, p.classes, 1, &x));
  for (int64_t row = 0; row < p.rows; ++row) {
    const double d = dloss ? heed__load(heed__cpu_data(dloss), dloss->dtype, one_dloss ? 0 : row) : 1;
    row_gradient_terms(&p, row, scale * d, x, x + p.classes, x + 2 * p.classes);
    heed__cpu_store_row(heed__cpu_data(dinput), dinput->dtype, row_start(&p, row), p.params->inner, p.classes, x);
  }
  free(x);
  return HEED_OK;
}

heed_status heed__cpu_terms_cross_entropy_fwd_bwd(heed_context *ctx, const struct heed__call *call) {
  // as of heed__cpu_cross_entropy_fwd_bwd; dinput: F32
  struct heed__call forward = *call, backward = *call;
  forward.out[HEED__cross_entropy_fwd_bwd_dinput] = backward.out[HEED__cross_entropy_fwd_bwd_dinput] = NULL;
  backward.out[HEED__cross_entropy_bwd_dinput] = call->out[HEED__cross_entropy_fwd_bwd_dinput];
  HEED__TRY(heed__cpu_terms_cross_entropy_fwd(ctx, &forward));
  return heed__cpu_terms_cross_entropy_bwd(ctx, &backward);
}
