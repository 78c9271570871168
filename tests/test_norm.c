// LayerNorm and RMSNorm: what they promise beyond their equations, where digits cancel, and what they refuse.
#include <stdlib.h>

#include "support_values.h"

static heed_tensor *filled(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, double value) {
  heed_tensor *t = support_new(ctx, dtype, rank, dims);
  ASSERT_OK(heed_fill(t, value));
  return t;
}

// μ = x: nothing is left to divide, whatever eps is.
static void rows_of_one_give_bias_and_exact_zeros(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(5, 1), 1),
                    *dy = support_random(ctx, HEED_F32, SHAPE(5, 1), 2);
  const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(1), 3),
                    *bias = support_random(ctx, HEED_F32, SHAPE(1), 4);
  heed_tensor *y = support_like(x), *dx = support_like(x), *dweight = support_like(weight), *dbias = support_like(bias);
  ASSERT_OK(heed_layer_norm_fwd(x, weight, bias, 1e-5, y));
  ASSERT_OK(heed_layer_norm_bwd(x, weight, dy, NULL, 1e-5, dx, dweight, dbias, false));
  const float *b = support_get(bias), *out = support_get(y), *grad = support_get(dx);
  for (int i = 0; i < 5; ++i) {
    assert_true(out[i] == b[0]);
    assert_true(grad[i] == 0);
  }
  assert_true(support_get(dweight)[0] == 0);
}

// All elements alike: y is bias, and dx is what is left of g without its mean.
static void equal_rows_give_bias(void **state) {
  heed_context *ctx = support_context(state);
  static const double values[] = {0.1, -60000, 3e30};
  for (int i = 0; i < 3; ++i) {
    const heed_tensor *x = filled(ctx, HEED_F32, SHAPE(3, 37), values[i]),
                      *weight = support_random(ctx, HEED_F32, SHAPE(37), 3);
    const heed_tensor *bias = support_random(ctx, HEED_F32, SHAPE(37), 4);
    heed_tensor *y = support_like(x);
    ASSERT_OK(heed_layer_norm_fwd(x, weight, bias, 1e-5, y));
    const float *b = support_get(bias), *out = support_get(y);
    for (int j = 0; j < 3 * 37; ++j) assert_true(out[j] == b[j % 37]);
  }
}

// Where rows lie along few directions, both terms of dx nearly cancel: what is left must still have its digits. In F64 from the equation.
static void little_that_is_left_has_its_digits(void **state) {
  heed_context *ctx = support_context(state);
  for (int64_t width = 1; width <= 3; ++width) {
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(40, width), 1),
                      *dy = support_random(ctx, HEED_F32, SHAPE(40, width), 2);
    const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(width), 3);
    heed_tensor *dx = support_like(x), *rms_dx = support_like(x);
    ASSERT_OK(heed_layer_norm_bwd(x, weight, dy, NULL, 1e-5, dx, NULL, NULL, false));
    ASSERT_OK(heed_rms_norm_bwd(x, weight, dy, NULL, 1e-5, rms_dx, NULL, false));
    heed_context *host = support_other();
    const heed_tensor *x2 = support_put(host, HEED_F32, SHAPE(40, width), support_get(x));
    const heed_tensor *dy2 = support_put(host, HEED_F32, SHAPE(40, width), support_get(dy));
    const heed_tensor *weight2 = support_put(host, HEED_F32, SHAPE(width), support_get(weight));
    heed_tensor *expected = support_like(x2), *rms_expected = support_like(x2);
    ASSERT_OK(heed_layer_norm_bwd(x2, weight2, dy2, NULL, 1e-5, expected, NULL, NULL, false));
    ASSERT_OK(heed_rms_norm_bwd(x2, weight2, dy2, NULL, 1e-5, rms_expected, NULL, false));
    // Each row by itself.
    const float *a = support_get(dx), *e = support_get(expected), *ra = support_get(rms_dx),
                *re = support_get(rms_expected);
    for (int64_t i = 0; i < 40 * width; ++i) {
      const int64_t row = i / width * width;
      double size = 0, rms_size = 0;
      for (int64_t j = row; j < row + width; ++j) size += fabs((double)e[j]), rms_size += fabs((double)re[j]);
      ASSERT_CLOSE(a[i], e[i], 1e-5 * size);
      ASSERT_CLOSE(ra[i], re[i], 1e-5 * rms_size);
    }
  }
}

