// fill, copy and add: conversion among all dtypes, any strides, aliasing, and what they refuse.
#include "support_values.h"

// ---------------------------------------------------------------- what a conversion gives

static bool is_integer(heed_dtype dtype) { return !heed_dtype_is_float(dtype) && dtype != HEED_BOOL; }

static double bounded(double value, double low, double high) {
  return isnan(value) ? 0 : value < low ? low : value > high ? high : trunc(value);
}

// By the header: floats to integers truncate, and what does not fit is held at the ends; to BOOL is x != 0.
static double converted(double value, heed_dtype dtype) {
  switch (dtype) {
    case HEED_I32:
      return bounded(value, -0x1p31, 0x1p31 - 1);
    case HEED_I64:
      return bounded(value, -0x1p63, 0x1p63);
    case HEED_U8:
      return bounded(value, 0, 255);
    case HEED_BOOL:
      return value != 0;
    default:
      return value;
  }
}

static double element(heed_dtype dtype, const void *data, int64_t i) {
  switch (dtype) {
    case HEED_I32:
      return ((const int32_t *)data)[i];
    case HEED_I64:
      return (double)((const int64_t *)data)[i];
    default:
      return ((const uint8_t *)data)[i];
  }
}

static void assert_elements(const heed_tensor *t, const double *expected) {
  const heed_dtype dtype = heed_tensor_dtype(t);
  const int64_t count = heed_tensor_count(t);
  float *floats = heed_dtype_is_float(dtype) ? support_get(t) : NULL;
  void *data = support_memory(heed_tensor_bytes(t));
  if (!floats) ASSERT_OK(heed_tensor_download(t, data, heed_tensor_bytes(t)));
  for (int64_t i = 0; i < count; ++i) {
    const double actual = floats ? (double)floats[i] : element(dtype, data, i);
    if (!(actual == expected[i] || (isnan(actual) && isnan(expected[i]))))
      fail_msg("%s element %lld is %.17g, not %.17g", heed_dtype_string(dtype), (long long)i, actual, expected[i]);
  }
}

// Exact in F16 and BF16 too.
static const float numbers[] = {0,    1,     -1,    2.75f,    -2.75f,    255, 256,
                                -300, 65280, -0.5f, INFINITY, -INFINITY, NAN, 0x1p-14f};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

// A pair of dtypes is a program of its own, and drivers take long to build one: every dtype from F32, to F32, and to itself, and
// what else is a path of its own.
static bool is_tried(heed_dtype from, heed_dtype to) {
  return from == HEED_F32 || to == HEED_F32 || from == to || (from == HEED_I64 && to != HEED_F16) ||
         (from == HEED_F16 && to == HEED_BF16) || (from == HEED_U8 && to == HEED_I32);
}

