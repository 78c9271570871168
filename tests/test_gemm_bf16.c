// Products of BF16 matrices by a CPU's instruction for pairs: which device and which product gets them, what they round, and what is done
// where they fail. test_gemm_random draws forms, sizes and epilogues for them. Where the processor has no such instruction, they are
// emulated.
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cl/gemm/gemm.h"
#include "support_values.h"

// A context on a CPU that multiplies pairs, as the options say; skips the test where kernels for CPUs do not run.
static heed_context *open_with_pairs(int bf16_dots, const char *kernel_dir) {
  heed_context *ctx = NULL;
  const heed_open_options options = {
      .validate = -1, .tuning = "off", .gemm = "native", .bf16_dots = bf16_dots, .kernel_dir = kernel_dir};
  ASSERT_OK(heed_open_with(&options, &ctx));
  struct heed__cl_traits *traits = ctx->device.type == HEED_DEVICE_HOST ? NULL : &heed__cl_state(ctx)->traits;
  if (!traits || !traits->cpu_like) {
    heed_context_destroy(ctx);
    skip();
  }
  if (traits->bf16_dots == HEED__BF16_NONE) traits->bf16_dots = HEED__BF16_EMULATED;
  return ctx;
}

// ---------------------------------------------------------------- who gets them

static void only_the_processor_itself_has_them(void **state) {
  heed_context *ctx = support_context(state);
  const heed_device_info own = *heed_context_device(ctx);
  heed_device_info other = own;
  assert_int_equal(heed__cl_bf16_dots_of(&own), heed__cl_state(ctx)->traits.bf16_dots);
  snprintf(other.name, sizeof other.name, "pthread-znver4-A Processor Elsewhere");
  assert_int_equal(heed__cl_bf16_dots_of(&other), HEED__BF16_NONE);
  other.name[0] = 0;
  assert_int_equal(heed__cl_bf16_dots_of(&other), HEED__BF16_NONE);
  other = own;
  snprintf(other.platform, sizeof other.platform, "Another Implementation");
  assert_int_equal(heed__cl_bf16_dots_of(&other), HEED__BF16_NONE);
  other = own;
  other.type = HEED_DEVICE_GPU;
  assert_int_equal(heed__cl_bf16_dots_of(&other), HEED__BF16_NONE);
}

// Plans a product of sizes alone.
static bool plan(const heed_context *ctx, heed_dtype dtype, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                 const char *variant, struct heed__cl_gemm_plan *made) {
  struct heed_tensor tensors[3];
  const int64_t dims[3][4] = {
      {1, 1, trans_a ? k : m, trans_a ? m : k}, {1, 1, trans_b ? n : k, trans_b ? k : n}, {1, 1, m, n}};
  for (int i = 0; i < 3; ++i) {
    tensors[i] = (struct heed_tensor){.dtype = dtype, .rank = 4};
    memcpy(tensors[i].dims, dims[i], sizeof dims[i]);
    heed__contiguous_strides(4, dims[i], tensors[i].strides);
  }
  const struct heed__cl_gemm_problem p = {.trans_a = trans_a,
                                          .trans_b = trans_b,
                                          .alpha = 1,
                                          .a = &tensors[0],
                                          .b = &tensors[1],
                                          .c = &tensors[2],
                                          .m = m,
                                          .n = n,
                                          .k = k,
                                          .batches = 1};
  struct heed__cl_tuning_choice choice = {0};
  snprintf(choice.variant, sizeof choice.variant, "%s", variant);
  return heed__cl_gemm_plan(ctx, &p, &choice, made);
}

static bool is_in_pairs(const heed_context *ctx, heed_dtype dtype, int64_t side) {
  struct heed__cl_gemm_plan made;
  assert_true(plan(ctx, dtype, false, false, side, side, side, "", &made));
  return made.variant == &heed__cl_gemm_cpu_bf16;
}

