// The fused path of attention on CPUs: lengths at the edges of its tiles, cut launches, wide heads, gradients left out, memory.
// What a call may hold besides is in test_attention_random.c.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/attention/fused_cpu.h"
#include "support_devices.h"

struct shape {
  int64_t batch, heads, kv_heads, queries, keys, dim;
  int mask_rank;  // 0: no mask
};

enum { Q, K, V, MASK, OUT, LSE, DOUT, DQ, DK, DV, TENSORS };
static const char *const names[TENSORS] = {"q", "k", "v", "mask", "out", "lse", "dout", "dq", "dk", "dv"};

struct side {
  heed_context *ctx;
  heed_tensor *t[TENSORS];
};

// The test's context where it is a CPU; skips the test elsewhere.
static heed_context *cpu_context(void **state) {
  heed_context *ctx = support_context(state);
  if (!heed__cl_state(ctx)->traits.cpu_like) skip();
  return ctx;
}

static void create(struct side *s, int which, int64_t d0, int64_t d1, int64_t d2, int64_t d3) {
  const int64_t dims[4] = {d0, d1, d2, d3};
  s->t[which] = support_tensor(s->ctx, HEED_F32, 4, dims, (uint64_t)which + 1, NULL);
}

// The mask's last mask_rank dimensions; a row in nine has nothing to attend.
static void create_mask(const struct shape *c, struct side *s) {
  const int64_t full[4] = {c->batch, c->heads, c->queries, c->keys}, *dims = full + 4 - c->mask_rank;
  int64_t count = 1;
  for (int axis = 0; axis < c->mask_rank; ++axis) count *= dims[axis];
  uint8_t *allowed = malloc((size_t)count);
  assert_non_null(allowed);
  for (int64_t i = 0; i < count; ++i)
    allowed[i] = heed_random_below(7, 0, (uint64_t)i, 4) != 0 && (c->mask_rank == 1 || i / c->keys % 9 != 4);
  ASSERT_OK(heed_tensor_create_from(s->ctx, HEED_BOOL, c->mask_rank, dims, allowed, &s->t[MASK]));
  free(allowed);
}

static struct side side_create(const struct shape *c, heed_context *ctx) {
  struct side s = {.ctx = ctx};
  create(&s, Q, c->batch, c->heads, c->queries, c->dim);
  create(&s, K, c->batch, c->kv_heads, c->keys, c->dim);
  create(&s, V, c->batch, c->kv_heads, c->keys, c->dim);
  create(&s, OUT, c->batch, c->heads, c->queries, c->dim);
  create(&s, DOUT, c->batch, c->heads, c->queries, c->dim);
  create(&s, DQ, c->batch, c->heads, c->queries, c->dim);
  create(&s, DK, c->batch, c->kv_heads, c->keys, c->dim);
  create(&s, DV, c->batch, c->kv_heads, c->keys, c->dim);
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 3, (int64_t[]){c->batch, c->heads, c->queries}, &s.t[LSE]));
  if (c->mask_rank) create_mask(c, &s);
  return s;
}

static void side_destroy(struct side *s) {
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->t[i]);
}

static heed_attention_inputs inputs_of(const struct side *s) {
  return (heed_attention_inputs){.q = s->t[Q], .k = s->t[K], .v = s->t[V], .mask = s->t[MASK]};
}

static heed_status run_public(const struct side *s, const heed_attention_options *options) {
  const heed_attention_inputs in = inputs_of(s);
  const heed_attention_grads grads = {.dq = s->t[DQ], .dk = s->t[DK], .dv = s->t[DV]};
  const heed_status status = heed_attention_fwd(&in, options, s->t[OUT], s->t[LSE], NULL);
  if (status != HEED_OK) return status;
  return heed_attention_bwd(&in, options, s->t[OUT], s->t[LSE], s->t[DOUT], &grads);
}

// ---------------------------------------------------------------- a call with tiles of the test's choice

struct tiles {
  int vector, rows, key_block, query_block;
};

// What the path takes from a call, with the mask broadcast by strides.
struct internal {
  struct heed__attention_params params;
  struct heed_tensor mask;
  struct heed__cl_attention a;
};

static void internal_call(const struct shape *c, const struct side *s, heed_causal causal, struct internal *call) {
  *call = (struct internal){.params = {.causal = causal,
                                       .scale = 1 / sqrt((double)c->dim),
                                       .window_left = -1,
                                       .window_right = -1,
                                       .dropout_scale = 1}};
  call->a = (struct heed__cl_attention){.params = &call->params,
                                        .q = s->t[Q],
                                        .k = s->t[K],
                                        .v = s->t[V],
                                        .out = s->t[OUT],
                                        .lse = s->t[LSE],
                                        .batch = c->batch,
                                        .heads = c->heads,
                                        .kv_heads = c->kv_heads,
                                        .queries = c->queries,
                                        .keys = c->keys,
                                        .dim = c->dim,
                                        .value_dim = c->dim,
                                        .group = c->heads / c->kv_heads};
  if (!c->mask_rank) return;
  const int64_t full[4] = {c->batch, c->heads, c->queries, c->keys};
  int64_t strides[4] = {0};
  for (int axis = 4 - c->mask_rank; axis < 4; ++axis) strides[axis] = s->t[MASK]->strides[axis - 4 + c->mask_rank];
  heed__view_init(&call->mask, s->t[MASK], 4, full, strides, 0);
  call->a.mask = &call->mask;
}

