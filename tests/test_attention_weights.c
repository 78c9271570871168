// What attention writes as its weights, step by step of its equation: scale · q kᵀ, softcap of that, the mask added to that, and the
// softmax, each by its definition in double precision, for every kind of thing that decides which keys a row attends.
#include "support_attention.h"

enum { B = 2, HQ = 4, HKV = 2, LQ = 9, LK = 21, D = 12, PAST = 6, COLUMNS = LK - 4 };
static const double softcap = 0.75;
static const int64_t lengths[B] = {13, 20};

enum with {
  NOTHING,
  TOP_LEFT,
  BOTTOM_RIGHT,
  WINDOW,
  BOOL_MASK,
  FLOAT_MASK,
  SHORT_MASK,
  LENGTHS,
  PAST_KEYS,
  EVERYTHING
};
#define KINDS (EVERYTHING + 1)

static bool scattered(int64_t b, int64_t h, int64_t i, int64_t j) { return (7 * b + 5 * h + 3 * i + j * j) % 3 != 0; }

// What is added to score j of row i: −inf where the row does not attend the key.
static double bias_of(enum with with, int64_t b, int64_t h, int64_t i, int64_t j) {
  const bool all = with == EVERYTHING;
  const int64_t offset = with == PAST_KEYS ? PAST : with == LENGTHS || all ? lengths[b] - LQ : 0;
  bool attends = true;
  if (with == TOP_LEFT || with == PAST_KEYS || all) attends &= j <= i + offset;
  if (with == BOTTOM_RIGHT) attends &= j <= i + LK - LQ;
  if (with == WINDOW || all) attends &= i + offset - 5 <= j && j <= i + offset + 2;
  if (with == LENGTHS || all) attends &= j < lengths[b];
  if (with == BOOL_MASK || with == SHORT_MASK) attends &= scattered(b, h, i, j);
  if (with == SHORT_MASK) attends &= j < COLUMNS;
  if (with == FLOAT_MASK || all) attends &= j % 5 != 2;
  return !attends ? -INFINITY : with == FLOAT_MASK || all ? (double)(i - j) / 8 : 0;
}

static void add_mask(struct attention *a, heed_context *ctx, enum with with) {
  if (with == BOOL_MASK) a->in.mask = attention_mask(ctx, SHAPE(B, HQ, LQ, LK), scattered);
  if (with == SHORT_MASK) a->in.mask = attention_mask(ctx, SHAPE(B, HQ, LQ, COLUMNS), scattered);
  if (with != FLOAT_MASK && with != EVERYTHING) return;
  float *values = support_memory(LQ * LK * sizeof *values);
  for (int64_t at = 0; at < LQ * LK; ++at) values[at] = (float)bias_of(FLOAT_MASK, 0, 0, at / LK, at % LK);
  a->in.mask = support_put_f32(ctx, HEED_F32, SHAPE(LQ, LK), values);
}

// Keys (or values) from..to of each head, as a tensor of their own.
static heed_tensor *part_of(const heed_tensor *whole, int64_t from, int64_t to) {
  heed_tensor *part = NULL, *copy = support_new(heed_tensor_context(whole), HEED_F32, SHAPE(B, HKV, to - from, D));
  ASSERT_OK(heed_tensor_slice(whole, 2, from, to - from, &part));
  ASSERT_OK(heed_copy(support_keep(part), copy));
  return copy;
}

// The keys of all rows, past ones included, go to *keys.
static struct attention make(heed_context *ctx, enum with with, bool capped, const float **keys) {
  struct attention a = attention_make(ctx, B, HQ, HKV, LQ, LK, D);
  const bool causal = with == TOP_LEFT || with == PAST_KEYS || with == EVERYTHING;
  *keys = support_get(a.in.k);
  a.options = (heed_attention_options){.causal = causal                 ? HEED_CAUSAL_TOP_LEFT
                                                 : with == BOTTOM_RIGHT ? HEED_CAUSAL_BOTTOM_RIGHT
                                                                        : HEED_CAUSAL_NONE,
                                       .has_window = with == WINDOW || with == EVERYTHING,
                                       .window_left = 5,
                                       .window_right = 2,
                                       .has_scale = true,
                                       .scale = -0.7,
                                       .softcap = capped ? softcap : 0,
                                       .dropout = with == EVERYTHING ? 0.3 : 0};
  add_mask(&a, ctx, with);
  if (with == LENGTHS || with == EVERYTHING) a.in.kv_lengths = support_put(ctx, HEED_I64, SHAPE(B), lengths);
  if (with == PAST_KEYS) {
    const heed_tensor *k = a.in.k, *v = a.in.v;
    a.in.past_k = part_of(k, 0, PAST), a.in.k = part_of(k, PAST, LK);
    a.in.past_v = part_of(v, 0, PAST), a.in.v = part_of(v, PAST, LK);
    a = attention_again(&a);
  }
  attention_add_weights(&a);
  return a;
}

// A sum of 12 products of values below 1 is off by some 2^-22 of 1; the rest is one rounding of values up to 3.
static const double tolerance = 4e-6;

