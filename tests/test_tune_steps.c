// The steps that the search of `heed tune` may take from a choice (what heed_tune_neighbours() offers on CPUs and, by their traits, on
// GPUs), and what a choice makes of a plan. Nothing is run; that every choice gives the same results is test_tune_search's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heed/tune.h>

#include "cl/attention/fused_cpu.h"
#include "cl/gemm/gemm.h"
#include "support_devices.h"

// A context of its own on the group's device, whose traits a test may change.
static heed_context *open_untuned(void **state) {
  char spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .tuning = "off", .validate = -1}, &ctx));
  return ctx;
}

static heed_context *cpu_context(void **state) {
  heed_context *ctx = open_untuned(state);
  if (heed__cl_state(ctx)->traits.cpu_like) return ctx;
  heed_context_destroy(ctx);
  skip();
  return NULL;
}

enum { ROOM = 32 };
struct steps {
  heed_tune_choice list[ROOM];
  size_t count;
};

// What may be tried from a choice on: each a choice of its own, that the table takes.
static struct steps steps_from(heed_context *ctx, const heed_tune_problem *problem, const char *from) {
  struct steps steps = {.count = 0};
  ASSERT_OK(heed_tune_neighbours(ctx, problem, from, steps.list, ROOM, &steps.count));
  for (size_t i = 0; i < steps.count; ++i) {
    assert_string_not_equal(steps.list[i].text, from);
    for (size_t j = 0; j < i; ++j) assert_string_not_equal(steps.list[i].text, steps.list[j].text);
    ASSERT_OK(heed_tune_set(ctx, problem, steps.list[i].text, 0));
    heed_tune_choice taken;
    ASSERT_OK(heed_tune_get(ctx, problem, &taken));
    assert_string_equal(taken.text, steps.list[i].text);
  }
  return steps;
}

static bool has_step(const struct steps *steps, const char *text) {
  for (size_t i = 0; i < steps->count; ++i)
    if (strcmp(steps->list[i].text, text) == 0) return true;
  return false;
}

