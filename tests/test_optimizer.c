// The optimizer steps parameters by PyTorch's SGD formula, written out here in F64, and carries its momentum over.
#include <math.h>
#include <string.h>

#include <heed/nn.h>

#include "support_devices.h"

enum { SIZE = 37, STEPS = 4 };
// Each step rounds a handful of times in F32: 4 steps of 2^-24 each, with room for the sum of terms.
#define TOLERANCE 1e-6

// g ← grad + decay p; buf ← g at first, else momentum buf + (1 − dampening) g; g ← nesterov ? g + momentum buf : buf; p ← p − lr g.
static void reference_step(const heed_sgd_options *o, bool first, const float *grad, double *param, double *buffer) {
  for (int i = 0; i < SIZE; ++i) {
    double g = grad[i] + o->weight_decay * param[i];
    if (o->momentum > 0) {
      buffer[i] = first ? g : o->momentum * buffer[i] + (1 - o->dampening) * g;
      g = o->nesterov ? g + o->momentum * buffer[i] : buffer[i];
    }
    param[i] -= o->lr * g;
  }
}

static heed_parameter make_parameter(heed_context *ctx, const char *name, uint64_t seed, double *copy) {
  const int64_t dims[] = {SIZE};
  float values[SIZE];
  heed_parameter parameter = {.name = name};
  parameter.value = support_tensor(ctx, HEED_F32, 1, dims, seed, values);
  for (int i = 0; i < SIZE; ++i) copy[i] = values[i];
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, dims, &parameter.grad));
  return parameter;
}

static void assert_close(const heed_tensor *tensor, const double *expected) {
  float actual[SIZE];
  ASSERT_OK(heed_tensor_download_f32(tensor, actual, SIZE));
  const double error = support_relative(actual, expected, SIZE);
  if (!(error <= TOLERANCE)) fail_msg("relative error %g", error);
}

static void steps_match_the_formula(void **state, heed_sgd_options options) {
  heed_context *ctx = support_context(state);
  double value[2][SIZE], buffer[2][SIZE] = {{0}};
  heed_parameter parameters[] = {make_parameter(ctx, "a", 1, value[0]), make_parameter(ctx, "b", 2, value[1])};
  heed_optimizer *optimizer = NULL;
  ASSERT_OK(heed_optimizer_create(parameters, 2, &(heed_optimizer_config){.sgd = options}, &optimizer));
  for (int step = 0; step < STEPS; ++step) {
    for (int p = 0; p < 2; ++p) {
      float grad[SIZE];
      support_fill(grad, SIZE, (uint64_t)(10 + 2 * step + p));
      ASSERT_OK(heed_tensor_upload_f32(parameters[p].grad, grad, SIZE));
      reference_step(&options, step == 0, grad, value[p], buffer[p]);
    }
    ASSERT_OK(heed_optimizer_step(optimizer));
    assert_int_equal(heed_optimizer_steps(optimizer), step + 1);
  }
  for (int p = 0; p < 2; ++p) {
    assert_close(parameters[p].value, value[p]);
    heed_tensor *momentum = heed_optimizer_state(optimizer, "momentum_buffer", (size_t)p);
    assert_int_equal(momentum != NULL, options.momentum > 0);
    if (momentum) assert_close(momentum, buffer[p]);
    heed_tensor_destroy(parameters[p].value);
    heed_tensor_destroy(parameters[p].grad);
  }
  assert_null(heed_optimizer_state(optimizer, "momentum_buffer", 2));
  heed_optimizer_destroy(optimizer);
}

// The norm is that of more gradients than the optimizer's: the caller's sum of squares says.
static void sgd_clips_by_the_squares_it_is_given(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sgd_options sgd = {.lr = 0.25};
  double value[SIZE], unused[SIZE];
  float grad[SIZE];
  heed_parameter parameter = make_parameter(ctx, "a", 1, value);
  heed_tensor *squares = NULL;
  heed_optimizer *optimizer = NULL;
  const float sums[] = {400, 4};
  const double factors[] = {3 / (20 + 1e-6), 1};
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, (const int64_t[]){1}, &squares));
  const heed_optimizer_config config = {.sgd = sgd, .max_norm = 3, .squares = squares};
  ASSERT_OK(heed_optimizer_create(&parameter, 1, &config, &optimizer));
  for (int step = 0; step < 2; ++step) {
    support_fill(grad, SIZE, (uint64_t)(20 + step));
    ASSERT_OK(heed_tensor_upload_f32(parameter.grad, grad, SIZE));
    ASSERT_OK(heed_tensor_upload_f32(squares, &sums[step], 1));
    ASSERT_OK(heed_optimizer_step(optimizer));
    for (int i = 0; i < SIZE; ++i) grad[i] = (float)(factors[step] * grad[i]);
    reference_step(&sgd, step == 0, grad, value, unused);
    float norm;
    ASSERT_OK(heed_tensor_download_f32(heed_optimizer_norm(optimizer), &norm, 1));
    assert_true(norm == sqrtf(sums[step]));
  }
  assert_close(parameter.value, value);
  assert_null(heed_optimizer_counts(optimizer));
  heed_optimizer_destroy(optimizer);
  heed_tensor_destroy(squares);
  heed_tensor_destroy(parameter.value);
  heed_tensor_destroy(parameter.grad);
}

