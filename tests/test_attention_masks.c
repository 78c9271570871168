// attention under masks: kinds of mask that say the same, positions, lengths; rows with nothing to attend; and that nothing
// of what is masked reaches a result.
#include "support_attention.h"

enum { B = 2, HQ = 4, HKV = 2, LQ = 19, LK = 37, D = 12 };

static struct attention make(void **state, int path) {
  struct attention a = attention_make(support_context(state), B, HQ, HKV, LQ, LK, D);
  a.options.path = attention_paths[path];
  return a;
}

// Runs a with one mask or set of options and b with another, and expects the same.
static void assert_same(const struct attention *a, const struct attention *b) {
  const struct attention first = attention_again(a), second = attention_again(b);
  attention_run(&first);
  attention_run(&second);
  ASSERT_ATTENTION_AGREES(&first, &second, 1e-6);
}

// ---------------------------------------------------------------- rules

static bool any(int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)b, (void)h, (void)i, (void)j;
  return true;
}
static bool nothing(int64_t b, int64_t h, int64_t i, int64_t j) { return !any(b, h, i, j); }
static bool scattered(int64_t b, int64_t h, int64_t i, int64_t j) { return (7 * b + 5 * h + 3 * i + j * j) % 3 != 0; }
static bool some_rows_dead(int64_t b, int64_t h, int64_t i, int64_t j) { return i % 4 != 1 && scattered(b, h, i, j); }
static bool not_last_keys(int64_t b, int64_t h, int64_t i, int64_t j) { return j < LK - 9 && scattered(b, h, i, j); }
static bool top_left(int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)b, (void)h;
  return j <= i;
}
static bool bottom_right(int64_t b, int64_t h, int64_t i, int64_t j) { return top_left(b, h, i + LK - LQ, j); }
static bool window_4_2(int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)b, (void)h;
  return i - 4 <= j && j <= i + 2;
}
static bool window_left_3(int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)b, (void)h;
  return j >= i - 3;
}
static bool window_right_0(int64_t b, int64_t h, int64_t i, int64_t j) { return top_left(b, h, i, j); }
static bool window_and_causal(int64_t b, int64_t h, int64_t i, int64_t j) {
  return window_4_2(b, h, i, j) && top_left(b, h, i, j);
}
static const int64_t lengths[B] = {20, 31};
static bool within_length(int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)h, (void)i;
  return j < lengths[b];
}
static bool within_length_causal(int64_t b, int64_t h, int64_t i, int64_t j) {
  return within_length(b, h, i, j) && j <= i + lengths[b] - LQ;
}
static bool within_length_window(int64_t b, int64_t h, int64_t i, int64_t j) {
  const int64_t offset = lengths[b] - LQ;
  return within_length(b, h, i, j) && i + offset - 6 <= j && j <= i + offset + 1;
}
// Keys that no row attends are odd ones, and all from LK − 5.
static bool even_keys(int64_t b, int64_t h, int64_t i, int64_t j) {
  return j % 2 == 0 && j < LK - 5 && scattered(b, h, i, j);
}

#define FULL B, HQ, LQ, LK

// ---------------------------------------------------------------- kinds of mask

static void a_boolean_mask_is_a_float_mask_of_minus_infinity(void **state) {
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(state, path), b = a;
    a.in.mask = attention_mask(support_context(state), SHAPE(FULL), some_rows_dead);
    b.in.mask = attention_float_mask(support_context(state), SHAPE(FULL), some_rows_dead);
    assert_same(&a, &b);
  }
}

