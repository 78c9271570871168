// Multi-head attention against its equation in F64, its gradients against the slopes of that; then what holds for any weights:
// batches are independent, the future has no influence, the same call gives the same bits.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <heed/nn.h>

#include "base/random.h"
#include "support_devices.h"
#include "support_gradients.h"

enum { BATCH = 2, MAX_VALUES = 256, MAX_PARAMETERS = 8, MAX_KEYS = 16 };
enum given { QUERY_ALONE = 0, WITH_KEY = 1, WITH_VALUE = 2 };
enum mask { NO_MASK, BOOL_MASK, FLOAT_MASK };

// One way to call the module. Zero fields take the module's defaults.
struct problem {
  const char *name;
  heed_mha_config config;
  int64_t lq, lk;
  unsigned given;
  enum mask mask;  // [lq, lk]
  bool has_kv_lengths;
  heed_attention_options options;
};

// clang-format off
#define PLAIN .config = {.embed_dim = 6, .heads = 2}
static const struct problem problems[] = {
    {"self", PLAIN, .lq = 4, .lk = 4},
    {"self, causal", PLAIN, .lq = 5, .lk = 5, .options = {.causal = HEED_CAUSAL_TOP_LEFT}},
    {"self, window", PLAIN, .lq = 5, .lk = 5, .options = {.has_window = true, .window_left = 1, .window_right = 2}},
    {"key stands in for value", PLAIN, .lq = 3, .lk = 5, .given = WITH_KEY},
    {"query stands in for key", PLAIN, .lq = 4, .lk = 4, .given = WITH_VALUE},
    {"cross, every width its own, two heads a key head",
     .config = {.embed_dim = 6, .key_dim = 5, .value_dim = 4, .heads = 4, .kv_heads = 2, .head_dim = 3,
                .value_head_dim = 2, .out_dim = 7, .no_bias_q = true, .no_bias_v = true},
     .lq = 3, .lk = 5, .given = WITH_KEY | WITH_VALUE},
    {"no biases, scale", .config = {.embed_dim = 4, .heads = 1, .no_bias_q = true, .no_bias_k = true,
                                    .no_bias_v = true, .no_bias_o = true},
     .lq = 4, .lk = 4, .options = {.has_scale = true, .scale = 0.75}},
    {"kv_lengths, causal", PLAIN, .lq = 3, .lk = 5, .given = WITH_KEY, .has_kv_lengths = true,
     .options = {.causal = HEED_CAUSAL_TOP_LEFT}},
    {"float mask, softcap", PLAIN, .lq = 3, .lk = 5, .given = WITH_KEY, .mask = FLOAT_MASK, .options = {.softcap = 2}},
    {"BOOL mask with a row of nothing", PLAIN, .lq = 3, .lk = 5, .given = WITH_KEY, .mask = BOOL_MASK},
    {"dropout", PLAIN, .lq = 5, .lk = 5, .options = {.dropout = 0.25, .seed = 77}},
};
// clang-format on
enum { PROBLEMS = sizeof problems / sizeof *problems };

// ---------------------------------------------------------------- the equation, in F64

struct reference {
  struct problem p;  // defaults filled in
  double query[MAX_VALUES], key[MAX_VALUES], value[MAX_VALUES], mask[MAX_VALUES], dout[MAX_VALUES];
  double weight[4][MAX_VALUES], bias[4][MAX_VALUES];
  int32_t kv_lengths[BATCH];
};

static void fill_defaults(struct problem *p) {
  heed_mha_config *c = &p->config;
  if (!c->key_dim) c->key_dim = c->embed_dim;
  if (!c->value_dim) c->value_dim = c->embed_dim;
  if (!c->kv_heads) c->kv_heads = c->heads;
  if (!c->head_dim) c->head_dim = c->embed_dim / c->heads;
  if (!c->value_head_dim) c->value_head_dim = c->head_dim;
  if (!c->out_dim) c->out_dim = c->embed_dim;
  if (!p->options.has_scale) p->options.scale = 1 / sqrt((double)c->head_dim);
  if (!p->options.has_window) p->options.window_left = p->options.window_right = -1;
}

