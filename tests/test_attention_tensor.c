// The fused attention on tensor cores, with warps emulated on whatever device there is, gives what the host gives: outputs, lse
// and gradients, at the edges of its tiles and with every option. What it leaves to other variants comes out right too.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl/runtime/runtime.h"
#include "support_devices.h"

enum mask_kind { MASK_NONE, MASK_BOOL, MASK_FLOAT };

struct problem {
  int64_t batch, kv_heads, group, queries, keys, dim;
  heed_dtype dtype;
  enum mask_kind mask;
  int64_t mask_dims[4];  // 0: as many as there are
  bool lengths, lengths_first;
  float size, dout_size;  // 0: 1
  bool forward;           // no gradients
  bool full_mantissas;    // F32 inputs with more bits than TF32 has
  bool hostile;           // keys 5, 12, 19 … hold NaN and Inf, where a mask forbids them; without a mask the last key
  heed_attention_options options;
};

enum { Q, K, V, MASK, LENGTHS, OUT, LSE, DOUT, DQ, DK, DV, TENSORS };
static const char *const names[TENSORS] = {"q", "k", "v", "mask", "kv_lengths", "out", "lse", "dout", "dq", "dk", "dv"};

struct side {
  heed_context *ctx;
  heed_tensor *t[TENSORS], *storage[TENSORS];
};

static bool is_hostile(const struct problem *p, int64_t key) {
  return p->hostile && (p->mask == MASK_NONE ? key == p->keys - 1 : key % 7 == 5);
}

// Without the bits that TF32 does not have.
static float tf32_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0xffffe000;
  memcpy(&x, &bits, sizeof bits);
  return x;
}

static void fill(const struct problem *p, const struct side *s, int which) {
  const heed_tensor *t = s->t[which];
  const int64_t count = heed_tensor_count(t), *dims = heed_tensor_dims(t);
  const float wanted = which == Q || which == K ? p->size : which == DOUT ? p->dout_size : 0;
  float *values = malloc((size_t)count * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = (wanted > 0 ? wanted : 1) * (float)heed_random_normal(7, (uint64_t)which, (uint64_t)i);
    if (p->dtype == HEED_F32 && !p->full_mantissas) values[i] = tf32_of(values[i]);
    if ((which == K || which == V) && is_hostile(p, i / dims[3] % dims[2])) values[i] = i % 2 ? NAN : INFINITY;
  }
  ASSERT_OK(heed_tensor_upload_f32(s->t[which], values, count));
  free(values);
}

static void create4(const struct problem *p, struct side *s, int which) {
  const bool of_keys = which == K || which == V || which == DK || which == DV;
  const int64_t heads = of_keys ? p->kv_heads : p->kv_heads * p->group, length = of_keys ? p->keys : p->queries;
  if (p->lengths_first) {
    ASSERT_OK(
        heed_tensor_create(s->ctx, p->dtype, 4, (int64_t[]){p->batch, length, heads, p->dim}, &s->storage[which]));
    ASSERT_OK(heed_tensor_permute(s->storage[which], (int[]){0, 2, 1, 3}, &s->t[which]));
  } else {
    ASSERT_OK(heed_tensor_create(s->ctx, p->dtype, 4, (int64_t[]){p->batch, heads, length, p->dim}, &s->t[which]));
  }
  if (which == Q || which == K || which == V || which == DOUT) fill(p, s, which);
}

