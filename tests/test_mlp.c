// The MLP: its gradients are the slopes of its loss, rows do not influence each other, memory is kept from step to step.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <heed/nn.h>

#include "support_devices.h"
#include "support_gradients.h"

enum { BATCH = 5, CLASSES = 3 };
static const int64_t sizes[] = {7, 6, 4, CLASSES};
enum { LAYERS = 3, PARAMETERS = 2 * LAYERS, MAX_COUNT = 64 };

static const int64_t x_dims[] = {BATCH, 7}, target_dims[] = {BATCH}, logits_dims[] = {BATCH, CLASSES},
                     loss_dims[] = {1};
static const int32_t target_data[BATCH] = {2, 0, 1, 1, 2};

// The network and its loss in F64, from the equations; row r of x takes part in the mean.
struct reference {
  double parameter[PARAMETERS][MAX_COUNT], x[BATCH * 7];
};

static double reference_loss(void *of) {
  const struct reference *r = of;
  double loss = 0;
  for (int n = 0; n < BATCH; ++n) {
    double h[8], next[8];
    memcpy(h, &r->x[n * 7], 7 * sizeof *h);
    for (int l = 0; l < LAYERS; ++l) {
      for (int o = 0; o < sizes[l + 1]; ++o) {
        next[o] = r->parameter[2 * l + 1][o];
        for (int i = 0; i < sizes[l]; ++i) next[o] += r->parameter[2 * l][o * sizes[l] + i] * h[i];
        if (l + 1 < LAYERS) next[o] = fmax(next[o], 0);
      }
      memcpy(h, next, sizeof h);
    }
    double sum = 0;
    for (int c = 0; c < CLASSES; ++c) sum += exp(h[c]);
    loss += log(sum) - h[target_data[n]];
  }
  return loss / BATCH;
}

static heed_mlp *make_mlp(heed_context *ctx, struct reference *r) {
  heed_mlp *mlp = NULL;
  ASSERT_OK(heed_mlp_create(ctx, &(heed_mlp_config){.sizes = sizes, .count = LAYERS + 1}, 5, &mlp));
  const heed_parameter *parameters;
  assert_int_equal(heed_mlp_parameters(mlp, &parameters), PARAMETERS);
  for (int p = 0; p < PARAMETERS; ++p) {
    float values[MAX_COUNT];
    const int64_t count = heed_tensor_count(parameters[p].value);
    ASSERT_OK(heed_tensor_download_f32(parameters[p].value, values, count));
    for (int64_t i = 0; r && i < count; ++i) r->parameter[p][i] = values[i];
  }
  return mlp;
}

// Slopes of the F64 loss by central differences; the step 1e-6 leaves an error of about 1e-9 unless it crosses a relu's corner.
static void reference_gradient(struct reference *r, double *values, int64_t count, double *gradient) {
  gradient_slopes(reference_loss, r, values, count, 1e-6, gradient);
}

static void assert_close(const heed_tensor *tensor, const double *expected, double tolerance, const char *name) {
  float actual[MAX_COUNT];
  const int64_t count = heed_tensor_count(tensor);
  ASSERT_OK(heed_tensor_download_f32(tensor, actual, count));
  const double error = support_relative(actual, expected, count);
  if (!(error <= tolerance)) fail_msg("%s: relative error %g is over %g", name, error, tolerance);
}

