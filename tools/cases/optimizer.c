// Steps of SGD and AdamW, and square roots by gradient descent, as cases.
#include <math.h>
#include <stdio.h>

#include "cases/case.h"

// ---------------------------------------------------------------- SGD

static heed_status sgd_setup(case_env *env, const heed_case *c) {
  const update_shape *s = &c->u.update;
  const double tolerance = heed_tolerance(c->dtype, false);
  TRY(case_input(env, "grad", c->dtype, 1, &s->n, CASE_NORMAL, 1));
  TRY(case_state(env, "param", c->dtype, 1, &s->n, CASE_NORMAL, 1, tolerance));
  if (s->sgd.momentum == 0) return HEED_OK;
  return case_state(env, "momentum_buffer", c->dtype, 1, &s->n, CASE_NORMAL, 1, tolerance);
}
static heed_status sgd_run(case_env *env, const heed_case *c) {
  return heed_sgd(&c->u.update.sgd, case_get(env, "grad"), case_get(env, "param"), case_get(env, "momentum_buffer"));
}

static void add_sgd(case_list *list, const char *name, int64_t n, const heed_sgd_options *options, int dtype,
                    int level) {
  heed_case *c = case_append(list, &sgd_family, case_floats[dtype], level);
  if (!c) return;
  c->u.update = (update_shape){.n = n, .sgd = *options};
  CASE_NAME(c, "sgd_%s%s", name, case_suffixes[dtype]);
}

static void sgd_cases(case_list *list) {
  static const heed_sgd_options options[] = {
      {.lr = 0.1},
      {.lr = 0.01, .momentum = 0.5},
      {.lr = 0.01, .momentum = 0.5, .first = true},
      {.lr = 0.05, .momentum = 0.9, .dampening = 0.3},
      {.lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 0.001},
  };
  for (size_t i = 0; i < sizeof options / sizeof *options; ++i)
    for (int dtype = 0; dtype < 3; ++dtype) {
      char name[16];
      snprintf(name, sizeof name, "%zu", i);
      add_sgd(list, name, 1001, &options[i], dtype, dtype ? 1 : 0);
    }
}

static void sgd_tiny(case_list *list) {
  add_sgd(list, "plain", 4, &(heed_sgd_options){.lr = 0.1}, 0, 0);
  add_sgd(list, "nesterov", 4, &(heed_sgd_options){.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1},
          0, 0);
}

const case_family sgd_family = {.op = "sgd", .setup = sgd_setup, .run = sgd_run, .cases = sgd_cases, .tiny = sgd_tiny};

// ---------------------------------------------------------------- AdamW

// Ranges that decay, of n elements: none at the start, one short, one up to the end.
static heed_status make_ranges(case_env *env, int64_t n) {
  const int64_t ranges[] = {n / 7, n / 7 + 1, n / 3, n / 2, 2 * n / 3, n};
  return case_input_data(env, "decaying", HEED_I64, 2, DIMS(3, 2), ranges);
}

static heed_status adamw_setup(case_env *env, const heed_case *c) {
  const adamw_shape *s = &c->u.adamw;
  const double tolerance = heed_tolerance(HEED_F32, false);
  const int32_t steps = (int32_t)s->options.step;
  const float factor = (float)s->factor;
  TRY(case_input(env, "grad", c->dtype, 1, &s->n, s->fill, 1));
  if (s->ranges) TRY(make_ranges(env, s->n));
  if (s->factor != 0) TRY(case_input_data(env, "factor", HEED_F32, 1, DIMS(1), &factor));
  if (s->steps) TRY(case_input_data(env, "steps", HEED_I32, 1, DIMS(1), &steps));
  if (env->timing) {  // no initial values beside them: there may be gigabytes
    TRY(case_input(env, "param", HEED_F32, 1, &s->n, CASE_SAME, 1));
    TRY(case_input(env, "exp_avg", HEED_F32, 1, &s->n, CASE_SAME, 0.1));
    return case_input(env, "exp_avg_sq", HEED_F32, 1, &s->n, CASE_SAME, 0.1);
  }
  TRY(case_state(env, "param", HEED_F32, 1, &s->n, CASE_NORMAL, 1, tolerance));
  TRY(case_state(env, "exp_avg", HEED_F32, 1, &s->n, CASE_NORMAL, 0.1, tolerance));
  TRY(case_state(env, "exp_avg_sq", HEED_F32, 1, &s->n, CASE_UNIFORM, 0.1, tolerance));
  if (!s->copy) return HEED_OK;
  const heed_dtype copy = c->dtype == HEED_F32 ? HEED_BF16 : c->dtype;
  return case_state(env, "copy", copy, 1, &s->n, CASE_NORMAL, 1, heed_tolerance(copy, false));
}

