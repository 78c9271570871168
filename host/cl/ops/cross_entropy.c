// cross_entropy on OpenCL: one kernel computes the loss of each row, then one work-group sums the losses; another computes the gradient,
// row by row. For small batches and few classes, one launch does everything.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

struct problem {
  const heed_tensor *input, *target;
  const heed_cross_entropy_options *options;
  int64_t rows, cols;
  bool classes;
};

// All three operators have the first slots of cross_entropy_fwd.
static struct problem problem_of(const struct heed__call *call) {
  // input: [rows, cols]; target: [rows] of indices, or [rows, cols]
  const heed_tensor *input = call->in[HEED__cross_entropy_fwd_input];
  const heed_tensor *target = call->in[HEED__cross_entropy_fwd_target];
  return (struct problem){.input = input,
                          .target = target,
                          .options = call->params,
                          .rows = input->dims[0],
                          .cols = input->dims[1],
                          .classes = !heed_dtype_is_float(target->dtype)};
}

// The number of work-items in the one group that goes over all rows.
static struct heed__cl_rows totals_layout(const heed_context *ctx, const struct problem *p) {
  const bool cpu_like = heed__cl_state(ctx)->traits.cpu_like;
  return heed__cl_rows_for(ctx, cpu_like ? p->cols : INT32_MAX);
}

static void begin(struct heed__cl_kernel *k, heed_context *ctx, const struct problem *p, const char *kernel,
                  struct heed__cl_rows layout) {
  heed__cl_begin(k, ctx, "ops/cross_entropy.cl", kernel);
  heed__cl_define_rows(k, layout);
  heed__cl_define_dtype(k, "X_DTYPE", p->input->dtype);
  heed__cl_define_int(k, "CLASSES", p->classes);
  if (p->classes) heed__cl_define_dtype(k, "T_DTYPE", p->target->dtype);
  heed__cl_define_int(k, "FROM_PROBS", p->options->from_probs);
}

static void pass_smoothing(struct heed__cl_kernel *k, const struct problem *p) {
  heed__cl_float(k, 1 - p->options->label_smoothing);
  heed__cl_float(k, p->options->label_smoothing / (double)p->cols);
}

static void pass_ignore(struct heed__cl_kernel *k, const struct problem *p) {
  heed__cl_uint(k, p->options->has_ignore_index);
  heed__cl_long(k, p->options->ignore_index);
}

static heed_status row_losses(heed_context *ctx, const struct problem *p, const heed_tensor *loss, cl_mem losses) {
  // input: [rows, cols]; target: [rows] or [rows, cols]; loss or losses: F32 [rows]
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, p->cols);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "row_losses", layout);
  heed__cl_tensor(&k, p->input);
  heed__cl_tensor(&k, p->target);
  if (loss) {
    heed__cl_tensor(&k, loss);
  } else {
    heed__cl_buffer(&k, losses);
    heed__cl_long(&k, 0);
  }
  heed__cl_long(&k, p->rows);
  heed__cl_long(&k, p->cols);
  pass_smoothing(&k, p);
  pass_ignore(&k, p);
  return heed__cl_launch_rows(&k, layout, p->rows);
}

static heed_status loss_total(heed_context *ctx, const struct problem *p, cl_mem losses, const heed_tensor *loss) {
  // losses: F32 [rows]; target: [rows] or [rows, cols]; loss: F32 [1]
  const struct heed__cl_rows layout = totals_layout(ctx, p);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "loss_total", layout);
  heed__cl_buffer(&k, losses);
  heed__cl_tensor(&k, p->target);
  heed__cl_tensor(&k, loss);
  heed__cl_long(&k, p->rows);
  heed__cl_uint(&k, p->options->reduction == HEED_REDUCTION_MEAN);
  pass_ignore(&k, p);
  return heed__cl_launch_group(&k, layout);
}

// ---------------------------------------------------------------- few columns

enum { NARROW_COLS_MAX = 64, NARROW_ELEMENTS_MAX = 32768 };

// Tells whether one work-group is as fast as the whole device in several launches.
static bool is_narrow(const struct problem *p) {
  return p->classes && !p->options->from_probs && p->rows > 0 && p->cols <= NARROW_COLS_MAX &&
         p->rows <= NARROW_ELEMENTS_MAX / p->cols;
}

// loss or dinput may be NULL; the others then have the same bits, because the steps are the same.
static heed_status narrow_rows(heed_context *ctx, const struct problem *p, const heed_tensor *dloss,
                               const heed_tensor *loss, const heed_tensor *dinput) {
  // input, dinput: [rows, cols]; target: [rows]; dloss, loss: F32 [1] or [rows]
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, INT32_MAX);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/cross_entropy_narrow.cl", "narrow_rows");
  heed__cl_define_rows(&k, layout);
  heed__cl_define_dtype(&k, "X_DTYPE", p->input->dtype);
  heed__cl_define_dtype(&k, "T_DTYPE", p->target->dtype);
  heed__cl_tensor(&k, p->input);
  heed__cl_tensor(&k, p->target);
  heed__cl_tensor(&k, dloss);
  heed__cl_tensor(&k, loss);
  heed__cl_tensor(&k, dinput);
  heed__cl_long(&k, p->rows);
  heed__cl_long(&k, p->cols);
  pass_smoothing(&k, p);
  heed__cl_uint(&k, p->options->reduction == HEED_REDUCTION_MEAN);
  heed__cl_uint(&k, p->options->reduction == HEED_REDUCTION_NONE);
  pass_ignore(&k, p);
  heed__cl_uint(&k, dloss != NULL);
  heed__cl_uint(&k, loss != NULL);
  heed__cl_uint(&k, dinput != NULL);
  return heed__cl_launch_group(&k, layout);
}

