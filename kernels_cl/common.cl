// Put before every kernel file: index type, 16-bit storage, and the random numbers of dropout.
// OpenCL C 1.2 without extensions; arithmetic is float everywhere.

#ifdef HEED_IDX64
typedef long idx; // some tensor, or one of its sizes, comes close to 2^31 or passes it
#else
typedef int idx;
#endif

#ifndef INFINITY
#define INFINITY as_float(0x7f800000)
#endif

// Kernels with many registers may ask for small subgroups (cl_intel_required_subgroup_size), which leave more registers to a work-item.
#ifdef SUBGROUP
#define SUBGROUP_SIZE __attribute__((intel_reqd_sub_group_size(SUBGROUP)))
#else
#define SUBGROUP_SIZE
#endif

// Storage of a dtype, and element access that converts to and from float. Names come in as -DX_DTYPE=F16, so that a
// kernel says LOAD(X_DTYPE, x, i). 16-bit floats need no cl_khr_fp16: vload_half is core.
#define TYPE_F32 float
#define TYPE_F16 half
#define TYPE_BF16 ushort
#define TYPE_I32 int
#define TYPE_I64 long
#define TYPE_U8 uchar
#define TYPE_BOOL uchar
#define HEED_JOIN_(a, b) a##b
#define HEED_JOIN(a, b) HEED_JOIN_(a, b)
#define TYPE(dtype) HEED_JOIN(TYPE_, dtype)
#define LOAD(dtype, pointer, index) HEED_JOIN(load_, dtype)(pointer, index)
#define STORE(dtype, pointer, index, value) HEED_JOIN(store_, dtype)(pointer, index, value)

float load_F32(const __global float *p, idx i) { return p[i]; }
float load_F16(const __global half *p, idx i) { return vload_half(i, p); }
float load_BF16(const __global ushort *p, idx i) { return as_float((uint)p[i] << 16); }

// Round to nearest even; a NaN stays a NaN although its payload may be cut off.
ushort bf16_of(float x) {
  const uint bits = as_uint(x);
  return isnan(x) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
void store_F32(__global float *p, idx i, float x) { p[i] = x; }
void store_F16(__global half *p, idx i, float x) { vstore_half_rte(x, i, p); }
void store_BF16(__global ushort *p, idx i, float x) { p[i] = bf16_of(x); }

// Philox4x32-10 (Salmon et al. 2011): the four words of a counter, in place; of as many counters as UINT has lanes.
// Products in 64 bits: on CPUs mul_hi of vectors is slow.
#define DEFINE_PHILOX(UINT, ULONG)                                                              \
  void philox_##UINT(uint seed_low, uint seed_high, UINT *word) {                               \
    for (int round = 0; round < 10; ++round) {                                                  \
      const ULONG product0 = convert_##ULONG(word[0]) * 0xD2511F53u;                            \
      const ULONG product1 = convert_##ULONG(word[2]) * 0xCD9E8D57u;                            \
      word[0] = convert_##UINT(product1 >> 32) ^ word[1] ^ seed_low;                            \
      word[1] = convert_##UINT(product1);                                                       \
      word[2] = convert_##UINT(product0 >> 32) ^ word[3] ^ seed_high;                           \
      word[3] = convert_##UINT(product0);                                                       \
      seed_low += 0x9E3779B9u;                                                                  \
      seed_high += 0xBB67AE85u;                                                                 \
    }                                                                                           \
  }
DEFINE_PHILOX(uint, ulong)
uint4 philox(uint seed_low, uint seed_high, uint4 counter) {
  uint word[4];
  vstore4(counter, 0, word);
  philox_uint(seed_low, seed_high, word);
  return vload4(0, word);
}

// Whether attention keeps the weight of (b, h, i, j); the same on every device, see dropout in heed.h.
bool dropout_keeps(uint seed_low, uint seed_high, uint threshold, uint b, uint h, uint i, uint j) {
  const uint4 random = philox(seed_low, seed_high, (uint4)(j >> 2, i, h, b));
  const uint word = (j & 2) ? ((j & 1) ? random.w : random.z) : ((j & 1) ? random.y : random.x);
  return word >= threshold;
}

// ---- conversion among all dtypes: floats travel as float, integers as long (saturating, NaN to 0, BOOL is != 0)

