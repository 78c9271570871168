// Attention on the OpenCL device gives what the host gives, forward and backward, for random draws of everything a call may hold.
// HEED_DRAWS sets how many (default 40), HEED_SEED the first seed; HEED_DRAW_PATH=fused draws only what the fused path does, and
// demands it; HEED_DRAW_WIDTH sets the largest head (default 80). What kernels are compiled for (widths, dtypes, kind of mask, softcap,
// dropout) comes in HEED_DRAW_KINDS kinds (default 4) from number HEED_DRAW_KIND on: a new one costs seconds, a draw milliseconds.
// A failing draw prints what it drew, and the command that repeats it.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl/runtime/runtime.h"
#include "support_devices.h"

enum mask_kind { MASK_NONE, MASK_BOOL, MASK_FLOAT };

struct draw {
  uint64_t seed, kind;
  int64_t batch, kv_heads, group, queries, keys, past, dim, value_dim;
  heed_dtype dtype, mask_dtype, lengths_dtype;
  enum mask_kind mask;
  int mask_rank;
  int64_t mask_dims[4];
  bool lengths, lengths_first;  // lengths_first: storage [B, L, H, D]
  // NaN or Inf in keys and values: past the lengths, under the mask, in the last one; NaN in the first query and its dout.
  bool hostile, hostile_mask, hostile_last, hostile_first;
  bool weights, dmask, softcap, dropout;
  uint64_t memory;    // most the device may use at once; 0: all it has
  bool other_layout;  // as for a GPU where the device is a CPU, and the other way round
  heed_attention_options options;
};

// ---------------------------------------------------------------- drawing

enum { DRAWS = 40, KINDS = 4, WIDTHS = 80 };

static bool only_fused(void) {
  const char *path = getenv("HEED_DRAW_PATH");
  return path && strcmp(path, "fused") == 0;
}

static uint64_t below(struct draw *d, uint64_t *counter, uint64_t n) {
  return heed_random_below(d->seed, 1, (*counter)++, n);
}

// The same for all draws of one kind.
static uint64_t of_kind(struct draw *d, uint64_t *counter, uint64_t n) {
  return heed_random_below(d->kind, 3, (*counter)++, n);
}

static void draw_mask(struct draw *d, uint64_t *counter) {
  const int64_t full[4] = {d->batch, d->kv_heads * d->group, d->queries, d->keys + d->past};
  d->mask_rank = 1 + (int)below(d, counter, 4);
  for (int axis = 0; axis < d->mask_rank; ++axis) {
    const int64_t size = full[4 - d->mask_rank + axis];
    d->mask_dims[axis] = below(d, counter, 3) ? size : 1;
    if (axis < d->mask_rank - 1) continue;
    const uint64_t last = below(d, counter, 6);
    d->mask_dims[axis] = last == 0 ? 1 : last == 1 ? 1 + (int64_t)below(d, counter, (uint64_t)size) : size;
  }
  d->hostile_mask = d->mask != MASK_NONE && d->mask_dims[d->mask_rank - 1] > 1 && below(d, counter, 2);
  // Every row of dS sums to 0, so the gradient of a mask without keys is nothing but rounding.
  d->dmask = !only_fused() && d->mask == MASK_FLOAT && below(d, counter, 2) &&
             (d->mask_dims[d->mask_rank - 1] != 1 || full[3] == 1);
}

static void draw_options(struct draw *d, uint64_t *counter) {
  heed_attention_options *o = &d->options;
  o->path = below(d, counter, 2) ? HEED_PATH_AUTO : HEED_PATH_STAGED;
  if (only_fused()) o->path = HEED_PATH_FUSED;
  o->causal = (heed_causal)below(d, counter, 3);
  o->has_window = below(d, counter, 4) == 0;
  o->window_left = (int64_t)below(d, counter, 20) - 1;
  o->window_right = (int64_t)below(d, counter, 20) - 1;
  o->has_scale = below(d, counter, 3) == 0;
  o->scale = 0.01 * (double)below(d, counter, 25);
  o->softcap = !d->softcap ? 0 : 0.5 + (double)below(d, counter, 8);
  o->dropout = !d->dropout ? 0 : 0.1 * (double)(1 + below(d, counter, 5));
  d->hostile_last = o->dropout == 0 && below(d, counter, 4) == 0;
  d->hostile_first = o->dropout == 0 && below(d, counter, 4) == 0;
  o->seed = heed_random_below(d->seed, 2, 0, UINT64_MAX);
  o->weights = (heed_attention_weights)below(d, counter, 4);
}

