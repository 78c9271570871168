// Every GEMM provider gives the host's result, whatever the form, strides, batches, scalars, epilogue and dtype: heed's CPU kernels
// in every layout, its GPU kernel (run on whatever device there is), and CLBlast. HEED_DRAWS sets how many problems are drawn
// (default 300), HEED_SEED which.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cl/gemm.h"
#include "support_devices.h"

enum { SEED = 20240611 };

struct contexts {
  heed_context *host;
  heed_context *device;  // with the provider under test; NULL where there is no OpenCL device
};

// A matrix operand: rank 4 view [B0, B1, rows, cols] of a larger buffer.
struct operand {
  int64_t dims[4], strides[4], offset, span;
};

struct draw {
  heed_dtype dtype;
  bool trans_a, trans_b;
  double alpha, beta;
  struct operand a, b, c;
  bool has_epilogue, has_bias;
  enum heed__gemm_activation activation;
  heed_gelu_form gelu;
  struct operand mask;
  struct heed__gemm_layout layout;
};

// ---------------------------------------------------------------- drawing a problem

static uint64_t from_environment(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text && text[0] ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t draws_taken;
static int64_t below(int64_t n) {
  return (int64_t)heed_random_below(from_environment("HEED_SEED", SEED), 0, draws_taken++, (uint64_t)n);
}

// Small, or at the edges of tiles of 12, 16, 32, 64, 96 and 192.
static int64_t draw_size(void) {
  static const int64_t edges[] = {1, 2, 11, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 97, 128, 129, 191, 193};
  return below(2) ? edges[below(sizeof edges / sizeof *edges)] : 1 + below(40);
}

// Gaps between rows and batches, and an offset, or none of them where `packed`; dimensions of 1 are broadcast by the operator.
static struct operand draw_operand(int64_t batch0, int64_t batch1, int64_t rows, int64_t cols, bool packed) {
  struct operand o = {.dims = {batch0, batch1, rows, cols}, .strides = {0, 0, 0, 1}};
  o.strides[2] = cols + (packed ? 0 : below(9));
  o.strides[1] = o.strides[2] * rows + (packed ? 0 : below(30));
  o.strides[0] = o.strides[1] * batch1 + (packed ? 0 : below(50));
  o.offset = packed ? 0 : below(20);
  o.span = o.offset + o.strides[0] * batch0;
  return o;
}

// Small blocks, so that small problems go through what large ones do; 0 is the library's own choice.
static struct heed__gemm_layout draw_layout(void) {
  struct heed__gemm_layout layout = {.dot = (int)below(3) - 1, .swap = (int)below(3) - 1};
  if (below(2)) return layout;
  layout.pack_rows = (int)below(3) - 1;
  layout.pack_cols = (int)below(3) - 1;
  layout.vectors = below(2) ? 2 + below(2) : 0;
  layout.rows = below(2) ? 8 * (1 + below(5)) : 0;
  layout.panels = below(3);
  layout.depth = below(2) ? 7 + below(60) : 0;
  layout.splits = below(3) ? 0 : 1 + below(5);
  return layout;
}

static void draw_epilogue(struct draw *d) {
  d->has_epilogue = below(2);
  d->has_bias = d->has_epilogue && below(2);
  if (!d->has_epilogue) return;
  static const enum heed__gemm_activation some[] = {HEED__GEMM_LINEAR, HEED__GEMM_RELU, HEED__GEMM_MASK,
                                                    HEED__GEMM_RELU,   HEED__GEMM_MASK, HEED__GEMM_GELU};
  d->activation = some[below(6)];
  d->gelu = below(2) ? HEED_GELU_ERF : HEED_GELU_TANH;
}

static struct draw draw_problem(void) {
  static const double alphas[] = {1, -0.75, 2}, betas[] = {0, 0, 1, -0.5};
  struct draw d = {.dtype = below(2)   ? HEED_F32
                            : below(2) ? HEED_F16
                                       : HEED_BF16,
                   .trans_a = below(2),
                   .trans_b = below(2),
                   .alpha = alphas[below(3)],
                   .beta = betas[below(4)]};
  const bool packed = below(3) == 0, batched = below(2);
  const int64_t m = draw_size(), n = draw_size(), k = below(20) ? draw_size() : 0;
  const int64_t b0 = batched ? 1 + below(3) : 1, b1 = batched ? 1 + below(3) : 1;
  const bool share_a = below(3) == 0, share_b = below(3) == 0;
  d.a = draw_operand(share_a ? 1 : b0, b1, d.trans_a ? k : m, d.trans_a ? m : k, packed);
  d.b = draw_operand(b0, share_b ? 1 : b1, d.trans_b ? n : k, d.trans_b ? k : n, packed);
  d.c = draw_operand(b0, b1, m, n, packed);
  draw_epilogue(&d);
  d.mask = draw_operand(b0, b1, m, n, packed);
  d.layout = draw_layout();
  return d;
}

// ---------------------------------------------------------------- running it

// What lies between the elements of a view is NaN: a kernel that reads it spoils its result, one that writes it is seen. So is C
// where beta is 0 and it must not be read.
static void make_operand(heed_context *ctx, const struct draw *d, const struct operand *o, uint64_t seed, bool is_nan,
                         heed_tensor **buffer, heed_tensor **view) {
  float *values = malloc((size_t)(o->span + 1) * sizeof *values);
  assert_non_null(values);
  support_fill(values, o->span, seed);
  for (int64_t i = 0; i < o->span; ++i) {
    const int64_t at = i - o->offset, in_batch = at < 0 ? 0 : at % o->strides[0] % o->strides[1];
    const bool inside = at >= 0 && at % o->strides[0] < o->strides[1] * o->dims[1] &&
                        in_batch < o->strides[2] * o->dims[2] && in_batch % o->strides[2] < o->dims[3];
    if (!inside || is_nan) values[i] = NAN;
  }
  ASSERT_OK(heed_tensor_create(ctx, d->dtype, 1, &o->span, buffer));
  ASSERT_OK(heed_tensor_upload_f32(*buffer, values, o->span));
  ASSERT_OK(heed_tensor_view(*buffer, 4, o->dims, o->strides, o->offset, view));
  free(values);
}

// As heed_gemm brings an operand to the shape of C.
static struct heed_tensor broadcast(const heed_tensor *t, const struct operand *c) {
  struct heed_tensor view;
  const int64_t dims[] = {c->dims[0], c->dims[1], t->dims[2], t->dims[3]};
  const int64_t strides[] = {t->dims[0] == dims[0] ? t->strides[0] : 0, t->dims[1] == dims[1] ? t->strides[1] : 0,
                             t->strides[2], 1};
  heed__view_init(&view, t, 4, dims, strides, t->offset);
  return view;
}

static void run_with_epilogue(const struct draw *d, uint64_t seed, heed_tensor *const *views) {
  heed_context *ctx = heed_tensor_context(views[2]);
  heed_tensor *mask_buffer, *mask, *bias = support_tensor(ctx, d->dtype, 1, &d->c.dims[3], seed + 3, NULL);
  make_operand(ctx, d, &d->mask, seed + 4, false, &mask_buffer, &mask);
  const struct heed_tensor a = broadcast(views[0], &d->c), b = broadcast(views[1], &d->c);
  const struct heed__gemm_params params = {d->trans_a, d->trans_b, d->alpha, d->beta};
  const struct heed__gemm_epilogue epilogue = {.bias = d->has_bias ? bias : NULL,
                                               .activation = d->activation,
                                               .gelu = d->gelu,
                                               .mask = d->activation == HEED__GEMM_MASK ? mask : NULL};
  ASSERT_OK(heed__cl_gemm_with(ctx, &params, &a, &b, &epilogue, views[2]));
  heed_tensor_destroy(mask);
  heed_tensor_destroy(mask_buffer);
  heed_tensor_destroy(bias);
}

// The whole buffer of C afterwards.
static heed_tensor *run(heed_context *ctx, const struct draw *d, uint64_t seed) {
  heed_tensor *buffers[3], *views[3];
  make_operand(ctx, d, &d->a, seed, false, &buffers[0], &views[0]);
  make_operand(ctx, d, &d->b, seed + 1, false, &buffers[1], &views[1]);
  make_operand(ctx, d, &d->c, seed + 2, d->beta == 0, &buffers[2], &views[2]);
  if (d->has_epilogue)
    run_with_epilogue(d, seed, views);
  else
    ASSERT_OK(heed_gemm(d->trans_a, d->trans_b, d->alpha, views[0], views[1], d->beta, views[2]));
  for (int i = 0; i < 3; ++i) heed_tensor_destroy(views[i]);
  for (int i = 0; i < 2; ++i) heed_tensor_destroy(buffers[i]);
  return buffers[2];
}

static double activate(const struct draw *d, double x, double mask) {
  switch (d->activation) {
    case HEED__GEMM_RELU:
      return x < 0 ? 0 : x;
    case HEED__GEMM_MASK:
      return mask > 0 ? x : 0;
    case HEED__GEMM_GELU:
      if (d->gelu == HEED_GELU_ERF) return 0.5 * x * erfc(-x * sqrt(0.5));
      return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    default:
      return x;
  }
}

// The host's product in F32, in which the values of every dtype are exact, and the epilogue on it.
static heed_tensor *run_on_host(heed_context *host, const struct draw *d, uint64_t seed) {
  struct draw plain = *d;
  plain.dtype = HEED_F32;
  plain.has_epilogue = false;
  heed_tensor *c = run(host, &plain, seed);
  if (!d->has_epilogue) return c;
  float *values = malloc((size_t)d->c.span * sizeof *values), *bias = malloc((size_t)d->c.dims[3] * sizeof *bias);
  float *mask = malloc((size_t)d->mask.span * sizeof *mask);
  assert_true(values && bias && mask);
  ASSERT_OK(heed_tensor_download_f32(c, values, d->c.span));
  support_fill(bias, d->c.dims[3], seed + 3);
  support_fill(mask, d->mask.span, seed + 4);
  for (int64_t i = 0; i < d->c.dims[0] * d->c.dims[1] * d->c.dims[2] * d->c.dims[3]; ++i) {
    const int64_t col = i % d->c.dims[3], row = i / d->c.dims[3] % d->c.dims[2];
    const int64_t batch = i / d->c.dims[3] / d->c.dims[2], b0 = batch / d->c.dims[1], b1 = batch % d->c.dims[1];
    const int64_t at = d->c.offset + b0 * d->c.strides[0] + b1 * d->c.strides[1] + row * d->c.strides[2] + col;
    const int64_t masked =
        d->mask.offset + b0 * d->mask.strides[0] + b1 * d->mask.strides[1] + row * d->mask.strides[2];
    values[at] = (float)activate(d, values[at] + (d->has_bias ? (double)bias[col] : 0), mask[masked + col]);
  }
  ASSERT_OK(heed_tensor_upload_f32(c, values, d->c.span));
  free(values);
  free(bias);
  free(mask);
  return c;
}

// Values are multiples of 2^-8 below 1, so products and their sums are exact in F32 and only alpha and beta round, for each block
// of k, and the bias and GELU (whose exponential is good to a few units); then comes one rounding to storage, which a difference
// there may turn the other way.
static double tolerance_of(const struct draw *d) {
  if (d->dtype != HEED_F32) return d->dtype == HEED_F16 ? 0x1p-11 : 0x1p-8;
  return d->activation == HEED__GEMM_GELU ? 0x1p-20 : 0x1p-22;
}

static void expect_host_result(const struct contexts *contexts, const struct draw *d, uint64_t seed) {
  heed__cl_state(contexts->device)->gemm_layout = d->layout;
  heed_tensor *expected = run_on_host(contexts->host, d, seed), *actual = run(contexts->device, d, seed);
  heed__cl_state(contexts->device)->gemm_layout = (struct heed__gemm_layout){0};
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(actual, expected, &difference));
  if (!heed_difference_within(&difference, tolerance_of(d)))
    fail_msg(
        "%s %c%c [%lld, %lld, %lld x %lld] k %lld, row strides %lld %lld %lld, alpha %g, beta %g, bias %d, activation "
        "%d, "
        "layout %lld %lld %lld %lld %d %d %d %d: relative %g, element %lld is %g, not %g",
        heed_dtype_string(d->dtype), d->trans_a ? 'T' : 'N', d->trans_b ? 'T' : 'N', (long long)d->c.dims[0],
        (long long)d->c.dims[1], (long long)d->c.dims[2], (long long)d->c.dims[3],
        (long long)d->a.dims[d->trans_a ? 2 : 3], (long long)d->a.strides[2], (long long)d->b.strides[2],
        (long long)d->c.strides[2], d->alpha, d->beta, d->has_bias, (int)d->activation, (long long)d->layout.rows,
        (long long)d->layout.panels, (long long)d->layout.depth, (long long)d->layout.splits, d->layout.swap,
        d->layout.pack_rows, d->layout.pack_cols, d->layout.dot, difference.relative, (long long)difference.index,
        difference.actual, difference.expected);
  heed_tensor_destroy(expected);
  heed_tensor_destroy(actual);
}

