// heed_cross_entropy_share: the factor of the mean, for callers that go over rows in parts.
#include "support_values.h"

enum { N = 19, PART = 7, MOST = 100 };

static heed_tensor *share_of(const heed_tensor *target, const heed_cross_entropy_options *options) {
  heed_tensor *share = support_new(heed_tensor_context(target), HEED_F32, SHAPE(1));
  ASSERT_OK(heed_cross_entropy_share(target, options, share));
  return share;
}

static heed_tensor *slice(const heed_tensor *base, int64_t start, int64_t length) {
  heed_tensor *out;
  ASSERT_OK(heed_tensor_slice(base, 0, start, length, &out));
  return support_keep(out);
}

// Calls with SUM on parts of the rows, dloss the share of each row, against one call with MEAN. Each call rounds the sum of a few rows,
// and MEAN its quotient.
static void assert_parts_give_the_mean(const heed_tensor *x, const heed_tensor *target,
                                       heed_cross_entropy_options options) {
  heed_context *ctx = heed_tensor_context(x);
  heed_tensor *mean = support_new(ctx, HEED_F32, SHAPE(1)), *part = support_new(ctx, HEED_F32, SHAPE(1));
  heed_tensor *expected = support_like(x), *dinput = support_like(x);
  ASSERT_OK(heed_cross_entropy_fwd(x, target, &options, mean));
  ASSERT_OK(heed_cross_entropy_bwd(x, target, &options, NULL, expected));
  const heed_tensor *share = share_of(target, &options);
  options.reduction = HEED_REDUCTION_SUM;
  double loss = 0;
  for (int64_t start = 0; start < N; start += PART) {
    const int64_t length = N - start < PART ? N - start : PART;
    ASSERT_OK(heed_cross_entropy_fwd_bwd(slice(x, start, length), slice(target, start, length), &options, share, part,
                                         slice(dinput, start, length)));
    loss += (double)support_get(part)[0];
  }
  const double whole = (double)support_get(mean)[0];
  ASSERT_CLOSE(loss * (double)support_get(share)[0], whole, 1e-6 * whole);
  ASSERT_AGREE(dinput, expected, 1e-6);
}

// Of few classes and of many, which have different kernels.
static void parts_of_the_rows_give_the_mean_of_all(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {37, MOST};
  for (int w = 0; w < 2; ++w) {
    const int64_t width = widths[w];
    int32_t plain[N], ignored[N];
    float weights[MOST];
    for (int r = 0; r < N; ++r) plain[r] = (int32_t)((r * 5 + 2) % width);
    // All of the first part are ignored, and some of the others.
    for (int r = 0; r < N; ++r) ignored[r] = r < PART || r % 3 == 0 ? HEED_IGNORE_INDEX : plain[r];
    for (int c = 0; c < width; ++c) weights[c] = 0.25f + (float)(c % 5);
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(N, width), 3);
    const heed_tensor *weight = support_put(ctx, HEED_F32, SHAPE(width), weights);
    const heed_tensor *targets[] = {support_put(ctx, HEED_I32, SHAPE(N), plain),
                                    support_put(ctx, HEED_I32, SHAPE(N), ignored)};
    for (int i = 0; i < 2; ++i) {
      assert_parts_give_the_mean(x, targets[i], (heed_cross_entropy_options){0});
      assert_parts_give_the_mean(x, targets[i], (heed_cross_entropy_options){.weight = weight});
    }
    assert_parts_give_the_mean(x, targets[1], (heed_cross_entropy_options){.weight = weight, .label_smoothing = 0.1});
    assert_parts_give_the_mean(x, targets[0],
                               (heed_cross_entropy_options){.has_ignore_index = true, .ignore_index = plain[1]});
  }
}

// As MEAN has it: an index that is no class counts, but with weights as 0.
static void each_row_counts_as_in_the_mean(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t wide[] = {0, 7, HEED_IGNORE_INDEX, 1, 1, -1};
  const float weights[] = {0.5f, 0.75f};
  const heed_tensor *target = support_put(ctx, HEED_I64, SHAPE(2, 3), wide);
  const heed_tensor *weight = support_put(ctx, HEED_F32, SHAPE(2), weights);
  ASSERT_CLOSE(support_get(share_of(target, NULL))[0], 1 / 5., 0x1p-24);
  ASSERT_CLOSE(support_get(share_of(target, &(heed_cross_entropy_options){.weight = weight}))[0], 1 / 2., 0);
  heed_cross_entropy_options options = {.has_ignore_index = true, .ignore_index = 1};
  ASSERT_CLOSE(support_get(share_of(target, &options))[0], 1 / 4., 0);
  options.ignore_index = HEED_IGNORE_NOTHING;
  ASSERT_CLOSE(support_get(share_of(target, &options))[0], 1 / 6., 0x1p-24);
}

static void the_share_of_nothing_is_infinite(void **state) {
  heed_context *ctx = support_context(state);
  const uint8_t same[] = {3, 3, 3};
  const heed_tensor *target = support_put(ctx, HEED_U8, SHAPE(3), same);
  const heed_cross_entropy_options options = {.has_ignore_index = true, .ignore_index = 3};
  assert_true(support_get(share_of(target, &options))[0] == INFINITY);
  assert_true(support_get(share_of(support_new(ctx, HEED_I32, SHAPE(0)), NULL))[0] == INFINITY);
}

#define SHARE(target, share, ...) \
  heed_cross_entropy_share((target), &(heed_cross_entropy_options){__VA_ARGS__}, (share))

static void impossible_calls_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const int32_t indices[] = {1, 2, 3};
  const heed_tensor *target = support_put(ctx, HEED_I32, SHAPE(3), indices);
  heed_tensor *share = support_new(ctx, HEED_F32, SHAPE(1)), *two = support_new(ctx, HEED_F32, SHAPE(2));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_share", "target is NULL",
                 heed_cross_entropy_share(NULL, NULL, share));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_share", "share is NULL",
                 heed_cross_entropy_share(target, NULL, NULL));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_share", "target is F32[2]",
                 heed_cross_entropy_share(two, NULL, share));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_share", "from_probs", SHARE(target, share, .from_probs = true));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_share", "share is F16[1]",
                 heed_cross_entropy_share(target, NULL, support_new(ctx, HEED_F16, SHAPE(1))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_share", "share F32[2] must be [1]",
                 heed_cross_entropy_share(target, NULL, two));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_share", "weight F32[1, 2]",
                 SHARE(target, share, .weight = support_new(ctx, HEED_F32, SHAPE(1, 2))));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_share", "share overlaps weight",
                 SHARE(target, share, .weight = share));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_share", "reduction 5",
                 SHARE(target, share, .reduction = (heed_reduction)5));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(parts_of_the_rows_give_the_mean_of_all),
      TEST(each_row_counts_as_in_the_mean),
      TEST(the_share_of_nothing_is_infinite),
      TEST(impossible_calls_are_refused),
  };
  return RUN_ON_BOTH("cross_entropy_share", tests);
}