static struct heed__cl_attention_fused_cpu plan_of(const struct internal *call, heed_context *ctx,
                                                   const struct tiles *tiles) {
  struct heed__cl_attention_fused_cpu plan;
  heed__cl_attention_fused_cpu_plan(ctx, &call->a, NULL, &plan);
  if (tiles) {
    plan.vector = tiles->vector;
    plan.tile_rows = tiles->rows;
    plan.key_block = tiles->key_block;
    plan.query_block = tiles->query_block;
    plan.decode = false;
    plan.splits = call->a.backward ? heed__min(plan.splits, heed__ceil_div(call->a.keys, tiles->key_block)) : 1;
  }
  return plan;
}

static void run_internal(const struct shape *c, const struct side *s, heed_causal causal, const struct tiles *tiles) {
  struct internal call;
  internal_call(c, s, causal, &call);
  struct heed__cl_attention_fused_cpu plan = plan_of(&call, s->ctx, tiles);
  ASSERT_OK(heed__cl_attention_fused_cpu_run(s->ctx, &call.a, &plan));
  call.a.backward = true;
  call.a.dout = s->t[DOUT];
  call.a.dq = s->t[DQ];
  call.a.dk = s->t[DK];
  call.a.dv = s->t[DV];
  plan = plan_of(&call, s->ctx, tiles);
  ASSERT_OK(heed__cl_attention_fused_cpu_run(s->ctx, &call.a, &plan));
}

// As DESIGN's F32 numbers. A gradient that cancels is off by the rounding of its terms, which are of order 1.
static void assert_agree(const struct side *device, const struct side *host, const char *what) {
  for (int i = 0; i < TENSORS; ++i) {
    if (i == MASK || i < OUT) continue;
    heed_difference d;
    ASSERT_OK(heed_tensor_compare(device->t[i], host->t[i], &d));
    const double most = i == OUT || i == LSE ? 5e-6 : 2e-5;
    const double terms = 1e-7 * sqrt((double)heed_tensor_count(device->t[i]));
    if (!heed_difference_within(&d, most) && !(!d.non_finite_mismatch && d.error <= terms))
      fail_msg("%s: %s: relative %g, element %lld is %g and should be %g", what, names[i], d.relative,
               (long long)d.index, d.actual, d.expected);
  }
}

static void check_shape(heed_context *ctx, heed_context *host_ctx, const struct shape *c, const struct tiles *tiles) {
  for (int causal = 0; causal < 3; causal += 1 + (c->mask_rank != 0)) {
    struct side device = side_create(c, ctx), host = side_create(c, host_ctx);
    run_internal(c, &device, (heed_causal)causal, tiles);
    const heed_attention_options options = {.causal = (heed_causal)causal};
    ASSERT_OK(run_public(&host, &options));
    char what[160];
    snprintf(what, sizeof what, "vector %d: %lld queries, %lld keys, width %lld, causal %d, mask of rank %d",
             tiles ? tiles->vector : 0, (long long)c->queries, (long long)c->keys, (long long)c->dim, causal,
             c->mask_rank);
    assert_agree(&device, &host, what);
    side_destroy(&device);
    side_destroy(&host);
  }
}

// Every length one less than, equal to and one more than every size of a tile, with masks of every rank.
static void check_edges(void **state, const struct tiles *tiles, int64_t dim, bool masks) {
  heed_context *ctx = cpu_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  const int sizes[] = {tiles->rows, 2 * tiles->vector, tiles->key_block, tiles->query_block};
  const int count = (int)(sizeof sizes / sizeof *sizes) * 3;
  for (int i = 0; i < count; ++i)
    for (int j = 0; j < count; ++j) {
      const int64_t queries = sizes[i / 3] + i % 3 - 1, keys = sizes[j / 3] + j % 3 - 1;
      const struct shape c = {1, 2, 1, queries, keys, dim, masks ? 1 + (i + j) % 4 : 0};
      check_shape(ctx, host, &c, tiles);
    }
  heed_context_destroy(host);
}

static const struct tiles narrow = {.vector = 4, .rows = 8, .key_block = 24, .query_block = 16};
static const struct tiles middle = {.vector = 8, .rows = 6, .key_block = 48, .query_block = 18};
static const struct tiles wide = {.vector = 16, .rows = 12, .key_block = 96, .query_block = 48};

static void vectors_of_4_have_right_edges(void **state) { check_edges(state, &narrow, 5, false); }
static void vectors_of_4_have_right_edges_with_masks(void **state) { check_edges(state, &narrow, 12, true); }
static void vectors_of_8_have_right_edges(void **state) { check_edges(state, &middle, 16, false); }
static void vectors_of_8_have_right_edges_with_masks(void **state) { check_edges(state, &middle, 7, true); }
static void vectors_of_16_have_right_edges_with_masks(void **state) { check_edges(state, &wide, 33, true); }