// A context taken for one on a GPU; nothing is run on it.
static heed_context *gpu_context(void **state) {
  heed_context *ctx = open_untuned(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->tensor_cores = false;
  traits->max_work_group = 256;
  traits->local_memory = 49152;
  return ctx;
}

// The plan of a call that the kernels for CPUs do.
static struct heed__cl_attention_fused_cpu cpu_plan(heed_context *ctx, const struct heed__cl_attention *a) {
  const struct heed__cl_attention_way way = heed__cl_attention_choose(ctx, a);
  assert_ptr_equal(way.variant, &heed__cl_attention_fused_cpu);
  return way.plan.fused_cpu;
}

// Blocks that the fused kernels would round to those they have are no step: each would be compiled and measured for nothing.
static void each_step_of_attention_on_cpus_is_another_plan(void **state) {
  heed_context *ctx = cpu_context(state);
  const struct heed__attention_params params = {.scale = 1, .causal = HEED_CAUSAL_TOP_LEFT};
  const struct heed_tensor t = {.ctx = ctx, .dtype = HEED_F32, .rank = 4};
  static const int64_t dims[] = {8, 64, 300, 512};
  static const char *const starts[] = {"default", "fused-cpu: key_block=1024", "fused-cpu: query_block=1024"};
  for (int backward = 0; backward < 2; ++backward)
    for (size_t d = 0; d < 3 * sizeof dims / sizeof *dims; ++d) {
      const char *from = starts[d % 3];
      const heed_tune_op op = backward ? HEED_TUNE_ATTENTION_BWD : HEED_TUNE_ATTENTION_FWD;
      const int64_t dim = dims[d / 3];
      const heed_tune_problem problem = {op, HEED_F32, .causal = true, .sizes = {dim, 400, 500, 6}};
      struct heed__cl_attention a = {.params = &params,
                                     .backward = backward,
                                     .q = &t,
                                     .batch = 1,
                                     .heads = 6,
                                     .kv_heads = 6,
                                     .group = 1,
                                     .queries = 400,
                                     .keys = 500,
                                     .dim = dim,
                                     .value_dim = dim};
      const struct steps steps = steps_from(ctx, &problem, from);
      assert_true(steps.count >= 2);
      assert_true(has_step(&steps, "staged"));
      ASSERT_OK(heed_tune_force(ctx, op, from));
      const struct heed__cl_attention_fused_cpu own = cpu_plan(ctx, &a);
      for (size_t i = 0; i < steps.count; ++i) {
        if (strcmp(steps.list[i].text, "staged") == 0) continue;
        ASSERT_OK(heed_tune_force(ctx, op, steps.list[i].text));
        const struct heed__cl_attention_fused_cpu other = cpu_plan(ctx, &a);
        assert_true(other.tile_rows != own.tile_rows || other.key_block != own.key_block ||
                    other.query_block != own.query_block);
      }
      ASSERT_OK(heed_tune_force(ctx, op, NULL));
    }
  // Decoding has no blocks; the way back from another variant is a step.
  const heed_tune_problem decode = {HEED_TUNE_ATTENTION_FWD, HEED_F32, .sizes = {64, 1, 500, 6}};
  const struct steps few = steps_from(ctx, &decode, "default"), back = steps_from(ctx, &decode, "staged");
  assert_int_equal(few.count, 1);
  assert_string_equal(few.list[0].text, "staged");
  assert_true(has_step(&back, "fused-cpu"));
  heed_context_destroy(ctx);
}

static void steps_of_attention_on_gpus_are_tiles_and_variants(void **state) {
  heed_context *ctx = gpu_context(state);
  const heed_tune_problem problem = {HEED_TUNE_ATTENTION_FWD, HEED_F16, .sizes = {64, 40, 500, 6}};
  const struct steps steps = steps_from(ctx, &problem, "fused-gpu: items=128");
  assert_int_equal(steps.count, 5);
  static const char *const expected[] = {"fused-gpu: items=64", "fused-gpu: items=256",
                                         "fused-gpu: items=128 tile_queries=16", "fused-gpu: items=128 tile_queries=32",
                                         "staged"};
  for (int i = 0; i < 5; ++i)
    if (!has_step(&steps, expected[i])) fail_msg("no step '%s'", expected[i]);
  // Of the backward the number of products, too, where parts of dq have room.
  heed_tune_problem training = problem;
  training.op = HEED_TUNE_ATTENTION_BWD;
  const struct steps five = steps_from(ctx, &training, "fused-gpu: items=128"),
                     seven = steps_from(ctx, &training, "fused-gpu: products=5");
  assert_int_equal(five.count, 6);
  assert_true(has_step(&five, "fused-gpu: items=128 products=5"));
  assert_true(has_step(&seven, "fused-gpu: products=7"));
  const uint64_t most = heed__cl_state(ctx)->traits.max_allocation;
  heed__cl_state(ctx)->traits.max_allocation = 1024;
  assert_int_equal(steps_from(ctx, &training, "fused-gpu: items=128").count, 5);
  heed__cl_state(ctx)->traits.max_allocation = most;
  // From tensor cores, where they are what is used, the way to the general kernels is a step, and back.
  heed__cl_state(ctx)->traits.tensor_cores = true;
  const struct steps away = steps_from(ctx, &problem, "default"),
                     back = steps_from(ctx, &problem, "fused-gpu: items=128");
  assert_int_equal(away.count, 2);
  assert_true(has_step(&away, "fused-gpu") && has_step(&away, "staged"));
  assert_int_equal(back.count, 6);
  assert_true(has_step(&back, "fused-tensor"));
  // Rows that tiles cannot count are left to the staged path.
  const heed_tune_problem long_rows = {HEED_TUNE_ATTENTION_FWD, HEED_F16, .sizes = {64, INT64_C(1) << 31, 1, 1}};
  assert_int_equal(steps_from(ctx, &long_rows, "default").count, 0);
  // No variant takes the call: there is nowhere to go.
  heed__cl_state(ctx)->traits.tensor_cores = false;
  assert_int_equal(steps_from(ctx, &problem, "fused-tensor").count, 0);
  heed_context_destroy(ctx);
}

static const heed_tune_problem a_problem = {
    .op = HEED_TUNE_GEMM, .dtype = HEED_F32, .trans_b = true, .sizes = {100, 512, 784, 1}};

static void steps_of_products_on_gpus_are_the_other_providers(void **state) {
  heed_context *ctx = gpu_context(state);
  const struct steps own = steps_from(ctx, &a_problem, "default"), back = steps_from(ctx, &a_problem, "gpu");
  const struct steps other = steps_from(ctx, &a_problem, "clblast");
  assert_false(has_step(&own, "gpu"));  // what is used where nothing is tuned
  assert_true(has_step(&own, "clblast"));
  assert_true(has_step(&other, "gpu"));
  assert_true(has_step(&back, "clblast"));
  heed_tune_problem half = a_problem;
  half.dtype = HEED_F16;  // CLBlast would sum in F16
  const struct steps halves = steps_from(ctx, &half, "gpu");
  assert_false(has_step(&halves, "clblast"));
  heed__cl_gemm_state(ctx)->clblast_failed = true;
  const struct steps without = steps_from(ctx, &a_problem, "gpu");
  assert_false(has_step(&without, "clblast"));
  assert_int_equal(without.count + 1, back.count);
  // On CPUs they are several times slower, and no steps.
  heed__cl_state(ctx)->traits.cpu_like = true;
  const struct steps on_cpus = steps_from(ctx, &a_problem, "cpu: vectors=2");
  for (size_t i = 0; i < on_cpus.count; ++i) assert_int_equal(strncmp(on_cpus.list[i].text, "cpu: ", 5), 0);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- plans

static void tuned_blocks_are_whole_tiles_and_fit_a_stack(void **state) {
  heed_context *ctx = cpu_context(state);
  const struct heed__attention_params params = {.scale = 1};
  const struct heed_tensor t = {.ctx = ctx, .dtype = HEED_F32, .rank = 4};
  static const char *const choices[] = {"default", "fused-cpu: key_block=100", "fused-cpu: query_block=50",
                                        "fused-cpu: tile_rows=7",
                                        "fused-cpu: tile_rows=16 key_block=1024 query_block=1024"};
  for (size_t i = 0; i < sizeof choices / sizeof *choices; ++i)
    for (int backward = 0; backward < 2; ++backward)
      for (int64_t dim = 5; dim <= 512; dim *= 10) {
        struct heed__cl_attention a = {.params = &params,
                                       .backward = backward,
                                       .q = &t,
                                       .batch = 2,
                                       .heads = 4,
                                       .kv_heads = 2,
                                       .group = 2,
                                       .queries = 100,
                                       .keys = 200,
                                       .dim = dim,
                                       .value_dim = dim};
        ASSERT_OK(heed_tune_force(ctx, backward ? HEED_TUNE_ATTENTION_BWD : HEED_TUNE_ATTENTION_FWD, choices[i]));
        const struct heed__cl_attention_fused_cpu plan = cpu_plan(ctx, &a);
        assert_int_equal(plan.key_block % (2 * plan.vector), 0);
        assert_int_equal(plan.query_block % plan.tile_rows, 0);
        if (backward) assert_int_equal(plan.key_block % plan.tile_rows, 0);
        const int64_t floats = backward ? 5 * plan.key_block * dim + 2 * (int64_t)plan.key_block * plan.query_block
                                        : 2 * plan.query_block * dim + (int64_t)plan.tile_rows * plan.key_block;
        assert_true(floats * 4 <= 2 << 20);
      }
  heed_context_destroy(ctx);
}

static void a_tuned_choice_reaches_the_plan_of_its_class(void **state) {
  heed_context *ctx = cpu_context(state);
  const struct heed__attention_params params = {.scale = 1, .causal = HEED_CAUSAL_TOP_LEFT};
  const struct heed_tensor t = {.ctx = ctx, .dtype = HEED_F16, .rank = 4};
  const heed_tune_problem its_class = {
      .op = HEED_TUNE_ATTENTION_BWD, .dtype = HEED_F16, .causal = true, .sizes = {64, 1024, 1024, 32}};
  struct heed__cl_attention a = {.params = &params,
                                 .backward = true,
                                 .q = &t,
                                 .batch = 4,
                                 .heads = 8,
                                 .kv_heads = 8,
                                 .group = 1,
                                 .queries = 1024,
                                 .keys = 1024,
                                 .dim = 64,
                                 .value_dim = 64};
  const struct heed__cl_attention_fused_cpu own = cpu_plan(ctx, &a);
  ASSERT_OK(heed_tune_set(ctx, &its_class, "fused-cpu: key_block=192", 0));
  const struct heed__cl_attention_fused_cpu tuned = cpu_plan(ctx, &a);
  assert_int_equal(tuned.key_block, 192);
  assert_int_equal(tuned.query_block, own.query_block);
  a.keys = 4096;
  const struct heed__cl_attention_fused_cpu outside = cpu_plan(ctx, &a);
  assert_int_equal(outside.key_block, own.key_block);
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_step_of_attention_on_cpus_is_another_plan),
      cmocka_unit_test(steps_of_attention_on_gpus_are_tiles_and_variants),
      cmocka_unit_test(steps_of_products_on_gpus_are_the_other_providers),
      cmocka_unit_test(tuned_blocks_are_whole_tiles_and_fit_a_stack),
      cmocka_unit_test(a_tuned_choice_reaches_the_plan_of_its_class),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
