// The rows of core/operators.h against what is called: every operator, in the tiny cases of all families, is watched on its way to
// the backend. And the gradients of these cases against finite differences.
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"
#include "core/core.h"
#include "support_devices.h"
#include "support_values.h"

// ---------------------------------------------------------------- rows

static int slot_of(const char *const *names, const char *name) {
  for (int i = 0; names[i]; ++i)
    if (strcmp(names[i], name) == 0) return i;
  return -1;
}

static bool is_optional(const struct heed__operator *op, const char *name) { return slot_of(op->optional, name) >= 0; }

static void rows_name_slots_that_there_are(void **state) {
  (void)state;
  for (int i = 0; i < HEED__OP_COUNT; ++i) {
    const struct heed__operator *op = &heed__operators[i];
    assert_non_null(op->out[0]);
    for (int j = 0; op->optional[j]; ++j)
      assert_true(slot_of(op->in, op->optional[j]) >= 0 || slot_of(op->out, op->optional[j]) >= 0);
    for (int j = 0; op->in_place[j]; j += 2) {
      assert_true(slot_of(op->out, op->in_place[j]) >= 0);
      assert_true(slot_of(op->in, op->in_place[j + 1]) >= 0);
    }
    assert_true(op->factor_count == 0 || op->is_sum_of_products);
    for (int j = 0; j < op->factor_count; ++j) assert_true(op->factors[j] + sizeof(double) <= op->params_bytes);
  }
}

static void tolerances_are_those_of_the_rows(void **state) {
  (void)state;
  assert_true(heed__op_tolerance(HEED__OP_gelu_fwd, 0, HEED_F32) == heed_tolerance(HEED_F32, false));
  assert_true(heed__op_tolerance(HEED__OP_gelu_bwd, 0, HEED_F32) == heed_tolerance(HEED_F32, true));
  assert_true(heed__op_tolerance(HEED__OP_copy, 0, HEED_F16) == 0);
  assert_true(heed_tolerance(HEED_F32, false) == 5e-6 && heed_tolerance(HEED_F32, true) == 2e-5);
  assert_true(heed_tolerance(HEED_F16, true) == 4e-3 && heed_tolerance(HEED_BF16, true) == 3.2e-2);
  assert_true(heed_tolerance(HEED_I32, false) == 0 && heed_tolerance(HEED_BOOL, true) == 0);
  // The joint cross-entropy gives a loss, slot 0, and its gradient.
  assert_true(heed__op_tolerance(HEED__OP_cross_entropy_fwd_bwd, HEED__cross_entropy_fwd_bwd_loss, HEED_F32) == 5e-6);
  assert_true(heed__op_tolerance(HEED__OP_cross_entropy_fwd_bwd, HEED__cross_entropy_fwd_bwd_dinput, HEED_F32) == 2e-5);
}

// ---------------------------------------------------------------- calls

static int calls[HEED__OP_COUNT], in_place_calls[HEED__OP_COUNT];

static void check_slots(const struct heed__operator *op, const struct heed__call *call) {
  int slot = 0;
  for (; op->in[slot]; ++slot)
    if (!call->in[slot] && !is_optional(op, op->in[slot])) fail_msg("%s without %s", op->name, op->in[slot]);
  for (; slot < HEED__MAX_IN; ++slot)
    if (call->in[slot]) fail_msg("%s with an input in slot %d", op->name, slot);
  for (slot = 0; op->out[slot]; ++slot)
    if (!call->out[slot] && !is_optional(op, op->out[slot])) fail_msg("%s without %s", op->name, op->out[slot]);
  for (; slot < HEED__MAX_OUT; ++slot)
    if (call->out[slot]) fail_msg("%s with an output in slot %d", op->name, slot);
  if ((call->params != NULL) != (op->params_bytes > 0)) fail_msg("%s and its parameters", op->name);
}

// A tensor of its own with t's values; t may be a view.
static heed_status copy_of(const heed_tensor *t, heed_tensor **out) {
  const size_t bytes = heed_tensor_bytes(t);
  void *data = malloc(bytes + 1);
  assert_non_null(data);
  heed_status status = heed_tensor_download(t, data, bytes);
  if (status == HEED_OK) status = heed_tensor_create_from(t->ctx, t->dtype, t->rank, t->dims, data, out);
  free(data);
  return status;
}

