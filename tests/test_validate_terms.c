// What validation refuses and what it must let pass. A device that is wrong by a thousandth of an F32 result is refused, whichever operator
// and output it is, and even if it is one element of a large tensor. What no F32 arithmetic can know passes: gradients that are 0 in
// theory, differences of large scores, rows masked by −10000.
#include <stdio.h>
#include <stdlib.h>

#include "cases/case.h"
#include "core/core.h"
#include "support_values.h"

// A device that computes as the host, and then multiplies one output of one operator.
static struct {
  struct heed__backend table;
  const struct heed__backend *right;
  enum heed__op op;
  int slot;
  bool one_element, any_dtype;
  int calls;          // that were made wrong
  int others;         // that have the output, but not in F32
  double of_results;  // the largest relative error of an output that this made
} wrong;

static double root_mean_square(const float *values, int64_t count) {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) squares += isfinite(values[i]) ? (double)values[i] * (double)values[i] : 0;
  return sqrt(squares / (double)count);
}

static heed_status spoil(heed_tensor *t) {
  float *values = malloc((size_t)t->count * sizeof *values + 1);
  assert_non_null(values);
  heed_status status = heed_tensor_download_f32(t, values, t->count);
  const double size = root_mean_square(values, t->count);
  bool is_done = false;
  for (int64_t i = 0; i < t->count; ++i) {
    const double of_size = fabs((double)values[i]) / size;
    if (wrong.one_element && (is_done || !(of_size > 0.9 && of_size < 1.1))) continue;
    values[i] *= 1.001F;
    is_done = true;
  }
  wrong.of_results = fmax(wrong.of_results, 1e-3 / (wrong.one_element ? sqrt((double)t->count) : 1));
  wrong.calls += is_done && size > 0;
  if (status == HEED_OK) status = heed_tensor_upload_f32(t, values, t->count);
  free(values);
  return status;
}

static heed_status wrong_op(heed_context *ctx, const struct heed__call *call) {
  HEED__TRY(wrong.right->ops[call->op](ctx, call));
  heed_tensor *t = call->op == wrong.op ? call->out[wrong.slot] : NULL;
  if (t && t->dtype == HEED_I32 && wrong.any_dtype)
    return heed_tensor_upload(t, &(int32_t){(1 << 30) + 1}, sizeof(int32_t));
  wrong.others += t && t->dtype != HEED_F32;
  return t && t->dtype == HEED_F32 ? spoil(t) : HEED_OK;
}

static heed_context *open_wrong(enum heed__op op, int slot, bool one_element) {
  heed_context *ctx = NULL, *host = NULL;
  ASSERT_OK(heed_open("host", &ctx));
  ASSERT_OK(heed_open("host", &host));
  heed__validate_attach(ctx, host);
  wrong.right = ctx->device_backend;
  wrong.table = *ctx->device_backend;
  for (int i = 0; i < HEED__OP_COUNT; ++i) wrong.table.ops[i] = wrong_op;
  ctx->device_backend = &wrong.table;
  wrong.op = op, wrong.slot = slot, wrong.one_element = one_element, wrong.calls = 0, wrong.of_results = 0;
  return ctx;
}

static heed_status run_case(const heed_case *c, heed_context *ctx) {
  case_env env = {0};
  heed_status status = case_start(&env, c, ctx);
  if (status == HEED_OK) status = case_run(&env, c);
  case_free(&env);
  return status;
}

// Counts the small cases in which the output was made wrong, and those of them that nobody noticed. An output that is never F32 (counts, the
// copy of parameters in 16 bits) cannot be made wrong by a thousandth: it is not counted as missing.
static void count_unnoticed(const heed_case *cases, size_t count, enum heed__op op, int slot, int *made, int *missed) {
  heed_context *ctx = open_wrong(op, slot, false);
  *made = *missed = wrong.others = 0;
  for (size_t i = 0; i < count; ++i) {
    if (cases[i].dtype != HEED_F32) continue;
    wrong.calls = 0;
    const heed_status status = run_case(&cases[i], ctx);
    if (wrong.calls == 0) continue;
    ++*made;
    if (status != HEED_ERROR_MISMATCH) {
      ++*missed;
      print_message("%s %s: not refused in %s\n", heed__op_name(op), heed__operators[op].out[slot], cases[i].name);
    }
  }
  if (*made == 0 && wrong.others > 0) *made = 1;
  heed_context_destroy(ctx);
}