static void project(const struct reference *r, int which, const double *x, int64_t rows, int64_t in, int64_t out,
                    double *y) {
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t o = 0; o < out; ++o) {
      y[n * out + o] = r->bias[which][o];
      for (int64_t i = 0; i < in; ++i) y[n * out + o] += r->weight[which][o * in + i] * x[n * in + i];
    }
  }
}

static bool attends(const struct reference *r, int64_t b, int64_t i, int64_t j) {
  const heed_attention_options *o = &r->p.options;
  const int64_t length = r->p.has_kv_lengths ? r->kv_lengths[b] : r->p.lk;
  const int64_t position = i + (r->p.has_kv_lengths ? length - r->p.lq : 0);
  if (j >= length || (o->causal == HEED_CAUSAL_TOP_LEFT && j > position)) return false;
  if (o->window_left >= 0 && j < position - o->window_left) return false;
  if (o->window_right >= 0 && j > position + o->window_right) return false;
  return r->p.mask != BOOL_MASK || r->mask[i * r->p.lk + j] != 0;
}

// One row of one head: o = Σ_j w_j v_j, w = dropout(softmax(softcap(scale q·k) + mask)).
static void attend(const struct reference *r, int64_t b, int64_t h, int64_t i, const double *q, const double *k,
                   const double *v, double *o) {
  const heed_mha_config *c = &r->p.config;
  const heed_attention_options *options = &r->p.options;
  double w[MAX_KEYS], sum = 0;
  for (int64_t j = 0; j < r->p.lk; ++j) {
    double s = 0;
    for (int64_t d = 0; d < c->head_dim; ++d) s += q[d] * k[j * c->kv_heads * c->head_dim + d];
    s *= options->scale;
    if (options->softcap > 0) s = options->softcap * tanh(s / options->softcap);
    if (r->p.mask == FLOAT_MASK) s += r->mask[i * r->p.lk + j];
    w[j] = attends(r, b, i, j) ? exp(s) : 0;
    sum += w[j];
  }
  const uint32_t threshold = (uint32_t)(options->dropout * 0x1p32);
  for (int64_t d = 0; d < c->value_head_dim; ++d) o[d] = 0;
  for (int64_t j = 0; j < r->p.lk && sum > 0; ++j) {
    if (!heed__dropout_keeps(options->seed, threshold, (uint32_t)b, (uint32_t)h, (uint32_t)i, (uint32_t)j)) continue;
    for (int64_t d = 0; d < c->value_head_dim; ++d)
      o[d] += w[j] / sum / (1 - options->dropout) * v[j * c->kv_heads * c->value_head_dim + d];
  }
}

static void reference_out(const struct reference *r, double *out) {
  const heed_mha_config *c = &r->p.config;
  const int64_t lq = r->p.lq, lk = r->p.lk;
  const double *key = r->p.given & WITH_KEY ? r->key : r->query;
  const double *value = r->p.given & WITH_VALUE ? r->value : key;
  double q[MAX_VALUES], k[MAX_VALUES], v[MAX_VALUES], o[MAX_VALUES];
  const int64_t q_width = c->heads * c->head_dim, k_width = c->kv_heads * c->head_dim;
  const int64_t v_width = c->kv_heads * c->value_head_dim, o_width = c->heads * c->value_head_dim;
  project(r, 0, r->query, BATCH * lq, c->embed_dim, q_width, q);
  project(r, 1, key, BATCH * lk, c->key_dim, k_width, k);
  project(r, 2, value, BATCH * lk, c->value_dim, v_width, v);
  for (int64_t b = 0; b < BATCH; ++b) {
    for (int64_t i = 0; i < lq; ++i) {
      for (int64_t h = 0; h < c->heads; ++h) {
        const int64_t kv_head = h / (c->heads / c->kv_heads);
        attend(r, b, h, i, q + (b * lq + i) * q_width + h * c->head_dim, k + b * lk * k_width + kv_head * c->head_dim,
               v + b * lk * v_width + kv_head * c->value_head_dim, o + (b * lq + i) * o_width + h * c->value_head_dim);
      }
    }
  }
  project(r, 3, o, BATCH * lq, o_width, c->out_dim, out);
}

