// softmax and log-softmax along any axis: rows sum to 1, shifts change nothing, −inf and NaN, gradients, what they refuse.
#include "support_values.h"

static const int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000, 4099};
enum { WIDTHS = sizeof widths / sizeof *widths, ROWS = 5 };

// n exponentials in (0, 1] summed in F32 in blocks, each good to a few 2^-24: 32 of them hold for rows of thousands.
static const double sum_tolerance = 32 * 0x1p-24;

static void rows_sum_to_1(void **state) {
  heed_context *ctx = support_context(state);
  for (int w = 0; w < WIDTHS; ++w) {
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, widths[w]), 1);
    heed_tensor *y = support_like(x);
    ASSERT_OK(heed_softmax_fwd(x, -1, y));
    const float *p = support_get(y);
    for (int r = 0; r < ROWS; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < widths[w]; ++i) {
        assert_true(p[r * widths[w] + i] > 0 && p[r * widths[w] + i] <= 1);
        sum += (double)p[r * widths[w] + i];
      }
      ASSERT_CLOSE(sum, 1, sum_tolerance);
    }
  }
}

// x and x + 64 are exact, and so is the difference to the largest: the same bits.
static void a_shift_changes_no_bit(void **state) {
  heed_context *ctx = support_context(state);
  for (int w = 0; w < WIDTHS; ++w)
    for (int axis = 0; axis < 2; ++axis) {
      heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, widths[w]), 2), *shift = support_like(x);
      heed_tensor *y = support_like(x), *z = support_like(x);
      ASSERT_OK(heed_fill(shift, -64));
      ASSERT_OK(heed_add(1, x, 1, shift, shift));
      ASSERT_OK(heed_softmax_fwd(x, axis, y));
      ASSERT_OK(heed_softmax_fwd(shift, axis, z));
      ASSERT_SAME_BITS(z, y);
    }
}

static void log_softmax_is_the_logarithm_of_softmax(void **state) {
  heed_context *ctx = support_context(state);
  for (int w = 0; w < WIDTHS; ++w)
    for (int axis = 0; axis < 2; ++axis) {
      const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, widths[w]), 3);
      heed_tensor *y = support_like(x), *log_y = support_like(x);
      ASSERT_OK(heed_softmax_fwd(x, axis, y));
      ASSERT_OK(heed_log_softmax_fwd(x, axis, log_y));
      const float *p = support_get(y), *log_p = support_get(log_y);
      // The relative error of p is the absolute one of its logarithm, which has roundings of its own size beside it.
      for (int64_t i = 0; i < ROWS * widths[w]; ++i)
        ASSERT_CLOSE(log_p[i], log((double)p[i]), sum_tolerance + 4 * 0x1p-24 * fabs((double)log_p[i]));
    }
}

// Along `axis` of [3, 17, 5, 2] as along the last axis of the permuted tensor.
static void every_axis_is_as_good_as_the_last(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(3, 17, 5, 2), 4),
                    *dy = support_random(ctx, HEED_F32, SHAPE(3, 17, 5, 2), 5);
  for (int axis = 0; axis < 4; ++axis)
    for (int is_log = 0; is_log < 2; ++is_log) {
      int order[4] = {0, 1, 2, 3};
      order[axis] = 3;
      order[3] = axis;
      heed_tensor *turned[3], *expected[2] = {support_like(x), support_like(x)};
      const heed_tensor *inputs[2] = {x, dy};
      heed_tensor *view = NULL;
      for (int i = 0; i < 2; ++i) {
        ASSERT_OK(heed_tensor_permute(inputs[i], order, &view));
        turned[i] = support_new(ctx, HEED_F32, 4, heed_tensor_dims(support_keep(view)));
        ASSERT_OK(heed_copy(view, turned[i]));
      }
      heed_tensor *y = support_like(x), *dx = support_like(x), *last_y = support_like(turned[0]);
      turned[2] = support_like(turned[0]);
      ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(x, axis - 4, y));
      ASSERT_OK((is_log ? heed_log_softmax_bwd : heed_softmax_bwd)(y, dy, axis, dx));
      ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(turned[0], 3, last_y));
      ASSERT_OK((is_log ? heed_log_softmax_bwd : heed_softmax_bwd)(last_y, turned[1], -1, turned[2]));
      ASSERT_OK(heed_tensor_permute(last_y, order, &view));
      ASSERT_OK(heed_copy(support_keep(view), expected[0]));
      ASSERT_OK(heed_tensor_permute(turned[2], order, &view));
      ASSERT_OK(heed_copy(support_keep(view), expected[1]));
      ASSERT_AGREE(y, expected[0], 1e-6);
      ASSERT_AGREE(dx, expected[1], 2e-6);
    }
}

