// LayerNorm and RMSNorm as cases.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

static bool is_rms(const heed_case *c) { return c->family == &rms_norm_family; }

// x with a mean: what the shape's fill draws, plus the mean.
static heed_status make_x(case_env *env, const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  if (s->mean == 0)
    return case_input(env, "x", c->dtype, 2, DIMS(s->rows, s->cols), s->fill, s->fill == CASE_SAME ? 60000 : 1);
  const int64_t count = s->rows * s->cols;
  float *values = malloc((size_t)count * sizeof *values + 1);
  if (!values) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < count; ++i) values[i] = (float)(s->mean + 0.02 * (case_random(env, (uint64_t)i) - 0.5));
  heed_status status = case_input(env, "x", c->dtype, 2, DIMS(s->rows, s->cols), CASE_ZERO, 1);
  if (status == HEED_OK) status = heed_tensor_upload_f32(case_get(env, "x"), values, count);
  free(values);
  return status;
}

static heed_status parameter_gradient(case_env *env, const heed_case *c, const char *name) {
  const norm_shape *s = &c->u.norm;
  const double tolerance = heed_tolerance(c->dtype, true);
  if (s->accumulate) return case_state(env, name, c->dtype, 1, &s->cols, CASE_NORMAL, 1, tolerance);
  return case_output(env, name, c->dtype, 1, &s->cols, tolerance);
}

static heed_status forward_setup(case_env *env, const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  const double tolerance = heed_tolerance(c->dtype, false);
  TRY(case_output(env, "y", c->dtype, 2, DIMS(s->rows, s->cols), tolerance));
  if (!s->adds) return HEED_OK;
  TRY(case_input(env, "addend", c->dtype, 2, DIMS(s->rows, s->cols), CASE_NORMAL, 1));
  return case_output(env, "sum", c->dtype, 2, DIMS(s->rows, s->cols), tolerance);
}

static heed_status norm_setup(case_env *env, const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  TRY(make_x(env, c));
  TRY(case_input(env, "weight", c->dtype, 1, &s->cols, CASE_NORMAL, 1));
  if (s->bias) TRY(case_input(env, "bias", c->dtype, 1, &s->cols, CASE_NORMAL, 1));
  if (c->phase != CASE_BACKWARD) TRY(forward_setup(env, c));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dy", c->dtype, 2, DIMS(s->rows, s->cols), CASE_NORMAL, 1));
  if (s->residual) TRY(case_input(env, "residual", c->dtype, 2, DIMS(s->rows, s->cols), CASE_NORMAL, 1));
  TRY(case_output(env, "dx", c->dtype, 2, DIMS(s->rows, s->cols), heed_tolerance(c->dtype, true)));
  TRY(parameter_gradient(env, c, "dweight"));
  return s->bias ? parameter_gradient(env, c, "dbias") : HEED_OK;
}

static heed_status forward_run(case_env *env, const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  heed_tensor *x = case_get(env, "x"), *weight = case_get(env, "weight"), *y = case_get(env, "y"),
              *sum = case_get(env, "sum");
  const heed_tensor *addend = case_get(env, "addend"), *bias = case_get(env, "bias");
  if (s->adds)
    return is_rms(c) ? heed_add_rms_norm_fwd(x, addend, weight, s->eps, sum, y)
                     : heed_add_layer_norm_fwd(x, addend, weight, bias, s->eps, sum, y);
  return is_rms(c) ? heed_rms_norm_fwd(x, weight, s->eps, y) : heed_layer_norm_fwd(x, weight, bias, s->eps, y);
}

static heed_status norm_run(case_env *env, const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  if (c->phase != CASE_BACKWARD) TRY(forward_run(env, c));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  const heed_tensor *x = case_get(env, "x"), *weight = case_get(env, "weight");
  const heed_tensor *dy = case_get(env, "dy"), *residual = case_get(env, "residual");
  heed_tensor *dx = case_get(env, "dx"), *dweight = case_get(env, "dweight"), *dbias = case_get(env, "dbias");
  if (is_rms(c)) return heed_rms_norm_bwd(x, weight, dy, residual, s->eps, dx, dweight, s->accumulate);
  return heed_layer_norm_bwd(x, weight, dy, residual, s->eps, dx, dweight, dbias, s->accumulate);
}

// Forward reads x and writes y, and with addend reads that and writes sum; backward reads x and dy and writes dx.
static double norm_bytes(const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  const double once = (double)s->rows * (double)s->cols * (double)heed_dtype_size(c->dtype);
  const double forward = s->adds ? 4 : 2, backward = 3;
  return (c->phase == CASE_FORWARD ? forward : c->phase == CASE_BACKWARD ? backward : forward + backward) * once;
}

