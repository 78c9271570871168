// Multi-head attention: three projections, attention per head, one projection back. Strides alone separate the heads: attention reads a
// projection's [B, L, H·D] in place as [B, H, L, D].
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "nn/module.h"

enum projection { Q, K, V, O, PROJECTIONS };
static const char letters[PROJECTIONS] = {'q', 'k', 'v', 'o'};

// [B, L, H·D] for the projections, and the same memory as [B, H, L, D].
struct heads {
  struct heed__scratch packed;
  heed_tensor *split;
};

// What a forward leaves for its backward; borrowed from the caller.
struct call {
  bool ready;
  const heed_tensor *query, *key, *value;  // key and value are NULL if the caller gave NULL
  const heed_tensor *input[O];             // what each of the three projections read
  heed_attention_inputs attention;
  heed_attention_options options;
};

struct heed_mha {
  heed_context *ctx;
  heed_mha_config config;  // with all defaults filled in
  int64_t in[PROJECTIONS], out[PROJECTIONS];
  heed_parameter parameters[2 * PROJECTIONS];
  size_t count;
  heed_parameter *weight[PROJECTIONS], *bias[PROJECTIONS];  // into parameters; bias NULL: none
  struct heads x[PROJECTIONS], dx[PROJECTIONS];             // q, k, v and what attention makes of them; their gradients
  struct heed__scratch lse;
  struct heed__scratch share;  // one projection's part of an input gradient that is a sum
  struct call call;
};

// ---------------------------------------------------------------- creation

static int64_t otherwise(int64_t value, int64_t fallback) { return value != 0 ? value : fallback; }

static heed_status complete(heed_mha_config *c) {
  HEED__REQUIRE(c->embed_dim >= 1, HEED_ERROR_INVALID_ARGUMENT, "mha: embed_dim is %" PRId64 "; at least 1 is needed",
                c->embed_dim);
  HEED__REQUIRE(c->heads >= 1, HEED_ERROR_INVALID_ARGUMENT, "mha: heads is %" PRId64 "; at least 1 is needed",
                c->heads);
  HEED__REQUIRE(c->head_dim != 0 || c->embed_dim % c->heads == 0, HEED_ERROR_INVALID_ARGUMENT,
                "mha: embed_dim %" PRId64 " is not a multiple of %" PRId64 " heads, and there is no head_dim",
                c->embed_dim, c->heads);
  c->key_dim = otherwise(c->key_dim, c->embed_dim);
  c->value_dim = otherwise(c->value_dim, c->embed_dim);
  c->kv_heads = otherwise(c->kv_heads, c->heads);
  c->head_dim = otherwise(c->head_dim, c->embed_dim / c->heads);
  c->value_head_dim = otherwise(c->value_head_dim, c->head_dim);
  c->out_dim = otherwise(c->out_dim, c->embed_dim);
  HEED__REQUIRE(c->key_dim >= 1 && c->value_dim >= 1 && c->head_dim >= 1 && c->value_head_dim >= 1 && c->out_dim >= 1,
                HEED_ERROR_INVALID_ARGUMENT,
                "mha: key_dim %" PRId64 ", value_dim %" PRId64 ", head_dim %" PRId64 ", value_head_dim %" PRId64
                ", out_dim %" PRId64 ": each must be at least 1",
                c->key_dim, c->value_dim, c->head_dim, c->value_head_dim, c->out_dim);
  HEED__REQUIRE(c->kv_heads >= 1 && c->heads % c->kv_heads == 0, HEED_ERROR_INVALID_ARGUMENT,
                "mha: heads %" PRId64 " is not a multiple of kv_heads %" PRId64, c->heads, c->kv_heads);
  HEED__REQUIRE(heed_dtype_is_float(c->dtype), HEED_ERROR_DTYPE, "mha: dtype %s; F32, F16 or BF16 is needed",
                heed_dtype_string(c->dtype));
  return HEED_OK;
}

static heed_status lay_out(heed_mha *mha) {
  const heed_mha_config *c = &mha->config;
  mha->in[Q] = c->embed_dim;
  mha->in[K] = c->key_dim;
  mha->in[V] = c->value_dim;
  const bool fits =
      heed__mul(c->heads, c->head_dim, &mha->out[Q]) && heed__mul(c->kv_heads, c->head_dim, &mha->out[K]) &&
      heed__mul(c->kv_heads, c->value_head_dim, &mha->out[V]) && heed__mul(c->heads, c->value_head_dim, &mha->in[O]);
  HEED__REQUIRE(fits, HEED_ERROR_OVERFLOW, "mha: heads times head_dim does not fit 64 bits");
  mha->out[O] = c->out_dim;
  return HEED_OK;
}

