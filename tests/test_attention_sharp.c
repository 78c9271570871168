// Attention whose rows give nearly all of their weight to a few keys: gradients are then small differences of large numbers. Each path
// and each family of kernels, in every dtype, gives what the host gives, over lengths and over deviations of the scores. And attention
// whose softcap is saturated: its slope, which is nearly 0 there, has its digits all the same.
#include "cl/runtime/runtime.h"
#include "support_values.h"

enum { BATCH = 2, HEADS = 2, DIM = 32 };
static const int64_t lengths[] = {1, 2, 3, 8, 17, 32, 64};
static const double deviations[] = {1, 3, 10, 30, 100};
static const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
#define COUNT(array) (sizeof(array) / sizeof *(array))

// What the device is taken for.
enum family { AS_IT_IS, AS_A_GPU, AS_TENSOR_CORES };

struct problem {
  int64_t length;
  double deviation;
  heed_dtype dtype;
  heed_attention_options options;
};

enum { Q, K, V, OUT, LSE, DOUT, DQ, DK, DV, TENSORS };
struct side {
  heed_tensor *t[TENSORS];
};

static void side_create(heed_context *ctx, const struct problem *p, struct side *s) {
  const int64_t dims[4] = {BATCH, HEADS, p->length, DIM}, count = BATCH * HEADS * p->length * DIM;
  float values[BATCH * HEADS * 64 * DIM];
  *s = (struct side){0};
  for (int which = 0; which < TENSORS; ++which) {
    const heed_dtype dtype = which == LSE ? HEED_F32 : p->dtype;
    ASSERT_OK(heed_tensor_create(ctx, dtype, which == LSE ? 3 : 4, dims, &s->t[which]));
    if (which != Q && which != K && which != V && which != DOUT) continue;
    for (int64_t i = 0; i < count; ++i) {
      values[i] = (float)heed_random_normal(11, (uint64_t)which, (uint64_t)i);
      if (which == Q) values[i] *= (float)p->deviation;
    }
    ASSERT_OK(heed_tensor_upload_f32(s->t[which], values, count));
  }
}

static void side_destroy(struct side *s) {
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->t[i]);
}

static void step(const struct problem *p, const struct side *s) {
  const heed_attention_inputs in = {.q = s->t[Q], .k = s->t[K], .v = s->t[V]};
  const heed_attention_grads grads = {.dq = s->t[DQ], .dk = s->t[DK], .dv = s->t[DV]};
  ASSERT_OK(heed_attention_fwd(&in, &p->options, s->t[OUT], s->t[LSE], NULL));
  ASSERT_OK(heed_attention_bwd(&in, &p->options, s->t[OUT], s->t[LSE], s->t[DOUT], &grads));
}

static void step_as(heed_context *ctx, enum family family, const struct problem *p, const struct side *s) {
  if (family == AS_IT_IS) {
    step(p, s);
    return;
  }
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const struct heed__cl_traits real = *traits;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->tensor_cores = traits->emulate_warps = family == AS_TENSOR_CORES;
  step(p, s);
  *traits = real;
}

// The rounding of results and of what is stored between two products, and that of the scores, which exp turns into a relative error of
// the weights: about √DIM roundings of terms as large as the scores. dP and δ are sums of DIM products of numbers near 1, and where
// their difference is nothing, their roundings are left: of a gradient of dq or dk, as many times the size of k or q.
static double allowed(const struct problem *p, int which, double norm, int64_t count) {
  const double rounding = 0x1p-24 * sqrt(DIM), relative = heed_tolerance(p->dtype, true) + 2 * p->deviation * rounding;
  const double size = which == DQ ? 1 : which == DK ? p->deviation : 0;
  return relative * norm + 2 * rounding * size * sqrt((double)count / DIM);
}

static int wrong_gradients(const struct problem *p, const struct side *device, const struct side *host,
                           const char *what) {
  static const char *const names[TENSORS] = {[OUT] = "out", [DQ] = "dq", [DK] = "dk", [DV] = "dv"};
  int wrong = 0;
  for (int which = OUT; which < TENSORS; ++which) {
    if (!names[which]) continue;
    const int64_t count = BATCH * HEADS * p->length * DIM;
    float actual[BATCH * HEADS * 64 * DIM], expected[BATCH * HEADS * 64 * DIM];
    double error = 0, norm = 0;
    ASSERT_OK(heed_tensor_download_f32(device->t[which], actual, count));
    ASSERT_OK(heed_tensor_download_f32(host->t[which], expected, count));
    for (int64_t i = 0; i < count; ++i) {
      error += pow((double)actual[i] - (double)expected[i], 2);
      norm += pow((double)expected[i], 2);
    }
    error = sqrt(error), norm = sqrt(norm);
    const double most = allowed(p, which, norm, count);
    if (error <= most) continue;
    print_error("%s, %s, length %lld, deviation %g, dropout %g: %s misses by %.3g of %.3g (allowed %.3g)\n", what,
                heed_dtype_string(p->dtype), (long long)p->length, p->deviation, p->options.dropout, names[which],
                error, norm, most);
    ++wrong;
  }
  return wrong;
}

static void sweep(void **state, enum family family, heed_attention_options options, const char *what) {
  heed_context *ctx = support_context(state), *host_ctx;
  ASSERT_OK(heed_open("host", &host_ctx));
  int wrong = 0;
  for (size_t t = 0; t < COUNT(dtypes); ++t)
    for (size_t l = 0; l < COUNT(lengths); ++l)
      for (size_t d = 0; d < COUNT(deviations); ++d) {
        const struct problem p = {lengths[l], deviations[d], dtypes[t], options};
        struct side device, host;
        side_create(ctx, &p, &device);
        side_create(host_ctx, &p, &host);
        step_as(ctx, family, &p, &device);
        step(&p, &host);
        wrong += wrong_gradients(&p, &device, &host, what);
        side_destroy(&device);
        side_destroy(&host);
      }
  heed_context_destroy(host_ctx);
  assert_int_equal(wrong, 0);
}

