// Operators that do in one launch what others do in several give the same bits, and a training step is made of them.
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include <heed/nn.h>

#include "support_values.h"

static const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static void linear_with_relu_is_linear_then_relu(void **state) {
  heed_context *ctx = support_context(state);
  for (int d = 0; d < DTYPES; ++d) {
    const heed_tensor *x = support_random(ctx, dtypes[d], SHAPE(3, 7, 33), 1),
                      *weight = support_random(ctx, dtypes[d], SHAPE(19, 33), 2),
                      *bias = support_random(ctx, dtypes[d], SHAPE(19), 3);
    for (int biased = 0; biased < 2; ++biased) {
      heed_tensor *fused = support_new(ctx, dtypes[d], SHAPE(3, 7, 19)), *apart = support_like(fused);
      ASSERT_OK(heed_linear_relu_fwd(x, weight, biased ? bias : NULL, fused));
      ASSERT_OK(heed_linear_fwd(x, weight, biased ? bias : NULL, apart));
      ASSERT_OK(heed_relu_fwd(apart, apart));
      ASSERT_SAME_BITS(fused, apart);
    }
  }
}

static void assert_gradient_is_linears_then_relus(heed_context *ctx, heed_dtype dtype, int64_t out) {
  const heed_tensor *before = support_random(ctx, dtype, SHAPE(3, 7, 33), 1),
                    *weight = support_random(ctx, dtype, SHAPE(out, 33), 2),
                    *dy = support_random(ctx, dtype, SHAPE(3, 7, out), 3);
  heed_tensor *x = support_like(before), *dx[] = {support_like(before), support_like(before)};
  heed_tensor *dweight[] = {support_like(weight), support_like(weight)},
              *dbias[] = {support_new(ctx, dtype, SHAPE(out)), support_new(ctx, dtype, SHAPE(out))};
  ASSERT_OK(heed_relu_fwd(before, x));
  ASSERT_OK(heed_relu_linear_bwd(x, weight, dy, dx[0], dweight[0], dbias[0], false));
  ASSERT_OK(heed_linear_bwd(x, weight, dy, dx[1], dweight[1], dbias[1], false));
  ASSERT_OK(heed_relu_bwd(before, dx[1], dx[1]));
  ASSERT_SAME_BITS(dx[0], dx[1]);
  ASSERT_SAME_BITS(dweight[0], dweight[1]);
  ASSERT_SAME_BITS(dbias[0], dbias[1]);
  ASSERT_OK(heed_relu_linear_bwd(x, weight, dy, NULL, dweight[1], NULL, false));
  ASSERT_SAME_BITS(dweight[0], dweight[1]);
}

// Of layers with many outputs and with few.
static void its_gradient_is_linears_then_relus(void **state) {
  for (int d = 0; d < DTYPES; ++d) {
    assert_gradient_is_linears_then_relus(support_context(state), dtypes[d], 19);
    assert_gradient_is_linears_then_relus(support_context(state), dtypes[d], 10);
  }
}

// The product is the same, and gelu of it is rounded once; its argument is the product itself.
static void linear_with_gelu_is_linear_then_gelu(void **state) {
  heed_context *ctx = support_context(state);
  for (int d = 0; d < 2 * DTYPES; ++d) {
    const heed_dtype dtype = dtypes[d / 2];
    const heed_gelu_form form = d % 2 ? HEED_GELU_TANH : HEED_GELU_ERF;
    const heed_tensor *x = support_random(ctx, dtype, SHAPE(3, 7, 33), 1),
                      *weight = support_random(ctx, dtype, SHAPE(19, 33), 2),
                      *bias = support_random(ctx, dtype, SHAPE(19), 3);
    heed_tensor *y = support_new(ctx, dtype, SHAPE(3, 7, 19)), *without = support_like(y), *z = support_like(y);
    heed_tensor *apart = support_like(y), *expected = support_like(y);
    ASSERT_OK(heed_linear_gelu_fwd(x, weight, bias, form, z, y));
    ASSERT_OK(heed_linear_gelu_fwd(x, weight, bias, form, NULL, without));
    ASSERT_OK(heed_linear_fwd(x, weight, bias, apart));
    ASSERT_OK(heed_gelu_fwd(apart, form, expected));
    ASSERT_SAME_BITS(z, apart);
    ASSERT_SAME_BITS(without, y);
    ASSERT_AGREE(y, expected, heed_tolerance(dtype, false));
  }
}

