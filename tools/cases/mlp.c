// A training step of a classifier, an mlp or a vit, as a case: loss, gradients and, timed, the mlp's update.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"

// A training step: the module, its optimizer, and the batch.
typedef struct mlp_module {
  heed_mlp *mlp;
  heed_optimizer *optimizer;
} mlp_module;

static void free_mlp(void *module) {
  mlp_module *m = module;
  heed_optimizer_destroy(m->optimizer);
  heed_mlp_destroy(m->mlp);
  free(m);
}

// Class indices "target" [batch].
static heed_status add_target(case_env *env, int64_t batch, int64_t classes) {
  uint8_t *target = malloc((size_t)batch);
  if (!target) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < batch; ++i) target[i] = (uint8_t)(case_random(env, (uint64_t)i) * (double)classes);
  const heed_status status = case_input_data(env, "target", HEED_U8, 1, &batch, target);
  free(target);
  return status;
}

// ---------------------------------------------------------------- mlp

static heed_status mlp_setup(case_env *env, const heed_case *c) {
  const mlp_shape *s = &c->u.mlp;
  mlp_module *module = calloc(1, sizeof *module);
  if (!module) return HEED_ERROR_OUT_OF_MEMORY;
  env->module = module;
  env->module_free = free_mlp;
  TRY(heed_mlp_create(env->ctx, &(heed_mlp_config){.sizes = s->sizes, .count = (size_t)s->count, .dtype = c->dtype}, 11,
                      &module->mlp));
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(module->mlp, &parameters);
  TRY(heed_optimizer_create(parameters, count, &(heed_optimizer_config){.sgd = {.lr = 0.01, .momentum = 0.5}},
                            &module->optimizer));
  TRY(case_input(env, "x", c->dtype, 2, DIMS(s->batch, s->sizes[0]), CASE_NORMAL, 1));
  TRY(add_target(env, s->batch, s->sizes[s->count - 1]));
  TRY(case_output(env, "logits", c->dtype, 2, DIMS(s->batch, s->sizes[s->count - 1]), heed_tolerance(c->dtype, false)));
  TRY(case_output(env, "loss", HEED_F32, 1, DIMS(1), heed_tolerance(c->dtype, false)));
  return case_add_grads(env, c, parameters, count);
}

static heed_status mlp_run(case_env *env, const heed_case *c) {
  (void)c;
  mlp_module *module = env->module;
  TRY(heed_mlp_loss(module->mlp, case_get(env, "x"), case_get(env, "target"), case_get(env, "logits"),
                    case_get(env, "loss"), false));
  // If it is timed, a case is a complete training step. If it is compared, it stops before the update, so that a second run repeats the
  // first.
  if (env->timing) return heed_optimizer_step(module->optimizer);
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(module->mlp, &parameters);
  return case_copy_grads(env, parameters, count);
}

// Forward and both gradients of each layer, except the first layer's input gradient, which nobody needs.
static double mlp_flops(const heed_case *c) {
  const mlp_shape *s = &c->u.mlp;
  double flops = 0;
  for (int i = 0; i + 1 < s->count; ++i)
    flops += (i ? 6.0 : 4.0) * (double)s->batch * (double)s->sizes[i] * (double)s->sizes[i + 1];
  return flops;
}
// Each layer's forward, gradients and update. The weight is read, is written by the update and, except in the first layer, is read again
// for the input's gradient. Its gradient is written and read, and its momentum is read and written.
static double mlp_bytes(const heed_case *c) {
  const mlp_shape *s = &c->u.mlp;
  double values = 0;
  for (int i = 0; i + 1 < s->count; ++i) {
    const double in = (double)s->sizes[i], out = (double)s->sizes[i + 1];
    values += (double)s->batch * ((i ? 3 : 2) * in + 2 * out) + (i ? 8 : 7) * in * out;
  }
  return values * (double)heed_dtype_size(c->dtype);
}

static size_t mlp_parameters(const case_env *env, const heed_parameter **parameters) {
  return heed_mlp_parameters(((const mlp_module *)env->module)->mlp, parameters);
}

// Sets the biases of an mlp's hidden units to ±4 in the first layer, seven deviations of what normal x and the initial weights add to it,
// and to four times as much in each further layer. So half of the units are on and half off, even if everything else moves a little.
static heed_status settle_units(const case_env *env, const heed_case *c) {
  float values[1024], size = 4;
  for (int layer = 1; layer + 1 < c->u.mlp.count; ++layer, size *= 4) {
    char name[16];
    snprintf(name, sizeof name, "l%d.bias", layer);
    heed_tensor *bias = case_parameter(env, name);
    const int64_t count = bias ? heed_tensor_count(bias) : 0;
    if (count == 0 || count > (int64_t)(sizeof values / sizeof *values)) return HEED_ERROR_INVALID_ARGUMENT;
    for (int64_t i = 0; i < count; ++i) values[i] = i % 2 ? size : -size;
    TRY(heed_tensor_upload_f32(bias, values, count));
  }
  return HEED_OK;
}