static void a_thousandth_of_a_result_is_refused(void **state) {
  (void)state;
  heed_case *cases;
  size_t count;
  int unseen = 0, missed_ones = 0;
  assert_int_equal(case_tiny_table(&cases, &count), HEED_OK);
  for (enum heed__op op = 0; op < HEED__OP_COUNT; ++op) {
    for (int slot = 0; heed__operators[op].out[slot]; ++slot) {
      int made, missed;
      if (heed__operators[op].tolerance == HEED__EXACT) continue;
      count_unnoticed(cases, count, op, slot, &made, &missed);
      if (made == 0) print_error("no case makes %s of %s wrong\n", heed__operators[op].out[slot], heed__op_name(op));
      unseen += made == 0;
      missed_ones += missed;
    }
  }
  free(cases);
  assert_int_equal(unseen, 0);
  assert_int_equal(missed_ones, 0);
}

// ---------------------------------------------------------------- one element of a large tensor

enum { ROWS = 300, COLUMNS = 400, DEPTH = 64 };

static heed_status large_call(heed_context *ctx, enum heed__op op) {
  heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(ROWS, COLUMNS), 1);
  heed_tensor *y = support_random(ctx, HEED_F32, SHAPE(ROWS, COLUMNS), 2), *z = support_like(x);
  switch (op) {
    case HEED__OP_add:
      return heed_add(1.5, x, -0.5, y, z);
    case HEED__OP_gemm:
      return heed_gemm(true, false, 1, support_random(ctx, HEED_F32, SHAPE(DEPTH, ROWS), 3),
                       support_random(ctx, HEED_F32, SHAPE(DEPTH, COLUMNS), 4), 0, z);
    case HEED__OP_gelu_fwd:
      return heed_gelu_fwd(x, HEED_GELU_ERF, z);
    case HEED__OP_gelu_bwd:
      return heed_gelu_bwd(x, y, HEED_GELU_TANH, z);
    case HEED__OP_softmax_fwd:
      return heed_softmax_fwd(x, 1, z);
    case HEED__OP_softmax_bwd:
      ASSERT_OK(heed_softmax_fwd(x, 1, z));
      return heed_softmax_bwd(z, y, 1, x);
    case HEED__OP_sgd:
      return heed_sgd(&(heed_sgd_options){.lr = 0.1, .weight_decay = 0.01}, x, y, NULL);
    default:
      return HEED_OK;
  }
}

static void a_thousandth_of_one_element_is_refused(void **state) {
  (void)state;
  static const enum heed__op ops[] = {HEED__OP_add,         HEED__OP_gemm,        HEED__OP_gelu_fwd, HEED__OP_gelu_bwd,
                                      HEED__OP_softmax_fwd, HEED__OP_softmax_bwd, HEED__OP_sgd};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; ++i) {
    heed_context *ctx = open_wrong(ops[i], 0, true);
    const heed_status status = large_call(ctx, ops[i]);
    heed_context_destroy(ctx);
    // The norm of the whole tensor does not show it.
    assert_int_equal(wrong.calls, 1);
    assert_true(wrong.of_results <= heed_tolerance(HEED_F32, false));
    if (status != HEED_ERROR_MISMATCH) fail_msg("%s: one wrong element was not noticed", heed__op_name(ops[i]));
  }
}

enum { LENGTH = 200, HEADS = 4, WIDTH = 64 };
static const heed_tensor *normal(heed_context *ctx, heed_dtype dtype, int64_t length, uint64_t seed, double deviation) {
  float *values = support_memory((size_t)(HEADS * length * WIDTH) * sizeof *values);
  for (int64_t i = 0; i < HEADS * length * WIDTH; ++i)
    values[i] = (float)(deviation * heed_random_normal(seed, 1, (uint64_t)i));
  return support_put_f32(ctx, dtype, SHAPE(1, HEADS, length, WIDTH), values);
}

static heed_status attend(heed_context *ctx, const heed_attention_inputs *in, const heed_attention_options *options,
                          bool mask_gradient) {
  const heed_dtype dtype = heed_tensor_dtype(in->q);
  const int64_t length = heed_tensor_dim(in->q, 2);
  heed_tensor *out = support_like(in->q), *lse = support_new(ctx, HEED_F32, SHAPE(1, HEADS, length));
  const heed_tensor *dout = normal(ctx, dtype, length, 9, 1);
  const heed_attention_grads grads = {.dq = support_like(in->q),
                                      .dk = support_like(in->k),
                                      .dv = support_like(in->v),
                                      .dmask = mask_gradient ? support_like(in->mask) : NULL};
  HEED__TRY(heed_attention_fwd(in, options, out, lse, NULL));
  HEED__TRY(heed_attention_bwd(in, options, out, lse, dout, &grads));
  return heed_sync(ctx);
}

