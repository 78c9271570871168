// Every GEMM provider gives the host's result, whatever the form, strides, batches, scalars and dtype: heed's CPU kernel,
// its GPU kernel (run on whatever device there is), and CLBlast.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cl/cl.h"
#include "support_devices.h"

enum { DRAWS = 200, SEED = 20240611 };

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
};

// ---------------------------------------------------------------- drawing a problem

static uint64_t draws_taken;
static int64_t below(int64_t n) { return (int64_t)heed_random_below(SEED, 0, draws_taken++, (uint64_t)n); }

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

// The whole buffer of C afterwards.
static heed_tensor *run(heed_context *ctx, const struct draw *d, uint64_t seed) {
  heed_tensor *buffers[3], *views[3];
  make_operand(ctx, d, &d->a, seed, false, &buffers[0], &views[0]);
  make_operand(ctx, d, &d->b, seed + 1, false, &buffers[1], &views[1]);
  make_operand(ctx, d, &d->c, seed + 2, d->beta == 0, &buffers[2], &views[2]);
  ASSERT_OK(heed_gemm(d->trans_a, d->trans_b, d->alpha, views[0], views[1], d->beta, views[2]));
  for (int i = 0; i < 3; ++i) heed_tensor_destroy(views[i]);
  for (int i = 0; i < 2; ++i) heed_tensor_destroy(buffers[i]);
  return buffers[2];
}

// Values are multiples of 2^-8 below 1, so products and their sums are exact in F32 and only alpha and beta round, twice at
// most; then comes one rounding to storage, which a difference there may turn the other way.
static double tolerance_of(heed_dtype dtype) {
  return dtype == HEED_F32 ? 0x1p-22 : dtype == HEED_F16 ? 0x1p-11 : 0x1p-8;
}

static void expect_host_result(const struct contexts *contexts, const struct draw *d, uint64_t seed) {
  heed_tensor *expected = run(contexts->host, d, seed), *actual = run(contexts->device, d, seed);
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(actual, expected, &difference));
  if (!heed_difference_within(&difference, tolerance_of(d->dtype)))
    fail_msg(
        "%s %c%c [%lld, %lld, %lld x %lld] k %lld, row strides %lld %lld %lld, alpha %g, beta %g: relative %g, "
        "element %lld is %g, not %g",
        heed_dtype_string(d->dtype), d->trans_a ? 'T' : 'N', d->trans_b ? 'T' : 'N', (long long)d->c.dims[0],
        (long long)d->c.dims[1], (long long)d->c.dims[2], (long long)d->c.dims[3],
        (long long)d->a.dims[d->trans_a ? 2 : 3], (long long)d->a.strides[2], (long long)d->b.strides[2],
        (long long)d->c.strides[2], d->alpha, d->beta, difference.relative, (long long)difference.index,
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
  for (int i = 0; i < DRAWS; ++i) {
    const struct draw d = draw_problem();
    expect_host_result(contexts, &d, SEED + 3 * (uint64_t)i);
  }
}

// CLBlast changes its kernel at some size between 512³ and 1280³; heed's own walk many blocks of k here.
static void a_large_product_matches_the_host(void **state) {
  const struct contexts *contexts = usable(state);
  struct draw d = {.dtype = HEED_F32, .trans_b = true, .alpha = 1, .beta = 0};
  d.a = draw_operand(1, 1, 250, 3000, true);
  d.b = draw_operand(1, 1, 700, 3000, true);
  d.c = draw_operand(1, 1, 250, 700, true);
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
  int failed = cmocka_run_group_tests_name("gemm, native", tests, open_native, close_contexts);
  failed += cmocka_run_group_tests_name("gemm, native of the other class", tests, open_other_class, close_contexts);
  failed += cmocka_run_group_tests_name("gemm, clblast", tests, open_clblast, close_contexts);
  return failed;
}
