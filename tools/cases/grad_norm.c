// Clipping of gradients by their norm, and a step's control, as cases.
#include <math.h>
#include <stdio.h>

#include "cases/case.h"

// Two gradients apart: the first counts n, the second n / 3 + 1.
static heed_status clip_setup(case_env *env, const heed_case *c) {
  const clip_shape *s = &c->u.clip;
  const double tolerance = heed_tolerance(c->dtype, false);
  const int64_t fewer = s->n / 3 + 1;
  TRY(case_state(env, "grad.a", c->dtype, 1, &s->n, s->fill, s->scale, tolerance));
  TRY(case_state(env, "grad.b", c->dtype, 1, &fewer, s->fill, s->scale, tolerance));
  return case_output(env, "norm", HEED_F32, 1, DIMS(1), heed_tolerance(HEED_F32, false));
}

static heed_status clip_run(case_env *env, const heed_case *c) {
  heed_tensor *const grads[] = {case_get(env, "grad.a"), case_get(env, "grad.b")};
  return heed_clip_grad_norm(grads, 2, c->u.clip.options.max_norm, case_get(env, "norm"));
}

static void add_clip(case_list *list, const clip_shape *s, size_t number, int dtype, int level) {
  heed_case *c = case_append(list, &clip_grad_norm_family, case_floats[dtype], level);
  if (!c) return;
  c->u.clip = *s;
  CASE_NAME(c, "clip_grad_norm_%zu_%lld%s", number, (long long)s->n, case_suffixes[dtype]);
}

static void clip_cases(case_list *list) {
  static const clip_shape shapes[] = {
      {.n = 1, .fill = CASE_NORMAL, .scale = 1, .options = {.max_norm = 0.5}},
      {.n = 1001, .fill = CASE_NORMAL, .scale = 1, .options = {.max_norm = 1}},
      {.n = 1001, .fill = CASE_NORMAL, .scale = 1e-3, .options = {.max_norm = 1}},
      {.n = 33333, .fill = CASE_OUTLIER, .scale = 1, .options = {.max_norm = 1}},
      {.n = 257, .fill = CASE_ZERO, .options = {.max_norm = 1}},
      {.n = 257, .fill = CASE_SAME, .scale = 3, .options = {.max_norm = 0}},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < CASE_FLOATS; ++dtype) add_clip(list, &shapes[i], i, dtype, dtype ? 1 : 0);
}

static void clip_tiny(case_list *list) {
  add_clip(list, &(clip_shape){.n = 43, .fill = CASE_NORMAL, .scale = 1, .options = {.max_norm = 1}}, 0, 0, 0);
}

const case_family clip_grad_norm_family = {
    .op = "clip_grad_norm", .setup = clip_setup, .run = clip_run, .cases = clip_cases, .tiny = clip_tiny};

// ---------------------------------------------------------------- control

static heed_status control_setup(case_env *env, const heed_case *c) {
  const clip_shape *s = &c->u.clip;
  const double tolerance = heed_tolerance(HEED_F32, false);
  const float squares = (float)s->squares;
  TRY(case_input_data(env, "squares", HEED_F32, 1, DIMS(1), &squares));
  TRY(case_output(env, "norm", HEED_F32, 1, DIMS(1), tolerance));
  TRY(case_output(env, "factor", HEED_F32, 1, DIMS(1), tolerance));
  TRY(case_output(env, "counts", HEED_I32, 1, DIMS(4), 0));
  return s->scale != 0 ? case_state(env, "scale", HEED_F32, 1, DIMS(1), CASE_SAME, s->scale, tolerance) : HEED_OK;
}

static heed_status control_run(case_env *env, const heed_case *c) {
  const clip_shape *s = &c->u.clip;
  const heed_grad_control_state state = {.norm = case_get(env, "norm"),
                                         .factor = case_get(env, "factor"),
                                         .counts = case_get(env, "counts"),
                                         .scale = case_get(env, "scale")};
  // In the middle of a training.
  const int32_t counts[] = {40, 42, s->has_failed ? 7 : 0, 10};
  TRY(heed_tensor_upload(state.counts, counts, sizeof counts));
  return heed_grad_control(&s->options, case_get(env, "squares"), &state);
}

static void add_control(case_list *list, const clip_shape *s, size_t number) {
  heed_case *c = case_append(list, &grad_control_family, HEED_F32, 0);
  if (!c) return;
  c->u.clip = *s;
  CASE_NAME(c, "grad_control_%zu", number);
}

static void control_cases(case_list *list) {
  static const clip_shape shapes[] = {
      {.squares = 9, .options = {.max_norm = 1}},
      {.squares = 0.25, .options = {.max_norm = 1}, .has_failed = true},
      {.squares = 9e8, .scale = 65536},
      {.squares = 9e8, .scale = 1024, .options = {.max_norm = 1, .growth_interval = 11}},
      {.squares = INFINITY, .scale = 65536, .options = {.max_norm = 1}},
      {.squares = NAN, .scale = 65536, .options = {.backoff = 0.25}, .has_failed = true},
      {.squares = NAN},
      {.squares = 0, .scale = 0x1p127, .options = {.growth_interval = 1, .max_norm = 1}},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) add_control(list, &shapes[i], i);
}

static void control_tiny(case_list *list) {
  add_control(list, &(clip_shape){.squares = 9, .scale = 4, .options = {.max_norm = 1}}, 0);
}

const case_family grad_control_family = {
    .op = "grad_control", .setup = control_setup, .run = control_run, .cases = control_cases, .tiny = control_tiny};
