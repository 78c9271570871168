// cross_entropy as PyTorch has it: weights of the classes, the ignored class, the axis of classes; and chunks of rows, in place.
#include "support_values.h"

enum { N = 6, C = 5 };

// What torch.nn.functional.cross_entropy of PyTorch 2 gives in float64 for these logits, with these weights of the classes.
static const float logits[N * C] = {
    0.78125f,   1.71875f, -1.21875f,  -1.40625f,  1.59375f, -0.515625f, -1.859375f, 0.984375f, 1.59375f, -1.40625f,
    0.234375f,  1.9375f,  -0.734375f, -1.75f,     1.1875f,  0.046875f,  -1.984375f, 0.46875f,  1.875f,   -0.9375f,
    -0.328125f, 2.0f,     -0.1875f,   -1.953125f, 0.6875f,  0.609375f,  -1.96875f,  -0.09375f, 2.0f,     -0.421875f};
static const float probabilities[N * C] = {0.0625f, 0.25f,   0.125f,  0.3125f, 0.1875f, 0.1875f, 0.0625f, 0.25f,
                                           0.125f,  0.3125f, 0.3125f, 0.1875f, 0.0625f, 0.25f,   0.125f,  0.125f,
                                           0.3125f, 0.1875f, 0.0625f, 0.25f,   0.25f,   0.125f,  0.3125f, 0.1875f,
                                           0.0625f, 0.0625f, 0.25f,   0.125f,  0.3125f, 0.1875f};
static const int64_t labels[N] = {1, 3, -100, 0, 2, 4};
static const float class_weights[C] = {0.5f, 2, 0.25f, 1, 1.5f};

struct expected {
  const char *name;
  bool probabilities;
  double label_smoothing, mean, sum, losses[N], gradient[N * C];  // the gradient is that of the mean
};
static const struct expected expected[] = {
    {"classes",
     false,
     0.0,
     1.574328701,
     8.265225681,
     {1.726655264, 0.5575782781, 0.0, 1.112412908, 0.6479104268, 4.220668804},
     {0.06291890978,
      -0.2202833162,
      0.008515148475,
      0.007059306032,
      0.141789952,
      0.01323115035,
      0.003451551791,
      0.0592979019,
      -0.0814106572,
      0.005430053162,
      0.0,
      0.0,
      0.0,
      0.0,
      0.0,
      -0.08494416725,
      0.001350269505,
      0.01569636577,
      0.06405097212,
      0.003846559859,
      0.003098648764,
      0.03178807228,
      -0.04405252475,
      0.000610160119,
      0.008555643588,
      0.0480606189,
      0.003648580208,
      0.02379173158,
      0.1930768136,
      -0.2685777443}},
    {"classes, smoothed",
     false,
     0.125,
     1.684564197,
     8.843962036,
     {1.737025733, 0.8763951736, 0.0, 1.355506402, 0.8107855351, 4.064249193},
     {0.05680214713,
      -0.1917278039,
      0.006819085344,
      0.001878254974,
      0.1262283164,
      0.01093289266,
      -0.006050685535,
      0.0584780376,
      -0.06168137857,
      -0.001678866149,
      0.0,
      0.0,
      0.0,
      0.0,
      0.0,
      -0.07400494263,
      -0.007987877962,
      0.01666413987,
      0.06809607602,
      -0.002767395303,
      0.001957155889,
      0.03497949167,
      -0.03786401085,
      -0.003907680595,
      0.00483504388,
      0.04387739331,
      -0.006012051074,
      0.02170906546,
      0.1810745284,
      -0.240648936}},
    {"probabilities",
     true,
     0.0,
     2.595914314,
     15.57548588,
     {2.131035075, 2.561611462, 1.920466184, 4.111856425, 1.622963441, 3.227553297},
     {0.02661978704,  -0.002057380674, -0.0009008656475, -0.0485123172,  0.02485077648,   -0.005494900515,
      -0.01819073899, 0.03498328948,   0.06266996558,    -0.07396761555, -0.008955216297, 0.03132306989,
      0.003881118392, -0.03931785207,  0.01306888009,    0.01069392784,  -0.1013975593,   0.02437731261,
      0.120937866,    -0.05461154716,  -0.01286883768,   0.04003861287,  -0.00385375503,  -0.02968169782,
      0.00636567766,  0.02720755285,   -0.080872442,     0.01083869396,  0.07814295502,   -0.03531675983}},
    {"probabilities, smoothed",
     true,
     0.125,
     2.578681301,
     15.47208781,
     {2.090858067, 2.62992421, 1.912056007, 3.980019479, 1.663956923, 3.195273124},
     {0.0248219021,   -0.0009076224727, -0.001340968317, -0.04620958562, 0.02363627431,   -0.005371856361,
      -0.0238538408,  0.03637870505,    0.06319504805,   -0.07034805594, -0.00764095421,  0.03158409547,
      0.003219016601, -0.03825661195,   0.01109445409,   0.009638240113, -0.09674605768,  0.02389374088,
      0.1163656737,   -0.05315159705,   -0.01192012453,  0.04130309863,  -0.002775330877, -0.02985785995,
      0.003250216725, 0.02540291654,    -0.07881737566,  0.010263745,    0.07899086252,   -0.0358401484}},
};

