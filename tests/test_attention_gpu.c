// The fused attention for GPUs, on whatever device there is, gives what the host gives: outputs, lse and gradients, for random draws
// of everything a call may hold, on devices with little and with much local memory, and at the edges of its tiles.
// HEED_DRAWS sets how many draws (default 60), HEED_SEED the first seed; a failing draw prints its seed and what it drew.
#include <math.h>

#include "support_draws.h"

static void random_draws_agree_with_the_host(void **state) {
  heed_context *device = support_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  const uint64_t draws = support_number("HEED_DRAWS", 20), first = support_number("HEED_SEED", 1);
  uint64_t failures = 0;
  const uint64_t families = draws > 20 ? draws / 10 : 1;
  for (uint64_t i = 0; i < draws; ++i) {
    const struct draw d = draw_one(first + i, first + i % families);
    failures += !draw_agrees_with_host(&d, device, host);
  }
  heed_context_destroy(host);
  if (failures) fail_msg("%llu of %llu draws differ", (unsigned long long)failures, (unsigned long long)draws);
}

// One row or key less and more than tiles hold, with what cuts tiles short: nothing, causal both ways, a window.
static void tile_edges_agree_with_the_host(void **state) {
  heed_context *device = support_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  static const int64_t queries[] = {63, 64, 65}, keys[] = {1, 63, 64, 65, 129};
  int failures = 0;
  for (int bounds = 0; bounds < 4; ++bounds)
    for (size_t i = 0; i < sizeof queries / sizeof *queries; ++i)
      for (size_t j = 0; j < sizeof keys / sizeof *keys; ++j) {
        const struct draw d = draw_at_edges(1000 + 100 * (uint64_t)bounds + 10 * i + j, queries[i], keys[j], bounds);
        failures += !draw_agrees_with_host(&d, device, host);
      }
  heed_context_destroy(host);
  assert_int_equal(failures, 0);
}

// Tiles of devices whose work-items have half the registers, and calls that are cut into many launches.
static void few_registers_and_small_launches_agree_with_the_host(void **state) {
  heed_context *device = support_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  int failures = 0;
  for (uint64_t seed = 501; seed <= 503; ++seed) {
    struct draw d = draw_one(seed, seed);
    d.few_registers = true;
    failures += !draw_agrees_with_host(&d, device, host);
  }
  heed_context_destroy(host);
  assert_int_equal(failures, 0);
}

// Maxima and sums of a row over a subgroup, emulated. Once: its barriers take a compiler for CPUs long.
static void shuffles_agree_with_the_host(void **state) {
  heed_context *device = support_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  const struct draw d = {.seed = 11,
                         .batch = 2,
                         .kv_heads = 1,
                         .group = 2,
                         .queries = 33,
                         .keys = 70,
                         .dim = 4,
                         .value_dim = 4,
                         .dtype = HEED_F32,
                         .size = 1,
                         .work_group = 32,
                         .local_memory = 16384,
                         .compute_units = 1,
                         .shuffle = true,
                         .options = {.path = HEED_PATH_FUSED, .causal = HEED_CAUSAL_BOTTOM_RIGHT}};
  assert_true(draw_agrees_with_host(&d, device, host));
  heed_context_destroy(host);
}

// Where a row has one key, whatever its score the weight is 1: no gradient reaches q or k, with dropout neither.
static void a_key_alone_moves_no_score_under_dropout(void **state) {
  heed_context *device = support_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  const struct draw d = {.seed = 7,
                         .batch = 1,
                         .kv_heads = 1,
                         .group = 2,
                         .queries = 65,
                         .keys = 1,
                         .dim = 4,
                         .value_dim = 4,
                         .dtype = HEED_F32,
                         .size = 1,
                         .work_group = 32,
                         .local_memory = 16384,
                         .compute_units = 1,
                         .options = {.path = HEED_PATH_FUSED, .dropout = 0.3}};
  assert_true(draw_agrees_with_host(&d, device, host));
  heed_context_destroy(host);
}