static void parameters_are_named_and_bounded_as_pytorch_has_them(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlp = make_mlp(ctx, NULL);
  const heed_parameter *parameters;
  heed_mlp_parameters(mlp, &parameters);
  static const char *const names[] = {"l1.weight", "l1.bias", "l2.weight", "l2.bias", "l3.weight", "l3.bias"};
  for (int p = 0; p < PARAMETERS; ++p) {
    const int layer = p / 2;
    assert_string_equal(parameters[p].name, names[p]);
    assert_int_equal(heed_tensor_rank(parameters[p].value), p % 2 ? 1 : 2);
    assert_int_equal(heed_tensor_dim(parameters[p].value, 0), sizes[layer + 1]);
    if (p % 2 == 0) assert_int_equal(heed_tensor_dim(parameters[p].value, 1), sizes[layer]);
    float values[MAX_COUNT], largest = 0;
    const int64_t count = heed_tensor_count(parameters[p].value);
    ASSERT_OK(heed_tensor_download_f32(parameters[p].value, values, count));
    for (int64_t i = 0; i < count; ++i) largest = fmaxf(largest, fabsf(values[i]));
    const double bound = 1 / sqrt((double)sizes[layer]);
    assert_true(largest <= (float)bound && largest > 0.3 * bound);
  }
  heed_mlp_destroy(mlp);
}

// What goes over all parameters can do so at once.
static void parameters_lie_one_after_another(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlp = make_mlp(ctx, NULL);
  const heed_parameter *parameters;
  heed_mlp_parameters(mlp, &parameters);
  const heed_tensor *values[PARAMETERS], *grads[PARAMETERS];
  heed_tensor *all = NULL;
  int64_t count = 0;
  for (int p = 0; p < PARAMETERS; ++p) {
    values[p] = parameters[p].value;
    grads[p] = parameters[p].grad;
    count += heed_tensor_count(values[p]);
  }
  ASSERT_OK(heed_tensor_join(grads, PARAMETERS, &all));
  assert_int_equal(heed_tensor_count(all), count);
  float zeros[128];
  assert_true(count <= 128);
  ASSERT_OK(heed_tensor_download_f32(all, zeros, count));
  for (int64_t i = 0; i < count; ++i) assert_true(zeros[i] == 0);
  heed_tensor_destroy(all);
  ASSERT_OK(heed_tensor_join(values + 1, 2, &all));
  assert_int_equal(heed_tensor_offset(all), heed_tensor_count(values[0]));
  heed_tensor_destroy(all);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "tensor 1", heed_tensor_join((const heed_tensor *[]){values[0], values[2]}, 2, &all));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "tensor 1", heed_tensor_join((const heed_tensor *[]){values[0], grads[1]}, 2, &all));
  assert_null(all);
  heed_mlp_destroy(mlp);
}

static void gradients_are_the_slopes_of_the_loss(void **state) {
  heed_context *ctx = support_context(state);
  struct reference r;
  heed_mlp *mlp = make_mlp(ctx, &r);
  float x_data[BATCH * 7], value;
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, x_dims, 3, x_data), *target = NULL, *loss = NULL;
  for (int i = 0; i < BATCH * 7; ++i) r.x[i] = x_data[i];
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 1, target_dims, target_data, &target));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, loss_dims, &loss));
  ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, false));
  ASSERT_OK(heed_tensor_download(loss, &value, sizeof value));
  if (!(fabs(value - reference_loss(&r)) <= 5e-6 * reference_loss(&r)))
    fail_msg("loss %.9g instead of %.9g", value, reference_loss(&r));
  const heed_parameter *parameters;
  heed_mlp_parameters(mlp, &parameters);
  for (int p = 0; p < PARAMETERS; ++p) {
    double gradient[MAX_COUNT];
    reference_gradient(&r, r.parameter[p], heed_tensor_count(parameters[p].value), gradient);
    assert_close(parameters[p].grad, gradient, 2e-5, parameters[p].name);
  }
  heed_tensor_destroy(x);
  heed_tensor_destroy(target);
  heed_tensor_destroy(loss);
  heed_mlp_destroy(mlp);
}