static void draw_kind(struct draw *d) {
  static const heed_dtype dtypes[] = {HEED_F32, HEED_F32, HEED_F32, HEED_F16, HEED_BF16};
  const uint64_t widths = support_number("HEED_DRAW_WIDTH", WIDTHS);
  uint64_t n = 0;
  d->kind =
      support_number("HEED_DRAW_KIND", 0) + heed_random_below(d->seed, 4, 0, support_number("HEED_DRAW_KINDS", KINDS));
  d->dim = 1 + (int64_t)of_kind(d, &n, widths);
  d->value_dim = of_kind(d, &n, 2) ? d->dim : 1 + (int64_t)of_kind(d, &n, widths);
  d->dtype = dtypes[of_kind(d, &n, 5)];
  const uint64_t mask = of_kind(d, &n, 8);
  d->mask = mask < 3 ? MASK_NONE : mask < 5 ? MASK_BOOL : MASK_FLOAT;
  d->mask_dtype = d->mask == MASK_BOOL ? HEED_BOOL : of_kind(d, &n, 2) ? d->dtype : HEED_F32;
  d->lengths_dtype = of_kind(d, &n, 2) ? HEED_I64 : HEED_I32;
  d->softcap = of_kind(d, &n, 4) == 0;
  d->dropout = of_kind(d, &n, 4) == 0;
}

static struct draw draw_one(uint64_t seed) {
  struct draw d = {.seed = seed};
  uint64_t n = 0;
  draw_kind(&d);
  d.batch = 1 + (int64_t)below(&d, &n, 3);
  d.kv_heads = 1 + (int64_t)below(&d, &n, 3);
  d.group = 1 + (int64_t)below(&d, &n, 3);
  d.queries = 1 + (int64_t)below(&d, &n, below(&d, &n, 4) ? 80 : 3);
  d.keys = 1 + (int64_t)below(&d, &n, below(&d, &n, 4) ? 140 : 3);
  d.past = below(&d, &n, 4) ? 0 : 1 + (int64_t)below(&d, &n, 30);
  d.lengths = d.past == 0 && below(&d, &n, 3) == 0;
  d.hostile = d.lengths && below(&d, &n, 2);
  d.lengths_first = below(&d, &n, 2);
  d.weights = below(&d, &n, 3) == 0 && !only_fused();
  d.memory = below(&d, &n, 3) ? 0 : (uint64_t)1 << (16 + below(&d, &n, 4));
  d.other_layout = d.dtype == HEED_F32 && below(&d, &n, 4) == 0 && !only_fused();
  draw_mask(&d, &n);
  draw_options(&d, &n);
  return d;
}

static void print_draw(const struct draw *d) {
  const heed_attention_options *o = &d->options;
  print_error("draw with seed %llu: B %lld Hq %lld Hkv %lld Lq %lld Lk %lld past %lld D %lld Dv %lld %s%s\n",
              (unsigned long long)d->seed, (long long)d->batch, (long long)(d->kv_heads * d->group),
              (long long)d->kv_heads, (long long)d->queries, (long long)d->keys, (long long)d->past, (long long)d->dim,
              (long long)d->value_dim, heed_dtype_string(d->dtype), d->lengths_first ? " stored [B, L, H, D]" : "");
  print_error("  hostile:%s%s%s%s\n", d->hostile ? " past the lengths" : "", d->hostile_mask ? " under the mask" : "",
              d->hostile_last ? " the last key" : "", d->hostile_first ? " the first query" : "");
  print_error("  causal %d scale %g softcap %g dropout %g path %d weights %d, step %d, memory %llu%s\n", o->causal,
              o->has_scale ? o->scale : NAN, o->softcap, o->dropout, o->path, d->weights, o->weights,
              (unsigned long long)d->memory, d->other_layout ? " other layout" : "");
  if (o->has_window) print_error("  window %lld:%lld\n", (long long)o->window_left, (long long)o->window_right);
  if (d->lengths)
    print_error("  kv_lengths %s%s\n", heed_dtype_string(d->lengths_dtype), d->hostile ? ", hostile" : "");
  if (d->mask != MASK_NONE) print_error("  mask %s [", heed_dtype_string(d->mask_dtype));
  for (int axis = 0; d->mask != MASK_NONE && axis < d->mask_rank; ++axis)
    print_error("%lld%s", (long long)d->mask_dims[axis], axis + 1 < d->mask_rank ? ", " : "]\n");
  print_error(
      "  repeat it with: HEED_DRAWS=1 HEED_SEED=%llu HEED_DRAW_KIND=%llu HEED_DRAW_KINDS=1 HEED_DRAW_WIDTH=%llu%s ",
      (unsigned long long)d->seed, (unsigned long long)d->kind,
      (unsigned long long)support_number("HEED_DRAW_WIDTH", WIDTHS), only_fused() ? " HEED_DRAW_PATH=fused" : "");
  print_error("tests/test_attention_random\n");
}