#define IS_FLOAT_F32 1
#define IS_FLOAT_F16 1
#define IS_FLOAT_BF16 1
#define IS_FLOAT_I32 0
#define IS_FLOAT_I64 0
#define IS_FLOAT_U8 0
#define IS_FLOAT_BOOL 0
#define IS_FLOAT(dtype) HEED_JOIN(IS_FLOAT_, dtype)
#define LOAD_INT(pointer, index) ((long)(pointer)[index])
#define STORE_INT(dtype, pointer, index, value) ((pointer)[index] = HEED_JOIN(from_long_, dtype)(value))
#define FLOAT_TO_INT(dtype, value) HEED_JOIN(from_float_, dtype)(value)

// clamp, since a driver's convert_uchar_sat(long) may saturate negative numbers at 255 (Mesa 22).
int from_long_I32(long x) { return (int)clamp(x, (long)INT_MIN, (long)INT_MAX); }
long from_long_I64(long x) { return x; }
uchar from_long_U8(long x) { return (uchar)clamp(x, 0L, 255L); }
uchar from_long_BOOL(long x) { return x != 0; }
int from_float_I32(float x) { return isnan(x) ? 0 : convert_int_sat_rtz(x); }
long from_float_I64(float x) { return isnan(x) ? 0 : convert_long_sat_rtz(x); }
uchar from_float_U8(float x) { return isnan(x) ? 0 : convert_uchar_sat_rtz(x); }
uchar from_float_BOOL(float x) { return x != 0; }

// ---- rows: reductions over the last dimension, in vectors of VECTOR floats, by GROUP work-items that share a row

// CPUs take wide vectors and GROUP 1, GPUs VECTOR 1 and a work-group a row. Item `lane` of a row holds the vectors that
// begin at (lane + n GROUP) VECTOR; what is past the row's end loads as a padding value and is not stored.
#ifndef VECTOR
#define VECTOR 1
#endif
#ifndef GROUP
#define GROUP 1
#endif
// The rows of a group (or of a lone work-item): on CPUs neighbours, so that a core walks through memory in one direction, else
// rows that lie as far apart as there are groups.
#define ROW_GROUPS ((idx)(get_global_size(0) / GROUP))
#ifndef ROW_NEIGHBOURS
#define ROW_NEIGHBOURS (VECTOR > 1)
#endif
#if ROW_NEIGHBOURS
#define ROW_SHARE(rows) (((rows) + ROW_GROUPS - 1) / ROW_GROUPS)
#define ROWS_LOOP(row, rows)                                                                                           \
  for (idx row = (idx)get_global_id(0) * ROW_SHARE(rows), row##_end = min((idx)(rows), row + (idx)ROW_SHARE(rows)); \
       row < row##_end; ++row)
#else
#define ROWS_LOOP(row, rows) for (idx row = get_global_id(0) / GROUP; row < (rows); row += ROW_GROUPS)
#endif
#if GROUP > 1
#define ROW_GROUP __attribute__((reqd_work_group_size(GROUP, 1, 1)))
#define ROW_LANE ((idx)get_local_id(0))
#else
#define ROW_GROUP
#define ROW_LANE 0
#endif
#define ROW_LOOP(i, first, end) for (idx i = (first) + ROW_LANE * VECTOR; i < (end); i += GROUP * VECTOR)
// Sums run in blocks of so many vectors, so that the error of a long row grows with its square root and not its length.
#define ROW_BLOCK (32 * GROUP * VECTOR)

// n halves from where no more than a half is aligned, and to there, rounded to the nearest even. In integers: PoCL's vload_half8 takes
// 16 bytes for aligned, which ends the process on CPUs that then fault, and converts lane by lane.
#define DEFINE_HALVES_(n)                                                                                           \
  float##n load_halves##n(const __global half *p) {                                                                 \
    const uint##n bits = convert_uint##n(vload##n(0, (const __global ushort *)p)), size = (bits & 0x7fff) << 13;      \
    const uint##n scaled = as_uint##n(as_float##n(size) * 0x1p112f); /* the exponents' bias; halves below 2^-14 too */ \
    return as_float##n(scaled | (as_uint##n(size >= 0x0f800000u) & 0x7f800000u) | (bits & 0x8000) << 16);             \
  }                                                                                                                 \
  void store_halves##n(float##n x, __global half *p) {                                                              \
    const uint##n bits = as_uint##n(x), size = bits & 0x7fffffff;                                                    \
    const uint##n normal = (size + 0xc8000fffu + ((size >> 13) & 1)) >> 13;                                           \
    const uint##n small = as_uint##n(as_float##n(size) + 0.5f) - 0x3f000000u;                                         \
    const uint##n large = size > 0x7f800000u ? (uint##n)0x7e00 : (uint##n)0x7c00;                                     \
    const uint##n finite = size < 0x38800000u ? small : normal, rounded = size >= 0x47800000u ? large : finite;       \
    vstore##n(convert_ushort##n(rounded | (bits >> 16 & 0x8000)), 0, (__global ushort *)p);                          \
  }
