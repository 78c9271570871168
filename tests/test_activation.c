// relu, gelu, silu and swiglu: against their equations, at their ends, in place, and what they refuse.
#include <float.h>

#include "support_values.h"

static const int64_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void relu_is_the_positive_part(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (int s = 0; s < SIZES; ++s) {
    const heed_dtype dtype = dtypes[s % 3];
    const heed_tensor *x = support_random(ctx, dtype, 1, &sizes[s], 1),
                      *dy = support_random(ctx, dtype, 1, &sizes[s], 2);
    heed_tensor *y = support_like(x), *dx = support_like(x);
    ASSERT_OK(heed_relu_fwd(x, y));
    ASSERT_OK(heed_relu_bwd(x, dy, dx));
    const float *in = support_get(x), *out = support_get(y), *up = support_get(dy), *grad = support_get(dx);
    for (int64_t i = 0; i < sizes[s]; ++i) {
      ASSERT_CLOSE(out[i], in[i] > 0 ? in[i] : 0, 0);
      ASSERT_CLOSE(grad[i], in[i] > 0 ? up[i] : 0, 0);
    }
  }
}

static void relu_keeps_nan_and_infinity(void **state) {
  heed_context *ctx = support_context(state);
  const float values[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, FLT_MIN, -FLT_MIN, FLT_MAX},
              ups[] = {1, 2, NAN, NAN, NAN, 6, NAN, NAN};
  const heed_tensor *x = support_put(ctx, HEED_F32, SHAPE(8), values), *dy = support_put(ctx, HEED_F32, SHAPE(8), ups);
  heed_tensor *y = support_like(x), *dx = support_like(x);
  ASSERT_OK(heed_relu_fwd(x, y));
  ASSERT_OK(heed_relu_bwd(x, dy, dx));
  const float *out = support_get(y), *grad = support_get(dx);
  assert_true(isnan(out[0]) && isinf(out[1]));
  for (int i = 2; i < 5; ++i) ASSERT_CLOSE(out[i], 0, 0);
  ASSERT_CLOSE(out[5], FLT_MIN, 0);
  ASSERT_CLOSE(out[6], 0, 0);
  ASSERT_CLOSE(out[7], FLT_MAX, 0);
  // Where x is not positive nothing of dy passes, a NaN of it neither.
  ASSERT_CLOSE(grad[0], 0, 0);
  ASSERT_CLOSE(grad[1], 2, 0);
  for (int i = 2; i < 5; ++i) ASSERT_CLOSE(grad[i], 0, 0);
  ASSERT_CLOSE(grad[5], 6, 0);
  ASSERT_CLOSE(grad[6], 0, 0);
  assert_true(isnan(grad[7]));
}

// What the exponential in the equation is taken of.
static double exponent(double x, heed_gelu_form form) {
  return form == HEED_GELU_ERF ? x * x / 2 : -2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
}

static double share(double x, heed_gelu_form form) {
  return form == HEED_GELU_ERF ? erfc(-x * sqrt(0.5)) / 2 : 1 / (1 + exp(exponent(x, form)));
}

// x times the derivative of the share.
static double change(double x, heed_gelu_form form) {
  if (form == HEED_GELU_ERF) return x * exp(-x * x / 2) / sqrt(2 * acos(-1));
  const double s = share(x, form), rest = 1 / (1 + exp(-exponent(x, form)));
  return x * s * rest * 2 * sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * x * x);
}

// OpenCL lets erfc err by 32 roundings of 2^-24 and the rest takes fewer than 8; an exponent made in 6 steps errs by as many
// roundings of itself, and that is the relative error of its exponential.
static double relative_error(double x, heed_gelu_form form) { return (40 + 6 * fabs(exponent(x, form))) * 0x1p-24; }