// ---------------------------------------------------------------- operators

heed_status heed__cl_cross_entropy_fwd(heed_context *ctx, const struct heed__call *call) {
  // input: [rows, cols]; target: [rows] or [rows, cols]; loss: F32 [1] or [rows]
  const struct problem p = problem_of(call);
  const heed_tensor *loss = call->out[HEED__cross_entropy_fwd_loss];
  HEED__TRY(heed__cl_check_rows(ctx, heed__max(p.cols, p.rows)));
  if (is_narrow(&p)) return narrow_rows(ctx, &p, NULL, loss, NULL);
  if (p.options->reduction == HEED_REDUCTION_NONE) return row_losses(ctx, &p, loss, NULL);
  cl_mem losses = NULL;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, (size_t)heed__max(1, p.rows) * sizeof(float), &losses));
  HEED__TRY_TO(done, status, row_losses(ctx, &p, NULL, losses));
  status = loss_total(ctx, &p, losses, loss);
done:
  heed__cl_scratch_give(ctx, losses);
  return status;
}

static heed_status row_count(heed_context *ctx, const struct problem *p, cl_mem count) {
  // target: [rows]; count: F32 [1]
  const struct heed__cl_rows layout = totals_layout(ctx, p);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "row_count", layout);
  heed__cl_tensor(&k, p->target);
  heed__cl_buffer(&k, count);
  heed__cl_long(&k, p->rows);
  pass_ignore(&k, p);
  return heed__cl_launch_group(&k, layout);
}

static heed_status input_gradient(heed_context *ctx, const struct problem *p, const heed_tensor *dloss, cl_mem count,
                                  const heed_tensor *dinput) {
  // input, dinput: [rows, cols]; target: [rows] or [rows, cols]; dloss: F32 [1] or [rows] or NULL; count: F32 [1]
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, p->cols);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "input_gradient", layout);
  heed__cl_tensor(&k, p->input);
  heed__cl_tensor(&k, p->target);
  heed__cl_tensor(&k, dloss);
  heed__cl_buffer(&k, count);
  heed__cl_tensor(&k, dinput);
  heed__cl_long(&k, p->rows);
  heed__cl_long(&k, p->cols);
  pass_smoothing(&k, p);
  pass_ignore(&k, p);
  heed__cl_uint(&k, dloss != NULL);
  heed__cl_uint(&k, p->options->reduction == HEED_REDUCTION_NONE);
  heed__cl_uint(&k, p->options->reduction == HEED_REDUCTION_MEAN);
  return heed__cl_launch_rows(&k, layout, p->rows);
}

heed_status heed__cl_cross_entropy_bwd(heed_context *ctx, const struct heed__call *call) {
  // input, dinput: [rows, cols]; target: [rows] or [rows, cols]; dloss: F32 [1] or [rows], NULL: 1
  const struct problem p = problem_of(call);
  const heed_tensor *dloss = call->in[HEED__cross_entropy_bwd_dloss];
  const heed_tensor *dinput = call->out[HEED__cross_entropy_bwd_dinput];
  HEED__TRY(heed__cl_check_rows(ctx, heed__max(p.cols, p.rows)));
  if (is_narrow(&p)) return narrow_rows(ctx, &p, dloss, NULL, dinput);
  cl_mem count = NULL;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, sizeof(float), &count));
  if (p.options->reduction == HEED_REDUCTION_MEAN) HEED__TRY_TO(done, status, row_count(ctx, &p, count));
  status = input_gradient(ctx, &p, dloss, count, dinput);
done:
  heed__cl_scratch_give(ctx, count);
  return status;
}

heed_status heed__cl_cross_entropy_fwd_bwd(heed_context *ctx, const struct heed__call *call) {
  // input, dinput: [rows, cols]; target: [rows] or [rows, cols]; loss: F32 [1] or [rows]
  const struct problem p = problem_of(call);
  heed_tensor *loss = call->out[HEED__cross_entropy_fwd_bwd_loss];
  heed_tensor *dinput = call->out[HEED__cross_entropy_fwd_bwd_dinput];
  if (is_narrow(&p)) return narrow_rows(ctx, &p, NULL, loss, dinput);
  struct heed__call forward = *call, backward = *call;
  forward.out[HEED__cross_entropy_fwd_bwd_dinput] = backward.out[HEED__cross_entropy_fwd_bwd_dinput] = NULL;
  backward.out[HEED__cross_entropy_bwd_dinput] = dinput;
  HEED__TRY(heed__cl_cross_entropy_fwd(ctx, &forward));
  return heed__cl_cross_entropy_bwd(ctx, &backward);
}
