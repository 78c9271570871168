// Attention as a case: makes inputs for every kind of mask and every option, and runs forward and gradients.
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cases/attention.h"

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The keys that row i may attend by position: lo <= j < end.
static void bounds(const attention_shape *s, int64_t i, int64_t *lo, int64_t *end) {
  const heed_attention_options *o = &s->options;
  const int64_t lk = s->lk + s->past;
  *lo = 0;
  *end = lk;
  if (o->causal == HEED_CAUSAL_TOP_LEFT) *end = least(*end, i + s->past + 1);
  if (o->causal == HEED_CAUSAL_BOTTOM_RIGHT) *end = least(*end, i + lk - s->lq + 1);
  if (o->has_window && o->window_right >= 0) *end = least(*end, i + s->past + o->window_right + 1);
  if (o->has_window && o->window_left >= 0) *lo = most(0, i + s->past - o->window_left);
}

double case_attended_pairs(const attention_shape *s) {
  double pairs = 0;
  for (int64_t i = 0; i < s->lq; ++i) {
    int64_t lo, end;
    bounds(s, i, &lo, &end);
    pairs += (double)most(0, end - lo);
  }
  return pairs;
}

// ---------------------------------------------------------------- masks

typedef struct mask_layout {
  int rank;
  int64_t dims[4];
  bool is_float;
} mask_layout;

static mask_layout layout_of(const attention_shape *s) {
  const int64_t lk = s->lk + s->past;
  switch (s->mask) {
    case CASE_MASK_KEYS:
      return (mask_layout){4, {s->b, 1, 1, lk}, false};
    case CASE_MASK_SQUARE:
    case CASE_MASK_DEAD:
      return (mask_layout){2, {s->lq, lk}, false};
    case CASE_MASK_FULL:
      return (mask_layout){4, {s->b, s->hq, s->lq, lk}, false};
    case CASE_MASK_RANK1:
      return (mask_layout){1, {lk}, false};
    case CASE_MASK_SHORT:
      return (mask_layout){2, {s->lq, most(2, lk - 3)}, false};
    case CASE_MASK_FLOAT:
      return (mask_layout){3, {s->hq, s->lq, lk}, true};
    case CASE_MASK_NEGINF:
    case CASE_MASK_LOWEST:
      return (mask_layout){2, {s->lq, lk}, true};
    case CASE_MASK_NONE:
      break;
  }
  return (mask_layout){0};
}

// Writes NaN where no row attends: keys past every length, or hidden from every row by the mask.
static bool is_poisoned(const attention_shape *s, int64_t j) { return s->poison_masked && j >= s->lk / 2; }

static heed_status float_mask(case_env *env, const heed_case *c, const mask_layout *layout, int64_t count) {
  const attention_shape *s = &c->u.attention;
  float *values = malloc((size_t)count * sizeof *values + 1);
  if (!values) return HEED_ERROR_OUT_OF_MEMORY;
  // The lowest F16 is -65504; one lower would be -Inf.
  const float lowest = c->dtype == HEED_F16 ? -65504.0f : -3.3e38f;
  for (int64_t i = 0; i < count; ++i) {
    const double u = case_random(env, (uint64_t)i);
    values[i] = (float)(2 * u - 1);
    if (s->mask == CASE_MASK_NEGINF && u < 0.3) values[i] = -INFINITY;
    if (s->mask == CASE_MASK_LOWEST && u < 0.3) values[i] = lowest;
    if (is_poisoned(s, i % layout->dims[layout->rank - 1])) values[i] = -INFINITY;
  }
  TRY(case_input(env, "mask", c->dtype, layout->rank, layout->dims, CASE_ZERO, 0));
  heed_status status = heed_tensor_upload_f32(case_get(env, "mask"), values, count);
  free(values);
  return status;
}

static heed_status bool_mask(case_env *env, const heed_case *c, const mask_layout *layout, int64_t count) {
  uint8_t *values = malloc((size_t)count + 1);
  if (!values) return HEED_ERROR_OUT_OF_MEMORY;
  const int64_t cols = layout->dims[layout->rank - 1];
  for (int64_t i = 0; i < count; ++i) {
    values[i] = case_random(env, (uint64_t)i) < 0.7;
    if (c->u.attention.mask == CASE_MASK_DEAD && (i / cols) % 3 == 1) values[i] = 0;
    if (is_poisoned(&c->u.attention, i % cols)) values[i] = 0;
  }
  heed_status status = case_input_data(env, "mask", HEED_BOOL, layout->rank, layout->dims, values);
  free(values);
  return status;
}

