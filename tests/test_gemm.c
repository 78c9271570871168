// Which GEMM provider computes a product: one that computes wrong on the device is found out and not used.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/gemm.h"
#include "support_devices.h"

static void need_device(void **state) { (void)support_context(state); }

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
  need_device(state);
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
  need_device(state);
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
// A driver that does not take the instructions of tensor cores: ordinary kernels do the product.
static void tensor_cores_that_fail_are_done_without(void **state) {
  need_device(state);
  char folder[] = "/tmp/heed-test-gemm-XXXXXX", path[256];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/warp.cl", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("#error not on this device\n", file);
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
  assert_false(traits->emulate_warps);
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
  assert_int_equal(remove(folder), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_provider_that_computes_wrong_is_not_used),
      cmocka_unit_test(probing_can_be_switched_off),
      cmocka_unit_test(tensor_cores_that_fail_are_done_without),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
