// Rotary positions as cases: both styles, [B, H, L, D] as it is and as a view of [B, L, H, D], far positions.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

// The same table on every context, made by the function that callers use.
static heed_status make_table(case_env *env, const rope_shape *s) {
  float *zeros = calloc((size_t)(s->l * s->d) + 1, sizeof *zeros);
  if (!zeros) return HEED_ERROR_OUT_OF_MEMORY;
  heed_status status = case_input_data(env, "table", HEED_F32, 2, DIMS(s->l, s->d), zeros);
  free(zeros);
  if (status == HEED_OK) status = heed_rope_table(s->theta, s->first, case_get(env, "table"));
  return status;
}

static heed_status rope_setup(case_env *env, const heed_case *c) {
  const rope_shape *s = &c->u.rope;
  const int64_t b = s->b, h = s->rows_first ? s->l : s->h, l = s->rows_first ? s->h : s->l, d = s->d;
  TRY(make_table(env, s));
  if (c->phase != CASE_BACKWARD) {
    TRY(case_input(env, "x", c->dtype, 4, DIMS(b, h, l, d), s->fill, 1));
    TRY(case_output(env, "y", c->dtype, 4, DIMS(b, h, l, d), heed_tolerance(c->dtype, false)));
  }
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dy", c->dtype, 4, DIMS(b, h, l, d), CASE_NORMAL, 1));
  return case_output(env, "dx", c->dtype, 4, DIMS(b, h, l, d), heed_tolerance(c->dtype, true));
}

// Calls with [B, H, L, D] views of what may lie as [B, L, H, D].
typedef heed_status rope_call(const heed_tensor *, const heed_tensor *, heed_rope_style, heed_tensor *);
static heed_status turn(const case_env *env, const heed_case *c, rope_call *call, const char *in, const char *out) {
  const heed_tensor *table = case_get(env, "table");
  if (!c->u.rope.rows_first) return call(case_get(env, in), table, (heed_rope_style)c->form, case_get(env, out));
  heed_tensor *from = NULL, *to = NULL;
  static const int turned[] = {0, 2, 1, 3};
  heed_status status = heed_tensor_permute(case_get(env, in), turned, &from);
  if (status == HEED_OK) status = heed_tensor_permute(case_get(env, out), turned, &to);
  if (status == HEED_OK) status = call(from, table, (heed_rope_style)c->form, to);
  heed_tensor_destroy(from);
  heed_tensor_destroy(to);
  return status;
}
static heed_status rope_run(case_env *env, const heed_case *c) {
  if (c->phase != CASE_BACKWARD) TRY(turn(env, c, heed_rope_fwd, "x", "y"));
  return c->phase == CASE_FORWARD ? HEED_OK : turn(env, c, heed_rope_bwd, "dy", "dx");
}

// The table stays in a cache and does not count.
static double rope_bytes(const heed_case *c) {
  const rope_shape *s = &c->u.rope;
  const double once = (double)(s->b * s->h) * (double)(s->l * s->d) * (double)heed_dtype_size(c->dtype);
  return (c->phase == CASE_BOTH ? 4 : 2) * once;
}

static bool rope_has_gradient(const heed_case *c) { return c->u.rope.fill == CASE_NORMAL; }

// ---------------------------------------------------------------- shapes

static void add_rope(case_list *list, const rope_shape *s, heed_rope_style style, int dtype, int level) {
  heed_case *c = case_append(list, &rope_family, case_floats[dtype], level);
  if (!c) return;
  c->u.rope = *s;
  c->form = style;
  CASE_NAME(c, "rope_%s_%lldx%lldx%lldx%lld_from_%lld%s%s", style == HEED_ROPE_HALF ? "half" : "interleaved",
            (long long)s->b, (long long)s->h, (long long)s->l, (long long)s->d, (long long)s->first,
            s->rows_first ? "_rows_first" : "", case_suffixes[dtype]);
}

static void rope_cases(case_list *list) {
  static const rope_shape shapes[] = {
      {2, 3, 17, 32, 1e4, 0, false, CASE_NORMAL},       {1, 1, 9, 48, 5e5, 100000, false, CASE_NORMAL},
      {1, 2, 5, 64, 1e5, 1000, true, CASE_OUTLIER},     {2, 2, 3, 2, 1e4, 7, false, CASE_NORMAL},
      {3, 5, 7, 6, 1e4, 0, true, CASE_NORMAL},          {1, 3, 33, 34, 1e6, 131072, false, CASE_NORMAL},
      {2, 1, 1, 128, 1e4, 2000000000, true, CASE_HUGE}, {1, 2, 65, 66, 1, 0, true, CASE_DENORMAL},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (heed_rope_style style = HEED_ROPE_HALF; style <= HEED_ROPE_INTERLEAVED; ++style)
      for (int dtype = 0; dtype < CASE_FLOATS; ++dtype) add_rope(list, &shapes[i], style, dtype, dtype ? 1 : 0);
}

static void rope_tiny(case_list *list) {
  static const rope_shape shape = {1, 2, 3, 10, 1e4, 5, true, CASE_NORMAL};
  for (heed_rope_style style = HEED_ROPE_HALF; style <= HEED_ROPE_INTERLEAVED; ++style)
    for (int dtype = 0; dtype < CASE_FLOATS; dtype += 2) add_rope(list, &shape, style, dtype, 0);
}

const case_family rope_family = {
    .op = "rope",
    .setup = rope_setup,
    .run = rope_run,
    .bytes = rope_bytes,
    .cases = rope_cases,
    .tiny = rope_tiny,
    .has_gradient = rope_has_gradient,
};
