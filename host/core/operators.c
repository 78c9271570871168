// The rows of operators.h as data, and the tolerances by which a device is judged.
#include <string.h>

#include "core/core.h"

// clang-format off
#define STRING(unused, x) #x,
#define OFFSET(type, x) offsetof(type, x),
// The compiler refuses a size below 0.
#define PARAMS(type) .params_bytes = (sizeof(type) + 0 * sizeof(char[sizeof(type) <= HEED__MAX_PARAMS ? 1 : -1]))
#define OPTIONAL(...) .optional = {HEED__EACH(STRING, , __VA_ARGS__)}
#define AS_FORWARD(...) .as_forward = {HEED__EACH(STRING, , __VA_ARGS__)}
#define IN_PLACE(...) .in_place = {HEED__EACH(STRING, , __VA_ARGS__)}
#define SUM_OF_PRODUCTS .is_sum_of_products = true
#define OWN_TERMS .has_own_terms = true
#define FACTORS(type, ...) .factors = {HEED__EACH(OFFSET, type, __VA_ARGS__)}, .factor_count = HEED__COUNT(__VA_ARGS__)
#define ROW(op, class, inputs, outputs, ...)                   \
  [HEED__OP_##op] = {.name = #op,                              \
                     .tolerance = HEED__##class,               \
                     .in = {HEED__EACH(STRING, , HEED__NAMES_##inputs) NULL}, \
                     .out = {HEED__EACH(STRING, , HEED__NAMES_##outputs) NULL}, \
                     __VA_ARGS__},
const struct heed__operator heed__operators[HEED__OP_COUNT] = {HEED__OPERATORS(ROW)};
// clang-format on

const char *heed__op_name(enum heed__op op) {
  return (unsigned)op < HEED__OP_COUNT ? heed__operators[op].name : "unknown operator";
}

// Bounds for ‖x − r‖/‖r‖. F32: a rounding is 2^-24, and sums of n terms in blocks err by about √n roundings, so 5e-6 allows several
// thousand terms; gradients chain two or three such sums. F16 keeps 11 bits and BF16 8: a rounding is 2^-11 or 2^-8, times 8 for chained
// roundings.
double heed_tolerance(heed_dtype dtype, bool gradient) {
  switch (dtype) {
    case HEED_F32:
      return gradient ? 2e-5 : 5e-6;
    case HEED_F16:
      return 4e-3;
    case HEED_BF16:
      return 3.2e-2;
    default:
      return 0;
  }
}

double heed__op_tolerance(enum heed__op op, int slot, heed_dtype dtype) {
  const struct heed__operator *row = &heed__operators[op];
  if (row->tolerance == HEED__EXACT) return 0;
  bool gradient = row->tolerance == HEED__GRADIENT;
  for (int i = 0; row->as_forward[i]; ++i) gradient = gradient && strcmp(row->as_forward[i], row->out[slot]) != 0;
  return heed_tolerance(dtype, gradient);
}

double heed__rounding(heed_dtype dtype) { return dtype == HEED_F16 ? 0x1p-11 : dtype == HEED_BF16 ? 0x1p-8 : 0x1p-24; }
