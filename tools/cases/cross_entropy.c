// Cross-entropy as cases: with indices and with probabilities, forward and backward separately and in one call.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

static int64_t rows_of(const loss_shape *s) { return s->n * (s->inner ? s->inner : 1); }

static heed_status indices(case_env *env, const loss_shape *s) {
  // The same numbers in each width of integer.
  const int64_t rows = rows_of(s);
  void *data = calloc((size_t)rows + 1, 8);
  if (!data) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < rows; ++i) {
    int64_t index = (int64_t)(case_random(env, (uint64_t)i) * (double)s->c);
    if (s->options.has_ignore_index && i % 3 == 0) index = s->options.ignore_index;
    if (s->ignores && i % 3 == 1) index = HEED_IGNORE_INDEX;
    if (s->target == HEED_I64)
      ((int64_t *)data)[i] = index;
    else if (s->target == HEED_I32)
      ((int32_t *)data)[i] = (int32_t)index;
    else
      ((uint8_t *)data)[i] = (uint8_t)index;
  }
  heed_status status = case_input_data(env, "target", s->target, s->inner ? 2 : 1, DIMS(s->n, s->inner), data);
  free(data);
  return status;
}

static heed_status loss_setup(case_env *env, const heed_case *c) {
  const loss_shape *s = &c->u.loss;
  const bool last = s->options.class_axis == HEED_CLASS_AXIS_LAST, none = s->options.reduction == HEED_REDUCTION_NONE;
  const int rank = s->inner ? 3 : 2, losses_rank = none ? rank - 1 : 1;
  const int64_t dims[] = {s->n, last ? s->inner : s->c, last ? s->c : s->inner};
  const int64_t *losses = none ? DIMS(s->n, s->inner) : DIMS(1);
  // Probabilities stay away from 0. A uniform draw is as good as rows of a softmax.
  const case_fill fill = s->options.from_probs ? CASE_SAME : s->fill;
  const double scale = s->options.from_probs ? 0.25 : 2;
  if (!s->in_place) TRY(case_input(env, "input", c->dtype, rank, dims, fill, scale));
  if (heed_dtype_is_float(s->target))
    TRY(case_input(env, "target", c->dtype, rank, dims, CASE_UNIFORM, 1.0 / (double)s->c));
  else
    TRY(indices(env, s));
  if (s->weighted) TRY(case_input(env, "weight", HEED_F32, 1, &s->c, CASE_UNIFORM, 1));
  TRY(case_output(env, "loss", HEED_F32, losses_rank, losses, heed_tolerance(HEED_F32, false)));
  TRY(case_input(env, "dloss", HEED_F32, losses_rank, losses, CASE_UNIFORM, 1));
  const double tolerance = heed_tolerance(c->dtype, true);
  return s->in_place ? case_state(env, "dinput", c->dtype, rank, dims, fill, scale, tolerance)
                     : case_output(env, "dinput", c->dtype, rank, dims, tolerance);
}

static heed_cross_entropy_options options_of(const case_env *env, const heed_case *c) {
  heed_cross_entropy_options options = c->u.loss.options;
  options.weight = case_get(env, "weight");
  return options;
}

static heed_status loss_run(case_env *env, const heed_case *c) {
  const heed_cross_entropy_options options = options_of(env, c);
  TRY(heed_cross_entropy_fwd(case_get(env, "input"), case_get(env, "target"), &options, case_get(env, "loss")));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  return heed_cross_entropy_bwd(case_get(env, "input"), case_get(env, "target"), &options, case_get(env, "dloss"),
                                case_get(env, "dinput"));
}

static heed_status loss_both_run(case_env *env, const heed_case *c) {
  const heed_cross_entropy_options options = options_of(env, c);
  const bool mean = options.reduction == HEED_REDUCTION_MEAN;
  heed_tensor *dinput = case_get(env, "dinput"), *input = c->u.loss.in_place ? dinput : case_get(env, "input");
  return heed_cross_entropy_fwd_bwd(input, case_get(env, "target"), &options, mean ? NULL : case_get(env, "dloss"),
                                    case_get(env, "loss"), dinput);
}

static heed_status share_setup(case_env *env, const heed_case *c) {
  const loss_shape *s = &c->u.loss;
  TRY(indices(env, s));
  if (s->weighted) TRY(case_input(env, "weight", HEED_F32, 1, &s->c, CASE_UNIFORM, 1));
  return case_output(env, "share", HEED_F32, 1, DIMS(1), heed_tolerance(HEED_F32, false));
}

static heed_status share_run(case_env *env, const heed_case *c) {
  const heed_cross_entropy_options options = options_of(env, c);
  return heed_cross_entropy_share(case_get(env, "target"), &options, case_get(env, "share"));
}

static double share_bytes(const heed_case *c) {
  return (double)rows_of(&c->u.loss) * (double)heed_dtype_size(c->u.loss.target);
}

