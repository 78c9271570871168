// Devices that leave a kernel's loops early and say nothing, as llvmpipe does: what needs more rounds is refused, the rest is done.
#include "cl/gemm/gemm.h"
#include "support_values.h"

static struct heed__cl_traits real;

// Takes the device for such a GPU until the test ends.
static heed_context *begin(void **state) {
  heed_context *ctx = support_context(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  real = *traits;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->short_loops = true;
  return ctx;
}

static int end(void **state) {
  if (*state) heed__cl_state(*state)->traits = real;
  return support_release(state);
}

static heed_status attend(heed_context *ctx, int64_t queries, int64_t keys, heed_attention_path path) {
  const heed_tensor *q = support_random(ctx, HEED_F32, SHAPE(1, 1, queries, 64), 1),
                    *k = support_random(ctx, HEED_F32, SHAPE(1, 1, keys, 64), 2);
  heed_tensor *out = support_like(q);
  const heed_attention_options options = {.path = path};
  return heed_attention_fwd(&(heed_attention_inputs){.q = q, .k = k, .v = k}, &options, out, NULL, NULL);
}

static void attention_takes_the_path_that_can(void **state) {
  heed_context *ctx = begin(state);
  ASSERT_OK(attend(ctx, 2, 1000, HEED_PATH_FUSED));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "take staged or auto", attend(ctx, 2, 20000, HEED_PATH_FUSED));
  ASSERT_OK(attend(ctx, 2, 20000, HEED_PATH_AUTO));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", attend(ctx, 2, 33000, HEED_PATH_AUTO));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", attend(ctx, 2, 33000, HEED_PATH_FUSED));
  ASSERT_OK(attend(ctx, 33000, 2, HEED_PATH_AUTO));
}

// Of [1, 1, queries, 64] on as many keys with a mask of that shape, whose gradient is asked for.
static heed_status attend_back(heed_context *ctx, int64_t queries, int64_t keys, int64_t mask_queries,
                               int64_t mask_keys) {
  const heed_tensor *q = support_random(ctx, HEED_F32, SHAPE(1, 1, queries, 8), 1),
                    *k = support_random(ctx, HEED_F32, SHAPE(1, 1, keys, 8), 2),
                    *mask = support_random(ctx, HEED_F32, SHAPE(1, 1, mask_queries, mask_keys), 3);
  heed_tensor *out = support_like(q), *lse = support_new(ctx, HEED_F32, SHAPE(1, 1, queries)), *dq = support_like(q),
              *dmask = mask_queries ? support_like(mask) : NULL;
  const heed_attention_inputs inputs = {.q = q, .k = k, .v = k, .mask = mask_queries ? mask : NULL};
  const heed_attention_options options = {0};
  const heed_status status = heed_attention_fwd(&inputs, &options, out, lse, NULL);
  if (status != HEED_OK) return status;
  return heed_attention_bwd(&inputs, &options, out, lse, out, &(heed_attention_grads){.dq = dq, .dmask = dmask});
}

static void gradients_sum_over_no_more_than_is_done(void **state) {
  heed_context *ctx = begin(state);
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", attend_back(ctx, 33000, 2, 0, 0));
  ASSERT_OK(attend_back(ctx, 300, 200, 300, 200));
  ASSERT_OK(attend_back(ctx, 300, 200, 1, 200));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", attend_back(ctx, 300, 200, 1, 1));
}

static void long_products_are_not_left_to_clblast(void **state) {
  heed_context *ctx = begin(state);
  heed__cl_state(ctx)->traits.emulate_warps = false;
  enum { LONG = 33000 };
  heed_tensor *a = support_random(ctx, HEED_F32, SHAPE(3, LONG), 1),
              *b = support_random(ctx, HEED_F32, SHAPE(LONG, 2), 2);
  heed_tensor *ours = support_new(ctx, HEED_F32, SHAPE(3, 2)), *chosen = support_like(ours);
  heed__cl_gemm_state(ctx)->provider = HEED__GEMM_NATIVE;
  heed__cl_revise(ctx);
  ASSERT_OK(heed_gemm(false, false, 1, a, b, 0, ours));
  heed__cl_gemm_state(ctx)->provider = HEED__GEMM_CLBLAST;
  heed__cl_revise(ctx);
  ASSERT_OK(heed_gemm(false, false, 1, a, b, 0, chosen));
  heed__cl_gemm_state(ctx)->provider = HEED__GEMM_AUTO;
  heed__cl_revise(ctx);
  ASSERT_SAME_BITS(chosen, ours);
}

static void rows_of_millions_are_refused(void **state) {
  heed_context *ctx = begin(state);
  enum { MANY = (1 << 21) + 1 };
  heed_tensor *x = support_new(ctx, HEED_F32, SHAPE(1, MANY)), *y = support_like(x);
  heed_tensor *best = support_new(ctx, HEED_I32, SHAPE(1)), *target = support_new(ctx, HEED_I32, SHAPE(1)),
              *loss = support_new(ctx, HEED_F32, SHAPE(1));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", heed_softmax_fwd(x, 1, y));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", heed_softmax_bwd(x, x, 1, y));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", heed_argmax(x, best));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", heed_cross_entropy_fwd(x, target, NULL, loss));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds", heed_cross_entropy_bwd(x, target, NULL, loss, y));
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "after 65535 rounds",
               heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, loss, y));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(attention_takes_the_path_that_can, end),
      cmocka_unit_test_teardown(gradients_sum_over_no_more_than_is_done, end),
      cmocka_unit_test_teardown(long_products_are_not_left_to_clblast, end),
      cmocka_unit_test_teardown(rows_of_millions_are_refused, end),
  };
  return cmocka_run_group_tests_name("short loops", tests, support_open_device, support_close);
}