static void a_thousandth_of_one_element_of_attention_is_refused(void **state) {
  (void)state;
  for (int slot = -2; slot < 3; ++slot) {
    heed_context *ctx =
        slot < 0 ? open_wrong(HEED__OP_attention_fwd, slot + 2, true) : open_wrong(HEED__OP_attention_bwd, slot, true);
    const heed_attention_inputs in = {.q = normal(ctx, HEED_F32, LENGTH, 1, 1),
                                      .k = normal(ctx, HEED_F32, LENGTH, 2, 1),
                                      .v = normal(ctx, HEED_F32, LENGTH, 3, 1)};
    const heed_status status = attend(ctx, &in, NULL, false);
    heed_context_destroy(ctx);
    assert_int_equal(wrong.calls, 1);
    if (status != HEED_ERROR_MISMATCH) fail_msg("output %d: one wrong element was not noticed", slot);
  }
}

// Rounding explains no wrong integer, however large it is.
static void integers_stay_exact(void **state) {
  (void)state;
  heed_context *ctx = open_wrong(HEED__OP_gather_rows, 0, false);
  wrong.any_dtype = true;
  const int32_t large[2] = {1 << 30, 3};
  const heed_tensor *x = support_put(ctx, HEED_I32, SHAPE(2, 1), large);
  const heed_tensor *index = support_put(ctx, HEED_I32, SHAPE(1), &(int32_t){0});
  const heed_status status = heed_gather_rows(x, index, 1, 0, support_new(ctx, HEED_I32, SHAPE(1, 1)));
  wrong.any_dtype = false;
  heed_context_destroy(ctx);
  assert_int_equal(status, HEED_ERROR_MISMATCH);
}

// ---------------------------------------------------------------- what F32 cannot know

static const heed_dtype dtypes[] = {HEED_F32, HEED_F16, HEED_BF16};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static heed_context *open_validating(void **state) {
  const heed_device_info *info = heed_context_device(support_context(state));
  char spec[128];
  snprintf(spec, sizeof spec, "id:%s", info->id);
  heed_context *ctx = NULL;
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .validate = 1}, &ctx));
  return ctx;
}

// softmax gives nothing back for a gradient that is the same everywhere; nor does the sum of rows that cancel.
static void gradients_that_are_zero_pass(void **state) {
  heed_context *ctx = open_validating(state);
  for (int i = 0; i < DTYPES; ++i) {
    heed_tensor *x = support_random(ctx, dtypes[i], SHAPE(7, 33), 1), *y = support_like(x), *dy = support_like(x);
    ASSERT_OK(heed_fill(dy, 1.0 / 3));
    for (int log_form = 0; log_form < 2; ++log_form) {
      ASSERT_OK((log_form ? heed_log_softmax_fwd : heed_softmax_fwd)(x, 1, y));
      ASSERT_OK((log_form ? heed_log_softmax_bwd : heed_softmax_bwd)(y, dy, 1, support_like(x)));
    }
    ASSERT_OK(heed_add(1, x, -1, x, support_like(x)));
    ASSERT_OK(heed_softmax_fwd(x, 0, y));  // the columns of y sum to 1, and those of y − 1/7 to nothing
    heed_tensor *weight = support_random(ctx, dtypes[i], SHAPE(33, 5), 2);
    ASSERT_OK(heed_fill(dy, -1.0 / 7));
    ASSERT_OK(heed_add(1, y, 1, dy, dy));
    ASSERT_OK(heed_linear_bwd(support_random(ctx, dtypes[i], SHAPE(7, 5), 3), weight, dy, NULL, support_like(weight),
                              support_new(ctx, dtypes[i], SHAPE(33)), false));
  }
  heed_context_destroy(ctx);
}

