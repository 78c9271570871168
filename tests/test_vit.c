// The vision transformer: its logits and gradients are those of the equations in F64, micro-batches add up, dropout follows its seed, memory
// is kept from step to step, and what does not fit is refused.
#include <heed/nn.h>
#include <stdlib.h>

#include "support_gradients.h"
#include "support_values.h"

enum { N = 3, ROWS = 4, COLS = 6, SIDE = 2, PATCHES = 6, VALUES = SIDE * SIDE, PIXELS = ROWS * COLS };
enum { WIDTH = 8, HEADS = 2, FFN = 12, LAYERS = 2, CLASSES = 5, DIM = WIDTH / HEADS };
enum { PARAMETERS = 3 + 12 * LAYERS + 4, MOST = 3 * WIDTH * WIDTH };

static const int32_t target_data[N] = {2, 0, 4};

static heed_vit_config small(void) {
  return (heed_vit_config){.rows = ROWS,
                           .cols = COLS,
                           .patch = SIDE,
                           .classes = CLASSES,
                           .layers = LAYERS,
                           .width = WIDTH,
                           .heads = HEADS,
                           .ffn = FFN};
}

// Larger values than the initial ones, so that each parameter matters.
static heed_vit *make(heed_context *ctx, const heed_vit_config *config) {
  heed_vit *vit = NULL;
  ASSERT_OK(heed_vit_create(ctx, config, 3, &vit));
  const heed_parameter *parameters;
  const size_t count = heed_vit_parameters(vit, &parameters);
  for (size_t p = 0; p < count; ++p) {
    const int64_t size = heed_tensor_count(parameters[p].value);
    float *values = support_get(parameters[p].value);
    for (int64_t i = 0; i < size; ++i) values[i] += (float)(0.3 * heed_random_normal(17, p, (uint64_t)i));
    ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, values, size));
  }
  return vit;
}

// ---------------------------------------------------------------- the equations, in F64

struct reference {
  double parameter[PARAMETERS][MOST];
  double images[N][PIXELS];
};

static void linear(const double *x, const double *w, const double *b, int in, int out, double *y) {
  for (int o = 0; o < out; ++o) {
    y[o] = b[o];
    for (int i = 0; i < in; ++i) y[o] += w[o * in + i] * x[i];
  }
}

static void norm(const double *x, const double *w, const double *b, double *y) {
  double mean = 0, square = 0;
  for (int i = 0; i < WIDTH; ++i) mean += x[i] / WIDTH;
  for (int i = 0; i < WIDTH; ++i) square += (x[i] - mean) * (x[i] - mean) / WIDTH;
  for (int i = 0; i < WIDTH; ++i) y[i] = (x[i] - mean) / sqrt(square + 1e-5) * w[i] + b[i];
}

// heads [PATCHES, WIDTH] of qkv [PATCHES, 3 WIDTH]: every patch attends all of them.
static void attend(double qkv[PATCHES][3 * WIDTH], double heads[PATCHES][WIDTH]) {
  for (int h = 0; h < HEADS; ++h)
    for (int i = 0; i < PATCHES; ++i) {
      double p[PATCHES], sum = 0;
      for (int j = 0; j < PATCHES; ++j) {
        double s = 0;
        for (int d = 0; d < DIM; ++d) s += qkv[i][h * DIM + d] * qkv[j][WIDTH + h * DIM + d];
        sum += p[j] = exp(s / sqrt(DIM));
      }
      for (int d = 0; d < DIM; ++d) {
        heads[i][h * DIM + d] = 0;
        for (int j = 0; j < PATCHES; ++j) heads[i][h * DIM + d] += p[j] / sum * qkv[j][2 * WIDTH + h * DIM + d];
      }
    }
}

