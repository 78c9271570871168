// GELU (Hendrycks and Gimpel 2016, section 2) and its derivative, through erfc or through tanh. No sum here cancels: Φ is
// erfc/2 and (1 + tanh u)/2 is 1/(1 + exp(−2u)), so that small results far below 0 keep their digits.

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef TANH
#define TANH 0
#endif
typedef TYPE(X_DTYPE) real;

#define SQRT_HALF 0.70710678118654752440f
#define SQRT_HALF_REST 1.21016171e-8f       // √(1/2) less its float
#define INVERSE_SQRT_TWO_PI 0.39894228040143267794f
#define TWO_OVER_SQRT_PI 1.12837916709551257390f
#define SQRT_TWO_OVER_PI 0.79788456080286535588f
#define CUBIC 0.044715f
#define TAIL 16.0f  // where φ is 0 in float

// φ(x). What rounding x² loses would be multiplied by x², so it is carried along.
float normal_density(float x) {
  const float square = x * x;
  const float rest = fabs(x) < TAIL ? fma(x, x, -square) : 0;
  return INVERSE_SQRT_TWO_PI * exp(-0.5f * square) * (1 - 0.5f * rest);
}

// Φ(x), with the same care for what rounding −x √(1/2) loses.
float normal_distribution(float x) {
  const float t = -x * SQRT_HALF;
  const float rest = fabs(x) < TAIL ? fma(-x, SQRT_HALF, -t) - x * SQRT_HALF_REST : 0;
  return 0.5f * (erfc(t) - rest * (TWO_OVER_SQRT_PI / INVERSE_SQRT_TWO_PI) * normal_density(x));
}

float logistic(float x) { return 1 / (1 + exp(-x)); }
float tanh_argument(float x) { return SQRT_TWO_OVER_PI * (x + CUBIC * x * x * x); }

float gelu_of(float x) {
#if TANH
  return x * logistic(2 * tanh_argument(x));
#else
  return x * normal_distribution(x);
#endif
}

float gelu_slope(float x) {
#if TANH
  const float u = 2 * tanh_argument(x), s = logistic(u), change = s * logistic(-u);
  // Where nothing changes any more the slope of u may overflow.
  if (change == 0 && !isinf(x)) return s;
  return s + x * change * 2 * SQRT_TWO_OVER_PI * (1 + 3 * CUBIC * x * x);
#else
  return normal_distribution(x) + x * normal_density(x);
#endif
}

__kernel void gelu(const __global real *x, long x_offset, __global real *y, long y_offset, long count) {
  const idx i = get_global_id(0);
  if (i < count) STORE(X_DTYPE, y + y_offset, i, gelu_of(LOAD(X_DTYPE, x + x_offset, i)));
}

__kernel void gelu_gradient(const __global real *x, long x_offset, const __global real *dy, long dy_offset,
                            __global real *dx, long dx_offset, long count) {
  const idx i = get_global_id(0);
  if (i >= count) return;
  const float slope = gelu_slope(LOAD(X_DTYPE, x + x_offset, i));
  STORE(X_DTYPE, dx + dx_offset, i, LOAD(X_DTYPE, dy + dy_offset, i) * slope);
}
