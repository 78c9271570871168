// cross_entropy: −log p of the class, ignored and wrong indices, smoothing, reductions, probabilities, and gradients.
#include "support_values.h"

enum { N = 19, C = 37 };

// Logarithms and sums of a row in F32: a dozen roundings of values below 8.
static const double tolerance = 16 * 8 * 0x1p-24;

static int class_of(int row) { return (row * 5 + 2) % C; }

static heed_tensor *classes(heed_context *ctx, heed_dtype dtype) {
  int64_t wide[N];
  int32_t narrow[N];
  uint8_t bytes[N];
  for (int r = 0; r < N; ++r) {
    wide[r] = narrow[r] = class_of(r);
    bytes[r] = (uint8_t)class_of(r);
  }
  const void *data = dtype == HEED_I64   ? (const void *)wide
                     : dtype == HEED_I32 ? (const void *)narrow
                                         : (const void *)bytes;
  return support_put(ctx, dtype, SHAPE(N), data);
}

static heed_tensor *logits(heed_context *ctx) { return support_random(ctx, HEED_F32, SHAPE(N, C), 3); }

static const float *loss_of(const heed_tensor *input, const heed_tensor *target,
                            const heed_cross_entropy_options *options) {
  const bool none = options && options->reduction == HEED_REDUCTION_NONE;
  const int64_t count = none ? heed_tensor_dim(input, 0) : 1;
  heed_tensor *loss = support_new(heed_tensor_context(input), HEED_F32, 1, &count);
  ASSERT_OK(heed_cross_entropy_fwd(input, target, options, loss));
  return support_get(loss);
}

static const float *gradient_of(const heed_tensor *input, const heed_tensor *target,
                                const heed_cross_entropy_options *options, const heed_tensor *dloss) {
  heed_tensor *dinput = support_like(input);
  ASSERT_OK(heed_cross_entropy_bwd(input, target, options, dloss, dinput));
  return support_get(dinput);
}

static const float *log_softmax_of(const heed_tensor *input) {
  heed_tensor *y = support_like(input);
  ASSERT_OK(heed_log_softmax_fwd(input, 1, y));
  return support_get(y);
}

static const heed_cross_entropy_options none = {.reduction = HEED_REDUCTION_NONE};

static void the_loss_is_minus_log_p_of_the_class(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx);
  const float *log_p = log_softmax_of(x), *loss = loss_of(x, classes(ctx, HEED_I64), &none);
  for (int r = 0; r < N; ++r) ASSERT_CLOSE(loss[r], -(double)log_p[r * C + class_of(r)], tolerance);
}

static void widths_of_every_kind_are_right(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w) {
    const int64_t width = widths[w];
    const int32_t targets[3] = {0, (int32_t)(width - 1), (int32_t)(width / 2)};
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(3, width), w),
                      *target = support_put(ctx, HEED_I32, SHAPE(3), targets);
    const float *log_p = log_softmax_of(x), *loss = loss_of(x, target, &none),
                *grad = gradient_of(x, target, &none, NULL);
    for (int r = 0; r < 3; ++r) {
      ASSERT_CLOSE(loss[r], -(double)log_p[r * width + targets[r]], tolerance);
      for (int64_t i = 0; i < width; ++i)
        ASSERT_CLOSE(grad[r * width + i], exp((double)log_p[r * width + i]) - (i == targets[r]), tolerance);
    }
  }
}

static void the_dtype_of_an_index_changes_no_bit(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx);
  const float *loss = loss_of(x, classes(ctx, HEED_I64), &none),
              *grad = gradient_of(x, classes(ctx, HEED_I64), NULL, NULL);
  assert_memory_equal(loss_of(x, classes(ctx, HEED_I32), &none), loss, N * sizeof *loss);
  assert_memory_equal(loss_of(x, classes(ctx, HEED_U8), &none), loss, N * sizeof *loss);
  assert_memory_equal(gradient_of(x, classes(ctx, HEED_I32), NULL, NULL), grad, N * C * sizeof *grad);
  assert_memory_equal(gradient_of(x, classes(ctx, HEED_U8), NULL, NULL), grad, N * C * sizeof *grad);
}

