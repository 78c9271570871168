// argmax: the smallest column with the largest element, NaN above all.
#include "support_values.h"

static void argmax_of(const heed_tensor *x, int32_t *columns) {
  const int64_t rows = heed_tensor_dim(x, 0);
  heed_tensor *y = support_new(heed_tensor_context(x), HEED_I32, 1, &rows);
  ASSERT_OK(heed_argmax(x, y));
  ASSERT_OK(heed_tensor_download(y, columns, heed_tensor_bytes(y)));
}

static void it_is_the_first_of_the_largest(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000};
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w)
    for (int d = 0; d < 3; ++d) {
      enum { ROWS = 9 };
      const int64_t width = widths[w];
      // 512 values: wide rows hold their largest several times.
      const heed_tensor *x = support_random(ctx, dtypes[d], SHAPE(ROWS, width), w);
      int32_t columns[ROWS];
      argmax_of(x, columns);
      const float *values = support_get(x);
      for (int r = 0; r < ROWS; ++r) {
        int32_t best = 0;
        for (int32_t c = 1; c < width; ++c)
          if (values[r * width + c] > values[r * width + best]) best = c;
        assert_int_equal(columns[r], best);
      }
    }
}

static void what_is_not_finite_has_its_place(void **state) {
  heed_context *ctx = support_context(state);
  const float x[][4] = {{1, NAN, 3, NAN},
                        {INFINITY, 5, NAN, 1},
                        {-INFINITY, -INFINITY, -INFINITY, -INFINITY},
                        {-INFINITY, -3, -INFINITY, -4},
                        {1, INFINITY, INFINITY, 2},
                        {-0.0f, 0, -1, -0.0f},
                        {-2, -1, -0x1p-149f, -0.5f},
                        {-5, -4, -NAN, 3}};
  const int32_t expected[] = {1, 2, 0, 1, 1, 0, 2, 2};
  int32_t columns[8];
  argmax_of(support_put(ctx, HEED_F32, SHAPE(8, 4), x), columns);
  for (int r = 0; r < 8; ++r) assert_int_equal(columns[r], expected[r]);
}

static void the_last_column_counts_too(void **state) {
  heed_context *ctx = support_context(state);
  for (int64_t width = 1; width < 140; width += 23) {
    float *x = support_memory((size_t)width * sizeof *x);
    x[width - 1] = 1;
    int32_t column;
    argmax_of(support_put(ctx, HEED_F32, SHAPE(1, width), x), &column);
    assert_int_equal(column, width - 1);
  }
}

static void it_refuses(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(4, 3), 1), *y = support_new(ctx, HEED_I32, SHAPE(4));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "argmax", "x is NULL", heed_argmax(NULL, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "argmax", "y is NULL", heed_argmax(x, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "argmax", "x F32[4, 3] and y I32[3]",
                 heed_argmax(x, support_new(ctx, HEED_I32, SHAPE(3))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "argmax", "F32[12]", heed_argmax(support_new(ctx, HEED_F32, SHAPE(12)), y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "argmax", "F32[4, 0]", heed_argmax(support_new(ctx, HEED_F32, SHAPE(4, 0)), y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "argmax", "not contiguous",
                 heed_argmax(support_transposed(x), support_new(ctx, HEED_I32, SHAPE(3))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "argmax", "y is F32[4]; I32 is needed",
                 heed_argmax(x, support_new(ctx, HEED_F32, SHAPE(4))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "argmax", "x is I32[4, 3]", heed_argmax(support_new(ctx, HEED_I32, SHAPE(4, 3)), y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "argmax", "y is on another context",
                 heed_argmax(x, support_new(support_other(), HEED_I32, SHAPE(4))));
  ASSERT_OK(heed_argmax(support_new(ctx, HEED_F32, SHAPE(0, 3)), support_new(ctx, HEED_I32, SHAPE(0))));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(it_is_the_first_of_the_largest),
      TEST(what_is_not_finite_has_its_place),
      TEST(the_last_column_counts_too),
      TEST(it_refuses),
  };
  return RUN_ON_BOTH("argmax", tests);
}
