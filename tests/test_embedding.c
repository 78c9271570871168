// embedding: rows by token, tokens that are none; the gradient's sums, their order, and what they leave alone; what it refuses.
#include <heed/measure.h>

#include "support_values.h"

static heed_tensor *tokens_of(heed_context *ctx, int64_t count, const int32_t *values) {
  return support_put(ctx, HEED_I32, 1, &count, values);
}

static void rows_come_by_token_bit_for_bit(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {1, 7, 8, 9, 33, 129};
  static const int32_t narrow[] = {4, 0, 0, 2, 3, 1};
  static const int64_t wide[] = {4, 0, 0, 2, 3, 1};
  static const uint8_t bytes[] = {4, 0, 0, 2, 3, 1};
  static const uint32_t payloads[] = {0x7fc01234, 0xff800000, 0x80000000, 1, 0x7f800001};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w) {
    const int64_t width = widths[w];
    heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(5, width), w);
    if (width == 1) weight = support_put(ctx, HEED_F32, SHAPE(5, 1), payloads);
    const heed_tensor *tokens[] = {support_put(ctx, HEED_I32, SHAPE(2, 3), narrow),
                                   support_put(ctx, HEED_I64, SHAPE(2, 3), wide),
                                   support_put(ctx, HEED_U8, SHAPE(2, 3), bytes)};
    for (int t = 0; t < 3; ++t) {
      heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(2, 3, width));
      ASSERT_OK(heed_embedding_fwd(weight, tokens[t], y));
      const float *from = support_get(weight), *to = support_get(y);
      for (int64_t n = 0; n < 6; ++n) assert_memory_equal(to + n * width, from + wide[n] * width, (size_t)width * 4);
    }
  }
}

static void a_token_outside_is_nan_and_counts_nowhere(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t tokens[] = {1, -1, 2, INT64_MAX, INT64_MIN, (INT64_C(1) << 32) + 1, 3};
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (int d = 0; d < 3; ++d) {
    const heed_tensor *weight = support_random(ctx, dtypes[d], SHAPE(3, 17), 1),
                      *at = support_put(ctx, HEED_I64, SHAPE(7), tokens),
                      *dy = support_random(ctx, dtypes[d], SHAPE(7, 17), 2);
    heed_tensor *y = support_new(ctx, dtypes[d], SHAPE(7, 17)), *dweight = support_like(weight);
    ASSERT_OK(heed_embedding_fwd(weight, at, y));
    ASSERT_OK(heed_embedding_bwd(at, dy, dweight, false));
    const float *to = support_get(y), *from = support_get(weight), *grad = support_get(dweight), *up = support_get(dy);
    for (int i = 0; i < 7 * 17; ++i)
      if (i / 17 == 0 || i / 17 == 2)
        ASSERT_CLOSE(to[i], from[tokens[i / 17] * 17 + i % 17], 0);
      else
        assert_true(isnan(to[i]));
    for (int i = 0; i < 17; ++i) {
      ASSERT_CLOSE(grad[i], 0, 0);
      ASSERT_CLOSE(grad[17 + i], up[i], 0);
      ASSERT_CLOSE(grad[34 + i], up[34 + i], 0);
    }
  }
}

// Sums in F64, rounding 2^-24 in each of the levels.
static void assert_sums(const heed_tensor *dweight, int64_t rows, int64_t width, int64_t count, const int32_t *tokens,
                        const float *dy, const float *before) {
  double *sums = support_memory((size_t)(rows * width) * sizeof *sums), error = 0, size = 0;
  for (int64_t i = 0; i < rows * width; ++i) sums[i] = before ? (double)before[i] : 0;
  for (int64_t n = 0; n < count; ++n)
    for (int64_t j = 0; tokens[n] >= 0 && tokens[n] < rows && j < width; ++j)
      sums[tokens[n] * width + j] += (double)dy[n * width + j];
  const float *actual = support_get(dweight);
  for (int64_t i = 0; i < rows * width; ++i) {
    const double difference = (double)actual[i] - sums[i];
    error += difference * difference;
    size += sums[i] * sums[i];
  }
  if (!(sqrt(error) <= heed_tolerance(HEED_F32, true) * sqrt(size)))
    fail_msg("off by %.3g of %.3g", sqrt(error), sqrt(size));
}

