#include "support_draws.h"

#include <float.h>
#include <heed/tune.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/runtime/runtime.h"

// ---------------------------------------------------------------- drawing

// A stream of numbers; what it is drawn from is its seed.
struct stream {
  uint64_t seed, count;
};
static uint64_t below(struct stream *s, uint64_t bound) { return heed_random_below(s->seed, 1, s->count++, bound); }

// What kernels are built for: a device takes seconds to build them, so that draws share a few families of programs.
static void draw_family(struct draw *d, uint64_t family) {
  static const heed_dtype dtypes[] = {HEED_F32, HEED_F32, HEED_F16, HEED_BF16};
  static const int64_t dims[] = {1, 7, 16, 31, 32, 40, 64, 64, 80, 128};
  static const size_t work_groups[] = {1024, 1024, 256, 64, 16};
  static const uint64_t local_memories[] = {65536, 49152, 32768, 16384};
  struct stream s = {.seed = family};
  d->dim = dims[below(&s, 10)];
  d->value_dim = below(&s, 3) ? d->dim : dims[below(&s, 10)];
  d->dtype = dtypes[below(&s, 4)];
  d->work_group = work_groups[below(&s, 5)];
  d->local_memory = local_memories[below(&s, 4)];
  d->decode = below(&s, 3) == 0;
  d->lengths = below(&s, 3) == 0;
  d->wide_lengths = below(&s, 2);
  const uint64_t mask = below(&s, 4);
  d->mask = mask < 2 ? MASK_NONE : mask == 2 ? MASK_BOOL : MASK_FLOAT;
  d->options.softcap = below(&s, 5) ? 0 : 0.5 + (double)below(&s, 8);
  d->options.dropout = below(&s, 4) ? 0 : 0.1 * (double)(1 + below(&s, 5));
}

static void draw_mask(struct draw *d, struct stream *s) {
  const int64_t full[4] = {d->batch, d->kv_heads * d->group, d->queries, d->keys};
  for (int axis = 0; axis < 4; ++axis) d->mask_dims[axis] = below(s, 2) ? full[axis] : 1;
  if (below(s, 4) == 0) d->mask_dims[3] = 1 + (int64_t)below(s, (uint64_t)d->keys);
}

struct draw draw_one(uint64_t seed, uint64_t family) {
  struct draw d = {.seed = seed, .size = 1, .options = {.path = HEED_PATH_FUSED}};
  struct stream s = {.seed = seed};
  draw_family(&d, family);
  d.batch = 1 + (int64_t)below(&s, 2);
  d.kv_heads = 1 + (int64_t)below(&s, 2);
  d.group = 1 + (int64_t)below(&s, 3);
  d.queries = d.decode ? 1 + (int64_t)below(&s, 5) : 33 + (int64_t)below(&s, 110);
  d.keys = 1 + (int64_t)below(&s, below(&s, 4) ? 200 : 900);
  d.lengths_first = below(&s, 2);
  d.compute_units = 1 + (uint32_t)below(&s, 12);
  if (below(&s, 5) == 0) d.size = 3;
  draw_mask(&d, &s);
  d.hostile = (enum hostile)below(&s, 3);
  if (d.hostile == PAST_THE_LENGTHS && !d.lengths) d.hostile = NOWHERE;
  if (d.hostile == UNDER_THE_MASK && (d.mask == MASK_NONE || d.mask_dims[3] == 1)) d.hostile = NOWHERE;
  d.options.causal = (heed_causal)below(&s, 3);
  d.options.has_window = below(&s, 4) == 0;
  d.options.window_left = (int64_t)below(&s, 90) - 1;
  d.options.window_right = (int64_t)below(&s, 90) - 1;
  d.options.seed = heed_random_below(seed, 2, 0, UINT64_MAX);
  return d;
}

