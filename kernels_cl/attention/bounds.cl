// Staged attention, stage 0: which keys each query row may attend by position (lengths, causal, window), as one range.
// What a mask forbids inside the range is the work of attention/mask.cl.
#ifndef LENGTH_DTYPE
#define LENGTH_DTYPE I32
#endif
#ifndef HAS_LENGTHS
#define HAS_LENGTHS 0
#endif
#define CAUSAL_TOP_LEFT 1
#define CAUSAL_BOTTOM_RIGHT 2

// bounds[z, row] = {lo, hi}: row `row0 + row` of head `head0 + z` attends keys lo <= j < hi. Both grow with the row, so that a
// tile of rows needs at most [lo of its first row, hi of its last). Rows from `rows` on only fill up tiles: empty.
// global: (rows_pad, heads), rounded up
__kernel void attention_bounds(__global const TYPE(LENGTH_DTYPE) *kv_lengths, long kv_lengths_offset,
                               __global int2 *bounds, long heads_per_batch, long queries, long keys, long mask_columns,
                               long head0, long heads, long row0, long rows, long rows_pad, long offset,
                               long causal, long window_left, long window_right) {
  const long row = get_global_id(0), z = get_global_id(1);
  if (row >= rows_pad || z >= heads) return;
  const long i = row0 + min(row, rows - 1);
  long length = keys;
#if HAS_LENGTHS
  length = clamp((long)kv_lengths[kv_lengths_offset + (head0 + z) / heads_per_batch], 0L, keys);
  offset = length - queries;
#endif
  long lo = 0, hi = min(length, mask_columns);
  if (causal == CAUSAL_TOP_LEFT) hi = min(hi, i + offset + 1);
  if (causal == CAUSAL_BOTTOM_RIGHT) hi = min(hi, i + keys - queries + 1);
  if (window_right >= 0) hi = min(hi, i + offset + window_right + 1);
  if (window_left >= 0) lo = i + offset - window_left;
  hi = clamp(hi, 0L, keys);
  lo = row < rows ? clamp(lo, 0L, keys) : keys;
  bounds[z * rows_pad + row] = (int2)((int)lo, (int)hi);
}