static void plan_projection(heed_mha *mha, enum projection p, bool no_bias, struct heed__parameter_plan *plans) {
  struct heed__parameter_plan *plan = &plans[mha->count];
  *plan = (struct heed__parameter_plan){.rank = 2,
                                        .dims = {mha->out[p], mha->in[p]},
                                        .bound = sqrt(6 / ((double)mha->out[p] + (double)mha->in[p])),
                                        .stream = (uint64_t)p};
  snprintf(plan->name, sizeof plan->name, "%c_proj.weight", letters[p]);
  mha->weight[p] = &mha->parameters[mha->count++];
  if (no_bias) return;
  plan = &plans[mha->count];
  *plan = (struct heed__parameter_plan){.rank = 1, .dims = {mha->out[p]}};
  snprintf(plan->name, sizeof plan->name, "%c_proj.bias", letters[p]);
  mha->bias[p] = &mha->parameters[mha->count++];
}

static heed_status create_parameters(heed_mha *mha, uint64_t seed) {
  const heed_mha_config *c = &mha->config;
  const bool no_bias[PROJECTIONS] = {c->no_bias_q, c->no_bias_k, c->no_bias_v, c->no_bias_o};
  struct heed__parameter_plan plans[2 * PROJECTIONS];
  HEED__TRY(lay_out(mha));
  for (int p = Q; p < PROJECTIONS; ++p) plan_projection(mha, (enum projection)p, no_bias[p], plans);
  const heed_status status =
      heed__parameters_create(mha->ctx, c->dtype, c->prefix, plans, mha->count, seed, true, mha->parameters);
  return status == HEED_OK ? HEED_OK : heed__fail_prefix(status, "mha");
}

heed_status heed_mha_create(heed_context *ctx, const heed_mha_config *config, uint64_t seed, heed_mha **out) {
  HEED__REQUIRE(out, HEED_ERROR_INVALID_ARGUMENT, "heed_mha_create: out is NULL");
  *out = NULL;
  HEED__REQUIRE(ctx && config, HEED_ERROR_INVALID_ARGUMENT, "heed_mha_create: an argument is NULL");
  heed_mha_config complete_config = *config;
  HEED__TRY(complete(&complete_config));
  heed_mha *mha = calloc(1, sizeof *mha);
  HEED__REQUIRE(mha, HEED_ERROR_OUT_OF_MEMORY, "no memory for an mha");
  mha->ctx = ctx;
  mha->config = complete_config;
  const heed_status status = create_parameters(mha, seed);
  mha->config.prefix = NULL;  // the caller's
  if (status != HEED_OK) {
    heed_mha_destroy(mha);
    return status;
  }
  *out = mha;
  return HEED_OK;
}

static void heads_destroy(struct heads *heads) {
  heed_tensor_destroy(heads->split);
  heads->split = NULL;
  heed__scratch_destroy(&heads->packed);
}

void heed_mha_destroy(heed_mha *mha) {
  if (!mha) return;
  for (size_t i = 0; i < mha->count; ++i) heed__parameter_destroy(&mha->parameters[i]);
  for (int p = Q; p < PROJECTIONS; ++p) {
    heads_destroy(&mha->x[p]);
    heads_destroy(&mha->dx[p]);
  }
  heed__scratch_destroy(&mha->lse);
  heed__scratch_destroy(&mha->share);
  free(mha);
}

size_t heed_mha_parameters(const heed_mha *mha, const heed_parameter **parameters) {
  if (parameters) *parameters = mha ? mha->parameters : NULL;
  return mha ? mha->count : 0;
}

// ---------------------------------------------------------------- forward

// If the shape is that of the last call, this does nothing.
static heed_status heads_shape(const heed_mha *mha, struct heads *heads, int64_t batch, int64_t length, int64_t count,
                               int64_t dim) {
  const int64_t split[] = {batch, count, length, dim};
  if (heed__has_shape(heads->split, 4, split)) return HEED_OK;
  heed_tensor_destroy(heads->split);
  heads->split = NULL;
  const int64_t packed[] = {batch, length, count * dim}, apart[] = {batch, length, count, dim};
  HEED__TRY(heed__scratch_shape(&heads->packed, mha->ctx, mha->config.dtype, 3, packed));
  heed_tensor *view = NULL;
  HEED__TRY(heed_tensor_reshape(heads->packed.tensor, 4, apart, &view));
  const heed_status status = heed_tensor_permute(view, (const int[]){0, 2, 1, 3}, &heads->split);
  heed_tensor_destroy(view);
  return status;
}