static void sum_and_mean_are_those_of_the_rows(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *target = classes(ctx, HEED_I64);
  const float *rows = loss_of(x, target, &none);
  double sum = 0;
  for (int r = 0; r < N; ++r) sum += (double)rows[r];
  ASSERT_CLOSE(loss_of(x, target, &(heed_cross_entropy_options){.reduction = HEED_REDUCTION_SUM})[0], sum,
               8 * 0x1p-24 * sum);
  ASSERT_CLOSE(loss_of(x, target, NULL)[0], sum / N, 8 * 0x1p-24 * sum / N);
}

static void ignored_rows_add_nothing(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx);
  int64_t targets[N];
  for (int r = 0; r < N; ++r) targets[r] = r % 4 == 1 ? -100 : class_of(r);
  const heed_tensor *target = support_put(ctx, HEED_I64, SHAPE(N), targets);
  const float *plain = loss_of(x, classes(ctx, HEED_I64), &none);
  heed_cross_entropy_options options = {
      .reduction = HEED_REDUCTION_NONE, .has_ignore_index = true, .ignore_index = -100};
  const float *rows = loss_of(x, target, &options);
  double sum = 0;
  int counted = 0;
  for (int r = 0; r < N; ++r) {
    ASSERT_CLOSE(rows[r], r % 4 == 1 ? 0 : plain[r], 0);
    sum += (double)rows[r];
    counted += r % 4 != 1;
  }
  options.reduction = HEED_REDUCTION_MEAN;
  ASSERT_CLOSE(loss_of(x, target, &options)[0], sum / counted, 8 * 0x1p-24 * sum / counted);
  const float *grad = gradient_of(x, target, &options, NULL), *log_p = log_softmax_of(x);
  for (int i = 0; i < N * C; ++i) {
    const int r = i / C;
    const double full = exp((double)log_p[i]) - (i % C == class_of(r));
    ASSERT_CLOSE(grad[i], r % 4 == 1 ? 0 : full / counted, r % 4 == 1 ? 0 : tolerance / counted);
  }
}

static void an_index_that_is_a_class_may_be_ignored(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *target = classes(ctx, HEED_U8);
  const heed_cross_entropy_options options = {
      .reduction = HEED_REDUCTION_NONE, .has_ignore_index = true, .ignore_index = class_of(3)};
  const float *rows = loss_of(x, target, &options), *plain = loss_of(x, target, &none);
  for (int r = 0; r < N; ++r) ASSERT_CLOSE(rows[r], class_of(r) == class_of(3) ? 0 : plain[r], 0);
}

static void a_mean_over_no_row_is_nan(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx);
  int64_t targets[N];
  for (int r = 0; r < N; ++r) targets[r] = -1;
  const heed_tensor *target = support_put(ctx, HEED_I64, SHAPE(N), targets);
  heed_cross_entropy_options options = {.has_ignore_index = true, .ignore_index = -1};
  assert_true(isnan(loss_of(x, target, &options)[0]));
  const float *grad = gradient_of(x, target, &options, NULL);
  for (int i = 0; i < N * C; ++i) ASSERT_CLOSE(grad[i], 0, 0);
  options.reduction = HEED_REDUCTION_SUM;
  ASSERT_CLOSE(loss_of(x, target, &options)[0], 0, 0);
  // The same without any row at all.
  const heed_tensor *empty = support_new(ctx, HEED_F32, SHAPE(0, C)), *no_target = support_new(ctx, HEED_I64, SHAPE(0));
  assert_true(isnan(loss_of(empty, no_target, NULL)[0]));
  ASSERT_CLOSE(loss_of(empty, no_target, &(heed_cross_entropy_options){.reduction = HEED_REDUCTION_SUM})[0], 0, 0);
  loss_of(empty, no_target, &none);
  gradient_of(empty, no_target, NULL, NULL);
}

static void a_wrong_index_spoils_its_row_alone(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx);
  int64_t targets[N];
  for (int r = 0; r < N; ++r) targets[r] = class_of(r);
  targets[2] = -1;
  targets[5] = C;
  targets[7] = INT64_MAX;
  targets[8] = INT64_MIN;
  targets[9] = INT64_C(1) << 32;
  const heed_tensor *target = support_put(ctx, HEED_I64, SHAPE(N), targets);
  const float *rows = loss_of(x, target, &none), *plain = loss_of(x, classes(ctx, HEED_I64), &none);
  const float *grad = gradient_of(x, target, &none, NULL),
              *plain_grad = gradient_of(x, classes(ctx, HEED_I64), &none, NULL);
  for (int r = 0; r < N; ++r) {
    const bool wrong = r == 2 || r == 5 || (r >= 7 && r <= 9);
    if (wrong)
      assert_true(isnan(rows[r]));
    else
      ASSERT_CLOSE(rows[r], plain[r], 0);
    for (int i = 0; i < C; ++i)
      if (wrong)
        assert_true(isnan(grad[r * C + i]));
      else
        ASSERT_CLOSE(grad[r * C + i], plain_grad[r * C + i], 0);
  }
  assert_true(isnan(loss_of(x, target, NULL)[0]));
}