static void copy_converts_floats_to_every_dtype(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype floats[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (int from = 0; from < 3; ++from) {
    const heed_tensor *x = support_put_f32(ctx, floats[from], SHAPE(NUMBERS), numbers);
    for (heed_dtype to = 0; heed_dtype_size(to) > 0; ++to) {
      if (!is_tried(floats[from], to)) continue;
      double expected[NUMBERS];
      for (int i = 0; i < NUMBERS; ++i) expected[i] = converted((double)numbers[i], to);
      heed_tensor *y = support_new(ctx, to, SHAPE(NUMBERS));
      ASSERT_OK(heed_copy(x, y));
      assert_elements(y, expected);
    }
  }
}

static void copy_converts_integers_to_every_dtype(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t wide[] = {
      0, 1, -1, 100, 255, 256, -128, INT32_MAX, INT32_MIN, INT64_C(1) << 40, -(INT64_C(1) << 40)};
  static const int32_t narrow[] = {0, 1, -1, 100, 255, 256, -128, 65536, -65536, INT32_MIN, 7};
  static const uint8_t bytes[] = {0, 1, 2, 100, 127, 128, 254, 255, 64, 3, 7};
  static const uint8_t bools[] = {0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0};
  const struct {
    heed_dtype dtype;
    const void *data;
  } from[] = {{HEED_I64, wide}, {HEED_I32, narrow}, {HEED_U8, bytes}, {HEED_BOOL, bools}};
  for (int f = 0; f < 4; ++f) {
    const heed_tensor *x = support_put(ctx, from[f].dtype, SHAPE(11), from[f].data);
    for (heed_dtype to = 0; heed_dtype_size(to) > 0; ++to) {
      if (!is_tried(from[f].dtype, to)) continue;
      double expected[11];
      for (int i = 0; i < 11; ++i) expected[i] = converted(element(from[f].dtype, from[f].data, i), to);
      heed_tensor *y = support_new(ctx, to, SHAPE(11));
      ASSERT_OK(heed_copy(x, y));
      // 16-bit floats round these; that is the business of the dtype's own test.
      if (heed_dtype_size(to) != 2) {
        if (to == HEED_F32)
          for (int i = 0; i < 11; ++i) expected[i] = (double)(float)expected[i];
        assert_elements(y, expected);
      }
    }
  }
}

static void copy_keeps_every_bit_of_one_dtype(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t wide[] = {INT64_MAX, INT64_MIN, (INT64_C(1) << 53) + 1, -1};
  static const uint32_t payloads[] = {0x7fc01234, 0xff800001, 0x80000000, 1};
  const heed_tensor *x = support_put(ctx, HEED_I64, SHAPE(2, 2), wide),
                    *z = support_put(ctx, HEED_F32, SHAPE(4), payloads);
  heed_tensor *y = support_like(x), *w = support_like(z), *turned = support_new(ctx, HEED_I64, SHAPE(2, 2));
  ASSERT_OK(heed_copy(x, y));
  ASSERT_SAME_BITS(y, x);
  ASSERT_OK(heed_copy(z, w));
  ASSERT_SAME_BITS(w, z);
  ASSERT_OK(heed_copy(support_transposed(x), support_transposed(turned)));
  ASSERT_SAME_BITS(turned, x);
}

// 2^60 + 2^36 + 1 is nearer to 2^60 + 2^37 than to 2^60; by way of F64 it would become a tie and go down.
static void a_large_integer_is_rounded_once(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t x[] = {(INT64_C(1) << 60) + (INT64_C(1) << 36) + 1, -(INT64_C(1) << 60) - (INT64_C(1) << 36) - 1,
                       (INT64_C(1) << 60) + (INT64_C(1) << 36)};
  const double expected[] = {0x1p60 + 0x1p37, -0x1p60 - 0x1p37, 0x1p60};
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(3));
  ASSERT_OK(heed_copy(support_put(ctx, HEED_I64, SHAPE(3), x), y));
  assert_elements(y, expected);
}

static void copy_takes_any_strides_on_either_side(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t dims[] = {2, 3, 1, 5, 7};
  const heed_tensor *x = support_random(ctx, HEED_F32, 5, dims, 3);
  heed_tensor *turned = support_new(ctx, HEED_F16, SHAPE(7, 5, 1, 3, 2)), *back = support_like(x);
  ASSERT_OK(heed_copy(support_transposed(x), turned));
  const float *from = support_get(x), *to = support_get(turned);
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 3; ++b)
      for (int d = 0; d < 5; ++d)
        for (int e = 0; e < 7; ++e)
          ASSERT_CLOSE(to[((e * 5 + d) * 3 + b) * 2 + a], from[((a * 3 + b) * 5 + d) * 7 + e], 0);
  ASSERT_OK(heed_copy(turned, support_transposed(back)));
  ASSERT_SAME_BITS(back, x);
}

// Enough that several work-items share out the elements, each of which begins and ends inside a row.
static void copy_takes_any_strides_of_many_elements(void **state) {
  heed_context *ctx = support_context(state);
  enum { A = 5, B = 6, C = 7, D = 9, E = 19, COUNT = A * B * C * D * E };
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(A, B, C, D, E), 3);
  const int order[] = {2, 0, 3, 1, 4};
  for (int to = 0; to < 2; ++to) {
    heed_tensor *view = NULL, *y = support_new(ctx, to ? HEED_F16 : HEED_F32, SHAPE(C, A, D, B, E));
    ASSERT_OK(heed_tensor_permute(x, order, &view));
    ASSERT_OK(heed_copy(support_keep(view), y));
    const float *from = support_get(x), *turned = support_get(y);
    for (int i = 0; i < COUNT; ++i) {
      const int e = i % E, d = i / E % D, c = i / E / D % C, b = i / E / D / C % B, a = i / E / D / C / B;
      const float value = from[i];
      ASSERT_CLOSE(turned[(((c * A + a) * D + d) * B + b) * E + e], value, to ? 0x1p-11 * fabs((double)value) : 0);
    }
  }
}