// The four activations, or their four gradients.
static heed_status all_heads_shape(const heed_mha *mha, struct heads *heads, int64_t batch, int64_t lq, int64_t lk) {
  const heed_mha_config *c = &mha->config;
  HEED__TRY(heads_shape(mha, &heads[Q], batch, lq, c->heads, c->head_dim));
  HEED__TRY(heads_shape(mha, &heads[K], batch, lk, c->kv_heads, c->head_dim));
  HEED__TRY(heads_shape(mha, &heads[V], batch, lk, c->kv_heads, c->value_head_dim));
  return heads_shape(mha, &heads[O], batch, lq, c->heads, c->value_head_dim);
}

static heed_status check_shape(const char *name, const heed_tensor *tensor, const int64_t dims[3]) {
  HEED__REQUIRE(heed__has_shape(tensor, 3, dims), HEED_ERROR_SHAPE,
                "mha: %s is %s; [%" PRId64 ", %" PRId64 ", %" PRId64 "] is needed (-1: any)", name,
                heed_tensor_describe(tensor), dims[0], dims[1], dims[2]);
  return HEED_OK;
}

static heed_status check_forward(const heed_mha *mha, const struct call *call, const heed_tensor *out,
                                 const heed_tensor *weights) {
  HEED__TRY(check_shape("query", call->query, (int64_t[]){-1, -1, mha->in[Q]}));
  const int64_t batch = heed_tensor_dim(call->query, 0), lq = heed_tensor_dim(call->query, 1);
  HEED__TRY(check_shape(call->key ? "key" : "query as key", call->input[K], (int64_t[]){batch, -1, mha->in[K]}));
  const int64_t lk = heed_tensor_dim(call->input[K], 1);
  HEED__TRY(check_shape(call->value ? "value" : "key as value", call->input[V], (int64_t[]){batch, lk, mha->in[V]}));
  HEED__TRY(check_shape("out", out, (int64_t[]){batch, lq, mha->out[O]}));
  const struct heed__named outputs[] = {{"out", out}, {"weights", weights}};
  const struct heed__named inputs[] = {{"query", call->query},
                                       {"key", call->key},
                                       {"value", call->value},
                                       {"mask", call->attention.mask},
                                       {"kv_lengths", call->attention.kv_lengths}};
  return heed__check_apart("mha", outputs, 2, inputs, 5, mha->parameters, mha->count);
}

static heed_tensor *bias_value(const heed_mha *mha, int p) { return mha->bias[p] ? mha->bias[p]->value : NULL; }

heed_status heed_mha_fwd(heed_mha *mha, const heed_mha_inputs *inputs, const heed_attention_options *options,
                         bool train, heed_tensor *out, heed_tensor *weights) {
  HEED__REQUIRE(mha && inputs && inputs->query && out, HEED_ERROR_INVALID_ARGUMENT,
                "heed_mha_fwd: an argument is NULL");
  struct call call = {.query = inputs->query,
                      .key = inputs->key,
                      .value = inputs->value,
                      .attention = {.mask = inputs->mask, .kv_lengths = inputs->kv_lengths}};
  call.input[Q] = call.query;
  call.input[K] = call.key ? call.key : call.query;
  call.input[V] = call.value ? call.value : call.input[K];
  if (options) call.options = *options;
  mha->call.ready = false;
  HEED__TRY(check_forward(mha, &call, out, weights));
  const int64_t batch = heed_tensor_dim(call.query, 0), lq = heed_tensor_dim(call.query, 1);
  HEED__TRY(all_heads_shape(mha, mha->x, batch, lq, heed_tensor_dim(call.input[K], 1)));
  if (train)
    HEED__TRY(heed__scratch_shape(&mha->lse, mha->ctx, HEED_F32, 3, (int64_t[]){batch, mha->config.heads, lq}));

  for (int p = Q; p < O; ++p)
    HEED__TRY(heed_linear_fwd(call.input[p], mha->weight[p]->value, bias_value(mha, p), mha->x[p].packed.tensor));
  call.attention.q = mha->x[Q].split;
  call.attention.k = mha->x[K].split;
  call.attention.v = mha->x[V].split;
  HEED__TRY(
      heed_attention_fwd(&call.attention, &call.options, mha->x[O].split, train ? mha->lse.tensor : NULL, weights));
  HEED__TRY(heed_linear_fwd(mha->x[O].packed.tensor, mha->weight[O]->value, bias_value(mha, O), out));
  call.ready = train;
  mha->call = call;
  return HEED_OK;
}

// ---------------------------------------------------------------- backward