static void gelu_is_its_equation_everywhere(void **state) {
  heed_context *ctx = support_context(state);
  enum { COUNT = 1601 };
  float x[COUNT], dy[COUNT];
  for (int i = 0; i < COUNT; ++i) {
    x[i] = (float)(i - 800) / 128;
    dy[i] = i % 2 ? 1 : -2;
  }
  const heed_tensor *in = support_put(ctx, HEED_F32, SHAPE(COUNT), x),
                    *up = support_put(ctx, HEED_F32, SHAPE(COUNT), dy);
  for (heed_gelu_form form = HEED_GELU_ERF; form <= HEED_GELU_TANH; ++form) {
    heed_tensor *y = support_like(in), *dx = support_like(in);
    ASSERT_OK(heed_gelu_fwd(in, form, y));
    ASSERT_OK(heed_gelu_bwd(in, up, form, dx));
    const float *out = support_get(y), *grad = support_get(dx);
    for (int i = 0; i < COUNT; ++i) {
      const double at = (double)x[i], s = share(at, form), c = change(at, form), error = relative_error(at, form);
      ASSERT_CLOSE(out[i], at * s, error * fabs(at * s));
      ASSERT_CLOSE(grad[i], (double)dy[i] * (s + c), error * fabs((double)dy[i]) * (s + fabs(c)));
    }
  }
}

static void gelu_ends_in_x_and_0(void **state) {
  heed_context *ctx = support_context(state);
  const float x[] = {30, 1e4f, FLT_MAX, -30, -1e4f, -FLT_MAX, 0, -0.0f, INFINITY}, ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  const heed_tensor *in = support_put(ctx, HEED_F32, SHAPE(9), x), *up = support_put(ctx, HEED_F32, SHAPE(9), ones);
  for (heed_gelu_form form = HEED_GELU_ERF; form <= HEED_GELU_TANH; ++form) {
    heed_tensor *y = support_like(in), *dx = support_like(in);
    ASSERT_OK(heed_gelu_fwd(in, form, y));
    ASSERT_OK(heed_gelu_bwd(in, up, form, dx));
    const float *out = support_get(y), *grad = support_get(dx);
    for (int i = 0; i < 8; ++i) {
      ASSERT_CLOSE(out[i], x[i] > 0 ? x[i] : 0, 0);
      ASSERT_CLOSE(grad[i], x[i] > 0 ? 1 : x[i] < 0 ? 0 : 0.5, 0);
    }
    assert_true(isinf(out[8]) && out[8] > 0);
  }
}

// exp() errs by few roundings, and its argument is exact: a factor of 16 roundings holds everything.
static void silu_is_its_equation_everywhere(void **state) {
  heed_context *ctx = support_context(state);
  enum { COUNT = 1601 };
  float x[COUNT], up[COUNT], dy[COUNT];
  for (int i = 0; i < COUNT; ++i) {
    x[i] = (float)(i - 800) / 10;
    up[i] = i % 3 ? 0.5f : -3;
    dy[i] = i % 2 ? 1 : -2;
  }
  const heed_tensor *in = support_put(ctx, HEED_F32, SHAPE(COUNT), x),
                    *factor = support_put(ctx, HEED_F32, SHAPE(COUNT), up),
                    *upstream = support_put(ctx, HEED_F32, SHAPE(COUNT), dy);
  heed_tensor *y = support_like(in), *dx = support_like(in), *z = support_like(in), *dgate = support_like(in),
              *dup = support_like(in);
  ASSERT_OK(heed_silu_fwd(in, y));
  ASSERT_OK(heed_silu_bwd(in, upstream, dx));
  ASSERT_OK(heed_swiglu_fwd(in, factor, z));
  ASSERT_OK(heed_swiglu_bwd(in, factor, upstream, dgate, dup));
  const float *out = support_get(y), *slopes = support_get(dx), *product = support_get(z);
  const float *gates = support_get(dgate), *ups = support_get(dup);
  for (int i = 0; i < COUNT; ++i) {
    const double at = (double)x[i], s = 1 / (1 + exp(-at)), rest = 1 / (1 + exp(at)), error = 16 * 0x1p-24;
    const double value = at * s, slope = s * (1 + at * rest), size = s * (1 + fabs(at) * rest);
    const double u = (double)up[i], d = (double)dy[i];
    ASSERT_CLOSE(out[i], value, error * fabs(value));
    ASSERT_CLOSE(slopes[i], d * slope, error * fabs(d) * size);
    ASSERT_CLOSE(product[i], value * u, error * fabs(value * u));
    ASSERT_CLOSE(gates[i], d * u * slope, error * fabs(d * u) * size);
    ASSERT_CLOSE(ups[i], d * value, error * fabs(d * value));
  }
}

