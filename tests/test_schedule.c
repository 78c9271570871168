// Learning rates over the steps of a run.
#include <math.h>

#include <heed/nn.h>

#include "support_values.h"

static void assert_rate(const heed_schedule *schedule, int64_t step, double expected) {
  const double rate = heed_schedule_rate(schedule, step);
  if (!(fabs(rate - expected) <= 1e-15)) fail_msg("step %d: %.17g, not %.17g", (int)step, rate, expected);
}

static void every_schedule_warms_up_in_equal_parts(void **state) {
  (void)state;
  for (int kind = HEED_SCHEDULE_CONSTANT; kind <= HEED_SCHEDULE_WSD; ++kind) {
    const heed_schedule schedule = {
        .kind = (heed_schedule_kind)kind, .lr = 0.5, .min_lr = 0.1, .warmup = 4, .decay_steps = 100};
    for (int step = 0; step < 4; ++step) assert_rate(&schedule, step, 0.125 * (step + 1));
    assert_rate(&schedule, 4, 0.5);
  }
}

static void a_constant_rate_stays(void **state) {
  (void)state;
  const heed_schedule schedule = {.lr = 0.25};
  assert_rate(&schedule, 0, 0.25);
  assert_rate(&schedule, 1000000, 0.25);
}

static void linear_and_cosine_end_at_the_least_rate(void **state) {
  (void)state;
  heed_schedule schedule = {.kind = HEED_SCHEDULE_LINEAR, .lr = 1, .min_lr = 0.2, .warmup = 10, .decay_steps = 110};
  assert_rate(&schedule, 10, 1);
  assert_rate(&schedule, 35, 0.8);
  assert_rate(&schedule, 60, 0.6);
  assert_rate(&schedule, 110, 0.2);
  assert_rate(&schedule, 5000, 0.2);
  schedule.kind = HEED_SCHEDULE_COSINE;
  assert_rate(&schedule, 10, 1);
  assert_rate(&schedule, 35, 0.2 + 0.8 * (1 + sqrt(0.5)) / 2);
  assert_rate(&schedule, 60, 0.6);
  assert_rate(&schedule, 110, 0.2);
  assert_rate(&schedule, 5000, 0.2);
}

static void wsd_decays_over_the_last_fifth(void **state) {
  (void)state;
  const heed_schedule schedule = {.kind = HEED_SCHEDULE_WSD, .lr = 1, .warmup = 5, .decay_steps = 100};
  assert_rate(&schedule, 5, 1);
  assert_rate(&schedule, 80, 1);
  assert_rate(&schedule, 85, 0.5);
  assert_rate(&schedule, 100, 0);
  assert_rate(&schedule, 101, 0);
}

static void a_warmup_as_long_as_the_run_never_decays_into_it(void **state) {
  (void)state;
  for (int kind = HEED_SCHEDULE_CONSTANT; kind <= HEED_SCHEDULE_WSD; ++kind) {
    const heed_schedule schedule = {.kind = (heed_schedule_kind)kind, .lr = 1, .warmup = 10, .decay_steps = 10};
    assert_rate(&schedule, 9, 1);
    assert_rate(&schedule, 10, kind == HEED_SCHEDULE_CONSTANT ? 1 : 0);
  }
}

static void schedules_have_names(void **state) {
  (void)state;
  assert_string_equal(heed_schedule_string(HEED_SCHEDULE_CONSTANT), "constant");
  assert_string_equal(heed_schedule_string(HEED_SCHEDULE_LINEAR), "linear");
  assert_string_equal(heed_schedule_string(HEED_SCHEDULE_COSINE), "cosine");
  assert_string_equal(heed_schedule_string(HEED_SCHEDULE_WSD), "wsd");
  assert_string_equal(heed_schedule_string((heed_schedule_kind)99), "");
  assert_true(heed_schedule_rate(NULL, 0) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_schedule_warms_up_in_equal_parts),
      cmocka_unit_test(a_constant_rate_stays),
      cmocka_unit_test(linear_and_cosine_end_at_the_least_rate),
      cmocka_unit_test(wsd_decays_over_the_last_fifth),
      cmocka_unit_test(a_warmup_as_long_as_the_run_never_decays_into_it),
      cmocka_unit_test(schedules_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