#define DEFINE_HALVES(n) DEFINE_HALVES_(n)

#if VECTOR == 1
typedef float floatv;
#define VLOAD(pointer) (*(pointer))
#define VSTORE(value, pointer) (*(pointer) = (value))
#define VLOAD_HALF(pointer) vload_half(0, pointer)
#define VSTORE_HALF(value, pointer) vstore_half_rte(value, 0, pointer)
#define VSTORE_BF16(value, pointer) (*(pointer) = bf16_of(value))
#define AS_FLOATV as_float
#define AS_INTV as_int
#define CONVERT_UINTV convert_uint
typedef int intv;
#else
typedef HEED_JOIN(float, VECTOR) floatv;
typedef HEED_JOIN(int, VECTOR) intv;
#define VLOAD(pointer) HEED_JOIN(vload, VECTOR)(0, pointer)
#define VSTORE(value, pointer) HEED_JOIN(vstore, VECTOR)(value, 0, pointer)
DEFINE_HALVES(VECTOR)
#define VLOAD_HALF(pointer) HEED_JOIN(load_halves, VECTOR)(pointer)
#define VSTORE_HALF(value, pointer) HEED_JOIN(store_halves, VECTOR)(value, pointer)
void store_bf16s(floatv x, __global ushort *p) { // rounded as bf16_of() does
  const HEED_JOIN(uint, VECTOR) bits = HEED_JOIN(as_uint, VECTOR)(x);
  const HEED_JOIN(uint, VECTOR) rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
  VSTORE(HEED_JOIN(convert_ushort, VECTOR)(select(rounded, quiet, isnan(x))), p);
}
#define VSTORE_BF16(value, pointer) store_bf16s(value, pointer)
#define AS_FLOATV HEED_JOIN(as_float, VECTOR)
#define AS_INTV HEED_JOIN(as_int, VECTOR)
#define CONVERT_UINTV HEED_JOIN(convert_uint, VECTOR)
#endif

// For CPUs: what an address holds will be wanted soon. It need not be a valid one.
#if defined(__x86_64__) || defined(__aarch64__) // what an intermediate language may not know
#define PREFETCH_WRITE(p) __builtin_prefetch((const void *)(ulong)(p), 1)
#define PREFETCH_READ(p) __builtin_prefetch((const void *)(ulong)(p), 0)
// A whole vector to where it is aligned, past the caches: an ordinary store reads the line before it writes it.
#define STORE_PAST_CACHES(value, p) __builtin_nontemporal_store(value, (__global floatv *)(p))
#else
#define PREFETCH_WRITE(p)
#define PREFETCH_READ(p)
#define STORE_PAST_CACHES(value, p) VSTORE(value, p)
#endif

// The number of each lane.
#if VECTOR == 1
#define LANES 0
#elif VECTOR == 4
#define LANES ((int4)(0, 1, 2, 3))
#elif VECTOR == 8
#define LANES ((int8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
#define LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#endif

floatv whole_F32(const __global float *p) { return VLOAD(p); }
floatv whole_F16(const __global half *p) { return VLOAD_HALF(p); }
floatv whole_BF16(const __global ushort *p) { return AS_FLOATV(CONVERT_UINTV(VLOAD(p)) << 16); }