// forward, cross-entropy and backward by hand are what heed_mlp_loss() does; they also give the gradient of x.
static void the_parts_add_up_to_the_loss_call(void **state) {
  heed_context *ctx = support_context(state);
  struct reference r;
  heed_mlp *mlp = make_mlp(ctx, &r);
  float x_data[BATCH * 7], whole[MAX_COUNT], parts[MAX_COUNT];
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, x_dims, 3, x_data), *target = NULL, *loss = NULL;
  heed_tensor *logits = NULL, *dlogits = NULL, *dx = NULL;
  for (int i = 0; i < BATCH * 7; ++i) r.x[i] = x_data[i];
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 1, target_dims, target_data, &target));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, loss_dims, &loss));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, logits_dims, &logits));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, logits_dims, &dlogits));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, x_dims, &dx));
  const heed_parameter *parameters;
  heed_mlp_parameters(mlp, &parameters);
  const int64_t count = heed_tensor_count(parameters[0].grad);
  ASSERT_OK(heed_mlp_loss(mlp, x, target, logits, loss, false));
  ASSERT_OK(heed_tensor_download_f32(parameters[0].grad, whole, count));
  ASSERT_OK(heed_mlp_fwd(mlp, x, true, logits));
  ASSERT_OK(heed_cross_entropy_bwd(logits, target, NULL, NULL, dlogits));
  ASSERT_OK(heed_mlp_bwd(mlp, dlogits, dx, false));
  ASSERT_OK(heed_tensor_download_f32(parameters[0].grad, parts, count));
  assert_memory_equal(whole, parts, (size_t)count * sizeof *whole);
  double gradient[BATCH * 7];
  reference_gradient(&r, r.x, BATCH * 7, gradient);
  assert_close(dx, gradient, 2e-5, "x");
  heed_tensor *const all[] = {x, target, loss, logits, dlogits, dx};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) heed_tensor_destroy(all[i]);
  heed_mlp_destroy(mlp);
}

// A batch that shrinks and grows again gives each row the logits it had, bit for bit, and takes no more tensors.
static void a_smaller_batch_reuses_memory(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlp = make_mlp(ctx, NULL);
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, x_dims, 3, NULL), *logits = NULL, *few_x = NULL, *few_logits = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, logits_dims, &logits));
  ASSERT_OK(heed_tensor_slice(x, 0, 0, 2, &few_x));
  ASSERT_OK(heed_tensor_slice(logits, 0, 0, 2, &few_logits));
  float before[BATCH * CLASSES], few[2 * CLASSES], after[BATCH * CLASSES];
  ASSERT_OK(heed_mlp_fwd(mlp, x, true, logits));
  ASSERT_OK(heed_tensor_download(logits, before, sizeof before));
  const size_t live = heed_context_live_tensors(ctx);
  ASSERT_OK(heed_mlp_fwd(mlp, few_x, true, few_logits));
  ASSERT_OK(heed_tensor_download(few_logits, few, sizeof few));
  ASSERT_OK(heed_mlp_fwd(mlp, x, true, logits));
  ASSERT_OK(heed_tensor_download(logits, after, sizeof after));
  assert_int_equal(heed_context_live_tensors(ctx), live);
  assert_memory_equal(before, after, sizeof before);
  for (int i = 0; i < 2 * CLASSES; ++i) assert_true(fabsf(few[i] - before[i]) <= 1e-6f);
  heed_tensor_destroy(few_x);
  heed_tensor_destroy(few_logits);
  heed_tensor_destroy(x);
  heed_tensor_destroy(logits);
  heed_mlp_destroy(mlp);
}