// ---------------------------------------------------------------- tensors of a draw, on one context

enum { Q, K, V, PAST_K, PAST_V, MASK, LENGTHS, OUT, LSE, WEIGHTS, DOUT, DQ, DK, DV, DPAST_K, DPAST_V, DMASK, TENSORS };
static const char *const names[TENSORS] = {"q",          "k",   "v",       "past_k",  "past_v", "mask",
                                           "kv_lengths", "out", "lse",     "weights", "dout",   "dq",
                                           "dk",         "dv",  "dpast_k", "dpast_v", "dmask"};

struct side {
  heed_context *ctx;
  heed_tensor *t[TENSORS], *storage[TENSORS];
};

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

// Keys that every row's mask forbids.
static bool is_forbidden(const struct draw *d, int64_t key) { return d->hostile_mask && key >= 0 && key % 7 == 3; }

static bool is_hostile(const struct draw *d, int64_t b, int64_t key) {
  return (d->hostile && key >= length_of(d, b)) || is_forbidden(d, key) || (d->hostile_last && key == d->keys - 1);
}

static void fill_normal(const struct draw *d, const struct side *s, int which) {
  heed_tensor *t = s->t[which];
  if (!t) return;
  const int64_t count = heed_tensor_count(t), *dims = heed_tensor_dims(t);
  float *values = malloc((size_t)count * sizeof *values);
  assert_non_null(values);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = (float)heed_random_normal(d->seed, 100 + (uint64_t)which, (uint64_t)i);
    const int64_t row = i / dims[3] % dims[2], b = i / dims[3] / dims[2] / dims[1];
    if ((which == Q || which == DOUT) && d->hostile_first && row == 0) values[i] = NAN;
    if ((which == K || which == V) && is_hostile(d, b, row)) values[i] = i % 2 ? NAN : INFINITY;
  }
  ASSERT_OK(heed_tensor_upload_f32(t, values, count));
  free(values);
}

static void create_mask(const struct draw *d, struct side *s) {
  if (d->mask == MASK_NONE) return;
  ASSERT_OK(heed_tensor_create(s->ctx, d->mask_dtype, d->mask_rank, d->mask_dims, &s->t[MASK]));
  const int64_t count = heed_tensor_count(s->t[MASK]);
  float *values = malloc((size_t)count * sizeof *values);
  uint8_t *allowed = malloc((size_t)count);
  assert_true(values && allowed);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t key = i % d->mask_dims[d->mask_rank - 1] - d->past;
    const uint64_t kind = is_forbidden(d, key) ? 0 : heed_random_below(d->seed, 4, (uint64_t)i, 16);
    values[i] = (float)heed_random_normal(d->seed, 5, (uint64_t)i);
    if (kind < 3) values[i] = -INFINITY;
    if (kind == 3 && d->mask_dtype == HEED_F32) values[i] = -FLT_MAX;
    allowed[i] = kind >= 5;
  }
  if (d->mask == MASK_BOOL)
    ASSERT_OK(heed_tensor_upload(s->t[MASK], allowed, (size_t)count));
  else
    ASSERT_OK(heed_tensor_upload_f32(s->t[MASK], values, count));
  if (d->dmask) ASSERT_OK(heed_tensor_create(s->ctx, d->mask_dtype, d->mask_rank, d->mask_dims, &s->t[DMASK]));
  free(values);
  free(allowed);
}

static void create_lengths(const struct draw *d, struct side *s) {
  if (!d->lengths) return;
  int32_t narrow[8];
  int64_t wide[8];
  for (int64_t b = 0; b < d->batch; ++b) narrow[b] = (int32_t)(wide[b] = length_of(d, b));
  const void *data = d->lengths_dtype == HEED_I64 ? (const void *)wide : narrow;
  ASSERT_OK(heed_tensor_create_from(s->ctx, d->lengths_dtype, 1, &d->batch, data, &s->t[LENGTHS]));
}

