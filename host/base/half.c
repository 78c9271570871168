// Numbers of 16 bits, F16 and BF16: their bits from and to wider floating point, rounded once.
#include "base/half.h"

#include <math.h>
#include <string.h>

double heed__f16_to_double(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value;
  if (exponent == 31)
    value = fraction ? (double)NAN : (double)INFINITY;
  else if (exponent == 0)
    value = ldexp(fraction, -24);
  else
    value = ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -value : value;
}

uint16_t heed__f16_from_double(double value) {
  const uint16_t sign = signbit(value) ? 0x8000 : 0;
  if (isnan(value)) return (uint16_t)(sign | 0x7e00);
  const double magnitude = fabs(value);
  if (magnitude >= 65520) return (uint16_t)(sign | 0x7c00);  // halfway to 2^16, and rounds up to it
  if (magnitude < 0x1p-14) return (uint16_t)(sign | (uint16_t)nearbyint(magnitude * 0x1p24));
  int exponent;
  const double fraction = frexp(magnitude, &exponent);  // in [1/2, 1)
  // If the fraction rounds up to 2048, the addition carries into the exponent, which is right.
  return (uint16_t)(sign | (uint16_t)(((exponent + 13) << 10) + (int)nearbyint(fraction * 2048)));
}

float heed__bf16_to_float(uint16_t bits) {
  const uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t heed__bf16_from_double(double value) {
  float narrow = (float)value;
  uint32_t bits;
  memcpy(&bits, &narrow, sizeof bits);
  if (isnan(narrow)) return (uint16_t)(bits >> 16 | 0x40);
  if (!isinf(narrow) && narrow != 0) {
    // F64 to F32 to BF16 must not round twice. So cut the F32 towards zero, and let its last bit remember that something was cut
    // (round-to-odd).
    if (fabs((double)narrow) > fabs(value)) bits -= 1;
    memcpy(&narrow, &bits, sizeof narrow);
    if ((double)narrow != value) bits |= 1;
  } else if (isinf(narrow) && !isinf(value)) {
    bits = (bits & 0x80000000u) | 0x7f7fffff;
    bits |= 1;
  }
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
