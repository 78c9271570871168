// Activation functions of one value on the host, for the operators that have one in them.
#ifndef HEED__CPU_ACTIVATION_H
#define HEED__CPU_ACTIVATION_H

#include <heed/heed.h>

double heed__cpu_gelu(heed_gelu_form form, double x);
double heed__cpu_gelu_slope(heed_gelu_form form, double x);  // its derivative

#endif