static void masks_of_every_rank_are_broadcast_from_the_right(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t shapes[][5] = {
      {1, LK},       {1, 1},        {2, LQ, LK},      {2, LQ, 1},        {2, 1, LK},        {3, HQ, LQ, LK},
      {3, 1, 1, LK}, {3, HQ, 1, 1}, {4, B, 1, 1, LK}, {4, 1, HQ, LQ, 1}, {4, B, HQ, 1, LK}, {4, B, 1, LQ, LK}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s)
    for (int path = 0; path < 2; ++path) {
      struct attention a = make(state, path), b = a;
      const int rank = (int)shapes[s][0];
      a.in.mask = attention_mask(ctx, rank, shapes[s] + 1, scattered);
      // Every element of the small mask, written out.
      const float *small = NULL;
      heed_tensor *as_float = support_new(ctx, HEED_F32, rank, shapes[s] + 1);
      ASSERT_OK(heed_copy(a.in.mask, as_float));
      small = support_get(as_float);
      uint8_t *full = support_memory(B * HQ * LQ * LK);
      for (int64_t at = 0; at < B * HQ * LQ * LK; ++at) {
        const int64_t place[4] = {at / (HQ * LQ * LK), at / (LQ * LK) % HQ, at / LK % LQ, at % LK};
        int64_t from = 0;
        for (int axis = 0; axis < rank; ++axis) {
          const int64_t size = shapes[s][1 + axis];
          from = from * size + (size == 1 ? 0 : place[4 - rank + axis]);
        }
        full[at] = small[from] != 0;
      }
      b.in.mask = support_put(ctx, HEED_BOOL, SHAPE(FULL), full);
      assert_same(&a, &b);
      support_release(NULL);
    }
}

static void a_short_mask_forbids_the_rest(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path)
    for (int is_float = 0; is_float < 2; ++is_float) {
      struct attention a = make(state, path), b = a;
      a.in.mask = (is_float ? attention_float_mask : attention_mask)(ctx, SHAPE(LQ, LK - 9), not_last_keys);
      b.in.mask = attention_mask(ctx, SHAPE(LQ, LK), not_last_keys);
      assert_same(&a, &b);
    }
}

static void a_mask_may_be_a_view(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(state, path), b = a;
    heed_tensor *turned = support_new(ctx, HEED_BOOL, SHAPE(LK, LQ));
    a.in.mask = attention_mask(ctx, SHAPE(LQ, LK), scattered);
    ASSERT_OK(heed_copy(support_transposed(a.in.mask), turned));
    b.in.mask = support_transposed(turned);
    assert_same(&a, &b);
  }
}

static void a_mask_of_true_is_none(void **state) {
  heed_context *ctx = support_context(state);
  struct attention a = make(state, 0), b = a;
  b.in.mask = attention_mask(ctx, SHAPE(LK), any);
  assert_same(&a, &b);
}

// ---------------------------------------------------------------- positions

static void positions_are_the_masks_they_stand_for(void **state) {
  heed_context *ctx = support_context(state);
  const struct {
    heed_attention_options options;
    attention_rule rule;
  } cases[] = {
      {{.causal = HEED_CAUSAL_TOP_LEFT}, top_left},
      {{.causal = HEED_CAUSAL_BOTTOM_RIGHT}, bottom_right},
      {{.has_window = true, .window_left = 4, .window_right = 2}, window_4_2},
      {{.has_window = true, .window_left = 3, .window_right = -1}, window_left_3},
      {{.has_window = true, .window_left = -1, .window_right = 0}, window_right_0},
      {{.has_window = true, .window_left = -1, .window_right = -1}, any},
      {{.has_window = true, .window_left = INT32_MAX, .window_right = INT32_MAX}, any},
      {{.has_window = true, .window_left = 4, .window_right = 2, .causal = HEED_CAUSAL_TOP_LEFT}, window_and_causal},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c)
    for (int path = 0; path < 2; ++path) {
      struct attention a = make(state, path), b = a;
      a.options = cases[c].options;
      a.options.path = attention_paths[path];
      b.in.mask = attention_mask(ctx, SHAPE(LQ, LK), cases[c].rule);
      assert_same(&a, &b);
    }
}

