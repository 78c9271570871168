// cross_entropy on OpenCL: one kernel goes over the rows, for their losses, their gradient or both, then one work-group sums the losses.
// For small batches of few classes, one launch does everything.
#include "cl/runtime/grid.h"
#include "cl/operators.h"

struct problem {
  const heed_tensor *input, *target, *weight;  // input NULL: only rows are counted
  const struct heed__cross_entropy_params *params;
  int64_t rows, cols;  // rows: those of all `inner`
  bool classes;
};

// The three operators with an input have the first slots of cross_entropy_fwd.
static struct problem problem_of(const struct heed__call *call) {
  // input: [rows, cols, inner]; target: [rows, inner] of indices, or as input; weight: F32 [cols] or NULL
  const struct heed__cross_entropy_params *params = call->params;
  const heed_tensor *target = call->in[HEED__cross_entropy_fwd_target];
  return (struct problem){.input = call->in[HEED__cross_entropy_fwd_input],
                          .target = target,
                          .weight = call->in[HEED__cross_entropy_fwd_weight],
                          .params = params,
                          .rows = params->rows * params->inner,
                          .cols = params->classes,
                          .classes = !heed_dtype_is_float(target->dtype)};
}

static bool is_mean(const struct problem *p) { return p->params->reduction == HEED_REDUCTION_MEAN; }
static bool is_per_row(const struct problem *p) { return p->params->reduction == HEED_REDUCTION_NONE; }

// What a call gives beside its problem; NULL: left out.
struct results {
  const heed_tensor *dloss, *loss, *dinput;
};

// Where the classes lie apart, neighbouring work-items have neighbouring rows, unless rows are so long that one alone takes long.
static struct heed__cl_rows rows_layout(const heed_context *ctx, const struct problem *p) {
  const struct heed__cl_rows shared = heed__cl_rows_for(ctx, p->cols);
  if (p->params->inner == 1) return shared;
  return (struct heed__cl_rows){.vector = 1, .group = p->cols > 4096 ? shared.group : 1};
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
  heed__cl_define_dtype(k, "X_DTYPE", p->input ? p->input->dtype : HEED_F32);
  heed__cl_define_int(k, "CLASSES", p->classes);
  if (p->classes) heed__cl_define_dtype(k, "T_DTYPE", p->target->dtype);
  heed__cl_define_int(k, "FROM_PROBS", p->params->from_probs);
  if (p->weight) heed__cl_define_int(k, "WEIGHTED", 1);
  if (p->params->inner > 1 && heed__cl_state(ctx)->traits.cpu_like) heed__cl_define_int(k, "ROW_NEIGHBOURS", 1);
}

static void pass_smoothing(struct heed__cl_kernel *k, const struct problem *p) {
  heed__cl_float(k, 1 - p->params->label_smoothing);
  heed__cl_float(k, p->params->label_smoothing / (double)p->cols);
}

static void pass_ignore(struct heed__cl_kernel *k, const struct problem *p) {
  heed__cl_uint(k, p->params->ignores);
  heed__cl_long(k, p->params->ignore_index);
}

static void pass_problem(struct heed__cl_kernel *k, const struct problem *p) {
  heed__cl_tensor(k, p->input);
  heed__cl_tensor(k, p->target);
  heed__cl_tensor(k, p->weight);
  heed__cl_long(k, p->cols);
  heed__cl_long(k, p->params->inner);
  pass_smoothing(k, p);
  pass_ignore(k, p);
}

static void pass_count(struct heed__cl_kernel *k, const struct problem *p) {
  heed__cl_tensor(k, p->target);
  heed__cl_tensor(k, p->weight);
  heed__cl_long(k, p->rows);
  heed__cl_long(k, p->cols);
  pass_ignore(k, p);
}

// Passes the tensor that takes each row's loss: the result itself, or `losses`.
static void pass_losses(struct heed__cl_kernel *k, const struct problem *p, const heed_tensor *loss, cl_mem losses) {
  if (is_per_row(p)) {
    heed__cl_tensor(k, loss);
  } else {
    heed__cl_buffer(k, losses);
    heed__cl_long(k, 0);
  }
}

// ---------------------------------------------------------------- few columns

enum { NARROW_COLS_MAX = 64, NARROW_ELEMENTS_MAX = 32768 };

// Tells whether narrow_rows is as fast as several launches. Losses that are not summed never take another way: with the same kernel for
// any number of rows, a call on some of them has the bits of a call on all.
static bool is_narrow(const struct problem *p) {
  return p->classes && !p->params->from_probs && p->rows > 0 && p->cols <= NARROW_COLS_MAX &&
         (is_per_row(p) || p->rows <= NARROW_ELEMENTS_MAX / p->cols);
}