static void create_mask(const struct problem *p, struct side *s) {
  if (p->mask == MASK_NONE) return;
  const int64_t full[4] = {p->batch, p->kv_heads * p->group, p->queries, p->keys};
  int64_t dims[4];
  for (int axis = 0; axis < 4; ++axis) dims[axis] = p->mask_dims[axis] ? p->mask_dims[axis] : full[axis];
  ASSERT_OK(heed_tensor_create(s->ctx, p->mask == MASK_BOOL ? HEED_BOOL : HEED_F32, 4, dims, &s->t[MASK]));
  const int64_t count = heed_tensor_count(s->t[MASK]);
  float *values = malloc((size_t)count * sizeof *values);
  uint8_t *allowed = malloc((size_t)count);
  assert_true(values && allowed);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t kind = is_hostile(p, i % dims[3]) ? 0 : heed_random_below(3, 4, (uint64_t)i, 16);
    values[i] = (float)heed_random_normal(3, 5, (uint64_t)i);
    if (kind < 3) values[i] = -INFINITY;
    if (kind == 3 && i % dims[3] > 20) values[i] = -FLT_MAX;
    allowed[i] = kind >= 5;
  }
  if (p->mask == MASK_BOOL)
    ASSERT_OK(heed_tensor_upload(s->t[MASK], allowed, (size_t)count));
  else
    ASSERT_OK(heed_tensor_upload_f32(s->t[MASK], values, count));
  free(values);
  free(allowed);
}

static void side_create(const struct problem *p, heed_context *ctx, struct side *s) {
  static const int of_rows[] = {Q, K, V, OUT, DOUT, DQ, DK, DV};
  *s = (struct side){.ctx = ctx};
  for (size_t i = 0; i < sizeof of_rows / sizeof *of_rows; ++i) create4(p, s, of_rows[i]);
  ASSERT_OK(
      heed_tensor_create(ctx, HEED_F32, 3, (int64_t[]){p->batch, p->kv_heads * p->group, p->queries}, &s->t[LSE]));
  create_mask(p, s);
  if (!p->lengths) return;
  const int64_t lengths[] = {p->keys - 3, 0, p->keys / 2};
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_I64, 1, &p->batch, lengths, &s->t[LENGTHS]));
}

static void side_destroy(struct side *s) {
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->t[i]);
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->storage[i]);
}

static heed_status step(const struct problem *p, const struct side *s) {
  const heed_attention_inputs in = {
      .q = s->t[Q], .k = s->t[K], .v = s->t[V], .mask = s->t[MASK], .kv_lengths = s->t[LENGTHS]};
  const heed_attention_grads grads = {.dq = s->t[DQ], .dk = s->t[DK], .dv = s->t[DV]};
  heed_attention_options options = p->options;
  options.path = HEED_PATH_FUSED;
  const heed_status status = heed_attention_fwd(&in, &options, s->t[OUT], s->t[LSE], NULL);
  if (status != HEED_OK || p->forward) return status;
  return heed_attention_bwd(&in, &options, s->t[OUT], s->t[LSE], s->t[DOUT], &grads);
}

// The device taken for one with tensor cores, and F32 factors allowed to be rounded to TF32 or not.
static heed_status step_with(const struct problem *p, const struct side *s, bool tf32) {
  struct heed__cl *cl = heed__cl_state(s->ctx);
  struct heed__cl_traits *traits = &cl->traits;
  const struct heed__cl_traits real = *traits;
  const bool real_tf32 = cl->tf32;
  cl->tf32 = tf32;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->tensor_cores = traits->emulate_warps = true;
  const heed_status status = step(p, s);
  *traits = real;
  cl->tf32 = real_tf32;
  return status;
}
static heed_status step_on_tensor_cores(const struct problem *p, const struct side *s) { return step_with(p, s, true); }

// Sums are F32, so that what counts is the rounding of results and of the weights and dS between two products: 2^-11 with F16, 2^-8
// with BF16. TF32 rounds as F16, but no results; inputs that it has to round miss 2^-11 each, and scores and lse with them.
static double tolerance(const struct problem *p, int which) {
  if (which == LSE) return p->full_mantissas ? 0x1p-10 : 5e-6;
  return p->dtype == HEED_F32 ? 0x1p-10 : p->dtype == HEED_F16 ? 4e-3 : 3.2e-2;
}

