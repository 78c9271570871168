// Conversion of stored elements. Every pair of dtypes goes through one element at a time, wide and exact; F16, BF16 and F64 to F32 have loops
// of their own, as models are made of them. Names and sizes follow https://github.com/huggingface/safetensors, version 0.8; F8_E4M3 and
// F8_E5M2 follow "FP8 Formats for Deep Learning" (Micikevicius et al., 2022).
#include "io/convert.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"

#define OWN(name, bits, kind) \
  { #name, bits, kind, HEED_##name, true }
static const struct heed__stored_dtype dtypes[] = {
    OWN(F32, 32, HEED__REAL),
    OWN(F16, 16, HEED__REAL),
    OWN(BF16, 16, HEED__REAL),
    OWN(I32, 32, HEED__INTEGER),
    OWN(I64, 64, HEED__INTEGER),
    OWN(U8, 8, HEED__INTEGER),
    OWN(BOOL, 8, HEED__TRUTH),
    {"F64", 64, HEED__REAL, HEED_F32, false},
    {"F8_E4M3", 8, HEED__REAL, HEED_F32, false},
    {"F8_E5M2", 8, HEED__REAL, HEED_F32, false},
    {"I8", 8, HEED__INTEGER, HEED_I32, false},
    {"I16", 16, HEED__INTEGER, HEED_I32, false},
    {"U16", 16, HEED__INTEGER, HEED_I32, false},
    {"U32", 32, HEED__INTEGER, HEED_I64, false},
    {"U64", 64, HEED__INTEGER, HEED_I64, false},
    {"F4", 4, HEED__OPAQUE, HEED_U8, false},
    {"F6_E2M3", 6, HEED__OPAQUE, HEED_U8, false},
    {"F6_E3M2", 6, HEED__OPAQUE, HEED_U8, false},
    {"F8_E8M0", 8, HEED__OPAQUE, HEED_U8, false},
    {"F8_E4M3FNUZ", 8, HEED__OPAQUE, HEED_U8, false},
    {"F8_E5M2FNUZ", 8, HEED__OPAQUE, HEED_U8, false},
    {"C64", 64, HEED__OPAQUE, HEED_U8, false},
};
#undef OWN

const struct heed__stored_dtype *heed__stored_dtype(const char *name) {
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; ++i)
    if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
  return NULL;
}

bool heed__converts(const struct heed__stored_dtype *from, heed_dtype to) {
  if (heed_dtype_size(to) == 0 || from->kind == HEED__OPAQUE) return false;
  return from->kind != HEED__REAL || heed_dtype_is_float(to);
}

// ---------------------------------------------------------------- one element

// An integer as sign and magnitude, because none of C's types has the values of both I64 and U64.
struct integer {
  bool negative;
  uint64_t magnitude;
};

static struct integer load_integer(const struct heed__stored_dtype *from, const uint8_t *at) {
  uint64_t bits = 0;
  memcpy(&bits, at, (size_t)from->bits / 8);
  if (from->kind == HEED__TRUTH || from->name[0] == 'U') return (struct integer){false, bits};
  const int unused = 64 - from->bits;
  const int64_t value = (int64_t)(bits << unused) >> unused;
  return (struct integer){value < 0, value < 0 ? -(uint64_t)value : (uint64_t)value};
}

// Bias 7, 448 the largest, no infinity, one NaN of each sign.
static float from_e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  float value = exponent == 0 ? ldexpf((float)fraction, -9) : ldexpf((float)(8 + fraction), exponent - 10);
  if (exponent == 15 && fraction == 7) value = NAN;
  return bits & 0x80 ? -value : value;
}