// The work-groups of narrow_rows: one if it sums the losses.
static size_t narrow_groups(const heed_context *ctx, const struct problem *p, struct heed__cl_rows layout) {
  if (!is_per_row(p)) return 1;
  const struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const int64_t most =
      traits->cpu_like ? 16 * (int64_t)heed__max(traits->compute_units, 1) : HEED__CL_FARTHEST_STEP / layout.group;
  return (size_t)heed__min(heed__ceil_div(p->rows, (int64_t)layout.group * layout.vector), most);
}

// loss or dinput may be NULL; the others then have the same bits, because the steps are the same.
static heed_status narrow_rows(heed_context *ctx, const struct problem *p, struct results r) {
  // input, dinput: [rows, cols, inner]; target: [rows, inner]; dloss, loss: F32 [1] or [rows, inner]
  const struct heed__cl_rows layout = heed__cl_rows_for(ctx, INT32_MAX);
  struct heed__cl_kernel k;
  heed__cl_begin(&k, ctx, "ops/cross_entropy_narrow.cl", "narrow_rows");
  heed__cl_define_rows(&k, layout);
  heed__cl_define_dtype(&k, "X_DTYPE", p->input->dtype);
  heed__cl_define_dtype(&k, "T_DTYPE", p->target->dtype);
  if (p->weight) heed__cl_define_int(&k, "WEIGHTED", 1);
  heed__cl_tensor(&k, p->input);
  heed__cl_tensor(&k, p->target);
  heed__cl_tensor(&k, p->weight);
  heed__cl_tensor(&k, r.dloss);
  heed__cl_tensor(&k, r.loss);
  heed__cl_tensor(&k, r.dinput);
  heed__cl_long(&k, p->rows);
  heed__cl_long(&k, p->cols);
  heed__cl_long(&k, p->params->inner);
  pass_smoothing(&k, p);
  heed__cl_uint(&k, is_mean(p));
  heed__cl_uint(&k, is_per_row(p));
  pass_ignore(&k, p);
  heed__cl_uint(&k, r.dloss != NULL);
  heed__cl_uint(&k, r.loss != NULL);
  heed__cl_uint(&k, r.dinput != NULL);
  const size_t local = (size_t)layout.group, global = local * narrow_groups(ctx, p, layout);
  return heed__cl_launch(&k, 1, &global, &local);
}

// ---------------------------------------------------------------- many columns

static heed_status row_losses(heed_context *ctx, const struct problem *p, const heed_tensor *loss, cl_mem losses) {
  // input: [rows, cols, inner]; target: [rows, inner] or as input; loss or losses: F32 [rows, inner]
  const struct heed__cl_rows layout = rows_layout(ctx, p);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "row_losses", layout);
  pass_problem(&k, p);
  pass_losses(&k, p, loss, losses);
  heed__cl_long(&k, p->rows);
  return heed__cl_launch_rows(&k, layout, p->rows);
}

static heed_status loss_total(heed_context *ctx, const struct problem *p, cl_mem losses, const heed_tensor *loss) {
  // losses: F32 [rows, inner]; target: [rows, inner] or as input; loss: F32 [1]
  const struct heed__cl_rows layout = totals_layout(ctx, p);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "loss_total", layout);
  pass_count(&k, p);
  heed__cl_buffer(&k, losses);
  heed__cl_tensor(&k, loss);
  heed__cl_uint(&k, is_mean(p));
  return heed__cl_launch_group(&k, layout);
}

static heed_status row_count(heed_context *ctx, const struct problem *p, cl_mem count) {
  // target: [rows, inner]; count: F32 [1]
  const struct heed__cl_rows layout = totals_layout(ctx, p);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, "row_count", layout);
  pass_count(&k, p);
  heed__cl_buffer(&k, count);
  return heed__cl_launch_group(&k, layout);
}

// Whether exp() of the logits waits in the gradient's place, instead of a second exp() of each element. In place of the logits themselves
// it may do so only if their losses take but one of them.
static bool keeps_exp(const heed_context *ctx, const struct problem *p, const heed_tensor *dinput,
                      struct heed__cl_rows layout) {
  const bool in_place = heed_tensor_overlaps(dinput, p->input), one_hot = p->classes && p->params->label_smoothing == 0;
  return heed__cl_state(ctx)->traits.cpu_like && layout.vector > 1 && dinput->dtype == HEED_F32 &&
         !p->params->from_probs && (!in_place || one_hot);
}

