// attention: against its equation, and what follows from it: no influence of the future, of other batches, of the layout,
// of what is masked. Masks are test_attention_masks', dropout test_attention_dropout's.
#include "support_attention.h"

// ---------------------------------------------------------------- the equation

static const double forward_tolerance = 5e-6, gradient_tolerance = 2e-5;

struct equation {
  int64_t batch, heads, kv_heads, queries, keys, dim;
  double scale, softcap;
  const float *q, *k, *v;
};

// Row (b, h, i): weights over all keys, and the log of the sum of exponentials.
static double weights_of(const struct equation *e, int64_t b, int64_t h, int64_t i, double *weights) {
  const float *q = e->q + ((b * e->heads + h) * e->queries + i) * e->dim;
  const float *k = e->k + (b * e->kv_heads + h / (e->heads / e->kv_heads)) * e->keys * e->dim;
  double largest = -INFINITY, sum = 0;
  for (int64_t j = 0; j < e->keys; ++j) {
    double score = 0;
    for (int64_t d = 0; d < e->dim; ++d) score += (double)q[d] * (double)k[j * e->dim + d];
    score *= e->scale;
    weights[j] = e->softcap > 0 ? e->softcap * tanh(score / e->softcap) : score;
    largest = fmax(largest, weights[j]);
  }
  for (int64_t j = 0; j < e->keys; ++j) sum += weights[j] = exp(weights[j] - largest);
  for (int64_t j = 0; j < e->keys; ++j) weights[j] /= sum;
  return largest + log(sum);
}

static void assert_equation(const struct attention *a, const struct equation *e) {
  double weights[256], out[256];
  const float *actual = support_get(a->out), *lse = support_get(a->lse),
              *p = a->weights ? support_get(a->weights) : NULL;
  for (int64_t b = 0; b < e->batch; ++b)
    for (int64_t h = 0; h < e->heads; ++h)
      for (int64_t i = 0; i < e->queries; ++i) {
        const int64_t row = (b * e->heads + h) * e->queries + i;
        const float *v = e->v + (b * e->kv_heads + h / (e->heads / e->kv_heads)) * e->keys * e->dim;
        const double expected_lse = weights_of(e, b, h, i, weights);
        for (int64_t d = 0; d < e->dim; ++d) {
          out[d] = 0;
          for (int64_t j = 0; j < e->keys; ++j) out[d] += weights[j] * (double)v[j * e->dim + d];
        }
        // |v| < 1, so that out has the size of its weights' rounding.
        for (int64_t d = 0; d < e->dim; ++d) ASSERT_CLOSE(actual[row * e->dim + d], out[d], forward_tolerance);
        ASSERT_CLOSE(lse[row], expected_lse, forward_tolerance * (1 + fabs(expected_lse)));
        for (int64_t j = 0; p && j < e->keys; ++j)
          ASSERT_CLOSE(p[row * e->keys + j], weights[j], forward_tolerance * weights[j] * (1 + fabs(expected_lse)));
      }
}

static void check_equation(heed_context *ctx, struct equation e, const heed_attention_options *options, bool weights) {
  struct attention a = attention_make(ctx, e.batch, e.heads, e.kv_heads, e.queries, e.keys, e.dim);
  a.options = *options;
  if (weights) attention_add_weights(&a);
  attention_forward(&a);
  e.scale = options->has_scale ? options->scale : 1 / sqrt((double)e.dim);
  e.softcap = options->softcap;
  e.q = support_get(a.in.q);
  e.k = support_get(a.in.k);
  e.v = support_get(a.in.v);
  assert_equation(&a, &e);
}

static void sizes_of_every_kind_follow_the_equation(void **state) {
  heed_context *ctx = support_context(state);
  // Queries, keys, width. A width is a program of its own, which takes seconds to build, so that they are few.
  static const int64_t sizes[][3] = {{1, 1, 1},    {1, 33, 17},   {33, 1, 17},   {15, 16, 17},
                                     {16, 17, 1},  {17, 15, 33},  {31, 33, 33},  {32, 63, 33},
                                     {63, 64, 64}, {64, 65, 64},  {65, 127, 64}, {127, 31, 127},
                                     {2, 128, 64}, {128, 129, 1}, {129, 128, 1}, {1, 129, 127}};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s)
    for (int path = 0; path < 2; ++path) {
      const heed_attention_options options = {.path = attention_paths[path]};
      check_equation(ctx, (struct equation){1, 2, 1, sizes[s][0], sizes[s][1], sizes[s][2], 0, 0, NULL, NULL, NULL},
                     &options, path == 1);
      support_release(NULL);
    }
}

