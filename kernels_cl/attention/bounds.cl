// Staged attention, stage 0: which keys each query row may attend by position (lengths, causal, window), as one range.
// What a mask forbids inside the range is the work of attention/mask.cl.
#include "attention/reach.cl"

// bounds[z, row] = {lo, hi}: row `row0 + row` of head `head0 + z` attends keys lo <= j < hi. Both grow with the row, so that a
// tile of rows needs at most [lo of its first row, hi of its last). Rows from `rows` on only fill up tiles: empty.
// global: (rows_pad, heads), rounded up
__kernel void attention_bounds(const struct heed__cl_attention_reach call,
                               __global const TYPE(LENGTH_DTYPE) *kv_lengths, __global int2 *bounds,
                               const struct heed__cl_attention_chunk chunk) {
  const long row = get_global_id(0), z = get_global_id(1);
  if (row >= chunk.rows_pad || z >= chunk.heads) return;
  const long i = chunk.row0 + min(row, chunk.rows - 1);
  struct reach reach;
  reach_of(&call, kv_lengths, (chunk.head0 + z) / chunk.heads_per_batch, &reach);
  const int lo = row < chunk.rows ? first_key(&reach, i) : (int)call.keys;
  bounds[z * chunk.rows_pad + row] = (int2)(lo, end_key(&reach, i));
}
