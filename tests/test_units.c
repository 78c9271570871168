// A device gives the same bits however many compute units it has: no sum's order follows their number, nor the device's memory. Compares the
// whole device with a sub-device of one unit, and with the whole device said to have 61 units, more than there are blocks to share out.
#include "cl/attention/fused_gpu.h"
#include "cl/gemm/gemm.h"
// After cl.h, which chooses the version of OpenCL.
#include <heed/opencl.h>

#include "support_attention.h"

enum { DEVICES = 3, MOST_RESULTS = 8 };
static heed_context *devices[DEVICES];  // whole; one unit; said to have many

struct results {
  const heed_tensor *list[MOST_RESULTS];
  int count;
};

static const heed_tensor *add(struct results *r, const heed_tensor *t) { return r->list[r->count++] = t; }

static heed_context *open_one_unit(cl_device_id device) {
  const cl_device_partition_property ones[] = {CL_DEVICE_PARTITION_EQUALLY, 1, 0};
  cl_uint most = 0, made = 0;
  cl_device_id units[256];
  heed_context *ctx = NULL;
  // Some drivers do not survive the next call where they cannot divide.
  clGetDeviceInfo(device, CL_DEVICE_PARTITION_MAX_SUB_DEVICES, sizeof most, &most, NULL);
  if (most < 2 || most > 256 || clCreateSubDevices(device, ones, most, units, &made) != CL_SUCCESS) return NULL;
  cl_int error = CL_SUCCESS;
  cl_context context = clCreateContext(NULL, 1, units, NULL, NULL, &error);
  cl_command_queue queue = context ? clCreateCommandQueue(context, units[0], 0, &error) : NULL;
  if (queue && heed_open_opencl(context, units[0], queue, NULL, &ctx) != HEED_OK) ctx = NULL;
  if (queue) clReleaseCommandQueue(queue);
  if (context) clReleaseContext(context);
  for (cl_uint i = 0; i < made; ++i) clReleaseDevice(units[i]);
  return ctx;
}

static int open_devices(void **state) {
  void *opened = NULL;
  if (support_open_device(&opened) != 0) return -1;
  devices[0] = *state = opened;
  if (!opened) return 0;
  cl_device_id device;
  if (heed_opencl_handles(devices[0], NULL, &device, NULL) != HEED_OK) return -1;
  devices[1] = open_one_unit(device);
  if (heed_open(NULL, &devices[2]) != HEED_OK) return -1;
  heed__cl_state(devices[2])->traits.compute_units = 61;
  return 0;
}

static int close_devices(void **state) {
  for (int i = 1; i < DEVICES; ++i) heed_context_destroy(devices[i]);
  return support_close(state);
}

// What `compute` makes on each device has the bits that it has on the whole one.
static void assert_same_everywhere(struct results (*compute)(heed_context *ctx, const void *shape), const void *shape) {
  const struct results expected = compute(devices[0], shape);
  for (int d = 1; d < DEVICES; ++d) {
    if (!devices[d]) continue;
    const struct results actual = compute(devices[d], shape);
    for (int i = 0; i < expected.count; ++i) ASSERT_SAME_BITS(actual.list[i], expected.list[i]);
  }
}

// ---------------------------------------------------------------- attention

struct shape {
  int64_t batch, heads, kv_heads, queries, keys, dim;
  heed_attention_path path;
  heed_causal causal;
  bool forward_only;
};

static struct results attend(heed_context *ctx, const void *which) {
  const struct shape *s = which;
  struct attention a = attention_make(ctx, s->batch, s->heads, s->kv_heads, s->queries, s->keys, s->dim);
  struct results r = {.count = 0};
  a.options = (heed_attention_options){.path = s->path, .causal = s->causal};
  if (s->forward_only)
    attention_forward(&a);
  else
    attention_run(&a);
  add(&r, a.out);
  add(&r, a.lse);
  if (s->forward_only) return r;
  add(&r, a.grads.dq);
  add(&r, a.grads.dk);
  add(&r, a.grads.dv);
  return r;
}

