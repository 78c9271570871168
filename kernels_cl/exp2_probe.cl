// How far native_exp2(), whose error the standard leaves to the device, is from exp2(), which errs by 3 units in the last place at most: for
// the arguments of softmax, which are not above 0.
#define PROBE_ITEMS 64
#define FRACTIONS (1 << 18) // of one octave: hardware takes the whole part of an argument for the exponent
#define OCTAVES 160         // results below 2^-126 may be 0
#define STEPS 64

float error_at(float x) {
  const float native = native_exp2(x), right = exp2(x), error = fabs(native - right) / right;
  const bool is_right = x < -125 ? native >= 0 && native <= 0x1p-124f : error < INFINITY; // a NaN is not
  return is_right ? x < -125 ? 0 : error : INFINITY;
}

// out[i] = 1 + 2^20 times the largest relative error among the arguments of item i: 0, where a device has done nothing, is no answer.
// global and local: PROBE_ITEMS
__attribute__((reqd_work_group_size(PROBE_ITEMS, 1, 1))) __kernel void exp2_probe(__global float *out) {
  const int item = get_local_id(0);
  // A NaN stays one, for a row with a NaN has to show it. Not a constant: PoCL 3.1 makes garbage of the function of that.
  const float nan = as_float(0x7fc00000 | item);
  float largest = native_exp2(0.0f) == 1 && native_exp2(-INFINITY) == 0 && isnan(native_exp2(nan)) ? 0 : INFINITY;
  for (int n = 0; n < FRACTIONS / PROBE_ITEMS; ++n)
    largest = fmax(largest, error_at(-(n * PROBE_ITEMS + item + 0.5f) / FRACTIONS));
  for (int n = 0; n < OCTAVES * STEPS / PROBE_ITEMS; ++n)
    largest = fmax(largest, error_at(-(n * PROBE_ITEMS + item) / (float)STEPS));
  out[item] = 1 + largest * (1 << 20);
}