static double reference_loss(void *of) {
  const struct reference *r = of;
  double out[MAX_VALUES], loss = 0;
  reference_out(r, out);
  for (int64_t i = 0; i < BATCH * r->p.lq * r->p.config.out_dim; ++i) loss += out[i] * r->dout[i];
  return loss;
}

// Central differences; with this step their error is about 1e-9, four digits below what is asked.
static void reference_gradient(struct reference *r, double *values, int64_t count, double *gradient) {
  gradient_slopes(reference_loss, r, values, count, 1e-5, gradient);
}

// ---------------------------------------------------------------- the module

struct fixture {
  struct reference r;
  heed_mha *mha;
  heed_tensor *query, *key, *value, *mask, *kv_lengths, *out, *dout;
  heed_tensor *dquery, *dkey, *dvalue, *dmask;
};

static heed_tensor *make(heed_context *ctx, heed_dtype dtype, int rank, const int64_t *dims, uint64_t seed,
                         double *copy) {
  float values[MAX_VALUES];
  heed_tensor *tensor = support_tensor(ctx, dtype, rank, dims, seed, values);
  assert_true(heed_tensor_count(tensor) <= MAX_VALUES);
  for (int64_t i = 0; copy && i < heed_tensor_count(tensor); ++i) copy[i] = values[i];
  return tensor;
}

// Biases begin as zeros, which would hide them: every parameter gets values of its own here.
static void set_parameters(struct fixture *f) {
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(f->mha, &parameters);
  memset(f->r.weight, 0, sizeof f->r.weight);
  memset(f->r.bias, 0, sizeof f->r.bias);
  for (size_t p = 0; p < count; ++p) {
    const int64_t size = heed_tensor_count(parameters[p].value);
    float values[MAX_VALUES];
    assert_true(size <= MAX_VALUES);
    support_fill(values, size, 100 + p);
    ASSERT_OK(heed_tensor_upload_f32(parameters[p].value, values, size));
    const int which = (int)(strchr("qkvo", parameters[p].name[0]) - "qkvo");
    double *copy = strstr(parameters[p].name, "weight") ? f->r.weight[which] : f->r.bias[which];
    for (int64_t i = 0; i < size; ++i) copy[i] = values[i];
  }
}

static void make_mask(struct fixture *f, heed_context *ctx, heed_dtype dtype) {
  const int64_t dims[] = {f->r.p.lq, f->r.p.lk};
  if (f->r.p.mask == FLOAT_MASK) {
    f->mask = make(ctx, dtype, 2, dims, 7, f->r.mask);
    f->dmask = make(ctx, dtype, 2, dims, 0, NULL);
  }
  if (f->r.p.mask != BOOL_MASK) return;
  uint8_t allowed[MAX_VALUES];
  for (int64_t i = 0; i < dims[0] * dims[1]; ++i) {
    allowed[i] = i / dims[1] != 1 && i % 3 != 1;  // row 1 attends nothing
    f->r.mask[i] = allowed[i];
  }
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_BOOL, 2, dims, allowed, &f->mask));
}