// A dozen roundings of values below 8.
static const double tolerance = 16 * 8 * 0x1p-24;

static const int64_t plain_dims[] = {N, C}, last_dims[] = {2, 3, C}, second_dims[] = {2, C, 3};

// Values [N, C] as [2, 3, C], the classes last, or as [2, C, 3].
static heed_tensor *arranged(heed_context *ctx, const float *values, heed_class_axis axis) {
  float moved[N * C];
  for (int n = 0; n < N; ++n)
    for (int c = 0; c < C; ++c) moved[n / 3 * 3 * C + c * 3 + n % 3] = values[n * C + c];
  const bool is_last = axis == HEED_CLASS_AXIS_LAST;
  return support_put_f32(ctx, HEED_F32, axis ? 3 : 2,
                         !axis     ? plain_dims
                         : is_last ? last_dims
                                   : second_dims,
                         axis == HEED_CLASS_AXIS_1 ? moved : values);
}

static float value_at(const float *values, int n, int c, heed_class_axis axis) {
  return axis == HEED_CLASS_AXIS_1 ? values[n / 3 * 3 * C + c * 3 + n % 3] : values[n * C + c];
}

static heed_tensor *target_of(heed_context *ctx, const struct expected *e, heed_class_axis axis) {
  if (e->probabilities) return arranged(ctx, probabilities, axis);
  return axis ? support_put(ctx, HEED_I64, SHAPE(2, 3), labels) : support_put(ctx, HEED_I64, SHAPE(N), labels);
}

static void assert_as_expected(heed_context *ctx, const struct expected *e, heed_class_axis axis) {
  const heed_tensor *x = arranged(ctx, logits, axis), *target = target_of(ctx, e, axis);
  heed_cross_entropy_options options = {.label_smoothing = e->label_smoothing,
                                        .weight = support_put(ctx, HEED_F32, SHAPE(C), class_weights),
                                        .class_axis = e->probabilities ? axis : HEED_CLASS_AXIS_AUTO};
  heed_tensor *one = support_new(ctx, HEED_F32, SHAPE(1)), *dx = support_like(x), *both = support_like(x),
              *rows = axis ? support_new(ctx, HEED_F32, SHAPE(2, 3)) : support_new(ctx, HEED_F32, SHAPE(N));
  ASSERT_OK(heed_cross_entropy_fwd(x, target, &options, one));
  ASSERT_CLOSE(support_get(one)[0], e->mean, tolerance);
  ASSERT_OK(heed_cross_entropy_bwd(x, target, &options, NULL, dx));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, &options, NULL, one, both));
  ASSERT_CLOSE(support_get(one)[0], e->mean, tolerance);
  ASSERT_SAME_BITS(dx, both);
  const float *gradient = support_get(dx);
  for (int i = 0; i < N * C; ++i) ASSERT_CLOSE(value_at(gradient, i / C, i % C, axis), e->gradient[i], tolerance);
  options.reduction = HEED_REDUCTION_SUM;
  ASSERT_OK(heed_cross_entropy_fwd(x, target, &options, one));
  ASSERT_CLOSE(support_get(one)[0], e->sum, N * tolerance);
  options.reduction = HEED_REDUCTION_NONE;
  ASSERT_OK(heed_cross_entropy_fwd(x, target, &options, rows));
  for (int n = 0; n < N; ++n) ASSERT_CLOSE(support_get(rows)[n], e->losses[n], tolerance);
}

