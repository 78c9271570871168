// One step of AdamW on the host; operators.h has the formula.
#include <math.h>

#include "cpu/rows.h"

// The next elements of one kind, from `at` to at most `end`: returns where they end, and whether they decay.
static int64_t next_end(const heed_tensor *decaying, int64_t at, int64_t end, bool *decays) {
  // decaying: I64 [ranges, 2], NULL: all decay
  *decays = true;
  if (!decaying) return end;
  const int64_t *ranges = heed__cpu_data(decaying);
  for (int64_t i = 0; i < decaying->dims[0]; ++i) {
    const int64_t first = ranges[2 * i], last = ranges[2 * i + 1];
    if (last <= at) continue;
    *decays = first <= at;
    return heed__min(end, *decays ? last : first);
  }
  *decays = false;
  return end;
}

struct step {
  double lr, beta1, beta2, eps, decay, factor, correction1, correction2;
};

static void adamw_piece(const struct step *s, double decay, int64_t count, const double *grad, double *param,
                        double *exp_avg, double *exp_avg_sq) {
  // all: [count]
  for (int64_t i = 0; i < count; ++i) {
    const double g = s->factor * grad[i];
    exp_avg[i] = s->beta1 * exp_avg[i] + (1 - s->beta1) * g;
    exp_avg_sq[i] = s->beta2 * exp_avg_sq[i] + (1 - s->beta2) * g * g;
    const double direction = exp_avg[i] / s->correction1 / (sqrt(exp_avg_sq[i] / s->correction2) + s->eps);
    // As it is stored in F32: a copy of fewer bits is the stored value rounded, and so the same after a file brought that back.
    param[i] = (double)(float)(param[i] - s->lr * decay * param[i] - s->lr * direction);
  }
}

static void store_piece(const heed_tensor *t, int64_t start, int64_t count, const double *row) {
  // row: [count]; t NULL: not wanted
  if (t) heed__cpu_store_row(heed__cpu_data(t), t->dtype, start, 1, count, row);
}

heed_status heed__cpu_adamw(heed_context *ctx, const struct heed__call *call) {
  // grad, param, exp_avg, exp_avg_sq, copy: one shape; decaying: [ranges, 2]; factor, steps: [1]
  (void)ctx;
  const heed_adamw_options *options = call->params;
  const heed_tensor *grad = call->in[HEED__adamw_grad], *decaying = call->in[HEED__adamw_decaying];
  const heed_tensor *factor = call->in[HEED__adamw_factor], *steps = call->in[HEED__adamw_steps];
  const heed_tensor *param = call->out[HEED__adamw_param], *exp_avg = call->out[HEED__adamw_exp_avg];
  const heed_tensor *exp_avg_sq = call->out[HEED__adamw_exp_avg_sq];
  const double t = steps ? heed__load(heed__cpu_data(steps), HEED_I32, 0) : (double)options->step;
  const struct step step = {options->lr,
                            options->beta1,
                            options->beta2,
                            options->eps,
                            options->weight_decay,
                            factor ? heed__load(heed__cpu_data(factor), HEED_F32, 0) : 1,
                            1 - pow(options->beta1, t),
                            1 - pow(options->beta2, t)};
  if (!isfinite(step.factor)) return HEED_OK;
  HEED__CPU_PARALLEL_FOR(param->count)
  for (int64_t start = 0; start < param->count; start += HEED__CPU_PIECE) {
    double g[HEED__CPU_PIECE], p[HEED__CPU_PIECE], m[HEED__CPU_PIECE], v[HEED__CPU_PIECE];
    const int64_t end = heed__min(param->count, start + HEED__CPU_PIECE), count = end - start;
    heed__cpu_load_row(g, heed__cpu_data(grad), grad->dtype, start, 1, count);
    heed__cpu_load_row(p, heed__cpu_data(param), HEED_F32, start, 1, count);
    heed__cpu_load_row(m, heed__cpu_data(exp_avg), HEED_F32, start, 1, count);
    heed__cpu_load_row(v, heed__cpu_data(exp_avg_sq), HEED_F32, start, 1, count);
    for (int64_t at = start, next; at < end; at = next) {
      bool decays;
      next = next_end(decaying, at, end, &decays);
      const int64_t i = at - start;
      adamw_piece(&step, decays ? step.decay : 0, next - at, g + i, p + i, m + i, v + i);
    }
    store_piece(param, start, count, p);
    store_piece(exp_avg, start, count, m);
    store_piece(exp_avg_sq, start, count, v);
    store_piece(call->out[HEED__adamw_copy], start, count, p);
  }
  return HEED_OK;
}