struct draw draw_at_edges(uint64_t seed, int64_t queries, int64_t keys, int bounds) {
  return (struct draw){.seed = seed,
                       .batch = 1,
                       .kv_heads = 1,
                       .group = 2,
                       .queries = queries,
                       .keys = keys,
                       .dim = 36,
                       .value_dim = 36,
                       .dtype = HEED_F32,
                       .size = 1,
                       .work_group = 1024,
                       .local_memory = 49152,
                       .compute_units = 1,
                       .options = {.path = HEED_PATH_FUSED,
                                   .causal = (heed_causal)(bounds % 3),
                                   .has_window = bounds == 3,
                                   .window_left = 16,
                                   .window_right = 31}};
}

static void print_draw(const struct draw *d) {
  const heed_attention_options *o = &d->options;
  print_error("draw with seed %llu: B %lld Hq %lld Hkv %lld Lq %lld Lk %lld D %lld Dv %lld %s%s, size %g\n",
              (unsigned long long)d->seed, (long long)d->batch, (long long)(d->kv_heads * d->group),
              (long long)d->kv_heads, (long long)d->queries, (long long)d->keys, (long long)d->dim,
              (long long)d->value_dim, heed_dtype_string(d->dtype), d->lengths_first ? " stored [B, L, H, D]" : "",
              (double)d->size);
  print_error("  causal %d softcap %g dropout %g lengths %d hostile %d; %zu work-items, %llu bytes, %u units%s%s\n",
              o->causal, o->softcap, o->dropout, d->lengths, (int)d->hostile, d->work_group,
              (unsigned long long)d->local_memory, d->compute_units, d->shuffle ? ", shuffles" : "",
              d->in_five ? ", in five products" : "");
  if (o->has_window) print_error("  window %lld:%lld\n", (long long)o->window_left, (long long)o->window_right);
  if (d->mask != MASK_NONE)
    print_error("  mask %s [%lld, %lld, %lld, %lld]\n", d->mask == MASK_BOOL ? "BOOL" : "float",
                (long long)d->mask_dims[0], (long long)d->mask_dims[1], (long long)d->mask_dims[2],
                (long long)d->mask_dims[3]);
}

// ---------------------------------------------------------------- tensors of a draw, on one context

static const char *const names[TENSORS] = {"q", "k", "v", "mask", "kv_lengths", "out", "lse", "dout", "dq", "dk", "dv"};

// [batch, heads, length, width] by its strides, stored so or with the length before the heads.
static void create4(const struct draw *d, struct side *s, int which, int64_t heads, int64_t length, int64_t width) {
  if (!d->lengths_first) {
    ASSERT_OK(heed_tensor_create(s->ctx, d->dtype, 4, (int64_t[]){d->batch, heads, length, width}, &s->t[which]));
    return;
  }
  ASSERT_OK(heed_tensor_create(s->ctx, d->dtype, 4, (int64_t[]){d->batch, length, heads, width}, &s->storage[which]));
  ASSERT_OK(heed_tensor_permute(s->storage[which], (int[]){0, 2, 1, 3}, &s->t[which]));
}

static int64_t length_of(const struct draw *d, int64_t b) {
  return (int64_t)heed_random_below(d->seed, 3, (uint64_t)b, (uint64_t)d->keys + 5) - 2;
}

static bool is_hostile(const struct draw *d, int64_t b, int64_t key) {
  if (d->hostile == PAST_THE_LENGTHS) return key >= length_of(d, b);
  return d->hostile == UNDER_THE_MASK && key % 7 == 3;
}

static void fill_normal(const struct draw *d, const struct side *s, int which) {
  const heed_tensor *t = s->t[which];
  const int64_t count = heed_tensor_count(t), *dims = heed_tensor_dims(t);
  const float size = which == Q || which == K ? d->size : 1;
  float *values = malloc((size_t)count * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = i / dims[3] % dims[2], b = i / dims[3] / dims[2] / dims[1];
    values[i] = size * (float)heed_random_normal(d->seed, 100 + (uint64_t)which, (uint64_t)i);
    if ((which == K || which == V) && is_hostile(d, b, row)) values[i] = i % 2 ? NAN : INFINITY;
  }
  ASSERT_OK(heed_tensor_upload_f32(s->t[which], values, count));
  free(values);
}