static void scale_and_softcap_act_on_the_scores(void **state) {
  heed_context *ctx = support_context(state);
  const heed_attention_options options[] = {{.has_scale = true, .scale = 0},
                                            {.has_scale = true, .scale = -0.7},
                                            {.softcap = 0.5},
                                            {.softcap = 30, .has_scale = true, .scale = 2},
                                            {.softcap = 1e-3}};
  for (size_t o = 0; o < sizeof options / sizeof *options; ++o)
    for (int path = 0; path < 2; ++path) {
      heed_attention_options chosen = options[o];
      chosen.path = attention_paths[path];
      check_equation(ctx, (struct equation){2, 3, 3, 19, 21, 20, 0, 0, NULL, NULL, NULL}, &chosen, path == 1);
    }
}

static void rows_of_weights_sum_to_1(void **state) {
  heed_context *ctx = support_context(state);
  struct attention a = attention_make(ctx, 2, 4, 2, 33, 65, 24);
  attention_add_weights(&a);
  a.options.causal = HEED_CAUSAL_TOP_LEFT;
  attention_forward(&a);
  const float *p = support_get(a.weights);
  for (int row = 0; row < 2 * 4 * 33; ++row) {
    double sum = 0;
    for (int j = 0; j < 65; ++j) {
      sum += (double)p[row * 65 + j];
      if (j > row % 33) ASSERT_CLOSE(p[row * 65 + j], 0, 0);
    }
    ASSERT_CLOSE(sum, 1, 32 * 0x1p-24);
  }
}

// ---------------------------------------------------------------- what has no influence

static void the_future_changes_no_bit(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, 2, 2, 1, 67, 67, 16);
    a.options.path = attention_paths[path];
    a.options.causal = HEED_CAUSAL_TOP_LEFT;
    struct attention b = attention_again(&a);
    heed_tensor *changed[2] = {support_like(a.in.k), support_like(a.in.v)}, *tail = NULL;
    attention_forward(&a);
    for (int64_t now = 0; now < 67; now += 11) {
      ASSERT_OK(heed_copy(a.in.k, changed[0]));
      ASSERT_OK(heed_copy(a.in.v, changed[1]));
      for (int t = 0; t < 2; ++t) {
        ASSERT_OK(heed_tensor_slice(changed[t], 2, now + 1, 67 - now - 1, &tail));
        ASSERT_OK(heed_fill(support_keep(tail), t ? -1e6 : 1e6));
      }
      b.in.k = changed[0];
      b.in.v = changed[1];
      attention_forward(&b);
      const float *before = support_get(a.out), *after = support_get(b.out);
      for (int64_t i = 0; i < 4 * 67 * 16; ++i)
        if (i / 16 % 67 <= now && memcmp(&before[i], &after[i], sizeof *before) != 0)
          fail_msg("row %lld feels keys past %lld", (long long)(i / 16 % 67), (long long)now);
    }
  }
}

// [B, H, L, D] with the two halves of the batch swapped.
static heed_tensor *swapped(const heed_tensor *t) {
  heed_tensor *other = support_like(t), *from = NULL, *to = NULL;
  for (int half = 0; half < 2; ++half) {
    ASSERT_OK(heed_tensor_slice(t, 0, half, 1, &from));
    support_keep(from);
    ASSERT_OK(heed_tensor_slice(other, 0, 1 - half, 1, &to));
    ASSERT_OK(heed_copy(from, support_keep(to)));
  }
  return other;
}

static void swapping_the_batch_swaps_the_result(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, 2, 4, 2, 35, 37, 20);
    a.options.path = attention_paths[path];
    a.options.causal = HEED_CAUSAL_BOTTOM_RIGHT;
    struct attention b = attention_again(&a);
    b.in.q = swapped(a.in.q);
    b.in.k = swapped(a.in.k);
    b.in.v = swapped(a.in.v);
    b.dout = swapped(a.dout);
    attention_run(&a);
    attention_run(&b);
    b.out = swapped(b.out);
    b.lse = swapped(b.lse);
    b.grads = (heed_attention_grads){.dq = swapped(b.grads.dq), .dk = swapped(b.grads.dk), .dv = swapped(b.grads.dv)};
    ASSERT_ATTENTION_SAME_BITS(&b, &a);
  }
}

// ---------------------------------------------------------------- heads, past, layout

