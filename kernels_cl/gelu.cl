// GELU (Hendrycks and Gimpel 2016, section 2) and its derivative, through Φ or through tanh. No sum here cancels, so that small
// results far below 0 keep their digits: Φ(−z) is φ(z) times a slowly falling factor, and (1 + tanh u)/2 is 1/(1 + exp(−2u)).

#ifndef X_DTYPE
#define X_DTYPE F32
#endif
#ifndef TANH
#define TANH 0
#endif
typedef TYPE(X_DTYPE) real;
#include "exp.cl"

#define SQRT_HALF 0.70710678118654752440f
#define INVERSE_SQRT_TWO_PI 0.39894228040143267794f
#define SQRT_TWO_OVER_PI 0.79788456080286535588f
#define CUBIC 0.044715f
#define LARGE 16.0f // exp(−x²/2) is 0 in float from here on

// exp(−x²/2). What rounding x² loses would be multiplied by x², so it is carried along.
floatv bell(floatv x) {
  const floatv near = fmin(fabs(x), (floatv)LARGE), square = near * near, rest = fma(near, near, -square);
  return exp_flushed(-0.5f * square) * (1 - 0.5f * rest);
}

// Φ(x), given exp(−x²/2): erfc(z) = exp(−z²) u p(u), u = 2/(2 + z), for z >= 0. p interpolates at the Chebyshev points of
// 0 <= z <= 10.3, with a relative error of 5e-9. The library's erfc has more branches than vectors like.
floatv normal_distribution(floatv x, floatv bell_of_x) {
  const floatv u = 2 / (2 + fabs(x) * SQRT_HALF);
  floatv p = 0.0330646714f;
  p = p * u - 0.175635135f;
  p = p * u + 0.343136687f;
  p = p * u - 0.235055809f;
  p = p * u - 0.0711100155f;
  p = p * u + 0.0645959606f;
  p = p * u + 0.0433444282f;
  p = p * u + 0.188579817f;
  p = p * u + 0.244696144f;
  p = p * u + 0.282296452f;
  p = p * u + 0.282086802f;
  const floatv tail = 0.5f * bell_of_x * u * p;
  return select(1 - tail, tail, x < 0);
}

floatv tanh_argument(floatv x) { return SQRT_TWO_OVER_PI * (x + CUBIC * x * x * x); }

floatv gelu_of(floatv x) {
#if TANH
  return x * shares_of(2 * tanh_argument(x)).share;
#else
  return x * normal_distribution(x, bell(x));
#endif
}

floatv gelu_slope(floatv x) {
#if TANH
  const shares s = shares_of(2 * tanh_argument(x));
  const floatv change = s.share * s.rest;
  const floatv bend = x * change * 2 * SQRT_TWO_OVER_PI * (1 + 3 * CUBIC * x * x);
  // Where nothing changes any more the slope of u may overflow; at an infinite x it is not defined.
  return s.share + select(bend, (floatv)0, (change == 0) & isfinite(x));
#else
  const floatv bell_of_x = bell(x);
  return normal_distribution(x, bell_of_x) + x * bell_of_x * INVERSE_SQRT_TWO_PI;
#endif
}