// Few heads, whose keys are shared out.
static void attention_has_the_same_bits(void **state) {
  support_context(state);
  static const struct shape shapes[] = {
      {1, 1, 1, 300, 500, 16, HEED_PATH_AUTO, HEED_CAUSAL_NONE, false},
      {1, 3, 3, 300, 300, 16, HEED_PATH_AUTO, HEED_CAUSAL_TOP_LEFT, false},
      {1, 6, 3, 100, 1000, 16, HEED_PATH_AUTO, HEED_CAUSAL_BOTTOM_RIGHT, false},
      {5, 1, 1, 200, 900, 16, HEED_PATH_AUTO, HEED_CAUSAL_NONE, false},
      {1, 3, 3, 300, 300, 16, HEED_PATH_STAGED, HEED_CAUSAL_TOP_LEFT, false},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) assert_same_everywhere(attend, &shapes[i]);
}

static void decoding_has_the_same_bits(void **state) {
  support_context(state);
  static const struct shape shapes[] = {
      {1, 1, 1, 1, 3000, 16, HEED_PATH_AUTO, HEED_CAUSAL_NONE, true},
      {1, 12, 3, 1, 5000, 16, HEED_PATH_AUTO, HEED_CAUSAL_NONE, true},
      {3, 2, 2, 4, 2000, 16, HEED_PATH_AUTO, HEED_CAUSAL_BOTTOM_RIGHT, true},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) assert_same_everywhere(attend, &shapes[i]);
}

// The plan of a GPU with so many units and so much memory.
static struct heed__cl_attention_fused_gpu plan_of(heed_context *ctx, const struct heed__cl_attention *a,
                                                   uint32_t units, uint64_t memory) {
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const struct heed__cl_traits real = *traits;
  struct heed__cl_attention_fused_gpu plan;
  memset(&plan, 0, sizeof plan);
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->max_work_group = 256;
  traits->local_memory = 49152;
  traits->compute_units = units;
  traits->memory = memory;
  const bool planned = heed__cl_attention_fused_gpu_plan(ctx, a, NULL, &plan);
  *traits = real;
  assert_true(planned);
  return plan;
}

// Kernels for GPUs take long to compile for a CPU; that what splits their sums is the same says as much.
static void plans_for_gpus_are_the_same(void **state) {
  heed_context *ctx = support_context(state);
  const struct heed__attention_params params = {.scale = 1};
  const struct heed_tensor t = {.ctx = ctx, .dtype = HEED_F32, .rank = 4};
  for (int64_t heads = 1; heads < 1000; heads *= 3)
    for (int64_t queries = 1; queries < 1000; queries *= 7) {
      const struct heed__cl_attention a = {.params = &params,
                                           .q = &t,
                                           .batch = 1,
                                           .heads = heads,
                                           .kv_heads = heads,
                                           .group = 1,
                                           .queries = queries,
                                           .keys = 9000,
                                           .dim = 64,
                                           .value_dim = 64};
      const struct heed__cl_attention_fused_gpu small = plan_of(ctx, &a, 2, 1 << 30);
      const struct heed__cl_attention_fused_gpu large = plan_of(ctx, &a, 132, (uint64_t)1 << 37);
      assert_int_equal(small.splits, large.splits);
      assert_memory_equal(&small.tiles[HEED__GPU_FORWARD], &large.tiles[HEED__GPU_FORWARD],
                          sizeof small.tiles[HEED__GPU_FORWARD]);
    }
}

// dk, dv and dmask are summed over chunks, which follow the memory there is.
static struct results attend_with_mask(heed_context *ctx, const void *unused) {
  (void)unused;
  struct attention a = attention_make(ctx, 2, 4, 2, 70, 90, 16);
  struct results r = {.count = 0};
  a.options = (heed_attention_options){.path = HEED_PATH_STAGED};
  a.in.mask = support_random(ctx, HEED_F32, SHAPE(1, 1, 70, 90), 9);
  a.grads.dmask = support_like(a.in.mask);
  attention_run(&a);
  add(&r, a.out);
  add(&r, a.grads.dq);
  add(&r, a.grads.dk);
  add(&r, a.grads.dv);
  add(&r, a.grads.dmask);
  return r;
}