// The call into a tensor that also stands for the input of pair `pair` must give the same bits.
static heed_status repeat_in_place(heed_context *ctx, const struct heed__operator *op, const struct heed__call *call,
                                   int pair, heed_tensor *both) {
  const int out = slot_of(op->out, op->in_place[pair]), in = slot_of(op->in, op->in_place[pair + 1]);
  struct heed__call again = *call;
  heed_difference difference;
  again.in[in] = again.out[out] = both;
  TRY(ctx->device_backend->ops[call->op](ctx, &again));
  TRY(heed_tensor_compare(both, call->out[out], &difference));
  if (!heed_difference_within(&difference, 0)) fail_msg("%s: %s in %s", op->name, op->out[out], op->in[in]);
  in_place_calls[call->op] += 1;
  return HEED_OK;
}

// A call that is in place already has no input left to repeat it with.
static bool is_apart(const struct heed__call *call) {
  for (int in = 0; in < HEED__MAX_IN; ++in)
    for (int out = 0; out < HEED__MAX_OUT; ++out)
      if (call->in[in] && call->out[out] && call->in[in]->buffer == call->out[out]->buffer) return false;
  return true;
}

static heed_status watch(heed_context *ctx, const struct heed__call *call) {
  const struct heed__operator *op = &heed__operators[call->op];
  check_slots(op, call);
  calls[call->op] += 1;
  TRY(ctx->device_backend->ops[call->op](ctx, call));
  for (int pair = 0; op->in_place[pair] && is_apart(call); pair += 2) {
    const heed_tensor *in = call->in[slot_of(op->in, op->in_place[pair + 1])];
    heed_tensor *both;
    if (!in || !call->out[slot_of(op->out, op->in_place[pair])]) continue;  // left out
    TRY(copy_of(in, &both));
    const heed_status status = repeat_in_place(ctx, op, call, pair, both);
    heed_tensor_destroy(both);
    TRY(status);
  }
  return HEED_OK;
}

static void watch_tiny_cases(heed_context *ctx) {
  struct heed__backend watching = *ctx->device_backend;
  for (int i = 0; i < HEED__OP_COUNT; ++i) watching.ops[i] = watch;
  heed_case *cases;
  size_t count;
  ASSERT_OK(case_tiny_table(&cases, &count));
  memset(calls, 0, sizeof calls);
  memset(in_place_calls, 0, sizeof in_place_calls);
  ctx->backend = &watching;
  for (size_t i = 0; i < count; ++i) {
    case_env env;
    heed_status status = case_start(&env, &cases[i], ctx);
    if (status == HEED_OK) status = case_run(&env, &cases[i]);
    case_free(&env);
    if (status != HEED_OK) fail_msg("%s: %s", cases[i].name, heed_last_error());
  }
  ctx->backend = ctx->device_backend;
  free(cases);
  for (int i = 0; i < HEED__OP_COUNT; ++i) {
    if (calls[i] == 0) fail_msg("no tiny case of a family calls %s", heed__operators[i].name);
    if (heed__operators[i].in_place[0] && in_place_calls[i] == 0) fail_msg("%s in place", heed__operators[i].name);
  }
}

static void calls_are_as_the_rows_say(void **state) {
  heed_context *host;
  (void)state;
  ASSERT_OK(heed_open("host", &host));
  watch_tiny_cases(host);
  heed_context_destroy(host);
}

static void calls_on_the_device_are_too(void **state) { watch_tiny_cases(support_context(state)); }

// ---------------------------------------------------------------- families

static void every_family_is_called_as_in_the_list(void **state) {
  (void)state;
#define NAME(name) #name,
  static const char *const names[] = {CASE_FAMILIES(NAME)};
#undef NAME
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) assert_string_equal(case_families[i]->op, names[i]);
}

static void tiny_cases_have_the_gradients_of_their_forwards(void **state) {
  (void)state;
  heed_context *host;
  heed_case *cases;
  size_t count, compared = 0;
  ASSERT_OK(heed_open("host", &host));
  ASSERT_OK(case_tiny_table(&cases, &count));
  for (size_t i = 0; i < count; ++i) {
    if (!case_has_gradient(&cases[i])) continue;
    case_result result;
    ASSERT_OK(case_compare_gradient(&cases[i], host, &result));
    if (!result.passed) fail_msg("%s: %s", cases[i].name, result.message);
    ++compared;
  }
  assert_true(compared > 10);
  free(cases);
  heed_context_destroy(host);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_name_slots_that_there_are),
      cmocka_unit_test(tolerances_are_those_of_the_rows),
      cmocka_unit_test(calls_are_as_the_rows_say),
      TEST(calls_on_the_device_are_too),
      cmocka_unit_test(every_family_is_called_as_in_the_list),
      cmocka_unit_test(tiny_cases_have_the_gradients_of_their_forwards),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