static heed_status adamw_run(case_env *env, const heed_case *c) {
  const heed_adamw_inputs inputs = {.grad = case_get(env, "grad"),
                                    .decaying = case_get(env, "decaying"),
                                    .factor = case_get(env, "factor"),
                                    .steps = case_get(env, "steps")};
  heed_adamw_options options = c->u.adamw.options;
  if (inputs.steps) options.step = 0;
  return heed_adamw(&options, &inputs, case_get(env, "param"), case_get(env, "exp_avg"), case_get(env, "exp_avg_sq"),
                    case_get(env, "copy"));
}

// Reads the gradient, and reads and writes param and two moments.
static double adamw_bytes(const heed_case *c) {
  return (double)c->u.adamw.n * (6.0 * 4 + (double)heed_dtype_size(c->dtype));
}

static double adamw_operations(const heed_case *c) { return 16 * (double)c->u.adamw.n; }

static void add_adamw(case_list *list, const adamw_shape *s, size_t number, int dtype, int level) {
  heed_case *c = case_append(list, &adamw_family, case_floats[dtype], level);
  if (!c) return;
  c->u.adamw = *s;
  CASE_NAME(c, "adamw_%zu_%lld%s", number, (long long)s->n, case_suffixes[dtype]);
}

#define USUAL .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8

static void adamw_cases(case_list *list) {
  static const adamw_shape shapes[] = {
      {.n = 1001, .options = {USUAL, .step = 1}},
      {.n = 1001, .options = {USUAL, .weight_decay = 0.1, .step = 7}, .ranges = true, .steps = true},
      {.n = 5, .options = {USUAL, .weight_decay = 0.1, .step = 2}, .ranges = true},
      {.n = 9001, .options = {USUAL, .weight_decay = 0.1, .step = 100000}, .ranges = true, .copy = true, .factor = 0.3},
      {.n = 4097, .options = {.lr = 0.1, .eps = 1e-3, .step = 3}, .copy = true},
      {.n = 333, .options = {USUAL, .weight_decay = 0.1, .step = 4}, .copy = true, .factor = INFINITY},
      {.n = 333, .options = {USUAL, .step = 1000000}, .steps = true, .fill = CASE_OUTLIER},
      {.n = 333, .options = {USUAL, .step = 4}, .fill = CASE_ZERO},
      {.n = 333, .options = {USUAL, .step = 4}, .fill = CASE_DENORMAL, .factor = 1e-5},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i)
    for (int dtype = 0; dtype < CASE_FLOATS; ++dtype) add_adamw(list, &shapes[i], i, dtype, dtype ? 1 : 0);
}

static void adamw_tiny(case_list *list) {
  static const adamw_shape shape = {.n = 43,
                                    .options = {USUAL, .weight_decay = 0.1, .step = 7},
                                    .ranges = true,
                                    .steps = true,
                                    .copy = true,
                                    .factor = 0.5};
  add_adamw(list, &shape, 0, 0, 0);
  add_adamw(list, &(adamw_shape){.n = 5, .options = {USUAL, .step = 1}}, 1, 0, 0);
}

const case_family adamw_family = {.op = "adamw",
                                  .setup = adamw_setup,
                                  .run = adamw_run,
                                  .bytes = adamw_bytes,
                                  .operations = adamw_operations,
                                  .cases = adamw_cases,
                                  .tiny = adamw_tiny};

// ---------------------------------------------------------------- square roots

static heed_status sqrt_setup(case_env *env, const heed_case *c) {
  const int64_t n = c->u.update.n;
  TRY(case_input(env, "a", HEED_F32, 1, &n, CASE_UNIFORM, 30));
  TRY(case_input(env, "x0", HEED_F32, 1, &n, CASE_SAME, 1));
  return case_output(env, "x", HEED_F32, 1, &n, heed_tolerance(HEED_F32, false));
}
static heed_status sqrt_run(case_env *env, const heed_case *c) {
  return heed_sqrt_sgd(&c->u.update.sqrt, case_get(env, "a"), case_get(env, "x0"), case_get(env, "x"));
}

static void add_sqrt(case_list *list, int64_t n, heed_sqrt_options options) {
  heed_case *c = case_append(list, &sqrt_sgd_family, HEED_F32, 0);
  if (!c) return;
  c->u.update = (update_shape){.n = n, .sqrt = options};
  CASE_NAME(c, "sqrt_sgd_%lld", (long long)n);
}

static void sqrt_cases(case_list *list) {
  add_sqrt(list, 37, (heed_sqrt_options){.lr = 0.001, .epochs = 3000, .tolerance = 0});
}
static void sqrt_tiny(case_list *list) {
  add_sqrt(list, 4, (heed_sqrt_options){.lr = 0.01, .epochs = 3, .tolerance = 1e-6});
}

const case_family sqrt_sgd_family = {
    .op = "sqrt_sgd", .setup = sqrt_setup, .run = sqrt_run, .cases = sqrt_cases, .tiny = sqrt_tiny};
