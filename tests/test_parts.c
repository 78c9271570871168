// Parts of a CPU, which several processes share, have their part of its units and memory, and compute the bits of the whole.
#include "support_devices.h"

static heed_status open_part(const char *device, int parts, int part, heed_context **out) {
  const heed_open_options options = {.device = device, .parts = parts, .part = part};
  return heed_open_with(&options, out);
}

static void sum_of_squares(heed_context *ctx, float *sum) {
  enum { SIZE = 100003 };
  const int64_t dims[] = {SIZE}, one[] = {1};
  heed_tensor *x = support_tensor(ctx, HEED_F32, 1, dims, 5, NULL), *total = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 1, one, &total));
  ASSERT_OK(heed_sum_squares((const heed_tensor *[]){x}, 1, total));
  ASSERT_OK(heed_tensor_download_f32(total, sum, 1));
  heed_tensor_destroy(x);
  heed_tensor_destroy(total);
}

static void assert_part(heed_context *whole, const char *device, int parts, int part) {
  const heed_device_info *all = heed_context_device(whole);
  heed_context *ctx = NULL;
  float expected, actual;
  ASSERT_OK(open_part(device, parts, part, &ctx));
  const heed_device_info *own = heed_context_device(ctx);
  assert_string_equal(own->name, all->name);
  // What is free may have changed in between, but not by much.
  assert_true(own->memory <= all->memory / (uint64_t)parts + all->memory / 16);
  if (all->type == HEED_DEVICE_CPU) {
    const uint32_t each = all->compute_units / (uint32_t)parts;
    assert_int_equal(own->compute_units, each > 0 ? each : 1);
  }
  sum_of_squares(whole, &expected);
  sum_of_squares(ctx, &actual);
  assert_memory_equal(&actual, &expected, sizeof actual);
  heed_context_destroy(ctx);
}

static void parts_of_the_host(void **state) {
  (void)state;
  heed_context *host = NULL;
  ASSERT_OK(heed_open("host", &host));
  for (int part = 0; part < 3; ++part) assert_part(host, "host", 3, part);
  heed_context_destroy(host);
}

// More parts than units, too.
static void parts_of_the_device(void **state) {
  heed_context *ctx = support_context(state), *part = NULL;
  if (heed_context_device(ctx)->type != HEED_DEVICE_CPU) {
    ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "only a CPU", open_part(NULL, 2, 0, &part));
    return;
  }
  if (open_part(NULL, 2, 0, &part) == HEED_ERROR_UNSUPPORTED) skip();
  heed_context_destroy(part);
  const int units = (int)heed_context_device(ctx)->compute_units;
  assert_part(ctx, NULL, 2, 1);
  assert_part(ctx, NULL, 2 * units, 2 * units - 1);
}

static void a_part_that_there_is_not(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no part 2 of 2", open_part("host", 2, 2, &ctx));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no part -1 of 2", open_part("host", 2, -1, &ctx));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "no part 0 of -2", open_part("host", -2, 0, &ctx));
  assert_null(ctx);
}

int main(void) {
  const struct CMUnitTest host[] = {cmocka_unit_test(parts_of_the_host), cmocka_unit_test(a_part_that_there_is_not)};
  const struct CMUnitTest device[] = {cmocka_unit_test(parts_of_the_device)};
  const int on_host = cmocka_run_group_tests_name("host", host, NULL, NULL);
  return on_host + cmocka_run_group_tests_name("device", device, support_open_device, support_close);
}
