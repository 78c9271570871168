// Multi-head attention as a case: the module with its projections, forward and backward.
#include <stdio.h>

#include "cases/case.h"

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
  // The gradient of the key bias is 0 except for rounding (the bias shifts every score of a row alike), so do not compare it.
  for (size_t i = 0; i < count; ++i)
    if (parameters[i].name[0] != 'k' || heed_tensor_rank(parameters[i].value) == 2)
      TRY(case_add_grads(env, c, &parameters[i], 1));
  return HEED_OK;
}

static heed_status mha_run(case_env *env, const heed_case *c) {
  heed_mha *mha = env->module;
  const bool train = c->phase != CASE_FORWARD;
  const heed_mha_inputs inputs = {.query = case_get(env, "query"), .key = case_get(env, "key")};
  TRY(heed_mha_fwd(mha, &inputs, &c->u.mha.options, train, case_get(env, "out"), NULL));
  if (!train) return HEED_OK;
  TRY(heed_mha_bwd(mha, case_get(env, "dout"), case_get(env, "dquery"), case_get(env, "dkey"), NULL, NULL, false));
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(mha, &parameters);
  return env->timing ? HEED_OK : case_copy_grads(env, parameters, count);
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
// The tensors of each projection and of the attention, counted once for every operator that reads or writes them.
static double mha_bytes(const heed_case *c) {
  const mha_shape *s = &c->u.mha;
  const double width = (double)s->model, share = (double)(s->kv_heads ? s->kv_heads : s->heads) / (double)s->heads;
  const double queries = (double)(s->b * s->lq) * width, keys = (double)(s->b * (s->cross ? s->lk : s->lq)) * width;
  const double weights = 2 * width * width * (1 + share);
  const double forward = 6 * queries + (2 + 4 * share) * keys + weights;
  const double backward = 10 * queries + (4 + 6 * share) * keys + 2 * weights;
  return (c->phase == CASE_FORWARD ? forward : forward + backward) * (double)heed_dtype_size(c->dtype);
}

static size_t mha_parameters(const case_env *env, const heed_parameter **parameters) {
  return heed_mha_parameters(env->module, parameters);
}

static bool mha_has_gradient(const heed_case *c) {
  return c->u.mha.b * c->u.mha.lq * c->u.mha.model < CASE_MOST_PROBED;
}

// ---------------------------------------------------------------- shapes

static void add_mha(case_list *list, const mha_shape *s) {
  heed_case *c = case_append(list, &mha_family, HEED_F32, 0);
  if (!c) return;
  c->u.mha = *s;
  CASE_NAME(c, "mha_b%lldq%lldm%lldh%lld", (long long)s->b, (long long)s->lq, (long long)s->model, (long long)s->heads);
}

static void mha_cases(case_list *list) {
  static const mha_shape mha[] = {
      {.b = 2, .lq = 33, .model = 80, .heads = 2, .options = {.causal = HEED_CAUSAL_TOP_LEFT}},
      {.b = 2, .lq = 17, .lk = 41, .model = 120, .heads = 3, .kv_heads = 1, .cross = true},
      {.b = 1, .lq = 130, .model = 160, .heads = 4},
  };
  for (size_t i = 0; i < sizeof mha / sizeof *mha; ++i) add_mha(list, &mha[i]);
}

static void mha_tiny(case_list *list) {
  add_mha(list, &(mha_shape){.b = 1, .lq = 3, .model = 8, .heads = 2, .options = {.causal = HEED_CAUSAL_TOP_LEFT}});
}

const case_family mha_family = {
    .op = "mha",
    .setup = mha_setup,
    .run = mha_run,
    .flops = mha_flops,
    .bytes = mha_bytes,
    .cases = mha_cases,
    .tiny = mha_tiny,
    .parameters = mha_parameters,
    .result = "out",
    .has_gradient = mha_has_gradient,
};
