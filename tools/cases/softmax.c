// softmax and log-softmax as cases. And argmax.
#include <stdio.h>

#include "cases/case.h"

static double count_of(const rows_shape *s) {
  double count = 1;
  for (int axis = 0; axis < s->rank; ++axis) count *= (double)s->dims[axis];
  return count;
}

static heed_status softmax_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, s->rank, s->dims, s->fill, 1));
  TRY(case_output(env, "y", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, false)));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dy", c->dtype, s->rank, s->dims, CASE_NORMAL, 1));
  return case_output(env, "dx", c->dtype, s->rank, s->dims, heed_tolerance(c->dtype, true));
}
static heed_status softmax_run(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  heed_tensor *x = case_get(env, "x"), *y = case_get(env, "y"), *dy = case_get(env, "dy"), *dx = case_get(env, "dx");
  TRY(s->log ? heed_log_softmax_fwd(x, s->axis, y) : heed_softmax_fwd(x, s->axis, y));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  return s->log ? heed_log_softmax_bwd(y, dy, s->axis, dx) : heed_softmax_bwd(y, dy, s->axis, dx);
}
static double softmax_bytes(const heed_case *c) {
  const double once = count_of(&c->u.rows) * (double)heed_dtype_size(c->dtype);
  return (c->phase == CASE_FORWARD ? 2 : 5) * once;
}
// Compares, subtracts, takes exp, adds and divides once an element; its backward multiplies, adds, subtracts and multiplies.
static double softmax_operations(const heed_case *c) { return (c->phase == CASE_BOTH ? 9 : 5) * count_of(&c->u.rows); }

// ---------------------------------------------------------------- shapes

static void add_softmax(case_list *list, const rows_shape *s, size_t number, bool log, int dtype, int level) {
  heed_case *c = case_append(list, &softmax_family, case_floats[dtype], level);
  if (!c) return;
  c->u.rows = *s;
  c->u.rows.log = log;
  CASE_NAME(c, "%ssoftmax_%zu_axis%d_%lldx%lld%s", log ? "log_" : "", number, s->axis, (long long)s->dims[0],
            (long long)s->dims[1], case_suffixes[dtype]);
}

static void softmax_cases(case_list *list) {
  static const rows_shape shapes[] = {
      {2, {4, 1}, -1, false, CASE_NORMAL},         {2, {7, 33}, -1, false, CASE_NORMAL},
      {2, {33, 5}, 0, false, CASE_NORMAL},         {3, {3, 17, 4}, 1, false, CASE_NORMAL},
      {2, {2, 20011}, -1, false, CASE_NORMAL},     {2, {9, 1000}, -1, false, CASE_HUGE},
      {2, {5, 63}, -1, false, CASE_SAME},          {2, {5, 257}, -1, false, CASE_OUTLIER},
      {4, {2, 3, 64, 65}, -1, false, CASE_NORMAL}, {3, {2, 129, 31}, 1, false, CASE_HUGE},
      {2, {9, 63}, -1, false, CASE_DENORMAL},      {1, {127}, 0, false, CASE_NORMAL},
      {2, {3, 4096}, -1, false, CASE_NORMAL},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int log = 0; log < 2; ++log)
      for (int dtype = 0; dtype < 3; ++dtype) {
        // Rows shorter than a vector have their own programs; --quick has only softmax's.
        const bool is_short = shapes[i].dims[shapes[i].rank - 1] < 8;
        add_softmax(list, &shapes[i], i, log, dtype, dtype || (log && is_short) ? 1 : 0);
      }
}

// Rows of several vectors, rows shorter than one, and columns.
static void softmax_tiny(case_list *list) {
  static const rows_shape shapes[] = {
      {2, {3, 40}, 1, false, CASE_NORMAL}, {2, {3, 5}, 1, false, CASE_NORMAL}, {2, {5, 3}, 0, false, CASE_NORMAL}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int log = 0; log < 2; ++log) add_softmax(list, &shapes[i], i, log, 0, 0);
}

const case_family softmax_family = {
    .op = "softmax",
    .setup = softmax_setup,
    .run = softmax_run,
    .bytes = softmax_bytes,
    .operations = softmax_operations,
    .cases = softmax_cases,
    .tiny = softmax_tiny,
    .has_gradient = case_has_plain_rows,
};

// ---------------------------------------------------------------- argmax

static heed_status argmax_setup(case_env *env, const heed_case *c) {
  const rows_shape *s = &c->u.rows;
  TRY(case_input(env, "x", c->dtype, 2, s->dims, s->fill, 1));
  return case_output(env, "y", HEED_I32, 1, DIMS(s->dims[0]), 0);
}
static heed_status argmax_run(case_env *env, const heed_case *c) {
  (void)c;
  return heed_argmax(case_get(env, "x"), case_get(env, "y"));
}

static void argmax_cases(case_list *list) { case_add_elements(list, &argmax_family); }
static void argmax_tiny(case_list *list) { case_add_tiny_elements(list, &argmax_family, 0); }

const case_family argmax_family = {
    .op = "argmax", .setup = argmax_setup, .run = argmax_run, .cases = argmax_cases, .tiny = argmax_tiny};