static double gelu(double x) {
  return x / 2 * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

// p: the twelve parameters of the block.
static void block(double x[PATCHES][WIDTH], double p[12][MOST]) {
  double h[WIDTH], qkv[PATCHES][3 * WIDTH], heads[PATCHES][WIDTH], up[FFN];
  for (int i = 0; i < PATCHES; ++i) {
    norm(x[i], p[0], p[1], h);
    linear(h, p[2], p[3], WIDTH, 3 * WIDTH, qkv[i]);
  }
  attend(qkv, heads);
  for (int i = 0; i < PATCHES; ++i) {
    linear(heads[i], p[4], p[5], WIDTH, WIDTH, h);
    for (int c = 0; c < WIDTH; ++c) x[i][c] += h[c];
    norm(x[i], p[6], p[7], h);
    linear(h, p[8], p[9], WIDTH, FFN, up);
    for (int c = 0; c < FFN; ++c) up[c] = gelu(up[c]);
    linear(up, p[10], p[11], FFN, WIDTH, h);
    for (int c = 0; c < WIDTH; ++c) x[i][c] += h[c];
  }
}

static void reference_logits(struct reference *r, int n, double logits[CLASSES]) {
  double x[PATCHES][WIDTH], mean[WIDTH] = {0};
  for (int i = 0; i < PATCHES; ++i) {
    double patch[VALUES];
    const int top = i / (COLS / SIDE) * SIDE, left = i % (COLS / SIDE) * SIDE;
    for (int v = 0; v < VALUES; ++v) patch[v] = r->images[n][(top + v / SIDE) * COLS + left + v % SIDE];
    linear(patch, r->parameter[0], r->parameter[1], VALUES, WIDTH, x[i]);
    for (int c = 0; c < WIDTH; ++c) x[i][c] += r->parameter[2][i * WIDTH + c];
  }
  for (int layer = 0; layer < LAYERS; ++layer) block(x, &r->parameter[3 + 12 * layer]);
  double(*last)[MOST] = &r->parameter[3 + 12 * LAYERS];
  for (int i = 0; i < PATCHES; ++i) {
    double h[WIDTH];
    norm(x[i], last[0], last[1], h);
    for (int c = 0; c < WIDTH; ++c) mean[c] += h[c] / PATCHES;
  }
  linear(mean, last[2], last[3], WIDTH, CLASSES, logits);
}

static double reference_loss(void *of) {
  struct reference *r = of;
  double loss = 0;
  for (int n = 0; n < N; ++n) {
    double logits[CLASSES], sum = 0;
    reference_logits(r, n, logits);
    for (int c = 0; c < CLASSES; ++c) sum += exp(logits[c]);
    loss += (log(sum) - logits[target_data[n]]) / N;
  }
  return loss;
}

// Slopes of the F64 loss by central differences, whose error at this step is about 1e-10.
static void reference_gradient(struct reference *r, double *values, int64_t count, double *gradient) {
  gradient_slopes(reference_loss, r, values, count, 1e-5, gradient);
}

static void read_parameters(const heed_vit *vit, struct reference *r) {
  const heed_parameter *parameters;
  assert_int_equal(heed_vit_parameters(vit, &parameters), PARAMETERS);
  for (int p = 0; p < PARAMETERS; ++p) {
    const int64_t count = heed_tensor_count(parameters[p].value);
    assert_true(count <= MOST);
    const float *values = support_get(parameters[p].value);
    for (int64_t i = 0; i < count; ++i) r->parameter[p][i] = (double)values[i];
  }
}

static heed_tensor *some_images(heed_context *ctx, struct reference *r) {
  heed_tensor *images = support_random(ctx, HEED_F32, SHAPE(N, PIXELS), 5);
  const float *values = support_get(images);
  for (int i = 0; r && i < N * PIXELS; ++i) r->images[i / PIXELS][i % PIXELS] = (double)values[i];
  return images;
}

static void assert_close(const float *actual, const double *expected, int64_t count, double tolerance,
                         const char *name) {
  const double error = support_relative(actual, expected, count);
  if (!(error <= tolerance)) fail_msg("%s: relative error %g is over %g", name, error, tolerance);
}

static void logits_and_gradients_are_those_of_the_equations(void **state) {
  heed_context *ctx = support_context(state);
  const heed_vit_config config = small();
  struct reference *r = support_memory(sizeof *r);
  heed_vit *vit = make(ctx, &config);
  read_parameters(vit, r);
  heed_tensor *images = some_images(ctx, r), *target = support_put(ctx, HEED_I32, SHAPE(N), target_data);
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(N, CLASSES)), *loss = support_new(ctx, HEED_F32, SHAPE(1));
  heed_tensor *forward = support_like(logits);
  ASSERT_OK(heed_vit_loss(vit, images, target, 0, logits, loss, false));
  ASSERT_OK(heed_vit_fwd(vit, images, false, 0, forward));
  ASSERT_SAME_BITS(logits, forward);
  double expected[N * CLASSES];
  for (int n = 0; n < N; ++n) reference_logits(r, n, expected + (size_t)n * CLASSES);
  assert_close(support_get(logits), expected, N * CLASSES, 5e-6, "logits");
  ASSERT_CLOSE(support_get(loss)[0], reference_loss(r), 5e-6 * reference_loss(r));
  const heed_parameter *parameters;
  heed_vit_parameters(vit, &parameters);
  for (int p = 0; p < PARAMETERS; ++p) {
    double gradient[MOST];
    const int64_t count = heed_tensor_count(parameters[p].value);
    reference_gradient(r, r->parameter[p], count, gradient);
    assert_close(support_get(parameters[p].grad), gradient, count, 2e-5, parameters[p].name);
  }
  heed_vit_destroy(vit);
}