static void side_create(const struct draw *d, heed_context *ctx, struct side *s) {
  *s = (struct side){.ctx = ctx};
  const int64_t heads = d->kv_heads * d->group;
  create4(d, s, Q, heads, d->queries, d->dim);
  create4(d, s, DQ, heads, d->queries, d->dim);
  create4(d, s, OUT, heads, d->queries, d->value_dim);
  create4(d, s, DOUT, heads, d->queries, d->value_dim);
  create4(d, s, K, d->kv_heads, d->keys, d->dim);
  create4(d, s, DK, d->kv_heads, d->keys, d->dim);
  create4(d, s, V, d->kv_heads, d->keys, d->value_dim);
  create4(d, s, DV, d->kv_heads, d->keys, d->value_dim);
  if (d->past) {
    create4(d, s, PAST_K, d->kv_heads, d->past, d->dim);
    create4(d, s, DPAST_K, d->kv_heads, d->past, d->dim);
    create4(d, s, PAST_V, d->kv_heads, d->past, d->value_dim);
    create4(d, s, DPAST_V, d->kv_heads, d->past, d->value_dim);
  }
  ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 3, (int64_t[]){d->batch, heads, d->queries}, &s->t[LSE]));
  if (d->weights)
    ASSERT_OK(heed_tensor_create(ctx, d->dtype, 4, (int64_t[]){d->batch, heads, d->queries, d->keys + d->past},
                                 &s->t[WEIGHTS]));
  const int inputs[] = {Q, K, V, PAST_K, PAST_V, DOUT};
  for (size_t i = 0; i < sizeof inputs / sizeof *inputs; ++i) fill_normal(d, s, inputs[i]);
  create_mask(d, s);
  create_lengths(d, s);
}

static void side_destroy(struct side *s) {
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->t[i]);
  for (int i = 0; i < TENSORS; ++i) heed_tensor_destroy(s->storage[i]);
}

static heed_attention_inputs inputs_of(const struct side *s) {
  return (heed_attention_inputs){.q = s->t[Q],
                                 .k = s->t[K],
                                 .v = s->t[V],
                                 .mask = s->t[MASK],
                                 .kv_lengths = s->t[LENGTHS],
                                 .past_k = s->t[PAST_K],
                                 .past_v = s->t[PAST_V]};
}

static heed_status forward(const struct draw *d, const struct side *s) {
  const heed_attention_inputs in = inputs_of(s);
  return heed_attention_fwd(&in, &d->options, s->t[OUT], s->t[LSE], s->t[WEIGHTS]);
}

static heed_status backward(const struct draw *d, const struct side *s) {
  const heed_attention_inputs in = inputs_of(s);
  const heed_attention_grads grads = {.dq = s->t[DQ],
                                      .dk = s->t[DK],
                                      .dv = s->t[DV],
                                      .dpast_k = s->t[DPAST_K],
                                      .dpast_v = s->t[DPAST_V],
                                      .dmask = s->t[DMASK]};
  return heed_attention_bwd(&in, &d->options, s->t[OUT], s->t[LSE], s->t[DOUT], &grads);
}

// ---------------------------------------------------------------- comparing

// F32: sums of some hundred terms at 6e-8 each, and exp of scores of a few units. F16 has 2^-11 a rounding, BF16 8 times that.
static double tolerance(const struct draw *d, int which) {
  if (which == LSE) return 5e-6;
  const heed_dtype dtype = which == DMASK ? d->mask_dtype : d->dtype;
  const double storage = dtype == HEED_F16 ? 4e-3 : dtype == HEED_BF16 ? 3.2e-2 : 0;
  return fmax(storage, which < DOUT ? 5e-6 : 2e-5);
}

// The fused backward takes δ from out, so where dP − δ cancels (every key that counts has the same v, say) dq and dk are off by the
// rounding of δ rather than 0: what the sums of |terms| allow, with v and dout of variance 1, and weights that sum to 1.
static double rounding_of_delta(const struct draw *d, const struct side *s, int which) {
  if (which != DQ && which != DK && which != DPAST_K) return 0;
  const double scale = d->options.has_scale ? d->options.scale : 1 / sqrt((double)d->dim);
  const double epsilon = d->dtype == HEED_F16 ? 0x1p-11 : d->dtype == HEED_BF16 ? 0x1p-8 : 0x1p-23;
  const int64_t rows = which == DQ ? 1 : d->queries * d->group;
  return epsilon * scale * sqrt((double)(d->value_dim * rows) * (double)heed_tensor_count(s->t[which]));
}

// The largest relative error of each result over F32 draws in which it is not judged by its terms.
static double worst[TENSORS];