// ---------------------------------------------------------------- the statements

static const struct contexts *usable(void **state) {
  const struct contexts *contexts = *state;
  if (!contexts->device) skip();
  return contexts;
}

static void any_problem_matches_the_host(void **state) {
  const struct contexts *contexts = usable(state);
  draws_taken = 0;
  const uint64_t draws = from_environment("HEED_DRAWS", 300);
  for (uint64_t i = 0; i < draws; ++i) {
    const struct draw d = draw_problem();
    expect_host_result(contexts, &d, SEED + 5 * i);
  }
}

// CLBlast changes its kernel at some size between 512³ and 1280³; heed's own walk many blocks of k here.
static void a_large_product_matches_the_host(void **state) {
  const struct contexts *contexts = usable(state);
  struct draw d = {.dtype = HEED_F32, .trans_b = true, .alpha = 1, .beta = 0};
  d.a = draw_operand(1, 1, 700, 1000, true);
  d.b = draw_operand(1, 1, 710, 1000, true);
  d.c = draw_operand(1, 1, 700, 710, true);
  expect_host_result(contexts, &d, SEED);
}

static void the_same_call_gives_the_same_bits(void **state) {
  const struct contexts *contexts = usable(state);
  struct draw d = {.dtype = HEED_F32, .alpha = 1.0 / 3, .beta = 1.0 / 7};
  d.a = draw_operand(1, 3, 65, 300, false);
  d.b = draw_operand(1, 3, 300, 67, false);
  d.c = draw_operand(1, 3, 65, 67, false);
  heed_tensor *first = run(contexts->device, &d, SEED), *second = run(contexts->device, &d, SEED);
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(first, second, &difference));
  assert_true(heed_difference_within(&difference, 0));
  heed_tensor_destroy(first);
  heed_tensor_destroy(second);
}