// The logits are read, and their gradient is written.
static double loss_bytes(const heed_case *c) {
  return (c->phase == CASE_FORWARD ? 1 : 3) * (double)(rows_of(&c->u.loss) * c->u.loss.c) *
         (double)heed_dtype_size(c->dtype);
}
static double loss_both_bytes(const heed_case *c) {
  return 2 * (double)(rows_of(&c->u.loss) * c->u.loss.c) * (double)heed_dtype_size(c->dtype);
}

static bool loss_has_gradient(const heed_case *c) { return c->u.loss.fill == CASE_NORMAL; }

// ---------------------------------------------------------------- shapes

static void add_loss(case_list *list, const case_family *family, const loss_shape *s, size_t number, int dtype,
                     int level) {
  heed_case *c = case_append(list, family, case_floats[dtype], level);
  if (!c) return;
  c->u.loss = *s;
  if (heed_dtype_is_float(s->target)) c->u.loss.target = case_floats[dtype];
  CASE_NAME(c, "%s_%zu_%lldx%lld%s", family->op, number, (long long)rows_of(s), (long long)s->c, case_suffixes[dtype]);
}

static void loss_cases(case_list *list, const case_family *family) {
  static const loss_shape shapes[] = {
      {64, 10, {0}, HEED_I64, .fill = CASE_NORMAL},
      {31, 10, {0}, HEED_U8, .fill = CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_SUM}, HEED_I64, .fill = CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, .fill = CASE_NORMAL},
      {31, 100, {.label_smoothing = 0.1}, HEED_I64, .fill = CASE_NORMAL},
      {31, 10, {.has_ignore_index = true, .ignore_index = -100}, HEED_I64, .fill = CASE_NORMAL},
      {31, 10, {.has_ignore_index = true, .ignore_index = 3, .label_smoothing = 0.2}, HEED_I64, .fill = CASE_NORMAL},
      {16, 5000, {0}, HEED_I64, .fill = CASE_HUGE},
      {16, 21, {0}, HEED_F32, .fill = CASE_NORMAL},
      {16, 21, {.label_smoothing = 0.3, .reduction = HEED_REDUCTION_NONE}, HEED_F32, .fill = CASE_NORMAL},
      {12, 10, {.from_probs = true}, HEED_F32, .fill = CASE_NORMAL},
      {1, 1, {0}, HEED_I64, .fill = CASE_NORMAL},
      {1025, 17, {0}, HEED_U8, .fill = CASE_NORMAL},
      {3300, 10, {0}, HEED_U8, .fill = CASE_NORMAL},
      {77, 64, {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.1}, HEED_I64, .fill = CASE_HUGE},
      // A large vocabulary.
      {3, 50257, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, .fill = CASE_NORMAL},
      {4, 50257, {0}, HEED_I64, .fill = CASE_HUGE, .ignores = true},
      {2, 50257, {.label_smoothing = 0.1}, HEED_I64, .fill = CASE_OUTLIER},
      {3, 50257, {.reduction = HEED_REDUCTION_SUM}, HEED_I64, .fill = CASE_SAME, .in_place = true},
      {7, 1000, {0}, HEED_I64, .fill = CASE_DENORMAL, .in_place = true},
      // Each of what follows has its own program: dtypes of targets, weights, classes that lie apart. So these cases wait one level.
      {64, 10, {0}, HEED_I32, .fill = CASE_NORMAL},
      {1025, 17, {0}, HEED_I32, .fill = CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, .fill = CASE_NORMAL},
      {77, 64, {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.1}, HEED_U8, .fill = CASE_HUGE},
      {5, 1, {0}, HEED_I64, .fill = CASE_NORMAL, .weighted = true, .in_place = true},
      {9, 2, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, .fill = CASE_NORMAL, .in_place = true},
      {31, 33, {.label_smoothing = 0.1}, HEED_I64, .fill = CASE_NORMAL, .weighted = true, .ignores = true},
      {3300, 10, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, .fill = CASE_NORMAL, .weighted = true},
      {31, 100, {0}, HEED_I64, .fill = CASE_HUGE, .weighted = true, .ignores = true, .in_place = true},
      {3, 50257, {.label_smoothing = 0.2}, HEED_I64, .fill = CASE_NORMAL, .weighted = true, .ignores = true},
      {3, 1000, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, .fill = CASE_OUTLIER, .weighted = true, .in_place = true},
      {90, 50257, {0}, HEED_I64, .fill = CASE_NORMAL, .ignores = true},
      {16, 1000, {.label_smoothing = 0.3}, HEED_F32, .fill = CASE_NORMAL, .weighted = true, .in_place = true},
      {12, 10, {.from_probs = true}, HEED_F32, .fill = CASE_NORMAL, .weighted = true},
      {3, 10, {0}, HEED_I64, .fill = CASE_NORMAL, .inner = 15, .weighted = true, .ignores = true},
      {3, 100, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, .fill = CASE_HUGE, .inner = 7, .in_place = true},
      {2, 5000, {.label_smoothing = 0.1}, HEED_I64, .fill = CASE_NORMAL, .inner = 5, .weighted = true},
      {3, 65, {.class_axis = HEED_CLASS_AXIS_LAST}, HEED_I64, .fill = CASE_NORMAL, .inner = 65, .ignores = true},
      {3, 21, {.class_axis = HEED_CLASS_AXIS_1}, HEED_F32, .fill = CASE_NORMAL, .inner = 6, .weighted = true},
      {3, 21, {.class_axis = HEED_CLASS_AXIS_1, .from_probs = true}, HEED_F32, .fill = CASE_NORMAL, .inner = 6},
  };
  static const size_t special = sizeof shapes / sizeof *shapes - 16, core = special - 4;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < 3; ++dtype)
      if (!shapes[i].in_place || family == &cross_entropy_fwd_bwd_family)
        add_loss(list, family, &shapes[i], i, dtype, i < core ? dtype != 0 : i >= special && dtype ? 2 : 1);
}