static void assert_agrees_with_host(void **state, const struct problem *p) {
  static const int results[] = {OUT, LSE, DQ, DK, DV};
  heed_context *device_ctx = support_context(state), *host_ctx;  // skips without a device
  struct side device, host;
  ASSERT_OK(heed_open("host", &host_ctx));
  side_create(p, device_ctx, &device);
  side_create(p, host_ctx, &host);
  ASSERT_OK(step_on_tensor_cores(p, &device));
  ASSERT_OK(step(p, &host));
  int failures = 0;
  for (int i = 0; i < (p->forward ? 2 : 5); ++i) {
    const int which = results[i];
    heed_difference difference;
    ASSERT_OK(heed_tensor_compare(device.t[which], host.t[which], &difference));
    const double most = tolerance(p, which);
    if (heed_difference_within(&difference, most)) continue;
    if (which == LSE && !difference.non_finite_mismatch && difference.max_abs <= most) continue;
    print_error(
        "q [%lld, %lld, %lld, %lld] %s, %lld keys, causal %d: %s: relative %.3g (most %.3g), element %lld is "
        "%.9g and should be %.9g\n",
        (long long)p->batch, (long long)(p->kv_heads * p->group), (long long)p->queries, (long long)p->dim,
        heed_dtype_string(p->dtype), (long long)p->keys, p->options.causal, names[which], difference.relative, most,
        (long long)difference.index, difference.actual, difference.expected);
    ++failures;
  }
  side_destroy(&device);
  side_destroy(&host);
  heed_context_destroy(host_ctx);
  assert_int_equal(failures, 0);
}

// Factors of the same precision: of 16 bits, and F32 rounded to TF32, whose tiles differ in size with the heads'.
static const struct {
  heed_dtype dtype;
  int64_t dim;
} kinds[] = {{HEED_F16, 64}, {HEED_F32, 64}, {HEED_F32, 128}};
enum { KINDS = sizeof kinds / sizeof *kinds };

// ---------------------------------------------------------------- facts

// One row or key less and more than tiles of 64 hold, with what cuts tiles short.
static void tile_edges_agree_with_the_host(void **state) {
  static const int64_t queries[] = {63, 64, 65}, keys[] = {1, 63, 64, 65};
  for (int kind = 0; kind < KINDS; ++kind)
    for (int bounds = 0; bounds < 4; ++bounds)
      for (int i = 0; i < 3; ++i)
        for (int j = bounds; j < 4; j += bounds ? 2 : 1)
          assert_agrees_with_host(state, &(struct problem){.batch = 1,
                                                           .kv_heads = 1,
                                                           .group = 1,
                                                           .queries = queries[i],
                                                           .keys = keys[j],
                                                           .dim = kinds[kind].dim,
                                                           .dtype = kinds[kind].dtype,
                                                           .options = {.causal = (heed_causal)(bounds % 3),
                                                                       .has_window = bounds == 3,
                                                                       .window_left = 16,
                                                                       .window_right = 31}});
}

static void shared_keys_and_strides_agree_with_the_host(void **state) {
  for (int i = 0; i < KINDS; ++i)
    assert_agrees_with_host(state, &(struct problem){.batch = 2,
                                                     .kv_heads = 2,
                                                     .group = 3,
                                                     .queries = 130,
                                                     .keys = 200,
                                                     .dim = kinds[i].dim,
                                                     .dtype = kinds[i].dtype,
                                                     .lengths_first = true,
                                                     .options = {.causal = HEED_CAUSAL_BOTTOM_RIGHT}});
}

// Scores of some hundreds: rows with one weight of nearly 1, whose gradients are small differences.
static void sharp_rows_agree_with_the_host(void **state) {
  for (int i = 0; i < KINDS; ++i)
    assert_agrees_with_host(state, &(struct problem){.batch = 1,
                                                     .kv_heads = 1,
                                                     .group = 2,
                                                     .queries = 100,
                                                     .keys = 150,
                                                     .dim = kinds[i].dim,
                                                     .dtype = kinds[i].dtype,
                                                     .size = 3});
}

// Gradients of a loss are small: dS of 1e-7 and less, which F16 does not hold as they are.
static void small_gradients_agree_with_the_host(void **state) {
  for (int i = 0; i < KINDS; ++i)
    assert_agrees_with_host(state, &(struct problem){.batch = 1,
                                                     .kv_heads = 1,
                                                     .group = 1,
                                                     .queries = 64,
                                                     .keys = 300,
                                                     .dim = kinds[i].dim,
                                                     .dtype = kinds[i].dtype,
                                                     .dout_size = 1e-3f});
}

