// 200 steps of SGD with momentum on a 784-512-10 MLP end where PyTorch ends in float64. The data and the first weights are drawn by
// a formula that reference_sgd.py repeats; its results are in data/reference_sgd.safetensors.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heed/io.h>
#include <heed/nn.h>

#include "support_devices.h"

enum { SEED = 2026, BATCH = 64, INPUTS = 784, CLASSES = 10, STEPS = 200, LOSS_EVERY = 10, SAMPLES = 256 };
// Streams of the drawn numbers; the last two plus the parameter's index.
enum { LABEL = 1, PROTOTYPE = 2, NOISE = 3, PARAMETER = 4, SAMPLE = 16 };
static const int64_t sizes[] = {INPUTS, 512, CLASSES};

// F32 rounding, about 6e-8 a step and element, random in sign; 200 steps leave it far below. What a wrong step does is far above.
#define TOLERANCE 1e-4

static double drawn(uint64_t stream, int64_t index, double scale) {
  return floor(heed_random_uniform(SEED, stream, (uint64_t)index) * scale);
}

static void draw_batch(int step, float *x, int32_t *labels) {
  for (int row = 0; row < BATCH; ++row) {
    const int64_t n = (int64_t)step * BATCH + row;
    labels[row] = (int32_t)drawn(LABEL, n, CLASSES);
    for (int64_t i = 0; i < INPUTS; ++i) {
      const double prototype = drawn(PROTOTYPE, labels[row] * INPUTS + i, 256) / 256 - 0.5;
      x[row * INPUTS + i] = (float)(prototype + drawn(NOISE, n * INPUTS + i, 256) / 128 - 1);
    }
  }
}

static float drawn_weight(size_t parameter, int64_t index) {
  return (float)((drawn(PARAMETER + parameter, index, 0x1p24) - 0x1p23) / 0x1p28);
}

static void draw_parameters(const heed_parameter *parameters, size_t count) {
  for (size_t p = 0; p < count; ++p) {
    const int64_t size = heed_tensor_count(parameters[p].value);
    float *values = calloc((size_t)size, sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < size; ++i) values[i] = drawn_weight(p, i);
    ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, values, size));
    free(values);
  }
}

static heed_safetensors *read_reference(void) {
  char path[512];
  const char *slash = strrchr(__FILE__, '/');
  snprintf(path, sizeof path, "%.*s/data/reference_sgd.safetensors", slash ? (int)(slash - __FILE__) : 1,
           slash ? __FILE__ : ".");
  heed_safetensors *file = NULL;
  ASSERT_OK(heed_safetensors_read(path, &file));
  return file;
}

// Compares sampled entries, and of those how far training moved them: weights hardly move, so an error shows there first.
static void assert_ends_at(const heed_safetensors *reference, size_t p, const heed_parameter *parameter) {
  const heed_array *expected = heed_safetensors_find(reference, parameter->name);
  assert_non_null(expected);
  const int64_t size = heed_tensor_count(parameter->value), samples = size < SAMPLES ? size : SAMPLES;
  assert_int_equal(expected->bytes, (size_t)samples * sizeof(float));
  float *values = calloc((size_t)size, sizeof *values);
  assert_non_null(values);
  ASSERT_OK(heed_tensor_download_f32(parameter->value, values, size));
  double difference = 0, norm = 0, moved = 0;
  for (int64_t i = 0; i < samples; ++i) {
    const int64_t at = size <= SAMPLES ? i : (int64_t)drawn(SAMPLE + p, i, (double)size);
    const double e = ((const float *)expected->data)[i], d = values[at] - e, m = e - drawn_weight(p, at);
    difference += d * d;
    norm += e * e;
    moved += m * m;
  }
  free(values);
  print_message("%s: relative error %.2e, of the change %.2e\n", parameter->name, sqrt(difference / norm),
                sqrt(difference / moved));
  assert_true(sqrt(difference / norm) <= TOLERANCE);
  assert_true(sqrt(difference / moved) <= TOLERANCE);
}

static void assert_losses(const heed_safetensors *reference, const float *losses) {
  const heed_array *expected = heed_safetensors_find(reference, "loss");
  assert_non_null(expected);
  assert_int_equal(expected->bytes, STEPS / LOSS_EVERY * sizeof(float));
  for (int i = 0; i < STEPS / LOSS_EVERY; ++i) {
    const double e = ((const float *)expected->data)[i], actual = losses[(i + 1) * LOSS_EVERY - 1];
    if (!(fabs(actual - e) <= TOLERANCE * e))
      fail_msg("loss of step %d is %.7g instead of %.7g", (i + 1) * LOSS_EVERY, actual, e);
  }
}

// All steps are queued; losses stay on the device until the end.
static void train(heed_context *ctx, heed_mlp *mlp, const heed_parameter *parameters, size_t count, float *losses) {
  const heed_optimizer_config config = {.sgd = {.lr = 0.01, .momentum = 0.5}};
  const int64_t x_dims[] = {BATCH, INPUTS}, target_dims[] = {BATCH}, loss_dims[] = {STEPS};
  heed_optimizer *optimizer = NULL;
  heed_tensor *x = NULL, *target = NULL, *all_losses = NULL;
  ASSERT_OK(heed_optimizer_create(parameters, count, &config, &optimizer));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, x_dims, &x));
  ASSERT_OK(heed_tensor_create(ctx, HEED_I32, 1, target_dims, &target));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, loss_dims, &all_losses));
  static float x_data[BATCH * INPUTS];
  int32_t labels[BATCH];
  size_t live = 0;
  for (int step = 0; step < STEPS; ++step) {
    draw_batch(step, x_data, labels);
    ASSERT_OK(heed_tensor_upload(x, x_data, sizeof x_data));
    ASSERT_OK(heed_tensor_upload(target, labels, sizeof labels));
    heed_tensor *loss = NULL;
    ASSERT_OK(heed_tensor_slice(all_losses, 0, step, 1, &loss));
    ASSERT_OK(heed_mlp_loss(mlp, x, target, NULL, loss, false));
    ASSERT_OK(heed_optimizer_step(optimizer));
    heed_tensor_destroy(loss);
    if (step == 0) live = heed_context_live_tensors(ctx);
  }
  ASSERT_OK(heed_sync(ctx));
  assert_int_equal(heed_context_live_tensors(ctx), live);
  ASSERT_OK(heed_tensor_download_f32(all_losses, losses, STEPS));
  heed_tensor_destroy(x);
  heed_tensor_destroy(target);
  heed_tensor_destroy(all_losses);
  heed_optimizer_destroy(optimizer);
}

static void training_ends_where_pytorch_ends(void **state) {
  heed_context *ctx = support_context(state);
  heed_safetensors *reference = read_reference();
  heed_mlp *mlp = NULL;
  ASSERT_OK(heed_mlp_create(ctx, &(heed_mlp_config){.sizes = sizes, .count = 3}, 0, &mlp));
  const heed_parameter *parameters;
  const size_t count = heed_mlp_parameters(mlp, &parameters);
  draw_parameters(parameters, count);
  float losses[STEPS];
  train(ctx, mlp, parameters, count, losses);
  assert_losses(reference, losses);
  for (size_t p = 0; p < count; ++p) assert_ends_at(reference, p, &parameters[p]);
  heed_mlp_destroy(mlp);
  heed_safetensors_destroy(reference);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(training_ends_where_pytorch_ends)};
  const int on_host = cmocka_run_group_tests_name("host", tests, support_open_host, support_close);
  return on_host + cmocka_run_group_tests_name("device", tests, support_open_device, support_close);
}
