// add, mul and reduce_sum: broadcasting as NumPy's, sums over any axes, and dropout by its formula; what they refuse.
#include <heed/measure.h>

#include "support_values.h"

enum { MOST = 5, ELEMENTS = 2 * 3 * 4 * 5 };
static const int64_t full[] = {2, 3, 4, 5};

// Which of the axes of `full` a tensor lacks in front, and which are 1 in it, by bit.
struct shape {
  int rank;
  unsigned ones;
};
static const struct shape shapes[] = {{4, 0}, {4, 1}, {4, 2}, {4, 5}, {4, 10}, {4, 15},
                                      {3, 0}, {2, 0}, {1, 0}, {0, 0}, {3, 8},  {2, 4}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int64_t dims_of(const struct shape *s, int64_t dims[MOST]) {
  int64_t count = 1;
  for (int axis = 4 - s->rank; axis < 4; ++axis) {
    const int64_t dim = s->ones >> axis & 1 ? 1 : full[axis];
    dims[axis - 4 + s->rank] = dim;
    count *= dim;
  }
  return count;
}

// Where element i of the full array comes from, or goes to.
static int64_t place_of(const struct shape *s, int64_t i) {
  int64_t place = 0, stride = 1;
  for (int axis = 3; axis >= 4 - s->rank; --axis) {
    const bool one = s->ones >> axis & 1;
    place += one ? 0 : i % full[axis] * stride;
    stride *= one ? 1 : full[axis];
    i /= full[axis];
  }
  return place;
}

static void operands_repeat_as_in_numpy(void **state) {
  heed_context *ctx = support_context(state);
  for (int s = 0; s < SHAPES; ++s)
    for (int t = 0; t < SHAPES; t += 3) {
      int64_t a_dims[MOST], b_dims[MOST];
      dims_of(&shapes[s], a_dims);
      dims_of(&shapes[t], b_dims);
      const heed_tensor *a = support_random(ctx, HEED_F32, shapes[s].rank, a_dims, 1),
                        *b = support_random(ctx, HEED_F32, shapes[t].rank, b_dims, 2);
      heed_tensor *sum = support_new(ctx, HEED_F32, 4, full), *product = support_like(sum);
      ASSERT_OK(heed_add(2, a, -1, b, sum));
      ASSERT_OK(heed_mul(a, b, product));
      const float *x = support_get(a), *y = support_get(b), *added = support_get(sum), *times = support_get(product);
      for (int64_t i = 0; i < ELEMENTS; ++i) {
        const double u = (double)x[place_of(&shapes[s], i)], v = (double)y[place_of(&shapes[t], i)];
        ASSERT_CLOSE(added[i], 2 * u - v, 0x1p-23 * (fabs(2 * u) + fabs(v)));
        ASSERT_CLOSE(times[i], u * v, 0x1p-24 * fabs(u * v));
      }
    }
}

// Enough elements that several work-items share them out and more than caches hold, in rows that end inside a vector.
static void many_operands_repeat_too(void **state) {
  heed_context *ctx = support_context(state);
  enum { A = 37, B = 300, C = 301 };
  const heed_tensor *a = support_random(ctx, HEED_F32, SHAPE(A, 1, C), 1),
                    *b = support_random(ctx, HEED_F32, SHAPE(B, 1), 2);
  heed_tensor *sum = support_new(ctx, HEED_F32, SHAPE(A, B, C));
  ASSERT_OK(heed_add(2, a, -1, b, sum));
  const float *x = support_get(a), *y = support_get(b), *added = support_get(sum);
  for (int i = 0; i < A * B * C; ++i) {
    const double u = (double)x[i / C / B * C + i % C], v = (double)y[i / C % B];
    ASSERT_CLOSE(added[i], 2 * u - v, 0x1p-23 * (fabs(2 * u) + fabs(v)));
  }
}

static void sums_are_over_what_the_result_lacks(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, 4, full, 1);
  const float *in = support_get(x);
  for (int s = 0; s < SHAPES; ++s) {
    int64_t dims[MOST];
    const int64_t count = dims_of(&shapes[s], dims);
    heed_tensor *y = support_new(ctx, HEED_F32, shapes[s].rank, dims),
                *added = support_random(ctx, HEED_F32, shapes[s].rank, dims, 3);
    const float *before = support_get(added);
    double sums[ELEMENTS] = {0}, sizes[ELEMENTS] = {0};
    for (int64_t i = 0; i < ELEMENTS; ++i) {
      sums[place_of(&shapes[s], i)] += (double)in[i];
      sizes[place_of(&shapes[s], i)] += fabs((double)in[i]);
    }
    ASSERT_OK(heed_reduce_sum(x, y, false));
    ASSERT_OK(heed_reduce_sum(x, added, true));
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_CLOSE(support_get(y)[i], sums[i], 8 * 0x1p-24 * sizes[i]);
      ASSERT_CLOSE(support_get(added)[i], (double)before[i] + sums[i], 8 * 0x1p-24 * (sizes[i] + 1));
    }
  }
}

