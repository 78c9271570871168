#include "support_attention.h"

const heed_attention_path attention_paths[2] = {HEED_PATH_AUTO, HEED_PATH_STAGED};

static void add_results(struct attention *a) {
  heed_context *ctx = heed_tensor_context(a->in.q);
  const int64_t *q = heed_tensor_dims(a->in.q);
  a->out = support_new(ctx, heed_tensor_dtype(a->in.q), SHAPE(q[0], q[1], q[2], heed_tensor_dim(a->in.v, 3)));
  a->lse = support_new(ctx, HEED_F32, SHAPE(q[0], q[1], q[2]));
  a->weights = NULL;
  a->grads =
      (heed_attention_grads){.dq = support_like(a->in.q), .dk = support_like(a->in.k), .dv = support_like(a->in.v)};
  if (a->in.past_k) a->grads.dpast_k = support_like(a->in.past_k);
  if (a->in.past_v) a->grads.dpast_v = support_like(a->in.past_v);
}

struct attention attention_make(heed_context *ctx, int64_t batch, int64_t heads, int64_t kv_heads, int64_t queries,
                                int64_t keys, int64_t dim) {
  struct attention a = {0};
  a.in.q = support_random(ctx, HEED_F32, SHAPE(batch, heads, queries, dim), 1);
  a.in.k = support_random(ctx, HEED_F32, SHAPE(batch, kv_heads, keys, dim), 2);
  a.in.v = support_random(ctx, HEED_F32, SHAPE(batch, kv_heads, keys, dim), 3);
  a.dout = support_random(ctx, HEED_F32, SHAPE(batch, heads, queries, dim), 4);
  add_results(&a);
  return a;
}

struct attention attention_again(const struct attention *a) {
  struct attention again = *a;
  add_results(&again);
  return again;
}

void attention_add_weights(struct attention *a) {
  const int64_t *q = heed_tensor_dims(a->in.q);
  const int64_t past = a->in.past_k ? heed_tensor_dim(a->in.past_k, 2) : 0;
  a->weights = support_new(heed_tensor_context(a->in.q), heed_tensor_dtype(a->in.q),
                           SHAPE(q[0], q[1], q[2], past + heed_tensor_dim(a->in.k, 2)));
}

void attention_forward(const struct attention *a) {
  ASSERT_OK(heed_attention_fwd(&a->in, &a->options, a->out, a->lse, a->weights));
}

void attention_run(const struct attention *a) {
  attention_forward(a);
  ASSERT_OK(heed_attention_bwd(&a->in, &a->options, a->out, a->lse, a->dout, &a->grads));
}

enum { RESULTS = 8 };
static const char *const names[RESULTS] = {"out", "lse", "dq", "dk", "dv", "dpast_k", "dpast_v", "weights"};
static const heed_tensor *result_of(const struct attention *a, int which) {
  const heed_tensor *const all[RESULTS] = {a->out,      a->lse,           a->grads.dq,      a->grads.dk,
                                           a->grads.dv, a->grads.dpast_k, a->grads.dpast_v, a->weights};
  return all[which];
}

void attention_assert_agree(const struct attention *a, const struct attention *b, double tolerance, const char *file,
                            int line) {
  for (int i = 0; i < RESULTS; ++i)
    if (result_of(a, i) && result_of(b, i))
      support_assert_agree(result_of(a, i), result_of(b, i), tolerance, names[i], file, line);
}

void attention_assert_same_bits(const struct attention *a, const struct attention *b, const char *file, int line) {
  for (int i = 0; i < RESULTS; ++i)
    if (result_of(a, i) && result_of(b, i))
      support_assert_same_bits(result_of(a, i), result_of(b, i), names[i], file, line);
}

static bool *rule_values(int rank, const int64_t *dims, attention_rule allowed, int64_t *count) {
  int64_t full[4] = {1, 1, 1, 1};
  memcpy(full + 4 - rank, dims, (size_t)rank * sizeof *dims);
  *count = full[0] * full[1] * full[2] * full[3];
  bool *values = support_memory((size_t)*count);
  for (int64_t at = 0; at < *count; ++at) {
    const int64_t j = at % full[3], i = at / full[3] % full[2], h = at / full[3] / full[2] % full[1];
    values[at] = allowed(at / full[3] / full[2] / full[1], h, i, j);
  }
  return values;
}

heed_tensor *attention_mask(heed_context *ctx, int rank, const int64_t *dims, attention_rule allowed) {
  int64_t count;
  return support_put(ctx, HEED_BOOL, rank, dims, rule_values(rank, dims, allowed, &count));
}

heed_tensor *attention_float_mask(heed_context *ctx, int rank, const int64_t *dims, attention_rule allowed) {
  int64_t count;
  const bool *values = rule_values(rank, dims, allowed, &count);
  float *mask = support_memory((size_t)count * sizeof *mask);
  for (int64_t i = 0; i < count; ++i) mask[i] = values[i] ? 0 : -INFINITY;
  return support_put(ctx, HEED_F32, rank, dims, mask);
}
