// Dropout of attention: which weights are dropped is the header's formula on every device, how many, and what follows.
#include "support_attention.h"

enum { B = 2, H = 3, LQ = 33, LK = 70, D = 8 };
static const double probability = 0.3;
static const uint64_t seed = 0x123456789abcdef0;

static struct attention make(heed_context *ctx) {
  struct attention a = attention_make(ctx, B, H, H, LQ, LK, D);
  a.options.dropout = probability;
  a.options.seed = seed;
  return a;
}

static const float *weights_of(heed_context *ctx, const heed_attention_options *options) {
  struct attention a = make(ctx);
  a.options = *options;
  attention_add_weights(&a);
  attention_forward(&a);
  return support_get(a.weights);
}

// Word j mod 4 of Philox(seed, {j / 4, i, h, b}) decides.
static bool keeps(uint64_t of, uint32_t b, uint32_t h, uint32_t i, uint32_t j) {
  const uint32_t counter[4] = {j / 4, i, h, b};
  uint32_t random[4];
  heed_philox(of, counter, random);
  return random[j % 4] >= probability * 0x1p32;
}

static void the_formula_says_what_is_dropped(void **state) {
  heed_context *ctx = support_context(state);
  const float *p = weights_of(ctx, &(heed_attention_options){.dropout = probability, .seed = seed});
  for (int at = 0; at < B * H * LQ * LK; ++at) {
    const uint32_t j = at % LK, i = at / LK % LQ, h = at / LK / LQ % H, b = (uint32_t)(at / LK / LQ / H);
    assert_int_equal(p[at] != 0, keeps(seed, b, h, i, j));
  }
}

static void what_is_kept_is_scaled(void **state) {
  heed_context *ctx = support_context(state);
  const float *p = weights_of(ctx, &(heed_attention_options){.dropout = probability, .seed = seed});
  const float *whole = weights_of(ctx, &(heed_attention_options){0});
  for (int at = 0; at < B * H * LQ * LK; ++at)
    if (p[at] != 0) ASSERT_CLOSE(p[at], (double)whole[at] / (1 - probability), 4 * 0x1p-24 * (double)p[at]);
}

// Of n weights a share of 1 − p is kept, give or take √(p (1 − p) / n); five times that is once in a million.
static void the_share_that_is_kept_is_1_minus_p(void **state) {
  heed_context *ctx = support_context(state);
  const double shares[] = {0.1, 0.5, 0.9};
  for (int s = 0; s < 3; ++s) {
    const float *p = weights_of(ctx, &(heed_attention_options){.dropout = shares[s], .seed = seed});
    const double n = B * H * LQ * LK;
    double kept = 0;
    for (int at = 0; at < B * H * LQ * LK; ++at) kept += p[at] != 0;
    ASSERT_CLOSE(kept / n, 1 - shares[s], 5 * sqrt(shares[s] * (1 - shares[s]) / n));
  }
}

static void every_word_of_the_key_matters(void **state) {
  heed_context *ctx = support_context(state);
  const float *p = weights_of(ctx, &(heed_attention_options){.dropout = 0.5, .seed = seed});
  const float *low = weights_of(ctx, &(heed_attention_options){.dropout = 0.5, .seed = seed + 1});
  const float *high = weights_of(ctx, &(heed_attention_options){.dropout = 0.5, .seed = seed + (UINT64_C(1) << 32)});
  const int n = B * H * LQ * LK, row = LK, head = LQ * LK, batch = H * LQ * LK;
  int differ[5] = {0};
  for (int at = 0; at < n; ++at) {
    differ[0] += (p[at] != 0) != (low[at] != 0);
    differ[1] += (p[at] != 0) != (high[at] != 0);
    differ[2] += (p[at] != 0) != (p[(at + row) % n] != 0);
    differ[3] += (p[at] != 0) != (p[(at + head) % n] != 0);
    differ[4] += (p[at] != 0) != (p[(at + batch) % n] != 0);
  }
  // Half of them, as for patterns that know nothing of each other.
  for (int i = 0; i < 5; ++i) ASSERT_CLOSE((double)differ[i] / n, 0.5, 5 * 0.5 / sqrt(n));
}

