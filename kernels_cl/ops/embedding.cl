// embedding: rows of a table by token, as bits. A work-item takes `share` rows, of which `lanes` neighbours take every lanes-th vector.
// check with: -DVECTOR=8 -DT_DTYPE=I64
// check with: -DVECTOR=8 -DSTREAMED=1
#ifndef T_DTYPE
#define T_DTYPE I32
#endif
#ifndef WORD // an unsigned integer of the element's size
#define WORD uint
#endif
#ifndef NAN_BITS
#define NAN_BITS 0x7fc00000
#endif
// Whether rows, of whole vectors of 32-bit words, go past the caches, which they would only fill.
#ifndef STREAMED
#define STREAMED 0
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
  weight += weight_offset;
  tokens += tokens_offset;
  y += y_offset;
#if STREAMED
  const bool is_aligned = (ulong)y % sizeof(words) == 0;
#endif
  for (idx n = first; n < min((idx)count, first + (idx)share); ++n) {
    const long row = tokens[n];
    const bool inside = (ulong)row < (ulong)rows; // one comparison: rusticl takes two of 64 bits wrong
    const __global WORD *from = weight + (inside ? (idx)row * (idx)width : 0);
    // Rows lie anywhere in memory, so the next one is asked for meanwhile.
    const long next = tokens[min(n + 1, (idx)count - 1)];
    const __global WORD *ahead = weight + ((ulong)next < (ulong)rows ? (idx)next * (idx)width : 0);
    __global WORD *to = y + n * (idx)width;
    for (idx i = lane * VECTOR; i < width; i += (idx)lanes * VECTOR) {
      if (width - i >= VECTOR) {
        words bits = NAN_BITS;
        if (inside) bits = VLOAD(from + i);
        PREFETCH_READ(ahead + i);
#if STREAMED
        if (is_aligned)
          STORE_PAST_CACHES(AS_FLOATV(bits), to + i);
        else
#endif
          VSTORE(bits, to + i);
      } else {
        for (idx j = i; j < width; ++j) to[j] = inside ? from[j] : (WORD)NAN_BITS;
      }
    }
  }
}