// ---------------------------------------------------------------- softcap

// Scores of c x on the first key, for x from −20 to 20, and of 0 on the second: with c = 1 both have weight, whatever x is. v makes
// dP ±1 and 0, with the sign of x.
enum { STEPS = 161, WIDTH = 64 };
static double x_of(int row) { return (row - STEPS / 2) / 4.0; }

// dq of this row, of which dk is the sum over all rows times x: ±p₀ p₁ tanh'(x).
static double right_gradient(int row) {
  const double x = x_of(row), e = exp(-2 * fabs(x)), p = 1 / (1 + exp(-tanh(x)));
  return copysign(p * (1 - p) * 4 * e / ((1 + e) * (1 + e)), x);
}

static void saturate(heed_context *ctx, enum family family, heed_dtype dtype, heed_attention_path path) {
  // The exponent of e^(−2x) is rounded to F32: 2 log2(e) 20 · 2^-24 = 3.5e-6, and as much again for x.
  const double tolerance = dtype == HEED_BF16 ? 0x1p-7 : 2e-5;
  const struct problem p = {.options = {.path = path, .softcap = 1, .has_scale = true, .scale = 1}};
  float q[STEPS * WIDTH] = {0}, dout[STEPS * WIDTH] = {0}, one[2 * WIDTH] = {1};
  double dk = 0;
  for (int i = 0; i < STEPS; ++i) {
    q[i * WIDTH] = (float)x_of(i);
    dout[i * WIDTH] = (float)copysign(1, x_of(i));
    dk += x_of(i) * right_gradient(i);
  }
  const int64_t rows[4] = {1, 1, STEPS, WIDTH}, keys[4] = {1, 1, 2, WIDTH};
  const struct side s = {.t = {[Q] = support_put_f32(ctx, dtype, 4, rows, q),
                               [K] = support_put_f32(ctx, dtype, 4, keys, one),
                               [V] = support_put_f32(ctx, dtype, 4, keys, one),
                               [OUT] = support_new(ctx, dtype, 4, rows),
                               [LSE] = support_new(ctx, HEED_F32, 3, rows),
                               [DOUT] = support_put_f32(ctx, dtype, 4, rows, dout),
                               [DQ] = support_new(ctx, dtype, 4, rows),
                               [DK] = support_new(ctx, dtype, 4, keys),
                               [DV] = support_new(ctx, dtype, 4, keys)}};
  step_as(ctx, family, &p, &s);
  const float *dq = support_get(s.t[DQ]);
  for (int i = 0; i < STEPS; ++i) ASSERT_CLOSE(dq[i * WIDTH], right_gradient(i), tolerance * fabs(right_gradient(i)));
  ASSERT_CLOSE(support_get(s.t[DK])[0], dk, tolerance * dk);
}

static void a_saturated_softcap_has_its_slope(void **state) {
  heed_context *ctx = support_context(state);
  static const heed_attention_path paths[] = {HEED_PATH_AUTO, HEED_PATH_STAGED};
  for (size_t path = 0; path < COUNT(paths); ++path) {
    saturate(ctx, AS_IT_IS, HEED_F32, paths[path]);
    saturate(ctx, AS_IT_IS, HEED_BF16, paths[path]);
  }
}

static void a_saturated_softcap_has_its_slope_on_gpus(void **state) {
  heed_context *ctx = support_context(state);
  saturate(ctx, AS_A_GPU, HEED_F32, HEED_PATH_FUSED);
  saturate(ctx, AS_A_GPU, HEED_BF16, HEED_PATH_FUSED);
  saturate(ctx, AS_TENSOR_CORES, HEED_BF16, HEED_PATH_FUSED);
}

// ---------------------------------------------------------------- all of them

static const heed_attention_options fused = {.path = HEED_PATH_FUSED}, staged = {.path = HEED_PATH_STAGED},
                                    dropping = {.path = HEED_PATH_FUSED, .dropout = 0.3, .seed = 5};

static void the_fused_path_is_right(void **state) { sweep(state, AS_IT_IS, fused, "fused"); }
static void the_fused_path_is_right_with_dropout(void **state) { sweep(state, AS_IT_IS, dropping, "fused"); }
static void the_staged_path_is_right(void **state) { sweep(state, AS_IT_IS, staged, "staged"); }
static void kernels_for_gpus_are_right(void **state) { sweep(state, AS_A_GPU, fused, "GPU"); }
static void kernels_for_tensor_cores_are_right(void **state) { sweep(state, AS_TENSOR_CORES, fused, "tensor cores"); }

int main(void) {
  const struct CMUnitTest on_host[] = {TEST(a_saturated_softcap_has_its_slope)};
  const struct CMUnitTest tests[] = {
      TEST(the_fused_path_is_right),
      TEST(the_fused_path_is_right_with_dropout),
      TEST(the_staged_path_is_right),
      TEST(kernels_for_gpus_are_right),
      TEST(kernels_for_tensor_cores_are_right),
      TEST(a_saturated_softcap_has_its_slope),
      TEST(a_saturated_softcap_has_its_slope_on_gpus),
  };
  return cmocka_run_group_tests_name("attention, sharp, on the host", on_host, support_open_host, support_close) +
         cmocka_run_group_tests_name("attention, sharp, on the device", tests, support_open_device, support_close);
}