// Each key head once for every query head that reads it.
static heed_tensor *repeated(const heed_tensor *t, int64_t group) {
  const int64_t *dims = heed_tensor_dims(t);
  heed_tensor *wide = support_new(heed_tensor_context(t), HEED_F32, SHAPE(dims[0], dims[1] * group, dims[2], dims[3]));
  heed_tensor *from = NULL, *to = NULL;
  for (int64_t h = 0; h < dims[1] * group; ++h) {
    ASSERT_OK(heed_tensor_slice(t, 1, h / group, 1, &from));
    support_keep(from);
    ASSERT_OK(heed_tensor_slice(wide, 1, h, 1, &to));
    ASSERT_OK(heed_copy(from, support_keep(to)));
  }
  return wide;
}

static heed_tensor *summed(const heed_tensor *wide, int64_t group) {
  const int64_t *dims = heed_tensor_dims(wide);
  const int64_t block = dims[2] * dims[3];
  const float *values = support_get(wide);
  float *sums = support_memory((size_t)(dims[0] * dims[1] / group * block) * sizeof *sums);
  for (int64_t i = 0; i < dims[0] * dims[1] * block; ++i) sums[i / block / group * block + i % block] += values[i];
  return support_put(heed_tensor_context(wide), HEED_F32, SHAPE(dims[0], dims[1] / group, dims[2], dims[3]), sums);
}

static void shared_key_heads_are_repeated_ones(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path)
    for (int64_t group = 2; group <= 6; group += 2) {
      struct attention a = attention_make(ctx, 2, 2 * group, 2, 17, 33, 12);
      a.options.path = attention_paths[path];
      a.options.causal = HEED_CAUSAL_TOP_LEFT;
      struct attention b = a;
      b.in.k = repeated(a.in.k, group);
      b.in.v = repeated(a.in.v, group);
      b = attention_again(&b);
      attention_run(&a);
      attention_run(&b);
      b.grads.dk = summed(b.grads.dk, group);
      b.grads.dv = summed(b.grads.dv, group);
      ASSERT_ATTENTION_AGREES(&a, &b, 2e-6);
    }
}

static heed_tensor *part_of(const heed_tensor *t, int64_t start, int64_t length) {
  heed_tensor *part = NULL;
  ASSERT_OK(heed_tensor_slice(t, 2, start, length, &part));
  return support_keep(part);
}

static void past_keys_are_keys_before_the_others(void **state) {
  heed_context *ctx = support_context(state);
  const heed_causal causals[] = {HEED_CAUSAL_NONE, HEED_CAUSAL_BOTTOM_RIGHT};
  for (int path = 0; path < 2; ++path)
    for (int c = 0; c < 2; ++c)
      for (int64_t past = 0; past <= 40; past += 20) {
        struct attention whole = attention_make(ctx, 2, 4, 2, 9, 40, 16);
        whole.options = (heed_attention_options){.path = attention_paths[path], .causal = causals[c]};
        struct attention split = whole;
        split.in.past_k = part_of(whole.in.k, 0, past);
        split.in.past_v = part_of(whole.in.v, 0, past);
        split.in.k = part_of(whole.in.k, past, 40 - past);
        split.in.v = part_of(whole.in.v, past, 40 - past);
        split = attention_again(&split);
        attention_run(&whole);
        attention_run(&split);
        ASSERT_SAME_BITS(split.out, whole.out);
        ASSERT_SAME_BITS(split.lse, whole.lse);
        ASSERT_AGREE(split.grads.dq, whole.grads.dq, 0);
        ASSERT_AGREE(split.grads.dpast_k, part_of(whole.grads.dk, 0, past), 0);
        ASSERT_AGREE(split.grads.dpast_v, part_of(whole.grads.dv, 0, past), 0);
        ASSERT_AGREE(split.grads.dk, part_of(whole.grads.dk, past, 40 - past), 0);
        ASSERT_AGREE(split.grads.dv, part_of(whole.grads.dv, past, 40 - past), 0);
      }
}

// Queries that follow `past` keys: query 0 stands at position past.
static void top_left_with_a_past_counts_it(void **state) {
  heed_context *ctx = support_context(state);
  struct attention bottom = attention_make(ctx, 1, 2, 2, 13, 13 + 20, 8);
  bottom.options.causal = HEED_CAUSAL_BOTTOM_RIGHT;
  struct attention top = bottom;
  top.options.causal = HEED_CAUSAL_TOP_LEFT;
  top.in.past_k = part_of(bottom.in.k, 0, 20);
  top.in.past_v = part_of(bottom.in.v, 0, 20);
  top.in.k = part_of(bottom.in.k, 20, 13);
  top.in.v = part_of(bottom.in.v, 20, 13);
  top = attention_again(&top);
  attention_run(&bottom);
  attention_run(&top);
  ASSERT_SAME_BITS(top.out, bottom.out);
  ASSERT_SAME_BITS(top.grads.dq, bottom.grads.dq);
}