static void add_mlp(case_list *list, const mlp_shape *s) {
  heed_case *c = case_append(list, &mlp_family, HEED_F32, 0);
  if (!c) return;
  c->u.mlp = *s;
  CASE_NAME(c, "mlp_b%lld_%lld_%lld", (long long)s->batch, (long long)s->sizes[0], (long long)s->sizes[1]);
}

static void mlp_cases(case_list *list) {
  static const mlp_shape mlp[] = {
      {3, {5, 2}, 2}, {33, {19, 64, 33, 7}, 4}, {64, {784, 512, 10}, 3}, {31, {784, 512, 10}, 3}};
  for (size_t i = 0; i < sizeof mlp / sizeof *mlp; ++i) add_mlp(list, &mlp[i]);
}

static void mlp_tiny(case_list *list) { add_mlp(list, &(mlp_shape){3, {5, 4, 2}, 3}); }

const case_family mlp_family = {
    .op = "mlp",
    .setup = mlp_setup,
    .run = mlp_run,
    .flops = mlp_flops,
    .bytes = mlp_bytes,
    .cases = mlp_cases,
    .tiny = mlp_tiny,
    .parameters = mlp_parameters,
    .result = "loss",
    .has_gradient = case_any,
    .settle = settle_units,
};

// ---------------------------------------------------------------- vit

typedef struct vit_module {
  heed_vit *vit;
  heed_tensor *gradients;  // of all parameters, seen as one
} vit_module;

static void free_vit(void *module) {
  vit_module *m = module;
  heed_tensor_destroy(m->gradients);
  heed_vit_destroy(m->vit);
  free(m);
}

static size_t vit_parameters(const case_env *env, const heed_parameter **parameters) {
  return heed_vit_parameters(((const vit_module *)env->module)->vit, parameters);
}

static heed_status vit_setup(case_env *env, const heed_case *c) {
  const vit_shape *s = &c->u.vit;
  heed_vit_config config = s->config;
  config.dtype = c->dtype;
  vit_module *m = calloc(1, sizeof *m);
  if (!m) return HEED_ERROR_OUT_OF_MEMORY;
  env->module = m;
  env->module_free = free_vit;
  TRY(heed_vit_create(env->ctx, &config, 11, &m->vit));
  TRY(case_input(env, "images", c->dtype, 2, DIMS(s->batch, config.rows * config.cols), CASE_NORMAL, 1));
  TRY(add_target(env, s->batch, config.classes));
  TRY(case_output(env, "logits", c->dtype, 2, DIMS(s->batch, config.classes), heed_tolerance(c->dtype, false)));
  TRY(case_output(env, "loss", HEED_F32, 1, DIMS(1), heed_tolerance(c->dtype, false)));
  const heed_parameter *parameters;
  const size_t count = vit_parameters(env, &parameters);
  return case_join_grads(env, c, parameters, count, &m->gradients);
}

static heed_status vit_run(case_env *env, const heed_case *c) {
  (void)c;
  vit_module *m = env->module;
  TRY(heed_vit_loss(m->vit, case_get(env, "images"), case_get(env, "target"), 1, case_get(env, "logits"),
                    case_get(env, "loss"), false));
  return heed_copy(m->gradients, case_get(env, "gradients"));
}

static void add_vit(case_list *list, const vit_shape *s, int dtype, int level) {
  heed_case *c = case_append(list, &vit_family, case_floats[dtype], level);
  if (!c) return;
  c->u.vit = *s;
  CASE_NAME(c, "vit_b%lld_%lldx%lld_w%lld%s%s", (long long)s->batch, (long long)s->config.rows,
            (long long)s->config.cols, (long long)s->config.width, s->config.dropout > 0 ? "_dropout" : "",
            case_suffixes[dtype]);
}

static void vit_cases(case_list *list) {
  const vit_shape wide = {
      .batch = 3, .config = {.rows = 6, .cols = 9, .patch = 3, .classes = 5, .layers = 2, .width = 24, .heads = 4}};
  vit_shape digits = {
      .batch = 5, .config = {.rows = 28, .cols = 28, .patch = 7, .classes = 10, .layers = 1, .width = 64, .heads = 4}};
  for (int dtype = 0; dtype < CASE_FLOATS; ++dtype) add_vit(list, &wide, dtype, dtype ? 1 : 0);
  add_vit(list, &digits, 0, 0);
  digits.config.dropout = 0.1;
  add_vit(list, &digits, 0, 1);
}

static void vit_tiny(case_list *list) {
  const vit_shape s = {
      .batch = 2,
      .config = {.rows = 2, .cols = 4, .patch = 2, .classes = 3, .layers = 1, .width = 4, .heads = 2, .ffn = 6}};
  add_vit(list, &s, 0, 0);
}

const case_family vit_family = {
    .op = "vit",
    .setup = vit_setup,
    .run = vit_run,
    .cases = vit_cases,
    .tiny = vit_tiny,
    .parameters = vit_parameters,
};
