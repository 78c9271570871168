// gather_rows: rows by index, scaled, shifted and converted; indices that are none; what it refuses.
#include "support_values.h"

static heed_tensor *indices(heed_context *ctx, int64_t count, const int32_t *values) {
  return support_put(ctx, HEED_I32, 1, &count, values);
}

static void rows_come_in_the_order_of_the_indices(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {1, 15, 16, 17, 31, 33, 65, 129};
  const int32_t order[] = {4, 0, 0, 2, 4, 3, 1};
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w)
    for (int d = 0; d < 3; ++d) {
      const int64_t width = widths[w];
      const heed_tensor *x = support_random(ctx, dtypes[d], SHAPE(5, width), w);
      heed_tensor *y = support_new(ctx, dtypes[d], SHAPE(7, width));
      ASSERT_OK(heed_gather_rows(x, indices(ctx, 7, order), 1, 0, y));
      const float *from = support_get(x), *to = support_get(y);
      for (int r = 0; r < 7; ++r)
        for (int64_t i = 0; i < width; ++i) ASSERT_CLOSE(to[r * width + i], from[order[r] * width + i], 0);
    }
}

static void bytes_become_scaled_floats(void **state) {
  heed_context *ctx = support_context(state);
  uint8_t pixels[3 * 28 * 28];
  for (int i = 0; i < 3 * 784; ++i) pixels[i] = (uint8_t)(i * 7);
  const int32_t order[] = {2, 0};
  const double scale = 1 / 255.0 / 0.3081, shift = -0.1307 / 0.3081;
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(2, 28, 28));
  ASSERT_OK(
      heed_gather_rows(support_put(ctx, HEED_U8, SHAPE(3, 28, 28), pixels), indices(ctx, 2, order), scale, shift, y));
  const float *values = support_get(y);
  // scale and shift are rounded to F32 there, and so are the product and the sum, of at most 3.3.
  for (int i = 0; i < 2 * 784; ++i)
    ASSERT_CLOSE(values[i], pixels[order[i / 784] * 784 + i % 784] * scale + shift, 4 * 3.3 * 0x1p-24);
}

static void integers_are_exact_without_scale_and_shift(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t wide[] = {INT64_MAX, INT64_MIN, (INT64_C(1) << 53) + 1, 5};
  const int32_t order[] = {1, 0};
  heed_tensor *y = support_new(ctx, HEED_I64, SHAPE(2, 2));
  ASSERT_OK(heed_gather_rows(support_put(ctx, HEED_I64, SHAPE(2, 2), wide), indices(ctx, 2, order), 1, 0, y));
  int64_t got[4];
  ASSERT_OK(heed_tensor_download(y, got, sizeof got));
  assert_true(got[0] == wide[2] && got[1] == wide[3] && got[2] == wide[0] && got[3] == wide[1]);
  const uint8_t labels[] = {3, 1, 4, 255};
  const int32_t picks[] = {3, 2, 1};
  heed_tensor *classes = support_new(ctx, HEED_I32, SHAPE(3));
  int32_t narrow[3];
  ASSERT_OK(heed_gather_rows(support_put(ctx, HEED_U8, SHAPE(4), labels), indices(ctx, 3, picks), 1, 0, classes));
  ASSERT_OK(heed_tensor_download(classes, narrow, sizeof narrow));
  assert_true(narrow[0] == 255 && narrow[1] == 4 && narrow[2] == 1);
}

static void an_index_outside_spoils_its_row_alone(void **state) {
  heed_context *ctx = support_context(state);
  const int32_t order[] = {0, -1, 1, 2, INT32_MAX, INT32_MIN};
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1), *index = indices(ctx, 6, order);
  heed_tensor *y = support_new(ctx, HEED_F16, SHAPE(6, 3)), *whole = support_new(ctx, HEED_I32, SHAPE(6, 3));
  ASSERT_OK(heed_gather_rows(x, index, 1, 0, y));
  ASSERT_OK(heed_gather_rows(x, index, 1, 0, whole));
  const float *from = support_get(x), *to = support_get(y);
  int32_t integers[18];
  ASSERT_OK(heed_tensor_download(whole, integers, sizeof integers));
  for (int r = 0; r < 6; ++r)
    for (int i = 0; i < 3; ++i) {
      const bool inside = order[r] == 0 || order[r] == 1;
      if (inside)
        ASSERT_CLOSE(to[r * 3 + i], from[order[r] * 3 + i], 0);
      else
        assert_true(isnan(to[r * 3 + i]) && integers[r * 3 + i] == 0);
    }
}

static void nothing_may_be_gathered_and_nothing_gathered_from(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *none = indices(ctx, 0, NULL), *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1);
  const int32_t zero = 0;
  ASSERT_OK(heed_gather_rows(x, none, 1, 0, support_new(ctx, HEED_F32, SHAPE(0, 3))));
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(1, 3));
  ASSERT_OK(heed_fill(y, 0));
  ASSERT_OK(heed_gather_rows(support_new(ctx, HEED_F32, SHAPE(0, 3)), indices(ctx, 1, &zero), 1, 0, y));
  assert_true(isnan(support_get(y)[0]) && isnan(support_get(y)[2]));
  ASSERT_OK(heed_gather_rows(support_new(ctx, HEED_F32, SHAPE(2, 0)), indices(ctx, 1, &zero), 1, 0,
                             support_new(ctx, HEED_F32, SHAPE(1, 0))));
}

static void it_refuses(void **state) {
  heed_context *ctx = support_context(state);
  const int32_t zeros[2] = {0, 0};
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(4, 3), 1), *index = indices(ctx, 2, zeros);
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(2, 3)), *wide = support_new(ctx, HEED_F32, SHAPE(2, 4)),
              *part = NULL;
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gather_rows", "x is NULL", heed_gather_rows(NULL, index, 1, 0, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gather_rows", "index is NULL", heed_gather_rows(x, NULL, 1, 0, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gather_rows", "y is NULL", heed_gather_rows(x, index, 1, 0, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gather_rows", "x F32[4, 3] and y F32[2, 4]",
                 heed_gather_rows(x, index, 1, 0, wide));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gather_rows", "index I32[2] and y F32[4, 3]",
                 heed_gather_rows(y, index, 1, 0, support_like(x)));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gather_rows", "y F32[6]",
                 heed_gather_rows(x, index, 1, 0, support_new(ctx, HEED_F32, SHAPE(6))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gather_rows", "I32[2, 1]",
                 heed_gather_rows(x, support_put(ctx, HEED_I32, SHAPE(2, 1), zeros), 1, 0, y));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "gather_rows", "index is I64[2]; I32 is needed",
                 heed_gather_rows(x, support_new(ctx, HEED_I64, SHAPE(2)), 1, 0, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gather_rows", "x F32[3, 4] is not contiguous",
                 heed_gather_rows(support_transposed(x), index, 1, 0, wide));
  ASSERT_OK(heed_tensor_slice(x, 0, 1, 2, &part));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gather_rows", "y overlaps x",
                 heed_gather_rows(x, index, 1, 0, support_keep(part)));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gather_rows", "index is on another context",
                 heed_gather_rows(x, support_put(support_other(), HEED_I32, SHAPE(2), zeros), 1, 0, y));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(rows_come_in_the_order_of_the_indices),
      TEST(bytes_become_scaled_floats),
      TEST(integers_are_exact_without_scale_and_shift),
      TEST(an_index_outside_spoils_its_row_alone),
      TEST(nothing_may_be_gathered_and_nothing_gathered_from),
      TEST(it_refuses),
  };
  return RUN_ON_BOTH("gather_rows", tests);
}
