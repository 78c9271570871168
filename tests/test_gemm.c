// Which GEMM provider computes a product: one that computes wrong on the device is found out and not used, and one that fails is
// replaced, in the middle of a batch too. Problems that one of heed's kernels leaves to another.
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cl/gemm/gemm.h"
#include "support_devices.h"
#include <clblast_c.h>
#include <heed/tune.h>

static void need_device(void **state) { (void)support_context(state); }

// ---------------------------------------------------------------- a device that computes wrong

// A folder with one kernel file of heed's own in which alpha counts twice.
static void plant_wrong_kernel(char *folder) {
  static char text[1 << 16];
  static const char right[] = "argument_ld, alpha,", wrong[] = "argument_ld, alpha*2,";
  char path[256];
  FILE *file = fopen(HEED_SOURCE_DIR "/kernels_cl/gemm/epilogue.cl", "r");
  assert_non_null(file);
  const size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char *at = strstr(text, right);
  assert_non_null(at);
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/gemm/epilogue.cl", folder);
  file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "%.*s%s%s", (int)(at - text), text, wrong, at + sizeof right - 1);
  assert_int_equal(fclose(file), 0);
}

static void remove_planted(const char *folder) {
  char path[256];
  snprintf(path, sizeof path, "%s/gemm/epilogue.cl", folder);
  assert_int_equal(remove(path), 0);
  snprintf(path, sizeof path, "%s/gemm", folder);
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
  need_device(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX";
  plant_wrong_kernel(folder);
  float result = 0;
  heed_context *forced = open_planted("native", folder);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "computes wrong products", eleven(forced, &result));
  ASSERT_FAILS(HEED_ERROR_DEVICE, "HEED_GEMM_PROBE", eleven(forced, &result));  // and again from memory
  heed_context_destroy(forced);

  // CLBlast steps in, or is what was chosen in the first place.
  heed_context *automatic = open_planted("auto", folder);
  assert_true(heed_tune_verdicts(automatic) == 0);
  ASSERT_OK(eleven(automatic, &result));
  assert_true(result == 11);
  assert_true(heed_tune_verdicts(automatic) != 0 || !heed__cl_state(automatic)->traits.cpu_like);
  heed_context *other = open_planted("auto", folder);
  ASSERT_OK(eleven(other, &result));
  assert_true(heed_tune_verdicts(other) == heed_tune_verdicts(automatic));
  heed_context_destroy(other);
  other = open_planted("auto", NULL);  // whose kernels are right
  ASSERT_OK(eleven(other, &result));
  assert_true(heed_tune_verdicts(other) == 0);
  heed_context_destroy(other);
  const char *notice = heed_context_notice(automatic);
  assert_true(strstr(notice, "computes wrong") || !heed__cl_state(automatic)->traits.cpu_like);
  heed_context_destroy(automatic);
  remove_planted(folder);
}