// Forward: the moments, the difference from the mean, three factors and a sum; backward: the moments, three sums, the remainder and what a
// row adds to two gradients.
static double norm_operations(const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  return (c->phase == CASE_FORWARD ? 9 : c->phase == CASE_BACKWARD ? 24 : 33) * (double)s->rows * (double)s->cols;
}

// Differences are too coarse where the result bends within a step.
static bool norm_has_gradient(const heed_case *c) {
  const norm_shape *s = &c->u.norm;
  return s->fill == CASE_NORMAL && s->mean == 0 && s->cols > 4 && !s->residual && !s->accumulate && !s->adds;
}

// ---------------------------------------------------------------- shapes

static void add_norm(case_list *list, const case_family *family, const norm_shape *s, size_t number, int dtype,
                     int level) {
  heed_case *c = case_append(list, family, case_floats[dtype], level);
  if (!c) return;
  c->u.norm = *s;
  if (family == &rms_norm_family) c->u.norm.bias = false;
  CASE_NAME(c, "%s_%zu_%lldx%lld%s", family->op, number, (long long)s->rows, (long long)s->cols, case_suffixes[dtype]);
}

static void norm_cases(case_list *list, const case_family *family) {
  static const norm_shape shapes[] = {
      {7, 33, 1e-5, 0, CASE_NORMAL, .bias = true},
      {33, 48, 1e-5, 0, CASE_NORMAL, .bias = true, .residual = true, .accumulate = true},
      {5, 1, 1e-5, 0, CASE_NORMAL, .bias = true},
      {9, 3, 1e-5, 0, CASE_NORMAL, .bias = false},
      {4, 40, 1e-5, 0, CASE_SAME, .bias = true},
      {9, 257, 1e-5, 300, CASE_NORMAL, .bias = true},
      {1, 7, 1e-5, 0, CASE_NORMAL, .bias = true, .residual = true},
      {2100, 17, 1e-5, 0, CASE_NORMAL, .bias = true, .accumulate = true},
      {5, 257, 1e-5, 0, CASE_OUTLIER, .bias = true},
      {9, 64, 1e-5, 0, CASE_HUGE, .bias = true},
      {9, 63, 1e-12, 0, CASE_DENORMAL, .bias = true},
      {12, 2, 1e-5, 0, CASE_NORMAL, .bias = true},
      {9, 3, 1e-5, 0, CASE_NORMAL, .bias = true, .adds = true},
      {37, 65, 1e-5, 300, CASE_NORMAL, .adds = true},
      {300, 48, 1e-5, 0, CASE_OUTLIER, .bias = true, .adds = true},
      {257, 768, 1e-5, 0, CASE_NORMAL, .bias = true, .adds = true},
      {257, 768, 1e-5, 0, CASE_NORMAL, .bias = true, .residual = true},
      {3, 4097, 1e-6, 0, CASE_NORMAL, .bias = true},
      {2, 100003, 1e-5, 0, CASE_NORMAL, .bias = true},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) add_norm(list, family, &shapes[i], i, dtype, dtype ? 1 : 0);
}

// Rows of several vectors, rows shorter than one, and more than a block of rows.
static void norm_tiny(case_list *list, const case_family *family) {
  static const norm_shape shapes[] = {
      {3, 40, 1e-5, 0, CASE_NORMAL, .bias = true, .residual = true},
      {9, 3, 1e-5, 0, CASE_NORMAL, .accumulate = true},
      {2, 33, 1e-5, 300, CASE_NORMAL, .bias = true},
      {3, 40, 1e-5, 0, CASE_NORMAL, .bias = true, .adds = true},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) add_norm(list, family, &shapes[i], i, 0, 0);
}

static void layer_norm_cases(case_list *list) { norm_cases(list, &layer_norm_family); }
static void layer_norm_tiny(case_list *list) { norm_tiny(list, &layer_norm_family); }
static void rms_norm_cases(case_list *list) { norm_cases(list, &rms_norm_family); }
static void rms_norm_tiny(case_list *list) { norm_tiny(list, &rms_norm_family); }

const case_family layer_norm_family = {
    .op = "layer_norm",
    .setup = norm_setup,
    .run = norm_run,
    .bytes = norm_bytes,
    .operations = norm_operations,
    .cases = layer_norm_cases,
    .tiny = layer_norm_tiny,
    .has_gradient = norm_has_gradient,
};
const case_family rms_norm_family = {
    .op = "rms_norm",
    .setup = norm_setup,
    .run = norm_run,
    .bytes = norm_bytes,
    .operations = norm_operations,
    .cases = rms_norm_cases,
    .tiny = rms_norm_tiny,
    .has_gradient = norm_has_gradient,
};