// ---------------------------------------------------------------- a device that computes wrong

// A folder with one kernel file of heed's own in which alpha counts twice.
static void plant_wrong_kernel(char *folder) {
  static char text[1 << 16];
  static const char right[] = "mask_ld, alpha,", wrong[] = "mask_ld, alpha*2,";
  char path[256];
  FILE *file = fopen(HEED_SOURCE_DIR "/kernels_cl/gemm_epilogue.cl", "r");
  assert_non_null(file);
  const size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char *at = strstr(text, right);
  assert_non_null(at);
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/gemm_epilogue.cl", folder);
  file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "%.*s%s%s", (int)(at - text), text, wrong, at + sizeof right - 1);
  assert_int_equal(fclose(file), 0);
}

static void remove_planted(const char *folder) {
  char path[256];
  snprintf(path, sizeof path, "%s/gemm_epilogue.cl", folder);
  assert_int_equal(remove(path), 0);
  assert_int_equal(remove(folder), 0);
}

// [1, 2] [3, 4]ᵀ with a provider and kernels of a folder.
static heed_status eleven(heed_context *ctx, float *result) {
  heed_tensor *a, *b, *c;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){1, 2}, &a));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){1, 2}, &b));
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){1, 1}, &c));
  ASSERT_OK(heed_tensor_upload_f32(a, (float[]){1, 2}, 2));
  ASSERT_OK(heed_tensor_upload_f32(b, (float[]){3, 4}, 2));
  const heed_status status = heed_gemm(false, true, 1, a, b, 0, c);
  if (status == HEED_OK) ASSERT_OK(heed_tensor_download_f32(c, result, 1));
  heed_tensor_destroy(a);
  heed_tensor_destroy(b);
  heed_tensor_destroy(c);
  return status;
}

