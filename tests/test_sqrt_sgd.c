// sqrt_sgd: square roots by gradient descent, each element on its own, and when it stops.
#include "support_values.h"

static heed_tensor *solve(heed_context *ctx, const heed_sqrt_options *options, int64_t count, const float *a,
                          const float *x0) {
  heed_tensor *x = support_new(ctx, HEED_F32, 1, &count);
  ASSERT_OK(
      heed_sqrt_sgd(options, support_put(ctx, HEED_F32, 1, &count, a), support_put(ctx, HEED_F32, 1, &count, x0), x));
  return x;
}

static void it_finds_square_roots(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t sizes[] = {1, 15, 16, 17, 31, 33, 64, 65, 127, 129};
  const heed_sqrt_options options = {.lr = 0.005, .epochs = 2000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
    float a[129], x0[129];
    for (int i = 0; i < 129; ++i) {
      a[i] = 0.5f + (float)(i % 40) / 4;
      x0[i] = i % 3 ? 1 : -1;
    }
    const float *x = support_get(solve(ctx, &options, sizes[s], a, x0));
    // The residual x² − a is known to a rounding of a, and 2x divides it; x has one of its own.
    for (int64_t i = 0; i < sizes[s]; ++i)
      ASSERT_CLOSE(x[i], (double)x0[i] * sqrt((double)a[i]), 2 * 0x1p-24 * sqrt((double)a[i]));
  }
}

static void one_step_is_the_formula(void **state) {
  heed_context *ctx = support_context(state);
  const float a[] = {4, 9, 2, 0, 7, 1}, x0[] = {3, 1, -1, 2, 0, 1};
  heed_sqrt_options options = {.lr = 0.0078125, .epochs = 1};
  const float *once = support_get(solve(ctx, &options, 6, a, x0));
  for (int i = 0; i < 6; ++i) {
    const double x = (double)x0[i];
    ASSERT_CLOSE(once[i], x - options.lr * 4 * x * (x * x - (double)a[i]), 0);  // all exact in F32
  }
  options.epochs = 0;
  const float *never = support_get(solve(ctx, &options, 6, a, x0));
  for (int i = 0; i < 6; ++i) ASSERT_CLOSE(never[i], x0[i], 0);
}

static void many_steps_are_one_after_the_other(void **state) {
  heed_context *ctx = support_context(state);
  const float a[] = {4, 9, 2, 0.25f}, x0[] = {3, 1, -1, 2};
  heed_sqrt_options options = {.lr = 0.004, .epochs = 7};
  heed_tensor *seven = solve(ctx, &options, 4, a, x0), *x = support_put(ctx, HEED_F32, SHAPE(4), x0);
  options.epochs = 1;
  for (int step = 0; step < 7; ++step) x = solve(ctx, &options, 4, a, support_get(x));
  // The host keeps F64 between steps.
  ASSERT_AGREE(seven, x, 8 * 0x1p-24);
}

// f(3) = (9 − 4)² = 25: at that tolerance the first step is the last one, below it is not.
static void an_element_stops_after_the_step_that_began_within_tolerance(void **state) {
  heed_context *ctx = support_context(state);
  const float a[] = {4, 4}, x0[] = {3, 2.5f};
  const heed_sqrt_options once = {.lr = 0.01, .epochs = 1}, many = {.lr = 0.01, .epochs = 500};
  heed_sqrt_options loose = many, tight = many;
  loose.tolerance = 25;
  tight.tolerance = 24.9;
  const float *first = support_get(solve(ctx, &once, 2, a, x0)), *stopped = support_get(solve(ctx, &loose, 2, a, x0));
  ASSERT_CLOSE(stopped[0], first[0], 0);
  ASSERT_CLOSE(stopped[1], first[1], 0);
  const float *went_on = support_get(solve(ctx, &tight, 2, a, x0));
  assert_true(went_on[0] < first[0]);
  ASSERT_CLOSE(went_on[1], first[1], 0);
}

static void elements_do_not_wait_for_each_other(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sqrt_options options = {.lr = 0.003, .epochs = 3000, .tolerance = 1e-8};
  float a[50], x0[50];
  for (int i = 0; i < 50; ++i) {
    a[i] = 1 + (float)i / 8;
    x0[i] = 1;
  }
  const float *together = support_get(solve(ctx, &options, 50, a, x0));
  for (int i = 0; i < 50; i += 7) ASSERT_CLOSE(support_get(solve(ctx, &options, 1, a + i, x0 + i))[0], together[i], 0);
}