static bool agrees(const struct draw *d, const struct side *device, const struct side *host, int which) {
  if (!device->t[which]) return true;
  heed_difference difference;
  ASSERT_OK(heed_tensor_compare(device->t[which], host->t[which], &difference));
  const double most = tolerance(d, which);
  if (heed_difference_within(&difference, most)) {
    if (d->dtype == HEED_F32 && d->mask_dtype != HEED_F16 && d->mask_dtype != HEED_BF16)
      worst[which] = fmax(worst[which], difference.relative);
    return true;
  }
  if (!difference.non_finite_mismatch && difference.error <= rounding_of_delta(d, device, which)) return true;
  // Where terms of order 1 may cancel, their absolute error is what counts: lse is a logarithm, and an element of dmask sums
  // rows that each sum to 0.
  if ((which == LSE || which == DMASK) && !difference.non_finite_mismatch && difference.max_abs <= most) return true;
  print_error("  %s: relative %.3g (most %.3g), element %lld is %.9g and should be %.9g\n", names[which],
              difference.relative, most, (long long)difference.index, difference.actual, difference.expected);
  return false;
}

// The draw on the device, with no more memory at once than it says: calls then go in chunks of heads or rows. What cannot be
// done within that must say so, and is done with all of the memory.
static heed_status on_device(heed_status (*step)(const struct draw *, const struct side *), const struct draw *d,
                             const struct side *s) {
  struct heed__cl_traits *traits = &heed__cl_state(s->ctx)->traits;
  const uint64_t whole = traits->max_allocation;
  if (d->memory) traits->max_allocation = d->memory;
  traits->cpu_like ^= d->other_layout;
  heed_status status = step(d, s);
  traits->max_allocation = whole;
  if (status == HEED_ERROR_OUT_OF_MEMORY && d->memory) status = step(d, s);
  traits->cpu_like ^= d->other_layout;
  return status;
}

static bool run_draw(uint64_t seed, heed_context *device_ctx, heed_context *host_ctx) {
  const struct draw d = draw_one(seed);
  struct side device, host;
  side_create(&d, device_ctx, &device);
  side_create(&d, host_ctx, &host);
  bool good = true;
  if (on_device(forward, &d, &device) != HEED_OK || on_device(backward, &d, &device) != HEED_OK) {
    print_error("  %s\n", heed_last_error());
    good = false;
  } else {
    ASSERT_OK(forward(&d, &host));
    ASSERT_OK(backward(&d, &host));
    const int results[] = {OUT, LSE, WEIGHTS, DQ, DK, DV, DPAST_K, DPAST_V, DMASK};
    for (size_t i = 0; i < sizeof results / sizeof *results; ++i)
      if (!agrees(&d, &device, &host, results[i])) good = false;
  }
  if (!good) print_draw(&d);
  side_destroy(&device);
  side_destroy(&host);
  return good;
}

static void random_attention_agrees_with_the_host(void **state) {
  heed_context *device = support_context(state), *host;
  ASSERT_OK(heed_open("host", &host));
  const uint64_t draws = support_number("HEED_DRAWS", DRAWS), first = support_number("HEED_SEED", 1);
  uint64_t failures = 0;
  for (uint64_t i = 0; i < draws; ++i) failures += !run_draw(first + i, device, host);
  heed_context_destroy(host);
  for (int i = 0; i < TENSORS; ++i)
    if (worst[i] > 0) print_message("  %s: worst relative error %.1e\n", names[i], worst[i]);
  if (failures) fail_msg("%llu of %llu draws differ", (unsigned long long)failures, (unsigned long long)draws);
}

static void what_does_not_fit_is_refused_with_the_figures(void **state) {
  heed_context *ctx = support_context(state);
  heed_tensor *t[4];
  for (int i = 0; i < 4; ++i) ASSERT_OK(heed_tensor_create(ctx, HEED_F32, 4, (int64_t[]){1, 1, 64, 64}, &t[i]));
  const heed_attention_inputs in = {.q = t[0], .k = t[1], .v = t[2]};
  const heed_attention_options options = {.path = HEED_PATH_STAGED};
  struct heed__cl_traits *traits = &heed__cl_state(ctx)->traits;
  const uint64_t whole = traits->max_allocation;
  traits->max_allocation = 4096;
  ASSERT_FAILS(HEED_ERROR_OUT_OF_MEMORY, "allows 4.0 KiB", heed_attention_fwd(&in, &options, t[3], NULL, NULL));
  traits->max_allocation = whole;
  ASSERT_OK(heed_attention_fwd(&in, &options, t[3], NULL, NULL));
  for (int i = 0; i < 4; ++i) heed_tensor_destroy(t[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_attention_agrees_with_the_host),
      cmocka_unit_test(what_does_not_fit_is_refused_with_the_figures),
  };
  return cmocka_run_group_tests(tests, support_open_device, support_close);
}
