// What a context tries of its device before kernels count on it: an exp2 that errs, or that does not go to its limits, is not taken.
#include <stdio.h>
#include <string.h>

#include "cl/runtime/runtime.h"
#include "cl/runtime/sources.h"
#include "support_devices.h"
#include "support_files.h"

static const char *embedded(const char *name) {
  for (const struct heed__cl_kernel_source *source = heed__cl_kernel_sources; source->name; ++source)
    if (strcmp(source->name, name) == 0) return source->text;
  fail_msg("no kernel file %s", name);
  return NULL;
}

// The verdict on a device whose native_exp2(x) is `definition`.
static bool is_taken(void **state, const char *definition) {
  char text[8192], spec[96];
  const int length =
      snprintf(text, sizeof text, "#define native_exp2(x) (%s)\n%s", definition, embedded("exp2_probe.cl"));
  assert_in_range(length, 1, sizeof text - 1);
  support_write_file(support_path("exp2_probe.cl"), text, (size_t)length);
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .kernel_dir = support_folder(), .validate = -1}, &ctx));
  const bool taken = heed__cl_native_exp2(ctx);
  assert_int_equal(heed__cl_native_exp2(ctx), taken);
  heed_context_destroy(ctx);
  return taken;
}

static void an_exp2_is_taken_if_it_is_exact_enough(void **state) {
  assert_true(is_taken(state, "exp2(x)"));
  assert_true(is_taken(state, "x == 0 ? 1 : exp2(x) * 1.0000002f"));
  assert_true(is_taken(state, "x < -126 ? 0 : exp2(x)"));  // flushes what is not normal
}

static void an_exp2_that_errs_is_not_taken(void **state) {
  static const char *const wrong[] = {
      "x == 0 ? 1 : exp2(x) * 1.000001f",
      "x > -2e-6f && x < 0 ? 0.9f : exp2(x)",
      "x < -100 ? 0 : exp2(x)",
      "fmax(exp2(x), 1e-30f)",
      "isnan(x) ? 0 : exp2(x)",
      "x == -3 ? NAN : exp2(x)",
      "no_such_function(x)",
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i)
    if (is_taken(state, wrong[i])) fail_msg("%s is taken", wrong[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_exp2_is_taken_if_it_is_exact_enough),
      cmocka_unit_test(an_exp2_that_errs_is_not_taken),
  };
  if (support_make_folder(NULL) != 0) return 1;
  const int failed = cmocka_run_group_tests_name("trials", tests, support_open_device, support_close);
  return failed + (support_remove_folder(NULL) != 0);
}
