// Dropout by Philox. A work-item has VECTOR of the 16 counters of a block of 64 elements: their four words decide elements 16 apart.
//
// check with: -DVECTOR=8
// check with: -DVECTOR=16 -DX_DTYPE=BF16
#ifndef X_DTYPE
#define X_DTYPE F32
#endif
typedef TYPE(X_DTYPE) real;

#if VECTOR == 1
typedef uint uintv;
#define philox_of philox_uint
#else
#define DEFINE_PHILOX_(UINT, ULONG) DEFINE_PHILOX(UINT, ULONG)
DEFINE_PHILOX_(HEED_JOIN(uint, VECTOR), HEED_JOIN(ulong, VECTOR))
typedef HEED_JOIN(uint, VECTOR) uintv;
#define philox_of HEED_JOIN(philox_uint, VECTOR)
#endif

// Element 0 is number `skipped` of its block, whose first counter is {low, high}.
__kernel void dropout(const __global real *x, long x_offset, __global real *y, long y_offset, long count, long skipped,
                      uint low, uint high, uint seed_low, uint seed_high, uint threshold, float scale) {
  const idx item = get_global_id(0), block = item / (16 / VECTOR), place = item % (16 / VECTOR) * VECTOR;
  const idx first = block * 64 + place - (idx)skipped;
  if (first >= count) return;
  x += x_offset;
  y += y_offset;
  const ulong number = ((ulong)high << 32 | low) + (ulong)block * 16 + (ulong)place;
  // Sixteen counters of a block never differ above their lowest four bits.
  uintv word[4];
  word[0] = (uint)number + CONVERT_UINTV(LANES);
  word[1] = (uint)(number >> 32);
  word[2] = 0;
  word[3] = 0xffffffffu;
  philox_of(seed_low, seed_high, word);
  for (int w = 0; w < 4; ++w) {
    const idx i = first + 16 * w;
    if (i >= 0 && i + VECTOR <= count) {
      const floatv value = LOADV(X_DTYPE, x, i, count, 0) * scale;
      STOREV(X_DTYPE, y, i, count, word[w] >= threshold ? value : (floatv)0);
    } else {
      uint words[VECTOR];
      VSTORE(word[w], words);
      for (int lane = 0; lane < VECTOR; ++lane)
        if (i + lane >= 0 && i + lane < count)
          STORE(X_DTYPE, y, i + lane, words[lane] >= threshold ? LOAD(X_DTYPE, x, i + lane) * scale : 0);
    }
  }
}
