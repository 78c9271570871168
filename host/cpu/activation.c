// relu, gelu, silu, swiglu and dropout on the host, forward and backward.
#include <math.h>

#include "cpu/activation.h"
#include "base/random.h"
#include "cpu/rows.h"

static const double sqrt_half = 0.70710678118654752440;         // √(1/2)
static const double sqrt_two_over_pi = 0.79788456080286535588;  // √(2/π)
static const double inverse_sqrt_two_pi = 0.39894228040143267794;
static const double cubic = 0.044715;

static double relu(double x) { return x < 0 ? 0 : x; }  // a NaN is not less than 0
static double relu_gradient(double x, double dy) { return x > 0 ? dy : 0; }

// Computes Φ through erfc, because 1 + erf(x) loses all digits if x is far below 0.
static double normal_distribution(double x) { return 0.5 * erfc(-x * sqrt_half); }

static double gelu_erf(double x) { return x * normal_distribution(x); }
static double gelu_erf_gradient(double x, double dy) {
  return dy * (normal_distribution(x) + x * inverse_sqrt_two_pi * exp(-0.5 * x * x));
}

// (1 + tanh u)/2 = 1/(1 + exp(−2u)), which keeps its digits if tanh u is near −1.
static double tanh_argument(double x) { return sqrt_two_over_pi * (x + cubic * x * x * x); }
static double gelu_tanh(double x) { return x / (1 + exp(-2 * tanh_argument(x))); }
static double gelu_tanh_gradient(double x, double dy) {
  const double u = tanh_argument(x), above = 1 / (1 + exp(-2 * u)), below = 1 / (1 + exp(2 * u));
  return dy * (above + 2 * x * above * below * sqrt_two_over_pi * (1 + 3 * cubic * x * x));
}

double heed__cpu_gelu(heed_gelu_form form, double x) { return form == HEED_GELU_ERF ? gelu_erf(x) : gelu_tanh(x); }
double heed__cpu_gelu_slope(heed_gelu_form form, double x) {
  return form == HEED_GELU_ERF ? gelu_erf_gradient(x, 1) : gelu_tanh_gradient(x, 1);
}

// What one rounding of each factor comes to. exp(−z) turns roundings of z into z times as many of its own. Φ of a negative x and
// 1 + tanh u near u = −1 have functions that do not cancel, so that only their own size counts.
static double gelu_erf_terms(double x) {
  const double u = heed__rounding(HEED_F32), bell = inverse_sqrt_two_pi * exp(-0.5 * x * x);
  return u * fabs(x) * (3 * normal_distribution(x) + 2 * fabs(x) * bell);
}
static double gelu_erf_gradient_terms(double x, double dy) {
  const double u = heed__rounding(HEED_F32), bell = inverse_sqrt_two_pi * exp(-0.5 * x * x);
  return u * fabs(dy) * (3 * normal_distribution(x) + fabs(x) * bell * (4 + x * x));
}
static double gelu_tanh_terms(double x) {
  const double u = 2 * tanh_argument(x), above = 1 / (1 + exp(-u)), below = 1 / (1 + exp(u));
  return heed__rounding(HEED_F32) * fabs(x) * (3 * above + 3 * fabs(u) * above * below);
}
static double gelu_tanh_gradient_terms(double x, double dy) {
  const double u = 2 * tanh_argument(x), above = 1 / (1 + exp(-u)), below = 1 / (1 + exp(u)), change = above * below;
  const double bend = change == 0 ? 0 : 2 * fabs(x) * change * sqrt_two_over_pi * (1 + 3 * cubic * x * x);
  return heed__rounding(HEED_F32) * fabs(dy) * (3 * (above + change * fabs(u)) + bend * (4 + 3 * fabs(u)));
}

static double silu(double x) { return x / (1 + exp(-x)); }
// 1 − σ(x) = σ(−x), which keeps its digits where σ(x) is near 1.
static double silu_slope(double x) {
  const double share = 1 / (1 + exp(-x)), rest = 1 / (1 + exp(x));
  return share * (1 + x * rest);
}
static double silu_gradient(double x, double dy) { return dy * silu_slope(x); }

// The slots of all but swiglu are those of relu_fwd and relu_bwd.
static heed_status apply(const struct heed__call *call, double (*function)(double)) {
  // x, y: one shape
  const heed_tensor *x = call->in[HEED__relu_fwd_x], *y = call->out[HEED__relu_fwd_y];
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t start = 0; start < x->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, x->count - start);
    double row[HEED__CPU_PIECE];
    heed__cpu_load_row(row, heed__cpu_data(x), x->dtype, start, 1, count);
    for (int64_t i = 0; i < count; ++i) row[i] = function(row[i]);
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, start, 1, count, row);
  }
  return HEED_OK;
}

static heed_status apply_gradient(const struct heed__call *call, double (*gradient)(double x, double dy)) {
  // x, dy, dx: one shape
  const heed_tensor *x = call->in[HEED__relu_bwd_x], *dy = call->in[HEED__relu_bwd_dy];
  const heed_tensor *dx = call->out[HEED__relu_bwd_dx];
  HEED__CPU_PARALLEL_FOR(x->count)
  for (int64_t start = 0; start < x->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, x->count - start);
    double row[HEED__CPU_PIECE], dy_row[HEED__CPU_PIECE];
    heed__cpu_load_row(row, heed__cpu_data(x), x->dtype, start, 1, count);
    heed__cpu_load_row(dy_row, heed__cpu_data(dy), dy->dtype, start, 1, count);
    for (int64_t i = 0; i < count; ++i) row[i] = gradient(row[i], dy_row[i]);
    heed__cpu_store_row(heed__cpu_data(dx), dx->dtype, start, 1, count, row);
  }
  return HEED_OK;
}