static void smoothing_mixes_the_class_with_all_classes(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *target = classes(ctx, HEED_I64);
  heed_cross_entropy_options options = none;
  const float *log_p = log_softmax_of(x), *hard = loss_of(x, target, &none);
  options.label_smoothing = 1;
  const float *soft = loss_of(x, target, &options);
  options.label_smoothing = 0.3;
  const float *mixed = loss_of(x, target, &options), *grad = gradient_of(x, target, &options, NULL);
  for (int r = 0; r < N; ++r) {
    double mean = 0;
    for (int i = 0; i < C; ++i) mean -= (double)log_p[r * C + i] / C;
    ASSERT_CLOSE(soft[r], mean, tolerance);
    ASSERT_CLOSE(mixed[r], 0.7 * (double)hard[r] + 0.3 * mean, tolerance);
    for (int i = 0; i < C; ++i)
      ASSERT_CLOSE(grad[r * C + i], exp((double)log_p[r * C + i]) - 0.7 * (i == class_of(r)) - 0.3 / C, tolerance);
  }
}

static heed_tensor *one_hot(heed_context *ctx) {
  float t[N * C] = {0};
  for (int r = 0; r < N; ++r) t[r * C + class_of(r)] = 1;
  return support_put(ctx, HEED_F32, SHAPE(N, C), t);
}

static void a_class_is_a_one_hot_row_of_probabilities(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *hot = one_hot(ctx), *target = classes(ctx, HEED_I64);
  for (int smooth = 0; smooth < 2; ++smooth) {
    const heed_cross_entropy_options options = {.reduction = HEED_REDUCTION_NONE, .label_smoothing = smooth * 0.25};
    const float *a = loss_of(x, hot, &options), *b = loss_of(x, target, &options);
    const float *da = gradient_of(x, hot, &options, NULL), *db = gradient_of(x, target, &options, NULL);
    for (int r = 0; r < N; ++r) ASSERT_CLOSE(a[r], b[r], tolerance);
    for (int i = 0; i < N * C; ++i) ASSERT_CLOSE(da[i], db[i], tolerance);
  }
}

static void gradients_of_a_row_of_logits_sum_to_0(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *weights = support_random(ctx, HEED_F32, SHAPE(N, C), 8);
  const float *by_class = gradient_of(x, classes(ctx, HEED_I64), &none, NULL),
              *by_weight = gradient_of(x, weights, &none, NULL);
  for (int r = 0; r < N; ++r) {
    double sums[2] = {0, 0}, size = 2;
    for (int i = 0; i < C; ++i) {
      sums[0] += (double)by_class[r * C + i];
      sums[1] += (double)by_weight[r * C + i];
      size += fabs((double)by_weight[r * C + i]);
    }
    ASSERT_CLOSE(sums[0], 0, 16 * 0x1p-24 * 2);
    ASSERT_CLOSE(sums[1], 0, 16 * 0x1p-24 * size);
  }
}

static void dloss_scales_the_gradient(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *target = classes(ctx, HEED_I64),
                    *factors = support_random(ctx, HEED_F32, SHAPE(N), 9);
  const float two = 2, *f = support_get(factors);
  const float *rows = gradient_of(x, target, &none, factors), *plain = gradient_of(x, target, &none, NULL);
  const float *mean = gradient_of(x, target, NULL, NULL),
              *twice = gradient_of(x, target, NULL, support_put(ctx, HEED_F32, SHAPE(1), &two));
  for (int i = 0; i < N * C; ++i) {
    ASSERT_CLOSE(rows[i], (double)plain[i] * (double)f[i / C], 4 * 0x1p-24 * fabs((double)plain[i]));
    ASSERT_CLOSE(twice[i], 2 * (double)mean[i], 0);
    ASSERT_CLOSE(mean[i], (double)plain[i] / N, 4 * 0x1p-24 * fabs((double)plain[i]) / N);
  }
}

