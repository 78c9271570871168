// How products are planned: once for each problem, the same way whatever the number of compute units, and as a choice says.
#include <heed/tune.h>
#include <stdlib.h>
#include <string.h>

#include "cl/gemm/gemm.h"
#include "cl/runtime/grid.h"
#include "support_devices.h"
#include "support_values.h"

static heed_context *open_own(void **state) {
  (void)state;
  heed_context *ctx = NULL;
  ASSERT_OK(
      heed_open_with(&(heed_open_options){.profile = 1, .validate = -1, .tuning = "off", .gemm = "native"}, &ctx));
  if (heed_context_device(ctx)->type != HEED_DEVICE_HOST) return ctx;
  heed_context_destroy(ctx);
  skip();
  return NULL;
}

struct counts {
  unsigned long looked_up, planned, tuning;
  size_t launches;
};

static struct counts counts_of(heed_context *ctx) {
  const heed_profile_record *records;
  struct counts counts = {heed__cl_gemm_state(ctx)->looked_up, heed__cl_gemm_state(ctx)->planned,
                          heed__cl_tuning_of(ctx)->looked_up, 0};
  ASSERT_OK(heed_profile_records(ctx, &records, &counts.launches));  // since the last call
  return counts;
}

static void a_warm_product_is_one_look_up_and_one_launch(void **state) {
  heed_context *ctx = open_own(state);
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, (int64_t[]){64, 64}, 1, NULL), *y;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){64, 64}, &y));
  ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
  const struct counts before = counts_of(ctx);
  ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
  const struct counts after = counts_of(ctx);
  assert_int_equal(after.looked_up - before.looked_up, 1);
  assert_int_equal(after.planned - before.planned, 0);
  assert_int_equal(after.tuning - before.tuning, 0);
  assert_int_equal(after.launches, 1);
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
  heed_context_destroy(ctx);
}

static void a_new_choice_makes_plans_anew(void **state) {
  heed_context *ctx = open_own(state);
  heed_tensor *x = support_tensor(ctx, HEED_F32, 2, (int64_t[]){8, 8}, 1, NULL), *y;
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){8, 8}, &y));
  ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
  ASSERT_OK(heed_tune_force(ctx, HEED_TUNE_GEMM, "panels-small"));
  for (int i = 0; i < 2; ++i) {
    const struct counts before = counts_of(ctx);
    ASSERT_OK(heed_gemm(false, false, 1, x, x, 0, y));
    assert_int_equal(counts_of(ctx).planned > before.planned, i == 0);
  }
  heed_tensor_destroy(x);
  heed_tensor_destroy(y);
  heed_context_destroy(ctx);
}

// Tensors without memory: plans read sizes alone.
struct sizes {
  struct heed_tensor a, b, c;
  struct heed__cl_gemm_problem p;
};

static void set_sizes(struct sizes *s, heed_context *ctx, heed_dtype dtype, int64_t m, int64_t n, int64_t k) {
  const int64_t dims[3][4] = {{1, 1, m, k}, {1, 1, k, n}, {1, 1, m, n}};
  struct heed_tensor *tensors[] = {&s->a, &s->b, &s->c};
  for (int i = 0; i < 3; ++i) {
    *tensors[i] = (struct heed_tensor){.ctx = ctx, .dtype = dtype, .rank = 4};
    memcpy(tensors[i]->dims, dims[i], sizeof dims[i]);
    heed__contiguous_strides(4, dims[i], tensors[i]->strides);
  }
  s->p = (struct heed__cl_gemm_problem){
      .alpha = 1, .a = &s->a, .b = &s->b, .c = &s->c, .m = m, .n = n, .k = k, .batches = 1};
}