static void probing_can_be_switched_off(void **state) {
  need_device(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX";
  plant_wrong_kernel(folder);
  static const struct {
    const char *environment;
    int option;
    bool probes;
  } cases[] = {{"off", 0, false}, {"0", 0, false}, {"1", -1, false}, {"off", 1, true}, {"1", 0, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    assert_int_equal(setenv("HEED_GEMM_PROBE", cases[i].environment, 1), 0);
    heed_open_options options = {.gemm = "native", .kernel_dir = folder, .validate = -1, .gemm_probe = cases[i].option};
    heed_context *ctx;
    const heed_status opened = heed_open_with(&options, &ctx);
    assert_int_equal(unsetenv("HEED_GEMM_PROBE"), 0);  // what counts is what it was when the context was opened
    ASSERT_OK(opened);
    float result = 0;
    const heed_status status = eleven(ctx, &result);
    heed_context_destroy(ctx);
    assert_int_equal(status, cases[i].probes ? HEED_ERROR_DEVICE : HEED_OK);
    if (!cases[i].probes) assert_true(result == 22);
  }
  remove_planted(folder);
}

// A driver that does not take the instructions of tensor cores, or does not launch their kernel: ordinary kernels do the product.
static void assert_done_without_tensor_cores(const char *name, const char *text) {
  char folder[] = "/tmp/heed-test-gemm-XXXXXX", path[256];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);

  heed_context *ctx = open_planted("native", folder);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  traits->cpu_like = false;
  traits->emulate_warps = true;
  enum { SIDE = 40, COUNT = SIDE * SIDE };
  float a[COUNT], c[COUNT];
  heed_tensor *x = support_tensor(ctx, HEED_F16, 2, (int64_t[]){SIDE, SIDE}, 1, a), *y;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F16, 2, (int64_t[]){SIDE, SIDE}, &y));
  ASSERT_OK(heed_gemm(false, true, 1, x, x, 0, y));
  assert_true(heed__cl_state(ctx)->tensor_cores_off);
  assert_non_null(strstr(heed_context_notice(ctx), "tensor cores"));
  assert_true(traits->emulate_warps);  // what a device offers does not change
  ASSERT_OK(heed_tensor_download_f32(y, c, COUNT));
  for (int i = 0; i < COUNT; ++i) {
    double sum = 0;
    for (int k = 0; k < SIDE; ++k) sum += (double)a[i / SIDE * SIDE + k] * a[i % SIDE * SIDE + k];
    assert_true(fabs(c[i] - sum) <= 0x1p-11 * fabs(sum) + 0x1p-24);  // one rounding to F16
  }
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
  heed_context_destroy(ctx);
  assert_int_equal(remove(path), 0);
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(remove(path), 0);
  assert_int_equal(remove(folder), 0);
}

static void tensor_cores_that_fail_are_done_without(void **state) {
  need_device(state);
  assert_done_without_tensor_cores("warp.cl", "#error not on this device\n");
  assert_done_without_tensor_cores("gemm/warp.cl", "__kernel void gemm_warp(__global int *none) {}\n");
}

// ---------------------------------------------------------------- a CLBlast that fails

// CLBlast's own from some call on: good calls, then this error. CLBlastSuccess: no call fails.
static struct {
  CLBlastStatusCode error;
  int good, calls;
} clblast;

// In the place of CLBlast's, for heed: the program comes before the library.
CLBlastStatusCode CLBlastSgemm(const CLBlastLayout layout, const CLBlastTranspose a_transpose,
                               const CLBlastTranspose b_transpose, const size_t m, const size_t n, const size_t k,
                               const float alpha, const cl_mem a, const size_t a_offset, const size_t a_ld,
                               const cl_mem b, const size_t b_offset, const size_t b_ld, const float beta, cl_mem c,
                               const size_t c_offset, const size_t c_ld, cl_command_queue *queue, cl_event *event) {
  if (clblast.calls++ >= clblast.good && clblast.error != CLBlastSuccess) return clblast.error;
  CLBlastStatusCode (*real)(CLBlastLayout, CLBlastTranspose, CLBlastTranspose, size_t, size_t, size_t, float, cl_mem,
                            size_t, size_t, cl_mem, size_t, size_t, float, cl_mem, size_t, size_t, cl_command_queue *,
                            cl_event *);
  void *found = dlsym(RTLD_NEXT, "CLBlastSgemm");
  assert_non_null(found);
  memcpy(&real, &found, sizeof real);
  return real(layout, a_transpose, b_transpose, m, n, k, alpha, a, a_offset, a_ld, b, b_offset, b_ld, beta, c, c_offset,
              c_ld, queue, event);
}

// Counted alone: what it computes for packed batches is tried before it is used.
static int batched_calls;

CLBlastStatusCode CLBlastSgemmStridedBatched(const CLBlastLayout layout, const CLBlastTranspose a_transpose,
                                             const CLBlastTranspose b_transpose, const size_t m, const size_t n,
                                             const size_t k, const float alpha, const cl_mem a, const size_t a_offset,
                                             const size_t a_ld, const size_t a_stride, const cl_mem b,
                                             const size_t b_offset, const size_t b_ld, const size_t b_stride,
                                             const float beta, cl_mem c, const size_t c_offset, const size_t c_ld,
                                             const size_t c_stride, const size_t batch_count, cl_command_queue *queue,
                                             cl_event *event) {
  CLBlastStatusCode (*real)(CLBlastLayout, CLBlastTranspose, CLBlastTranspose, size_t, size_t, size_t, float, cl_mem,
                            size_t, size_t, size_t, cl_mem, size_t, size_t, size_t, float, cl_mem, size_t, size_t,
                            size_t, size_t, cl_command_queue *, cl_event *);
  void *found = dlsym(RTLD_NEXT, "CLBlastSgemmStridedBatched");
  assert_non_null(found);
  memcpy(&real, &found, sizeof real);
  ++batched_calls;
  return real(layout, a_transpose, b_transpose, m, n, k, alpha, a, a_offset, a_ld, a_stride, b, b_offset, b_ld,
              b_stride, beta, c, c_offset, c_ld, c_stride, batch_count, queue, event);
}