// More than caches hold, from elements on that no vector is aligned at.
static void copy_keeps_what_caches_do_not_hold(void **state) {
  heed_context *ctx = support_context(state);
  enum { COUNT = 5000011 };
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(COUNT)), *y = support_like(x);
  float *values = support_memory(sizeof(float[COUNT]));
  for (int i = 0; i < COUNT; ++i) values[i] = (float)i;
  ASSERT_OK(heed_tensor_upload(x, values, sizeof(float[COUNT])));
  for (int first = 0; first < 2; ++first) {
    heed_tensor *part = NULL, *from = NULL;
    ASSERT_OK(heed_fill(y, -1));
    ASSERT_OK(heed_tensor_slice(y, 0, first, COUNT - first, &part));
    ASSERT_OK(heed_tensor_slice(x, 0, 0, COUNT - first, &from));
    ASSERT_OK(heed_copy(support_keep(from), support_keep(part)));
    const float *copied = support_get(y);
    for (int i = 0; i < COUNT; ++i)
      if (!(copied[i] == (float)(i - first))) fail_msg("element %d is %g", i, (double)copied[i]);
  }
}

static void fill_gives_one_value_in_every_dtype(void **state) {
  heed_context *ctx = support_context(state);
  const double values[] = {0, 1, -1, 2.5, 300, -300, NAN, -(double)INFINITY};
  for (heed_dtype dtype = 0; heed_dtype_size(dtype) > 0; ++dtype)
    for (int v = 0; v < 8; ++v) {
      heed_tensor *y = support_new(ctx, dtype, SHAPE(3, 11));
      double expected[33];
      for (int i = 0; i < 33; ++i)
        expected[i] = is_integer(dtype) || dtype == HEED_BOOL ? converted(values[v], dtype) : values[v];
      ASSERT_OK(heed_fill(y, values[v]));
      if (dtype == HEED_I64 && isinf(values[v])) continue;  // its end is no double
      assert_elements(y, expected);
    }
}

static void fill_of_a_view_touches_only_its_elements(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *base = support_new(ctx, HEED_F32, SHAPE(5, 7)), *view = NULL;
  ASSERT_OK(heed_fill(base, 1));
  ASSERT_OK(heed_tensor_view(base, SHAPE(2, 3), (const int64_t[]){14, 2}, 8, &view));
  ASSERT_OK(heed_fill(support_keep(view), -2));
  const float *values = support_get(base);
  for (int i = 0; i < 35; ++i) {
    const bool inside = (i >= 8 && i <= 12 && i % 2 == 0) || (i >= 22 && i <= 26 && i % 2 == 0);
    ASSERT_CLOSE(values[i], inside ? -2 : 1, 0);
  }
}

static void add_is_a_linear_combination(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t sizes[] = {1, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 1000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
    const heed_tensor *a = support_random(ctx, HEED_F32, 1, &sizes[s], 1),
                      *b = support_random(ctx, HEED_F32, 1, &sizes[s], 2);
    heed_tensor *y = support_like(a);
    ASSERT_OK(heed_add(0.5, a, -2, b, y));
    const float *x = support_get(a), *z = support_get(b), *sum = support_get(y);
    for (int64_t i = 0; i < sizes[s]; ++i) ASSERT_CLOSE(sum[i], 0.5 * (double)x[i] - 2 * (double)z[i], 0);
  }
}

static void add_may_write_over_its_operands(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (int d = 0; d < 3; ++d) {
    heed_tensor *a = support_random(ctx, dtypes[d], SHAPE(5, 9), 1),
                *b = support_random(ctx, dtypes[d], SHAPE(5, 9), 2);
    heed_tensor *expected = support_like(a);
    ASSERT_OK(heed_add(0.25, a, 3, b, expected));
    heed_tensor *over_a = support_like(a), *over_b = support_like(a);
    ASSERT_OK(heed_copy(a, over_a));
    ASSERT_OK(heed_copy(b, over_b));
    ASSERT_OK(heed_add(0.25, over_a, 3, b, over_a));
    ASSERT_OK(heed_add(0.25, a, 3, over_b, over_b));
    ASSERT_SAME_BITS(over_a, expected);
    ASSERT_SAME_BITS(over_b, expected);
    ASSERT_OK(heed_add(1, a, 1, a, a));
    ASSERT_OK(heed_add(0.5, a, 0, a, a));
  }
}

