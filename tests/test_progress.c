// What a context tells of long work: each part of the self-test, and each kernel file that no cache holds, before the work begins.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_cache.h"
#include "support_values.h"

typedef struct told {
  int tests, files;
  bool in_order;  // the counts were 0, 1, 2, ...
  char last_test[32], last_file[64];
  size_t total;
} told;

static void listen(const heed_progress *progress, void *user) {
  told *t = user;
  const bool test = progress->activity == HEED_ACTIVITY_SELF_TEST;
  snprintf(test ? t->last_test : t->last_file, test ? sizeof t->last_test : sizeof t->last_file, "%s", progress->name);
  if (test) {
    t->in_order = t->in_order && progress->done == (size_t)t->tests++;
    t->total = progress->total;
    t->files = 0;  // the test has a context of its own
    return;
  }
  assert_int_equal(progress->activity, HEED_ACTIVITY_COMPILE);
  assert_int_equal(progress->total, 0);
  t->in_order = t->in_order && (t->tests > 0 || progress->done == (size_t)t->files);
  ++t->files;
}

static heed_context *open_told(const char *spec, const char *cache, int self_test, told *t) {
  heed_context *ctx = NULL;
  *t = (told){.in_order = true};
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec,
                                                .cache_dir = cache,
                                                .self_test = self_test,
                                                .uses = HEED_USES_ROWS | HEED_USES_TRAINING,
                                                .progress = listen,
                                                .progress_user = t},
                           &ctx));
  return ctx;
}

static void softmax(heed_context *ctx) {
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, (const int64_t[]){3, 5}, 1, NULL), *y = NULL;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, heed_tensor_dims(x), &y));
  ASSERT_OK(heed_softmax_fwd(x, 1, y));
  ASSERT_OK(heed_sync(ctx));
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
}

static const char *spec_of(void **state) {
  static char spec[96];
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  return spec;
}

static void a_kernel_file_is_told_before_it_is_compiled_and_never_again(void **state) {
  told t;
  heed_context *ctx = open_told(spec_of(state), "off", -1, &t);
  softmax(ctx);
  assert_true(t.files > 0 && t.in_order);
  assert_string_equal(t.last_file, "ops/softmax.cl");
  const int files = t.files;
  softmax(ctx);
  assert_int_equal(t.files, files);
  assert_int_equal(t.tests, 0);
  heed_context_destroy(ctx);
}

static void what_the_cache_holds_is_not_told(void **state) {
  told t;
  const char *spec = spec_of(state);
  assert_int_equal(support_cache_make(state), 0);
  for (int i = 0; i < 2; i++) {
    heed_context *ctx = open_told(spec, support_cache.cache, -1, &t);
    softmax(ctx);
    assert_int_equal(t.files > 0, i == 0);
    assert_string_equal(heed_context_cache(ctx), support_cache.cache);
    heed_context_destroy(ctx);
  }
  assert_int_equal(support_cache_remove(state), 0);
}

static void the_self_test_tells_its_parts_and_how_many_there_are(void **state) {
  told t;
  heed_context *ctx = open_told(spec_of(state), "off", 1, &t);
  assert_int_equal(t.tests, 2);
  assert_int_equal(t.total, 2);
  assert_string_equal(t.last_test, "training");
  assert_true(t.in_order && t.files > 0);
  heed_context_destroy(ctx);
}

static void the_host_compiles_nothing(void **state) {
  (void)state;
  told t;
  heed_context *ctx = open_told("host", "off", 1, &t);
  softmax(ctx);
  assert_int_equal(t.tests + t.files, 0);
  assert_string_equal(heed_context_cache(ctx), "");
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest host_tests[] = {cmocka_unit_test(the_host_compiles_nothing)};
  const struct CMUnitTest device_tests[] = {
      cmocka_unit_test(a_kernel_file_is_told_before_it_is_compiled_and_never_again),
      cmocka_unit_test(what_the_cache_holds_is_not_told),
      cmocka_unit_test(the_self_test_tells_its_parts_and_how_many_there_are),
  };
  return cmocka_run_group_tests_name("progress on the host", host_tests, NULL, NULL) +
         cmocka_run_group_tests_name("progress on the device", device_tests, support_open_device, support_close);
}