static void one_token_may_be_all_of_them(void **state) {
  heed_context *ctx = support_context(state);
  enum { COUNT = 100000, WIDTH = 3 };
  int32_t *tokens = support_memory(COUNT * sizeof *tokens);
  for (int i = 0; i < COUNT; ++i) tokens[i] = 2;
  const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(COUNT, WIDTH), 1);
  heed_tensor *dweight = support_new(ctx, HEED_F32, SHAPE(4, WIDTH));
  ASSERT_OK(heed_embedding_bwd(tokens_of(ctx, COUNT, tokens), dy, dweight, false));
  assert_sums(dweight, 4, WIDTH, COUNT, tokens, support_get(dy), NULL);
}

// Runs of a token that end before, at and behind the borders of blocks of sorted tokens.
static void sums_are_right_wherever_runs_end(void **state) {
  heed_context *ctx = support_context(state);
  static const int lengths[] = {1, 63, 64, 65, 127, 128, 129, 200, 4097};
  enum { LENGTHS = sizeof lengths / sizeof *lengths, WIDTH = 9, MOST = 5000 };
  int32_t *tokens = support_memory(MOST * sizeof *tokens);
  for (int first = 0; first < LENGTHS; ++first) {
    int64_t count = 0;
    for (int r = 0; r < LENGTHS; ++r)
      for (int i = 0; i < lengths[(first + r) % LENGTHS] && count < MOST; ++i) tokens[count++] = 5 * r;
    // What is sorted again lay elsewhere.
    for (int64_t n = 0; n < count; ++n) {
      const int64_t other = (int64_t)heed_random_below(7, 0, (uint64_t)n, (uint64_t)count);
      const int32_t token = tokens[n];
      tokens[n] = tokens[other];
      tokens[other] = token;
    }
    const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(count, WIDTH), 3);
    heed_tensor *dweight = support_random(ctx, HEED_F32, SHAPE(60, WIDTH), 4);
    const float *before = support_get(dweight);
    ASSERT_OK(heed_embedding_bwd(tokens_of(ctx, count, tokens), dy, dweight, true));
    assert_sums(dweight, 60, WIDTH, count, tokens, support_get(dy), before);
  }
}

// Also NaN: what is not touched is neither added to nor multiplied.
static void other_rows_are_left_alone_or_become_zero(void **state) {
  heed_context *ctx = support_context(state);
  enum { ROWS = 50257, COUNT = 1000, WIDTH = 8 };
  int32_t tokens[COUNT];
  for (int i = 0; i < COUNT; ++i) tokens[i] = 190 * (int32_t)heed_random_below(1, 2, (uint64_t)i, 256);
  const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(COUNT, WIDTH), 1);
  heed_tensor *added = support_new(ctx, HEED_F32, SHAPE(ROWS, WIDTH)), *fresh = support_like(added);  // of NaN
  ASSERT_OK(heed_embedding_bwd(tokens_of(ctx, COUNT, tokens), dy, added, true));
  ASSERT_OK(heed_embedding_bwd(tokens_of(ctx, COUNT, tokens), dy, fresh, false));
  assert_sums(fresh, ROWS, WIDTH, COUNT, tokens, support_get(dy), NULL);
  const float *untouched = support_get(added);
  for (int i = 0; i < ROWS * WIDTH; ++i) assert_true(isnan(untouched[i]));
}