static void its_gradient_is_linears_then_gelus(void **state) {
  heed_context *ctx = support_context(state);
  for (int d = 0; d < 2 * DTYPES; ++d) {
    const heed_dtype dtype = dtypes[d / 2];
    const heed_gelu_form form = d % 2 ? HEED_GELU_TANH : HEED_GELU_ERF;
    const int64_t out = d % 2 ? 10 : 19;  // few outputs have a kernel of their own without gelu
    const heed_tensor *z = support_random(ctx, dtype, SHAPE(3, 7, 33), 1),
                      *weight = support_random(ctx, dtype, SHAPE(out, 33), 2),
                      *dy = support_random(ctx, dtype, SHAPE(3, 7, out), 3);
    heed_tensor *x = support_like(z), *dz = support_like(z), *dx = support_like(z);
    heed_tensor *dweight[] = {support_like(weight), support_like(weight)},
                *dbias[] = {support_new(ctx, dtype, SHAPE(out)), support_new(ctx, dtype, SHAPE(out))};
    ASSERT_OK(heed_gelu_fwd(z, form, x));
    ASSERT_OK(heed_gelu_linear_bwd(z, x, weight, dy, form, dz, dweight[0], dbias[0], false));
    ASSERT_OK(heed_linear_bwd(x, weight, dy, dx, dweight[1], dbias[1], false));
    ASSERT_OK(heed_gelu_bwd(z, dx, form, dx));
    ASSERT_AGREE(dz, dx, heed_tolerance(dtype, true));
    ASSERT_AGREE(dweight[0], dweight[1], heed_tolerance(dtype, true));
    ASSERT_AGREE(dbias[0], dbias[1], heed_tolerance(dtype, true));
  }
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(2, 3), 1),
              *weight = support_random(ctx, HEED_F32, SHAPE(4, 3), 2);
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(2, 4)), *wrong = support_new(ctx, HEED_F32, SHAPE(2, 5));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "linear_gelu_fwd", "z is F32[2, 5]",
                 heed_linear_gelu_fwd(x, weight, NULL, HEED_GELU_ERF, wrong, y));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "gelu_linear_bwd", "z is NULL",
                 heed_gelu_linear_bwd(NULL, x, weight, y, HEED_GELU_ERF, NULL, NULL, NULL, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "linear_gelu_fwd", "form 7",
                 heed_linear_gelu_fwd(x, weight, NULL, (heed_gelu_form)7, NULL, y));
}

// Few classes and many, many rows, every reduction; with what is ignored, and what is no class.
static void loss_and_gradient_at_once_are_those_of_two_calls(void **state) {
  heed_context *ctx = support_context(state);
  const heed_cross_entropy_options options[] = {
      {0},
      {.reduction = HEED_REDUCTION_SUM, .label_smoothing = 0.25},
      {.reduction = HEED_REDUCTION_NONE, .has_ignore_index = true, .ignore_index = 2},
      {.has_ignore_index = true, .ignore_index = 0, .label_smoothing = 0.125},
  };
  const int64_t shapes[][2] = {{1, 1}, {1, 10}, {67, 10}, {300, 64}, {33, 65}, {4000, 10}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s) {
    const int64_t n = shapes[s][0], c = shapes[s][1];
    int32_t *labels = support_memory((size_t)n * sizeof *labels);
    for (int64_t i = 0; i < n; ++i) labels[i] = (int32_t)(i * 7 % c);
    if (n == 67) labels[13] = (int32_t)c;
    const heed_tensor *x = support_random(ctx, dtypes[s % DTYPES], SHAPE(n, c), s),
                      *target = support_put(ctx, HEED_I32, SHAPE(n), labels);
    for (size_t o = 0; o < sizeof options / sizeof *options; ++o) {
      const int64_t losses = options[o].reduction == HEED_REDUCTION_NONE ? n : 1;
      heed_tensor *loss[] = {support_new(ctx, HEED_F32, SHAPE(losses)), support_new(ctx, HEED_F32, SHAPE(losses))};
      heed_tensor *dx[] = {support_like(x), support_like(x)};
      ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, &options[o], NULL, loss[0], dx[0]));
      ASSERT_OK(heed_cross_entropy_fwd(x, target, &options[o], loss[1]));
      ASSERT_OK(heed_cross_entropy_bwd(x, target, &options[o], NULL, dx[1]));
      if (n == 67) {  // NaN has many bits
        ASSERT_AGREE(loss[0], loss[1], 0);
        ASSERT_AGREE(dx[0], dx[1], 0);
      } else {
        ASSERT_SAME_BITS(loss[0], loss[1]);
        ASSERT_SAME_BITS(dx[0], dx[1]);
      }
    }
  }
}

static void loss_and_gradient_refuse_what_each_does(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(4, 3), 1), *target = support_new(ctx, HEED_U8, SHAPE(4));
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *dx = support_like(x);
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd_bwd", "loss F32[4] must be [1]",
                 heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, support_new(ctx, HEED_F32, SHAPE(4)), dx));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "cross_entropy_fwd_bwd", "dinput is F32[3, 4]",
                 heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, loss, support_new(ctx, HEED_F32, SHAPE(3, 4))));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "cross_entropy_fwd_bwd", "dinput is NULL",
                 heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, loss, NULL));
  ASSERT_REFUSED(
      HEED_ERROR_SHAPE, "linear_relu_fwd", "differ in rows",
      heed_linear_relu_fwd(x, support_new(ctx, HEED_F32, SHAPE(2, 3)), NULL, support_new(ctx, HEED_F32, SHAPE(5, 2))));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "relu_linear_bwd", "dy F32[4, 3]",
                 heed_relu_linear_bwd(x, support_new(ctx, HEED_F32, SHAPE(2, 3)), x, dx, NULL, NULL, false));
}