static heed_status make_mask(case_env *env, const heed_case *c) {
  const mask_layout layout = layout_of(&c->u.attention);
  if (layout.rank == 0) return HEED_OK;
  int64_t count = 1;
  for (int axis = 0; axis < layout.rank; ++axis) count *= layout.dims[axis];
  TRY(layout.is_float ? float_mask(env, c, &layout, count) : bool_mask(env, c, &layout, count));
  if (!c->u.attention.mask_grad) return HEED_OK;
  return case_output(env, "dmask", c->dtype, layout.rank, layout.dims, heed_tolerance(c->dtype, true));
}

static heed_status poison_masked(case_env *env, const attention_shape *s, const char *name, int64_t width) {
  heed_tensor *t = case_get(env, name);
  const int64_t count = heed_tensor_count(t), per_batch = s->hkv * s->lk * width;
  float *values = malloc((size_t)count * sizeof *values + 1);
  if (!values) return HEED_ERROR_OUT_OF_MEMORY;
  heed_status status = heed_tensor_download_f32(t, values, count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = s->rows_first ? i % per_batch / (s->hkv * width) : i / width % s->lk;
    if (is_poisoned(s, j)) values[i] = j % 2 ? NAN : INFINITY;
  }
  if (status == HEED_OK) status = heed_tensor_upload_f32(t, values, count);
  free(values);
  return status;
}

static heed_status make_lengths(case_env *env, const attention_shape *s) {
  if (!s->kv_lengths) return HEED_OK;
  int32_t *lengths = malloc((size_t)s->b * sizeof *lengths + 1);
  if (!lengths) return HEED_ERROR_OUT_OF_MEMORY;
  for (int64_t b = 0; b < s->b; ++b)
    lengths[b] = s->poison_masked ? (int32_t)(s->lk / 2 - (b & 1 && s->lk > 3))
                                  : (int32_t)((double)s->lk * (0.3 + 0.7 * case_random(env, (uint64_t)b)));
  heed_status status = case_input_data(env, "kv_lengths", HEED_I32, 1, &s->b, lengths);
  free(lengths);
  return status;
}

// ---------------------------------------------------------------- setup and run

// [B, H, L, W] storage, or [B, L, H, W] when rows come first.
static void storage(const attention_shape *s, int64_t h, int64_t l, int64_t w, int64_t dims[4]) {
  dims[0] = s->b;
  dims[1] = s->rows_first ? l : h;
  dims[2] = s->rows_first ? h : l;
  dims[3] = w;
}

static heed_status setup_inputs(case_env *env, const heed_case *c) {
  const attention_shape *s = &c->u.attention;
  const double scale = s->scale != 0 ? s->scale : 1;
  int64_t q[4], k[4], v[4], out[4];
  storage(s, s->hq, s->lq, s->d, q);
  storage(s, s->hkv, s->lk, s->d, k);
  storage(s, s->hkv, s->lk, s->dv, v);
  storage(s, s->hq, s->lq, s->dv, out);
  TRY(case_input(env, "q", c->dtype, 4, q, s->fill, scale));
  TRY(case_input(env, "k", c->dtype, 4, k, s->fill == CASE_HUGE ? CASE_HUGE : CASE_NORMAL, 1));
  TRY(case_input(env, "v", c->dtype, 4, v, s->fill == CASE_OUTLIER ? CASE_OUTLIER : CASE_NORMAL, 1));
  if (s->past) {
    TRY(case_input(env, "past_k", c->dtype, 4, (const int64_t[]){s->b, s->hkv, s->past, s->d}, s->fill, 1));
    TRY(case_input(env, "past_v", c->dtype, 4, (const int64_t[]){s->b, s->hkv, s->past, s->dv}, CASE_NORMAL, 1));
  }
  if (s->poison_masked) {
    TRY(poison_masked(env, s, "k", s->d));
    TRY(poison_masked(env, s, "v", s->dv));
  }
  TRY(make_lengths(env, s));
  TRY(make_mask(env, c));
  if (c->phase != CASE_FORWARD) TRY(case_input(env, "dout", c->dtype, 4, out, CASE_NORMAL, 1));
  return HEED_OK;
}

static heed_status setup(case_env *env, const heed_case *c) {
  const attention_shape *s = &c->u.attention;
  const double forward = heed_tolerance(c->dtype, false), gradient = heed_tolerance(c->dtype, true);
  TRY(setup_inputs(env, c));
  int64_t q[4], k[4], v[4], out[4];
  storage(s, s->hq, s->lq, s->d, q);
  storage(s, s->hkv, s->lk, s->d, k);
  storage(s, s->hkv, s->lk, s->dv, v);
  storage(s, s->hq, s->lq, s->dv, out);
  TRY(case_output(env, "out", c->dtype, 4, out, forward));
  TRY(case_output(env, "lse", HEED_F32, 3, (const int64_t[]){s->b, s->hq, s->lq}, heed_tolerance(HEED_F32, false)));
  if (s->weights)
    TRY(case_output(env, "weights", c->dtype, 4, (const int64_t[]){s->b, s->hq, s->lq, s->lk + s->past}, forward));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  TRY(case_output(env, "dq", c->dtype, 4, q, gradient));
  TRY(case_output(env, "dk", c->dtype, 4, k, gradient));
  TRY(case_output(env, "dv", c->dtype, 4, v, gradient));
  if (!s->past) return HEED_OK;
  TRY(case_output(env, "dpast_k", c->dtype, 4, (const int64_t[]){s->b, s->hkv, s->past, s->d}, gradient));
  return case_output(env, "dpast_v", c->dtype, 4, (const int64_t[]){s->b, s->hkv, s->past, s->dv}, gradient);
}