// The loss of a sure and right answer, and its gradient p − t.
static void sure_answers_pass(void **state) {
  heed_context *ctx = open_validating(state);
  const int32_t labels[3] = {0, 1, 2};
  const float logits[9] = {20, 0, 1, 3, 12, -4, -300, -200, 88};
  for (int i = 0; i < DTYPES; ++i) {
    const heed_tensor *x = support_put_f32(ctx, dtypes[i], SHAPE(3, 3), logits);
    const heed_tensor *target = support_put(ctx, HEED_I32, SHAPE(3), labels);
    const heed_cross_entropy_options options = {.reduction = HEED_REDUCTION_NONE};
    ASSERT_OK(heed_cross_entropy_fwd(x, target, &options, support_new(ctx, HEED_F32, SHAPE(3))));
    ASSERT_OK(heed_cross_entropy_bwd(x, target, &options, NULL, support_like(x)));
    ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, support_new(ctx, HEED_F32, SHAPE(1)), support_like(x)));
  }
  heed_context_destroy(ctx);
}

static void sharp_attention_passes(void **state) {
  heed_context *ctx = open_validating(state);
  static const double deviations[] = {1, 10, 100};
  for (int i = 0; i < DTYPES; ++i)
    for (size_t d = 0; d < sizeof deviations / sizeof *deviations; ++d)
      for (int path = HEED_PATH_STAGED; path <= HEED_PATH_FUSED; ++path) {
        // Queries that are their own keys put nearly all of the weight on themselves.
        const heed_tensor *q = normal(ctx, dtypes[i], 17, 1, deviations[d]), *k = normal(ctx, dtypes[i], 17, 2, 1);
        const heed_attention_options options = {.path = (heed_attention_path)path};
        ASSERT_OK(attend(ctx, &(heed_attention_inputs){.q = q, .k = k, .v = k}, &options, false));
        ASSERT_OK(attend(ctx, &(heed_attention_inputs){.q = q, .k = q, .v = q}, &options, false));
      }
  heed_context_destroy(ctx);
}

// With equal keys a score's gradient gives nothing to q.
static void equal_keys_pass(void **state) {
  heed_context *ctx = open_validating(state);
  for (int i = 0; i < DTYPES; ++i) {
    heed_tensor *k = support_new(ctx, dtypes[i], SHAPE(1, HEADS, 17, WIDTH));
    ASSERT_OK(heed_fill(k, 0.7));
    const heed_attention_inputs in = {
        .q = normal(ctx, dtypes[i], 17, 1, 1), .k = k, .v = normal(ctx, dtypes[i], 17, 3, 1)};
    for (int path = HEED_PATH_STAGED; path <= HEED_PATH_FUSED; ++path)
      ASSERT_OK(attend(ctx, &in, &(heed_attention_options){.path = (heed_attention_path)path}, false));
  }
  heed_context_destroy(ctx);
}

// A row that −10000 masks throughout keeps its softmax, and F32 only three decimals of its scores. A mask with one number for each query
// has the gradient 0.
static void rows_of_minus_10000_pass(void **state) {
  heed_context *ctx = open_validating(state);
  for (int i = 0; i < DTYPES; ++i) {
    float bias[17 * 17];
    for (int at = 0; at < 17 * 17; ++at) bias[at] = at / 17 % 2 ? -10000.0F : (float)(at % 5);
    const heed_attention_inputs in = {.q = normal(ctx, dtypes[i], 17, 1, 1),
                                      .k = normal(ctx, dtypes[i], 17, 2, 1),
                                      .v = normal(ctx, dtypes[i], 17, 3, 1),
                                      .mask = support_put_f32(ctx, dtypes[i], SHAPE(17, 17), bias)};
    heed_attention_inputs by_query = in;
    by_query.mask = support_put_f32(ctx, dtypes[i], SHAPE(17, 1), bias);
    ASSERT_OK(attend(ctx, &in, &(heed_attention_options){.path = HEED_PATH_FUSED}, false));
    ASSERT_OK(attend(ctx, &in, &(heed_attention_options){.path = HEED_PATH_STAGED}, true));
    ASSERT_OK(attend(ctx, &by_query, &(heed_attention_options){.path = HEED_PATH_STAGED}, true));
  }
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest refused[] = {
      TEST(a_thousandth_of_a_result_is_refused),
      TEST(a_thousandth_of_one_element_is_refused),
      TEST(a_thousandth_of_one_element_of_attention_is_refused),
      TEST(integers_stay_exact),
  };
  const struct CMUnitTest let_pass[] = {
      TEST(gradients_that_are_zero_pass), TEST(sure_answers_pass), TEST(sharp_attention_passes), TEST(equal_keys_pass),
      TEST(rows_of_minus_10000_pass),
  };
  return cmocka_run_group_tests_name("wrong results", refused, NULL, NULL) +
         cmocka_run_group_tests_name("right results", let_pass, support_open_device, support_close);
}