static int mend(void **state) {
  (void)state;
  clblast.error = CLBlastSuccess;
  clblast.good = clblast.calls = 0;
  return unsetenv("HEED_GEMM_PROBE");
}

static void break_clblast(int good, CLBlastStatusCode error) {
  clblast.error = error;
  clblast.good = good;
  clblast.calls = 0;
}

// A context whose products are CLBlast's because a choice says so, on CPUs too.
static heed_context *open_tuned(void) {
  heed_context *ctx = open_planted("auto", NULL);
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, "clblast"));
  return ctx;
}

enum { BATCHES = 3, ROWS = 5, COLS = 7, DEPTH = 4, A_SIZE = ROWS * DEPTH, B_SIZE = DEPTH * COLS, C_SIZE = ROWS * COLS };

// c = a b + c / 2 + bias where the mask is positive, else 0. There is a batch more of a than is used, so that they are not packed.
static heed_tensor *batches(heed_context *ctx, bool beyond, int rows, int cols, uint64_t seed, float *values) {
  heed_tensor *whole = support_tensor(ctx, HEED_F32, 4, (int64_t[]){BATCHES + beyond, 1, rows, cols}, seed, values),
              *part;
  ASSERT_OK(heed_tensor_slice(whole, 0, beyond, BATCHES, &part));
  heed_tensor_destroy(whole);
  return part;
}

static void assert_batched_product(heed_context *ctx) {
  float a[(BATCHES + 1) * A_SIZE], b[BATCHES * B_SIZE], c[BATCHES * C_SIZE], bias[COLS], mask[BATCHES * C_SIZE],
      result[BATCHES * C_SIZE];
  heed_tensor *const t[] = {batches(ctx, true, ROWS, DEPTH, 1, a), batches(ctx, false, DEPTH, COLS, 2, b),
                            batches(ctx, false, ROWS, COLS, 3, c), batches(ctx, false, ROWS, COLS, 4, mask),
                            support_tensor(ctx, HEED_F32, 1, (int64_t[]){COLS}, 5, bias)};
  const struct heed__gemm_params params = {.alpha = 1, .beta = 0.5};
  const struct heed__cl_gemm_epilogue epilogue = {.bias = t[4], .activation = HEED__GEMM_MASK, .argument = t[3]};
  ASSERT_OK(heed__cl_gemm_with(ctx, &params, t[0], t[1], &epilogue, t[2]));
  ASSERT_OK(heed_tensor_download_f32(t[2], result, BATCHES * C_SIZE));
  for (int i = 0; i < BATCHES * C_SIZE; ++i) {
    const int batch = i / C_SIZE, row = i % C_SIZE / COLS, col = i % COLS;
    double sum = 0.5 * (double)c[i] + (double)bias[col];
    for (int k = 0; k < DEPTH; ++k)
      sum += (double)a[(batch + 1) * A_SIZE + row * DEPTH + k] * (double)b[batch * B_SIZE + k * COLS + col];
    assert_true(fabs((double)result[i] - (mask[i] > 0 ? sum : 0)) <=
                1e-6);  // 6 terms of at most 1, and as many roundings
  }
  for (size_t i = 0; i < sizeof t / sizeof *t; ++i) heed_tensor_destroy(t[i]);
}