static void nothing_is_done_to_nothing(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(0, 3)), *y = support_new(ctx, HEED_F32, SHAPE(0, 3));
  ASSERT_OK(heed_fill(x, 1));
  ASSERT_OK(heed_copy(x, y));
  ASSERT_OK(heed_add(1, x, 1, x, y));
}

// ---------------------------------------------------------------- refusals

static void null_is_refused(void **state) {
  heed_tensor *x = support_new(support_context(state), HEED_F32, SHAPE(2));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "fill", "y is NULL", heed_fill(NULL, 0));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "x is NULL", heed_copy(NULL, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y is NULL", heed_copy(x, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "a is NULL", heed_add(1, NULL, 1, x, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "b is NULL", heed_add(1, x, 1, NULL, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "y is NULL", heed_add(1, x, 1, x, NULL));
}

static void shapes_must_be_one(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(2, 3)), *flat = support_new(ctx, HEED_F32, SHAPE(6)),
              *y = support_like(x);
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "copy", "x is F32[2, 3] but y is F32[6]", heed_copy(x, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "add", "b F32[6] does not broadcast to y F32[2, 3]", heed_add(1, x, 1, flat, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "add", "a F32[2, 3] does not broadcast to y F32[6]", heed_add(1, x, 1, x, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "add", "not contiguous",
                 heed_add(1, support_transposed(x), 1, support_transposed(x), support_new(ctx, HEED_F32, SHAPE(3, 2))));
}

static void add_is_for_floats_of_one_dtype(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(4)), *half = support_new(ctx, HEED_F16, SHAPE(4)),
              *i = support_new(ctx, HEED_I32, SHAPE(4));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "add", "b is F16[4], but the other floating-point tensors are F32",
                 heed_add(1, x, 1, half, x));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "add", "a is I32[4]; F32, F16 or BF16 is needed", heed_add(1, i, 1, i, i));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "add", "y is F16[4]", heed_add(1, x, 1, x, half));
}

static void overlaps_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *base = support_random(ctx, HEED_F32, SHAPE(10), 4), *low = NULL, *high = NULL;
  ASSERT_OK(heed_tensor_slice(base, 0, 0, 6, &low));
  ASSERT_OK(heed_tensor_slice(support_keep(low) ? base : NULL, 0, 4, 6, &high));
  support_keep(high);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x", heed_copy(low, high));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x", heed_copy(base, base));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "y overlaps a", heed_add(1, low, 1, support_like(low), high));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "y overlaps b", heed_add(1, support_like(low), 1, low, high));
  // Neighbours do not overlap.
  ASSERT_OK(heed_tensor_slice(base, 0, 0, 5, &low));
  ASSERT_OK(heed_tensor_slice(support_keep(low) ? base : NULL, 0, 5, 5, &high));
  ASSERT_OK(heed_copy(low, support_keep(high)));
  const float *values = support_get(base);
  for (int i = 0; i < 5; ++i) ASSERT_CLOSE(values[i + 5], values[i], 0);
}

static void contexts_do_not_mix(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(4)), *foreign = support_new(support_other(), HEED_F32, SHAPE(4));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y is on another context", heed_copy(x, foreign));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "b is on another context", heed_add(1, x, 1, foreign, x));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(copy_converts_floats_to_every_dtype),
      TEST(copy_converts_integers_to_every_dtype),
      TEST(copy_keeps_every_bit_of_one_dtype),
      TEST(a_large_integer_is_rounded_once),
      TEST(copy_takes_any_strides_on_either_side),
      TEST(copy_takes_any_strides_of_many_elements),
      TEST(copy_keeps_what_caches_do_not_hold),
      TEST(fill_gives_one_value_in_every_dtype),
      TEST(fill_of_a_view_touches_only_its_elements),
      TEST(add_is_a_linear_combination),
      TEST(add_may_write_over_its_operands),
      TEST(nothing_is_done_to_nothing),
      TEST(null_is_refused),
      TEST(shapes_must_be_one),
      TEST(add_is_for_floats_of_one_dtype),
      TEST(overlaps_are_refused),
      TEST(contexts_do_not_mix),
  };
  return RUN_ON_BOTH("fill, copy and add", tests);
}