static void default_tiles_have_right_edges(void **state) {
  heed_context *ctx = cpu_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  for (int64_t add = -1; add <= 1; ++add) {
    const struct shape shapes[] = {{1, 2, 2, 96 + add, 256 - add, 16, 2}, {2, 4, 2, 64 + add, 96 + add, 16, 2}};
    for (int i = 0; i < 2; ++i) check_shape(ctx, host, &shapes[i], NULL);
  }
  heed_context_destroy(host);
}

// ---------------------------------------------------------------- widths, memory, what is left out

static void heads_of_up_to_512_run_and_wider_ones_are_left_to_staged(void **state) {
  heed_context *ctx = cpu_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  const struct shape c = {1, 1, 1, 60, 130, 512, 0};
  check_shape(ctx, host, &c, NULL);
  heed_context_destroy(host);
  const struct shape wider = {1, 1, 1, 2, 3, 513, 0};
  struct side s = side_create(&wider, ctx);
  const heed_attention_options fused = {.path = HEED_PATH_FUSED}, any = {.path = HEED_PATH_AUTO};
  ASSERT_FAILS(HEED_ERROR_UNSUPPORTED, "staged", run_public(&s, &fused));
  ASSERT_OK(run_public(&s, &any));
  side_destroy(&s);
}

static void assert_same_bits(heed_tensor *a, heed_tensor *b) {
  heed_difference d;
  ASSERT_OK(heed_tensor_compare(a, b, &d));
  assert_true(heed_difference_within(&d, 0));
}

static void gradients_left_out_do_not_change_the_others(void **state) {
  heed_context *ctx = cpu_context(state);
  const struct shape c = {1, 2, 1, 40, 50, 16, 2};
  struct side all = side_create(&c, ctx), one = side_create(&c, ctx);
  const heed_attention_options fused = {.path = HEED_PATH_FUSED};
  ASSERT_OK(run_public(&all, &fused));
  const heed_attention_inputs in = inputs_of(&one);
  for (int which = DQ; which <= DV; ++which) {
    const heed_attention_grads grads = {.dq = which == DQ ? one.t[DQ] : NULL,
                                        .dk = which == DK ? one.t[DK] : NULL,
                                        .dv = which == DV ? one.t[DV] : NULL};
    ASSERT_OK(heed_attention_bwd(&in, &fused, all.t[OUT], all.t[LSE], one.t[DOUT], &grads));
    assert_same_bits(one.t[which], all.t[which]);
  }
  side_destroy(&all);
  side_destroy(&one);
}

static double total_bytes(const struct internal *call, heed_context *ctx) {
  const struct heed__cl_attention_fused_cpu plan = plan_of(call, ctx, NULL);
  double bytes[HEED__FUSED_CPU_BUFFERS], total = 0;
  heed__cl_attention_fused_cpu_sizes(&call->a, &plan, plan.slots, bytes);
  for (int i = 0; i < HEED__FUSED_CPU_BUFFERS; ++i) total += bytes[i];
  return total;
}

// Scratch follows the length, not its square, and how many launches there are does not show in the result.
static void memory_is_linear_and_bounded(void **state) {
  heed_context *ctx = cpu_context(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  struct side empty = {.ctx = ctx};
  struct internal call;
  const struct shape long_row = {1, 1, 1, 65536, 65536, 64, 0};
  internal_call(&long_row, &empty, HEED_CAUSAL_NONE, &call);
  assert_true(total_bytes(&call, ctx) < 64e6);

  const struct shape c = {3, 2, 2, 40, 100, 16, 2};
  const heed_attention_options fused = {.path = HEED_PATH_FUSED};
  struct side whole = side_create(&c, ctx), cut = side_create(&c, ctx);
  ASSERT_OK(run_public(&whole, &fused));
  const uint64_t allowed = traits->max_allocation;
  traits->max_allocation = 40000;
  ASSERT_OK(run_public(&cut, &fused));
  traits->max_allocation = 2000;
  heed__cl_scratch_trim(ctx, 0);  // a buffer left from before would do
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "scratch", run_public(&cut, &fused));
  traits->max_allocation = allowed;
  for (int i = OUT; i < TENSORS; ++i)
    if (i != DOUT) assert_same_bits(cut.t[i], whole.t[i]);
  side_destroy(&whole);
  side_destroy(&cut);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vectors_of_4_have_right_edges),
      cmocka_unit_test(vectors_of_4_have_right_edges_with_masks),
      cmocka_unit_test(vectors_of_8_have_right_edges),
      cmocka_unit_test(vectors_of_8_have_right_edges_with_masks),
      cmocka_unit_test(vectors_of_16_have_right_edges_with_masks),
      cmocka_unit_test(default_tiles_have_right_edges),
      cmocka_unit_test(heads_of_up_to_512_run_and_wider_ones_are_left_to_staged),
      cmocka_unit_test(gradients_left_out_do_not_change_the_others),
      cmocka_unit_test(memory_is_linear_and_bounded),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