static void they_are_used_where_they_are_faster_or_asked_for(void **state) {
  (void)support_context(state);
  static const struct {
    enum heed__cl_bf16_dots trait;
    int option;
    bool used, named;
  } cases[] = {
      {HEED__BF16_NONE, 0, false, false}, {HEED__BF16_NONE, 1, false, false}, {HEED__BF16_SLOW, 0, false, true},
      {HEED__BF16_SLOW, 1, true, true},   {HEED__BF16_SLOW, -1, false, true}, {HEED__BF16_FAST, 0, true, true},
      {HEED__BF16_FAST, 1, true, true},   {HEED__BF16_FAST, -1, false, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    heed_context *ctx = open_with_pairs(cases[i].option, NULL);
    struct heed__cl_gemm_plan made;
    heed__cl_state(ctx)->traits.vector_width = 16;
    heed__cl_state(ctx)->traits.bf16_dots = cases[i].trait;
    assert_int_equal(is_in_pairs(ctx, HEED_BF16, 256), cases[i].used);
    assert_false(is_in_pairs(ctx, HEED_F32, 256));
    assert_false(is_in_pairs(ctx, HEED_F16, 256));
    assert_int_equal(plan(ctx, HEED_BF16, false, false, 64, 64, 64, "cpu-pairs", &made), cases[i].named);
    assert_false(plan(ctx, HEED_F32, false, false, 64, 64, 64, "cpu-pairs", &made));
    heed__cl_state(ctx)->traits.vector_width = 8;  // not the vectors of the instruction
    assert_false(is_in_pairs(ctx, HEED_BF16, 256));
    heed_context_destroy(ctx);
  }
}

// y = x Wᵀ, dx = dy W and dW = dyᵀ x of a linear layer. Only a product that packing would not pay for goes another way.
static void all_products_of_a_layer_are_in_pairs(void **state) {
  (void)support_context(state);
  heed_context *ctx = open_with_pairs(1, NULL);
  struct heed__cl_gemm_plan forward, dx, dweight, token;
  assert_true(plan(ctx, HEED_BF16, false, true, 256, 2304, 768, "", &forward));
  assert_true(plan(ctx, HEED_BF16, false, false, 256, 768, 2304, "", &dx));
  assert_true(plan(ctx, HEED_BF16, true, false, 2304, 768, 256, "", &dweight));
  assert_ptr_equal(forward.variant, &heed__cl_gemm_cpu_bf16);
  assert_ptr_equal(dx.variant, &heed__cl_gemm_cpu_bf16);
  assert_ptr_equal(dweight.variant, &heed__cl_gemm_cpu_bf16);
  assert_false(forward.of.cpu.pack_r);  // rows of weights are pairs as they lie
  assert_true(plan(ctx, HEED_BF16, false, true, 256, 2304, 767, "", &forward));
  assert_true(forward.of.cpu.pack_r);  // or every second row would begin amid a pair
  assert_true(plan(ctx, HEED_BF16, false, true, 1, 2304, 768, "", &token));
  assert_ptr_equal(token.variant, &heed__cl_gemm_cpu);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- what they round

enum { ROWS = 33, COLUMNS = 50, LONG = 1501 };

// alpha A B of values of very different sizes, which cancel. A product of two is exact in F32; each of the k sums rounds once, and so do
// alpha and storage. What is below 2^-126 may be taken for 0.
static void a_sum_is_within_its_roundings(void **state) {
  (void)support_context(state);
  heed_context *ctx = open_with_pairs(1, NULL);
  float *a = support_memory(sizeof(float) * ROWS * LONG), *b = support_memory(sizeof(float) * LONG * COLUMNS);
  support_fill(a, (int64_t)ROWS * LONG, 1);
  support_fill(b, (int64_t)LONG * COLUMNS, 2);
  for (int i = 0; i < ROWS * LONG; ++i) a[i] = ldexpf(a[i], i % LONG * 7 % 40 - 20);
  for (int i = 0; i < LONG * COLUMNS; ++i) b[i] = ldexpf(b[i], i / COLUMNS * 11 % 60 - 90);
  const heed_tensor *x = support_put_f32(ctx, HEED_BF16, SHAPE(ROWS, LONG), a);
  const heed_tensor *y = support_put_f32(ctx, HEED_BF16, SHAPE(LONG, COLUMNS), b);
  heed_tensor *z = support_new(ctx, HEED_BF16, SHAPE(ROWS, COLUMNS));
  ASSERT_OK(heed_gemm(false, false, 3, x, y, 0, z));
  const float *stored_a = support_get(x), *stored_b = support_get(y), *result = support_get(z);
  for (int i = 0; i < ROWS * COLUMNS; ++i) {
    double sum = 0, size = 0;
    for (int k = 0; k < LONG; ++k) {
      const double product = (double)stored_a[i / COLUMNS * LONG + k] * (double)stored_b[k * COLUMNS + i % COLUMNS];
      sum += product;
      size += fabs(product);
    }
    const double bound = 3 * (LONG * (0x1p-24 * size + 0x1p-126)) + 0x1.1p-8 * fabs(3 * sum) + 0x1p-126;
    if (!(fabs((double)result[i] - 3 * sum) <= bound)) fail_msg("%d: %g, not %g", i, (double)result[i], 3 * sum);
  }
  heed_context_destroy(ctx);
}

static void infinities_and_nan_arrive(void **state) {
  (void)support_context(state);
  heed_context *ctx = open_with_pairs(1, NULL);
  enum { SIDE = 64, ODD = 63 };
  float *a = support_memory(sizeof(float) * SIDE * ODD), *b = support_memory(sizeof(float) * ODD * SIDE);
  for (int i = 0; i < SIDE * ODD; ++i) a[i] = b[i] = 1;
  a[0 * ODD + ODD - 1] = INFINITY;  // the last step of k, which has no neighbour
  a[1 * ODD + 5] = NAN;
  a[2 * ODD + 6] = INFINITY;
  a[2 * ODD + 7] = -INFINITY;
  a[3 * ODD + 8] = a[3 * ODD + 10] = 0x1.fep127f;
  const heed_tensor *x = support_put_f32(ctx, HEED_BF16, SHAPE(SIDE, ODD), a);
  const heed_tensor *y = support_put_f32(ctx, HEED_BF16, SHAPE(ODD, SIDE), b);
  heed_tensor *z = support_new(ctx, HEED_BF16, SHAPE(SIDE, SIDE));
  ASSERT_OK(heed_gemm(false, false, 1, x, y, 0, z));
  const float *result = support_get(z);
  for (int j = 0; j < SIDE; ++j) {
    assert_true(result[0 * SIDE + j] == INFINITY);
    assert_true(isnan(result[1 * SIDE + j]) && isnan(result[2 * SIDE + j]));
    assert_true(result[3 * SIDE + j] == INFINITY);
    assert_true(result[4 * SIDE + j] == ODD);
  }
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- where they fail

// A folder with one kernel file of heed's own, in which `from` reads `to`.
static void plant(char *folder, const char *name, const char *from, const char *to) {
  static char text[1 << 16];
  char path[256];
  snprintf(path, sizeof path, "%s/kernels_cl/gemm/%s", HEED_SOURCE_DIR, name);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  const char *at = strstr(text, from);
  assert_non_null(at);
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/gemm/%s", folder, name);
  file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  assert_int_equal(fclose(file), 0);
}

static void remove_planted(const char *folder, const char *name) {
  char path[256];
  snprintf(path, sizeof path, "%s/gemm/%s", folder, name);
  assert_int_equal(remove(path), 0);
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(remove(path), 0);
  assert_int_equal(remove(folder), 0);
}

// A driver that does not compile them, or compiles them wrong: the kernel for F32 numbers does the product, and a notice says so.
static void they_are_done_without(void **state) {
  (void)support_context(state);
  static const char *const defects[][3] = {
      {"cpu.cl", "#define PANEL", "#if PAIRS\n#error \"not on this device\"\n#endif\n#define PANEL"},
      {"cpu_pack.cl", "vload##n(0, p + ld)) << 16", "vload##n(0, p + ld)) << 15"},
  };
  enum { SIDE = 40, COUNT = SIDE * SIDE };
  for (size_t i = 0; i < sizeof defects / sizeof *defects; ++i) {
    char folder[] = "/tmp/heed-test-gemm-XXXXXX";
    plant(folder, defects[i][0], defects[i][1], defects[i][2]);
    heed_context *ctx = open_with_pairs(1, folder);
    float a[COUNT], c[COUNT];
    heed_tensor *x = support_tensor(ctx, HEED_BF16, 2, (int64_t[]){SIDE, SIDE}, 1, a), *y;
    ASSERT_OK(heed_tensor_create(ctx, HEED_BF16, 2, (int64_t[]){SIDE, SIDE}, &y));
    assert_true(is_in_pairs(ctx, HEED_BF16, SIDE));
    ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
    assert_true(heed__cl_gemm_state(ctx)->bf16_dots_failed);
    assert_non_null(strstr(heed_context_notice(ctx), "pairs of BF16"));
    assert_false(is_in_pairs(ctx, HEED_BF16, SIDE));
    ASSERT_OK(heed_tensor_download_f32(y, c, COUNT));
    for (int at = 0; at < COUNT; ++at) {
      double sum = 0;
      for (int k = 0; k < SIDE; ++k) sum += (double)a[at / SIDE * SIDE + k] * a[k * SIDE + at % SIDE];
      assert_true(fabs(c[at] - sum) <= 0x1p-8 * fabs(sum));  // exact in F32; one rounding to BF16
    }
    heed_tensor_destroy(x);
    heed_tensor_destroy(y);
    heed_context_destroy(ctx);
    remove_planted(folder, defects[i][0]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(only_the_processor_itself_has_them),
      TEST(they_are_used_where_they_are_faster_or_asked_for),
      TEST(all_products_of_a_layer_are_in_pairs),
      TEST(a_sum_is_within_its_roundings),
      TEST(infinities_and_nan_arrive),
      TEST(they_are_done_without),
  };
  return cmocka_run_group_tests_name("products in pairs of BF16", tests, support_open_device, support_close);
}
