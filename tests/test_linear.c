// linear: against naive loops, forward and backward; gradients that are not asked for; empty sides; what it refuses.
// Values are multiples of 2^-8 below 1 and sums have at most 200 terms, so that every F32 result is exact.
#include "support_values.h"

struct problem {
  int64_t rows, in, out;
};

static const struct problem problems[] = {{1, 1, 1},    {1, 129, 1},  {2, 3, 4},     {15, 16, 17},  {17, 15, 16},
                                          {31, 33, 32}, {64, 65, 63}, {65, 63, 64},  {127, 1, 129}, {129, 128, 2},
                                          {5, 200, 7},  {200, 10, 3}, {64, 130, 10}, {3, 16, 16},   {199, 33, 1},
                                          {61, 47, 13}, {2, 31, 17}};
enum { PROBLEMS = sizeof problems / sizeof *problems };

static void forward_is_the_naive_loop(void **state) {
  heed_context *ctx = support_context(state);
  for (int p = 0; p < PROBLEMS; ++p) {
    const int64_t n = problems[p].rows, in = problems[p].in, out = problems[p].out;
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(n, in), 1),
                      *weight = support_random(ctx, HEED_F32, SHAPE(out, in), 2);
    const heed_tensor *bias = p % 3 ? support_random(ctx, HEED_F32, SHAPE(out), 3) : NULL;
    heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(n, out));
    ASSERT_OK(heed_linear_fwd(x, weight, bias, y));
    const float *a = support_get(x), *w = support_get(weight), *b = bias ? support_get(bias) : NULL,
                *result = support_get(y);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t o = 0; o < out; ++o) {
        double sum = b ? (double)b[o] : 0;
        for (int64_t i = 0; i < in; ++i) sum += (double)a[r * in + i] * (double)w[o * in + i];
        ASSERT_CLOSE(result[r * out + o], sum, 0);
      }
  }
}

static void assert_gradients(const struct problem *p, const float *x, const float *w, const float *dy, const float *dx,
                             const float *dw, const float *db) {
  for (int64_t r = 0; r < p->rows; ++r)
    for (int64_t i = 0; i < p->in; ++i) {
      double sum = 0;
      for (int64_t o = 0; o < p->out; ++o) sum += (double)dy[r * p->out + o] * (double)w[o * p->in + i];
      ASSERT_CLOSE(dx[r * p->in + i], sum, 0);
    }
  for (int64_t o = 0; o < p->out; ++o) {
    double total = 0;
    for (int64_t r = 0; r < p->rows; ++r) total += (double)dy[r * p->out + o];
    ASSERT_CLOSE(db[o], total, 0);
    for (int64_t i = 0; i < p->in; ++i) {
      double sum = 0;
      for (int64_t r = 0; r < p->rows; ++r) sum += (double)dy[r * p->out + o] * (double)x[r * p->in + i];
      ASSERT_CLOSE(dw[o * p->in + i], sum, 0);
    }
  }
}

static void backward_is_the_naive_loop(void **state) {
  heed_context *ctx = support_context(state);
  for (int p = 0; p < PROBLEMS; ++p) {
    const int64_t n = problems[p].rows, in = problems[p].in, out = problems[p].out;
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(n, in), 1),
                      *weight = support_random(ctx, HEED_F32, SHAPE(out, in), 2);
    const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(n, out), 3);
    heed_tensor *dx = support_like(x), *dweight = support_like(weight), *dbias = support_new(ctx, HEED_F32, SHAPE(out));
    ASSERT_OK(heed_linear_bwd(x, weight, dy, dx, dweight, dbias, false));
    assert_gradients(&problems[p], support_get(x), support_get(weight), support_get(dy), support_get(dx),
                     support_get(dweight), support_get(dbias));
  }
}

static void leading_axes_are_rows(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3, 5, 7), 1),
                    *flat = support_random(ctx, HEED_F32, SHAPE(30, 7), 1);
  const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(4, 7), 2),
                    *row = support_random(ctx, HEED_F32, SHAPE(7), 1);
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(2, 3, 5, 4)), *flat_y = support_new(ctx, HEED_F32, SHAPE(30, 4)),
              *row_y = support_new(ctx, HEED_F32, SHAPE(4));
  ASSERT_OK(heed_linear_fwd(x, weight, NULL, y));
  ASSERT_OK(heed_linear_fwd(flat, weight, NULL, flat_y));
  ASSERT_OK(heed_linear_fwd(row, weight, NULL, row_y));
  ASSERT_SAME_BITS(y, flat_y);
  for (int i = 0; i < 4; ++i) ASSERT_CLOSE(support_get(row_y)[i], support_get(y)[i], 0);
  heed_tensor *dx = support_like(x), *flat_dx = support_like(flat), *dw = support_like(weight),
              *flat_dw = support_like(weight);
  ASSERT_OK(heed_linear_bwd(x, weight, y, dx, dw, NULL, false));
  ASSERT_OK(heed_linear_bwd(flat, weight, flat_y, flat_dx, flat_dw, NULL, false));
  ASSERT_SAME_BITS(dx, flat_dx);
  ASSERT_SAME_BITS(dw, flat_dw);
}