static void the_same_call_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  enum { COUNT = 9001, WIDTH = 17 };
  int32_t *tokens = support_memory(COUNT * sizeof *tokens);
  for (int i = 0; i < COUNT; ++i) tokens[i] = (int32_t)heed_random_below(1, 3, (uint64_t)i, 40);
  const heed_tensor *at = tokens_of(ctx, COUNT, tokens), *dy = support_random(ctx, HEED_F16, SHAPE(COUNT, WIDTH), 1);
  heed_tensor *first = support_new(ctx, HEED_F16, SHAPE(41, WIDTH)), *second = support_like(first);
  ASSERT_OK(heed_embedding_bwd(at, dy, first, false));
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(heed_embedding_bwd(at, dy, second, false));
    ASSERT_SAME_BITS(second, first);
  }
}

static void nothing_is_done_to_nothing(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *none = tokens_of(ctx, 0, NULL), *weight = support_random(ctx, HEED_F32, SHAPE(3, 2), 1);
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(0, 2)), *dweight = support_random(ctx, HEED_F32, SHAPE(3, 2), 2);
  const float *before = support_get(dweight);
  ASSERT_OK(heed_embedding_fwd(weight, none, y));
  ASSERT_OK(heed_embedding_bwd(none, y, dweight, true));
  for (int i = 0; i < 6; ++i) ASSERT_CLOSE(support_get(dweight)[i], before[i], 0);
  ASSERT_OK(heed_embedding_bwd(none, y, dweight, false));
  for (int i = 0; i < 6; ++i) ASSERT_CLOSE(support_get(dweight)[i], 0, 0);
  // A table without rows has none for any token.
  const int32_t tokens[] = {0};
  heed_tensor *row = support_new(ctx, HEED_F32, SHAPE(1, 2));
  ASSERT_OK(heed_embedding_fwd(support_new(ctx, HEED_F32, SHAPE(0, 2)), tokens_of(ctx, 1, tokens), row));
  assert_true(isnan(support_get(row)[0]) && isnan(support_get(row)[1]));
}

static void it_refuses(void **state) {
  heed_context *ctx = support_context(state);
  const int32_t values[] = {0, 1};
  heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(3, 4), 1), *tokens = tokens_of(ctx, 2, values),
              *y = support_new(ctx, HEED_F32, SHAPE(2, 4)), *flat = support_new(ctx, HEED_F32, SHAPE(8));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "embedding_fwd", "weight is NULL", heed_embedding_fwd(NULL, tokens, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "embedding_fwd", "tokens is NULL", heed_embedding_fwd(weight, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "embedding_bwd", "dweight is NULL",
                 heed_embedding_bwd(tokens, y, NULL, false));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "embedding_fwd", "tokens is F32[2, 4]; I32, I64 or U8 is needed",
                 heed_embedding_fwd(weight, y, support_new(ctx, HEED_F32, SHAPE(2, 4, 4))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "embedding_fwd", "y is F16[2, 4]",
                 heed_embedding_fwd(weight, tokens, support_new(ctx, HEED_F16, SHAPE(2, 4))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "embedding_fwd", "are not [V, C], [...] and [..., C]",
                 heed_embedding_fwd(weight, tokens, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "embedding_bwd", "are not [V, C], [...] and [..., C]",
                 heed_embedding_bwd(tokens, support_new(ctx, HEED_F32, SHAPE(3, 4)), weight, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "embedding_bwd", "dweight overlaps dy",
                 heed_embedding_bwd(tokens_of(ctx, 2, values), y, y, false));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(rows_come_by_token_bit_for_bit),
      TEST(a_token_outside_is_nan_and_counts_nowhere),
      TEST(one_token_may_be_all_of_them),
      TEST(sums_are_right_wherever_runs_end),
      TEST(other_rows_are_left_alone_or_become_zero),
      TEST(the_same_call_gives_the_same_bits),
      TEST(nothing_is_done_to_nothing),
      TEST(it_refuses),
  };
  return RUN_ON_BOTH("embedding", tests);
}
