// adamw: PyTorch's formula over several steps, alone and in the optimizer; clipping, decay, masters, and steps that are skipped.
#include <heed/nn.h>

#include "support_values.h"

enum { ROWS = 13, COLS = 31, COUNT = ROWS * COLS + COLS, STEPS = 5 };

// As torch.optim.AdamW writes it. The first ROWS · COLS elements are a matrix, the others a vector, which need not decay.
static void torch_step(const heed_adamw_options *o, bool matrices, int t, double factor, const float *grad,
                       double *param, double *m, double *v) {
  for (int i = 0; i < COUNT; ++i) {
    const double g = factor * (double)grad[i], decay = matrices && i >= ROWS * COLS ? 0 : o->weight_decay;
    param[i] *= 1 - o->lr * decay;
    m[i] = o->beta1 * m[i] + (1 - o->beta1) * g;
    v[i] = o->beta2 * v[i] + (1 - o->beta2) * g * g;
    param[i] -= o->lr / (1 - pow(o->beta1, t)) * m[i] / (sqrt(v[i]) / sqrt(1 - pow(o->beta2, t)) + o->eps);
  }
}

struct training {
  heed_tensor *values, *grads;  // of all, one after the other
  heed_parameter parameters[2];
  heed_optimizer *optimizer;
};

static const heed_optimizer_config usual = {
    .kind = HEED_OPTIMIZER_ADAMW,
    .adamw = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1},
    .decay_matrices = true,
    .max_norm = 3};

static struct training start(heed_context *ctx, heed_dtype dtype, const heed_optimizer_config *config) {
  struct training t = {support_random(ctx, dtype, SHAPE(COUNT), 1), support_new(ctx, dtype, SHAPE(COUNT)), {{0}}, NULL};
  heed_tensor *views[4];
  for (int i = 0; i < 4; ++i) {
    const bool matrix = i < 2;
    const int64_t dims[] = {matrix ? ROWS : COLS, COLS}, strides[] = {matrix ? COLS : 1, 1};
    ASSERT_OK(heed_tensor_view(i % 2 ? t.grads : t.values, matrix ? 2 : 1, dims, strides, matrix ? 0 : ROWS * COLS,
                               &views[i]));
    support_keep(views[i]);
  }
  t.parameters[0] = (heed_parameter){"weight", views[0], views[1]};
  t.parameters[1] = (heed_parameter){"bias", views[2], views[3]};
  ASSERT_OK(heed_optimizer_create(t.parameters, 2, config, &t.optimizer));
  return t;
}

static void put_grad(const struct training *t, float *grad, int step, double scale) {
  support_fill(grad, COUNT, 10 + (uint64_t)step);
  for (int i = 0; i < COUNT; ++i) grad[i] = (float)(grad[i] * scale);
  ASSERT_OK(heed_tensor_upload_f32(t->grads, grad, COUNT));
}

static double norm_of(const float *x) {
  double sum = 0;
  for (int i = 0; i < COUNT; ++i) sum += (double)x[i] * (double)x[i];
  return sqrt(sum);
}

static void assert_near(const float *actual, const double *expected, double tolerance) {
  const double error = support_relative(actual, expected, COUNT);
  if (!(error <= tolerance)) fail_msg("relative error %g", error);
}

