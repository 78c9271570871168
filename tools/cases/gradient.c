// Compares the gradients of a case with finite differences, on the host: the only reference for the host, which is itself the reference for
// devices, is its own forward.
//
// With L = Σ w ∘ y in F64, w the upstream gradient, u a direction, D(h) = (L(x + hu) − L(x − hu)) / 2h and
//   R(h) = (4 D(h) − D(2h)) / 3 = L' + O(h⁴),
// Σ dx ∘ u must equal R(h) except for
//   truncation  R(2h) has 16 times R(h)'s h⁴ term: |R(2h) − R(h)| / 15 is the error; twice that is allowed.
//   rounding    y is stored in F32: 2^-24/√3 of each element in the mean square. R(h) has √130 / 12h of L's; 6 deviations are allowed.
//   gradient    dx may be off by its own tolerance: at most that times ‖dx‖ ‖u‖.
// x lies on a grid of 2^-9, u on one of 2^-4 and h = 2^-7: every x ± 4hu is exact. A relu's argument stays away from its kink at 0.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases/case.h"

static const double step = 0x1p-7, kink = 0x1p-4;

// The derivative is of the first output; its upstream gradient is the input "d" + its name, or 1 if there is none.
static const char *result_of(const heed_case *c) { return c->family->result ? c->family->result : "y"; }

bool case_has_gradient(const heed_case *c) {
  return c->dtype == HEED_F32 && c->phase == CASE_BOTH && c->family->has_gradient && c->family->has_gradient(c);
}

typedef struct probe {
  case_env *env;
  const heed_case *c;
  heed_tensor *x, *dx, *y, *w;  // w: NULL where it is 1
  int64_t count;
  float *values, *moved, *direction, *gradient;
  double noise;  // standard deviation of L's rounding
} probe;

// Computes L(x + t u), and how noisy it is.
static heed_status loss_at(probe *p, double t, double *loss) {
  for (int64_t i = 0; i < p->count; ++i) p->moved[i] = (float)(p->values[i] + t * p->direction[i]);
  TRY(heed_tensor_upload_f32(p->x, p->moved, p->count));
  TRY(case_run(p->env, p->c));
  const int64_t n = heed_tensor_count(p->y);
  float *y = malloc(2 * (size_t)n * sizeof *y + 1), *w = y + n;
  if (!y) return HEED_ERROR_OUT_OF_MEMORY;
  heed_status status = heed_tensor_download_f32(p->y, y, n);
  for (int64_t i = 0; !p->w && i < n; ++i) w[i] = 1;
  if (status == HEED_OK && p->w) status = heed_tensor_download_f32(p->w, w, n);
  double sum = 0, squares = 0;
  for (int64_t i = 0; status == HEED_OK && i < n; ++i) {
    const double term = (double)y[i] * w[i];
    sum += term;
    squares += term * term;
  }
  free(y);
  *loss = sum;
  p->noise = 0x1p-24 / sqrt(3) * sqrt(squares);
  return status;
}

static heed_status slope(probe *p, double h, double *out) {
  double above, below;
  TRY(loss_at(p, h, &above));
  TRY(loss_at(p, -h, &below));
  *out = (above - below) / (2 * h);
  return HEED_OK;
}

