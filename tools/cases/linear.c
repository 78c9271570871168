// Linear layers as cases, with and without an activation in them.
#include <stdio.h>

#include "cases/case.h"

static heed_status linear_gradient(case_env *env, const heed_case *c, const char *name, int rank, const int64_t *dims) {
  const double tolerance = heed_tolerance(c->dtype, true);
  if (c->u.linear.accumulate) return case_state(env, name, c->dtype, rank, dims, CASE_NORMAL, 1, tolerance);
  return case_output(env, name, c->dtype, rank, dims, tolerance);
}

static heed_status linear_setup(case_env *env, const heed_case *c) {
  const linear_shape *s = &c->u.linear;
  TRY(case_input(env, "x", c->dtype, 2, DIMS(s->rows, s->in), CASE_NORMAL, 1));
  TRY(case_input(env, "weight", c->dtype, 2, DIMS(s->out, s->in), CASE_NORMAL, 1));
  TRY(case_input(env, "dy", c->dtype, 2, DIMS(s->rows, s->out), CASE_NORMAL, 1));
  TRY(case_output(env, "y", c->dtype, 2, DIMS(s->rows, s->out), heed_tolerance(c->dtype, false)));
  TRY(case_output(env, "dx", c->dtype, 2, DIMS(s->rows, s->in), heed_tolerance(c->dtype, true)));
  if (s->activation >= LINEAR_GELU_ERF) {
    TRY(case_input(env, "argument", c->dtype, 2, DIMS(s->rows, s->in), CASE_NORMAL, 3));
    TRY(case_output(env, "z", c->dtype, 2, DIMS(s->rows, s->out), heed_tolerance(c->dtype, false)));
  }
  TRY(linear_gradient(env, c, "dweight", 2, DIMS(s->out, s->in)));
  if (!s->bias) return HEED_OK;
  TRY(case_input(env, "bias", c->dtype, 1, DIMS(s->out), CASE_NORMAL, 1));
  return linear_gradient(env, c, "dbias", 1, DIMS(s->out));
}
static heed_status linear_run(case_env *env, const heed_case *c) {
  heed_tensor *x = case_get(env, "x"), *weight = case_get(env, "weight"), *y = case_get(env, "y");
  const heed_tensor *bias = case_get(env, "bias"), *dy = case_get(env, "dy");
  heed_tensor *dx = case_get(env, "dx"), *dweight = case_get(env, "dweight"), *dbias = case_get(env, "dbias");
  const bool accumulate = c->u.linear.accumulate;
  const enum linear_activation activation = c->u.linear.activation;
  if (activation == LINEAR_RELU) {
    TRY(heed_linear_relu_fwd(x, weight, bias, y));
    return heed_relu_linear_bwd(x, weight, dy, dx, dweight, dbias, accumulate);
  }
  if (activation != LINEAR_PLAIN) {
    const heed_gelu_form form = activation == LINEAR_GELU_ERF ? HEED_GELU_ERF : HEED_GELU_TANH;
    TRY(heed_linear_gelu_fwd(x, weight, bias, form, case_get(env, "z"), y));
    return heed_gelu_linear_bwd(case_get(env, "argument"), x, weight, dy, form, dx, dweight, dbias, accumulate);
  }
  TRY(heed_linear_fwd(x, weight, bias, y));
  return heed_linear_bwd(x, weight, dy, dx, dweight, dbias, accumulate);
}
static double linear_flops(const heed_case *c) {
  const linear_shape *s = &c->u.linear;
  return 6.0 * (double)s->rows * (double)s->in * (double)s->out;
}
// Forward reads x and the weight and writes y; backward reads x, the weight and dy and writes dx and the weight's gradient.
static double linear_bytes(const heed_case *c) {
  const linear_shape *s = &c->u.linear;
  const double weight = (double)s->in * (double)s->out, rows = (double)s->rows * (double)(3 * s->in + 2 * s->out);
  return (rows + 3 * weight) * (double)heed_dtype_size(c->dtype);
}

// With an activation the two directions belong to different functions. accumulate: gradients are added to what the tensors hold.
static bool linear_has_gradient(const heed_case *c) {
  return c->u.linear.activation == LINEAR_PLAIN && !c->u.linear.accumulate;
}

// ---------------------------------------------------------------- shapes

static void add_linear(case_list *list, const linear_shape *s, int dtype, int level) {
  heed_case *c = case_append(list, &linear_family, case_floats[dtype], level);
  if (!c) return;
  static const char *const activations[] = {"", "_relu", "_gelu_erf", "_gelu_tanh"};
  c->u.linear = *s;
  CASE_NAME(c, "linear_%lldx%lldx%lld%s%s%s%s", (long long)s->rows, (long long)s->in, (long long)s->out,
            s->bias ? "" : "_nobias", activations[s->activation], s->accumulate ? "_accumulate" : "",
            case_suffixes[dtype]);
}

static void linear_cases(case_list *list) {
  static const int64_t sizes[][3] = {{1, 1, 1}, {5, 129, 64}, {33, 65, 10}, {64, 784, 512}, {257, 31, 33}};
  for (size_t i = 0; i < 2 * (sizeof sizes / sizeof *sizes); ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const int64_t *size = sizes[i / 2];
      const linear_shape s = {size[0], size[1], size[2], .bias = i / 2 % 2 == 0,
                              .activation = i % 2 ? LINEAR_RELU : LINEAR_PLAIN};
      add_linear(list, &s, dtype, dtype ? 1 : 0);
    }
  static const int64_t gelus[][3] = {{1, 1, 1}, {33, 65, 10}, {64, 192, 768}, {257, 31, 33}};
  for (size_t i = 0; i < 2 * (sizeof gelus / sizeof *gelus); ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const int64_t *size = gelus[i / 2];
      const linear_shape s = {size[0], size[1], size[2], .bias = i / 2 % 2 == 0,
                              .activation = i % 2 ? LINEAR_GELU_ERF : LINEAR_GELU_TANH};
      add_linear(list, &s, dtype, dtype || i % 2 ? 1 : 0);
    }
  static const int64_t sums[][3] = {{33, 65, 10}, {64, 784, 512}, {257, 31, 33}};
  for (size_t i = 0; i < sizeof sums / sizeof *sums; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      const linear_shape s = {sums[i][0], sums[i][1], sums[i][2], .bias = true, .accumulate = true};
      add_linear(list, &s, dtype, dtype ? 1 : 0);
    }
}

static void linear_tiny(case_list *list) {
  add_linear(list, &(linear_shape){.rows = 5, .in = 9, .out = 7, .bias = true, .accumulate = true}, 0, 0);
  for (int i = 0; i < 4; ++i)
    add_linear(list,
               &(linear_shape){.rows = 5, .in = 9, .out = 7, .bias = true, .activation = (enum linear_activation)i}, 0,
               0);
}

const case_family linear_family = {
    .op = "linear",
    .setup = linear_setup,
    .run = linear_run,
    .flops = linear_flops,
    .bytes = linear_bytes,
    .cases = linear_cases,
    .tiny = linear_tiny,
    .has_gradient = linear_has_gradient,
};