static void plain_sgd(void **state) { steps_match_the_formula(state, (heed_sgd_options){.lr = 0.25}); }
static void weight_decay(void **state) {
  steps_match_the_formula(state, (heed_sgd_options){.lr = 0.25, .weight_decay = 0.125});
}
static void momentum_starts_with_the_first_gradient(void **state) {
  // With dampening the first step tells: PyTorch does not dampen it.
  steps_match_the_formula(state, (heed_sgd_options){.lr = 0.25, .momentum = 0.75, .dampening = 0.5});
}
static void nesterov(void **state) {
  steps_match_the_formula(state,
                          (heed_sgd_options){.lr = 0.25, .momentum = 0.75, .nesterov = true, .weight_decay = 0.125});
}

// Saving the momentum and the count and putting them back goes on as if nothing had happened.
static void a_restored_optimizer_goes_on(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sgd_options options = {.lr = 0.25, .momentum = 0.75, .dampening = 0.5};
  double unused[SIZE];
  float values[2][SIZE], saved[SIZE], grad[SIZE];
  for (int restored = 0; restored < 2; ++restored) {
    heed_parameter parameter = make_parameter(ctx, "a", 1, unused);
    heed_optimizer *optimizer = NULL;
    ASSERT_OK(heed_optimizer_create(&parameter, 1, &(heed_optimizer_config){.sgd = options}, &optimizer));
    for (int step = 0; step < STEPS; ++step) {
      if (restored && step == 2) {
        ASSERT_OK(heed_tensor_download_f32(heed_optimizer_state(optimizer, "momentum_buffer", 0), saved, SIZE));
        heed_optimizer_destroy(optimizer);
        ASSERT_OK(heed_optimizer_create(&parameter, 1, &(heed_optimizer_config){.sgd = options}, &optimizer));
        ASSERT_OK(heed_tensor_upload_f32(heed_optimizer_state(optimizer, "momentum_buffer", 0), saved, SIZE));
        heed_optimizer_set_steps(optimizer, step);
      }
      support_fill(grad, SIZE, (uint64_t)(20 + step));
      ASSERT_OK(heed_tensor_upload_f32(parameter.grad, grad, SIZE));
      ASSERT_OK(heed_optimizer_step(optimizer));
    }
    ASSERT_OK(heed_tensor_download_f32(parameter.value, values[restored], SIZE));
    heed_optimizer_destroy(optimizer);
    heed_tensor_destroy(parameter.value);
    heed_tensor_destroy(parameter.grad);
  }
  assert_memory_equal(values[0], values[1], sizeof values[0]);
}

// Parameters in one storage are stepped as one, to the bits that each has on its own.
static void neighbours_in_memory_step_to_the_same_bits(void **state) {
  heed_context *ctx = support_context(state);
  const heed_sgd_options options = {.lr = 0.25, .momentum = 0.75, .dampening = 0.5, .weight_decay = 0.125};
  const int64_t all = 3 * SIZE, one = SIZE, strides[] = {1};
  float start[3 * SIZE], grad[3 * SIZE], results[2][3 * SIZE], buffers[2][3 * SIZE];
  support_fill(start, 3 * SIZE, 1);
  for (int apart = 0; apart < 2; ++apart) {
    heed_tensor *storage[2];
    heed_parameter parameters[3];
    for (int i = 0; i < 2; ++i) ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, &all, start, &storage[i]));
    for (int p = 0; p < 3; ++p) {
      parameters[p] = (heed_parameter){.name = "p"};
      heed_tensor **parts[] = {&parameters[p].value, &parameters[p].grad};
      for (int i = 0; i < 2; ++i)
        if (apart)
          ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, &one, start + p * SIZE, parts[i]));
        else
          ASSERT_OK(heed_tensor_view(storage[i], 1, &one, strides, p * SIZE, parts[i]));
    }
    heed_optimizer *optimizer = NULL;
    ASSERT_OK(heed_optimizer_create(parameters, 3, &(heed_optimizer_config){.sgd = options}, &optimizer));
    assert_true(heed_tensor_shares_storage(heed_optimizer_state(optimizer, "momentum_buffer", 0),
                                           heed_optimizer_state(optimizer, "momentum_buffer", 2)) == !apart);
    for (int step = 0; step < STEPS; ++step) {
      support_fill(grad, 3 * SIZE, (uint64_t)(30 + step));
      for (int p = 0; p < 3; ++p) ASSERT_OK(heed_tensor_upload_f32(parameters[p].grad, grad + p * SIZE, SIZE));
      ASSERT_OK(heed_optimizer_step(optimizer));
    }
    for (int p = 0; p < 3; ++p) {
      ASSERT_OK(heed_tensor_download_f32(parameters[p].value, results[apart] + p * SIZE, SIZE));
      ASSERT_OK(heed_tensor_download_f32(heed_optimizer_state(optimizer, "momentum_buffer", (size_t)p),
                                         buffers[apart] + p * SIZE, SIZE));
      heed_tensor_destroy(parameters[p].value);
      heed_tensor_destroy(parameters[p].grad);
    }
    heed_optimizer_destroy(optimizer);
    for (int i = 0; i < 2; ++i) heed_tensor_destroy(storage[i]);
  }
  assert_memory_equal(results[0], results[1], sizeof results[0]);
  assert_memory_equal(buffers[0], buffers[1], sizeof buffers[0]);
}