static void what_has_no_root_does_not_disturb_the_rest(void **state) {
  heed_context *ctx = support_context(state);
  const float a[] = {NAN, 4, INFINITY, 4, 1e30f, 0, 4}, x0[] = {1, 1, 1, NAN, 1e30f, 1e-3f, 1};
  const heed_sqrt_options options = {.lr = 0.01, .epochs = 2000, .tolerance = 0};
  const float *x = support_get(solve(ctx, &options, 7, a, x0));
  assert_true(isnan(x[0]) && isnan(x[3]));
  ASSERT_CLOSE(x[1], 2, 2 * 0x1p-24 * 2);
  assert_true(isfinite(x[5]) && x[5] > 0 && x[5] <= 1e-3f);
  ASSERT_CLOSE(x[6], 2, 2 * 0x1p-24 * 2);
}

// More epochs than there is time for: the device is asked now and then whether any element is still running.
static void epochs_end_with_the_last_element(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sqrt_options options = {.lr = 0.01, .epochs = INT64_C(1) << 50, .tolerance = 1e-6};
  const float a[] = {4, 9, 0.25f}, x0[] = {1, 1, 1};
  const float *x = support_get(solve(ctx, &options, 3, a, x0));
  for (int i = 0; i < 3; ++i) ASSERT_CLOSE(x[i] * x[i], a[i], 1e-3);  // √tolerance, less one step
  // Past such a question the rest goes on. Steps as small follow dx/dn = −4 lr x (x² − a): x² = a / (1 + (a / x0² − 1) exp(−8 a lr n)).
  const heed_sqrt_options slow = {.lr = 6.25e-9, .epochs = 300 * 32768, .tolerance = 1e-6};
  const float fours[] = {4, 4}, starts[] = {2, 1};
  const float *kept = support_get(solve(ctx, &slow, 2, fours, starts));
  ASSERT_CLOSE(kept[0], 2, 0);
  ASSERT_CLOSE(kept[1], sqrt(4 / (1 + 3 * exp(-32 * slow.lr * (double)slow.epochs))), 1e-4);
}

static void nothing_has_no_roots(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sqrt_options options = {.lr = 0.01, .epochs = 10};
  solve(ctx, &options, 0, NULL, NULL);
}

static void it_refuses(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sqrt_options good = {.lr = 0.01, .epochs = 10};
  heed_tensor *a = support_random(ctx, HEED_F32, SHAPE(3), 1), *x0 = support_random(ctx, HEED_F32, SHAPE(3), 2),
              *x = support_like(a);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "options is NULL", heed_sqrt_sgd(NULL, a, x0, x));
  const double bad[] = {-1, NAN, INFINITY};
  for (int i = 0; i < 3; ++i) {
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "lr is",
                   heed_sqrt_sgd(&(heed_sqrt_options){.lr = bad[i]}, a, x0, x));
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "tolerance is",
                   heed_sqrt_sgd(&(heed_sqrt_options){.tolerance = bad[i]}, a, x0, x));
  }
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "epochs is -1",
                 heed_sqrt_sgd(&(heed_sqrt_options){.epochs = -1}, a, x0, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "a is NULL", heed_sqrt_sgd(&good, NULL, x0, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "x0 is NULL", heed_sqrt_sgd(&good, a, NULL, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "x is NULL", heed_sqrt_sgd(&good, a, x0, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "sqrt_sgd", "x0 is F32[4]",
                 heed_sqrt_sgd(&good, a, support_new(ctx, HEED_F32, SHAPE(4)), x));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "sqrt_sgd", "x is F32[4]",
                 heed_sqrt_sgd(&good, a, x0, support_new(ctx, HEED_F32, SHAPE(4))));
  heed_tensor *square = support_new(ctx, HEED_F32, SHAPE(2, 2));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "sqrt_sgd", "a F32[2, 2] is not [N]",
                 heed_sqrt_sgd(&good, square, support_like(square), support_like(square)));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "sqrt_sgd", "a is F16[3]; F32 is needed",
                 heed_sqrt_sgd(&good, support_new(ctx, HEED_F16, SHAPE(3)), x0, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "x overlaps a", heed_sqrt_sgd(&good, a, x0, a));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sqrt_sgd", "x is on another context",
                 heed_sqrt_sgd(&good, a, x0, support_new(support_other(), HEED_F32, SHAPE(3))));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(it_finds_square_roots),
      TEST(one_step_is_the_formula),
      TEST(many_steps_are_one_after_the_other),
      TEST(an_element_stops_after_the_step_that_began_within_tolerance),
      TEST(elements_do_not_wait_for_each_other),
      TEST(what_has_no_root_does_not_disturb_the_rest),
      TEST(epochs_end_with_the_last_element),
      TEST(nothing_has_no_roots),
      TEST(it_refuses),
  };
  return RUN_ON_BOTH("sqrt_sgd", tests);
}