static heed_status broken(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  (void)call;
  return heed__fail(HEED_ERROR_DEVICE, "the device is on fire");
}

// What a backend says of itself begins with the function that was called, not with the operator that does it.
static void errors_of_a_backend_name_the_call(void **state) {
  heed_context *ctx = support_context(state);
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(4, 3), 1),
                    *w = support_random(ctx, HEED_F32, SHAPE(3, 3), 1);
  heed_tensor *y = support_new(ctx, HEED_F32, SHAPE(4, 3));
  struct heed__backend fake = *ctx->backend;
  const struct heed__backend *real = ctx->backend;
  for (int op = 0; op < HEED__OP_COUNT; ++op) fake.ops[op] = broken;
  ctx->backend = &fake;
  const heed_tensor *dy = x;
  static const char fire[] = "the device is on fire";
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "linear_fwd", fire, heed_linear_fwd(x, w, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "linear_relu_fwd", fire, heed_linear_relu_fwd(x, w, NULL, y));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "linear_bwd", fire, heed_linear_bwd(x, w, dy, y, NULL, NULL, false));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "relu_linear_bwd", fire, heed_relu_linear_bwd(x, w, dy, y, NULL, NULL, false));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "softmax_fwd", fire, heed_softmax_fwd(x, 1, y));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "log_softmax_fwd", fire, heed_log_softmax_fwd(x, 1, y));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "log_softmax_bwd", fire, heed_log_softmax_bwd(x, dy, 1, y));
  ASSERT_REFUSED(HEED_ERROR_DEVICE, "gelu_fwd", fire, heed_gelu_fwd(x, HEED_GELU_ERF, y));
  ctx->backend = real;
}

static size_t count_of(const heed_profile_record *records, size_t count, const char *part) {
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) found += strstr(records[i].kernel, part) != NULL;
  return found;
}

// Everything but matrix products and sums for the biases is two launches: the loss with its gradient, and one update. The backward
// of a small layer may be one launch.
static void a_training_step_is_a_few_launches(void **state) {
  (void)state;
  if (!support_context(state)) return;
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open_with(&(heed_open_options){.profile = 1, .validate = -1, .gemm = "native"}, &ctx));
  const int64_t sizes[] = {24, 32, 16, 10}, rows = 8;
  const heed_optimizer_config config = {.sgd = {.lr = 0.1, .momentum = 0.5}};
  uint8_t labels[8] = {0, 1, 2, 3, 4, 5, 6, 9};
  heed_mlp *mlp = NULL;
  heed_optimizer *optimizer = NULL;
  const heed_parameter *parameters;
  ASSERT_OK(heed_mlp_create(ctx, &(heed_mlp_config){.sizes = sizes, .count = 4}, 1, &mlp));
  const size_t parameter_count = heed_mlp_parameters(mlp, &parameters);
  ASSERT_OK(heed_optimizer_create(parameters, parameter_count, &config, &optimizer));
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(rows, 24), 1),
              *target = support_put(ctx, HEED_U8, SHAPE(rows), labels), *loss = support_new(ctx, HEED_F32, SHAPE(1));
  const heed_profile_record *records;
  size_t count = 0;
  for (int step = 0; step < 3; ++step) {
    ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, false));
    ASSERT_OK(heed_optimizer_step(optimizer));
    ASSERT_OK(heed_profile_records(ctx, &records, &count));
    if (heed_context_device(ctx)->type == HEED_DEVICE_HOST) break;
    assert_int_equal(count_of(records, count, "narrow_rows"), 1);
    assert_int_equal(count_of(records, count, "sgd"), 1);
    assert_int_equal(count_of(records, count, "column_sums") + count_of(records, count, "narrow_linear_bwd"), 3);
    assert_int_equal(count_of(records, count, "gemm") + 5, count);
  }
  heed_optimizer_destroy(optimizer);
  heed_mlp_destroy(mlp);
  support_release(state);
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(linear_with_relu_is_linear_then_relu),
      TEST(its_gradient_is_linears_then_relus),
      TEST(linear_with_gelu_is_linear_then_gelu),
      TEST(its_gradient_is_linears_then_gelus),
      TEST(loss_and_gradient_at_once_are_those_of_two_calls),
      TEST(loss_and_gradient_refuse_what_each_does),
      TEST(errors_of_a_backend_name_the_call),
      TEST(a_training_step_is_a_few_launches),
  };
  return RUN_ON_BOTH("fused", tests);
}