static void set_up(struct fixture *f, heed_context *ctx, const struct problem *problem, heed_dtype dtype) {
  memset(f, 0, sizeof *f);
  heed_mha_config config = problem->config;
  config.dtype = dtype;
  ASSERT_OK(heed_mha_create(ctx, &config, 1, &f->mha));
  f->r.p = *problem;
  fill_defaults(&f->r.p);
  set_parameters(f);
  const heed_mha_config *c = &f->r.p.config;
  const int64_t query[] = {BATCH, problem->lq, c->embed_dim}, key[] = {BATCH, problem->lk, c->key_dim};
  const int64_t value[] = {BATCH, problem->lk, c->value_dim}, out[] = {BATCH, problem->lq, c->out_dim},
                batch[] = {BATCH};
  f->query = make(ctx, dtype, 3, query, 2, f->r.query);
  f->dquery = make(ctx, dtype, 3, query, 0, NULL);
  if (problem->given & WITH_KEY) {
    f->key = make(ctx, dtype, 3, key, 3, f->r.key);
    f->dkey = make(ctx, dtype, 3, key, 0, NULL);
  }
  if (problem->given & WITH_VALUE) {
    f->value = make(ctx, dtype, 3, value, 4, f->r.value);
    f->dvalue = make(ctx, dtype, 3, value, 0, NULL);
  }
  f->out = make(ctx, dtype, 3, out, 0, NULL);
  f->dout = make(ctx, dtype, 3, out, 5, f->r.dout);
  make_mask(f, ctx, dtype);
  if (!problem->has_kv_lengths) return;
  f->r.kv_lengths[0] = (int32_t)problem->lk;
  f->r.kv_lengths[1] = (int32_t)problem->lk - 1;
  ASSERT_OK(heed_tensor_create_from(ctx, HEED_I32, 1, batch, f->r.kv_lengths, &f->kv_lengths));
}

static void tear_down(struct fixture *f) {
  heed_tensor *const all[] = {f->query, f->key,    f->value, f->mask,   f->kv_lengths, f->out,
                              f->dout,  f->dquery, f->dkey,  f->dvalue, f->dmask};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) heed_tensor_destroy(all[i]);
  heed_mha_destroy(f->mha);
}

static heed_status forward(struct fixture *f, bool train) {
  const heed_mha_inputs inputs = {f->query, f->key, f->value, f->mask, f->kv_lengths};
  return heed_mha_fwd(f->mha, &inputs, &f->r.p.options, train, f->out, NULL);
}
static heed_status backward_to(struct fixture *f, heed_tensor *dquery, heed_tensor *dkey, heed_tensor *dvalue) {
  return heed_mha_bwd(f->mha, f->dout, dquery, dkey, dvalue, dquery ? f->dmask : NULL, false);
}
static heed_status backward(struct fixture *f) { return backward_to(f, f->dquery, f->dkey, f->dvalue); }

static void assert_close(const struct fixture *f, const char *name, const heed_tensor *tensor, const double *expected,
                         double tolerance) {
  float actual[MAX_VALUES];
  const int64_t count = heed_tensor_count(tensor);
  ASSERT_OK(heed_tensor_download_f32(tensor, actual, count));
  // Some gradients are 0 (that of k's bias moves every score of a row alike): there rounding shows as it is.
  double norm = 0, error = support_relative(actual, expected, count);
  for (int64_t i = 0; i < count; ++i) norm += expected[i] * expected[i];
  if (sqrt(norm) < 1e-6) error *= sqrt(norm);
  if (!(error <= tolerance)) fail_msg("%s: %s: error %g is over %g", f->r.p.name, name, error, tolerance);
}

static void assert_gradient(struct fixture *f, const char *name, const heed_tensor *tensor, double *values,
                            double tolerance) {
  if (!tensor) return;
  double gradient[MAX_VALUES];
  reference_gradient(&f->r, values, heed_tensor_count(tensor), gradient);
  assert_close(f, name, tensor, gradient, tolerance);
}

static void assert_all(struct fixture *f, double forward_tolerance, double gradient_tolerance) {
  double out[MAX_VALUES];
  ASSERT_OK(forward(f, true));
  ASSERT_OK(backward(f));
  reference_out(&f->r, out);
  assert_close(f, "out", f->out, out, forward_tolerance);
  assert_gradient(f, "dquery", f->dquery, f->r.query, gradient_tolerance);
  assert_gradient(f, "dkey", f->dkey, f->r.key, gradient_tolerance);
  assert_gradient(f, "dvalue", f->dvalue, f->r.value, gradient_tolerance);
  assert_gradient(f, "dmask", f->dmask, f->r.mask, gradient_tolerance);
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(f->mha, &parameters);
  for (size_t p = 0; p < count; ++p) {
    const int which = (int)(strchr("qkvo", parameters[p].name[0]) - "qkvo");
    assert_gradient(f, parameters[p].name, parameters[p].grad,
                    strstr(parameters[p].name, "weight") ? f->r.weight[which] : f->r.bias[which], gradient_tolerance);
  }
}

