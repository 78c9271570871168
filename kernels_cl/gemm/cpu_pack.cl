// Packs an operand of gemm/cpu.cl: panels [ceil(x / width)][steps][width] of float, 0 beyond x, from x by k elements of any dtype. A step is
// one of k, or two of BF16 with PAIRS: the low half of a float is from step 2p of k, the high half from 2p + 1, or 0 beyond k.
//
// check with: -DVECTOR=8
// check with: -DVECTOR=16 -DX_DTYPE=F16
// check with: -DVECTOR=4 -DX_DTYPE=BF16
// check with: -DVECTOR=16 -DX_DTYPE=BF16 -DPAIRS
#include "gemm/cpu_common.cl"

#if VECTOR != 8
DEFINE_HALVES(8)
#endif
#if VECTOR != 4
DEFINE_HALVES(4)
#endif
INLINE float8 eight_F32(const __global float *p) { return vload8(0, p); }
INLINE float8 eight_F16(const __global half *p) { return load_halves8(p); }
INLINE float8 eight_BF16(const __global ushort *p) { return as_float8(convert_uint8(vload8(0, p)) << 16); }

INLINE float4 four_F32(const __global float *p) { return vload4(0, p); }
INLINE float4 four_F16(const __global half *p) { return load_halves4(p); }
INLINE float4 four_BF16(const __global ushort *p) { return as_float4(convert_uint4(vload4(0, p)) << 16); }

// ---- steps of k: of a row along k, and of columns, whose steps of k lie `ld` apart

#ifdef PAIRS
#define STEPS(k) (((k) + 1) / 2)
#define WHOLE_STEPS(k) ((k) / 2)
#define STEP_LENGTH 2
INLINE float8 eight_along_k(const __global real *row, uint p) { return as_float8(vload16(0, row + 2 * p)); }
INLINE float one_along_k(const __global real *row, uint p, uint k) {
  return as_float((uint)row[2 * p] | (2 * p + 1 < k ? (uint)row[2 * p + 1] << 16 : 0u));
}
#define DEFINE_ALONG_X(n, name)                                                                           \
  INLINE float##n name##_along_x(const __global real *p, long ld, uint has_high) {                        \
    const uint##n low = convert_uint##n(vload##n(0, p));                                                  \
    return as_float##n(has_high ? low | convert_uint##n(vload##n(0, p + ld)) << 16 : low);                \
  }
DEFINE_ALONG_X(8, eight)
DEFINE_ALONG_X(4, four)
INLINE float one_along_x(const __global real *p, long ld, uint has_high) {
  return as_float((uint)p[0] | (has_high ? (uint)p[ld] << 16 : 0u));
}
#else
#define STEPS(k) (k)
#define WHOLE_STEPS(k) (k)
#define STEP_LENGTH 1
INLINE float8 eight_along_k(const __global real *row, uint p) { return HEED_JOIN(eight_, X_DTYPE)(row + p); }
INLINE float one_along_k(const __global real *row, uint p, uint k) { return LOAD(X_DTYPE, row, p); }
INLINE float8 eight_along_x(const __global real *p, long ld, uint has_high) { return HEED_JOIN(eight_, X_DTYPE)(p); }
INLINE float4 four_along_x(const __global real *p, long ld, uint has_high) { return HEED_JOIN(four_, X_DTYPE)(p); }
INLINE float one_along_x(const __global real *p, long ld, uint has_high) { return LOAD(X_DTYPE, p, 0); }
#endif

// Work-item: `panels` panels, `share` steps of k, a batch. Packed matrices lie one after the other.
#define PACK_ARGUMENTS                                                                                                 \
  const __global real *from, long from_offset, long from_stride0, long from_stride1, long from_ld, __global float *to, \
      long to_stride, uint batches1, uint x, uint k, uint width, uint panels, uint share
#define PACK_BEGIN                                                                                                     \
  const uint steps = STEPS(k), p0 = get_global_id(1) * share, p_end = min(steps, p0 + share);                          \
  const uint all = (x + width - 1) / width;                                                                            \
  const uint first = get_global_id(0) * panels, end = min(all, first + panels), batch = get_global_id(2);              \
  from += from_offset + batch / batches1 * from_stride0 + batch % batches1 * from_stride1;                             \
  to += batch * to_stride;

// Element (i, p) at i from_ld + p.
__kernel ONE_ITEM void gemm_pack_along_k(PACK_ARGUMENTS) {
  PACK_BEGIN
  for (uint panel = first; panel < end; ++panel) {
    const uint rows = min(width, x - panel * width);
    for (uint i = 0; i < width; i += 8) {
      const uint there = i < rows ? min(rows - i, 8u) : 0, span = min(width - i, 8u);
      const __global real *s = from + (long)(panel * width + i) * from_ld;
      __global float *d = to + (long)panel * width * steps + i;
      uint p = p0;
      for (; there == 8 && p + 8 <= min(p_end, WHOLE_STEPS(k)); p += 8) {
        float8 part[8];
        for (int l = 0; l < 8; ++l) part[l] = eight_along_k(s + l * from_ld, p);
        transpose8(part);
        for (int l = 0; l < 8; ++l) *(__global float8_any *)(d + (long)(p + l) * width) = part[l];
      }
      for (; p < p_end; ++p)
        for (uint l = 0; l < span; ++l)
          d[(long)p * width + l] = l < there ? one_along_k(s + l * from_ld, p, k) : 0;
    }
  }
}

// Element (i, p) at p from_ld + i. A few panels at a time: those of 4 columns share the cache lines of the source, and more of them,
// which lie steps · width floats apart, would fall into the same set of the cache where steps are a power of two.
#define PANELS_AT_ONCE 4
__kernel ONE_ITEM void gemm_pack_along_x(PACK_ARGUMENTS) {
  PACK_BEGIN
  for (uint group = first; group < end; group += PANELS_AT_ONCE)
    for (uint p = p0; p < p_end; ++p)
      for (uint panel = group; panel < min(end, group + PANELS_AT_ONCE); ++panel) {
        const __global real *s = from + (long)p * STEP_LENGTH * from_ld + panel * width;
        __global float *d = to + ((long)panel * steps + p) * width;
        const uint cols = min(width, x - panel * width), has_high = p < WHOLE_STEPS(k);
        for (uint l = 0; l < cols; l += 16)
          for (uint m = 0; m < STEP_LENGTH; ++m) PREFETCH_READ(s + (8 + m) * from_ld + l);
        uint i = 0;
        for (; i + 8 <= cols; i += 8) *(__global float8_any *)(d + i) = eight_along_x(s + i, from_ld, has_high);
        for (; i + 4 <= cols; i += 4) vstore4(four_along_x(s + i, from_ld, has_high), 0, d + i);
        for (; i < width; ++i) d[i] = i < cols ? one_along_x(s + i, from_ld, has_high) : 0;
      }
}