static void lengths_are_the_masks_they_stand_for(void **state) {
  heed_context *ctx = support_context(state);
  const struct {
    heed_attention_options options;
    attention_rule rule;
  } cases[] = {
      {{.causal = HEED_CAUSAL_NONE}, within_length},
      {{.causal = HEED_CAUSAL_TOP_LEFT}, within_length_causal},
      {{.has_window = true, .window_left = 6, .window_right = 1}, within_length_window},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c)
    for (int path = 0; path < 2; ++path) {
      struct attention a = make(state, path), b = a;
      a.options = cases[c].options;
      a.options.path = attention_paths[path];
      a.in.kv_lengths = support_put(ctx, HEED_I64, SHAPE(B), lengths);
      b.in.mask = attention_mask(ctx, SHAPE(B, 1, LQ, LK), cases[c].rule);
      assert_same(&a, &b);
    }
}

static void lengths_are_held_between_0_and_the_keys(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t wild[B] = {-3, LK + 5}, tame[B] = {0, LK}, far[B] = {INT64_MIN, INT64_MAX};
  const int32_t narrow[B] = {-3, LK + 5};
  for (int path = 0; path < 2; ++path)
    for (int causal = 0; causal < 2; ++causal) {
      struct attention a = make(state, path);
      a.options.causal = causal ? HEED_CAUSAL_TOP_LEFT : HEED_CAUSAL_NONE;
      struct attention b = attention_again(&a), c = attention_again(&a), d = attention_again(&a);
      a.in.kv_lengths = support_put(ctx, HEED_I64, SHAPE(B), tame);
      b.in.kv_lengths = support_put(ctx, HEED_I64, SHAPE(B), wild);
      c.in.kv_lengths = support_put(ctx, HEED_I32, SHAPE(B), narrow);
      d.in.kv_lengths = support_put(ctx, HEED_I64, SHAPE(B), far);
      attention_run(&a);
      attention_run(&b);
      attention_run(&c);
      attention_run(&d);
      ASSERT_ATTENTION_SAME_BITS(&b, &a);
      ASSERT_ATTENTION_SAME_BITS(&c, &a);
      ASSERT_ATTENTION_SAME_BITS(&d, &a);
      const float *out = support_get(a.out), *lse = support_get(a.lse);
      for (int i = 0; i < HQ * LQ * D; ++i) ASSERT_CLOSE(out[i], 0, 0);
      for (int i = 0; i < HQ * LQ; ++i) ASSERT_CLOSE(lse[i], -INFINITY, 0);
    }
}

// ---------------------------------------------------------------- dead rows

static void assert_zero(const heed_tensor *t) {
  const float *values = support_get(t);
  for (int64_t i = 0; i < heed_tensor_count(t); ++i) ASSERT_CLOSE(values[i], 0, 0);
}

static void a_row_with_nothing_to_attend_is_zero(void **state) {
  heed_context *ctx = support_context(state);
  for (int weights = 0; weights < 2; ++weights)
    for (int is_float = 0; is_float < 2; ++is_float) {
      struct attention a = make(state, weights);
      a.in.mask = (is_float ? attention_float_mask : attention_mask)(ctx, SHAPE(FULL), some_rows_dead);
      if (weights) attention_add_weights(&a);
      attention_run(&a);
      const float *out = support_get(a.out), *lse = support_get(a.lse), *dq = support_get(a.grads.dq),
                  *p = weights ? support_get(a.weights) : NULL;
      for (int row = 0; row < B * HQ * LQ; ++row) {
        const bool dead = row % LQ % 4 == 1;
        assert_int_equal(isinf(lse[row]) != 0, dead);
        for (int d = 0; d < D; ++d) {
          assert_true(isfinite(out[row * D + d]) && isfinite(dq[row * D + d]));
          if (dead) ASSERT_CLOSE(out[row * D + d], 0, 0);
          if (dead) ASSERT_CLOSE(dq[row * D + d], 0, 0);
        }
        for (int j = 0; dead && p && j < LK; ++j) ASSERT_CLOSE(p[row * LK + j], 0, 0);
      }
    }
}

