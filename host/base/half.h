// Numbers of 16 bits, F16 and BF16: their bits from and to wider floating point, to the nearest, ties to even. Knows nothing else of heed.
#ifndef HEED__HALF_H
#define HEED__HALF_H

#include <stdint.h>

uint16_t heed__f16_from_double(double value);
double heed__f16_to_double(uint16_t bits);
uint16_t heed__bf16_from_double(double value);
float heed__bf16_to_float(uint16_t bits);

#endif