// A key that no row gives any weight may hold anything, whether a mask says so or its score does: here NaN in values whose
// keys lose to later ones by more than exp() can tell from 0.
static void values_without_weight_never_count(void **state) {
  heed_context *device = support_context(state);
  enum { KEYS = 200, WIDTH = 36 };
  struct draw d = {.batch = 1,
                   .kv_heads = 1,
                   .group = 1,
                   .queries = 40,
                   .keys = KEYS,
                   .dim = WIDTH,
                   .value_dim = WIDTH,
                   .dtype = HEED_F32,
                   .size = 1,
                   .work_group = 1024,
                   .local_memory = 49152,
                   .compute_units = 1,
                   .options = {.path = HEED_PATH_FUSED}};
  struct side s;
  draw_side_create(&d, device, &s);
  float keys[KEYS * WIDTH], values[KEYS * WIDTH], out[40 * WIDTH], grad[KEYS * WIDTH];
  for (int i = 0; i < KEYS * WIDTH; ++i) {
    const bool loses = i / WIDTH < 70;
    keys[i] = loses ? -100 : 100;
    values[i] = loses ? NAN : 2;
  }
  ASSERT_OK(heed_fill(s.t[Q], 1));
  ASSERT_OK(heed_tensor_upload_f32(s.t[K], keys, KEYS * WIDTH));
  ASSERT_OK(heed_tensor_upload_f32(s.t[V], values, KEYS * WIDTH));
  ASSERT_OK(draw_step_as_gpu(&d, &s));
  ASSERT_OK(heed_tensor_download_f32(s.t[OUT], out, 40 * WIDTH));
  for (int i = 0; i < 40 * WIDTH; ++i) assert_true(fabsf(out[i] - 2) <= 1e-5f);
  ASSERT_OK(heed_tensor_download_f32(s.t[DV], grad, KEYS * WIDTH));
  for (int i = 0; i < KEYS * WIDTH; ++i) assert_true(isfinite(grad[i]) && (i / WIDTH >= 70 || grad[i] == 0));
  ASSERT_OK(heed_tensor_download_f32(s.t[DK], grad, KEYS * WIDTH));
  for (int i = 0; i < KEYS * WIDTH; ++i) assert_true(isfinite(grad[i]) && (i / WIDTH >= 70 || grad[i] == 0));
  draw_side_destroy(&s);
}

static void local_memory_without_room_for_a_tile_is_told(void **state) {
  heed_context *ctx = support_context(state);
  const struct draw d = {.batch = 1,
                         .kv_heads = 1,
                         .group = 1,
                         .queries = 70,
                         .keys = 90,
                         .dim = 64,
                         .value_dim = 64,
                         .dtype = HEED_F32,
                         .work_group = 1024,
                         .local_memory = 1024,
                         .compute_units = 1,
                         .options = {.path = HEED_PATH_FUSED}};
  struct side s;
  draw_side_create(&d, ctx, &s);
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "take staged or auto", draw_step_as_gpu(&d, &s));
  draw_side_destroy(&s);
}

// The same call twice: the same bits, gradients too.
static void results_repeat_bit_for_bit(void **state) {
  heed_context *device = support_context(state);
  const struct draw d = {.seed = 5,
                         .batch = 2,
                         .kv_heads = 1,
                         .group = 3,
                         .queries = 70,
                         .keys = 150,
                         .dim = 36,
                         .value_dim = 36,
                         .dtype = HEED_F32,
                         .size = 1,
                         .work_group = 1024,
                         .local_memory = 49152,
                         .compute_units = 1,
                         .options = {.path = HEED_PATH_FUSED, .causal = HEED_CAUSAL_BOTTOM_RIGHT}};
  static const int results[] = {OUT, LSE, DQ, DK, DV};
  struct side a, b;
  draw_side_create(&d, device, &a);
  draw_side_create(&d, device, &b);
  ASSERT_OK(draw_step_as_gpu(&d, &a));
  ASSERT_OK(draw_step_as_gpu(&d, &b));
  for (size_t i = 0; i < sizeof results / sizeof *results; ++i) {
    heed_difference difference;
    ASSERT_OK(heed_tensor_compare(a.t[results[i]], b.t[results[i]], &difference));
    assert_true(heed_difference_within(&difference, 0));
  }
  draw_side_destroy(&a);
  draw_side_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_draws_agree_with_the_host),
      cmocka_unit_test(tile_edges_agree_with_the_host),
      cmocka_unit_test(few_registers_and_small_launches_agree_with_the_host),
      cmocka_unit_test(shuffles_agree_with_the_host),
      cmocka_unit_test(a_key_alone_moves_no_score_under_dropout),
      cmocka_unit_test(values_without_weight_never_count),
      cmocka_unit_test(local_memory_without_room_for_a_tile_is_told),
      cmocka_unit_test(results_repeat_bit_for_bit),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