// The tensors of a call as [B, H, L, W]: views if the storage is [B, L, H, W].
enum { Q, K, V, OUT, DOUT, DQ, DK, DV, VIEWS };
static const char *const view_names[VIEWS] = {"q", "k", "v", "out", "dout", "dq", "dk", "dv"};

static heed_status make_views(const case_env *env, bool rows_first, heed_tensor *views[VIEWS]) {
  static const int swap[4] = {0, 2, 1, 3}, keep[4] = {0, 1, 2, 3};
  for (int i = 0; i < VIEWS; ++i) {
    heed_tensor *t = case_get(env, view_names[i]);
    if (t) TRY(heed_tensor_permute(t, rows_first ? swap : keep, &views[i]));
  }
  return HEED_OK;
}

static heed_status run_views(case_env *env, const heed_case *c, heed_tensor *views[VIEWS]) {
  const attention_shape *s = &c->u.attention;
  const heed_attention_inputs inputs = {
      .q = views[Q],
      .k = views[K],
      .v = views[V],
      .mask = case_get(env, "mask"),
      .kv_lengths = case_get(env, "kv_lengths"),
      .past_k = case_get(env, "past_k"),
      .past_v = case_get(env, "past_v"),
  };
  if (c->phase != CASE_BACKWARD)
    TRY(heed_attention_fwd(&inputs, &s->options, views[OUT], case_get(env, "lse"), case_get(env, "weights")));
  if (c->phase == CASE_FORWARD) return HEED_OK;
  const heed_attention_grads grads = {
      .dq = views[DQ],
      .dk = views[DK],
      .dv = views[DV],
      .dpast_k = case_get(env, "dpast_k"),
      .dpast_v = case_get(env, "dpast_v"),
      .dmask = case_get(env, "dmask"),
  };
  return heed_attention_bwd(&inputs, &s->options, views[OUT], case_get(env, "lse"), views[DOUT], &grads);
}

static heed_status run(case_env *env, const heed_case *c) {
  heed_tensor *views[VIEWS] = {0};
  heed_status status = make_views(env, c->u.attention.rows_first, views);
  if (status == HEED_OK) status = run_views(env, c, views);
  // A check asks whether results are correct. If a device has no fused path for a case, that does not make its results wrong.
  if (status == HEED_ERROR_UNSUPPORTED && c->u.attention.options.path == HEED_PATH_FUSED && !env->timing) {
    heed_case any = *c;
    any.u.attention.options.path = HEED_PATH_AUTO;
    status = run_views(env, &any, views);
  }
  for (int i = 0; i < VIEWS; ++i) heed_tensor_destroy(views[i]);
  return status;
}

// Forward: s = q kᵀ and o = p v. Backward: those of s, dP, dV, dK and dQ.
static double flops(const heed_case *c) {
  const attention_shape *s = &c->u.attention;
  const double pairs = (double)(s->b * s->hq) * case_attended_pairs(s);
  const double forward = 2 * pairs * (double)(s->d + s->dv);
  const double backward = 2 * pairs * (double)(3 * s->d + 2 * s->dv);
  return c->phase == CASE_FORWARD ? forward : c->phase == CASE_BACKWARD ? backward : forward + backward;
}

static double bytes(const heed_case *c) {
  const attention_shape *s = &c->u.attention;
  const double queries = (double)(s->b * s->hq * s->lq * (s->d + s->dv));
  const double keys = (double)(s->b * s->hkv * (s->lk + s->past) * (s->d + s->dv));
  const double once = (queries + keys) * (double)heed_dtype_size(c->dtype);
  return c->phase == CASE_FORWARD ? once : 2 * once;
}

static bool has_gradient(const heed_case *c) {
  const attention_shape *s = &c->u.attention;
  return s->fill == CASE_NORMAL && s->scale <= 4 && !s->poison_masked && s->mask < CASE_MASK_NEGINF &&
         s->b * s->hq * s->lq * s->lk < CASE_MOST_PROBED;
}

const case_family attention_family = {
    .op = "attention",
    .setup = setup,
    .run = run,
    .flops = flops,
    .bytes = bytes,
    .cases = attention_cases,
    .tiny = attention_tiny,
    .result = "out",
    .has_gradient = has_gradient,
};