static void assert_steps(heed_context *ctx, enum with with, bool capped) {
  static const heed_attention_weights steps[] = {HEED_WEIGHTS_RAW, HEED_WEIGHTS_SOFTCAP, HEED_WEIGHTS_MASKED};
  const float *keys, *step[3];
  struct attention a = make(ctx, with, capped, &keys);
  const float *q = support_get(a.in.q);
  for (int s = 0; s < 3; ++s) {
    a.options.weights = steps[s];
    attention_forward(&a);
    step[s] = support_get(a.weights);
  }
  for (int64_t at = 0; at < B * HQ * LQ * LK; ++at) {
    const int64_t j = at % LK, row = at / LK, i = row % LQ, h = row / LQ % HQ, b = row / LQ / HQ;
    const float *key = keys + ((b * HKV + h / (HQ / HKV)) * LK + j) * D;
    double score = 0;
    for (int64_t d = 0; d < D; ++d) score += (double)q[row * D + d] * (double)key[d];
    score *= a.options.scale;
    ASSERT_CLOSE(step[0][at], score, tolerance);
    if (capped) score = softcap * tanh(score / softcap);
    ASSERT_CLOSE(step[1][at], score, tolerance);
    ASSERT_CLOSE(step[2][at], score + bias_of(with, b, h, i, j), tolerance);
  }
}

static void each_step_is_what_the_equation_says(void **state) {
  for (int with = 0; with < KINDS; ++with)
    for (int capped = 0; capped < 2; ++capped) {
      assert_steps(support_context(state), with, capped);
      support_release(NULL);
    }
}

static void the_softmax_of_the_masked_step_is_the_last_step(void **state) {
  heed_context *ctx = support_context(state);
  for (int with = 0; with < EVERYTHING; ++with) {  // that one has dropout
    const float *keys;
    struct attention a = make(ctx, with, true, &keys);
    a.options.weights = HEED_WEIGHTS_MASKED;
    attention_forward(&a);
    const float *masked = support_get(a.weights), *lse = support_get(a.lse);
    a.options.weights = HEED_WEIGHTS_SOFTMAX;
    attention_forward(&a);
    const float *p = support_get(a.weights);
    for (int64_t at = 0; at < B * HQ * LQ * LK; ++at)
      ASSERT_CLOSE(p[at], lse[at / LK] == -INFINITY ? 0 : exp((double)masked[at] - (double)lse[at / LK]), 1e-5);
    support_release(NULL);
  }
}

// The backward, too: it is given the options of the forward.
static void no_step_changes_the_other_results(void **state) {
  heed_context *ctx = support_context(state);
  const float *keys;
  struct attention a = make(ctx, EVERYTHING, true, &keys);
  attention_run(&a);
  for (int step = HEED_WEIGHTS_RAW; step <= HEED_WEIGHTS_MASKED; ++step) {
    struct attention b = attention_again(&a);
    b.options.weights = (heed_attention_weights)step;
    attention_add_weights(&b);
    attention_run(&b);
    b.weights = NULL;
    ASSERT_ATTENTION_SAME_BITS(&b, &a);
  }
}

static void without_a_tensor_for_them_the_step_does_not_matter(void **state) {
  const float *keys;
  struct attention a = make(support_context(state), TOP_LEFT, false, &keys), b = attention_again(&a);
  a.weights = NULL;
  b.options.weights = HEED_WEIGHTS_MASKED;
  attention_run(&a);
  attention_run(&b);
  ASSERT_ATTENTION_SAME_BITS(&b, &a);
}

// A key that nobody attends shows in the steps before the mask, and only there.
static void a_nan_that_the_mask_hides_is_minus_infinity(void **state) {
  heed_context *ctx = support_context(state);
  const float *keys;
  struct attention a = make(ctx, FLOAT_MASK, false, &keys);
  float *hostile = support_memory(B * HKV * LK * D * sizeof *hostile);
  memcpy(hostile, keys, B * HKV * LK * D * sizeof *hostile);
  for (int64_t at = 0; at < B * HKV * LK * D; ++at)
    if (at / D % LK % 5 == 2) hostile[at] = NAN;
  a.in.k = support_put_f32(ctx, HEED_F32, SHAPE(B, HKV, LK, D), hostile);
  for (int step = HEED_WEIGHTS_RAW; step <= HEED_WEIGHTS_MASKED; ++step) {
    a.options.weights = (heed_attention_weights)step;
    attention_forward(&a);
    const float *weights = support_get(a.weights);
    for (int64_t at = 0; at < B * HQ * LQ * LK; ++at) {
      const bool hidden = at % LK % 5 == 2;
      assert_true(step == HEED_WEIGHTS_MASKED ? (weights[at] == -INFINITY) == hidden : isnan(weights[at]) == hidden);
    }
  }
}

// Rounded once, to the dtype of the tensor.
static void steps_may_be_stored_in_16_bits(void **state) {
  heed_context *ctx = support_context(state);
  const float *keys;
  struct attention a = make(ctx, TOP_LEFT, true, &keys);
  for (int step = HEED_WEIGHTS_RAW; step <= HEED_WEIGHTS_MASKED; ++step) {
    struct attention narrow = a;
    const heed_tensor **inputs[] = {&narrow.in.q, &narrow.in.k, &narrow.in.v};
    a.options.weights = narrow.options.weights = (heed_attention_weights)step;
    for (int t = 0; t < 3; ++t) {
      heed_tensor *half = support_new(ctx, HEED_F16, heed_tensor_rank(*inputs[t]), heed_tensor_dims(*inputs[t]));
      ASSERT_OK(heed_copy(*inputs[t], half));
      *inputs[t] = half;
    }
    narrow = attention_again(&narrow);
    attention_add_weights(&narrow);
    attention_forward(&a);
    attention_forward(&narrow);
    // The inputs are multiples of 2^-8 below 1, which F16 holds.
    ASSERT_AGREE(narrow.weights, a.weights, 0x1p-11);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(each_step_is_what_the_equation_says),         TEST(the_softmax_of_the_masked_step_is_the_last_step),
      TEST(no_step_changes_the_other_results),           TEST(without_a_tensor_for_them_the_step_does_not_matter),
      TEST(a_nan_that_the_mask_hides_is_minus_infinity), TEST(steps_may_be_stored_in_16_bits),
  };
  return RUN_ON_BOTH("weights of attention", tests);
}