static void sums_are_cut_alike_on_any_number_of_units(void **state) {
  static const int64_t sides[] = {1, 10, 64, 512}, depths[] = {64, 1024, 5000, 70000};
  heed_context *ctx = open_own(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  for (int as_cpu = 0; as_cpu < 2; ++as_cpu)
    for (int i = 0; i < 4 * 4 * 4; ++i) {
      struct sizes s;
      struct heed__cl_gemm_plan one, many;
      set_sizes(&s, ctx, HEED_F32, sides[i % 4], sides[i / 4 % 4], depths[i / 16]);
      traits->cpu_like = as_cpu;
      traits->vector_width = as_cpu ? 8 : 1;
      traits->compute_units = 1;
      assert_true(heed__cl_gemm_plan(ctx, &s.p, NULL, &one));
      traits->compute_units = 128;
      assert_true(heed__cl_gemm_plan(ctx, &s.p, NULL, &many));
      assert_ptr_equal(one.variant, many.variant);
      if (as_cpu) {
        assert_int_equal(one.of.cpu.share, many.of.cpu.share);
        assert_int_equal(one.of.cpu.depth, many.of.cpu.depth);
        assert_int_equal(one.of.cpu.splits, many.of.cpu.splits);
      } else {
        assert_int_equal(one.of.gpu.share, many.of.gpu.share);
        assert_int_equal(one.of.gpu.splits, many.of.gpu.splits);
      }
    }
  heed_context_destroy(ctx);
}

static void a_choice_names_the_tile_and_the_parts_of_gpu_products(void **state) {
  heed_context *ctx = open_own(state);
  heed__cl_state(ctx)->traits.cpu_like = false;
  heed__cl_state(ctx)->traits.max_work_group = 256;
  heed__cl_state(ctx)->traits.local_memory = 49152;
  struct sizes s;
  set_sizes(&s, ctx, HEED_F32, 512, 512, 4096);
  for (int64_t side = 32; side <= 128; side *= 2)
    for (int64_t splits = 1; splits <= 4; splits *= 2) {
      struct heed__cl_tuning_choice choice = {.variant = "gpu"};
      struct heed__cl_gemm_specimen specimen = {0};
      struct heed__cl_gemm_plan plan;
      choice.values[HEED__TUNE_rows] = side;
      choice.values[HEED__TUNE_splits] = splits;
      assert_true(heed__cl_gemm_plan(ctx, &s.p, &choice, &plan));
      plan.variant->specimen(&s.p, &plan, &specimen);
      assert_int_equal(specimen.choice.values[HEED__TUNE_rows], side);
      assert_int_equal(plan.of.gpu.splits, splits);
    }
  heed_context_destroy(ctx);
}

// Where memory holds two parts of C and not the eight that are asked for, no part sums over more than others may.
static void parts_that_do_not_fit_are_as_few_as_a_sum_may_have(void **state) {
  heed_context *ctx = open_own(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  struct heed__cl_tuning_choice choice = {.variant = "gpu"};
  struct heed__cl_gemm_plan plan;
  struct sizes s;
  traits->cpu_like = false;
  traits->max_work_group = 256;
  traits->local_memory = 49152;
  traits->max_allocation = 1 << 30;
  choice.values[HEED__TUNE_splits] = 8;
  set_sizes(&s, ctx, HEED_F32, 8192, 8192, 65536);
  assert_true(heed__cl_gemm_plan(ctx, &s.p, &choice, &plan));
  assert_false(plan.of.gpu.slices);
  assert_int_equal(plan.of.gpu.splits, 2);
  assert_int_equal(plan.of.gpu.share, 32768);
  heed_context_destroy(ctx);
}

static void clblast_is_tried_where_tensor_cores_are_the_default(void **state) {
  heed_context *own = open_own(state), *ctx = NULL;
  heed_context_destroy(own);
  ASSERT_OK(heed_open_with(&(heed_open_options){.validate = -1, .tuning = "off", .gemm = "auto"}, &ctx));
  struct heed__cl *cl = heed__cl_state(ctx);
  cl->traits.cpu_like = false;
  cl->traits.tensor_cores = cl->tf32 = true;
  cl->traits.max_work_group = 256;
  cl->traits.local_memory = 49152;
  const heed_tune_problem problem = {.op = HEED_TUNE_GEMM, .dtype = HEED_F32, .sizes = {256, 512, 1024, 1}};
  heed_tune_choice steps[16];
  size_t count = 0;
  ASSERT_OK(heed_tune_neighbours(ctx, &problem, "default", steps, 16, &count));
  bool has_clblast = false;
  for (size_t i = 0; i < count; ++i) {
    has_clblast = has_clblast || strcmp(steps[i].text, "clblast") == 0;
    assert_string_not_equal(steps[i].text, "gpu-tensor");  // what is used already
  }
  assert_true(has_clblast);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- launches

// A quarter of a second's work of a slow device; where that is less than four waves of work-groups, up to half a second's.
static void a_launch_follows_the_device(void **state) {
  heed_context *ctx = open_own(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  traits->compute_units = 10;
  traits->launch_flops = 1e12;  // of which half a second has two
  assert_int_equal(heed__cl_groups_a_launch(ctx, 1e9, 1), 1000);
  assert_int_equal(heed__cl_groups_a_launch(ctx, 1e9, HEED__CL_TENSOR_RATE), 4000);
  assert_int_equal(heed__cl_groups_a_launch(ctx, 1e10, 1), 120);   // four waves of three groups a core
  assert_int_equal(heed__cl_groups_a_launch(ctx, 2.5e10, 1), 80);  // which would take too long here
  assert_int_equal(heed__cl_groups_a_launch(ctx, 1e13, 1), 1);
  assert_int_equal(heed__cl_groups_a_launch(ctx, 0, 1), INT32_MAX);
  traits->compute_units = 20;
  traits->launch_flops = 2e12;
  assert_int_equal(heed__cl_groups_a_launch(ctx, 1e9, 1), 2000);
  heed_context_destroy(ctx);
}

// ---------------------------------------------------------------- what a kernel leaves to others

static struct heed_tensor without_memory(heed_context *ctx, heed_dtype dtype, int64_t rows, int64_t cols) {
  struct heed_tensor t = {.ctx = ctx, .dtype = dtype, .rank = 4, .dims = {1, 1, rows, cols}, .count = rows * cols};
  heed__contiguous_strides(t.rank, t.dims, t.strides);
  return t;
}

static void factors_too_large_to_pack_are_multiplied_as_they_lie(void **state) {
  heed_context *ctx = open_own(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  struct heed__cl_gemm_plan plan;
  traits->cpu_like = true;
  if (traits->vector_width < 4) traits->vector_width = 4;
  const struct heed_tensor a = without_memory(ctx, HEED_F16, 300, 200), b = without_memory(ctx, HEED_F16, 200, 400);
  struct heed_tensor c = without_memory(ctx, HEED_F16, 300, 400);
  const struct heed__cl_gemm_problem p = {
      .alpha = 1, .a = &a, .b = &b, .c = &c, .m = 300, .n = 400, .k = 200, .batches = 1};
  assert_true(heed__cl_gemm_plan(ctx, &p, NULL, &plan));
  assert_ptr_equal(plan.variant, &heed__cl_gemm_cpu);
  traits->max_allocation = 100000;  // of 320,000 bytes for b as floats
  assert_true(heed__cl_gemm_plan(ctx, &p, NULL, &plan));
  assert_ptr_equal(plan.variant, &heed__cl_gemm_panels);
  heed_context_destroy(ctx);
}

// Sums past 32768 terms go in parts, and in slices that add to C where parts of it are more than a buffer holds.
static void long_sums_of_a_large_product_go_in_slices(void **state) {
  setenv("HEED_GEMM_PROBE", "off", 1);  // which needs more memory than is left here
  heed_context *ctx = open_own(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->compute_units = 1;
  enum { SIDE = 3, LONG = 2 * 32768 + 5 };
  static float a[SIDE * LONG], b[SIDE * LONG], c[SIDE * SIDE], result[SIDE * SIDE];
  for (int trans = 0; trans < 2; ++trans) {
    const int64_t dims[] = {trans ? LONG : SIDE, trans ? SIDE : LONG};
    heed_tensor *x = support_tensor(ctx, HEED_F32, 2, dims, 1, a), *y = support_tensor(ctx, HEED_F32, 2, dims, 2, b);
    heed_tensor *z = support_tensor(ctx, HEED_F32, 2, (int64_t[]){SIDE, SIDE}, 3, c);
    const uint64_t whole = traits->max_allocation;
    traits->max_allocation = SIDE * SIDE * sizeof(float);
    const heed_status status = heed_gemm(trans, !trans, 0.5, x, y, -2, z);
    traits->max_allocation = whole;
    ASSERT_OK(status);
    ASSERT_OK(heed_tensor_download_f32(z, result, SIDE * SIDE));
    for (int i = 0; i < SIDE * SIDE; ++i) {
      const int row = i / SIDE, col = i % SIDE, step = trans ? SIDE : 1, line = trans ? 1 : LONG;
      double sum = 0;
      for (int k = 0; k < LONG; ++k) sum += (double)a[row * line + k * step] * (double)b[col * line + k * step];
      // Terms are multiples of 2^-16 of both signs, and no sum of them comes to 2^8: F32 holds it exactly.
      assert_true((double)result[i] == 0.5 * sum - 2 * (double)c[i]);
    }
    heed_tensor_destroy(x);
    heed_tensor_destroy(y);
    heed_tensor_destroy(z);
  }
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_warm_product_is_one_look_up_and_one_launch),
      cmocka_unit_test(a_new_choice_makes_plans_anew),
      cmocka_unit_test(sums_are_cut_alike_on_any_number_of_units),
      cmocka_unit_test(a_choice_names_the_tile_and_the_parts_of_gpu_products),
      cmocka_unit_test(parts_that_do_not_fit_are_as_few_as_a_sum_may_have),
      cmocka_unit_test(clblast_is_tried_where_tensor_cores_are_the_default),
      cmocka_unit_test(a_launch_follows_the_device),
      cmocka_unit_test(factors_too_large_to_pack_are_multiplied_as_they_lie),
      cmocka_unit_test(long_sums_of_a_large_product_go_in_slices),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
