// Matrix products as cases: gemm, linear, and the modules mha and mlp.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

// ---------------------------------------------------------------- gemm

static heed_status gemm_setup(case_env *env, const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  TRY(case_input(env, "a", c->dtype, 3, DIMS(s->batch, s->ta ? s->k : s->m, s->ta ? s->m : s->k), CASE_NORMAL, 1));
  TRY(case_input(env, "b", c->dtype, 3, DIMS(s->batch, s->tb ? s->n : s->k, s->tb ? s->k : s->n), CASE_NORMAL, 1));
  if (s->beta == 0)
    return case_output(env, "c", c->dtype, 3, DIMS(s->batch, s->m, s->n), heed_tolerance(c->dtype, false));
  return case_state(env, "c", c->dtype, 3, DIMS(s->batch, s->m, s->n), CASE_NORMAL, 1, heed_tolerance(c->dtype, false));
}
static heed_status gemm_run(case_env *env, const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  return heed_gemm(s->ta, s->tb, s->alpha, case_get(env, "a"), case_get(env, "b"), s->beta, case_get(env, "c"));
}
static double gemm_flops(const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  return 2.0 * (double)s->batch * (double)s->m * (double)s->n * (double)s->k;
}
static double gemm_bytes(const heed_case *c) {
  const gemm_shape *s = &c->u.gemm;
  return (double)(s->batch * (s->m * s->k + s->k * s->n + s->m * s->n)) * (double)heed_dtype_size(c->dtype);
}
const case_family case_gemm = {"gemm", gemm_setup, gemm_run, gemm_flops, gemm_bytes};

// ---------------------------------------------------------------- linear

static heed_status linear_setup(case_env *env, const heed_case *c) {
  const linear_shape *s = &c->u.linear;
  const double gradient = heed_tolerance(c->dtype, true);
  TRY(case_input(env, "x", c->dtype, 2, DIMS(s->rows, s->in), CASE_NORMAL, 1));
  TRY(case_input(env, "weight", c->dtype, 2, DIMS(s->out, s->in), CASE_NORMAL, 1));
  TRY(case_input(env, "dy", c->dtype, 2, DIMS(s->rows, s->out), CASE_NORMAL, 1));
  TRY(case_output(env, "y", c->dtype, 2, DIMS(s->rows, s->out), heed_tolerance(c->dtype, false)));
  TRY(case_output(env, "dx", c->dtype, 2, DIMS(s->rows, s->in), gradient));
  TRY(case_output(env, "dweight", c->dtype, 2, DIMS(s->out, s->in), gradient));
  if (!s->bias) return HEED_OK;
  TRY(case_input(env, "bias", c->dtype, 1, DIMS(s->out), CASE_NORMAL, 1));
  return case_output(env, "dbias", c->dtype, 1, DIMS(s->out), gradient);
}
static heed_status linear_run(case_env *env, const heed_case *c) {
  heed_tensor *x = case_get(env, "x"), *weight = case_get(env, "weight"), *y = case_get(env, "y");
  const heed_tensor *bias = case_get(env, "bias"), *dy = case_get(env, "dy");
  heed_tensor *dx = case_get(env, "dx"), *dweight = case_get(env, "dweight"), *dbias = case_get(env, "dbias");
  if (c->u.linear.relu) {
    TRY(heed_linear_relu_fwd(x, weight, bias, y));
    return heed_relu_linear_bwd(x, weight, dy, dx, dweight, dbias);
  }
  TRY(heed_linear_fwd(x, weight, bias, y));
  return heed_linear_bwd(x, weight, dy, dx, dweight, dbias);
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
const case_family case_linear = {"linear", linear_setup, linear_run, linear_flops, linear_bytes};

// ---------------------------------------------------------------- modules

// Copies a module's gradients into outputs of the case, so that guards, poison and comparison see them.
static heed_status copy_grads(case_env *env, const heed_parameter *parameters, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    char name[32];
    snprintf(name, sizeof name, "grad.%s", parameters[i].name);
    heed_tensor *out = case_get(env, name);
    if (out) TRY(heed_copy(parameters[i].grad, out));
  }
  return HEED_OK;
}