static void training_twice_gives_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, x_dims, 3, NULL), *target = NULL, *loss = NULL;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 1, target_dims, target_data, &target));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, loss_dims, &loss));
  float results[2][PARAMETERS][MAX_COUNT] = {0};
  for (int run = 0; run < 2; ++run) {
    heed_mlp *mlp = make_mlp(ctx, NULL);
    const heed_parameter *parameters;
    const size_t count = heed_mlp_parameters(mlp, &parameters);
    heed_optimizer *optimizer = NULL;
    const heed_optimizer_config config = {.sgd = {.lr = 0.1, .momentum = 0.5}};
    ASSERT_OK(heed_optimizer_create(parameters, count, &config, &optimizer));
    float first = 0, last = 0;
    for (int step = 0; step < 20; ++step) {
      ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, false));
      ASSERT_OK(heed_tensor_download(loss, step == 0 ? &first : &last, sizeof last));
      ASSERT_OK(heed_optimizer_step(optimizer));
    }
    assert_true(last < first);
    for (size_t p = 0; p < count; ++p)
      ASSERT_OK(heed_tensor_download_f32(parameters[p].value, results[run][p], heed_tensor_count(parameters[p].value)));
    heed_optimizer_destroy(optimizer);
    heed_mlp_destroy(mlp);
  }
  assert_memory_equal(results[0], results[1], sizeof results[0]);
  heed_tensor_destroy(x);
  heed_tensor_destroy(target);
  heed_tensor_destroy(loss);
}

static void misuse_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_mlp *mlp = (heed_mlp *)1;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "1 sizes",
               heed_mlp_create(ctx, &(heed_mlp_config){.sizes = sizes, .count = 1, .dtype = HEED_F32}, 0, &mlp));
  assert_null(mlp);
  ASSERT_FAILS(
      HEED_ERROR_INVALID_ARGUMENT, "size 1 is 0",
      heed_mlp_create(ctx, &(heed_mlp_config){.sizes = (const int64_t[]){3, 0, 2}, .count = 3, .dtype = HEED_F32}, 0,
                      &mlp));
  ASSERT_FAILS(HEED_ERROR_DTYPE, "I32",
               heed_mlp_create(ctx, &(heed_mlp_config){.sizes = sizes, .count = 4, .dtype = HEED_I32}, 0, &mlp));
  const heed_status huge = heed_mlp_create(
      ctx,
      &(heed_mlp_config){.sizes = (const int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40}, .count = 2, .dtype = HEED_F32},
      0, &mlp);
  assert_true(huge == HEED_ERROR_OVERFLOW || huge == HEED_ERROR_OUT_OF_MEMORY);
  assert_non_null(strstr(heed_last_error(), "l1.weight"));
  mlp = make_mlp(ctx, NULL);
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, x_dims, 3, NULL);
  heed_tensor *logits = support_tensor(ctx, HEED_F32, 2, logits_dims, 4, NULL);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "a backward needs a forward", heed_mlp_bwd(mlp, logits, NULL, false));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "x is F32[5, 3]", heed_mlp_fwd(mlp, logits, true, logits));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "logits is F32[5, 7]", heed_mlp_fwd(mlp, x, true, x));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "a backward needs a forward", heed_mlp_bwd(mlp, logits, NULL, false));
  ASSERT_OK(heed_mlp_fwd(mlp, x, true, logits));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "dlogits is F32[5, 7]", heed_mlp_bwd(mlp, x, NULL, false));
  ASSERT_OK(heed_mlp_bwd(mlp, logits, NULL, false));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "a backward needs a forward", heed_mlp_bwd(mlp, logits, NULL, false));
  heed_tensor_destroy(x);
  heed_tensor_destroy(logits);
  heed_mlp_destroy(mlp);
  heed_mlp_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parameters_are_named_and_bounded_as_pytorch_has_them),
      cmocka_unit_test(parameters_lie_one_after_another),
      cmocka_unit_test(gradients_are_the_slopes_of_the_loss),
      cmocka_unit_test(the_parts_add_up_to_the_loss_call),
      cmocka_unit_test(a_smaller_batch_reuses_memory),
      cmocka_unit_test(training_twice_gives_the_same_bits),
      cmocka_unit_test(misuse_is_refused),
  };
  const int on_host = cmocka_run_group_tests_name("host", tests, support_open_host, support_close);
  return on_host + cmocka_run_group_tests_name("device", tests, support_open_device, support_close);
}