static void weights_are_those_of_pytorch(void **state) {
  heed_context *ctx = support_context(state);
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i)
    assert_as_expected(ctx, &expected[i], HEED_CLASS_AXIS_AUTO);
}

static void the_classes_may_be_the_last_axis_or_axis_1(void **state) {
  heed_context *ctx = support_context(state);
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i) {
    assert_as_expected(ctx, &expected[i], HEED_CLASS_AXIS_LAST);
    assert_as_expected(ctx, &expected[i], HEED_CLASS_AXIS_1);
  }
}

// ---------------------------------------------------------------- what is ignored

static const heed_cross_entropy_options none = {.reduction = HEED_REDUCTION_NONE};

static const float *losses_of(const heed_tensor *x, const heed_tensor *target,
                              const heed_cross_entropy_options *options) {
  heed_tensor *loss = support_new(heed_tensor_context(x), HEED_F32, SHAPE(heed_tensor_dim(x, 0)));
  ASSERT_OK(heed_cross_entropy_fwd(x, target, options, loss));
  return support_get(loss);
}

static void class_minus_100_is_ignored_unless_another_is(void **state) {
  heed_context *ctx = support_context(state);
  const int32_t targets[] = {1, -100, 3};
  const int64_t widths[] = {5, 100};  // both kernels
  for (int w = 0; w < 2; ++w) {
    const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(3, widths[w]), 1),
                      *target = support_put(ctx, HEED_I32, SHAPE(3), targets);
    const float *rows = losses_of(x, target, &none);
    ASSERT_CLOSE(rows[1], 0, 0);
    heed_tensor *mean = support_new(ctx, HEED_F32, SHAPE(1));
    ASSERT_OK(heed_cross_entropy_fwd(x, target, NULL, mean));
    ASSERT_CLOSE(support_get(mean)[0], ((double)rows[0] + (double)rows[2]) / 2, tolerance);
    heed_cross_entropy_options options = none;
    options.has_ignore_index = true;
    options.ignore_index = 3;
    rows = losses_of(x, target, &options);
    assert_true(rows[0] > 0 && isnan(rows[1]));
    ASSERT_CLOSE(rows[2], 0, 0);
    options.ignore_index = HEED_IGNORE_NOTHING;
    rows = losses_of(x, target, &options);
    assert_true(rows[0] > 0 && isnan(rows[1]) && rows[2] > 0);
  }
}

static void what_counts_nothing_has_no_mean(void **state) {
  heed_context *ctx = support_context(state);
  const float zeros[C] = {0}, zero_of_3[C] = {1, 1, 1, 0, 1};
  const int32_t targets[] = {1, 3}, wrong[] = {1, C};
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, C), 1);
  heed_cross_entropy_options options = {.weight = support_put(ctx, HEED_F32, SHAPE(C), zeros)};
  heed_tensor *mean = support_new(ctx, HEED_F32, SHAPE(1)), *dx = support_like(x);
  ASSERT_OK(heed_cross_entropy_fwd(x, support_put(ctx, HEED_I32, SHAPE(2), targets), &options, mean));
  assert_true(isnan(support_get(mean)[0]));
  // A class of weight 0 leaves the others alone, and an index that is no class spoils its own row of the gradient only.
  options.weight = support_put(ctx, HEED_F32, SHAPE(C), zero_of_3);
  const float first = losses_of(x, support_put(ctx, HEED_I32, SHAPE(2), targets), &none)[0];
  ASSERT_OK(heed_cross_entropy_fwd(x, support_put(ctx, HEED_I32, SHAPE(2), targets), &options, mean));
  ASSERT_CLOSE(support_get(mean)[0], first, tolerance);
  ASSERT_OK(heed_cross_entropy_bwd(x, support_put(ctx, HEED_I32, SHAPE(2), wrong), &options, NULL, dx));
  for (int c = 0; c < C; ++c) assert_true(isfinite(support_get(dx)[c]) && isnan(support_get(dx)[C + c]));
}

