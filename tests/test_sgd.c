// sgd: PyTorch's formula, step by step over several steps, and what it refuses.
#include "support_values.h"

enum { COUNT = 131, STEPS = 6 };

static const heed_sgd_options choices[] = {
    {.lr = 0.1},
    {.lr = 0.1, .weight_decay = 0.01},
    {.lr = 0.05, .momentum = 0.9},
    {.lr = 0.05, .momentum = 0.9, .dampening = 0.3},
    {.lr = 0.05, .momentum = 0.5, .dampening = 0.2},
    {.lr = 0.05, .momentum = 0.9, .nesterov = true},
    {.lr = 0.02, .momentum = 0.7, .nesterov = true, .weight_decay = 0.05},
    {.lr = 0, .momentum = 0.9},
    {.lr = 0.5, .momentum = 1.5, .weight_decay = 2},
};
enum { CHOICES = sizeof choices / sizeof *choices };

// As torch.optim.SGD writes it.
static void torch_step(const heed_sgd_options *o, double grad, double *param, double *buffer) {
  grad += o->weight_decay * *param;
  if (o->momentum != 0) {
    *buffer = o->first ? grad : o->momentum * *buffer + (1 - o->dampening) * grad;
    grad = o->nesterov ? grad + o->momentum * *buffer : *buffer;
  }
  *param -= o->lr * grad;
}

static void steps_are_pytorchs(void **state) {
  heed_context *ctx = support_context(state);
  for (int c = 0; c < CHOICES; ++c) {
    heed_tensor *param = support_random(ctx, HEED_F32, SHAPE(COUNT), 1),
                *buffer = choices[c].momentum != 0 ? support_like(param) : NULL;
    double p[COUNT], b[COUNT] = {0};
    const float *start = support_get(param);
    for (int i = 0; i < COUNT; ++i) p[i] = (double)start[i];
    for (int step = 0; step < STEPS; ++step) {
      heed_sgd_options options = choices[c];
      options.first = step == 0;  // the buffer holds NaN until then
      const heed_tensor *grad = support_random(ctx, HEED_F32, SHAPE(COUNT), 2 + (uint64_t)step);
      ASSERT_OK(heed_sgd(&options, grad, param, buffer));
      const float *g = support_get(grad), *now = support_get(param), *kept = buffer ? support_get(buffer) : NULL;
      for (int i = 0; i < COUNT; ++i) {
        torch_step(&options, (double)g[i], &p[i], &b[i]);
        // Some four roundings a step of values that grow to `size`.
        const double size = 1 + fabs(p[i]) + fabs(b[i]),
                     tolerance =
                         8 * (step + 1) * 0x1p-24 * size * (1 + choices[c].momentum) * (1 + choices[c].weight_decay);
        ASSERT_CLOSE(now[i], p[i], tolerance);
        if (kept) ASSERT_CLOSE(kept[i], b[i], tolerance);
      }
    }
  }
}

static void narrow_dtypes_differ_by_their_rounding(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  const double tolerances[] = {0x1p-11, 0x1p-8};
  for (int d = 0; d < 2; ++d)
    for (int c = 0; c < CHOICES; ++c) {
      heed_tensor *wide[3], *narrow[3];
      for (int i = 0; i < 3; ++i) {
        narrow[i] = support_random(ctx, dtypes[d], SHAPE(COUNT), (uint64_t)i);
        wide[i] = support_new(ctx, HEED_F32, SHAPE(COUNT));
        ASSERT_OK(heed_copy(narrow[i], wide[i]));
      }
      const bool momentum = choices[c].momentum != 0;
      ASSERT_OK(heed_sgd(&choices[c], wide[0], wide[1], momentum ? wide[2] : NULL));
      ASSERT_OK(heed_sgd(&choices[c], narrow[0], narrow[1], momentum ? narrow[2] : NULL));
      for (int i = 1; i < 3; ++i) ASSERT_AGREE(narrow[i], wide[i], tolerances[d]);
    }
}

static void the_gradient_is_only_read(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *grad = support_random(ctx, HEED_F32, SHAPE(4, 5), 1),
              *same = support_random(ctx, HEED_F32, SHAPE(4, 5), 1);
  heed_tensor *param = support_random(ctx, HEED_F32, SHAPE(4, 5), 2),
              *buffer = support_random(ctx, HEED_F32, SHAPE(4, 5), 3);
  ASSERT_OK(heed_sgd(&choices[6], grad, param, buffer));
  ASSERT_SAME_BITS(grad, same);
}

