// embedding: rows of a table by token, as bits. A work-item takes `share` rows, of which `lanes` neighbours take every lanes-th vector.
// check with: -DVECTOR=8 -DT_DTYPE=I64
#ifndef T_DTYPE
#define T_DTYPE I32
#endif
#ifndef WORD // an unsigned integer of the element's size
#define WORD uint
#endif
#ifndef NAN_BITS
#define NAN_BITS 0x7fc00000
#endif
#if VECTOR == 1
typedef WORD words;
#else
typedef HEED_JOIN(WORD, VECTOR) words;
#endif

__kernel void embedding(const __global WORD *weight, long weight_offset, const __global TYPE(T_DTYPE) *tokens,
                        long tokens_offset, __global WORD *y, long y_offset, long rows, long count, long width,
                        long share, long lanes) {
  const idx item = get_global_id(0), lane = item % (idx)lanes, first = item / (idx)lanes * (idx)share;
  for (idx n = first; n < min((idx)count, first + (idx)share); ++n) {
    const long row = tokens[tokens_offset + n];
    const bool inside = row >= 0 && row < rows;
    const __global WORD *from = weight + weight_offset + (inside ? (idx)row * (idx)width : 0);
    __global WORD *to = y + y_offset + n * (idx)width;
    for (idx i = lane * VECTOR; i < width; i += (idx)lanes * VECTOR) {
      if (width - i >= VECTOR) {
        const words bits = inside ? VLOAD(from + i) : (words)NAN_BITS;
        VSTORE(bits, to + i);
      } else {
        for (idx j = i; j < width; ++j) to[j] = inside ? from[j] : (WORD)NAN_BITS;
      }
    }
  }
}