static void every_option_agrees_with_the_host(void **state) {
  for (int kind = 0; kind < KINDS; ++kind)
    for (int causal = 0; causal < 3; ++causal)
      assert_agrees_with_host(
          state, &(struct problem){.batch = 3,
                                   .kv_heads = 1,
                                   .group = 2,
                                   .queries = 65,
                                   .keys = 110,
                                   .dim = kind == 1 ? 64 : 128,
                                   .dtype = kind ? HEED_F32 : HEED_BF16,
                                   .mask = MASK_FLOAT,
                                   .mask_dims = {causal == 1, causal == 2, causal == 1, causal == 2 ? 91 : 0},
                                   .lengths = true,
                                   .options = {.causal = (heed_causal)causal,
                                               .softcap = 5,
                                               .dropout = 0.25,
                                               .seed = 11,
                                               .has_window = causal == 2,
                                               .window_left = 60,
                                               .window_right = -1}});
}

static void boolean_masks_agree_with_the_host(void **state) {
  for (int i = 0; i < KINDS; ++i)
    for (int broadcast = 0; broadcast < 4; ++broadcast)
      assert_agrees_with_host(state, &(struct problem){.batch = 2,
                                                       .kv_heads = 1,
                                                       .group = 2,
                                                       .queries = 65,
                                                       .keys = 129,
                                                       .dim = kinds[i].dim,
                                                       .dtype = kinds[i].dtype,
                                                       .mask = MASK_BOOL,
                                                       .forward = true,
                                                       .mask_dims = {broadcast & 1, broadcast >> 1, broadcast & 1, 0}});
}

// The general kernels do it again where a key that is not attended holds NaN.
static void what_is_not_attended_may_hold_anything(void **state) {
  for (int i = 0; i < 2; ++i)  // wider heads would only have more general kernels built
    assert_agrees_with_host(state, &(struct problem){.batch = 1,
                                                     .kv_heads = 1,
                                                     .group = 1,
                                                     .queries = 65,
                                                     .keys = 129,
                                                     .dim = kinds[i].dim,
                                                     .dtype = kinds[i].dtype,
                                                     .mask = MASK_BOOL,
                                                     .forward = true,
                                                     .hostile = true});
}

static void write_error(const char *folder, const char *name) {
  char path[96];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("#error not on this device\n", file);
  assert_int_equal(fclose(file), 0);
}

static void remove_file(const char *folder, const char *name) {
  char path[96];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(unlink(path), 0);
}

// A driver that does not take their instructions is asked for the general kernels, for all calls from then on. That it does not take
// those either, so that the message names them, saves the seconds that they take to compile.
static void tensor_cores_that_fail_are_done_without(void **state) {
  static const char general[] = "attention/fused_gpu_fwd.cl", tensor[] = "warp.cl";
  char folder[] = "/tmp/heed-test-tensor-XXXXXX", spec[96];
  heed_context *ctx = NULL;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  assert_non_null(mkdtemp(folder));
  char inner[sizeof folder + 16];
  snprintf(inner, sizeof inner, "%s/attention", folder);
  assert_int_equal(mkdir(inner, 0700), 0);
  write_error(folder, tensor);
  write_error(folder, general);
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .kernel_dir = folder, .validate = -1}, &ctx));
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->tensor_cores = traits->emulate_warps = true;
  const struct problem p = {
      .batch = 1, .kv_heads = 1, .group = 1, .queries = 64, .keys = 70, .dim = 64, .dtype = HEED_F16, .forward = true};
  struct side s;
  side_create(&p, ctx, &s);
  ASSERT_FAILS(HEED_ERROR_BUILD, general, step(&p, &s));
  assert_true(heed__cl_state(ctx)->tensor_cores_off);
  assert_true(traits->tensor_cores);  // what a device offers does not change
  side_destroy(&s);
  heed_context_destroy(ctx);
  remove_file(folder, tensor);
  remove_file(folder, general);
  assert_int_equal(rmdir(inner), 0);
  assert_int_equal(rmdir(folder), 0);
}