// ---------------------------------------------------------------- facts

static void it_is_the_equation_and_its_slopes(void **state) {
  heed_context *ctx = support_context(state);
  for (int i = 0; i < PROBLEMS; ++i) {
    struct fixture f;
    set_up(&f, ctx, &problems[i], HEED_F32);
    assert_all(&f, 5e-6, 2e-5);
    tear_down(&f);
  }
}

// Inputs are exact in F16. Forward: 2^-11 a rounding through four stages; backward passes three more.
static void half_precision_is_as_good_as_its_storage(void **state) {
  heed_context *ctx = support_context(state);
  struct fixture f;
  set_up(&f, ctx, &problems[1], HEED_F16);
  assert_all(&f, 4e-3, 4e-3);
  tear_down(&f);
}

static void parameters_are_named_shaped_and_bounded(void **state) {
  heed_context *ctx = support_context(state);
  heed_mha *mha = NULL;
  ASSERT_OK(heed_mha_create(ctx, &problems[5].config, 9, &mha));
  const heed_parameter *parameters;
  static const struct {
    const char *name;
    int64_t out, in;
  } expected[] = {{"q_proj.weight", 12, 6}, {"k_proj.weight", 6, 5}, {"k_proj.bias", 6, 0},
                  {"v_proj.weight", 4, 4},  {"o_proj.weight", 7, 8}, {"o_proj.bias", 7, 0}};
  assert_int_equal(heed_mha_parameters(mha, &parameters), 6);
  for (int p = 0; p < 6; ++p) {
    const bool is_bias = expected[p].in == 0;
    assert_string_equal(parameters[p].name, expected[p].name);
    assert_int_equal(heed_tensor_rank(parameters[p].value), is_bias ? 1 : 2);
    assert_int_equal(heed_tensor_dim(parameters[p].value, 0), expected[p].out);
    if (!is_bias) assert_int_equal(heed_tensor_dim(parameters[p].value, 1), expected[p].in);
    float values[MAX_VALUES], largest = 0;
    const int64_t count = heed_tensor_count(parameters[p].value);
    ASSERT_OK(heed_tensor_download_f32(parameters[p].value, values, count));
    for (int64_t i = 0; i < count; ++i) largest = fmaxf(largest, fabsf(values[i]));
    const double bound = is_bias ? 0 : sqrt(6 / (double)(expected[p].out + expected[p].in));
    assert_true(largest <= (float)bound && largest >= 0.7 * bound);
  }
  heed_mha_destroy(mha);
}

static void swap_halves(float *values, int64_t count) {
  for (int64_t i = 0; i < count / 2; ++i) {
    const float kept = values[i];
    values[i] = values[count / 2 + i];
    values[count / 2 + i] = kept;
  }
}

static void swapping_the_batch_swaps_the_result(void **state) {
  heed_context *ctx = support_context(state);
  struct fixture f;
  set_up(&f, ctx, &problems[0], HEED_F32);
  float query[MAX_VALUES], dout[MAX_VALUES], before[2][MAX_VALUES], after[2][MAX_VALUES];
  const int64_t count = heed_tensor_count(f.query);
  ASSERT_OK(forward(&f, true));
  ASSERT_OK(backward(&f));
  ASSERT_OK(heed_tensor_download_f32(f.out, before[0], count));
  ASSERT_OK(heed_tensor_download_f32(f.dquery, before[1], count));
  ASSERT_OK(heed_tensor_download_f32(f.query, query, count));
  ASSERT_OK(heed_tensor_download_f32(f.dout, dout, count));
  swap_halves(query, count);
  swap_halves(dout, count);
  ASSERT_OK(heed_tensor_upload_f32(f.query, query, count));
  ASSERT_OK(heed_tensor_upload_f32(f.dout, dout, count));
  ASSERT_OK(forward(&f, true));
  ASSERT_OK(backward(&f));
  ASSERT_OK(heed_tensor_download_f32(f.out, after[0], count));
  ASSERT_OK(heed_tensor_download_f32(f.dquery, after[1], count));
  for (int which = 0; which < 2; ++which) {
    swap_halves(after[which], count);
    for (int64_t i = 0; i < count; ++i) assert_true(fabsf(after[which][i] - before[which][i]) <= 1e-6f);
  }
  tear_down(&f);
}