static void what_clblast_has_left_of_a_batch_heeds_kernels_do(void **state) {
  need_device(state);
  setenv("HEED_GEMM_PROBE", "off", 1);
  heed_context *ctx = open_tuned();
  for (int good = 0; good <= BATCHES; ++good) {
    break_clblast(good, CLBlastInsufficientMemoryTemp);
    heed__cl_gemm_state(ctx)->clblast_failed = false;
    heed__cl_revise(ctx);
    assert_batched_product(ctx);
    assert_int_equal(clblast.calls, good < BATCHES ? good + 1 : BATCHES);
    assert_int_equal(heed__cl_gemm_state(ctx)->clblast_failed, good < BATCHES);
  }
  break_clblast(0, CLBlastInsufficientMemoryTemp);
  heed__cl_gemm_state(ctx)->clblast_failed = true;
  heed__cl_revise(ctx);
  assert_batched_product(ctx);
  assert_int_equal(clblast.calls, 0);  // it is not asked again
  heed_context_destroy(ctx);
}

// What there is no memory for now may be done the next time, and by the same provider: another would give other bits.
static void a_moment_without_memory_is_no_verdict(void **state) {
  need_device(state);
  for (int probing = 0; probing < 2; ++probing) {
    if (!probing) setenv("HEED_GEMM_PROBE", "off", 1);
    heed_context *ctx = open_tuned();
    float result = 0;
    break_clblast(0, (CLBlastStatusCode)CL_MEM_OBJECT_ALLOCATION_FAILURE);
    ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "CL_MEM_OBJECT_ALLOCATION_FAILURE", eleven(ctx, &result));
    assert_false(heed__cl_gemm_state(ctx)->clblast_failed);
    break_clblast(0, CLBlastSuccess);
    ASSERT_OK(eleven(ctx, &result));
    assert_true(result == 11);
    assert_true(clblast.calls > 0);  // CLBlast did it
    heed_context_destroy(ctx);
    unsetenv("HEED_GEMM_PROBE");
  }
}

static void packed_batches_of_clblast_are_tried_too(void **state) {
  need_device(state);
  heed_context *ctx = open_tuned();
  heed_tensor *x = support_tensor(ctx, HEED_F32, 3, (int64_t[]){3, 8, 8}, 1, NULL), *y;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 3, (int64_t[]){3, 8, 8}, &y));
  batched_calls = 0;
  ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
  assert_int_equal(batched_calls, 2);  // the trial, and the call
  ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
  assert_int_equal(batched_calls, 3);
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
  heed_context_destroy(ctx);
}

// A table may name a kernel that this driver does not build: heed's own choice does the product.
static void a_tuned_choice_that_does_not_run_is_not_used(void **state) {
  need_device(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX", path[256];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/gemm/tiles.cl", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("#error not on this device\n", file);
  assert_int_equal(fclose(file), 0);
  heed_context *ctx = open_planted("auto", folder);
  if (heed__cl_state(ctx)->traits.cpu_like) {  // elsewhere these are heed's own choice
    float result = 0;
    ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, "gpu"));
    ASSERT_OK(eleven(ctx, &result));
    assert_true(result == 11);
  }
  heed_context_destroy(ctx);
  assert_int_equal(remove(path), 0);
  snprintf(path, sizeof path, "%s/gemm", folder);
  assert_int_equal(remove(path), 0);
  assert_int_equal(remove(folder), 0);
}

static void a_clblast_that_was_asked_for_says_why_it_fails(void **state) {
  need_device(state);
  setenv("HEED_GEMM_PROBE", "off", 1);
  heed_context *ctx = open_planted("clblast", NULL);
  float result;
  break_clblast(0, CLBlastInvalidLocalMemUsage);
  ASSERT_FAILS(HEED_ERROR_DEVICE, "CLBlastInvalidLocalMemUsage (-2046); the gemm provider 'native'",
               eleven(ctx, &result));
  clblast.error = CLBlastOpenCLOutOfResources;
  ASSERT_FAILS(HEED_ERROR_DEVICE, "failed with CL_OUT_OF_RESOURCES (-5)", eleven(ctx, &result));
  heed_context_destroy(ctx);
}