static void probabilities_need_no_softmax(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *target = one_hot(ctx);
  heed_tensor *p = support_like(x);
  ASSERT_OK(heed_softmax_fwd(x, 1, p));
  const heed_cross_entropy_options options = {.reduction = HEED_REDUCTION_NONE, .from_probs = true};
  const float *from_probs = loss_of(p, target, &options), *from_logits = loss_of(x, target, &none);
  const float *grad = gradient_of(p, target, &options, NULL), *values = support_get(p);
  for (int r = 0; r < N; ++r) ASSERT_CLOSE(from_probs[r], from_logits[r], tolerance);
  for (int i = 0; i < N * C; ++i) {
    const bool is_class = i % C == class_of(i / C);
    ASSERT_CLOSE(grad[i], is_class ? -1 / (double)values[i] : 0, is_class ? 4 * 0x1p-24 / (double)values[i] : 0);
  }
}

static void zero_times_log_zero_is_zero(void **state) {
  heed_context *ctx = support_context(state);
  const float p[] = {0, 1, 0, 0.5f, 0.5f, 0}, t[] = {0, 1, 0, 0, 0.5f, 0.5f};
  const heed_tensor *probs = support_put(ctx, HEED_F32, SHAPE(2, 3), p),
                    *target = support_put(ctx, HEED_F32, SHAPE(2, 3), t);
  const heed_cross_entropy_options options = {.reduction = HEED_REDUCTION_NONE, .from_probs = true};
  const float *loss = loss_of(probs, target, &options), *grad = gradient_of(probs, target, &options, NULL);
  ASSERT_CLOSE(loss[0], 0, 0);
  ASSERT_CLOSE(loss[1], INFINITY, 0);
  ASSERT_CLOSE(grad[0], 0, 0);
  ASSERT_CLOSE(grad[1], -1, 0);
  ASSERT_CLOSE(grad[3], 0, 0);
  // A class whose logit is −inf costs nothing unless it is the right one.
  const float x[] = {-INFINITY, 1, 1, -INFINITY, 1, 1};
  const int32_t right[] = {1, 0};
  const float *rows =
      loss_of(support_put(ctx, HEED_F32, SHAPE(2, 3), x), support_put(ctx, HEED_I32, SHAPE(2), right), &none);
  ASSERT_CLOSE(rows[0], log(2), tolerance);
  ASSERT_CLOSE(rows[1], INFINITY, 0);
}

static void large_logits_do_not_overflow(void **state) {
  heed_context *ctx = support_context(state);
  const float x[] = {88, -88, 88, 3e38f, 1, -3e38f};
  const int32_t targets[] = {1, 0};
  const heed_tensor *input = support_put(ctx, HEED_F32, SHAPE(2, 3), x),
                    *target = support_put(ctx, HEED_I32, SHAPE(2), targets);
  const float *loss = loss_of(input, target, &none), *grad = gradient_of(input, target, &none, NULL);
  ASSERT_CLOSE(loss[0], 176 + log(2), 176 * 0x1p-22);
  ASSERT_CLOSE(loss[1], 0, 0);
  ASSERT_CLOSE(grad[0], 0.5, 1e-6);
  ASSERT_CLOSE(grad[1], -1, 1e-6);
  for (int i = 3; i < 6; ++i) ASSERT_CLOSE(grad[i], 0, 0);
}

// The loss is F32; only the input's rounding could differ, and the gradient's storage does.
static void narrow_dtypes_differ_by_their_rounding(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F16, HEED_BF16};
  const double tolerances[] = {0x1p-11, 0x1p-8};
  const heed_tensor *target = classes(ctx, HEED_I64);
  for (int d = 0; d < 2; ++d) {
    const heed_tensor *narrow = support_random(ctx, dtypes[d], SHAPE(N, C), 3);
    heed_tensor *wide = support_new(ctx, HEED_F32, SHAPE(N, C)), *dn = support_like(narrow), *dw = support_like(wide);
    ASSERT_OK(heed_copy(narrow, wide));
    const float *a = loss_of(narrow, target, &none), *b = loss_of(wide, target, &none);
    for (int r = 0; r < N; ++r) ASSERT_CLOSE(a[r], b[r], tolerance);
    ASSERT_OK(heed_cross_entropy_bwd(narrow, target, &none, NULL, dn));
    ASSERT_OK(heed_cross_entropy_bwd(wide, target, &none, NULL, dw));
    ASSERT_AGREE(dn, dw, tolerances[d]);
  }
}