// Not even a NaN in the last position reaches an earlier row.
static void the_future_has_no_influence(void **state) {
  heed_context *ctx = support_context(state);
  struct fixture f;
  set_up(&f, ctx, &problems[1], HEED_F32);
  const int64_t lq = f.r.p.lq, width = f.r.p.config.embed_dim, count = heed_tensor_count(f.query);
  float query[MAX_VALUES], before[MAX_VALUES], after[MAX_VALUES];
  ASSERT_OK(forward(&f, false));
  ASSERT_OK(heed_tensor_download_f32(f.out, before, count));
  ASSERT_OK(heed_tensor_download_f32(f.query, query, count));
  for (int64_t b = 0; b < BATCH; ++b) query[((b + 1) * lq - 1) * width] = NAN;
  ASSERT_OK(heed_tensor_upload_f32(f.query, query, count));
  ASSERT_OK(forward(&f, false));
  ASSERT_OK(heed_tensor_download_f32(f.out, after, count));
  for (int64_t i = 0; i < count; ++i) {
    const bool last = i / width % lq == lq - 1;
    assert_true(last ? isnan(after[i]) : after[i] == before[i]);
  }
  tear_down(&f);
}

static void the_same_call_gives_the_same_bits_and_takes_no_memory(void **state) {
  heed_context *ctx = support_context(state);
  struct fixture f;
  set_up(&f, ctx, &problems[10], HEED_F32);
  float first[MAX_PARAMETERS][MAX_VALUES] = {{0}}, second[MAX_PARAMETERS][MAX_VALUES] = {{0}};
  const heed_parameter *parameters;
  const size_t count = heed_mha_parameters(f.mha, &parameters);
  ASSERT_OK(forward(&f, true));
  ASSERT_OK(backward(&f));
  const size_t live = heed_context_live_tensors(ctx);
  for (size_t p = 0; p < count; ++p)
    ASSERT_OK(heed_tensor_download_f32(parameters[p].grad, first[p], heed_tensor_count(parameters[p].grad)));
  heed_tensor *query = f.query, *out = f.out, *short_query = NULL, *short_out = NULL;
  ASSERT_OK(heed_tensor_slice(query, 0, 0, 1, &short_query));
  ASSERT_OK(heed_tensor_slice(out, 0, 0, 1, &short_out));
  f.query = short_query;
  f.out = short_out;
  ASSERT_OK(forward(&f, true));
  heed_tensor_destroy(short_query);
  heed_tensor_destroy(short_out);
  f.query = query;
  f.out = out;
  ASSERT_OK(forward(&f, true));
  ASSERT_OK(backward(&f));
  assert_int_equal(heed_context_live_tensors(ctx), live);
  for (size_t p = 0; p < count; ++p)
    ASSERT_OK(heed_tensor_download_f32(parameters[p].grad, second[p], heed_tensor_count(parameters[p].grad)));
  assert_memory_equal(first, second, sizeof first);
  tear_down(&f);
}