static void where_all_rows_are_dead_all_gradients_are_zero(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(state, path);
    a.in.mask = attention_mask(ctx, SHAPE(1), nothing);
    attention_run(&a);
    assert_zero(a.out);
    assert_zero(a.grads.dq);
    assert_zero(a.grads.dk);
    assert_zero(a.grads.dv);
    // A mask without columns forbids all of them.
    struct attention b = attention_again(&a);
    b.in.mask = support_new(ctx, HEED_BOOL, SHAPE(LQ, 0));
    attention_run(&b);
    ASSERT_ATTENTION_SAME_BITS(&b, &a);
  }
}

static void dead_rows_do_not_spoil_gradients_of_a_shared_tensor(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, B, HKV, HKV, LK, LK, D);
    a.options.path = attention_paths[path];
    a.in.k = a.in.v = a.in.q;
    a.in.mask = attention_float_mask(ctx, SHAPE(LK, LK), some_rows_dead);
    attention_run(&a);
    heed_tensor *sum = support_like(a.in.q);
    ASSERT_OK(heed_add(1, a.grads.dq, 1, a.grads.dk, sum));
    ASSERT_OK(heed_add(1, sum, 1, a.grads.dv, sum));
    const float *values = support_get(sum);
    for (int64_t i = 0; i < heed_tensor_count(sum); ++i) assert_true(isfinite(values[i]));
  }
}

// ---------------------------------------------------------------- NaN behind a mask

// [B, H, L, D] with NaN and Inf in the rows for which `hidden` holds.
static heed_tensor *poisoned(const heed_tensor *t, bool (*hidden)(int64_t b, int64_t row)) {
  const int64_t *dims = heed_tensor_dims(t), count = heed_tensor_count(t);
  float *values = support_get(t);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = i / dims[3] % dims[2], b = i / dims[3] / dims[2] / dims[1];
    if (hidden(b, row)) values[i] = i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : NAN;
  }
  return support_put(heed_tensor_context(t), HEED_F32, 4, dims, values);
}

static bool odd_or_last(int64_t b, int64_t j) {
  (void)b;
  return j % 2 == 1 || j >= LK - 5;
}
static bool past_length(int64_t b, int64_t j) { return j >= lengths[b]; }
static bool past_queries(int64_t b, int64_t j) {
  (void)b;
  return j >= LQ;
}
static bool past_window(int64_t b, int64_t j) {
  (void)b;
  return j >= LQ + 2;
}

// Another order of sums may be taken where there is NaN, so that the last bits may differ: a dozen roundings.
static const double rounding = 1e-6;

static void assert_hidden(struct attention *a, bool (*hidden)(int64_t b, int64_t row)) {
  struct attention b = attention_again(a);
  b.in.k = poisoned(a->in.k, hidden);
  b.in.v = poisoned(a->in.v, hidden);
  attention_run(a);
  attention_run(&b);
  ASSERT_ATTENTION_AGREES(&b, a, rounding);
}

static void nothing_behind_a_mask_reaches_a_result(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path)
    for (int weights = 0; weights < 2; ++weights) {
      struct attention plain = make(state, path);
      if (weights) attention_add_weights(&plain);
      struct attention a = plain;
      a.in.mask = attention_mask(ctx, SHAPE(FULL), even_keys);
      assert_hidden(&a, odd_or_last);
      a.in.mask = attention_float_mask(ctx, SHAPE(LQ, LK), even_keys);
      assert_hidden(&a, odd_or_last);
      a = plain;
      a.in.kv_lengths = support_put(ctx, HEED_I64, SHAPE(B), lengths);
      assert_hidden(&a, past_length);
      a = plain;
      a.options.causal = HEED_CAUSAL_TOP_LEFT;
      assert_hidden(&a, past_queries);
      a.options = (heed_attention_options){
          .path = plain.options.path, .has_window = true, .window_left = 5, .window_right = 2, .softcap = 3};
      assert_hidden(&a, past_window);
    }
}