static void silu_ends_in_x_and_0(void **state) {
  heed_context *ctx = support_context(state);
  const float x[] = {1e4f, FLT_MAX, -1e4f, -FLT_MAX, 0, INFINITY, NAN}, ones[] = {1, 1, 1, 1, 1, 1, 1};
  const heed_tensor *in = support_put(ctx, HEED_F32, SHAPE(7), x), *up = support_put(ctx, HEED_F32, SHAPE(7), ones);
  heed_tensor *y = support_like(in), *dx = support_like(in);
  ASSERT_OK(heed_silu_fwd(in, y));
  ASSERT_OK(heed_silu_bwd(in, up, dx));
  for (int i = 0; i < 5; ++i) {
    ASSERT_CLOSE(support_get(y)[i], x[i] > 0 ? x[i] : 0, 0);
    ASSERT_CLOSE(support_get(dx)[i], x[i] > 0 ? 1 : x[i] < 0 ? 0 : 0.5, 0);
  }
  assert_true(isinf(support_get(y)[5]) && isnan(support_get(y)[6]) && isnan(support_get(dx)[6]));
}

static void swiglu_goes_into_any_of_its_inputs(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *inputs[3];
  for (int i = 0; i < 3; ++i) inputs[i] = support_random(ctx, HEED_F16, SHAPE(3, 43), (uint64_t)i + 1);
  heed_tensor *dgate = support_like(inputs[0]), *dup = support_like(inputs[0]);
  ASSERT_OK(heed_swiglu_bwd(inputs[0], inputs[1], inputs[2], dgate, dup));
  for (int first = 0; first < 3; ++first)
    for (int second = 0; second < 3; ++second) {
      if (first == second) continue;
      heed_tensor *over[3];
      for (int i = 0; i < 3; ++i) {
        over[i] = support_like(inputs[i]);
        ASSERT_OK(heed_copy(inputs[i], over[i]));
      }
      ASSERT_OK(heed_swiglu_bwd(over[0], over[1], over[2], over[first], over[second]));
      ASSERT_SAME_BITS(over[first], dgate);
      ASSERT_SAME_BITS(over[second], dup);
    }
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "swiglu_bwd", "dgate overlaps dup",
                 heed_swiglu_bwd(inputs[0], inputs[1], inputs[2], dup, dup));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "swiglu_fwd", "up is F16[2]",
                 heed_swiglu_fwd(inputs[0], support_new(ctx, HEED_F16, SHAPE(2)), dup));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "swiglu_fwd", "gate is NULL", heed_swiglu_fwd(NULL, inputs[1], dup));
}

static void nan_stays_nan(void **state) {
  heed_context *ctx = support_context(state);
  const float x[] = {1, NAN, 2};
  const heed_tensor *in = support_put(ctx, HEED_F32, SHAPE(3), x);
  for (heed_gelu_form form = HEED_GELU_ERF; form <= HEED_GELU_TANH; ++form) {
    heed_tensor *y = support_like(in), *dx = support_like(in);
    ASSERT_OK(heed_gelu_fwd(in, form, y));
    ASSERT_OK(heed_gelu_bwd(in, support_random(ctx, HEED_F32, SHAPE(3), 1), form, dx));
    assert_true(!isnan(support_get(y)[0]) && isnan(support_get(y)[1]) && !isnan(support_get(y)[2]));
    assert_true(!isnan(support_get(dx)[0]) && isnan(support_get(dx)[1]) && !isnan(support_get(dx)[2]));
  }
}