// Mean 300 and deviation 0.01 in each row, and rows that begin with an outlier.
static void means_far_from_zero_keep_their_digits(void **state) {
  heed_context *ctx = support_context(state);
  enum { ROWS = 3, WIDTH = 1031 };
  float *values = support_memory(sizeof(float) * ROWS * WIDTH);
  for (int outlier = 0; outlier < 2; ++outlier) {
    support_fill(values, ROWS * WIDTH, 7);
    for (int i = 0; i < ROWS * WIDTH; ++i) values[i] = 300 + 0.01f * values[i];
    for (int row = 0; outlier && row < ROWS; ++row) values[row * WIDTH] = -5;
    const heed_tensor *x = support_put(ctx, HEED_F32, SHAPE(ROWS, WIDTH), values);
    heed_tensor *y = support_like(x);
    ASSERT_OK(heed_layer_norm_fwd(x, filled(ctx, HEED_F32, SHAPE(WIDTH), 1), NULL, 1e-5, y));
    const float *out = support_get(y);
    for (int row = 0; row < ROWS; ++row) {
      double mean = 0, variance = 0, error = 0, norm = 0;
      for (int i = 0; i < WIDTH; ++i) mean += (double)values[row * WIDTH + i] / WIDTH;
      for (int i = 0; i < WIDTH; ++i) variance += pow((double)values[row * WIDTH + i] - mean, 2) / WIDTH;
      for (int i = 0; i < WIDTH; ++i) {
        const double expected = ((double)values[row * WIDTH + i] - mean) / sqrt(variance + 1e-5);
        error += pow((double)out[row * WIDTH + i] - expected, 2);
        norm += expected * expected;
      }
      if (!(sqrt(error) <= 5e-6 * sqrt(norm))) fail_msg("relative error %g", sqrt(error / norm));
    }
  }
}

// 60,000 in F16, whose squares and sums F16 cannot hold.
static void large_halves_are_summed_in_single(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = filled(ctx, HEED_F16, SHAPE(2, 300), 60000), *weight = filled(ctx, HEED_F16, SHAPE(300), 2);
  heed_tensor *y = support_like(x), *wide = support_new(ctx, HEED_F32, SHAPE(2, 300));
  ASSERT_OK(heed_rms_norm_fwd(x, weight, 1e-6, y));
  ASSERT_OK(heed_copy(y, wide));
  for (int i = 0; i < 600; ++i) ASSERT_CLOSE(support_get(wide)[i], 2, 0x1p-9);
  ASSERT_OK(heed_layer_norm_fwd(x, weight, weight, 1e-6, y));
  ASSERT_OK(heed_copy(y, wide));
  for (int i = 0; i < 600; ++i) ASSERT_CLOSE(support_get(wide)[i], 2, 0x1p-9);
}

static void gradients_of_no_rows_are_zero(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(0, 7)), *weight = support_random(ctx, HEED_F32, SHAPE(7), 3);
  heed_tensor *dweight = support_random(ctx, HEED_F32, SHAPE(7), 5), *dbias = support_like(weight);
  const float *before = support_get(dweight);
  ASSERT_OK(heed_layer_norm_bwd(x, weight, x, NULL, 1e-5, NULL, dweight, NULL, true));
  for (int i = 0; i < 7; ++i) assert_true(support_get(dweight)[i] == before[i]);
  ASSERT_OK(heed_layer_norm_bwd(x, weight, x, NULL, 1e-5, NULL, dweight, dbias, false));
  for (int i = 0; i < 7; ++i) assert_true(support_get(dweight)[i] == 0 && support_get(dbias)[i] == 0);
}

// Each gradient has the same bits with and without the others.
static void gradients_do_not_depend_on_each_other(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(50, 33), 1),
                    *dy = support_random(ctx, HEED_F32, SHAPE(50, 33), 2);
  const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(33), 3);
  heed_tensor *all[] = {support_like(x), support_like(weight), support_like(weight)};
  heed_tensor *one[] = {support_like(x), support_like(weight), support_like(weight)};
  ASSERT_OK(heed_layer_norm_bwd(x, weight, dy, NULL, 1e-5, all[0], all[1], all[2], false));
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK(heed_layer_norm_bwd(x, weight, dy, NULL, 1e-5, i == 0 ? one[0] : NULL, i == 1 ? one[1] : NULL,
                                  i == 2 ? one[2] : NULL, false));
    ASSERT_SAME_BITS(one[i], all[i]);
  }
}

// sum in a tensor of its own, and in that of each term.
static void assert_rms_norm_is_both_in_turn(heed_tensor *const terms[2], const heed_tensor *weight,
                                            const heed_tensor *sum) {
  heed_tensor *y = support_like(sum), *both = support_like(sum);
  ASSERT_OK(heed_rms_norm_fwd(sum, weight, 1e-5, y));
  for (int place = 0; place < 3; ++place) {
    heed_tensor *into[] = {support_like(sum), support_like(sum), support_like(sum)};
    ASSERT_OK(heed_copy(terms[0], into[1]));
    ASSERT_OK(heed_copy(terms[1], into[2]));
    ASSERT_OK(heed_add_rms_norm_fwd(into[1], into[2], weight, 1e-5, into[place], both));
    ASSERT_SAME_BITS(into[place], sum);
    ASSERT_SAME_BITS(both, y);
  }
}