static void assert_both_at_once(const heed_tensor *x, const heed_tensor *target,
                                const heed_cross_entropy_options *options) {
  const bool per_row = options && options->reduction == HEED_REDUCTION_NONE;
  const int64_t count = per_row ? heed_tensor_dim(x, 0) : 1;
  heed_context *ctx = heed_tensor_context(x);
  heed_tensor *loss = support_new(ctx, HEED_F32, 1, &count), *dinput = support_like(x);
  heed_tensor *loss_both = support_like(loss), *dinput_both = support_like(x);
  ASSERT_OK(heed_cross_entropy_fwd(x, target, options, loss));
  ASSERT_OK(heed_cross_entropy_bwd(x, target, options, NULL, dinput));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, options, NULL, loss_both, dinput_both));
  ASSERT_SAME_BITS(loss_both, loss);
  ASSERT_SAME_BITS(dinput_both, dinput);
}

static void both_at_once_give_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  const heed_cross_entropy_options options[] = {
      {0},
      {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.2},
      {.reduction = HEED_REDUCTION_NONE},
      {.has_ignore_index = true, .ignore_index = class_of(3)},
  };
  for (size_t o = 0; o < sizeof options / sizeof *options; ++o) {
    assert_both_at_once(logits(ctx), classes(ctx, HEED_I64), &options[o]);
    if (!options[o].has_ignore_index) assert_both_at_once(logits(ctx), one_hot(ctx), &options[o]);
  }
  static const int64_t shapes[][2] = {{1, 1}, {3, 10}, {64, 10}, {5, 4099}, {3001, 3}, {0, 7}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s) {
    uint8_t *targets = support_memory((size_t)shapes[s][0]);
    for (int64_t r = 0; r < shapes[s][0]; ++r) targets[r] = (uint8_t)(r % 7 == 3 ? 250 : r % shapes[s][1] % 200);
    assert_both_at_once(support_random(ctx, HEED_F32, 2, shapes[s], s),
                        support_put(ctx, HEED_U8, 1, shapes[s], targets), NULL);
  }
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd_bwd", "dinput is NULL",
                 heed_cross_entropy_fwd_bwd(logits(ctx), classes(ctx, HEED_I64), NULL, NULL,
                                            support_new(ctx, HEED_F32, SHAPE(1)), NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd_bwd", "loss is NULL",
                 heed_cross_entropy_fwd_bwd(logits(ctx), classes(ctx, HEED_I64), NULL, NULL, NULL, logits(ctx)));
}

// ---------------------------------------------------------------- refusals

#define FWD(x, t, loss, ...) heed_cross_entropy_fwd((x), (t), &(heed_cross_entropy_options){__VA_ARGS__}, (loss))

static void options_that_make_no_sense_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = logits(ctx), *t = classes(ctx, HEED_I64), *hot = one_hot(ctx);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "reduction 5",
                 FWD(x, t, loss, .reduction = (heed_reduction)5));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "label smoothing -0.1",
                 FWD(x, t, loss, .label_smoothing = -0.1));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "label smoothing 1.1",
                 FWD(x, t, loss, .label_smoothing = 1.1));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "label smoothing",
                 FWD(x, t, loss, .label_smoothing = NAN));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "not for probabilities",
                 FWD(x, hot, loss, .from_probs = true, .label_smoothing = 0.1));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "ignore_index needs class indices",
                 FWD(x, hot, loss, .has_ignore_index = true));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_fwd", "from_probs needs a floating-point target, not I64[19]",
                 FWD(x, t, loss, .from_probs = true));
}