// ---------------------------------------------------------------- the module

static void parameters_are_named_as_in_pytorch(void **state) {
  heed_context *ctx = support_context(state);
  heed_vit_config config = small();
  config.layers = 1;
  config.prefix = "vit.";
  static const char *const names[] = {"vit.patch.weight",
                                      "vit.patch.bias",
                                      "vit.positions",
                                      "vit.encoder.layers.0.norm1.weight",
                                      "vit.encoder.layers.0.norm1.bias",
                                      "vit.encoder.layers.0.self_attn.in_proj_weight",
                                      "vit.encoder.layers.0.self_attn.in_proj_bias",
                                      "vit.encoder.layers.0.self_attn.out_proj.weight",
                                      "vit.encoder.layers.0.self_attn.out_proj.bias",
                                      "vit.encoder.layers.0.norm2.weight",
                                      "vit.encoder.layers.0.norm2.bias",
                                      "vit.encoder.layers.0.linear1.weight",
                                      "vit.encoder.layers.0.linear1.bias",
                                      "vit.encoder.layers.0.linear2.weight",
                                      "vit.encoder.layers.0.linear2.bias",
                                      "vit.encoder.norm.weight",
                                      "vit.encoder.norm.bias",
                                      "vit.head.weight",
                                      "vit.head.bias"};
  heed_vit *vit = NULL;
  ASSERT_OK(heed_vit_create(ctx, &config, 1, &vit));
  const heed_parameter *parameters;
  assert_int_equal(heed_vit_parameters(vit, &parameters), sizeof names / sizeof *names);
  for (size_t p = 0; p < sizeof names / sizeof *names; ++p) assert_string_equal(parameters[p].name, names[p]);
  assert_int_equal(heed_tensor_dim(parameters[0].value, 1), VALUES);
  assert_int_equal(heed_tensor_dim(parameters[2].value, 0), PATCHES);
  assert_int_equal(heed_vit_configuration(vit)->ffn, FFN);
  assert_null(heed_vit_configuration(vit)->prefix);
  heed_vit_destroy(vit);
  config.ffn = 0;
  ASSERT_OK(heed_vit_create(ctx, &config, 1, &vit));
  assert_int_equal(heed_vit_configuration(vit)->ffn, 4 * WIDTH);
  heed_vit_destroy(vit);
}

// forward, cross-entropy and backward by hand give the bits of heed_vit_loss(), and weighted parts add up to the gradients of the whole.
static void micro_batches_add_up(void **state) {
  heed_context *ctx = support_context(state);
  const heed_vit_config config = small();
  heed_vit *whole = make(ctx, &config), *once = make(ctx, &config), *parts = make(ctx, &config);
  heed_tensor *images = some_images(ctx, NULL), *target = support_put(ctx, HEED_I32, SHAPE(N), target_data);
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(N, CLASSES)), *loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_OK(heed_vit_loss(whole, images, target, 0, NULL, loss, false));
  ASSERT_OK(heed_vit_fwd(once, images, true, 0, logits));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(logits, target, NULL, NULL, loss, logits));
  ASSERT_OK(heed_vit_bwd(once, logits, false));
  const int64_t starts[] = {0, 1, N};
  for (int part = 0; part < 2; ++part) {
    const int64_t rows = starts[part + 1] - starts[part];
    heed_tensor *x = NULL, *y = NULL, *z = NULL;
    heed_tensor *weight = support_put_f32(ctx, HEED_F32, SHAPE(1), (float[]){(float)rows / N});
    ASSERT_OK(heed_tensor_slice(images, 0, starts[part], rows, &x));
    ASSERT_OK(heed_tensor_slice(target, 0, starts[part], rows, &y));
    ASSERT_OK(heed_tensor_slice(logits, 0, 0, rows, &z));
    support_keep(x), support_keep(y), support_keep(z);
    ASSERT_OK(heed_vit_fwd(parts, x, true, 0, z));
    ASSERT_OK(heed_cross_entropy_fwd_bwd(z, y, NULL, weight, loss, z));
    ASSERT_OK(heed_vit_bwd(parts, z, part > 0));
  }
  const heed_parameter *of_whole, *of_once, *of_parts;
  heed_vit_parameters(whole, &of_whole);
  heed_vit_parameters(once, &of_once);
  heed_vit_parameters(parts, &of_parts);
  for (int p = 0; p < PARAMETERS; ++p) {
    support_assert_same_bits(of_once[p].grad, of_whole[p].grad, of_whole[p].name, __FILE__, __LINE__);
    support_assert_agree(of_parts[p].grad, of_whole[p].grad, 2e-5, of_whole[p].name, __FILE__, __LINE__);
  }
  heed_vit_destroy(whole);
  heed_vit_destroy(once);
  heed_vit_destroy(parts);
}