static void each_gradient_may_be_left_out(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(9, 17), 1),
                    *weight = support_random(ctx, HEED_F32, SHAPE(5, 17), 2),
                    *dy = support_random(ctx, HEED_F32, SHAPE(9, 5), 3);
  heed_tensor *all[3] = {support_like(x), support_like(weight), support_new(ctx, HEED_F32, SHAPE(5))};
  ASSERT_OK(heed_linear_bwd(x, weight, dy, all[0], all[1], all[2], false));
  for (int which = 0; which < 8; ++which) {
    heed_tensor *some[3];
    for (int i = 0; i < 3; ++i) some[i] = which >> i & 1 ? support_like(all[i]) : NULL;
    ASSERT_OK(heed_linear_bwd(x, weight, dy, some[0], some[1], some[2], false));
    for (int i = 0; i < 3; ++i)
      if (some[i]) ASSERT_SAME_BITS(some[i], all[i]);
  }
}

// Sums over nothing are 0, and the bias stands alone.
static void sides_may_be_empty(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *bias = support_random(ctx, HEED_F32, SHAPE(4), 1);
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(3, 4)), *plain = support_like(y);
  ASSERT_OK(heed_linear_fwd(support_new(ctx, HEED_F32, SHAPE(3, 0)), support_new(ctx, HEED_F32, SHAPE(4, 0)), bias, y));
  ASSERT_OK(
      heed_linear_fwd(support_new(ctx, HEED_F32, SHAPE(3, 0)), support_new(ctx, HEED_F32, SHAPE(4, 0)), NULL, plain));
  for (int i = 0; i < 12; ++i) {
    ASSERT_CLOSE(support_get(y)[i], support_get(bias)[i % 4], 0);
    ASSERT_CLOSE(support_get(plain)[i], 0, 0);
  }
  heed_tensor *dweight = support_new(ctx, HEED_F32, SHAPE(4, 5)), *dbias = support_like(bias),
              *dx = support_new(ctx, HEED_F32, SHAPE(2, 5));
  ASSERT_OK(heed_linear_bwd(support_new(ctx, HEED_F32, SHAPE(0, 5)), support_random(ctx, HEED_F32, SHAPE(4, 5), 2),
                            support_new(ctx, HEED_F32, SHAPE(0, 4)), support_new(ctx, HEED_F32, SHAPE(0, 5)), dweight,
                            dbias, false));
  for (int i = 0; i < 20; ++i) ASSERT_CLOSE(support_get(dweight)[i], 0, 0);
  for (int i = 0; i < 4; ++i) ASSERT_CLOSE(support_get(dbias)[i], 0, 0);
  ASSERT_OK(heed_linear_bwd(support_random(ctx, HEED_F32, SHAPE(2, 5), 2), support_new(ctx, HEED_F32, SHAPE(0, 5)),
                            support_new(ctx, HEED_F32, SHAPE(2, 0)), dx, support_new(ctx, HEED_F32, SHAPE(0, 5)),
                            support_new(ctx, HEED_F32, SHAPE(0)), false));
  for (int i = 0; i < 10; ++i) ASSERT_CLOSE(support_get(dx)[i], 0, 0);
  ASSERT_OK(heed_linear_fwd(support_new(ctx, HEED_F32, SHAPE(0, 5)), support_new(ctx, HEED_F32, SHAPE(4, 5)), bias,
                            support_new(ctx, HEED_F32, SHAPE(0, 4))));
}

// One rounding to storage, which a difference before it may turn the other way: 2^-11 and 2^-8.
static void narrow_dtypes_differ_by_their_rounding(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  const double tolerances[] = {0x1p-11, 0x1p-8};
  for (int d = 0; d < 2; ++d) {
    heed_tensor *t[2][5];
    for (int narrow = 0; narrow < 2; ++narrow) {
      // The wide problem starts from the narrow one's values.
      const int64_t dims[5][2] = {{33, 65}, {17, 65}, {33, 17}, {33, 65}, {17, 65}};
      for (int i = 0; i < 5; ++i) {
        heed_tensor *rounded = support_random(ctx, dtypes[d], 2, dims[i], (uint64_t)i);
        t[narrow][i] = narrow ? rounded : support_new(ctx, HEED_F32, 2, dims[i]);
        if (!narrow) ASSERT_OK(heed_copy(rounded, t[0][i]));
      }
      heed_tensor *y = support_like(t[narrow][2]);
      ASSERT_OK(heed_linear_fwd(t[narrow][0], t[narrow][1], NULL, y));
      ASSERT_OK(heed_linear_bwd(t[narrow][0], t[narrow][1], t[narrow][2], t[narrow][3], t[narrow][4], NULL, false));
      t[narrow][2] = y;
    }
    for (int i = 2; i < 5; ++i) ASSERT_AGREE(t[1][i], t[0][i], tolerances[d]);
  }
}