// Finds the tensor for each projection's input gradient. If key or value was left out, several go into one tensor.
static heed_status input_gradients(const struct call *call, heed_tensor *dquery, heed_tensor *dkey, heed_tensor *dvalue,
                                   heed_tensor *target[O]) {
  HEED__REQUIRE(call->key || !dkey, HEED_ERROR_INVALID_ARGUMENT,
                "mha: dkey must be NULL where key was NULL; its gradient is part of dquery");
  HEED__REQUIRE(call->value || !dvalue, HEED_ERROR_INVALID_ARGUMENT,
                "mha: dvalue must be NULL where value was NULL; its gradient is part of %s",
                call->key ? "dkey" : "dquery");
  target[Q] = dquery;
  target[K] = call->key ? dkey : dquery;
  target[V] = call->value ? dvalue : target[K];
  static const char *const names[O] = {"dquery", "dkey", "dvalue"};
  for (int p = Q; p < O; ++p) {
    if (target[p]) HEED__TRY(check_shape(names[p], target[p], heed_tensor_dims(call->input[p])));
  }
  return HEED_OK;
}

// The backward writes a gradient while others still read their inputs, so the gradient may not overlap these.
static heed_status check_gradients(const heed_mha *mha, const heed_tensor *dout, const heed_tensor *dquery,
                                   const heed_tensor *dkey, const heed_tensor *dvalue, const heed_tensor *dmask) {
  const struct call *call = &mha->call;
  const struct heed__named outputs[] = {{"dquery", dquery}, {"dkey", dkey}, {"dvalue", dvalue}, {"dmask", dmask}};
  const struct heed__named inputs[] = {
      {"dout", dout},         {"query", call->query},         {"key", call->key},
      {"value", call->value}, {"mask", call->attention.mask}, {"kv_lengths", call->attention.kv_lengths}};
  return heed__check_apart("mha", outputs, 4, inputs, 6, mha->parameters, mha->count);
}

static heed_status projection_bwd(heed_mha *mha, int p, const heed_tensor *x, const heed_tensor *dy, heed_tensor *dx,
                                  bool accumulate) {
  return heed_linear_bwd(x, mha->weight[p]->value, dy, dx, mha->weight[p]->grad,
                         mha->bias[p] ? mha->bias[p]->grad : NULL, accumulate);
}

static heed_status project_back(heed_mha *mha, int p, heed_tensor *const target[O], bool accumulate) {
  const heed_tensor *x = mha->call.input[p], *dy = mha->dx[p].packed.tensor;
  bool add = false;
  for (int before = Q; before < p; ++before) add = add || (target[p] && target[before] == target[p]);
  if (!add) return projection_bwd(mha, p, x, dy, target[p], accumulate);
  HEED__TRY(heed__scratch_shape(&mha->share, mha->ctx, mha->config.dtype, 3, heed_tensor_dims(x)));
  HEED__TRY(projection_bwd(mha, p, x, dy, mha->share.tensor, accumulate));
  return heed_add(1, target[p], 1, mha->share.tensor, target[p]);
}

heed_status heed_mha_bwd(heed_mha *mha, const heed_tensor *dout, heed_tensor *dquery, heed_tensor *dkey,
                         heed_tensor *dvalue, heed_tensor *dmask, bool accumulate) {
  HEED__REQUIRE(mha && dout, HEED_ERROR_INVALID_ARGUMENT, "heed_mha_bwd: an argument is NULL");
  struct call *call = &mha->call;
  HEED__REQUIRE(call->ready, HEED_ERROR_INVALID_ARGUMENT, "mha: a backward needs a forward with train before it");
  const int64_t batch = heed_tensor_dim(call->query, 0), lq = heed_tensor_dim(call->query, 1);
  HEED__TRY(check_shape("dout", dout, (int64_t[]){batch, lq, mha->out[O]}));
  heed_tensor *target[O];
  HEED__TRY(input_gradients(call, dquery, dkey, dvalue, target));
  HEED__TRY(check_gradients(mha, dout, dquery, dkey, dvalue, dmask));
  HEED__TRY(all_heads_shape(mha, mha->dx, batch, lq, heed_tensor_dim(call->input[K], 1)));
  call->ready = false;

  HEED__TRY(projection_bwd(mha, O, mha->x[O].packed.tensor, dout, mha->dx[O].packed.tensor, accumulate));
  const heed_attention_grads grads = {
      .dq = mha->dx[Q].split, .dk = mha->dx[K].split, .dv = mha->dx[V].split, .dmask = dmask};
  HEED__TRY(
      heed_attention_bwd(&call->attention, &call->options, mha->x[O].split, mha->lse.tensor, mha->dx[O].split, &grads));
  for (int p = Q; p < O; ++p) HEED__TRY(project_back(mha, p, target, accumulate));
  return HEED_OK;
}