// The same call twice: the same bits, gradients too.
static void results_repeat_bit_for_bit(void **state) {
  static const int results[] = {OUT, LSE, DQ, DK, DV};
  for (int which = 0; which < KINDS; ++which) {
    const struct problem p = {.batch = 1,
                              .kv_heads = 1,
                              .group = 2,
                              .queries = 70,
                              .keys = 150,
                              .dim = kinds[which].dim,
                              .dtype = kinds[which].dtype,
                              .options = {.causal = HEED_CAUSAL_TOP_LEFT}};
    struct side a, b;
    side_create(&p, support_context(state), &a);
    side_create(&p, support_context(state), &b);
    ASSERT_OK(step_on_tensor_cores(&p, &a));
    ASSERT_OK(step_on_tensor_cores(&p, &b));
    for (size_t i = 0; i < sizeof results / sizeof *results; ++i) {
      heed_difference difference;
      ASSERT_OK(heed_tensor_compare(a.t[results[i]], b.t[results[i]], &difference));
      assert_true(heed_difference_within(&difference, 0));
    }
    side_destroy(&a);
    side_destroy(&b);
  }
}

// All bits of F32 inputs, which rounding keeps the first 11 of.
static void rounded_inputs_agree_with_the_host(void **state) {
  for (int64_t dim = 64; dim <= 128; dim += 64)
    assert_agrees_with_host(state, &(struct problem){.batch = 2,
                                                     .kv_heads = 1,
                                                     .group = 2,
                                                     .queries = 129,
                                                     .keys = 200,
                                                     .dim = dim,
                                                     .dtype = HEED_F32,
                                                     .full_mantissas = true,
                                                     .options = {.causal = HEED_CAUSAL_BOTTOM_RIGHT}});
}

// Launches of kernels for tensor cores by one step.
static int tensor_launches(const struct problem *p, heed_context *ctx, bool tf32) {
  const heed_profile_record *records;
  size_t count;
  int found = 0;
  struct side s;
  side_create(p, ctx, &s);
  ASSERT_OK(step_with(p, &s, tf32));
  ASSERT_OK(heed_profile_records(ctx, &records, &count));
  for (size_t i = 0; i < count; ++i) found += strncmp(records[i].kernel, "attention_tensor_", 17) == 0;
  side_destroy(&s);
  return found;
}

static void f32_is_rounded_only_where_asked_for(void **state) {
  char spec[96];
  heed_context *ctx;
  snprintf(spec, sizeof spec, "id:%s", heed_context_device(support_context(state))->id);
  ASSERT_OK(heed_open_with(&(heed_open_options){.device = spec, .profile = 1, .validate = -1}, &ctx));
  const uint64_t local_memory = heed__cl_state(ctx)->traits.local_memory;
  for (int64_t dim = 64; dim <= 128; dim += 64) {
    struct problem p = {
        .batch = 1, .kv_heads = 1, .group = 1, .queries = 40, .keys = 40, .dim = dim, .dtype = HEED_F32};
    p.forward = dim > 64;  // the general kernels of the backward take their time to build
    assert_int_equal(tensor_launches(&p, ctx, false), 0);
    p.forward = false;
    // Forward, queries and keys of the backward, and the clearing of flags before each.
    if (local_memory >= 65536) assert_int_equal(tensor_launches(&p, ctx, true), 5);
  }
  heed_context_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tile_edges_agree_with_the_host),
      cmocka_unit_test(shared_keys_and_strides_agree_with_the_host),
      cmocka_unit_test(sharp_rows_agree_with_the_host),
      cmocka_unit_test(small_gradients_agree_with_the_host),
      cmocka_unit_test(every_option_agrees_with_the_host),
      cmocka_unit_test(boolean_masks_agree_with_the_host),
      cmocka_unit_test(what_is_not_attended_may_hold_anything),
      cmocka_unit_test(tensor_cores_that_fail_are_done_without),
      cmocka_unit_test(results_repeat_bit_for_bit),
      cmocka_unit_test(rounded_inputs_agree_with_the_host),
      cmocka_unit_test(f32_is_rounded_only_where_asked_for),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
