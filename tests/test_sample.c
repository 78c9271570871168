// The next token: greedy, and drawn with the probabilities that temperature, top_k and top_p leave.
#include <heed/lm.h>
#include <math.h>

#include "support_values.h"

enum { VOCAB = 6, DRAWS = 20000 };
static const float logits[VOCAB] = {1, 3, -2, 3, -INFINITY, 0};

static int64_t choose(const heed_sample_options *options, int64_t position) {
  int64_t token = -1;
  ASSERT_OK(heed_sample(logits, VOCAB, options, position, &token));
  return token;
}

// Five deviations of a binomial count: a right sampler fails one of these in more than a million.
static void assert_frequencies(const heed_sample_options *options, const double expected[VOCAB]) {
  int counts[VOCAB] = {0};
  for (int i = 0; i < DRAWS; ++i) ++counts[choose(options, i)];
  for (int i = 0; i < VOCAB; ++i) {
    const double allowed = 5 * sqrt(DRAWS * expected[i] * (1 - expected[i]));
    if (!(fabs(counts[i] - DRAWS * expected[i]) <= allowed)) fail_msg("token %d: %d of %d", i, counts[i], DRAWS);
  }
}

static void without_a_temperature_the_first_of_the_highest_is_chosen(void **state) {
  (void)state;
  for (int i = 0; i < 10; ++i) assert_int_equal(choose(&(heed_sample_options){.seed = (uint64_t)i, .top_k = 3}, i), 1);
}

static void tokens_are_drawn_by_the_softmax(void **state) {
  (void)state;
  const double sum = exp(1) + 2 * exp(3) + exp(-2) + 1;
  assert_frequencies(&(heed_sample_options){.temperature = 1, .seed = 4},
                     (const double[]){exp(1) / sum, exp(3) / sum, exp(-2) / sum, exp(3) / sum, 0, 1 / sum});
  const double hot = exp(0.25) + 2 * exp(0.75) + exp(-0.5) + 1;
  assert_frequencies(&(heed_sample_options){.temperature = 4, .seed = 5, .top_p = 1, .top_k = 100},
                     (const double[]){exp(0.25) / hot, exp(0.75) / hot, exp(-0.5) / hot, exp(0.75) / hot, 0, 1 / hot});
}

static void top_k_leaves_the_highest_and_of_equals_the_lower_id(void **state) {
  (void)state;
  const double sum = exp(1) + 2 * exp(3);
  assert_frequencies(&(heed_sample_options){.temperature = 1, .top_k = 3},
                     (const double[]){exp(1) / sum, exp(3) / sum, 0, exp(3) / sum, 0, 0});
  assert_frequencies(&(heed_sample_options){.temperature = 1, .top_k = 1}, (const double[]){0, 1, 0, 0, 0, 0});
}

static void top_p_leaves_the_fewest_that_reach_it(void **state) {
  (void)state;
  // Probabilities of 0.45, 0.45, 0.06, ...: two tokens reach 0.9, three are needed for 0.92.
  assert_frequencies(&(heed_sample_options){.temperature = 1, .top_p = 0.9}, (const double[]){0, 0.5, 0, 0.5, 0, 0});
  const double sum = exp(1) + 2 * exp(3);
  assert_frequencies(&(heed_sample_options){.temperature = 1, .top_p = 0.92},
                     (const double[]){exp(1) / sum, exp(3) / sum, 0, exp(3) / sum, 0, 0});
  assert_frequencies(&(heed_sample_options){.temperature = 1, .top_p = 1e-9}, (const double[]){0, 1, 0, 0, 0, 0});
}

static void top_p_is_of_what_top_k_leaves(void **state) {
  (void)state;
  assert_frequencies(&(heed_sample_options){.temperature = 1, .top_k = 2, .top_p = 0.4},
                     (const double[]){0, 1, 0, 0, 0, 0});
}

static void a_choice_depends_on_seed_and_position_alone(void **state) {
  (void)state;
  const heed_sample_options options = {.temperature = 2, .seed = 7}, other = {.temperature = 2, .seed = 8};
  int64_t again[64];
  int differences = 0;
  for (int i = 0; i < 64; ++i) again[i] = choose(&options, i);
  for (int i = 63; i >= 0; --i) {
    assert_int_equal(choose(&options, i), again[i]);
    differences += choose(&other, i) != again[i];
  }
  assert_true(differences > 8);
}

static void a_tiny_temperature_is_greedy(void **state) {
  (void)state;
  static const float apart[] = {0, 1, 0.999f};
  int64_t token = -1;
  ASSERT_OK(heed_sample(apart, 3, &(heed_sample_options){.temperature = 1e-300}, 0, &token));
  assert_int_equal(token, 1);
}

static void bad_logits_and_options_are_refused(void **state) {
  (void)state;
  int64_t token;
  const heed_sample_options fine = {.temperature = 1};
  static const float nan_logit[] = {0, NAN}, infinite[] = {0, 1, INFINITY}, none[] = {-INFINITY, -INFINITY};
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "token 1 is nan", heed_sample(nan_logit, 2, &fine, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "token 2 is inf", heed_sample(infinite, 3, &fine, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "all logits", heed_sample(none, 2, &fine, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "vocab is 0", heed_sample(logits, 0, &fine, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "temperature is -1",
               heed_sample(logits, VOCAB, &(heed_sample_options){.temperature = -1}, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "top_k is -2",
               heed_sample(logits, VOCAB, &(heed_sample_options){.top_k = -2}, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "top_p is 1.5",
               heed_sample(logits, VOCAB, &(heed_sample_options){.top_p = 1.5}, 0, &token));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "NULL", heed_sample(NULL, 2, &fine, 0, &token));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_a_temperature_the_first_of_the_highest_is_chosen),
      cmocka_unit_test(tokens_are_drawn_by_the_softmax),
      cmocka_unit_test(top_k_leaves_the_highest_and_of_equals_the_lower_id),
      cmocka_unit_test(top_p_leaves_the_fewest_that_reach_it),
      cmocka_unit_test(top_p_is_of_what_top_k_leaves),
      cmocka_unit_test(a_choice_depends_on_seed_and_position_alone),
      cmocka_unit_test(a_tiny_temperature_is_greedy),
      cmocka_unit_test(bad_logits_and_options_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
