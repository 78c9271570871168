// Gradients of parameters that are added up: a sum of calls is the sum of their gradients, in every form of the backward; two such sums
// have the same bits; and a first sum onto zeros is the plain gradient. Gradients of inputs are overwritten all the same.
//
// Values are multiples of 2^-8 below 1, so that F32 sums of these lengths are exact.
#include "support_values.h"
#include <heed/nn.h>

// On CPUs: one launch for few outputs, else products; a bias in one pass, or in two from 129 rows on; no rows; one of all.
static const struct problem {
  int64_t rows, in, out;
  bool bias, relu;
} problems[] = {
    {33, 65, 10, true, false}, {33, 65, 10, true, true},  {61, 47, 33, true, true},     {200, 10, 33, true, false},
    {300, 33, 17, true, true}, {5, 200, 7, false, false}, {129, 128, 64, false, false}, {0, 9, 20, true, false},
    {0, 64, 10, true, false},  {1, 1, 1, true, false},
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

struct layer {
  heed_tensor *x[2], *weight, *dy[2], *dx, *dweight, *dbias;
};

static struct layer make(heed_context *ctx, const struct problem *p, heed_dtype dtype) {
  struct layer l = {.weight = support_random(ctx, dtype, SHAPE(p->out, p->in), 3),
                    .dx = support_new(ctx, dtype, SHAPE(p->rows, p->in)),
                    .dweight = support_new(ctx, dtype, SHAPE(p->out, p->in)),
                    .dbias = p->bias ? support_new(ctx, dtype, SHAPE(p->out)) : NULL};
  for (int i = 0; i < 2; ++i) {
    l.x[i] = support_random(ctx, dtype, SHAPE(p->rows, p->in), 10 + (uint64_t)i);
    l.dy[i] = support_random(ctx, dtype, SHAPE(p->rows, p->out), 20 + (uint64_t)i);
  }
  return l;
}

static void backward(const struct problem *p, const struct layer *l, int batch, bool accumulate) {
  if (p->relu)
    ASSERT_OK(heed_relu_linear_bwd(l->x[batch], l->weight, l->dy[batch], l->dx, l->dweight, l->dbias, accumulate));
  else
    ASSERT_OK(heed_linear_bwd(l->x[batch], l->weight, l->dy[batch], l->dx, l->dweight, l->dbias, accumulate));
}

static void clear(const struct layer *l) {
  ASSERT_OK(heed_fill(l->dweight, 0));
  if (l->dbias) ASSERT_OK(heed_fill(l->dbias, 0));
}

static void two_batches_give_the_sum_of_their_gradients(void **state) {
  heed_context *ctx = support_context(state);
  for (int i = 0; i < PROBLEMS; ++i) {
    const struct problem *p = &problems[i];
    struct layer l = make(ctx, p, HEED_F32);
    const int64_t weights = heed_tensor_count(l.dweight), outputs = p->bias ? p->out : 0;
    backward(p, &l, 0, false);
    const float *dweight = support_get(l.dweight), *dbias = outputs ? support_get(l.dbias) : NULL;
    backward(p, &l, 1, false);
    const float *more = support_get(l.dweight), *more_bias = outputs ? support_get(l.dbias) : NULL;
    const float *dx = support_get(l.dx);
    backward(p, &l, 0, false);
    backward(p, &l, 1, true);
    const float *sum = support_get(l.dweight), *sum_bias = outputs ? support_get(l.dbias) : NULL;
    for (int64_t j = 0; j < weights; ++j) ASSERT_CLOSE(sum[j], dweight[j] + more[j], 0);
    for (int64_t j = 0; j < outputs; ++j) ASSERT_CLOSE(sum_bias[j], dbias[j] + more_bias[j], 0);
    const float *dx_again = support_get(l.dx);
    for (int64_t j = 0; j < p->rows * p->in; ++j) ASSERT_CLOSE(dx_again[j], dx[j], 0);
  }
}

static void sums_onto_zeros_are_the_gradients(void **state) {
  heed_context *ctx = support_context(state);
  const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
  for (int i = 0; i < PROBLEMS; ++i)
    for (int d = 0; d < 3; ++d) {
      const struct problem *p = &problems[i];
      struct layer plain = make(ctx, p, dtypes[d]), added = make(ctx, p, dtypes[d]);
      backward(p, &plain, 0, false);
      clear(&added);
      backward(p, &added, 0, true);
      ASSERT_SAME_BITS(added.dweight, plain.dweight);
      if (p->bias) ASSERT_SAME_BITS(added.dbias, plain.dbias);
    }
}

static void the_same_sums_have_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  for (int i = 0; i < PROBLEMS; ++i) {
    struct layer l[2] = {make(ctx, &problems[i], HEED_F16), make(ctx, &problems[i], HEED_F16)};
    for (int twice = 0; twice < 2; ++twice) {
      backward(&problems[i], &l[twice], 0, false);
      backward(&problems[i], &l[twice], 1, true);
      backward(&problems[i], &l[twice], 0, true);
    }
    ASSERT_SAME_BITS(l[0].dweight, l[1].dweight);
    if (l[0].dbias) ASSERT_SAME_BITS(l[0].dbias, l[1].dbias);
  }
}

// What a sum holds is added in F32 and rounded once: 2048 + 2 · 1 is 2050 in F16, 2048 + 1 + 1 by two roundings is not.
static void narrow_sums_round_once(void **state) {
  heed_context *ctx = support_context(state);
  enum { IN = 64, OUT = 10, ROWS = 2 };
  heed_tensor *x = support_new(ctx, HEED_F16, SHAPE(ROWS, IN)), *dy = support_new(ctx, HEED_F16, SHAPE(ROWS, OUT));
  heed_tensor *weight = support_random(ctx, HEED_F16, SHAPE(OUT, IN), 1);
  heed_tensor *dweight = support_like(weight), *dbias = support_new(ctx, HEED_F16, SHAPE(OUT));
  ASSERT_OK(heed_fill(x, 1));
  ASSERT_OK(heed_fill(dy, 1));
  ASSERT_OK(heed_fill(dweight, 2048));
  ASSERT_OK(heed_fill(dbias, 2048));
  ASSERT_OK(heed_linear_bwd(x, weight, dy, NULL, dweight, dbias, true));
  const float *w = support_get(dweight), *b = support_get(dbias);
  for (int i = 0; i < OUT * IN; ++i) ASSERT_CLOSE(w[i], 2050, 0);
  for (int i = 0; i < OUT; ++i) ASSERT_CLOSE(b[i], 2050, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(two_batches_give_the_sum_of_their_gradients),
      TEST(sums_onto_zeros_are_the_gradients),
      TEST(the_same_sums_have_the_same_bits),
      TEST(narrow_sums_round_once),
  };
  return RUN_ON_BOTH("accumulate", tests);
}
