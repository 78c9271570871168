// Cross-entropy as cases: with indices and with probabilities, forward and backward separately and in one call.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

static heed_status indices(case_env *env, const loss_shape *s) {
  // The same numbers in each width of integer.
  void *data = calloc((size_t)s->n + 1, 8);
  if (!data) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < s->n; ++i) {
    int64_t index = (int64_t)(case_random(env, (uint64_t)i) * (double)s->c);
    if (s->options.has_ignore_index && i % 3 == 0) index = s->options.ignore_index;
    if (s->target == HEED_I64)
      ((int64_t *)data)[i] = index;
    else if (s->target == HEED_I32)
      ((int32_t *)data)[i] = (int32_t)index;
    else
      ((uint8_t *)data)[i] = (uint8_t)index;
  }
  heed_status status = case_input_data(env, "target", s->target, 1, &s->n, data);
  free(data);
  return status;
}

static heed_status loss_setup(case_env *env, const heed_case *c) {
  const loss_shape *s = &c->u.loss;
  const int64_t losses = s->options.reduction == HEED_REDUCTION_NONE ? s->n : 1;
  if (s->options.from_probs) {
    // Probabilities stay away from 0. A uniform draw is as good as rows of a softmax.
    TRY(case_input(env, "input", c->dtype, 2, DIMS(s->n, s->c), CASE_SAME, 0.25));
  } else {
    TRY(case_input(env, "input", c->dtype, 2, DIMS(s->n, s->c), s->fill, 2));
  }
  if (heed_dtype_is_float(s->target))
    TRY(case_input(env, "target", c->dtype, 2, DIMS(s->n, s->c), CASE_UNIFORM, 1.0 / (double)s->c));
  else
    TRY(indices(env, s));
  TRY(case_output(env, "loss", HEED_F32, 1, &losses, heed_tolerance(HEED_F32, false)));
  TRY(case_input(env, "dloss", HEED_F32, 1, &losses, CASE_UNIFORM, 1));
  return case_output(env, "dinput", c->dtype, 2, DIMS(s->n, s->c), heed_tolerance(c->dtype, true));
}
static heed_status loss_run(case_env *env, const heed_case *c) {
  const loss_shape *s = &c->u.loss;
  TRY(heed_cross_entropy_fwd(case_get(env, "input"), case_get(env, "target"), &s->options, case_get(env, "loss")));
  return heed_cross_entropy_bwd(case_get(env, "input"), case_get(env, "target"), &s->options, case_get(env, "dloss"),
                                case_get(env, "dinput"));
}

static heed_status loss_both_run(case_env *env, const heed_case *c) {
  return heed_cross_entropy_fwd_bwd(case_get(env, "input"), case_get(env, "target"), &c->u.loss.options,
                                    case_get(env, "loss"), case_get(env, "dinput"));
}

static bool loss_has_gradient(const heed_case *c) { return c->u.loss.fill == CASE_NORMAL; }

// ---------------------------------------------------------------- shapes

static void add_loss(case_list *list, const case_family *family, const loss_shape *s, size_t number, int dtype,
                     int level) {
  heed_case *c = case_append(list, family, case_floats[dtype], level);
  if (!c) return;
  c->u.loss = *s;
  if (heed_dtype_is_float(s->target)) c->u.loss.target = case_floats[dtype];
  CASE_NAME(c, "%s_%zu_%lldx%lld%s", family->op, number, (long long)s->n, (long long)s->c, case_suffixes[dtype]);
}

static void loss_cases(case_list *list, const case_family *family) {
  static const loss_shape shapes[] = {
      {64, 10, {0}, HEED_I64, CASE_NORMAL},
      {31, 10, {0}, HEED_U8, CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_SUM}, HEED_I64, CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_NONE}, HEED_I64, CASE_NORMAL},
      {31, 100, {.label_smoothing = 0.1}, HEED_I64, CASE_NORMAL},
      {31, 10, {.has_ignore_index = true, .ignore_index = -100}, HEED_I64, CASE_NORMAL},
      {31, 10, {.has_ignore_index = true, .ignore_index = 3, .label_smoothing = 0.2}, HEED_I64, CASE_NORMAL},
      {16, 5000, {0}, HEED_I64, CASE_HUGE},
      {16, 21, {0}, HEED_F32, CASE_NORMAL},
      {16, 21, {.label_smoothing = 0.3, .reduction = HEED_REDUCTION_NONE}, HEED_F32, CASE_NORMAL},
      {12, 10, {.from_probs = true}, HEED_F32, CASE_NORMAL},
      {1, 1, {0}, HEED_I64, CASE_NORMAL},
      {1025, 17, {0}, HEED_U8, CASE_NORMAL},
      {3300, 10, {0}, HEED_U8, CASE_NORMAL},
      {77, 64, {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.1}, HEED_I64, CASE_HUGE},
      // Each dtype of targets has its own program, so these cases wait one level.
      {64, 10, {0}, HEED_I32, CASE_NORMAL},
      {1025, 17, {0}, HEED_I32, CASE_NORMAL},
      {9, 33, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, CASE_NORMAL},
      {77, 64, {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.1}, HEED_U8, CASE_HUGE},
  };
  static const size_t core = sizeof shapes / sizeof *shapes - 4;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) add_loss(list, family, &shapes[i], i, dtype, dtype || i >= core ? 1 : 0);
}

// Few classes and many classes, which have different kernels.
static void loss_tiny(case_list *list, const case_family *family) {
  static const loss_shape shapes[] = {
      {3, 4, {.label_smoothing = 0.1, .has_ignore_index = true, .ignore_index = 0}, HEED_I32, CASE_NORMAL},
      {3, 70, {.label_smoothing = 0.1, .has_ignore_index = true, .ignore_index = 0}, HEED_I32, CASE_NORMAL},
      {3, 4, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, CASE_NORMAL},
      {3, 70, {.reduction = HEED_REDUCTION_NONE}, HEED_I32, CASE_NORMAL},
      {3, 4, {.from_probs = true}, HEED_F32, CASE_NORMAL},
      {3, 70, {0}, HEED_F32, CASE_NORMAL},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) add_loss(list, family, &shapes[i], i, 0, 0);
}

static void apart_cases(case_list *list) { loss_cases(list, &cross_entropy_family); }
static void apart_tiny(case_list *list) { loss_tiny(list, &cross_entropy_family); }
static void both_cases(case_list *list) { loss_cases(list, &cross_entropy_fwd_bwd_family); }
static void both_tiny(case_list *list) { loss_tiny(list, &cross_entropy_fwd_bwd_family); }

const case_family cross_entropy_family = {
    .op = "cross_entropy",
    .setup = loss_setup,
    .run = loss_run,
    .cases = apart_cases,
    .tiny = apart_tiny,
    .result = "loss",
    .has_gradient = loss_has_gradient,
};
// This gradient is compared with that of the other operator, which is compared with differences.
const case_family cross_entropy_fwd_bwd_family = {
    .op = "cross_entropy_fwd_bwd", .setup = loss_setup, .run = loss_both_run, .cases = both_cases, .tiny = both_tiny};