static void create_mask(const struct draw *d, struct side *s) {
  if (d->mask == MASK_NONE) return;
  const heed_dtype dtype = d->mask == MASK_BOOL ? HEED_BOOL : HEED_F32;
  ASSERT_OK(heed_tensor_create(s->ctx, dtype, 4, d->mask_dims, &s->t[MASK]));
  const int64_t count = heed_tensor_count(s->t[MASK]);
  float *values = malloc((size_t)count * sizeof *values);
  uint8_t *allowed = malloc((size_t)count);
  assert_true(values && allowed);
  for (int64_t i = 0; i < count; ++i) {
    const bool forbidden = d->hostile == UNDER_THE_MASK && i % d->mask_dims[3] % 7 == 3;
    const uint64_t kind = forbidden ? 0 : heed_random_below(d->seed, 4, (uint64_t)i, 16);
    values[i] = (float)heed_random_normal(d->seed, 5, (uint64_t)i);
    if (kind < 3) values[i] = -INFINITY;
    if (kind == 3) values[i] = -FLT_MAX;
    allowed[i] = kind >= 5;
  }
  if (d->mask == MASK_BOOL)
    ASSERT_OK(heed_tensor_upload(s->t[MASK], allowed, (size_t)count));
  else
    ASSERT_OK(heed_tensor_upload_f32(s->t[MASK], values, count));
  free(values);
  free(allowed);
}

static void create_lengths(const struct draw *d, struct side *s) {
  if (!d->lengths) return;
  int32_t narrow[8];
  int64_t wide[8];
  for (int64_t b = 0; b < d->batch; ++b) narrow[b] = (int32_t)(wide[b] = length_of(d, b));
  ASSERT_OK(heed_tensor_create_from(s->ctx, d->wide_lengths ? HEED_I64 : HEED_I32, 1, &d->batch,
                                    d->wide_lengths ? (const void *)wide : narrow, &s->t[LENGTHS]));
}

void draw_side_create(const struct draw *d, heed_context *ctx, struct side *s) {
  *s = (struct side){.ctx = ctx};
  const int64_t heads = d->kv_heads * d->group;
  const int64_t widths[TENSORS] = {
      [Q] = d->dim,         [DQ] = d->dim,      [K] = d->dim,          [DK] = d->dim,
      [OUT] = d->value_dim, [V] = d->value_dim, [DOUT] = d->value_dim, [DV] = d->value_dim};
  for (int i = 0; i < TENSORS; ++i) {
    const bool of_keys = i == K || i == V || i == DK || i == DV;
    if (widths[i]) create4(d, s, i, of_keys ? d->kv_heads : heads, of_keys ? d->keys : d->queries, widths[i]);
    if (i == Q || i == K || i == V || i == DOUT) fill_normal(d, s, i);
  }
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 3, (int64_t[]){d->batch, heads, d->queries}, &s->t[LSE]));
  create_mask(d, s);
  create_lengths(d, s);
}

void draw_side_destroy(struct side *s) {
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->t[i]);
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->storage[i]);
}

static heed_status step(const struct draw *d, const struct side *s) {
  const heed_attention_inputs in = {
      .q = s->t[Q], .k = s->t[K], .v = s->t[V], .mask = s->t[MASK], .kv_lengths = s->t[LENGTHS]};
  const heed_attention_grads grads = {.dq = s->t[DQ], .dk = s->t[DK], .dv = s->t[DV]};
  const heed_status status = heed_attention_fwd(&in, &d->options, s->t[OUT], s->t[LSE], NULL);
  if (status != HEED_OK) return status;
  return heed_attention_bwd(&in, &d->options, s->t[OUT], s->t[LSE], s->t[DOUT], &grads);
}

// ---------------------------------------------------------------- comparing

// F32: a score q·k/√D of size² units has an error of some 1e-7 of it, and so has its exp; a gradient takes differences of such
// weights. F16 has 2^-11 a rounding, BF16 8 times that.
static double tolerance(const struct draw *d, int which) {
  const double storage = which == LSE ? 0 : d->dtype == HEED_F16 ? 4e-3 : d->dtype == HEED_BF16 ? 3.2e-2 : 0;
  return fmax(storage, which == OUT || which == LSE ? 5e-6 : 2e-5);
}