static void where_every_provider_fails_nothing_is_computed(void **state) {
  need_device(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX";
  plant_wrong_kernel(folder);
  float result = 0;
  heed_context *ctx = open_planted("auto", folder);
  break_clblast(0, CLBlastOpenCLOutOfResources);
  for (int again = 0; again < 2; ++again)
    ASSERT_FAILS(HEED_ERROR_DEVICE, "computes wrong products", eleven(ctx, &result));
  assert_non_null(strstr(heed_last_error(), "choose another device"));
  assert_int_equal(clblast.calls, 1);
  heed_context_destroy(ctx);
  remove_planted(folder);
}

static void products_of_clblast_are_profiled(void **state) {
  need_device(state);
  setenv("HEED_GEMM_PROBE", "off", 1);
  heed_context *ctx;
  const heed_profile_record *records;
  size_t count;
  float result;
  ASSERT_OK(heed_open_with(&(heed_open_options){.gemm = "clblast", .profile = 1, .validate = -1}, &ctx));
  ASSERT_OK(eleven(ctx, &result));
  assert_true(result == 11);
  ASSERT_OK(heed_profile_records(ctx, &records, &count));
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) found += strcmp(records[i].kernel, "CLBlastSgemm") == 0;
  assert_int_equal(found, 1);
  heed_context_destroy(ctx);
}

// CLBlast has other kernels for large products, which are tried on a product as large.
static void a_clblast_that_fails_when_tried_is_done_without(void **state) {
  need_device(state);
  static const int64_t sides[] = {16, 512};
  for (int i = 0; i < 2; ++i) {
    const int64_t side = sides[i];
    heed_context *ctx = open_tuned();
    break_clblast(0, CLBlastOpenCLBuildProgramFailure);
    heed_tensor *x = support_tensor(ctx, HEED_F32, 2, (int64_t[]){side, side}, 1, NULL), *y;
    ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){side, side}, &y));
    ASSERT_OK(heed_fill(x, 0.25));
    ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
    assert_int_equal(clblast.calls, 1);
    assert_true(heed__cl_gemm_state(ctx)->clblast_failed);
    float *values = malloc((size_t)(side * side) * sizeof *values);
    assert_non_null(values);
    ASSERT_OK(heed_tensor_download_f32(y, values, side * side));
    for (int64_t j = 0; j < side * side; ++j) assert_true(values[j] == (float)side / 16);
    free(values);
    heed_tensor_destroy(x);
    heed_tensor_destroy(y);
    heed_context_destroy(ctx);
  }
}

// ---------------------------------------------------------------- TF32

static void tf32_is_for_who_asks(void **state) {
  need_device(state);
  static const struct {
    const char *environment;
    int option;
    bool tf32;
  } cases[] = {{"", 0, false}, {"0", 0, false}, {"1", 0, true}, {"1", -1, false}, {"", 1, true}, {"0", 1, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    assert_int_equal(setenv("HEED_TF32", cases[i].environment, 1), 0);
    heed_context *ctx;
    const heed_status status = heed_open_with(&(heed_open_options){.validate = -1, .tf32 = cases[i].option}, &ctx);
    assert_int_equal(unsetenv("HEED_TF32"), 0);
    ASSERT_OK(status);
    assert_int_equal(heed__cl_state(ctx)->tf32, cases[i].tf32);
    heed_context_destroy(ctx);
  }
  assert_int_equal(setenv("HEED_TF32", "maybe", 1), 0);
  heed_context *ctx;
  const heed_status status = heed_open_with(&(heed_open_options){.validate = -1}, &ctx);
  assert_int_equal(unsetenv("HEED_TF32"), 0);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "HEED_TF32 is 'maybe'", status);
}

#define MENDED(test) cmocka_unit_test_teardown(test, mend)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_provider_that_computes_wrong_is_not_used),
      cmocka_unit_test(probing_can_be_switched_off),
      cmocka_unit_test(tf32_is_for_who_asks),
      cmocka_unit_test(tensor_cores_that_fail_are_done_without),
      MENDED(what_clblast_has_left_of_a_batch_heeds_kernels_do),
      MENDED(a_moment_without_memory_is_no_verdict),
      MENDED(packed_batches_of_clblast_are_tried_too),
      MENDED(a_tuned_choice_that_does_not_run_is_not_used),
      MENDED(a_clblast_that_was_asked_for_says_why_it_fails),
      MENDED(where_every_provider_fails_nothing_is_computed),
      MENDED(products_of_clblast_are_profiled),
      MENDED(a_clblast_that_fails_when_tried_is_done_without),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