// With dropout the gradients are still the slopes of the loss that the same seed gives.
static void dropout_follows_its_seed(void **state) {
  heed_context *ctx = support_context(state);
  heed_vit_config config = small();
  config.dropout = 0.25;
  heed_vit *vit = make(ctx, &config);
  heed_tensor *images = some_images(ctx, NULL), *target = support_put(ctx, HEED_I32, SHAPE(N), target_data);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *again = support_like(loss), *other = support_like(loss);
  ASSERT_OK(heed_vit_loss(vit, images, target, 7, NULL, loss, false));
  ASSERT_OK(heed_vit_loss(vit, images, target, 8, NULL, other, false));
  ASSERT_OK(heed_vit_loss(vit, images, target, 7, NULL, again, false));
  ASSERT_SAME_BITS(again, loss);
  assert_true(support_get(other)[0] != support_get(loss)[0]);
  const heed_parameter *parameters;
  const size_t count = heed_vit_parameters(vit, &parameters);
  for (size_t p = 0; p < count; ++p) {
    const int64_t size = heed_tensor_count(parameters[p].value);
    ASSERT_OK(heed_vit_loss(vit, images, target, 7, NULL, loss, false));
    float *gradient = support_get(parameters[p].grad), *values = support_get(parameters[p].value);
    float *moved = support_memory((size_t)size * sizeof *moved);
    double square = 0, side[2];
    for (int64_t i = 0; i < size; ++i) square += (double)gradient[i] * (double)gradient[i];
    const double length = sqrt(square), step = 4e-3;
    if (length < 1e-3) continue;
    for (int s = 0; s < 2; ++s) {
      for (int64_t i = 0; i < size; ++i)
        moved[i] = (float)((double)values[i] + (s ? -step : step) * (double)gradient[i] / length);
      ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, moved, size));
      ASSERT_OK(heed_vit_loss(vit, images, target, 7, NULL, loss, false));
      side[s] = (double)support_get(loss)[0];
    }
    ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, values, size));
    const double slope = (side[0] - side[1]) / (2 * step);
    if (!(fabs(slope - length) <= 0.01 * length + 2e-4))
      fail_msg("%s: slope %g, gradient %g", parameters[p].name, slope, length);
  }
  heed_vit_destroy(vit);
}

static void a_smaller_batch_reuses_memory(void **state) {
  heed_context *ctx = support_context(state);
  const heed_vit_config config = small();
  heed_vit *vit = make(ctx, &config);
  heed_tensor *images = some_images(ctx, NULL), *target = support_put(ctx, HEED_I32, SHAPE(N), target_data);
  heed_tensor *loss = support_new(ctx, HEED_F32, SHAPE(1)), *again = support_like(loss), *x = NULL, *y = NULL;
  ASSERT_OK(heed_tensor_slice(images, 0, 1, 2, &x));
  ASSERT_OK(heed_tensor_slice(target, 0, 1, 2, &y));
  support_keep(x), support_keep(y);
  ASSERT_OK(heed_vit_loss(vit, images, target, 0, NULL, loss, false));
  const size_t live = heed_context_live_tensors(ctx);
  ASSERT_OK(heed_vit_loss(vit, x, y, 0, NULL, again, false));
  ASSERT_OK(heed_vit_loss(vit, images, target, 0, NULL, again, false));
  ASSERT_SAME_BITS(again, loss);
  assert_int_equal(heed_context_live_tensors(ctx), live);
  heed_vit_destroy(vit);
}