static double load_real(const struct heed__stored_dtype *from, const uint8_t *at) {
  if (from->bits == 8) return from->name[4] == '4' ? from_e4m3(*at) : heed__f16_to_double((uint16_t)(*at << 8));
  uint16_t half;
  float single;
  double wide;
  switch (from->bits) {
    case 16:
      memcpy(&half, at, sizeof half);
      return from->name[0] == 'F' ? heed__f16_to_double(half) : heed__bf16_to_float(half);
    case 32:
      memcpy(&single, at, sizeof single);
      return single;
    default:
      memcpy(&wide, at, sizeof wide);
      return wide;
  }
}

static void store_real(double value, heed_dtype to, void *at) {
  const float single = (float)value;
  const uint16_t half = to == HEED_F16 ? heed__f16_from_double(value) : heed__bf16_from_double(value);
  if (to == HEED_F32)
    memcpy(at, &single, sizeof single);
  else
    memcpy(at, &half, sizeof half);
}

// Returns false if `to` has no such value. Whole numbers up to 2^(significant bits) are among the values of a floating-point dtype.
static bool store_integer(struct integer value, heed_dtype to, void *at) {
  static const uint64_t most[] = {
      [HEED_F32] = 1 << 24,   [HEED_F16] = 1 << 11,  [HEED_BF16] = 1 << 8, [HEED_I32] = INT32_MAX,
      [HEED_I64] = INT64_MAX, [HEED_U8] = UINT8_MAX, [HEED_BOOL] = 1};
  const bool is_signed = to != HEED_U8 && to != HEED_BOOL, is_float = heed_dtype_is_float(to);
  if (value.magnitude > most[to] + (value.negative && !is_float)) return false;
  if (value.negative && !is_signed) return false;
  const uint64_t bits = value.negative ? -value.magnitude : value.magnitude;
  if (is_float)
    store_real(value.negative ? -(double)value.magnitude : (double)value.magnitude, to, at);
  else
    memcpy(at, &bits, heed_dtype_size(to));
  return true;
}

// ---------------------------------------------------------------- many

static float f16_to_f32(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
  float value;
  if (exponent == 31) bits = sign | 0x7f800000 | fraction << 13;
  memcpy(&value, &bits, sizeof value);
  if (exponent == 0) value = sign ? -(float)fraction * 0x1p-24f : (float)fraction * 0x1p-24f;
  return value;
}

// Whether it has a loop of its own for the pair.
static bool convert_fast(const struct heed__stored_dtype *from, const void *in, size_t count, heed_dtype to,
                         void *out) {
  float *single = out;
  if (from->own && from->natural == to && from->kind != HEED__TRUTH) {
    memcpy(out, in, count * heed_dtype_size(to));
    return true;
  }
  if (to != HEED_F32) return false;
  if (from->own && from->natural == HEED_F16) {
    for (size_t i = 0; i < count; ++i) single[i] = f16_to_f32(((const uint16_t *)in)[i]);
  } else if (from->own && from->natural == HEED_BF16) {
    for (size_t i = 0; i < count; ++i) single[i] = heed__bf16_to_float(((const uint16_t *)in)[i]);
  } else if (from->kind == HEED__REAL && from->bits == 64) {
    for (size_t i = 0; i < count; ++i) single[i] = (float)((const double *)in)[i];
  } else {
    return false;
  }
  return true;
}

size_t heed__convert(const struct heed__stored_dtype *from, const void *in, size_t count, heed_dtype to, void *out,
                     char value[32]) {
  if (convert_fast(from, in, count, to, out)) return count;
  const size_t width = (size_t)from->bits / 8, room = heed_dtype_size(to);
  const uint8_t *source = in;
  uint8_t *target = out;
  for (size_t i = 0; i < count; ++i, source += width, target += room) {
    if (from->kind == HEED__REAL) {
      store_real(load_real(from, source), to, target);
      continue;
    }
    const struct integer number = load_integer(from, source);
    if (!(from->kind == HEED__TRUTH && number.magnitude > 1) && store_integer(number, to, target)) continue;
    snprintf(value, 32, "%s%" PRIu64, number.negative ? "-" : "", number.magnitude);
    return i;
  }
  return count;
}
