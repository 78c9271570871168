// Which keys a row of attention attends, and what else of a call the fused kernels for GPUs take alike: mask, softcap, dropout.
#ifndef LENGTH_DTYPE
#define LENGTH_DTYPE I32
#endif
#ifndef HAS_LENGTHS
#define HAS_LENGTHS 0
#endif
#ifndef MASK_DTYPE
#define MASK_DTYPE F32
#endif
#ifndef HAS_MASK
#define HAS_MASK 0
#endif
#ifndef MASK_IS_BOOL
#define MASK_IS_BOOL 0
#endif
#ifndef SOFTCAP
#define SOFTCAP 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif

#define MASK_ARGUMENTS                                                                                             \
  __global const TYPE(MASK_DTYPE) *mask, long mask_offset, long mask_stride0, long mask_stride1, long mask_stride2, \
      long mask_stride3

#define DROPOUT_ARGUMENTS uint seed_low, uint seed_high, uint threshold, float dropout_scale

// Row i attends max(0, i + low) <= j < min(end, i + high), less what the mask forbids. Both ends grow with i.
struct reach {
  long end, low, high;
};

#define REACH_ARGUMENTS                                                                                          \
  __global const TYPE(LENGTH_DTYPE) *kv_lengths, long kv_lengths_offset, long queries, long keys, long key_limit, \
      long offset, long left, long right, long absolute

// key_limit: min(keys, columns of the mask). Without a limit, left, right and absolute are queries + keys + 1.
struct reach reach_of(REACH_ARGUMENTS, long batch) {
  struct reach reach;
  long length = keys;
#if HAS_LENGTHS
  length = clamp((long)kv_lengths[kv_lengths_offset + batch], 0L, keys);
  offset = length - queries;
#endif
  reach.end = min(length, key_limit);
  reach.low = offset - left;
  reach.high = min(offset + right, absolute);
  return reach;
}
#define REACH_OF(batch) \
  reach_of(kv_lengths, kv_lengths_offset, queries, keys, key_limit, offset, left, right, absolute, batch)

int first_key(struct reach reach, long i) { return (int)clamp(i + reach.low, 0L, reach.end); }
int end_key(struct reach reach, long i) { return (int)clamp(i + reach.high, 0L, reach.end); }