// ---------------------------------------------------------------- in place and in chunks

enum { ROWS = 300 };

// The gradient of rows from first on, in place of their logits, as a caller of chunks makes it.
static void run_chunk(heed_tensor *x, const heed_tensor *target, const heed_tensor *dloss, heed_tensor *loss,
                      const heed_cross_entropy_options *options, int64_t first, int64_t count) {
  heed_tensor *parts[4], *const all[] = {x, (heed_tensor *)target, (heed_tensor *)dloss, loss};
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK(heed_tensor_slice(all[i], 0, first, count, &parts[i]));
    support_keep(parts[i]);
  }
  ASSERT_OK(heed_cross_entropy_fwd_bwd(parts[0], parts[1], options, parts[2], parts[3], parts[0]));
}

static void assert_chunks_have_the_bits_of_one_call(heed_context *ctx, heed_dtype dtype, int64_t width,
                                                    heed_cross_entropy_options options) {
  int32_t targets[ROWS];
  for (int r = 0; r < ROWS; ++r) targets[r] = r % 7 == 3 ? -100 : (int32_t)(r * 31 % width);
  const heed_tensor *x = support_random(ctx, dtype, SHAPE(ROWS, width), 5),
                    *target = support_put(ctx, HEED_I32, SHAPE(ROWS), targets),
                    *dloss = support_random(ctx, HEED_F32, SHAPE(ROWS), 6);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(ROWS)), *chunk_loss = support_like(loss), *dx = support_like(x),
              *chunks = support_like(x), *whole = support_like(x);
  options.reduction = HEED_REDUCTION_NONE;
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, &options, dloss, loss, dx));
  ASSERT_OK(heed_copy(x, chunks));
  static const int64_t ends[] = {0, 1, 8, 37, 290, ROWS};
  for (int i = 0; i < 5; ++i) run_chunk(chunks, target, dloss, chunk_loss, &options, ends[i], ends[i + 1] - ends[i]);
  ASSERT_SAME_BITS(chunk_loss, loss);
  ASSERT_SAME_BITS(chunks, dx);
  ASSERT_OK(heed_copy(x, whole));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(whole, target, &options, dloss, chunk_loss, whole));
  ASSERT_SAME_BITS(chunk_loss, loss);
  ASSERT_SAME_BITS(whole, dx);
}

static void chunks_of_rows_have_the_bits_of_one_call(void **state) {
  heed_context *ctx = support_context(state);
  static const int64_t widths[] = {1, 3, 33, 64, 65, 1000, 5003};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w) {
    const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(widths[w]), 7);
    assert_chunks_have_the_bits_of_one_call(ctx, HEED_F32, widths[w], (heed_cross_entropy_options){0});
    assert_chunks_have_the_bits_of_one_call(
        ctx, w % 2 ? HEED_F16 : HEED_F32, widths[w],
        (heed_cross_entropy_options){.label_smoothing = 0.1, .weight = w % 3 ? weight : NULL});
  }
}

