// Which outputs an operator refuses for the memory they share: with an input, with another output, or with themselves. Views of one
// storage that are apart are welcome, however they interleave.
#include "support_values.h"

static heed_tensor *view(const heed_tensor *base, int rank, const int64_t *dims, const int64_t *strides,
                         int64_t offset) {
  heed_tensor *out;
  ASSERT_OK(heed_tensor_view(base, rank, dims, strides, offset, &out));
  return support_keep(out);
}
static heed_tensor *slice(const heed_tensor *base, int axis, int64_t start, int64_t length) {
  heed_tensor *out;
  ASSERT_OK(heed_tensor_slice(base, axis, start, length, &out));
  return support_keep(out);
}
static heed_tensor *permuted(const heed_tensor *base, const int *order) {
  heed_tensor *out;
  ASSERT_OK(heed_tensor_permute(base, order, &out));
  return support_keep(out);
}

static void a_product_into_its_own_factor_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *storage = support_random(ctx, HEED_F32, SHAPE(64, 80), 1),
              *b = support_random(ctx, HEED_F32, SHAPE(64, 64), 2);
  heed_tensor *a = slice(storage, 1, 0, 64), *beside = slice(storage, 1, 10, 64);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gemm", "c overlaps a", heed_gemm(false, false, 1, a, b, 0, a));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gemm", "c overlaps b", heed_gemm(false, false, 1, b, a, 0, a));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gemm", "c overlaps a", heed_gemm(false, false, 1, a, b, 0, beside));
}

static void matrices_that_lie_on_each_other_are_no_result(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *a = support_random(ctx, HEED_F32, SHAPE(3, 4, 5), 1),
              *b = support_random(ctx, HEED_F32, SHAPE(3, 5, 6), 2);
  heed_tensor *storage = support_new(ctx, HEED_F32, SHAPE(200));
  const int64_t dims[] = {3, 4, 6};
  static const int64_t bad[][3] = {{0, 6, 1}, {23, 6, 1}, {24, 5, 1}, {6, 6, 1}, {24, 0, 1}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i)
    ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gemm", "c F32[3, 4, 6] lie on each other",
                   heed_gemm(false, false, 1, a, b, 0, view(storage, 3, dims, bad[i], 0)));
  // Rows of three matrices side by side.
  heed_tensor *c = view(storage, 3, dims, (const int64_t[]){6, 18, 1}, 0),
              *expected = support_new(ctx, HEED_F32, 3, dims);
  ASSERT_OK(heed_gemm(false, false, 1, a, b, 0, c));
  ASSERT_OK(heed_gemm(false, false, 1, a, b, 0, expected));
  ASSERT_AGREE(c, expected, 1e-6);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "fill", "lie on each other",
                 heed_fill(view(storage, 2, (const int64_t[]){2, 3}, (const int64_t[]){0, 1}, 0), 1));
}

static void attention_into_its_values_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *q = support_random(ctx, HEED_F32, SHAPE(2, 4, 3, 8), 1),
              *k = support_random(ctx, HEED_F32, SHAPE(2, 4, 3, 8), 2);
  heed_tensor *packed = support_random(ctx, HEED_F32, SHAPE(2, 3, 4, 8), 3);
  heed_tensor *v = permuted(packed, (const int[]){0, 2, 1, 3}), *lse = support_new(ctx, HEED_F32, SHAPE(2, 4, 3));
  const heed_attention_inputs inputs = {.q = q, .k = k, .v = v};
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_fwd", "out overlaps v",
                 heed_attention_fwd(&inputs, NULL, v, lse, NULL));
  heed_tensor *out = support_like(q);
  ASSERT_OK(heed_attention_fwd(&inputs, NULL, out, lse, NULL));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "attention_bwd", "dv overlaps v",
                 heed_attention_bwd(&inputs, NULL, out, lse, out, &(heed_attention_grads){.dv = v}));
}