static bool agrees(const struct draw *d, const struct side *device, const struct side *host, int which) {
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(device->t[which], host->t[which], &difference));
  const double most = tolerance(d, which);
  if (heed_difference_within(&difference, most)) return true;
  // lse is a logarithm: an absolute error is what counts, and it may be near 0.
  if (which == LSE && !difference.non_finite_mismatch && difference.max_abs <= most) return true;
  print_error("  %s: relative %.3g (most %.3g), element %lld is %.9g and should be %.9g\n", names[which],
              difference.relative, most, (long long)difference.index, difference.actual, difference.expected);
  return false;
}

// NaN in whatever scratch the next call takes: what it reads without having written it will show.
static void spoil_scratch(heed_context *ctx) {
  enum { SIZES = 12, LEAST = 1024 };
  cl_mem buffers[2 * SIZES];
  float *values = malloc((size_t)LEAST << SIZES);
  assert_non_null(values);
  for (size_t i = 0; i < ((size_t)LEAST << SIZES) / sizeof *values; ++i) values[i] = NAN;
  for (int i = 0; i < 2 * SIZES; ++i) {
    const size_t bytes = (size_t)LEAST << i / 2;
    ASSERT_OK(heed__cl_scratch_take(ctx, bytes, &buffers[i]));
    ASSERT_OK(heed__cl_upload(ctx, buffers[i], 0, values, bytes));
  }
  for (int i = 0; i < 2 * SIZES; ++i) heed__cl_scratch_give(ctx, buffers[i]);
  free(values);
}

// Runs a step with the device taken for a GPU of the draw's kind.
heed_status draw_step_as_gpu(const struct draw *d, const struct side *s) {
  struct heed__cl_traits *traits = &heed__cl_state(s->ctx)->traits;
  const struct heed__cl_traits real = *traits;
  if (d->in_five) spoil_scratch(s->ctx);
  traits->cpu_like = false;
  traits->vector_width = 1;
  traits->shuffle = d->shuffle ? HEED__SHUFFLE_EMULATED : HEED__SHUFFLE_NONE;
  assert_int_equal(heed__cl_shuffle(s->ctx), traits->shuffle);  // its trial takes a work-group of 64
  if (d->work_group < traits->max_work_group) traits->max_work_group = d->work_group;
  if (d->local_memory < traits->local_memory) traits->local_memory = d->local_memory;
  traits->compute_units = d->compute_units;
  traits->spare_registers = !d->few_registers;
  if (d->few_registers) {
    traits->scores_an_item = 16;
    traits->sums_an_item = 32;
    traits->floats_an_item = 56;
    traits->launch_flops = 1e5;
  }
  if (d->max_allocation) traits->max_allocation = d->max_allocation;
  if (d->memory_left) {
    heed__cl_scratch_trim(s->ctx, 0);
    traits->memory = s->ctx->allocated + d->memory_left;
  }
  if (d->in_five) ASSERT_OK(heed_tune_force(s->ctx, HEED_TUNE_ATTENTION_BWD, "fused-gpu: products=5"));
  const heed_status status = step(d, s);
  if (d->in_five) ASSERT_OK(heed_tune_force(s->ctx, HEED_TUNE_ATTENTION_BWD, NULL));
  *traits = real;
  return status;
}

bool draw_agrees_with_host(const struct draw *d, heed_context *device_ctx, heed_context *host_ctx) {
  struct side device, host;
  draw_side_create(d, device_ctx, &device);
  draw_side_create(d, host_ctx, &host);
  bool good = draw_step_as_gpu(d, &device) == HEED_OK;
  if (!good) {
    print_error("  %s\n", heed_last_error());
  } else {
    ASSERT_OK(step(d, &host));
    const int results[] = {OUT, LSE, DQ, DK, DV};
    for (size_t i = 0; i < sizeof results / sizeof *results; ++i)
      if (!agrees(d, &device, &host, results[i])) good = false;
  }
  if (!good) print_draw(d);
  draw_side_destroy(&device);
  draw_side_destroy(&host);
  return good;
}