// A caller of chunks divides by the number of rows itself.
static void the_mean_is_a_factor_in_dloss(void **state) {
  heed_context *ctx = support_context(state);
  float factor[ROWS];
  int32_t targets[ROWS];
  for (int r = 0; r < ROWS; ++r) factor[r] = 1.0f / ROWS, targets[r] = r;
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, 1000), 5),
                    *target = support_put(ctx, HEED_I32, SHAPE(ROWS), targets);
  heed_tensor *dx = support_like(x), *of_mean = support_like(x), *mean = support_new(ctx, HEED_F32, SHAPE(1)),
              *rows = support_new(ctx, HEED_F32, SHAPE(ROWS));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, mean, of_mean));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, &none, support_put(ctx, HEED_F32, SHAPE(ROWS), factor), rows, dx));
  ASSERT_AGREE(dx, of_mean, 2 * 0x1p-24);
  const float two = 2;
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, NULL, support_put(ctx, HEED_F32, SHAPE(1), &two), mean, dx));
  for (int i = 0; i < 1000; ++i) ASSERT_CLOSE(support_get(dx)[i], 2 * (double)support_get(of_mean)[i], 0);
}

// ---------------------------------------------------------------- refusals

static void shapes_that_fit_twice_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 5, 5), 1), *t = support_new(ctx, HEED_I64, SHAPE(2, 5)),
                    *p = support_random(ctx, HEED_F32, SHAPE(2, 3, 4), 2);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1));
  heed_cross_entropy_options options = {0};
  ASSERT_REFUSED(
      HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd",
      "target I64[2, 5] fits input F32[2, 5, 5] with 5 classes in axis 1, as PyTorch has them, and with 5 in "
      "the last axis; class_axis must say which",
      heed_cross_entropy_fwd(x, t, &options, loss));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd",
                 "with 3 classes in axis 1, as PyTorch has them, and with 4",
                 heed_cross_entropy_fwd(p, p, &options, loss));
  options.class_axis = HEED_CLASS_AXIS_LAST;
  ASSERT_OK(heed_cross_entropy_fwd(x, t, &options, loss));
  options.class_axis = HEED_CLASS_AXIS_1;
  ASSERT_OK(heed_cross_entropy_fwd(x, t, &options, loss));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "without the axis of classes, which is axis 1",
                 heed_cross_entropy_fwd(p, support_new(ctx, HEED_I64, SHAPE(2, 3)), &options, loss));
  options.class_axis = (heed_class_axis)3;
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd", "class_axis 3 is unknown",
                 heed_cross_entropy_fwd(x, t, &options, loss));
}

static void weights_and_places_that_do_not_fit_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(1, C), 1), *t = support_put(ctx, HEED_I64, SHAPE(1), labels),
              *loss = support_new(ctx, HEED_F32, SHAPE(1)), *dx = support_like(x);
  heed_cross_entropy_options options = {.weight = support_new(ctx, HEED_F32, SHAPE(C + 1))};
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd", "weight F32[6] must have one number for each of the 5 classes",
                 heed_cross_entropy_fwd(x, t, &options, loss));
  options.weight = support_new(ctx, HEED_F16, SHAPE(C));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "cross_entropy_bwd", "weight is F16[5]; F32 is needed",
                 heed_cross_entropy_bwd(x, t, &options, NULL, dx));
  heed_tensor *row = NULL;
  ASSERT_OK(heed_tensor_reshape(dx, 1, (const int64_t[]){C}, &row));
  options.weight = support_keep(row);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd_bwd", "dinput overlaps weight",
                 heed_cross_entropy_fwd_bwd(x, t, &options, NULL, loss, dx));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd_bwd", "dinput overlaps target",
                 heed_cross_entropy_fwd_bwd(x, dx, NULL, NULL, loss, dx));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd_bwd", "loss F32[5] must be [1]",
                 heed_cross_entropy_fwd_bwd(x, t, NULL, support_new(ctx, HEED_F32, SHAPE(C)), loss, dx));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(weights_are_those_of_pytorch),
      TEST(the_classes_may_be_the_last_axis_or_axis_1),
      TEST(class_minus_100_is_ignored_unless_another_is),
      TEST(what_counts_nothing_has_no_mean),
      TEST(chunks_of_rows_have_the_bits_of_one_call),
      TEST(the_mean_is_a_factor_in_dloss),
      TEST(shapes_that_fit_twice_are_refused),
      TEST(weights_and_places_that_do_not_fit_are_refused),
  };
  return RUN_ON_BOTH("cross_entropy as in PyTorch", tests);
}