// Few classes and many classes, which have different kernels.
static void loss_tiny(case_list *list, const case_family *family) {
  static const loss_shape shapes[] = {
      {3, 4, {.label_smoothing = 0.1, .has_ignore_index = true, .ignore_index = 0}, HEED_I32, .fill = CASE_NORMAL},
      {3, 70, {.label_smoothing = 0.1, .has_ignore_index = true, .ignore_index = 0}, HEED_I32, .fill = CASE_NORMAL},
      {3, 4, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, .fill = CASE_NORMAL},
      {3, 70, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, .fill = CASE_NORMAL},
      {3, 4, {.from_probs = true}, HEED_F32, .fill = CASE_NORMAL},
      {3, 70, {0}, HEED_F32, .fill = CASE_NORMAL},
      {3, 4, {0}, HEED_I32, .fill = CASE_NORMAL, .weighted = true},
      {3, 70, {.label_smoothing = 0.1}, HEED_I32, .fill = CASE_NORMAL, .weighted = true},
      {2, 70, {0}, HEED_I32, .fill = CASE_NORMAL, .inner = 2},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) add_loss(list, family, &shapes[i], i, 0, 0);
}

static void share_cases(case_list *list) {
  static const loss_shape shapes[] = {
      {1, 10, {0}, .target = HEED_I64},
      {333, 10, {0}, HEED_I64, .ignores = true},
      {100003, 50257, {0}, HEED_I32, .weighted = true, .ignores = true},
      {9, 10, {0}, HEED_I64, .inner = 35, .weighted = true},
      {70001, 10, {.has_ignore_index = true, .ignore_index = 3}, .target = HEED_U8},
      {20, 10, {.has_ignore_index = true, .ignore_index = HEED_IGNORE_NOTHING}, .target = HEED_I64},
      {3, 2, {.has_ignore_index = true, .ignore_index = 1}, HEED_U8, .weighted = true},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    add_loss(list, &cross_entropy_share_family, &shapes[i], i, 0, i < 3 ? 0 : 1);
}

static void share_tiny(case_list *list) {
  static const loss_shape shapes[] = {{70, 4, {0}, HEED_I32, .ignores = true},
                                      {70, 4, {0}, HEED_I32, .weighted = true, .ignores = true}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    add_loss(list, &cross_entropy_share_family, &shapes[i], i, 0, 0);
}

static void apart_cases(case_list *list) { loss_cases(list, &cross_entropy_family); }
static void apart_tiny(case_list *list) { loss_tiny(list, &cross_entropy_family); }
static void both_cases(case_list *list) { loss_cases(list, &cross_entropy_fwd_bwd_family); }
static void both_tiny(case_list *list) { loss_tiny(list, &cross_entropy_fwd_bwd_family); }

const case_family cross_entropy_family = {
    .op = "cross_entropy",
    .setup = loss_setup,
    .run = loss_run,
    .bytes = loss_bytes,
    .cases = apart_cases,
    .tiny = apart_tiny,
    .result = "loss",
    .has_gradient = loss_has_gradient,
};
// This gradient is compared with that of the other operator, which is compared with differences.
const case_family cross_entropy_fwd_bwd_family = {
    .op = "cross_entropy_fwd_bwd",
    .setup = loss_setup,
    .run = loss_both_run,
    .bytes = loss_both_bytes,
    .cases = both_cases,
    .tiny = both_tiny,
};
const case_family cross_entropy_share_family = {
    .op = "cross_entropy_share",
    .setup = share_setup,
    .run = share_run,
    .bytes = share_bytes,
    .cases = share_cases,
    .tiny = share_tiny,
};