static void forward_refuses(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = logits(ctx), *t = classes(ctx, HEED_I64), *loss = support_new(ctx, HEED_F32, SHAPE(1)),
              *rows = support_new(ctx, HEED_F32, SHAPE(N));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "input is NULL",
                 heed_cross_entropy_fwd(NULL, t, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "target is NULL",
                 heed_cross_entropy_fwd(x, NULL, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "loss is NULL",
                 heed_cross_entropy_fwd(x, t, NULL, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "input F32[703] is not [N, C]",
                 heed_cross_entropy_fwd(support_new(ctx, HEED_F32, SHAPE(N * C)), t, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "input F32[19, 0]",
                 heed_cross_entropy_fwd(support_new(ctx, HEED_F32, SHAPE(N, 0)), t, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "target I64[7] does not fit input F32[19, 37]",
                 heed_cross_entropy_fwd(x, support_new(ctx, HEED_I64, SHAPE(7)), NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "target I64[19, 1]",
                 heed_cross_entropy_fwd(x, support_new(ctx, HEED_I64, SHAPE(N, 1)), NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "target is F32[19]",
                 heed_cross_entropy_fwd(x, rows, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "loss F32[19] must be [1]",
                 heed_cross_entropy_fwd(x, t, NULL, rows));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "loss F32[1] must be [19]",
                 heed_cross_entropy_fwd(x, t, &none, loss));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_fwd", "target is BOOL[19]",
                 heed_cross_entropy_fwd(x, support_new(ctx, HEED_BOOL, SHAPE(N)), NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_fwd", "target is F16[19, 37] but input is F32[19, 37]",
                 heed_cross_entropy_fwd(x, support_new(ctx, HEED_F16, SHAPE(N, C)), NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_fwd", "loss is F16[1]; F32 is needed",
                 heed_cross_entropy_fwd(x, t, NULL, support_new(ctx, HEED_F16, SHAPE(1))));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_fwd", "input is I32[19, 37]",
                 heed_cross_entropy_fwd(support_new(ctx, HEED_I32, SHAPE(N, C)), t, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "not contiguous",
                 heed_cross_entropy_fwd(support_transposed(x), t, NULL, loss));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "loss is on another context",
                 heed_cross_entropy_fwd(x, t, NULL, support_new(support_other(), HEED_F32, SHAPE(1))));
}

static void backward_refuses(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = logits(ctx), *t = classes(ctx, HEED_I64), *dx = support_like(x);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_bwd", "dinput is NULL",
                 heed_cross_entropy_bwd(x, t, NULL, NULL, NULL));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_bwd", "dinput is F32[37, 19]",
                 heed_cross_entropy_bwd(x, t, NULL, NULL, support_new(ctx, HEED_F32, SHAPE(C, N))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_bwd", "loss F32[19] must be [1]",
                 heed_cross_entropy_bwd(x, t, NULL, support_new(ctx, HEED_F32, SHAPE(N)), dx));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_bwd", "dloss is F16[1]",
                 heed_cross_entropy_bwd(x, t, NULL, support_new(ctx, HEED_F16, SHAPE(1)), dx));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_bwd", "dinput is F16[19, 37]",
                 heed_cross_entropy_bwd(x, t, NULL, NULL, support_new(ctx, HEED_F16, SHAPE(N, C))));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_bwd", "dinput overlaps input",
                 heed_cross_entropy_bwd(x, t, NULL, NULL, x));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_bwd", "label smoothing 2",
                 heed_cross_entropy_bwd(x, t, &(heed_cross_entropy_options){.label_smoothing = 2}, NULL, dx));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_loss_is_minus_log_p_of_the_class),
      TEST(widths_of_every_kind_are_right),
      TEST(the_dtype_of_an_index_changes_no_bit),
      TEST(sum_and_mean_are_those_of_the_rows),
      TEST(ignored_rows_add_nothing),
      TEST(an_index_that_is_a_class_may_be_ignored),
      TEST(a_mean_over_no_row_is_nan),
      TEST(a_wrong_index_spoils_its_row_alone),
      TEST(smoothing_mixes_the_class_with_all_classes),
      TEST(a_class_is_a_one_hot_row_of_probabilities),
      TEST(gradients_of_a_row_of_logits_sum_to_0),
      TEST(dloss_scales_the_gradient),
      TEST(probabilities_need_no_softmax),
      TEST(zero_times_log_zero_is_zero),
      TEST(large_logits_do_not_overflow),
      TEST(narrow_dtypes_differ_by_their_rounding),
      TEST(both_at_once_give_the_same_bits),
      TEST(options_that_make_no_sense_are_refused),
      TEST(forward_refuses),
      TEST(backward_refuses),
  };
  return RUN_ON_BOTH("cross_entropy", tests);
}