// The same values stored [B, L, H, D].
static heed_tensor *rows_first(const heed_tensor *t) {
  const int64_t *dims = heed_tensor_dims(t);
  heed_tensor *storage = support_new(heed_tensor_context(t), HEED_F32, SHAPE(dims[0], dims[2], dims[1], dims[3])),
              *view = NULL;
  ASSERT_OK(heed_tensor_permute(storage, (const int[]){0, 2, 1, 3}, &view));
  ASSERT_OK(heed_copy(t, support_keep(view)));
  return view;
}

static void storage_by_rows_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, 2, 4, 2, 33, 35, 24);
    a.options.path = attention_paths[path];
    struct attention b = attention_again(&a);
    b.in.q = rows_first(a.in.q);
    b.in.k = rows_first(a.in.k);
    b.in.v = rows_first(a.in.v);
    b.dout = rows_first(a.dout);
    b.out = rows_first(a.out);
    b.grads = (heed_attention_grads){.dq = rows_first(a.in.q), .dk = rows_first(a.in.k), .dv = rows_first(a.in.v)};
    attention_run(&a);
    attention_run(&b);
    ASSERT_ATTENTION_SAME_BITS(&b, &a);
  }
}

// ---------------------------------------------------------------- calls

static void the_same_call_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, 2, 6, 3, 65, 129, 40);
    a.options.path = attention_paths[path];
    struct attention b = attention_again(&a);
    attention_run(&a);
    attention_run(&b);
    ASSERT_ATTENTION_SAME_BITS(&b, &a);
  }
}

static void results_may_be_left_out(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, 1, 4, 2, 31, 33, 16);
    a.options.path = attention_paths[path];
    attention_run(&a);
    heed_tensor *out = support_like(a.out);
    ASSERT_OK(heed_attention_fwd(&a.in, &a.options, out, NULL, NULL));
    ASSERT_SAME_BITS(out, a.out);
    for (int which = 0; which < 8; ++which) {
      struct attention some = attention_again(&a);
      if (!(which & 1)) some.grads.dq = NULL;
      if (!(which & 2)) some.grads.dk = NULL;
      if (!(which & 4)) some.grads.dv = NULL;
      attention_run(&some);
      ASSERT_ATTENTION_AGREES(&some, &a, 0);
    }
  }
}

static void options_are_none_by_default(void **state) {
  heed_context *ctx = support_context(state);
  struct attention a = attention_make(ctx, 1, 2, 2, 5, 7, 8), b = attention_again(&a);
  attention_run(&a);
  ASSERT_OK(heed_attention_fwd(&b.in, NULL, b.out, b.lse, NULL));
  ASSERT_OK(heed_attention_bwd(&b.in, NULL, b.out, b.lse, b.dout, &b.grads));
  ASSERT_ATTENTION_SAME_BITS(&b, &a);
}

static void one_tensor_may_be_query_key_and_value(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, 2, 2, 2, 21, 21, 16);
    a.options.path = attention_paths[path];
    a.in.k = a.in.v = a.in.q;
    struct attention b = attention_again(&a);
    heed_tensor *k = support_like(a.in.q), *v = support_like(a.in.q);
    ASSERT_OK(heed_copy(a.in.q, k));
    ASSERT_OK(heed_copy(a.in.q, v));
    b.in.k = k;
    b.in.v = v;
    attention_run(&a);
    attention_run(&b);
    ASSERT_ATTENTION_SAME_BITS(&a, &b);
  }
}

static void assert_all(const heed_tensor *t, float value) {
  const float *values = support_get(t);
  for (int64_t i = 0; i < heed_tensor_count(t); ++i) ASSERT_CLOSE(values[i], value, 0);
}

static void sides_may_be_empty(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t shapes[][5] = {
      {0, 2, 2, 3, 4}, {2, 2, 1, 0, 4}, {2, 2, 1, 3, 0}, {1, 0, 1, 3, 4}, {0, 2, 2, 0, 0}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s)
    for (int path = 0; path < 2; ++path) {
      const int64_t *n = shapes[s];
      struct attention a = attention_make(ctx, n[0], n[1], n[2], n[3], n[4], 8);
      a.options.path = attention_paths[path];
      attention_run(&a);
      assert_all(a.out, 0);
      assert_all(a.lse, -INFINITY);
      assert_all(a.grads.dq, 0);
      assert_all(a.grads.dk, 0);
      assert_all(a.grads.dv, 0);
      attention_add_weights(&a);
      attention_forward(&a);
    }
}