// Parameters of one storage may be listed in any order, or not be there at all: only neighbours are joined.
static void a_gap_or_another_order_is_stepped_all_the_same(void **state) {
  heed_context *ctx = support_context(state);
  const int64_t all = 4 * SIZE, one = SIZE, strides[] = {1}, places[] = {3, 0, 1};
  float start[4 * SIZE], after[4 * SIZE];
  support_fill(start, 4 * SIZE, 2);
  heed_tensor *values, *grads;
  heed_parameter parameters[3];
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, &all, start, &values));
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_F32, 1, &all, start, &grads));
  for (int p = 0; p < 3; ++p) {
    parameters[p].name = "p";
    ASSERT_OK(heed_tensor_view(values, 1, &one, strides, places[p] * SIZE, &parameters[p].value));
    ASSERT_OK(heed_tensor_view(grads, 1, &one, strides, places[p] * SIZE, &parameters[p].grad));
  }
  heed_optimizer *optimizer = NULL;
  ASSERT_OK(heed_optimizer_create(parameters, 3, &(heed_optimizer_config){.sgd = {.lr = 1}}, &optimizer));
  ASSERT_OK(heed_optimizer_step(optimizer));
  ASSERT_OK(heed_tensor_download_f32(values, after, 4 * SIZE));
  for (int i = 0; i < 4 * SIZE; ++i) assert_true(after[i] == (i / SIZE == 2 ? start[i] : 0));
  heed_optimizer_destroy(optimizer);
  for (int p = 0; p < 3; ++p) {
    heed_tensor_destroy(parameters[p].value);
    heed_tensor_destroy(parameters[p].grad);
  }
  heed_tensor_destroy(values);
  heed_tensor_destroy(grads);
}

static void a_gradient_of_another_shape_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  double unused[SIZE];
  heed_parameter parameter = make_parameter(ctx, "a", 1, unused);
  heed_tensor_destroy(parameter.grad);
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (const int64_t[]){SIZE, 1}, &parameter.grad));
  heed_optimizer *optimizer = NULL;
  ASSERT_FAILS(HEED_ERROR_SHAPE, "its gradient is F32[37, 1]",
               heed_optimizer_create(&parameter, 1, &(heed_optimizer_config){.sgd = {.lr = 1}}, &optimizer));
  heed_tensor_destroy(parameter.value);
  heed_tensor_destroy(parameter.grad);
}

static void impossible_options_are_refused(void **state) {
  (void)state;
  const struct {
    heed_sgd_options options;
    const char *part;
  } cases[] = {{{.lr = -1}, "lr"},
               {{.lr = NAN}, "lr"},
               {{.momentum = INFINITY}, "momentum"},
               {{.dampening = -0.5}, "dampening"},
               {{.weight_decay = -1}, "weight_decay"},
               {{.nesterov = true}, "nesterov"},
               {{.nesterov = true, .momentum = 0.5, .dampening = 0.5}, "nesterov"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    heed_optimizer *optimizer = (heed_optimizer *)1;
    ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, cases[i].part,
                 heed_optimizer_create(NULL, 0, &(heed_optimizer_config){.sgd = cases[i].options}, &optimizer));
    assert_null(optimizer);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_sgd),
      cmocka_unit_test(sgd_clips_by_the_squares_it_is_given),
      cmocka_unit_test(weight_decay),
      cmocka_unit_test(momentum_starts_with_the_first_gradient),
      cmocka_unit_test(nesterov),
      cmocka_unit_test(a_restored_optimizer_goes_on),
      cmocka_unit_test(neighbours_in_memory_step_to_the_same_bits),
      cmocka_unit_test(a_gap_or_another_order_is_stepped_all_the_same),
      cmocka_unit_test(a_gradient_of_another_shape_is_refused),
      cmocka_unit_test(impossible_options_are_refused),
  };
  const int on_host = cmocka_run_group_tests_name("host", tests, support_open_host, support_close);
  return on_host + cmocka_run_group_tests_name("device", tests, support_open_device, support_close);
}