// Results that fill more than a CPU's caches are written past them. Every row is what it is in a tensor of few rows, also where results
// do not begin at a vector's multiple.
static void many_rows_are_what_few_are(void **state) {
  heed_context *ctx = support_context(state);
  enum { FEW = 32, COLUMNS = 1024, REPEATS = 144 };
  const int64_t dims[] = {REPEATS, FEW, COLUMNS}, repeated[] = {0, COLUMNS, 1}, whole[] = {FEW * COLUMNS, COLUMNS, 1};
  const heed_tensor *few = support_random(ctx, HEED_F32, SHAPE(FEW, COLUMNS), 7);
  heed_tensor *x = support_new(ctx, HEED_F32, 3, dims), *view = NULL;
  ASSERT_OK(heed_tensor_view(few, 3, dims, repeated, 0, &view));
  ASSERT_OK(heed_copy(support_keep(view), x));
  for (int is_log = 0; is_log < 2; ++is_log)
    for (int offset = 0; offset < 2; ++offset) {
      heed_tensor *expected = support_like(few), *y = NULL, *row = NULL, *again = support_like(few);
      heed_tensor *storage = support_new(ctx, HEED_F32, SHAPE(REPEATS * FEW * COLUMNS + 1));
      ASSERT_OK(heed_tensor_view(storage, 3, dims, whole, offset, &y));
      support_keep(y);
      ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(few, 1, expected));
      ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(x, 2, y));
      for (int64_t i = 0; i < REPEATS; i += 13) {
        ASSERT_OK(heed_tensor_view(y, SHAPE(FEW, COLUMNS), whole + 1, i * FEW * COLUMNS, &row));
        ASSERT_OK(heed_copy(support_keep(row), again));
        ASSERT_SAME_BITS(again, expected);
      }
    }
}

static void elements_that_change_places_take_their_weights_along(void **state) {
  heed_context *ctx = support_context(state);
  for (int w = 0; w < WIDTHS; ++w) {
    const int64_t n = widths[w];
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(1, n), 6);
    const float *values = support_get(x);
    float *reversed = support_memory((size_t)n * sizeof *reversed);
    for (int64_t i = 0; i < n; ++i) reversed[i] = values[n - 1 - i];
    heed_tensor *y = support_like(x), *z = support_like(x);
    ASSERT_OK(heed_softmax_fwd(x, 1, y));
    ASSERT_OK(heed_softmax_fwd(support_put(ctx, HEED_F32, SHAPE(1, n), reversed), 1, z));
    const float *p = support_get(y), *r = support_get(z);
    for (int64_t i = 0; i < n; ++i) ASSERT_CLOSE(r[n - 1 - i], p[i], sum_tolerance * (double)p[i]);
  }
}

static void one_element_alone_has_all_the_weight(void **state) {
  heed_context *ctx = support_context(state);
  const float values[] = {-1e30f, 0, 88, 3e38f};
  const heed_tensor *x = support_put(ctx, HEED_F32, SHAPE(4, 1), values);
  heed_tensor *y = support_like(x), *z = support_like(x);
  ASSERT_OK(heed_softmax_fwd(x, 1, y));
  ASSERT_OK(heed_log_softmax_fwd(x, 1, z));
  for (int i = 0; i < 4; ++i) {
    ASSERT_CLOSE(support_get(y)[i], 1, 0);
    ASSERT_CLOSE(support_get(z)[i], 0, 0);
  }
}