// F16 and BF16 storage, F32 in between: the forward and the gradients are those of F32 but for roundings to storage.
static void narrow_dtypes_differ_by_their_rounding(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  const double tolerances[] = {4e-3, 3.2e-2};
  for (int d = 0; d < 2; ++d)
    for (int path = 0; path < 2; ++path) {
      struct attention wide = attention_make(ctx, 1, 2, 1, 33, 35, 24), narrow;
      wide.options.path = attention_paths[path];
      narrow = wide;
      const heed_tensor **slots[4] = {&narrow.in.q, &narrow.in.k, &narrow.in.v, &narrow.dout};
      for (int i = 0; i < 4; ++i) {  // multiples of 2^-8 below 1 are exact in F16 and rounded in BF16
        heed_tensor *t = support_new(ctx, dtypes[d], 4, heed_tensor_dims(*slots[i]));
        ASSERT_OK(heed_copy(*slots[i], t));
        *slots[i] = t;
      }
      narrow = attention_again(&narrow);
      attention_run(&wide);
      attention_run(&narrow);
      ASSERT_ATTENTION_AGREES(&narrow, &wide, tolerances[d]);
    }
}

// Scores of thousands: one key has all the weight of its row, dS is 0, and what rounding leaves of it instead would count thousands
// of times in the gradient of k.
static void a_row_that_attends_one_key_alone_moves_no_score(void **state) {
  heed_context *ctx = support_context(state);
  enum { BATCH = 2, HEADS = 4, QUERIES = 35, KEYS = 67, DIM = 48 };
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, BATCH, HEADS, 2, QUERIES, KEYS, DIM);
    float *q = support_memory(BATCH * HEADS * QUERIES * DIM * sizeof *q),
          *k = support_memory(BATCH * 2 * KEYS * DIM * sizeof *k);
    // Query i points at key i: its score is 2^16 / √48, and those of the others are 0.
    for (int at = 0; at < BATCH * HEADS * QUERIES * DIM; ++at)
      q[at] = at % DIM == at / DIM % QUERIES % DIM ? 0x1p16f : 0;
    for (int at = 0; at < BATCH * 2 * KEYS * DIM; ++at) k[at] = at % DIM == at / DIM % KEYS ? 1 : 0;
    a.in.q = support_put_f32(ctx, HEED_F32, SHAPE(BATCH, HEADS, QUERIES, DIM), q);
    a.in.k = support_put_f32(ctx, HEED_F32, SHAPE(BATCH, 2, KEYS, DIM), k);
    a.options.path = attention_paths[path];
    attention_run(&a);
    const float *dq = support_get(a.grads.dq), *dk = support_get(a.grads.dk);
    for (int at = 0; at < BATCH * HEADS * QUERIES * DIM; ++at) ASSERT_CLOSE(dq[at], 0, 0);
    for (int at = 0; at < BATCH * 2 * KEYS * DIM; ++at) ASSERT_CLOSE(dk[at], 0, 0);
  }
}

static void a_call_of_many_heads_and_rows_keeps_its_gradients(void **state) {
  heed_context *ctx = support_context(state);
  struct attention a = attention_make(ctx, 3, 8, 2, 70, 150, 32), b = attention_again(&a);
  b.options.path = HEED_PATH_STAGED;
  attention_run(&a);
  attention_run(&b);
  ASSERT_ATTENTION_AGREES(&a, &b, gradient_tolerance);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(sizes_of_every_kind_follow_the_equation),
      TEST(scale_and_softcap_act_on_the_scores),
      TEST(rows_of_weights_sum_to_1),
      TEST(the_future_changes_no_bit),
      TEST(swapping_the_batch_swaps_the_result),
      TEST(shared_key_heads_are_repeated_ones),
      TEST(past_keys_are_keys_before_the_others),
      TEST(top_left_with_a_past_counts_it),
      TEST(storage_by_rows_gives_the_same_bits),
      TEST(the_same_call_gives_the_same_bits),
      TEST(results_may_be_left_out),
      TEST(options_are_none_by_default),
      TEST(one_tensor_may_be_query_key_and_value),
      TEST(sides_may_be_empty),
      TEST(narrow_dtypes_differ_by_their_rounding),
      TEST(a_row_that_attends_one_key_alone_moves_no_score),
      TEST(a_call_of_many_heads_and_rows_keeps_its_gradients),
  };
  return RUN_ON_BOTH("attention", tests);
}