static void copies_and_sums_onto_themselves_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(6, 6), 1), *half = slice(x, 1, 0, 4);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x", heed_copy(x, support_transposed(x)));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x", heed_copy(half, half));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x", heed_copy(half, slice(x, 1, 1, 4)));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x", heed_copy(half, slice(x, 1, 2, 4)));
  heed_tensor *first = slice(x, 0, 0, 3), *second = slice(x, 0, 2, 3);
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "add", "y overlaps a", heed_add(1, first, 1, first, second));
}

// Where it is documented, an output may be an input itself.
static void operators_in_place_take_the_same_view(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(6, 6), 1), *rows = slice(x, 0, 1, 3), *same = slice(x, 0, 1, 3);
  ASSERT_OK(heed_relu_fwd(rows, same));
  ASSERT_OK(heed_relu_bwd(support_like(rows), rows, same));
  ASSERT_OK(heed_gelu_fwd(rows, HEED_GELU_ERF, same));
  ASSERT_OK(heed_add(1, rows, 2, rows, same));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "relu_fwd", "y overlaps x", heed_relu_fwd(rows, slice(x, 0, 2, 3)));
}

// Queries, keys and values of one tensor, and their gradients of another; columns; every second element; heads of a cache.
static void views_that_interleave_are_apart(void **state) {
  heed_context *ctx = support_context(state);
  enum { B = 2, L = 3, H = 2, D = 4 };
  heed_tensor *of[2][3];
  for (int i = 0; i < 2; ++i) {
    heed_tensor *packed = support_random(ctx, HEED_F32, SHAPE(B, L, 3, H, D), 1);
    for (int part = 0; part < 3; ++part)
      of[i][part] = view(packed, 4, (const int64_t[]){B, H, L, D}, (const int64_t[]){L * 3 * H * D, D, 3 * H * D, 1},
                         part * H * D);
  }
  const heed_attention_inputs inputs = {.q = of[0][0], .k = of[0][1], .v = of[0][2]};
  heed_tensor *out = support_new(ctx, HEED_F32, SHAPE(B, H, L, D)), *lse = support_new(ctx, HEED_F32, SHAPE(B, H, L));
  ASSERT_OK(heed_attention_fwd(&inputs, NULL, out, lse, NULL));
  ASSERT_OK(heed_attention_bwd(&inputs, NULL, out, lse, out,
                               &(heed_attention_grads){of[1][0], of[1][1], of[1][2], NULL, NULL, NULL}));

  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(4, 12), 1),
              *cube = support_random(ctx, HEED_F32, SHAPE(3, 4, 6), 1);
  ASSERT_OK(heed_copy(slice(x, 1, 0, 6), slice(x, 1, 6, 6)));
  ASSERT_OK(heed_copy(slice(x, 1, 6, 3), slice(x, 1, 2, 3)));
  ASSERT_OK(heed_copy(slice(x, 0, 2, 2), slice(x, 0, 0, 2)));
  ASSERT_OK(heed_copy(slice(cube, 1, 0, 2), slice(cube, 1, 2, 2)));
  ASSERT_OK(heed_copy(slice(slice(cube, 1, 0, 2), 2, 0, 3), slice(slice(cube, 1, 2, 2), 2, 1, 3)));
  const int64_t five[] = {5}, two[] = {2};
  ASSERT_OK(heed_copy(view(x, 1, five, two, 0), view(x, 1, five, two, 1)));
  // Strides of 4 and 6 meet at even places only.
  ASSERT_OK(heed_copy(view(x, 1, five, (const int64_t[]){4}, 0), view(x, 1, five, (const int64_t[]){6}, 1)));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "copy", "y overlaps x",
                 heed_copy(view(x, 1, five, (const int64_t[]){4}, 0), view(x, 1, five, (const int64_t[]){6}, 2)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_product_into_its_own_factor_is_refused), TEST(matrices_that_lie_on_each_other_are_no_result),
      TEST(attention_into_its_values_is_refused),     TEST(copies_and_sums_onto_themselves_are_refused),
      TEST(operators_in_place_take_the_same_view),    TEST(views_that_interleave_are_apart),
  };
  return RUN_ON_BOTH("aliasing", tests);
}