static heed_status launch_gradient(heed_context *ctx, const struct problem *p, struct results r, cl_mem count,
                                   cl_mem losses) {
  // input, dinput: [rows, cols, inner]; target: [rows, inner] or as input; dloss: F32 [1] or [rows, inner] or NULL; count: F32 [1]; loss
  // or losses: F32 [rows, inner]
  const struct heed__cl_rows layout = rows_layout(ctx, p);
  struct heed__cl_kernel k;
  begin(&k, ctx, p, r.loss ? "losses_and_gradient" : "input_gradient", layout);
  if (keeps_exp(ctx, p, r.dinput, layout)) heed__cl_define_int(&k, "KEEPS_EXP", 1);
  pass_problem(&k, p);
  heed__cl_tensor(&k, r.dloss);
  heed__cl_buffer(&k, count);
  heed__cl_tensor(&k, r.dinput);
  heed__cl_long(&k, p->rows);
  heed__cl_uint(&k, r.dloss != NULL);
  heed__cl_uint(&k, is_per_row(p));
  heed__cl_uint(&k, is_mean(p));
  if (r.loss) pass_losses(&k, p, r.loss, losses);
  return heed__cl_launch_rows(&k, layout, p->rows);
}

// The gradient, and each row's loss if there is one.
static heed_status input_gradient(heed_context *ctx, const struct problem *p, struct results r, cl_mem losses) {
  cl_mem count = NULL;
  heed_status status;
  HEED__TRY_TO(done, status, heed__cl_scratch_take(ctx, sizeof(float), &count));
  if (is_mean(p)) HEED__TRY_TO(done, status, row_count(ctx, p, count));
  status = launch_gradient(ctx, p, r, count, losses);
done:
  heed__cl_scratch_give(ctx, count);
  return status;
}

// ---------------------------------------------------------------- operators

static heed_status wide_rows(heed_context *ctx, const struct problem *p, struct results r) {
  const bool sums = r.loss && !is_per_row(p);
  cl_mem losses = NULL;
  heed_status status;
  if (sums) HEED__TRY(heed__cl_scratch_take(ctx, (uint64_t)heed__max(1, p->rows) * sizeof(float), &losses));
  HEED__TRY_TO(done, status, r.dinput ? input_gradient(ctx, p, r, losses) : row_losses(ctx, p, r.loss, losses));
  if (sums) status = loss_total(ctx, p, losses, r.loss);
done:
  heed__cl_scratch_give(ctx, losses);
  return status;
}

static heed_status run(heed_context *ctx, const struct heed__call *call, struct results r) {
  const struct problem p = problem_of(call);
  HEED__TRY(heed__cl_check_rows(ctx, heed__max(p.cols, p.rows)));
  return is_narrow(&p) ? narrow_rows(ctx, &p, r) : wide_rows(ctx, &p, r);
}

heed_status heed__cl_cross_entropy_fwd(heed_context *ctx, const struct heed__call *call) {
  // input: [rows, cols, inner]; target: [rows, inner] or as input; loss: F32 [1] or [rows, inner]
  return run(ctx, call, (struct results){.loss = call->out[HEED__cross_entropy_fwd_loss]});
}

heed_status heed__cl_cross_entropy_bwd(heed_context *ctx, const struct heed__call *call) {
  // input, dinput: [rows, cols, inner]; target: [rows, inner] or as input; dloss: F32 [1] or [rows, inner], NULL: 1
  return run(ctx, call,
             (struct results){.dloss = call->in[HEED__cross_entropy_bwd_dloss],
                              .dinput = call->out[HEED__cross_entropy_bwd_dinput]});
}

heed_status heed__cl_cross_entropy_fwd_bwd(heed_context *ctx, const struct heed__call *call) {
  // input, dinput: [rows, cols, inner], perhaps one tensor; target: [rows, inner] or as input; loss, dloss: F32 [1] or [rows, inner]
  return run(ctx, call,
             (struct results){.dloss = call->in[HEED__cross_entropy_fwd_bwd_dloss],
                              .loss = call->out[HEED__cross_entropy_fwd_bwd_loss],
                              .dinput = call->out[HEED__cross_entropy_fwd_bwd_dinput]});
}

heed_status heed__cl_cross_entropy_share(heed_context *ctx, const struct heed__call *call) {
  // target: indices, any shape; weight: F32 [classes] or NULL; share: F32 [1]
  const struct heed__cross_entropy_params *params = call->params;
  const struct problem p = {.target = call->in[HEED__cross_entropy_share_target],
                            .weight = call->in[HEED__cross_entropy_share_weight],
                            .params = params,
                            .rows = params->rows,
                            .cols = params->classes,
                            .classes = true};
  HEED__TRY(heed__cl_check_rows(ctx, p.rows));
  const struct heed__cl_rows layout = totals_layout(ctx, &p);
  struct heed__cl_kernel k;
  begin(&k, ctx, &p, "row_share", layout);
  pass_count(&k, &p);
  heed__cl_tensor(&k, call->out[HEED__cross_entropy_share_share]);
  return heed__cl_launch_group(&k, layout);
}