// Of rows that are shorter than a vector, that are whole vectors, and others.
static void the_norm_of_a_sum_is_both_in_turn(void **state) {
  static const struct {
    heed_dtype dtype;
    int64_t width;
  } rows[] = {{HEED_F32, 5}, {HEED_F32, 64}, {HEED_F32, 300}, {HEED_F16, 300}, {HEED_BF16, 64}};
  heed_context *ctx = support_context(state);
  for (int i = 0; i < 5; ++i) {
    const heed_dtype dtype = rows[i].dtype;
    const int64_t width = rows[i].width;
    heed_tensor *terms[] = {support_random(ctx, dtype, SHAPE(7, 3, width), 1),
                            support_random(ctx, dtype, SHAPE(7, 3, width), 2)};
    const heed_tensor *weight = support_random(ctx, dtype, SHAPE(width), 3),
                      *bias = i % 2 ? NULL : support_random(ctx, dtype, SHAPE(width), 4);
    heed_tensor *sum = support_like(terms[0]), *y = support_like(sum), *both_sum = support_like(sum),
                *both = support_like(sum);
    ASSERT_OK(heed_add(1, terms[0], 1, terms[1], sum));
    ASSERT_OK(heed_layer_norm_fwd(sum, weight, bias, 1e-5, y));
    ASSERT_OK(heed_add_layer_norm_fwd(terms[0], terms[1], weight, bias, 1e-5, both_sum, both));
    ASSERT_SAME_BITS(both_sum, sum);
    ASSERT_SAME_BITS(both, y);
    assert_rms_norm_is_both_in_turn(terms, weight, sum);
  }
}

static void impossible_sums_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *a = support_random(ctx, HEED_F32, SHAPE(1, 5), 1), *y = support_like(a), *sum = support_like(a);
  heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(5), 2), *row = NULL;
  const heed_tensor *other = support_random(ctx, HEED_F32, SHAPE(4), 2);
  ASSERT_OK(heed_tensor_reshape(weight, SHAPE(1, 5), &row));
  support_keep(row);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add_rms_norm_fwd", "b is NULL",
                 heed_add_rms_norm_fwd(a, NULL, weight, 1e-5, sum, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add_rms_norm_fwd", "sum is NULL",
                 heed_add_rms_norm_fwd(a, a, weight, 1e-5, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "add_layer_norm_fwd", "b is F32[5]",
                 heed_add_layer_norm_fwd(a, weight, weight, NULL, 1e-5, sum, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "add_layer_norm_fwd", "sum is F32[5]",
                 heed_add_layer_norm_fwd(a, a, weight, NULL, 1e-5, support_like(weight), y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "add_layer_norm_fwd", "the last of a",
                 heed_add_layer_norm_fwd(a, a, other, NULL, 1e-5, sum, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add_layer_norm_fwd", "sum overlaps weight",
                 heed_add_layer_norm_fwd(a, a, weight, NULL, 1e-5, row, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add_layer_norm_fwd", "sum overlaps bias",
                 heed_add_layer_norm_fwd(a, a, support_random(ctx, HEED_F32, SHAPE(5), 3), weight, 1e-5, row, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add_layer_norm_fwd", "overlaps",
                 heed_add_layer_norm_fwd(a, a, weight, NULL, 1e-5, y, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add_layer_norm_fwd", "y overlaps a",
                 heed_add_layer_norm_fwd(a, y, weight, NULL, 1e-5, sum, a));
}

static void impossible_calls_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(3, 5), 1),
                    *weight = support_random(ctx, HEED_F32, SHAPE(5), 2);
  const heed_tensor *other = support_random(ctx, HEED_F32, SHAPE(4), 2);
  heed_tensor *y = support_like(x), *dweight = support_like(weight);
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "layer_norm_fwd", "weight", heed_layer_norm_fwd(x, other, NULL, 1e-5, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "layer_norm_fwd", "bias", heed_layer_norm_fwd(x, weight, other, 1e-5, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "layer_norm_fwd", "eps", heed_layer_norm_fwd(x, weight, NULL, -1, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "rms_norm_fwd", "eps", heed_rms_norm_fwd(x, weight, (double)NAN, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "rms_norm_bwd", "residual",
                 heed_rms_norm_bwd(x, weight, x, weight, 1e-5, y, dweight, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "layer_norm_bwd", "overlaps",
                 heed_layer_norm_bwd(x, weight, x, NULL, 1e-5, y, dweight, dweight, false));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(rows_of_one_give_bias_and_exact_zeros), TEST(equal_rows_give_bias),
      TEST(little_that_is_left_has_its_digits),    TEST(means_far_from_zero_keep_their_digits),
      TEST(large_halves_are_summed_in_single),     TEST(gradients_of_no_rows_are_zero),
      TEST(gradients_do_not_depend_on_each_other), TEST(impossible_calls_are_refused),
      TEST(the_norm_of_a_sum_is_both_in_turn),     TEST(impossible_sums_are_refused),
  };
  return RUN_ON_BOTH("norm", tests);
}