static void steps_are_pytorchs(void **state) {
  heed_context *ctx = support_context(state);
  const struct training t = start(ctx, HEED_F32, &usual);
  double p[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
  for (int i = 0; i < COUNT; ++i) p[i] = (double)support_get(t.values)[i];
  heed_adamw_options options = usual.adamw;
  for (int step = 1; step <= STEPS; ++step) {
    float grad[COUNT];
    put_grad(&t, grad, step, step % 2 ? 1 : 0.01);  // clipped, and not
    options.lr = 0.01 * step;
    ASSERT_OK(heed_optimizer_set_learning_rate(t.optimizer, options.lr));
    ASSERT_OK(heed_optimizer_step(t.optimizer));
    const double norm = norm_of(grad), clip = fmin(1, usual.max_norm / (norm + 1e-6));
    torch_step(&options, true, step, clip, grad, p, m, v);
    ASSERT_CLOSE(support_get(heed_optimizer_norm(t.optimizer))[0], norm, 5e-6 * norm);
    // A step rounds each number some ten times.
    assert_near(support_get(t.values), p, step * 10 * 0x1p-24);
  }
  int32_t counts[4];
  ASSERT_OK(heed_tensor_download(heed_optimizer_counts(t.optimizer), counts, sizeof counts));
  assert_int_equal(counts[0], STEPS);
  assert_int_equal(counts[2], 0);
  for (size_t i = 0; i < 2; ++i) assert_non_null(heed_optimizer_state(t.optimizer, "exp_avg_sq", i));
  assert_null(heed_optimizer_state(t.optimizer, "master", 0));
  assert_null(heed_optimizer_state(t.optimizer, "momentum_buffer", 0));
  assert_null(heed_optimizer_loss_scale(t.optimizer));
  heed_optimizer_destroy(t.optimizer);
}

// A step with a NaN changes no bit, and the next one is the step that it would have been without it.
static void a_step_that_is_not_finite_is_skipped(void **state) {
  heed_context *ctx = support_context(state);
  const struct training t = start(ctx, HEED_F32, &usual), clean = start(ctx, HEED_F32, &usual);
  float grad[COUNT];
  for (int step = 1; step <= 4; ++step) {
    put_grad(&t, grad, step == 3 ? 2 : step, 1);
    if (step == 2 || step == 4) {
      grad[COUNT - 1] = step == 2 ? NAN : INFINITY;
      ASSERT_OK(heed_tensor_upload_f32(t.grads, grad, COUNT));
    } else {
      ASSERT_OK(heed_tensor_upload_f32(clean.grads, grad, COUNT));
      ASSERT_OK(heed_optimizer_step(clean.optimizer));
    }
    ASSERT_OK(heed_optimizer_step(t.optimizer));
    ASSERT_SAME_BITS(t.values, clean.values);
    for (size_t i = 0; i < 2; ++i)
      ASSERT_SAME_BITS(heed_optimizer_state(t.optimizer, "exp_avg", i),
                       heed_optimizer_state(clean.optimizer, "exp_avg", i));
  }
  int32_t counts[4];
  ASSERT_OK(heed_tensor_download(heed_optimizer_counts(t.optimizer), counts, sizeof counts));
  const int32_t expected[] = {2, 4, 2, 0};
  assert_memory_equal(counts, expected, sizeof counts);
  heed_optimizer_destroy(t.optimizer);
  heed_optimizer_destroy(clean.optimizer);
}

// Steps far below a BF16's last digit add up in the masters.
static void masters_keep_what_values_round_away(void **state) {
  heed_context *ctx = support_context(state);
  heed_optimizer_config config = usual;
  config.adamw.lr = 1e-4;
  config.max_norm = 0;
  const struct training t = start(ctx, HEED_BF16, &config);
  double p[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
  float value[COUNT], grad[COUNT];
  ASSERT_OK(heed_tensor_download_f32(t.values, value, COUNT));
  for (int i = 0; i < COUNT; ++i) p[i] = (double)value[i];
  for (int step = 1; step <= STEPS; ++step) {
    put_grad(&t, grad, 1, 1);
    ASSERT_OK(heed_tensor_download_f32(t.grads, grad, COUNT));  // rounded
    ASSERT_OK(heed_optimizer_step(t.optimizer));
    torch_step(&config.adamw, true, step, 1, grad, p, m, v);
  }
  float master[COUNT];
  ASSERT_OK(heed_tensor_download_f32(heed_optimizer_state(t.optimizer, "master", 0), master, ROWS * COLS));
  ASSERT_OK(heed_tensor_download_f32(heed_optimizer_state(t.optimizer, "master", 1), master + ROWS * COLS, COLS));
  assert_near(master, p, STEPS * 10 * 0x1p-24);
  ASSERT_OK(heed_tensor_download_f32(t.values, value, COUNT));
  assert_near(value, p, 0x1p-8);
  heed_optimizer_destroy(t.optimizer);
}

// Gradients of scale · loss step as those of the loss; the scale falls where they overflow, and rises after a run of finite steps.
static void the_loss_scale_does_not_show(void **state) {
  heed_context *ctx = support_context(state);
  heed_optimizer_config config = usual;
  config.loss_scale = 1024;
  config.loss_scaling = (heed_grad_control_options){.growth_interval = 2};
  const struct training scaled = start(ctx, HEED_F32, &config), plain = start(ctx, HEED_F32, &usual);
  const float expected[] = {1024, 2048, 1024, 1024, 2048};
  float grad[COUNT];
  for (int step = 0; step < 5; ++step) {
    const heed_tensor *scale = heed_optimizer_loss_scale(scaled.optimizer);
    put_grad(&plain, grad, step, 1);
    put_grad(&scaled, grad, step, support_get(scale)[0]);
    if (step == 2) {
      grad[0] = INFINITY;
      ASSERT_OK(heed_tensor_upload_f32(scaled.grads, grad, COUNT));
    } else {
      ASSERT_OK(heed_optimizer_step(plain.optimizer));
    }
    ASSERT_OK(heed_optimizer_step(scaled.optimizer));
    assert_true(support_get(scale)[0] == expected[step]);
    ASSERT_AGREE(scaled.values, plain.values, 1e-6);
  }
  heed_optimizer_destroy(scaled.optimizer);
  heed_optimizer_destroy(plain.optimizer);
}

// 1 − betaᵗ for steps of which F32's own power would have lost the digits.
static void late_steps_are_corrected_exactly(void **state) {
  heed_context *ctx = support_context(state);
  static const int32_t steps[] = {1, 2, 1000, 99999, 1000000};
  for (int i = 0; i < 5; ++i) {
    const heed_adamw_options options = {.lr = 1, .beta1 = 0.9999, .beta2 = 0.99999};
    heed_tensor *param = support_new(ctx, HEED_F32, SHAPE(1)), *m = support_like(param), *v = support_like(param);
    const heed_tensor *grad = support_put(ctx, HEED_F32, SHAPE(1), &(float){0});
    const heed_tensor *t = support_put(ctx, HEED_I32, SHAPE(1), &steps[i]);
    ASSERT_OK(heed_fill(param, 0));
    ASSERT_OK(heed_fill(m, 1));
    ASSERT_OK(heed_fill(v, 1));
    ASSERT_OK(heed_adamw(&options, &(heed_adamw_inputs){.grad = grad, .steps = t}, param, m, v, NULL));
    const double b1 = options.beta1, b2 = options.beta2;
    const double expected = -b1 / (1 - pow(b1, steps[i])) / sqrt(b2 / (1 - pow(b2, steps[i])));
    ASSERT_CLOSE(support_get(param)[0], expected, 1e-6 * fabs(expected));
  }
}

// Also where the step, computed in more digits, lies between: a master that a file brings back rounds to the copy there was.
static void a_copy_is_the_master_rounded(void **state) {
  heed_context *ctx = support_context(state);
  const heed_adamw_options options = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .step = 1};
  static const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  enum { MANY = 200000 };
  for (int i = 0; i < 2; ++i) {
    heed_tensor *param = support_random(ctx, HEED_F32, SHAPE(MANY), 1), *v = support_like(param);
    heed_tensor *m = support_random(ctx, HEED_F32, SHAPE(MANY), 3);
    const heed_adamw_inputs in = {.grad = support_random(ctx, HEED_F32, SHAPE(MANY), 2)};
    heed_tensor *copy = support_new(ctx, dtypes[i], SHAPE(MANY)), *rounded = support_new(ctx, dtypes[i], SHAPE(MANY));
    ASSERT_OK(heed_fill(v, 1));
    ASSERT_OK(heed_adamw(&options, &in, param, m, v, copy));
    ASSERT_OK(heed_copy(param, rounded));
    ASSERT_SAME_BITS(copy, rounded);
  }
}

// Steps 0 again: what the moments hold does not count.
static void a_new_first_step_reads_no_moments(void **state) {
  heed_context *ctx = support_context(state);
  const struct training t = start(ctx, HEED_F32, &usual), fresh = start(ctx, HEED_F32, &usual);
  float grad[COUNT];
  put_grad(&t, grad, 1, 1);
  ASSERT_OK(heed_optimizer_step(t.optimizer));
  ASSERT_OK(heed_copy(t.values, fresh.values));
  put_grad(&t, grad, 2, 1);
  put_grad(&fresh, grad, 2, 1);
  heed_optimizer_set_steps(t.optimizer, 0);
  ASSERT_OK(heed_optimizer_step(t.optimizer));
  ASSERT_OK(heed_optimizer_step(fresh.optimizer));
  ASSERT_SAME_BITS(t.values, fresh.values);
  heed_optimizer_destroy(t.optimizer);
  heed_optimizer_destroy(fresh.optimizer);
}

static void impossible_calls_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_adamw_options good = {.lr = 1, .beta1 = 0.9, .beta2 = 0.99, .step = 1};
  heed_tensor *p = support_random(ctx, HEED_F32, SHAPE(4), 1), *m = support_like(p), *v = support_like(p);
  const heed_adamw_inputs in = {.grad = support_random(ctx, HEED_F32, SHAPE(4), 2)};
  heed_adamw_options bad = good;
  bad.beta2 = 1;
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "adamw", "beta2", heed_adamw(&bad, &in, p, m, v, NULL));
  bad = good, bad.step = 0;
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "adamw", "step", heed_adamw(&bad, &in, p, m, v, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "adamw", "overlaps", heed_adamw(&good, &in, p, m, m, NULL));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "adamw", "copy", heed_adamw(&good, &in, p, m, v, support_like(p)));
  const heed_adamw_inputs ranges = {.grad = in.grad, .decaying = support_new(ctx, HEED_I64, SHAPE(2))};
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "adamw", "decaying", heed_adamw(&good, &ranges, p, m, v, NULL));
  heed_tensor *const twice[] = {p, p};
  heed_tensor *norm = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "clip_grad_norm", "overlap", heed_clip_grad_norm(twice, 2, 1, norm));
  heed_optimizer *none = NULL;
  heed_optimizer_config config = usual;
  config.max_norm = -1;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "max_norm", heed_optimizer_create(NULL, 0, &config, &none));
  config = usual, config.loss_scaling.backoff = 2;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "backoff", heed_optimizer_create(NULL, 0, &config, &none));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(steps_are_pytorchs),
      TEST(a_step_that_is_not_finite_is_skipped),
      TEST(masters_keep_what_values_round_away),
      TEST(the_loss_scale_does_not_show),
      TEST(late_steps_are_corrected_exactly),
      TEST(a_copy_is_the_master_rounded),
      TEST(a_new_first_step_reads_no_moments),
      TEST(impossible_calls_are_refused),
  };
  return RUN_ON_BOTH("adamw", tests);
}
