// Random numbers: Philox's published answers, uniform, normal and bounded numbers by their moments, and that none repeats.
#include "base/random.h"
#include "base/size.h"
#include "support_values.h"

enum { COUNT = 100000, SEED = 17 };

// The known answers that Random123 ships with philox4x32 of 10 rounds (kat_vectors).
static void philox_gives_its_known_answers(void **state) {
  (void)state;
  static const struct {
    uint64_t seed;
    uint32_t counter[4], answer[4];
  } known[] = {
      {0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {UINT64_MAX, {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {0x299f31d0a4093822,
       {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    uint32_t random[4];
    heed_philox(known[i].seed, known[i].counter, random);
    assert_memory_equal(random, known[i].answer, sizeof random);
  }
}

// Means of COUNT numbers stray by their deviation over √COUNT; five times that is once in a million.
static void uniform_numbers_fill_0_to_1(void **state) {
  (void)state;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < COUNT; ++i) {
    const double x = heed_random_uniform(SEED, 3, i);
    assert_true(x >= 0 && x < 1);
    sum += x;
    squares += x * x;
  }
  ASSERT_CLOSE(sum / COUNT, 0.5, 5 * sqrt(1.0 / 12 / COUNT));
  ASSERT_CLOSE(squares / COUNT, 1.0 / 3, 5 * sqrt(4.0 / 45 / COUNT));
}

static void normal_numbers_have_the_normal_moments(void **state) {
  (void)state;
  double sums[5] = {0};
  for (uint64_t i = 0; i < COUNT; ++i) {
    const double x = heed_random_normal(SEED, 4, i);
    assert_true(isfinite(x) && fabs(x) < 7);
    for (int power = 1; power <= 4; ++power) sums[power] += pow(x, power);
  }
  ASSERT_CLOSE(sums[1] / COUNT, 0, 5 * sqrt(1.0 / COUNT));
  ASSERT_CLOSE(sums[2] / COUNT, 1, 5 * sqrt(2.0 / COUNT));
  ASSERT_CLOSE(sums[3] / COUNT, 0, 5 * sqrt(15.0 / COUNT));
  ASSERT_CLOSE(sums[4] / COUNT, 3, 5 * sqrt(96.0 / COUNT));
}

static void bounded_numbers_are_even(void **state) {
  (void)state;
  int counts[10] = {0};
  for (uint64_t i = 0; i < COUNT; ++i) counts[heed_random_below(SEED, 5, i, 10)] += 1;
  for (int i = 0; i < 10; ++i) ASSERT_CLOSE(counts[i], COUNT / 10.0, 5 * sqrt(COUNT * 0.1 * 0.9));
  for (uint64_t i = 0; i < 100; ++i) {
    assert_true(heed_random_below(SEED, 6, i, 1) == 0);
    assert_true(heed_random_below(SEED, 6, i, UINT64_MAX) < UINT64_MAX);
  }
}

static void seed_stream_and_index_all_matter(void **state) {
  (void)state;
  const uint64_t high = UINT64_C(1) << 32;
  const double x = heed_random_uniform(1, 1, 1);
  assert_true(x == heed_random_uniform(1, 1, 1));
  assert_true(x != heed_random_uniform(2, 1, 1) && x != heed_random_uniform(1 + high, 1, 1));
  assert_true(x != heed_random_uniform(1, 2, 1) && x != heed_random_uniform(1, 1 + high, 1));
  assert_true(x != heed_random_uniform(1, 1, 2) && x != heed_random_uniform(1, 1, 1 + high));
}

static void dropout_keeps_all_at_0_and_is_words_of_philox(void **state) {
  (void)state;
  for (uint32_t j = 0; j < 64; ++j) {
    const uint32_t counter[4] = {j / 4, 7, 5, 3};
    uint32_t random[4];
    heed_philox(SEED, counter, random);
    assert_true(heed__dropout_keeps(SEED, 0, 3, 5, 7, j));
    assert_true(heed__dropout_keeps(SEED, random[j % 4], 3, 5, 7, j));
    assert_false(heed__dropout_keeps(SEED, random[j % 4] + 1, 3, 5, 7, j));
  }
}

// Known answers, for compilers without integers of 128 bits; the others compare many more.
static void products_of_64_bits_are_exact(void **state) {
  (void)state;
  assert_true(heed__mul_high(UINT64_MAX, UINT64_MAX) == UINT64_MAX - 1);
  assert_true(heed__mul_high(UINT64_C(1) << 32, UINT64_C(1) << 32) == 1);
  assert_true(heed__mul_high(UINT64_C(0x123456789abcdef0), UINT64_C(0xfedcba9876543210)) ==
              UINT64_C(0x121fa00ad77d7422));
  assert_true(heed__mul_mod(INT64_MAX, INT64_MAX, INT64_MAX - 1) == 1);
  assert_true(heed__mul_mod(INT64_C(1) << 62, INT64_C(1) << 62, 1000000007) == 829977023);
  assert_true(heed__mul_mod(5, 0, 3) == 0 && heed__mul_mod(5, 7, 1) == 0);
#ifdef __SIZEOF_INT128__
  for (uint64_t i = 0; i < COUNT; ++i) {
    uint32_t r[8];
    heed_philox(SEED, (uint32_t[4]){(uint32_t)i, 0, 0, 0}, r);
    heed_philox(SEED, (uint32_t[4]){(uint32_t)i, 1, 0, 0}, r + 4);
    const uint64_t a = (uint64_t)r[0] << 32 | r[1], b = (uint64_t)r[2] << 32 | r[3];
    const int64_t m = (int64_t)(((uint64_t)r[4] << 31 | r[5]) >> (1 + r[6] % 62)) + 1;
    assert_true(heed__mul_high(a, b) == (uint64_t)((unsigned __int128)a * b >> 64));
    const int64_t x = (int64_t)(a >> 1), y = (int64_t)(b >> 1);
    assert_true(heed__mul_mod(x, y, m) ==
                (int64_t)((unsigned __int128)x * (unsigned __int128)y % (unsigned __int128)m));
  }
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(philox_gives_its_known_answers),         TEST(uniform_numbers_fill_0_to_1),
      TEST(normal_numbers_have_the_normal_moments), TEST(bounded_numbers_are_even),
      TEST(seed_stream_and_index_all_matter),       TEST(dropout_keeps_all_at_0_and_is_words_of_philox),
      TEST(products_of_64_bits_are_exact),
  };
  return cmocka_run_group_tests_name("random numbers", tests, NULL, NULL);
}