static void forward_refuses(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1), *w = support_random(ctx, HEED_F32, SHAPE(4, 3), 2),
              *b = support_random(ctx, HEED_F32, SHAPE(4), 3), *y = support_new(ctx, HEED_F32, SHAPE(2, 4));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_fwd", "x is NULL", heed_linear_fwd(NULL, w, b, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_fwd", "weight is NULL", heed_linear_fwd(x, NULL, b, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_fwd", "y is NULL", heed_linear_fwd(x, w, b, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "x F32[2, 4] must have 3", heed_linear_fwd(support_like(y), w, b, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "weight F32[4] is not [out, in]", heed_linear_fwd(x, b, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "bias F32[3] does not fit weight F32[4, 3]",
                 heed_linear_fwd(x, w, support_new(ctx, HEED_F32, SHAPE(3)), y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "bias F32[1, 4]",
                 heed_linear_fwd(x, w, support_new(ctx, HEED_F32, SHAPE(1, 4)), y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "y F32[2, 3] must have 4", heed_linear_fwd(x, w, b, support_like(x)));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "x F32[2, 3] and y F32[3, 4] differ in rows",
                 heed_linear_fwd(x, w, b, support_new(ctx, HEED_F32, SHAPE(3, 4))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "x F32[]",
                 heed_linear_fwd(support_new(ctx, HEED_F32, 0, NULL), w, b, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_fwd", "weight F32[3, 4] is not contiguous",
                 heed_linear_fwd(x, support_transposed(w), NULL, y));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "linear_fwd", "weight is F16[4, 3]",
                 heed_linear_fwd(x, support_new(ctx, HEED_F16, SHAPE(4, 3)), b, y));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "linear_fwd", "x is I32[2, 3]",
                 heed_linear_fwd(support_new(ctx, HEED_I32, SHAPE(2, 3)), w, b, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_fwd", "bias is on another context",
                 heed_linear_fwd(x, w, support_new(support_other(), HEED_F32, SHAPE(4)), y));
  heed_tensor *square = support_new(ctx, HEED_F32, SHAPE(3, 3));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_fwd", "y overlaps weight",
                 heed_linear_fwd(support_like(square), square, NULL, square));
}

static void backward_refuses(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1), *w = support_random(ctx, HEED_F32, SHAPE(4, 3), 2),
              *dy = support_random(ctx, HEED_F32, SHAPE(2, 4), 3);
  heed_tensor *dx = support_like(x), *dw = support_like(w), *db = support_new(ctx, HEED_F32, SHAPE(4));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_bwd", "dy is NULL",
                 heed_linear_bwd(x, w, NULL, dx, dw, db, false));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_bwd", "dy F32[2, 3] must have 4",
                 heed_linear_bwd(x, w, dx, NULL, dw, db, false));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_bwd", "x F32[2, 3] and dy F32[3, 4] differ in rows",
                 heed_linear_bwd(x, w, support_new(ctx, HEED_F32, SHAPE(3, 4)), dx, dw, db, false));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_bwd", "dweight is F32[3, 4]",
                 heed_linear_bwd(x, w, dy, dx, support_new(ctx, HEED_F32, SHAPE(3, 4)), db, false));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_bwd", "dx is F32[3, 2]",
                 heed_linear_bwd(x, w, dy, support_new(ctx, HEED_F32, SHAPE(3, 2)), dw, db, false));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_bwd", "F32[5] does not fit weight F32[4, 3]",
                 heed_linear_bwd(x, w, dy, dx, dw, support_new(ctx, HEED_F32, SHAPE(5)), false));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "linear_bwd", "dbias is BF16[4]",
                 heed_linear_bwd(x, w, dy, dx, dw, support_new(ctx, HEED_BF16, SHAPE(4)), false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_bwd", "dx overlaps x",
                 heed_linear_bwd(x, w, dy, x, dw, db, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_bwd", "dweight overlaps weight",
                 heed_linear_bwd(x, w, dy, dx, w, db, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_bwd", "dx is on another context",
                 heed_linear_bwd(x, w, dy, support_new(support_other(), HEED_F32, SHAPE(2, 3)), dw, db, false));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(forward_is_the_naive_loop), TEST(backward_is_the_naive_loop),
      TEST(leading_axes_are_rows),     TEST(each_gradient_may_be_left_out),
      TEST(sides_may_be_empty),        TEST(narrow_dtypes_differ_by_their_rounding),
      TEST(forward_refuses),           TEST(backward_refuses),
  };
  return RUN_ON_BOTH("linear", tests);
}
