// Element types: sizes, names, and conversion of single elements to and from F64. base/half.c knows the bits of F16 and BF16.
#include <math.h>
#include <string.h>

#include "core/core.h"

enum {
#define PLACE(name, bytes, is_float) PLACE_OF_##name,
  HEED_DTYPE_LIST(PLACE)
#undef PLACE
      DTYPES
};

// Programs hold these numbers: a new dtype goes to the end of the list.
_Static_assert(HEED_F32 == 0 && HEED_I32 == 3 && HEED_BOOL == 6, "dtypes are appended only");

size_t heed_dtype_size(heed_dtype dtype) {
  static const size_t sizes[] = {
#define DTYPE_SIZE(name, bytes, is_float) bytes,
      HEED_DTYPE_LIST(DTYPE_SIZE)
#undef DTYPE_SIZE
  };
  return (unsigned)dtype < DTYPES ? sizes[dtype] : 0;
}

const char *heed_dtype_string(heed_dtype dtype) {
  static const char *const names[] = {
#define DTYPE_NAME(name, bytes, is_float) #name,
      HEED_DTYPE_LIST(DTYPE_NAME)
#undef DTYPE_NAME
  };
  return (unsigned)dtype < DTYPES ? names[dtype] : "unknown dtype";
}

bool heed_dtype_is_float(heed_dtype dtype) {
  static const bool is_floats[] = {
#define DTYPE_FLOAT(name, bytes, is_float) is_float,
      HEED_DTYPE_LIST(DTYPE_FLOAT)
#undef DTYPE_FLOAT
  };
  return (unsigned)dtype < DTYPES && is_floats[dtype];
}

// Rounds to odd: cuts towards zero, and the last bit remembers that something was cut. A narrower float made from the result is then
// rounded only once; rounding to nearest twice could give another result.
static double double_from_int64(int64_t value) {
  const uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
  const int excess = magnitude >> 53 ? 11 - __builtin_clzll(magnitude) : 0;
  const uint64_t cut = magnitude >> excess, odd = cut << excess != magnitude;
  const double wide = ldexp((double)(cut | odd), excess);
  return value < 0 ? -wide : wide;
}

double heed__load(const void *data, heed_dtype dtype, int64_t index) {
  switch (dtype) {
    case HEED_F32:
      return ((const float *)data)[index];
    case HEED_F16:
      return heed__f16_to_double(((const uint16_t *)data)[index]);
    case HEED_BF16:
      return heed__bf16_to_float(((const uint16_t *)data)[index]);
    case HEED_I32:
      return ((const int32_t *)data)[index];
    case HEED_I64:
      return double_from_int64(((const int64_t *)data)[index]);
    case HEED_U8:
    case HEED_BOOL:
      return ((const uint8_t *)data)[index];
  }
  return NAN;
}

// Truncates towards zero and clamps to [low, high]; NaN becomes 0.
static double saturate(double value, double low, double high) {
  if (isnan(value)) return 0;
  value = trunc(value);
  return value < low ? low : value > high ? high : value;
}

void heed__store(void *data, heed_dtype dtype, int64_t index, double value) {
  switch (dtype) {
    case HEED_F32:
      ((float *)data)[index] = (float)value;
      break;
    case HEED_F16:
      ((uint16_t *)data)[index] = heed__f16_from_double(value);
      break;
    case HEED_BF16:
      ((uint16_t *)data)[index] = heed__bf16_from_double(value);
      break;
    case HEED_I32:
      ((int32_t *)data)[index] = (int32_t)saturate(value, INT32_MIN, INT32_MAX);
      break;
    case HEED_I64:
      // 2^63 itself does not fit, and INT64_MAX is not a double.
      ((int64_t *)data)[index] = value >= 0x1p63 ? INT64_MAX : (int64_t)saturate(value, -0x1p63, 0x1p63);
      break;
    case HEED_U8:
      ((uint8_t *)data)[index] = (uint8_t)saturate(value, 0, 255);
      break;
    case HEED_BOOL:
      ((uint8_t *)data)[index] = value != 0;
      break;
  }
}