static void large_elements_do_not_overflow(void **state) {
  heed_context *ctx = support_context(state);
  const float values[] = {88, 89, 1e30f, 3e38f, -3e38f, -1e30f, 0, 3e38f};
  const heed_tensor *x = support_put(ctx, HEED_F32, SHAPE(2, 4), values);
  heed_tensor *y = support_like(x);
  for (int axis = 0; axis < 2; ++axis) {
    ASSERT_OK(heed_softmax_fwd(x, axis, y));
    const float *p = support_get(y);
    for (int i = 0; i < 8; ++i) assert_true(p[i] >= 0 && p[i] <= 1);
    ASSERT_CLOSE(p[3], axis ? 1 : 0.5, 1e-7);
    ASSERT_CLOSE(p[0], axis ? 0 : 1, 0);
  }
}

// A tensor of slices along `axis`: plain, one −inf, all −inf, a NaN, NaN among −inf.
enum { SLICES = 5, LENGTH = 37 };
static heed_tensor *hostile_slices(heed_context *ctx, int axis) {
  float values[SLICES * LENGTH];
  for (int s = 0; s < SLICES; ++s)
    for (int i = 0; i < LENGTH; ++i) {
      float v = (float)(i % 7) / 4;
      if (s == 1 && i % 3 == 1) v = -INFINITY;
      if (s == 2 || s == 4) v = -INFINITY;
      if ((s == 3 && i == 20) || (s == 4 && i == 36)) v = NAN;
      values[axis ? s * LENGTH + i : i * SLICES + s] = v;
    }
  return axis ? support_put(ctx, HEED_F32, SHAPE(SLICES, LENGTH), values)
              : support_put(ctx, HEED_F32, SHAPE(LENGTH, SLICES), values);
}

static float at(const float *values, int axis, int slice, int i) {
  return values[axis ? slice * LENGTH + i : i * SLICES + slice];
}

static void what_is_minus_infinity_has_no_weight(void **state) {
  heed_context *ctx = support_context(state);
  for (int axis = 0; axis < 2; ++axis) {
    const heed_tensor *x = hostile_slices(ctx, axis);
    heed_tensor *y = support_like(x), *z = support_like(x);
    ASSERT_OK(heed_softmax_fwd(x, axis, y));
    ASSERT_OK(heed_log_softmax_fwd(x, axis, z));
    const float *p = support_get(y), *log_p = support_get(z);
    double sum = 0;
    for (int i = 0; i < LENGTH; ++i) {
      assert_true(at(p, axis, 0, i) > 0);
      ASSERT_CLOSE(at(p, axis, 1, i) == 0, i % 3 == 1, 0);
      assert_int_equal(isinf(at(log_p, axis, 1, i)) != 0, i % 3 == 1);
      sum += (double)at(p, axis, 1, i);
      ASSERT_CLOSE(at(p, axis, 2, i), 0, 0);
      ASSERT_CLOSE(at(log_p, axis, 2, i), -INFINITY, 0);
      assert_true(isnan(at(p, axis, 3, i)) && isnan(at(log_p, axis, 3, i)));
      assert_true(isnan(at(p, axis, 4, i)) || i < 36);
    }
    assert_true(isnan(at(p, axis, 4, 36)));
    ASSERT_CLOSE(sum, 1, sum_tolerance);
  }
}