static heed_status add_grads(case_env *env, const heed_case *c, const heed_parameter *parameters, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    char name[32];
    snprintf(name, sizeof name, "grad.%s", parameters[i].name);
    TRY(case_output(env, name, c->dtype, heed_tensor_rank(parameters[i].grad), heed_tensor_dims(parameters[i].grad),
                    heed_tolerance(c->dtype, true)));
  }
  return HEED_OK;
}

static void free_mha(void *module) { heed_mha_destroy(module); }

static heed_status mha_setup(case_env *env, const heed_case *c) {
  const mha_shape *s = &c->u.mha;
  heed_mha *mha;
  TRY(heed_mha_create(
      env->ctx,
      &(heed_mha_config){.embed_dim = s->model, .heads = s->heads, .kv_heads = s->kv_heads, .dtype = c->dtype}, 7,
      &mha));
  env->module = mha;
  env->module_free = free_mha;
  TRY(case_input(env, "query", c->dtype, 3, DIMS(s->b, s->lq, s->model), CASE_NORMAL, 1));
  if (s->cross) TRY(case_input(env, "key", c->dtype, 3, DIMS(s->b, s->lk, s->model), CASE_NORMAL, 1));
  TRY(case_output(env, "out", c->dtype, 3, DIMS(s->b, s->lq, s->model), heed_tolerance(c->dtype, false)));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_input(env, "dout", c->dtype, 3, DIMS(s->b, s->lq, s->model), CASE_NORMAL, 1));
  TRY(case_output(env, "dquery", c->dtype, 3, DIMS(s->b, s->lq, s->model), heed_tolerance(c->dtype, true)));
  if (s->cross) TRY(case_output(env, "dkey", c->dtype, 3, DIMS(s->b, s->lk, s->model), heed_tolerance(c->dtype, true)));
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(mha, &parameters);
  // The gradient of the key bias is 0 but for rounding (it shifts every score of a row alike), so it is not compared.
  for (size_t i = 0; i < count; ++i)
    if (parameters[i].name[0] != 'k' || heed_tensor_rank(parameters[i].value) == 2)
      TRY(add_grads(env, c, &parameters[i], 1));
  return HEED_OK;
}

static heed_status mha_run(case_env *env, const heed_case *c) {
  heed_mha *mha = env->module;
  const bool train = c->phase != CASE_FORWARD;
  TRY(heed_mha_fwd(mha, case_get(env, "query"), case_get(env, "key"), NULL, NULL, NULL, &c->u.mha.options, train,
                   case_get(env, "out"), NULL));
  if (!train) return HEED_OK;
  TRY(heed_mha_bwd(mha, case_get(env, "dout"), case_get(env, "dquery"), case_get(env, "dkey"), NULL, NULL));
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(mha, &parameters);
  return env->timing ? HEED_OK : copy_grads(env, parameters, count);
}

// Four projections and the attention between them; the backward has twice the projections' products.
static double mha_flops(const heed_case *c) {
  const mha_shape *s = &c->u.mha;
  const double width = (double)s->model,
               kv_width = width * (double)(s->kv_heads ? s->kv_heads : s->heads) / (double)s->heads;
  const double lk = (double)(s->cross ? s->lk : s->lq);
  const double projections = 2 * (double)s->b * (2 * (double)s->lq * width * width + 2 * lk * width * kv_width);
  const attention_shape inner = {.b = s->b, .hq = s->heads, .lq = s->lq, .lk = (int64_t)lk, .options = s->options};
  const double pairs = (double)(s->b * s->heads) * case_attended_pairs(&inner), d = width / (double)s->heads;
  const double forward = projections + 4 * pairs * d, backward = 2 * projections + 10 * pairs * d;
  return c->phase == CASE_FORWARD ? forward : forward + backward;
}
// The tensors of each projection and of the attention, once for every operator that reads or writes them.
static double mha_bytes(const heed_case *c) {
  const mha_shape *s = &c->u.mha;
  const double width = (double)s->model, share = (double)(s->kv_heads ? s->kv_heads : s->heads) / (double)s->heads;
  const double queries = (double)(s->b * s->lq) * width, keys = (double)(s->b * (s->cross ? s->lk : s->lq)) * width;
  const double weights = 2 * width * width * (1 + share);
  const double forward = 6 * queries + (2 + 4 * share) * keys + weights;
  const double backward = 10 * queries + (4 + 6 * share) * keys + 2 * weights;
  return (c->phase == CASE_FORWARD ? forward : forward + backward) * (double)heed_dtype_size(c->dtype);
}
const case_family case_mha = {"mha", mha_setup, mha_run, mha_flops, mha_bytes};

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

