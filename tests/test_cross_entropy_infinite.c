// cross_entropy of logits that are not finite: what log-softmax says of them, for class indices and for probabilities. −inf is a class
// without probability, whose loss is infinite where the target gives it weight; beside +inf or NaN all is NaN.
#include "support_values.h"

enum { ROWS = 9, MOST = 300 };
#define INF INFINITY

// What the first four logits are; those after them are 1. The class is 1.
static const float firsts[ROWS][4] = {
    {1, 2, 3, 0},       {INF, 2, 3, 0},  {1, INF, 3, 0},   {INF, INF, 3, 0},  {INF, -INF, 3, 0},
    {-INF, 2, 3, -INF}, {1, -INF, 3, 0}, {1, 2, NAN, INF}, {-INF, NAN, 3, 0},
};

struct rows {
  int count, width;
  float logits[(ROWS + 1) * MOST], target[(ROWS + 1) * MOST];
  int32_t classes[ROWS + 1];
};

// Those rows, and one that is −inf throughout. As probabilities the target has 1/4 and 3/4 in classes 1 and 2.
static void make_rows(struct rows *r, int width) {
  memset(r, 0, sizeof *r);
  r->count = ROWS + 1;
  r->width = width;
  for (int i = 0; i < r->count; ++i) {
    for (int c = 0; c < width; ++c) r->logits[i * width + c] = i == ROWS ? -INF : c < 4 ? firsts[i][c] : 1;
    r->target[i * width + 1] = 0.25f, r->target[i * width + 2] = 0.75f;
    r->classes[i] = 1;
  }
}

static double log_p(const struct rows *r, int row, int c) {
  const float *x = r->logits + row * r->width;
  double most = -INF, sum = 0;
  for (int i = 0; i < r->width; ++i) most = fmax(most, (double)x[i]);
  if (most == -INF) return -INF;
  for (int i = 0; i < r->width; ++i) sum += exp((double)x[i] - most);
  return (double)x[c] - most - log(sum);
}

static double weight(const struct rows *r, int row, int c, bool by_class) {
  return by_class ? c == r->classes[row] : (double)r->target[row * r->width + c];
}

static void assert_is(float actual, double expected, int row, int width, const char *what) {
  if (isnan(expected) ? isnan(actual) : (double)actual == expected || fabs((double)actual - expected) <= 1e-5) return;
  fail_msg("%s of row %d of width %d is %g, not %g", what, row, width, (double)actual, expected);
}

static void check(heed_context *ctx, int width, bool by_class) {
  static const heed_cross_entropy_options none = {.reduction = HEED_REDUCTION_NONE};
  struct rows *r = support_memory(sizeof *r);
  make_rows(r, width);
  const heed_tensor *x = support_put_f32(ctx, HEED_F32, SHAPE(r->count, width), r->logits);
  const heed_tensor *target = by_class ? support_put(ctx, HEED_I32, SHAPE(r->count), r->classes)
                                       : support_put_f32(ctx, HEED_F32, SHAPE(r->count, width), r->target);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(r->count)), *dx = support_like(x);
  ASSERT_OK(heed_cross_entropy_fwd(x, target, &none, loss));
  ASSERT_OK(heed_cross_entropy_bwd(x, target, &none, NULL, dx));
  const float *losses = support_get(loss), *gradient = support_get(dx);
  for (int row = 0; row < r->count; ++row) {
    double expected = 0;
    for (int c = 0; c < width; ++c) {
      const double t = weight(r, row, c, by_class), lp = log_p(r, row, c);
      if (t != 0) expected -= t * lp;
      assert_is(gradient[row * width + c], exp(lp) - t, row, width, "the gradient");
    }
    assert_is(losses[row], expected, row, width, "the loss");
  }
}

static const int widths[] = {4, 19, MOST};

static void classes_are_judged_by_log_softmax(void **state) {
  heed_context *ctx = support_context(state);
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w) check(ctx, widths[w], true);
}

static void probabilities_are_judged_by_log_softmax(void **state) {
  heed_context *ctx = support_context(state);
  for (size_t w = 0; w < sizeof widths / sizeof *widths; ++w) check(ctx, widths[w], false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(classes_are_judged_by_log_softmax),
      TEST(probabilities_are_judged_by_log_softmax),
  };
  return RUN_ON_BOTH("cross_entropy of infinities", tests);
}