static void out_is_made_of_the_kept_weights(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(ctx);
    a.options.path = attention_paths[path];
    a.options.causal = HEED_CAUSAL_TOP_LEFT;
    heed_attention_options options = a.options;
    options.path = HEED_PATH_AUTO;
    const float *p = weights_of(ctx, &options), *v = support_get(a.in.v);
    attention_forward(&a);
    const float *out = support_get(a.out);
    for (int row = 0; row < B * H * LQ; ++row)
      for (int d = 0; d < D; ++d) {
        double sum = 0;
        for (int j = 0; j < LK; ++j) sum += (double)p[row * LK + j] * (double)v[(row / LQ * LK + j) * D + d];
        ASSERT_CLOSE(out[row * D + d], sum, 5e-6 / (1 - probability));
      }
  }
}

// lse is that of all weights, and a key that nobody kept has no gradient.
static void gradients_pass_through_the_kept_weights(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = attention_make(ctx, B, H, H, 1, LK, D), plain = attention_again(&a);
    a.options = (heed_attention_options){.dropout = probability, .seed = seed, .path = attention_paths[path]};
    attention_run(&a);
    attention_run(&plain);
    ASSERT_AGREE(a.lse, plain.lse, 1e-6);
    const float *dv = support_get(a.grads.dv), *up = support_get(a.dout);
    const float *lse = support_get(a.lse), *q = support_get(a.in.q), *k = support_get(a.in.k);
    for (int h = 0; h < B * H; ++h)
      for (int j = 0; j < LK; ++j) {
        double score = 0;
        for (int d = 0; d < D; ++d) score += (double)q[h * D + d] * (double)k[(h * LK + j) * D + d] / sqrt(D);
        const bool kept = keeps(seed, (uint32_t)(h / H), (uint32_t)(h % H), 0, (uint32_t)j);
        const double weight = kept ? exp(score - (double)lse[h]) / (1 - probability) : 0;
        for (int d = 0; d < D; ++d)
          ASSERT_CLOSE(dv[(h * LK + j) * D + d], weight * (double)up[h * D + d], kept ? 1e-5 * weight : 0);
      }
  }
}

static void the_host_drops_the_same(void **state) {
  heed_context *ctx = support_context(state);
  for (int path = 0; path < 2; ++path) {
    struct attention a = make(ctx), b = make(support_other());
    a.options.path = b.options.path = attention_paths[path];
    attention_run(&a);
    attention_run(&b);
    ASSERT_ATTENTION_AGREES(&a, &b, 2e-5);
  }
}

static void a_probability_of_0_drops_nothing(void **state) {
  heed_context *ctx = support_context(state);
  struct attention a = make(ctx), b = attention_again(&a);
  a.options = (heed_attention_options){.seed = 99};
  b.options = (heed_attention_options){0};
  attention_run(&a);
  attention_run(&b);
  ASSERT_ATTENTION_SAME_BITS(&a, &b);
  // The least that is a probability: none of these is dropped either.
  b.options.dropout = 1e-300;
  attention_run(&b);
  ASSERT_ATTENTION_AGREES(&b, &a, 1e-6);
}

static void nearly_all_may_be_dropped(void **state) {
  heed_context *ctx = support_context(state);
  struct attention a = make(ctx);
  a.options.dropout = 1 - 0x1p-30;
  attention_run(&a);
  const float *out = support_get(a.out), *dq = support_get(a.grads.dq);
  for (int i = 0; i < B * H * LQ * D; ++i) {
    ASSERT_CLOSE(out[i], 0, 0);
    ASSERT_CLOSE(dq[i], 0, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_formula_says_what_is_dropped),
      TEST(what_is_kept_is_scaled),
      TEST(the_share_that_is_kept_is_1_minus_p),
      TEST(every_word_of_the_key_matters),
      TEST(out_is_made_of_the_kept_weights),
      TEST(gradients_pass_through_the_kept_weights),
      TEST(the_host_drops_the_same),
      TEST(a_probability_of_0_drops_nothing),
      TEST(nearly_all_may_be_dropped),
  };
  return RUN_ON_BOTH("attention dropout", tests);
}