static void weights_are_handed_out_and_sum_to_1(void **state) {
  heed_context *ctx = support_context(state);
  struct fixture f;
  set_up(&f, ctx, &problems[1], HEED_F32);
  const int64_t l = f.r.p.lq, dims[] = {BATCH, 2, l, l};
  heed_tensor *weights = make(ctx, HEED_F32, 4, dims, 0, NULL);
  ASSERT_OK(heed_mha_fwd(f.mha, &(heed_mha_inputs){.query = f.query}, &f.r.p.options, false, f.out, weights));
  float w[MAX_VALUES];
  ASSERT_OK(heed_tensor_download_f32(weights, w, heed_tensor_count(weights)));
  for (int64_t row = 0; row < BATCH * 2 * l; ++row) {
    double sum = 0;
    for (int64_t j = 0; j < l; ++j) sum += w[row * l + j];
    assert_true(fabs(sum - 1) <= 1e-6);
    for (int64_t j = row % l + 1; j < l; ++j) assert_true(w[row * l + j] == 0);
  }
  heed_tensor_destroy(weights);
  tear_down(&f);
}

static void misuse_is_refused(void **state) {
  heed_context *ctx = support_context(state);
  heed_mha *mha = (heed_mha *)1;
  const struct {
    heed_mha_config config;
    heed_status status;
    const char *part;
  } cases[] = {{{.embed_dim = 0, .heads = 1}, HEED_ERROR_INVALID_ARGUMENT, "embed_dim is 0"},
               {{.embed_dim = 4}, HEED_ERROR_INVALID_ARGUMENT, "heads is 0"},
               {{.embed_dim = 4, .heads = 3}, HEED_ERROR_INVALID_ARGUMENT, "not a multiple of 3 heads"},
               {{.embed_dim = 4, .heads = 4, .kv_heads = 3}, HEED_ERROR_INVALID_ARGUMENT, "kv_heads 3"},
               {{.embed_dim = 4, .heads = 4, .out_dim = -1}, HEED_ERROR_INVALID_ARGUMENT, "out_dim -1"},
               {{.embed_dim = 4, .heads = 4, .dtype = HEED_U8}, HEED_ERROR_DTYPE, "U8"},
               {{.embed_dim = 4, .heads = INT64_C(1) << 62, .head_dim = 4}, HEED_ERROR_OVERFLOW, "64 bits"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    ASSERT_FAILS(cases[i].status, cases[i].part, heed_mha_create(ctx, &cases[i].config, 0, &mha));
    assert_null(mha);
  }
  struct fixture f;
  set_up(&f, ctx, &problems[3], HEED_F32);
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "a backward needs a forward", backward(&f));
  ASSERT_OK(forward(&f, false));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "a backward needs a forward", backward(&f));
  ASSERT_OK(forward(&f, true));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "part of dkey", backward_to(&f, NULL, NULL, f.dkey));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "dquery is F32[2, 5, 6]", backward_to(&f, f.dkey, NULL, NULL));
  ASSERT_OK(backward_to(&f, NULL, NULL, NULL));
  ASSERT_FAILS(HEED_ERROR_INVALID_ARGUMENT, "a backward needs a forward", backward(&f));
  ASSERT_FAILS(HEED_ERROR_SHAPE, "out is F32[2, 5, 6]",
               heed_mha_fwd(f.mha, &(heed_mha_inputs){.query = f.query, .key = f.key}, NULL, false, f.key, NULL));
  tear_down(&f);
  set_up(&f, ctx, &problems[5], HEED_F32);
  ASSERT_FAILS(HEED_ERROR_SHAPE, "query as key is F32[2, 3, 6]",
               heed_mha_fwd(f.mha, &(heed_mha_inputs){.query = f.query}, NULL, false, f.out, NULL));
  tear_down(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_is_the_equation_and_its_slopes),
      cmocka_unit_test(half_precision_is_as_good_as_its_storage),
      cmocka_unit_test(parameters_are_named_shaped_and_bounded),
      cmocka_unit_test(swapping_the_batch_swaps_the_result),
      cmocka_unit_test(the_future_has_no_influence),
      cmocka_unit_test(the_same_call_gives_the_same_bits_and_takes_no_memory),
      cmocka_unit_test(weights_are_handed_out_and_sum_to_1),
      cmocka_unit_test(misuse_is_refused),
  };
  const int on_host = cmocka_run_group_tests_name("host", tests, support_open_host, support_close);
  return on_host + cmocka_run_group_tests_name("device", tests, support_open_device, support_close);
}