static void half_precision_is_close(void **state) {
  heed_context *ctx = support_context(state);
  heed_vit_config config = small();
  heed_vit *vit = make(ctx, &config), *half = NULL;
  config.dtype = HEED_BF16;
  ASSERT_OK(heed_vit_create(ctx, &config, 3, &half));
  const heed_parameter *parameters, *of_half;
  const size_t count = heed_vit_parameters(vit, &parameters);
  heed_vit_parameters(half, &of_half);
  for (size_t p = 0; p < count; ++p) ASSERT_OK(heed_copy(parameters[p].value, of_half[p].value));
  heed_tensor *images = some_images(ctx, NULL), *rounded = support_new(ctx, HEED_BF16, SHAPE(N, PIXELS));
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(N, CLASSES));
  heed_tensor *close = support_new(ctx, HEED_BF16, SHAPE(N, CLASSES));
  ASSERT_OK(heed_copy(images, rounded));
  ASSERT_OK(heed_vit_fwd(vit, images, false, 0, logits));
  ASSERT_OK(heed_vit_fwd(half, rounded, false, 0, close));
  ASSERT_AGREE(close, logits, 10 * 0x1p-8);  // ten roundings in a row, at most, do not average out
  heed_vit_destroy(vit);
  heed_vit_destroy(half);
}

// ---------------------------------------------------------------- refusals

static void wrong_configurations_are_refused(void **state) {
  heed_context *ctx = support_context(state);
  struct {
    const char *part;
    heed_vit_config config;
  } wrong[] = {{"cannot be cut into patches of 3 x 3", small()},
               {"classes is 0", small()},
               {"layers is 0", small()},
               {"multiple of 3 heads", small()},
               {"rows is -4", small()},
               {"dropout is 1", small()},
               {"I32", small()}};
  wrong[0].config.patch = 3;
  wrong[1].config.classes = 0;
  wrong[2].config.layers = 0;
  wrong[3].config.heads = 3;
  wrong[4].config.rows = -4;
  wrong[5].config.dropout = 1;
  wrong[6].config.dtype = HEED_I32;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    heed_vit *vit = (heed_vit *)(void *)&wrong;
    assert_int_not_equal(heed_vit_create(ctx, &wrong[i].config, 0, &vit), HEED_OK);
    assert_null(vit);
    if (!strstr(heed_last_error(), wrong[i].part)) fail_msg("\"%s\" has no \"%s\"", heed_last_error(), wrong[i].part);
    if (strncmp(heed_last_error(), "vit: ", 5) != 0) fail_msg("\"%s\" does not begin with vit", heed_last_error());
  }
}

static void misuse_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  const heed_vit_config config = small();
  heed_vit *vit = make(ctx, &config);
  heed_tensor *images = some_images(ctx, NULL), *target = support_put(ctx, HEED_I32, SHAPE(N), target_data);
  heed_tensor *logits = support_new(ctx, HEED_F32, SHAPE(N, CLASSES)),
              *bytes = support_new(ctx, HEED_U8, SHAPE(N, PIXELS));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "vit", "needs a forward", heed_vit_bwd(vit, logits, false));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "vit", "images is F32[3, 5]", heed_vit_fwd(vit, logits, true, 0, logits));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "vit", "logits is F32[3, 24]", heed_vit_fwd(vit, images, true, 0, images));
  ASSERT_REFUSED(HEED_ERROR_DTYPE, "vit", "images is U8", heed_vit_fwd(vit, bytes, true, 0, logits));
  ASSERT_OK(heed_vit_fwd(vit, images, true, 0, logits));
  ASSERT_OK(heed_vit_fwd(vit, images, false, 0, logits));  // takes the memory that the backward would read
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "vit", "needs a forward", heed_vit_bwd(vit, logits, false));
  ASSERT_OK(heed_vit_fwd(vit, images, true, 0, logits));
  ASSERT_REFUSED(HEED_ERROR_SHAPE, "vit", "dlogits is F32[3, 24]", heed_vit_bwd(vit, images, false));
  ASSERT_OK(heed_vit_bwd(vit, logits, false));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "vit", "needs a forward", heed_vit_bwd(vit, logits, false));
  const heed_parameter *parameters;
  heed_vit_parameters(vit, &parameters);
  heed_tensor *bias = parameters[PARAMETERS - 1].value, *seen = NULL;
  ASSERT_OK(heed_tensor_view(bias, 1, (int64_t[]){1}, (int64_t[]){1}, 0, &seen));
  ASSERT_REFUSED(HEED_ERROR_INVALID_ARGUMENT, "vit", "loss overlaps head.bias",
                 heed_vit_loss(vit, images, target, 0, logits, support_keep(seen), false));
  heed_vit_destroy(vit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(logits_and_gradients_are_those_of_the_equations),
      TEST(parameters_are_named_as_in_pytorch),
      TEST(micro_batches_add_up),
      TEST(dropout_follows_its_seed),
      TEST(a_smaller_batch_reuses_memory),
      TEST(half_precision_is_close),
      TEST(wrong_configurations_are_refused),
      TEST(misuse_is_refused),
  };
  return RUN_ON_BOTH("vit", tests);
}