static void without_decay_an_infinite_parameter_stays(void **state) {
  heed_context *ctx = support_context(state);
  const float values[] = {INFINITY, 1}, ones[] = {1, 1};
  heed_tensor *param = support_put(ctx, HEED_F32, SHAPE(2), values);
  ASSERT_OK(heed_sgd(&choices[0], support_put(ctx, HEED_F32, SHAPE(2), ones), param, NULL));
  assert_true(isinf(support_get(param)[0]));
  ASSERT_CLOSE(support_get(param)[1], 0.9, 1e-7);
}

static void nothing_is_done_to_nothing(void **state) {
  heed_tensor *x = support_new(support_context(state), HEED_F32, SHAPE(0)), *y = support_like(x);
  ASSERT_OK(heed_sgd(&choices[0], x, y, NULL));
}

static void options_that_make_no_sense_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *g = support_random(ctx, HEED_F32, SHAPE(3), 1), *p = support_random(ctx, HEED_F32, SHAPE(3), 2),
              *b = support_random(ctx, HEED_F32, SHAPE(3), 3);
  const double bad[] = {-0.1, NAN, INFINITY};
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "options is NULL", heed_sgd(NULL, g, p, NULL));
  for (int i = 0; i < 3; ++i) {
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "lr is",
                   heed_sgd(&(heed_sgd_options){.lr = bad[i]}, g, p, NULL));
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "momentum is",
                   heed_sgd(&(heed_sgd_options){.momentum = bad[i]}, g, p, b));
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "weight_decay is",
                   heed_sgd(&(heed_sgd_options){.weight_decay = bad[i]}, g, p, NULL));
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "dampening is",
                   heed_sgd(&(heed_sgd_options){.momentum = 0.5, .dampening = bad[i]}, g, p, b));
  }
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "nesterov needs momentum > 0 (it is 0)",
                 heed_sgd(&(heed_sgd_options){.nesterov = true}, g, p, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "dampening 0 (it is 0.5)",
                 heed_sgd(&(heed_sgd_options){.nesterov = true, .momentum = 0.5, .dampening = 0.5}, g, p, b));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "must be given", heed_sgd(&choices[2], g, p, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "must be NULL", heed_sgd(&choices[0], g, p, b));
}

static void tensors_that_do_not_fit_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *g = support_random(ctx, HEED_F32, SHAPE(3), 1), *p = support_random(ctx, HEED_F32, SHAPE(3), 2),
              *b = support_random(ctx, HEED_F32, SHAPE(3), 3);
  heed_tensor *four = support_new(ctx, HEED_F32, SHAPE(4)), *half = support_new(ctx, HEED_F16, SHAPE(3));
  const heed_sgd_options *plain = &choices[0], *momentum = &choices[2];
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "grad is NULL", heed_sgd(plain, NULL, p, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "param is NULL", heed_sgd(plain, g, NULL, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "sgd", "grad is F32[3] but param is F32[4]", heed_sgd(plain, g, four, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "sgd", "momentum_buffer is F32[4]", heed_sgd(momentum, g, p, four));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "sgd", "param is F16[3]", heed_sgd(plain, g, half, NULL));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "sgd", "momentum_buffer is F16[3]", heed_sgd(momentum, g, p, half));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "sgd", "grad is I32[3]",
                 heed_sgd(plain, support_new(ctx, HEED_I32, SHAPE(3)), p, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "param overlaps grad", heed_sgd(plain, g, g, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "overlaps", heed_sgd(momentum, g, p, p));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "sgd", "momentum_buffer is on another context",
                 heed_sgd(momentum, g, p, support_new(support_other(), HEED_F32, SHAPE(3))));
  heed_tensor *square = support_random(ctx, HEED_F32, SHAPE(2, 2), 1),
              *wide = support_random(ctx, HEED_F32, SHAPE(2, 2), 2);
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "sgd", "param F32[2, 2] is not contiguous",
                 heed_sgd(plain, square, support_transposed(wide), NULL));
  ASSERT_SAME_BITS(b, support_random(ctx, HEED_F32, SHAPE(3), 3));
  ASSERT_SAME_BITS(p, support_random(ctx, HEED_F32, SHAPE(3), 2));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(steps_are_pytorchs),
      TEST(narrow_dtypes_differ_by_their_rounding),
      TEST(the_gradient_is_only_read),
      TEST(without_decay_an_infinite_parameter_stays),
      TEST(nothing_is_done_to_nothing),
      TEST(options_that_make_no_sense_are_refused),
      TEST(tensors_that_do_not_fit_are_refused),
  };
  return RUN_ON_BOTH("sgd", tests);
}