static heed_status compare_slopes(probe *p, const char *name, double tolerance, case_result *result) {
  double d1, d2, d4, sum = 0, gradient = 0, direction = 0;
  TRY(slope(p, step, &d1));
  TRY(slope(p, 2 * step, &d2));
  TRY(slope(p, 4 * step, &d4));
  for (int64_t i = 0; i < p->count; ++i) {
    sum += (double)p->gradient[i] * p->direction[i];
    gradient += (double)p->gradient[i] * p->gradient[i];
    direction += (double)p->direction[i] * p->direction[i];
  }
  const double expected = (4 * d1 - d2) / 3, coarser = (4 * d2 - d4) / 3, size = sqrt(gradient * direction);
  const double allowed = 2 * fabs(coarser - expected) / 15 + 6 * p->noise * sqrt(130) / (12 * step) + tolerance * size;
  const double difference = fabs(sum - expected), relative = size > 0 ? difference / size : difference;
  if (!(relative <= result->relative) || !result->output[0]) {
    result->relative = relative;
    result->tolerance = size > 0 ? allowed / size : allowed;
    snprintf(result->output, sizeof result->output, "%s", name);
  }
  if (difference <= allowed) return HEED_OK;
  result->passed = false;
  if (!result->message[0])
    snprintf(result->message, sizeof result->message,
             "%s on the host: the derivative along a direction is %.9g by the gradient, %.9g by finite differences; "
             "difference %.3g, tolerated %.3g",
             name, sum, expected, difference, allowed);
  return HEED_OK;
}

static heed_status probe_tensor(probe *p, const char *name, double tolerance, case_result *result) {
  p->count = heed_tensor_count(p->x);
  p->values = malloc(4 * (size_t)p->count * sizeof *p->values + 1);
  if (!p->values) return HEED_ERROR_OUT_OF_MEMORY;
  p->moved = p->values + p->count;
  p->direction = p->moved + p->count;
  p->gradient = p->direction + p->count;
  heed_status status = heed_tensor_download_f32(p->x, p->values, p->count);
  for (int64_t i = 0; status == HEED_OK && i < p->count; ++i) {
    p->values[i] = (float)ldexp(nearbyint(ldexp(p->values[i], 9)), -9);
    if (p->c->family->has_kink && fabs(p->values[i]) < kink) p->values[i] = (float)copysign(kink, p->values[i]);
    p->direction[i] = (float)ldexp(nearbyint(ldexp(2 * case_random(p->env, (uint64_t)i) - 1, 4)), -4);
  }
  double loss;
  if (status == HEED_OK) status = loss_at(p, 0, &loss);
  if (status == HEED_OK) status = heed_tensor_download_f32(p->dx, p->gradient, p->count);
  if (status == HEED_OK) status = compare_slopes(p, name, tolerance, result);
  if (status == HEED_OK) status = heed_tensor_upload_f32(p->x, p->values, p->count);
  free(p->values);
  return status;
}

// Finds the tensor whose gradient an output holds: "dNAME" of an input, "grad.NAME" of a parameter; NULL: none.
static heed_tensor *source_of(const case_env *env, const case_tensor *t) {
  if (!t->output) return NULL;
  if (strncmp(t->name, "grad.", 5) == 0) return case_parameter(env, t->name + 5);
  return t->name[0] == 'd' ? case_get(env, t->name + 1) : NULL;
}

static heed_status probe_all(case_env *env, const heed_case *c, case_result *result) {
  char upstream[40];
  snprintf(upstream, sizeof upstream, "d%s", result_of(c));
  for (int i = 0; i < env->count; ++i) {
    const case_tensor *t = &env->tensors[i];
    probe p = {.env = env,
               .c = c,
               .x = source_of(env, t),
               .dx = t->tensor,
               .y = case_get(env, result_of(c)),
               .w = case_get(env, upstream)};
    if (p.x && heed_tensor_dtype(p.x) == HEED_F32 && heed_tensor_count(p.x) <= CASE_MOST_PROBED)
      TRY(probe_tensor(&p, t->name, t->tolerance, result));
  }
  return HEED_OK;
}

heed_status case_compare_gradient(const heed_case *c, heed_context *host, case_result *result) {
  *result = (case_result){.passed = true};
  case_env env = {0};
  heed_status status = case_start(&env, c, host);
  if (status == HEED_OK && c->family->settle) status = c->family->settle(&env, c);
  if (status == HEED_OK) status = probe_all(&env, c, result);
  if (status != HEED_OK) {
    result->passed = false;
    snprintf(result->message, sizeof result->message, "%s: %s", heed_status_string(status), heed_last_error());
  }
  case_free(&env);
  return status;
}