static bool fourth_after_first(int64_t b, int64_t i) {
  (void)b;
  return i % 4 == 1;
}

static void a_nan_in_a_dead_query_stays_there(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(state, path);
    a.in.mask = attention_mask(ctx, SHAPE(LQ, LK), some_rows_dead);
    struct attention b = attention_again(&a);
    b.in.q = poisoned(a.in.q, fourth_after_first);
    b.dout = poisoned(a.dout, fourth_after_first);
    attention_run(&a);
    attention_run(&b);
    ASSERT_ATTENTION_AGREES(&b, &a, rounding);
  }
}

static void a_nan_in_a_query_spoils_its_row_alone(void **state) {
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(state, path), b = attention_again(&a);
    b.in.q = poisoned(a.in.q, fourth_after_first);
    attention_forward(&a);
    attention_forward(&b);
    const float *before = support_get(a.out), *after = support_get(b.out);
    for (int i = 0; i < B * HQ * LQ * D; ++i)
      if (i / D % LQ % 4 == 1)
        assert_true(isnan(after[i]));
      else
        assert_memory_equal(&after[i], &before[i], sizeof *after);
  }
}

// ---------------------------------------------------------------- the gradient of a mask

static void the_gradient_of_a_broadcast_mask_is_the_sum_over_it(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t shapes[][5] = {{4, FULL}, {4, B, 1, LQ, LK}, {3, HQ, 1, LK}, {2, LQ, LK}, {1, LK}};
  const float *whole = NULL;
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s) {
    const int rank = (int)shapes[s][0];
    const int64_t *dims = shapes[s] + 1;
    struct attention a = make(state, 1);
    a.in.mask = attention_float_mask(ctx, rank, dims, any);
    a.grads.dmask = support_new(ctx, HEED_F32, rank, dims);
    attention_run(&a);
    const float *dmask = support_get(a.grads.dmask);
    if (!whole) whole = dmask;
    const int64_t count = heed_tensor_count(a.grads.dmask);
    double *sums = support_memory((size_t)count * sizeof *sums), *sizes = support_memory((size_t)count * sizeof *sizes);
    for (int64_t at = 0; at < B * HQ * LQ * LK; ++at) {
      const int64_t place[4] = {at / (HQ * LQ * LK), at / (LQ * LK) % HQ, at / LK % LQ, at % LK};
      int64_t to = 0;
      for (int axis = 0; axis < rank; ++axis) to = to * dims[axis] + (dims[axis] == 1 ? 0 : place[4 - rank + axis]);
      sums[to] += (double)whole[at];
      sizes[to] += fabs((double)whole[at]);
    }
    for (int64_t i = 0; i < count; ++i) ASSERT_CLOSE(dmask[i], sums[i], 8 * 0x1p-24 * sizes[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_boolean_mask_is_a_float_mask_of_minus_infinity),
      TEST(masks_of_every_rank_are_broadcast_from_the_right),
      TEST(a_short_mask_forbids_the_rest),
      TEST(a_mask_may_be_a_view),
      TEST(a_mask_of_true_is_none),
      TEST(positions_are_the_masks_they_stand_for),
      TEST(lengths_are_the_masks_they_stand_for),
      TEST(lengths_are_held_between_0_and_the_keys),
      TEST(a_row_with_nothing_to_attend_is_zero),
      TEST(where_all_rows_are_dead_all_gradients_are_zero),
      TEST(dead_rows_do_not_spoil_gradients_of_a_shared_tensor),
      TEST(nothing_behind_a_mask_reaches_a_result),
      TEST(a_nan_in_a_dead_query_stays_there),
      TEST(a_nan_in_a_query_spoils_its_row_alone),
      TEST(the_gradient_of_a_broadcast_mask_is_the_sum_over_it),
  };
  return RUN_ON_BOTH("attention masks", tests);
}