static void memory_changes_no_bit(void **state) {
  heed_context *ctx = support_context(state);
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const uint64_t whole = traits->max_allocation;
  const struct results expected = attend_with_mask(ctx, NULL);
  for (uint64_t limit = 600000; limit >= 75000; limit /= 2) {
    traits->max_allocation = limit;
    const struct results actual = attend_with_mask(ctx, NULL);
    traits->max_allocation = whole;
    for (int i = 0; i < expected.count; ++i) ASSERT_SAME_BITS(actual.list[i], expected.list[i]);
  }
}

// ---------------------------------------------------------------- other sums

struct product {
  int64_t m, n, k;
  bool trans_a, trans_b;
  heed_dtype dtype;
};

static struct results multiply(heed_context *ctx, const void *which) {
  const struct product *p = which;
  const heed_tensor *a = p->trans_a ? support_random(ctx, p->dtype, SHAPE(p->k, p->m), 1)
                                    : support_random(ctx, p->dtype, SHAPE(p->m, p->k), 1);
  const heed_tensor *b = p->trans_b ? support_random(ctx, p->dtype, SHAPE(p->n, p->k), 2)
                                    : support_random(ctx, p->dtype, SHAPE(p->k, p->n), 2);
  heed_tensor *c = support_new(ctx, p->dtype, SHAPE(p->m, p->n));
  struct results r = {.count = 0};
  ASSERT_OK(heed_gemm(p->trans_a, p->trans_b, 1, a, b, 0, c));
  add(&r, c);
  return r;
}

// Few elements, each a long sum; some by the processor's instruction for pairs.
static void products_have_the_same_bits(void **state) {
  support_context(state);
  static const struct product products[] = {
      {1, 1, 20000, false, false, HEED_F32},  {3, 5, 30000, false, true, HEED_F32},
      {10, 33, 10000, true, false, HEED_F32}, {64, 64, 5000, true, true, HEED_F32},
      {130, 70, 3000, true, false, HEED_F32}, {200, 300, 500, false, false, HEED_F32},
      {3, 5, 30000, false, true, HEED_BF16},  {10, 33, 10001, true, false, HEED_BF16},
      {64, 64, 5001, true, true, HEED_BF16},  {200, 300, 500, false, false, HEED_BF16},
      {20, 30, 9000, false, true, HEED_BF16},
  };
  for (int d = 0; d < DEVICES; ++d)
    if (devices[d]) {
      struct heed__cl_traits *traits = &heed__cl_state(devices[d])->traits;
      if (traits->bf16_dots == HEED__BF16_NONE) traits->bf16_dots = HEED__BF16_EMULATED;
      heed__cl_gemm_state(devices[d])->bf16_dots = HEED__GEMM_DOTS_ON;
      heed__cl_revise(devices[d]);
    }
  for (size_t i = 0; i < sizeof products / sizeof *products; ++i) assert_same_everywhere(multiply, &products[i]);
}

static struct results train_linear(heed_context *ctx, const void *unused) {
  (void)unused;
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(3000, 50), 1);
  const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(7, 50), 2);
  const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(3000, 7), 3);
  heed_tensor *dx = support_like(x), *dweight = support_like(weight), *dbias = support_new(ctx, HEED_F32, SHAPE(7));
  struct results r = {.count = 0};
  ASSERT_OK(heed_linear_bwd(x, weight, dy, dx, dweight, dbias, false));
  add(&r, dx);
  add(&r, dweight);
  add(&r, dbias);
  return r;
}

static void linear_has_the_same_bits(void **state) {
  support_context(state);
  assert_same_everywhere(train_linear, NULL);
}

static struct results rows(heed_context *ctx, const void *unused) {
  (void)unused;
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(1000, 77), 1);
  const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(1000, 77), 2);
  int32_t targets[1000];
  for (int i = 0; i < 1000; ++i) targets[i] = i * 7 % 77;
  const heed_tensor *target = support_put(ctx, HEED_I32, SHAPE(1000), targets);
  heed_tensor *y = support_like(x), *dx = support_like(x), *loss = support_new(ctx, HEED_F32, SHAPE(1));
  heed_tensor *dinput = support_like(x);
  struct results r = {.count = 0};
  ASSERT_OK(heed_softmax_fwd(x, 1, y));
  ASSERT_OK(heed_softmax_bwd(y, dy, 1, dx));
  ASSERT_OK(heed_cross_entropy_fwd_bwd(x, target, NULL, NULL, loss, dinput));
  add(&r, y);
  add(&r, dx);
  add(&r, loss);
  add(&r, dinput);
  return r;
}