static void in_place_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (int d = 0; d < 3; ++d) {
    const heed_tensor *x = support_random(ctx, dtypes[d], SHAPE(3, 43), 1),
                      *dy = support_random(ctx, dtypes[d], SHAPE(3, 43), 2);
    heed_tensor *y = support_like(x), *over = support_like(x), *dx = support_like(x);
    ASSERT_OK(heed_relu_fwd(x, y));
    ASSERT_OK(heed_copy(x, over));
    ASSERT_OK(heed_relu_fwd(over, over));
    ASSERT_SAME_BITS(over, y);
    ASSERT_OK(heed_relu_bwd(x, dy, dx));
    ASSERT_OK(heed_copy(dy, over));
    ASSERT_OK(heed_relu_bwd(x, over, over));
    ASSERT_SAME_BITS(over, dx);
    ASSERT_OK(heed_gelu_fwd(x, HEED_GELU_ERF, y));
    ASSERT_OK(heed_copy(x, over));
    ASSERT_OK(heed_gelu_fwd(over, HEED_GELU_ERF, over));
    ASSERT_SAME_BITS(over, y);
    ASSERT_OK(heed_gelu_bwd(x, dy, HEED_GELU_TANH, dx));
    ASSERT_OK(heed_copy(dy, over));
    ASSERT_OK(heed_gelu_bwd(x, over, HEED_GELU_TANH, over));
    ASSERT_SAME_BITS(over, dx);
  }
}

static void nothing_is_done_to_nothing(void **state) {
  heed_tensor *x = support_new(support_context(state), HEED_F32, SHAPE(3, 0)), *y = support_like(x);
  ASSERT_OK(heed_relu_fwd(x, y));
  ASSERT_OK(heed_gelu_bwd(x, x, HEED_GELU_ERF, y));
}

static void they_refuse(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1), *y = support_like(x),
              *flat = support_new(ctx, HEED_F32, SHAPE(6)), *half = support_new(ctx, HEED_F16, SHAPE(2, 3));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "relu_fwd", "x is NULL", heed_relu_fwd(NULL, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "relu_fwd", "y is NULL", heed_relu_fwd(x, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "relu_bwd", "dy is NULL", heed_relu_bwd(x, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gelu_bwd", "dx is NULL", heed_gelu_bwd(x, x, HEED_GELU_ERF, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "relu_fwd", "x is F32[2, 3] but y is F32[6]", heed_relu_fwd(x, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gelu_fwd", "y is F32[6]", heed_gelu_fwd(x, HEED_GELU_ERF, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "relu_bwd", "dy is F32[6]", heed_relu_bwd(x, flat, y));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "gelu_bwd", "dx is F32[6]", heed_gelu_bwd(x, y, HEED_GELU_TANH, flat));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "relu_fwd", "F32[3, 2] is not contiguous",
                 heed_relu_fwd(support_transposed(x), support_new(ctx, HEED_F32, SHAPE(3, 2))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "relu_fwd", "y is F16[2, 3]", heed_relu_fwd(x, half));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "gelu_fwd", "x is I32[2, 3]",
                 heed_gelu_fwd(support_new(ctx, HEED_I32, SHAPE(2, 3)), HEED_GELU_ERF, y));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "relu_bwd", "dy is F16[2, 3]", heed_relu_bwd(x, half, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gelu_fwd", "form 7", heed_gelu_fwd(x, (heed_gelu_form)7, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gelu_bwd", "form -1", heed_gelu_bwd(x, x, (heed_gelu_form)-1, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "relu_fwd", "y is on another context",
                 heed_relu_fwd(x, support_new(support_other(), HEED_F32, SHAPE(2, 3))));
  heed_tensor *base = support_random(ctx, HEED_F32, SHAPE(4, 3), 1), *low = NULL, *high = NULL;
  ASSERT_OK(heed_tensor_slice(base, 0, 0, 2, &low));
  support_keep(low);
  ASSERT_OK(heed_tensor_slice(base, 0, 1, 2, &high));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "relu_fwd", "y overlaps x", heed_relu_fwd(low, support_keep(high)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(relu_is_the_positive_part),
      TEST(relu_keeps_nan_and_infinity),
      TEST(gelu_is_its_equation_everywhere),
      TEST(gelu_ends_in_x_and_0),
      TEST(silu_is_its_equation_everywhere),
      TEST(silu_ends_in_x_and_0),
      TEST(swiglu_goes_into_any_of_its_inputs),
      TEST(nan_stays_nan),
      TEST(in_place_gives_the_same_bits),
      TEST(nothing_is_done_to_nothing),
      TEST(they_refuse),
  };
  return RUN_ON_BOTH("activations", tests);
}