// A million terms: the error grows with the pieces' square root, not with the length.
static void long_sums_keep_their_digits(void **state) {
  heed_context *ctx = support_context(state);
  enum { LONG = 1000003 };
  float *ones = support_memory(LONG * sizeof *ones);
  for (int i = 0; i < LONG; ++i) ones[i] = 0.1f;
  const heed_tensor *row = support_put(ctx, HEED_F32, SHAPE(1, LONG), ones),
                    *column = support_put(ctx, HEED_F32, SHAPE(LONG / 3, 3), ones);
  heed_tensor *total = support_new(ctx, HEED_F32, SHAPE(1, 1)), *three = support_new(ctx, HEED_F32, SHAPE(3));
  ASSERT_OK(heed_reduce_sum(row, total, false));
  ASSERT_OK(heed_reduce_sum(column, three, false));
  ASSERT_CLOSE(support_get(total)[0], LONG * (double)0.1f, 1e-6 * LONG * 0.1);
  for (int i = 0; i < 3; ++i) ASSERT_CLOSE(support_get(three)[i], LONG / 3 * (double)0.1f, 1e-6 * LONG / 3 * 0.1);
}

static void sums_of_nothing_are_zero(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *none = support_new(ctx, HEED_F32, SHAPE(0, 3));
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(3));
  ASSERT_OK(heed_reduce_sum(none, y, false));
  for (int i = 0; i < 3; ++i) ASSERT_CLOSE(support_get(y)[i], 0, 0);
  ASSERT_OK(heed_fill(y, 2));
  ASSERT_OK(heed_reduce_sum(none, y, true));
  for (int i = 0; i < 3; ++i) ASSERT_CLOSE(support_get(y)[i], 2, 0);
}

// ---------------------------------------------------------------- dropout

// By the header's formula.
static bool is_kept(uint64_t seed, double p, uint64_t e) {
  const uint64_t c = e / 64 * 16 + e % 16;
  const uint32_t counter[4] = {(uint32_t)c, (uint32_t)(c >> 32), 0, UINT32_MAX};
  uint32_t random[4];
  heed_philox(seed, counter, random);
  return random[e / 16 % 4] >= p * 0x1p32;
}

static void dropout_is_its_formula(void **state) {
  heed_context *ctx = support_context(state);
  static const uint64_t offsets[] = {0, 1, 16, 63, 1000, (UINT64_C(1) << 34) - 3, UINT64_MAX - 1000};
  for (int o = 0; o < 7; ++o)
    for (int64_t count = 1; count < 300; count = 3 * count + 1) {
      const heed_dropout_options options = {.p = 0.4, .seed = 0xfedcba9876543210, .offset = offsets[o]};
      const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(count), 1);
      heed_tensor *y = support_like(x), *dx = support_like(x);
      ASSERT_OK(heed_dropout_fwd(x, &options, y));
      ASSERT_OK(heed_dropout_bwd(x, &options, dx));
      ASSERT_SAME_BITS(dx, y);
      const float *in = support_get(x), *out = support_get(y);
      for (int64_t i = 0; i < count; ++i) {
        const bool kept = is_kept(options.seed, options.p, offsets[o] + (uint64_t)i);
        ASSERT_CLOSE(out[i], kept ? (double)in[i] / 0.6 : 0, 2 * 0x1p-24 * fabs((double)in[i]) / 0.6);
      }
    }
}

static void dropout_of_none_changes_nothing(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_BF16, SHAPE(3, 43), 1);
  heed_tensor *y = support_like(x);
  ASSERT_OK(heed_dropout_fwd(x, &(heed_dropout_options){0}, y));
  ASSERT_SAME_BITS(y, x);
}

static void they_refuse(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1), *y = support_like(x),
              *two = support_new(ctx, HEED_F32, SHAPE(2)), *half = support_new(ctx, HEED_F16, SHAPE(3));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "mul", "b F32[2] does not broadcast to y F32[2, 3]", heed_mul(x, two, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "mul", "a F32[2, 3] does not broadcast to y F32[2]", heed_mul(x, two, two));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "mul", "b is F16[3]", heed_mul(x, half, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "mul", "y is NULL", heed_mul(x, x, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "reduce_sum", "y F32[2] must be x F32[2, 3]", heed_reduce_sum(x, two, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "reduce_sum", "x is NULL", heed_reduce_sum(NULL, y, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "reduce_sum", "y overlaps x", heed_reduce_sum(x, x, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "dropout_fwd", "options is NULL", heed_dropout_fwd(x, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "dropout_fwd", "p 1 is not in [0, 1)",
                 heed_dropout_fwd(x, &(heed_dropout_options){.p = 1}, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "dropout_bwd", "p nan",
                 heed_dropout_bwd(x, &(heed_dropout_options){.p = NAN}, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "dropout_bwd", "pass 2^64",
                 heed_dropout_bwd(x, &(heed_dropout_options){.offset = UINT64_MAX - 3}, y));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(operands_repeat_as_in_numpy),
      TEST(many_operands_repeat_too),
      TEST(sums_are_over_what_the_result_lacks),
      TEST(long_sums_keep_their_digits),
      TEST(sums_of_nothing_are_zero),
      TEST(dropout_is_its_formula),
      TEST(dropout_of_none_changes_nothing),
      TEST(they_refuse),
  };
  return RUN_ON_BOTH("broadcasting and dropout", tests);
}