static void rows_have_the_same_bits(void **state) {
  support_context(state);
  assert_same_everywhere(rows, NULL);
}

// The gradients of weight and bias are sums over rows; the norm of gradients is one over all elements.
static struct results norms(heed_context *ctx, const void *unused) {
  (void)unused;
  const heed_tensor *x = support_random(ctx, HEED_F32, SHAPE(3001, 77), 1);
  const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(3001, 77), 2);
  const heed_tensor *weight = support_random(ctx, HEED_F32, SHAPE(77), 3);
  heed_tensor *dx = support_like(x), *dweight = support_like(weight), *dbias = support_like(weight);
  heed_tensor *rms_dweight = support_like(weight), *norm = support_new(ctx, HEED_F32, SHAPE(1));
  struct results r = {.count = 0};
  ASSERT_OK(heed_layer_norm_bwd(x, weight, dy, NULL, 1e-5, dx, dweight, dbias, false));
  ASSERT_OK(heed_rms_norm_bwd(x, weight, dy, NULL, 1e-5, NULL, rms_dweight, false));
  add(&r, dx);
  add(&r, dweight);
  add(&r, dbias);
  add(&r, rms_dweight);
  ASSERT_OK(heed_clip_grad_norm((heed_tensor *const[]){dx, dweight}, 2, 1, norm));
  add(&r, norm);
  return r;
}

static void norms_have_the_same_bits(void **state) {
  support_context(state);
  assert_same_everywhere(norms, NULL);
}

// Tokens of which some are far more frequent, and sums of what was broadcast.
static struct results transformer_sums(heed_context *ctx, const void *unused) {
  (void)unused;
  enum { COUNT = 20000, WIDTH = 20 };
  int32_t *tokens = support_memory(COUNT * sizeof *tokens);
  for (uint64_t i = 0; i < COUNT; ++i)
    tokens[i] = (int32_t)heed_random_below(1, 2, i, 1 + heed_random_below(1, 3, i, 300));
  const heed_tensor *at = support_put(ctx, HEED_I32, SHAPE(COUNT), tokens);
  const heed_tensor *dy = support_random(ctx, HEED_F32, SHAPE(COUNT, WIDTH), 1);
  heed_tensor *dweight = support_new(ctx, HEED_F32, SHAPE(301, WIDTH)),
              *columns = support_new(ctx, HEED_F32, SHAPE(WIDTH));
  heed_tensor *rows = support_new(ctx, HEED_F32, SHAPE(COUNT, 1)), *total = support_new(ctx, HEED_F32, SHAPE(1));
  struct results r = {.count = 0};
  ASSERT_OK(heed_embedding_bwd(at, dy, dweight, false));
  ASSERT_OK(heed_reduce_sum(dy, columns, false));
  ASSERT_OK(heed_reduce_sum(dy, rows, false));
  ASSERT_OK(heed_reduce_sum(dy, total, false));
  add(&r, dweight);
  add(&r, columns);
  add(&r, rows);
  add(&r, total);
  return r;
}

static void transformer_sums_have_the_same_bits(void **state) {
  support_context(state);
  assert_same_everywhere(transformer_sums, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(attention_has_the_same_bits), TEST(decoding_has_the_same_bits),
      TEST(plans_for_gpus_are_the_same), TEST(memory_changes_no_bit),
      TEST(products_have_the_same_bits), TEST(linear_has_the_same_bits),
      TEST(rows_have_the_same_bits),     TEST(norms_have_the_same_bits),
      TEST(attention_has_the_same_bits), TEST(decoding_has_the_same_bits),
      TEST(plans_for_gpus_are_the_same), TEST(memory_changes_no_bit),
      TEST(products_have_the_same_bits), TEST(linear_has_the_same_bits),
      TEST(rows_have_the_same_bits),     TEST(transformer_sums_have_the_same_bits),
  };
  return cmocka_run_group_tests_name("however many compute units", tests, open_devices, close_devices);
}