static heed_gelu_form gelu_form(const struct heed__call *call) {
  return ((const struct heed__gelu_params *)call->params)->form;
}

heed_status heed__cpu_relu_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply(call, relu);
}

heed_status heed__cpu_relu_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply_gradient(call, relu_gradient);
}

heed_status heed__cpu_gelu_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply(call, gelu_form(call) == HEED_GELU_ERF ? gelu_erf : gelu_tanh);
}

heed_status heed__cpu_gelu_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply_gradient(call, gelu_form(call) == HEED_GELU_ERF ? gelu_erf_gradient : gelu_tanh_gradient);
}

heed_status heed__cpu_terms_gelu_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply(call, gelu_form(call) == HEED_GELU_ERF ? gelu_erf_terms : gelu_tanh_terms);
}

heed_status heed__cpu_terms_gelu_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  const bool erf_form = gelu_form(call) == HEED_GELU_ERF;
  return apply_gradient(call, erf_form ? gelu_erf_gradient_terms : gelu_tanh_gradient_terms);
}

heed_status heed__cpu_silu_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply(call, silu);
}

heed_status heed__cpu_silu_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return apply_gradient(call, silu_gradient);
}

heed_status heed__cpu_swiglu_fwd(heed_context *ctx, const struct heed__call *call) {
  // gate, up, y: one shape
  (void)ctx;
  const heed_tensor *gate = call->in[HEED__swiglu_fwd_gate], *up = call->in[HEED__swiglu_fwd_up];
  const heed_tensor *y = call->out[HEED__swiglu_fwd_y];
  HEED__CPU_PARALLEL_FOR(y->count)
  for (int64_t start = 0; start < y->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, y->count - start);
    double row[HEED__CPU_PIECE], up_row[HEED__CPU_PIECE];
    heed__cpu_load_row(row, heed__cpu_data(gate), gate->dtype, start, 1, count);
    heed__cpu_load_row(up_row, heed__cpu_data(up), up->dtype, start, 1, count);
    for (int64_t i = 0; i < count; ++i) row[i] = silu(row[i]) * up_row[i];
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, start, 1, count, row);
  }
  return HEED_OK;
}

heed_status heed__cpu_swiglu_bwd(heed_context *ctx, const struct heed__call *call) {
  // gate, up, dy, dgate, dup: one shape
  (void)ctx;
  const heed_tensor *gate = call->in[HEED__swiglu_bwd_gate], *up = call->in[HEED__swiglu_bwd_up];
  const heed_tensor *dy = call->in[HEED__swiglu_bwd_dy];
  const heed_tensor *dgate = call->out[HEED__swiglu_bwd_dgate], *dup = call->out[HEED__swiglu_bwd_dup];
  HEED__CPU_PARALLEL_FOR(dy->count)
  for (int64_t start = 0; start < dy->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, dy->count - start);
    double gate_row[HEED__CPU_PIECE], up_row[HEED__CPU_PIECE], dy_row[HEED__CPU_PIECE];
    heed__cpu_load_row(gate_row, heed__cpu_data(gate), gate->dtype, start, 1, count);
    heed__cpu_load_row(up_row, heed__cpu_data(up), up->dtype, start, 1, count);
    heed__cpu_load_row(dy_row, heed__cpu_data(dy), dy->dtype, start, 1, count);
    for (int64_t i = 0; i < count; ++i) {
      const double x = gate_row[i];
      gate_row[i] = dy_row[i] * up_row[i] * silu_slope(x);
      up_row[i] = dy_row[i] * silu(x);
    }
    heed__cpu_store_row(heed__cpu_data(dgate), dgate->dtype, start, 1, count, gate_row);
    heed__cpu_store_row(heed__cpu_data(dup), dup->dtype, start, 1, count, up_row);
  }
  return HEED_OK;
}

// dropout_bwd has the slots of dropout_fwd.
static heed_status drop(const struct heed__call *call) {
  // x, y: one shape
  const struct heed__dropout_params *params = call->params;
  const heed_tensor *x = call->in[HEED__dropout_fwd_x], *y = call->out[HEED__dropout_fwd_y];
  HEED__CPU_PARALLEL_FOR(32 * x->count)
  for (int64_t start = 0; start < x->count; start += HEED__CPU_PIECE) {
    const int64_t count = heed__min(HEED__CPU_PIECE, x->count - start);
    double row[HEED__CPU_PIECE];
    heed__cpu_load_row(row, heed__cpu_data(x), x->dtype, start, 1, count);
    for (int64_t i = 0; i < count; ++i) {
      const bool kept = heed__element_is_kept(params->seed, params->threshold, params->offset + (uint64_t)(start + i));
      row[i] = kept ? row[i] * params->scale : 0;
    }
    heed__cpu_store_row(heed__cpu_data(y), y->dtype, start, 1, count, row);
  }
  return HEED_OK;
}

heed_status heed__cpu_dropout_fwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return drop(call);
}

heed_status heed__cpu_dropout_bwd(heed_context *ctx, const struct heed__call *call) {
  (void)ctx;
  return drop(call);
}