static void a_slice_without_weight_has_no_gradient(void **state) {
  heed_context *ctx = support_context(state);
  for (int axis = 0; axis < 2; ++axis) {
    const heed_tensor *x = hostile_slices(ctx, axis), *dy = support_random(ctx, HEED_F32, 2, heed_tensor_dims(x), 8);
    heed_tensor *y = support_like(x), *dx = support_like(x);
    ASSERT_OK(heed_softmax_fwd(x, axis, y));
    ASSERT_OK(heed_softmax_bwd(y, dy, axis, dx));
    const float *grad = support_get(dx);
    for (int i = 0; i < LENGTH; ++i) {
      ASSERT_CLOSE(at(grad, axis, 2, i), 0, 0);
      if (i % 3 == 1) ASSERT_CLOSE(at(grad, axis, 1, i), 0, 0);
      assert_true(isfinite(at(grad, axis, 0, i)) && isfinite(at(grad, axis, 1, i)));
    }
  }
}

// Shifting a slice changes nothing, so that the gradient along it sums to 0: to the roundings of its terms, that is.
static void gradients_of_a_slice_sum_to_0(void **state) {
  heed_context *ctx = support_context(state);
  for (int w = 1; w < WIDTHS; ++w)
    for (int is_log = 0; is_log < 2; ++is_log) {
      const int64_t n = widths[w];
      const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, n), 9),
                        *dy = support_random(ctx, HEED_F32, SHAPE(ROWS, n), 10);
      heed_tensor *y = support_like(x), *dx = support_like(x);
      ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(x, 1, y));
      ASSERT_OK((is_log ? heed_log_softmax_bwd : heed_softmax_bwd)(y, dy, 1, dx));
      const float *grad = support_get(dx), *up = support_get(dy);
      for (int r = 0; r < ROWS; ++r) {
        double sum = 0, size = 0;
        for (int64_t i = 0; i < n; ++i) sum += (double)grad[r * n + i];
        for (int64_t i = 0; i < n; ++i) size += is_log ? fabs((double)up[r * n + i]) : fabs((double)grad[r * n + i]);
        ASSERT_CLOSE(sum, 0, 32 * 0x1p-24 * size);
      }
    }
}

static void gradients_are_their_equations(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, 129), 11),
                    *dy = support_random(ctx, HEED_F32, SHAPE(ROWS, 129), 12);
  for (int is_log = 0; is_log < 2; ++is_log) {
    heed_tensor *y = support_like(x), *dx = support_like(x);
    ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(x, 1, y));
    ASSERT_OK((is_log ? heed_log_softmax_bwd : heed_softmax_bwd)(y, dy, 1, dx));
    const float *p = support_get(y), *up = support_get(dy), *grad = support_get(dx);
    for (int r = 0; r < ROWS; ++r) {
      const float *row = p + r * 129, *row_up = up + r * 129;
      double sum = 0;
      for (int i = 0; i < 129; ++i) sum += is_log ? (double)row_up[i] : (double)row[i] * (double)row_up[i];
      for (int i = 0; i < 129; ++i) {
        const double expected =
            is_log ? (double)row_up[i] - exp((double)row[i]) * sum : (double)row[i] * ((double)row_up[i] - sum);
        ASSERT_CLOSE(grad[r * 129 + i], expected,
                     16 * 0x1p-24 * (is_log ? 1 + fabs(sum) : (double)row[i] * (1 + fabs(sum))));
      }
    }
  }
}

// Of results below 1 storage takes 2^-12 and 2^-9 (half a unit).
static void narrow_dtypes_differ_by_their_rounding(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  const double tolerances[] = {0x1p-11, 0x1p-8};
  for (int d = 0; d < 2; ++d)
    for (int axis = 0; axis < 2; ++axis)
      for (int is_log = 0; is_log < 2; ++is_log) {
        const heed_tensor *narrow = support_random(ctx, dtypes[d], SHAPE(33, 65), 13);
        heed_tensor *wide = support_new(ctx, HEED_F32, SHAPE(33, 65)), *y = support_like(narrow),
                    *wide_y = support_like(wide);
        ASSERT_OK(heed_copy(narrow, wide));
        ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(narrow, axis, y));
        ASSERT_OK((is_log ? heed_log_softmax_fwd : heed_softmax_fwd)(wide, axis, wide_y));
        ASSERT_AGREE(y, wide_y, tolerances[d]);
      }
}