#define DEFINE_VECTOR_ACCESS(dtype)                                                                    \
  floatv loadv_##dtype(const __global TYPE_##dtype *p, idx i, idx end, float padding) {                \
    if (end - i >= VECTOR) return whole_##dtype(p + i);                                                \
    float part[VECTOR];                                                                                \
    for (int lane = 0; lane < VECTOR; ++lane)                                                          \
      part[lane] = lane < end - i ? load_##dtype(p, i + lane) : padding;                               \
    return VLOAD(part);                                                                                \
  }                                                                                                    \
  void storev_some_##dtype(__global TYPE_##dtype *p, idx i, idx end, floatv value) {                   \
    float part[VECTOR];                                                                                \
    VSTORE(value, part);                                                                               \
    for (int lane = 0; lane < VECTOR && lane < end - i; ++lane) store_##dtype(p, i + lane, part[lane]); \
  }
DEFINE_VECTOR_ACCESS(F32)
DEFINE_VECTOR_ACCESS(F16)
DEFINE_VECTOR_ACCESS(BF16)

void storev_F32(__global float *p, idx i, idx end, floatv value) {
  if (end - i >= VECTOR)
    VSTORE(value, p + i);
  else
    storev_some_F32(p, i, end, value);
}
void storev_F16(__global half *p, idx i, idx end, floatv value) {
  if (end - i >= VECTOR)
    VSTORE_HALF(value, p + i);
  else
    storev_some_F16(p, i, end, value);
}
void storev_BF16(__global ushort *p, idx i, idx end, floatv value) {
  if (end - i >= VECTOR)
    VSTORE_BF16(value, p + i);
  else
    storev_some_BF16(p, i, end, value);
}

// Elements i, i + 1, … of p, of which those from `end` on are not there.
#define LOADV(dtype, pointer, i, end, padding) HEED_JOIN(loadv_, dtype)(pointer, i, end, padding)
#define STOREV(dtype, pointer, i, end, value) HEED_JOIN(storev_, dtype)(pointer, i, end, value)

// Halving keeps the lanes in vector registers.
#define LANES_1(x, combine) (x)
#define LANES_2(x, combine) combine((x).s0, (x).s1)
#define LANES_4(x, combine) combine(combine((x).s0, (x).s2), combine((x).s1, (x).s3))
#define LANES_8(x, combine) LANES_4(combine((x).lo, (x).hi), combine)
#define LANES_16(x, combine) LANES_8(combine((x).lo, (x).hi), combine)
#define LANES_PLUS(a, b) ((a) + (b))
float lanes_sum(floatv value) { return HEED_JOIN(LANES_, VECTOR)(value, LANES_PLUS); }
float lanes_max(floatv value) { return HEED_JOIN(LANES_, VECTOR)(value, fmax); }

// Over the work-items of a row; each gets the result. scratch: GROUP floats.
#if GROUP > 1
// In two steps, as barriers cost more than a few additions: some items fold what lies GROUP_PARTS apart, then each item their results.
#define GROUP_PARTS (GROUP >= 128 ? 16 : GROUP >= 32 ? 8 : GROUP)
#define DEFINE_GROUP_REDUCTION(name, combine)                                   \
  float group_##name(float value, __local float *scratch) {                     \
    const int lane = get_local_id(0);                                           \
    barrier(CLK_LOCAL_MEM_FENCE);                                               \
    scratch[lane] = value;                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                               \
    if (GROUP > GROUP_PARTS) {                                                  \
      if (lane < GROUP_PARTS) {                                                 \
        float a = value;                                                        \
        for (int other = lane + GROUP_PARTS; other < GROUP; other += GROUP_PARTS) { \
          const float b = scratch[other];                                       \
          a = combine;                                                          \
        }                                                                       \
        scratch[lane] = a;                                                      \
      }                                                                         \
      barrier(CLK_LOCAL_MEM_FENCE);                                             \
    }                                                                           \
    float a = scratch[0];                                                       \
    for (int part = 1; part < GROUP_PARTS; ++part) {                            \
      const float b = scratch[part];                                            \
      a = combine;                                                              \
    }                                                                           \
    return a;                                                                   \
  }
DEFINE_GROUP_REDUCTION(sum, a + b)
DEFINE_GROUP_REDUCTION(max, fmax(a, b))
#else
float group_sum(float value, __local float *scratch) { return value; }
float group_max(float value, __local float *scratch) { return value; }
#endif
float row_sum(floatv value, __local float *scratch) { return group_sum(lanes_sum(value), scratch); }
float row_max(floatv value, __local float *scratch) { return group_max(lanes_max(value), scratch); }