static heed_context *open_planted(const char *gemm, const char *folder) {
  heed_context *ctx;
  ASSERT_OK(heed_open_with(&(heed_open_options){.gemm = gemm, .kernel_dir = folder, .validate = -1}, &ctx));
  return ctx;
}

static void a_provider_that_computes_wrong_is_not_used(void **state) {
  usable(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX";
  plant_wrong_kernel(folder);
  float result = 0;
  heed_context *forced = open_planted("native", folder);
  ASSERT_FAILS(HEED_DEVICE, "computes wrong products", eleven(forced, &result));
  ASSERT_FAILS(HEED_DEVICE, "HEED_GEMM_PROBE", eleven(forced, &result));  // and again from memory
  heed_context_destroy(forced);

  // CLBlast steps in, or is what was chosen in the first place.
  heed_context *automatic = open_planted("auto", folder);
  ASSERT_OK(eleven(automatic, &result));
  assert_true(result == 11);
  const char *notice = heed_context_notice(automatic);
  assert_true(strstr(notice, "computes wrong") || !heed__cl_state(automatic)->traits.cpu_like);
  heed_context_destroy(automatic);
  remove_planted(folder);
}

static void probing_can_be_switched_off(void **state) {
  usable(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX";
  plant_wrong_kernel(folder);
  float result = 0;
  assert_int_equal(setenv("HEED_GEMM_PROBE", "off", 1), 0);
  heed_context *ctx = open_planted("native", folder);
  const heed_status status = eleven(ctx, &result);
  assert_int_equal(unsetenv("HEED_GEMM_PROBE"), 0);
  ASSERT_OK(status);
  assert_true(result == 22);
  heed_context_destroy(ctx);
  remove_planted(folder);
}

// ---------------------------------------------------------------- contexts

static int open_contexts(void **state, const char *gemm) {
  static struct contexts contexts;
  contexts = (struct contexts){0};
  *state = &contexts;
  void *host = NULL;
  if (support_open_host(&host) != 0) return -1;
  contexts.host = host;
  const heed_open_options options = {.gemm = gemm, .validate = -1};
  if (heed_open_with(&options, &contexts.device) != HEED_OK) {
    print_error("device: %s\n", heed_last_error());
    return -1;
  }
  if (heed_context_device(contexts.device)->type != HEED_DEVICE_HOST) return 0;
  heed_context_destroy(contexts.device);
  contexts.device = NULL;
  const char *required = getenv("HEED_REQUIRE_DEVICE");
  return required && strcmp(required, "1") == 0 ? -1 : 0;
}

static int open_native(void **state) { return open_contexts(state, "native"); }
static int open_clblast(void **state) { return open_contexts(state, "clblast"); }

// The kernels of the other class than the device's: both are right on either.
static int open_other_class(void **state) {
  if (open_contexts(state, "native") != 0) return -1;
  const struct contexts *contexts = *state;
  if (!contexts->device) return 0;
  struct heed__cl_traits *traits = &heed__cl_state(contexts->device)->traits;
  traits->cpu_like = !traits->cpu_like;
  if (traits->cpu_like) traits->vector_width = 8;
  return 0;
}

static int close_contexts(void **state) {
  struct contexts *contexts = *state;
  void *host = contexts->host, *device = contexts->device;
  const int host_left = support_close(&host), device_left = support_close(&device);
  return host_left == 0 && device_left == 0 ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_problem_matches_the_host),
      cmocka_unit_test(a_large_product_matches_the_host),
      cmocka_unit_test(the_same_call_gives_the_same_bits),
  };
  const struct CMUnitTest probing[] = {
      cmocka_unit_test(a_provider_that_computes_wrong_is_not_used),
      cmocka_unit_test(probing_can_be_switched_off),
  };
  int failed = cmocka_run_group_tests_name("gemm, native", tests, open_native, close_contexts);
  failed += cmocka_run_group_tests_name("gemm, probing", probing, open_native, close_contexts);
  failed += cmocka_run_group_tests_name("gemm, native of the other class", tests, open_other_class, close_contexts);
  failed += cmocka_run_group_tests_name("gemm, clblast", tests, open_clblast, close_contexts);
  return failed;
}