static void the_same_call_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(33, 1031), 14);
  for (int axis = 0; axis < 2; ++axis) {
    heed_tensor *y = support_like(x), *again = support_like(x);
    ASSERT_OK(heed_softmax_fwd(x, axis, y));
    ASSERT_OK(heed_softmax_fwd(x, axis, again));
    ASSERT_SAME_BITS(again, y);
  }
}

static void nothing_is_done_to_nothing(void **state) {
  heed_tensor *x = support_new(support_context(state), HEED_F32, SHAPE(2, 0, 3)), *y = support_like(x);
  for (int axis = 0; axis < 3; ++axis) {
    ASSERT_OK(heed_softmax_fwd(x, axis, y));
    ASSERT_OK(heed_log_softmax_bwd(x, x, axis, y));
  }
}

static void they_refuse(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1), *y = support_like(x),
              *flat = support_new(ctx, HEED_F32, SHAPE(6));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_fwd", "x is NULL", heed_softmax_fwd(NULL, 0, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "log_softmax_fwd", "y is NULL", heed_log_softmax_fwd(x, 0, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_bwd", "dy is NULL", heed_softmax_bwd(y, NULL, 0, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "log_softmax_bwd", "dx is NULL", heed_log_softmax_bwd(y, x, 0, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_fwd", "F32[2, 3] has no axis 2", heed_softmax_fwd(x, 2, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "log_softmax_fwd", "F32[2, 3] has no axis -3",
                 heed_log_softmax_fwd(x, -3, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_bwd", "y F32[2, 3] has no axis 5", heed_softmax_bwd(x, x, 5, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_fwd", "no axis 0",
                 heed_softmax_fwd(support_new(ctx, HEED_F32, 0, NULL), 0, support_new(ctx, HEED_F32, 0, NULL)));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "softmax_fwd", "x is F32[2, 3] but y is F32[6]", heed_softmax_fwd(x, 0, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "softmax_bwd", "dy is F32[6]", heed_softmax_bwd(y, flat, 0, x));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "log_softmax_bwd", "dx is F32[6]", heed_log_softmax_bwd(y, x, 0, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "softmax_fwd", "F32[3, 2] is not contiguous",
                 heed_softmax_fwd(support_transposed(x), 0, support_new(ctx, HEED_F32, SHAPE(3, 2))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "softmax_fwd", "y is BF16[2, 3]",
                 heed_softmax_fwd(x, 0, support_new(ctx, HEED_BF16, SHAPE(2, 3))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "softmax_fwd", "x is BOOL[2, 3]",
                 heed_softmax_fwd(support_new(ctx, HEED_BOOL, SHAPE(2, 3)), 0, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_fwd", "y overlaps x", heed_softmax_fwd(x, 0, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_bwd", "dx overlaps dy", heed_softmax_bwd(y, x, 0, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "softmax_fwd", "y is on another context",
                 heed_softmax_fwd(x, 0, support_new(support_other(), HEED_F32, SHAPE(2, 3))));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(rows_sum_to_1),
      TEST(a_shift_changes_no_bit),
      TEST(log_softmax_is_the_logarithm_of_softmax),
      TEST(every_axis_is_as_good_as_the_last),
      TEST(many_rows_are_what_few_are),
      TEST(elements_that_change_places_take_their_weights_along),
      TEST(one_element_alone_has_all_the_weight),
      TEST(large_elements_do_not_overflow),
      TEST(what_is_minus_infinity_has_no_weight),
      TEST(a_slice_without_weight_has_no_gradient),
      TEST(gradients_of_a_slice_sum_to_0),
      TEST(gradients_are_their_equations),
      TEST(narrow_dtypes_differ_by_their_rounding),
      TEST(the_same_call_gives_the_same_bits),
      TEST(nothing_is_done_to_nothing),
      TEST(they_refuse),
  };
  return RUN_ON_BOTH("softmax", tests);
}