static heed_status mlp_setup(case_env *env, const heed_case *c) {
  const mlp_shape *s = &c->u.mlp;
  mlp_module *module = calloc(1, sizeof *module);
  if (!module) return HEED_ERROR_OUT_OF_MEMORY;
  env->module = module;
  env->module_free = free_mlp;
  TRY(heed_mlp_create(env->ctx, s->sizes, (size_t)s->count, c->dtype, 11, &module->mlp));
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(module->mlp, &parameters);
  TRY(heed_optimizer_create(env->ctx, parameters, count, &(heed_sgd_options){.lr = 0.01, .momentum = 0.5},
                            &module->optimizer));
  TRY(case_input(env, "x", c->dtype, 2, DIMS(s->batch, s->sizes[0]), CASE_NORMAL, 1));
  uint8_t *target = malloc((size_t)s->batch);
  if (!target) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t i = 0; i < s->batch; ++i)
    target[i] = (uint8_t)(case_random(env, (uint64_t)i) * (double)s->sizes[s->count - 1]);
  heed_status status = case_input_data(env, "target", HEED_U8, 1, &s->batch, target);
  free(target);
  TRY(status);
  TRY(case_output(env, "logits", c->dtype, 2, DIMS(s->batch, s->sizes[s->count - 1]), heed_tolerance(c->dtype, false)));
  TRY(case_output(env, "loss", HEED_F32, 1, DIMS(1), heed_tolerance(c->dtype, false)));
  return add_grads(env, c, parameters, count);
}

static heed_status mlp_run(case_env *env, const heed_case *c) {
  (void)c;
  mlp_module *module = env->module;
  TRY(heed_mlp_loss(module->mlp, case_get(env, "x"), case_get(env, "target"), case_get(env, "logits"),
                    case_get(env, "loss")));
  // Timed, a case is a whole training step; compared, it stops before the update so that a second run repeats the first.
  if (env->timing) return heed_optimizer_step(module->optimizer);
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(module->mlp, &parameters);
  return copy_grads(env, parameters, count);
}

// Forward and both gradients of each layer, less the first layer's input gradient, which nobody asks for.
static double mlp_flops(const heed_case *c) {
  const mlp_shape *s = &c->u.mlp;
  double flops = 0;
  for (int i = 0; i + 1 < s->count; ++i)
    flops += (i ? 6.0 : 4.0) * (double)s->batch * (double)s->sizes[i] * (double)s->sizes[i + 1];
  return flops;
}
// Each layer's forward, its gradients and its update: the weight is read, written by the update and read once more past
// the first layer for the input's gradient; its gradient is written and read; its momentum is read and written.
static double mlp_bytes(const heed_case *c) {
  const mlp_shape *s = &c->u.mlp;
  double values = 0;
  for (int i = 0; i + 1 < s->count; ++i) {
    const double in = (double)s->sizes[i], out = (double)s->sizes[i + 1];
    values += (double)s->batch * ((i ? 3 : 2) * in + 2 * out) + (i ? 8 : 7) * in * out;
  }
  return values * (double)heed_dtype_size(c->dtype);
}
const case_family case_mlp = {"mlp", mlp_setup, mlp_run, mlp_flops, mlp_bytes};

// ---------------------------------------------------------------- parameters

static size_t parameters_of(const case_env *env, const heed_parameter **parameters) {
  if (env->of->family == &case_mha) return heed_mha_parameters(env->module, parameters);
  if (env->of->family == &case_mlp) return heed_mlp_parameters(((const mlp_module *)env->module)->mlp, parameters);
  return 0;
}

heed_tensor *case_parameter(const case_env *env, const char *name) {
  const heed_parameter *parameters;
  const size_t count = parameters_of(env, &parameters);
  for (size_t i = 0; i < count; ++i)
    if (strcmp(parameters[i].name, name) == 0) return parameters[i].value;
  return NULL;
}
